//! A server over a real socket, with a host that needs no database and skills that misbehave on purpose.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use howdah_plan::problem::{Kind, Problem};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::connection::Patience;
use super::router::router;
use super::server::{self, Bounds};
use super::service::Service;
use crate::access::caller::Caller;
use crate::access::gate::{Gate, Verdict};
use crate::access::key::Key;
use crate::access::scope::Scope;
use crate::runtime::declared::Limits;
use crate::runtime::host::{Health, Host};
use crate::skills::{Call, Command, Effect, Example, Lasts, Route, Skill, fits, schema_of, typed};

/// Where PostgreSQL is said to be.
pub const PLACE: &str = "/run/secret/.s.PGSQL.5432";

/// The host.
pub struct Bench {
    pub gate: Gate,
    pub limits: Limits,
    pub cors: Vec<String>,
    pub owner: Key,
    pub reader: Key,
    pub expired: Key,
    pub collections: Vec<String>,
    pub asked: AtomicU32,
    /// Whether PostgreSQL is away.
    pub away: AtomicBool,
    /// Whether it never answers a question about a key.
    pub mute: bool,
    /// Set when a call was told that nobody waits.
    pub cancelled: Mutex<Vec<u64>>,
}

impl Bench {
    pub fn new(per_second: u32) -> Self {
        let owner = Key::random();
        Bench {
            gate: Gate::new(per_second, Some(&owner)),
            limits: Limits { body: 1_000, timeout: Duration::from_millis(400), require_key: true },
            cors: Vec::new(),
            owner,
            reader: Key::random(),
            expired: Key::random(),
            collections: vec!["manual".into()],
            asked: AtomicU32::new(0),
            away: AtomicBool::new(false),
            mute: false,
            cancelled: Mutex::default(),
        }
    }

    fn lost(&self) -> Problem {
        Problem::new(Kind::Unreachable, format!("nothing listens at `{PLACE}`"))
            .detail("no such file, as `postgres`")
    }
}

impl Host for Bench {
    fn gate(&self) -> &Gate {
        &self.gate
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn cors(&self) -> &[String] {
        &self.cors
    }

    fn look_up(&self, key: Key) -> BoxFuture<'_, Verdict> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.mute {
            return Box::pin(std::future::pending());
        }
        if self.away.load(Ordering::Relaxed) {
            let problem = Problem::new(Kind::Unreachable, "the key cannot be checked now");
            return Box::pin(std::future::ready(Verdict::Bad(problem)));
        }
        let verdict = if key == self.reader {
            let caller = Caller {
                key: Some(Uuid::from_u128(1)),
                name: "reader".into(),
                tenant: None,
                scope: Scope::Read,
            };
            Verdict::Good(caller, None)
        } else if key == self.expired {
            Verdict::Bad(Problem::new(Kind::Unauthenticated, "the key has expired"))
        } else {
            Verdict::Bad(crate::access::gate::wrong_key())
        };
        self.gate.remember(self.gate.asking(), &key, verdict.clone());
        Box::pin(std::future::ready(verdict))
    }

    fn health(&self) -> BoxFuture<'_, Health> {
        let away = self.away.load(Ordering::Relaxed);
        let health = Health {
            status: if away { "unhealthy" } else { "healthy" }.into(),
            database: "postgresql".into(),
            database_connected: !away,
            pgvector_enabled: true,
            pgvector_version: None,
            postgresql_version: None,
            version: "0".into(),
            uptime_seconds: 0,
            collections: 0,
            problem: away.then(|| self.lost().message),
        };
        Box::pin(std::future::ready(health))
    }

    fn gauge(&self) {}

    fn collections(&self) -> Vec<String> {
        self.collections.clone()
    }

    fn place(&self) -> String {
        PLACE.into()
    }
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    collection: String,
    #[serde(default)]
    millis: u64,
    #[serde(default)]
    panic: bool,
    /// Fails as this kind of problem.
    #[serde(default)]
    fail: Option<Kind>,
    /// Fails in these words.
    #[serde(default)]
    words: Option<String>,
}

async fn wait(bench: Arc<Bench>, call: Call, input: Wait) -> Result<Wait, Problem> {
    assert!(!input.panic, "asked to panic");
    if let Some(kind) = input.fail {
        let words = input.words.clone().unwrap_or_else(|| bench.lost().message);
        return Err(Problem::new(kind, words).detail("as `postgres`"));
    }
    if bench.away.load(Ordering::Relaxed) {
        return Err(bench.lost());
    }
    let (cancel, watched) = (call.cancel.clone(), bench.clone());
    let watch = tokio::spawn(async move {
        cancel.cancelled().await;
        watched.cancelled.lock().unwrap().push(input.millis);
    });
    tokio::time::sleep(Duration::from_millis(input.millis)).await;
    watch.abort();
    Ok(input)
}

const WAITING: Skill<Bench> = Skill {
    name: "wait",
    summary: "Waits.",
    description: "Waits.",
    effect: Effect::Reads,
    lasts: Lasts::Request,
    scope: Scope::Read,
    command: Command { words: "wait", positional: &[] },
    route: Route { method: "POST", path: "/v1/collections/{collection}/wait", success: 200 },
    input: schema_of::<Wait>,
    output: schema_of::<Wait>,
    examples: &[Example {
        title: "A second",
        input: r#"{"collection":"manual","millis":1000}"#,
        command: "x",
    }],
    check: fits::<Wait>,
    run: |context, call| Box::pin(typed(context, call, wait)),
};

pub static SKILLS: [Skill<Bench>; 3] = [
    WAITING,
    Skill {
        name: "look",
        summary: "Looks.",
        description: "Looks.",
        command: Command { words: "look", positional: &[] },
        route: Route { method: "GET", path: "/v1/collections/{collection}/wait", success: 200 },
        examples: &[],
        ..WAITING
    },
    Skill {
        name: "write",
        summary: "Writes.",
        description: "Writes.",
        effect: Effect::Writes,
        scope: Scope::Write,
        command: Command { words: "write", positional: &[] },
        route: Route { method: "POST", path: "/v1/collections/{collection}/write", success: 201 },
        examples: &[],
        ..WAITING
    },
];

/// A server that runs.
pub struct TestServer {
    pub base: String,
    pub address: SocketAddr,
    pub service: Arc<Service<Bench>>,
    pub stop: Option<oneshot::Sender<()>>,
    pub ended: tokio::task::JoinHandle<()>,
    pub client: reqwest::Client,
}

impl TestServer {
    /// A server that lets a key ask so many times a second.
    pub async fn start(per_second: u32) -> Self {
        TestServer::with(Bench::new(per_second), Bounds::default()).await
    }

    /// A server with a host and bounds of its own.
    pub async fn with(bench: Bench, bounds: Bounds) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let service = Arc::new(Service::new(&SKILLS, Arc::new(bench)));
        service.set_ready(true);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::spawn(server::serve(router(service.clone()), listener, bounds, async {
            let _ = stopped.await;
        }));
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        TestServer { base: format!("http://{address}"), address, service, stop: Some(stop), ended, client }
    }

    /// A plain socket to it.
    pub async fn socket(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// A request without a key.
    pub fn stranger(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.get(format!("{}{path}", self.base))
    }

    /// How long the calls wanted to wait that were told that nobody waits.
    pub fn cancelled(&self) -> Vec<u64> {
        self.service.context().cancelled.lock().unwrap().clone()
    }

    /// PostgreSQL goes away, or comes back.
    pub fn away(&self, away: bool) {
        self.service.context().away.store(away, Ordering::Relaxed);
    }

    pub fn reader(&self) -> String {
        self.service.context().reader.reveal().to_owned()
    }

    pub fn post(&self, path: &str, body: impl Into<String>) -> reqwest::RequestBuilder {
        self.client
            .post(format!("{}{path}", self.base))
            .bearer_auth(self.reader())
            .header("content-type", "application/json")
            .body(body.into())
    }

    pub fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.get(format!("{}{path}", self.base)).bearer_auth(self.reader())
    }
}

/// A route that waits.
pub const WAIT: &str = "/v1/collections/manual/wait";

/// Status, kind and message; checks the one shape on the way.
pub async fn refusal(request: reqwest::RequestBuilder) -> (u16, String, String) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    let body: Value = response.json().await.unwrap();
    let error = &body["error"];
    assert_eq!(error["request_id"], id, "{body}");
    for field in ["detail", "hint", "do_now"] {
        assert!(error.get(field).is_some(), "{field} in {body}");
    }
    (status, error["kind"].as_str().unwrap().into(), error["message"].as_str().unwrap().into())
}

/// What the refusal says.
pub fn is(answer: &(u16, String, String), status: u16, kind: &str, message: &str) {
    assert_eq!((answer.0, answer.1.as_str(), answer.2.as_str()), (status, kind, message));
}

/// Bounds that a test can wait for.
pub fn quick() -> Bounds {
    let patience = Patience { head: Duration::from_millis(300), idle: Duration::from_millis(900) };
    Bounds { patience, last: Duration::from_secs(2), ..Bounds::default() }
}
