//! What a caller hears when something is wrong: over a real socket, with skills that misbehave on purpose.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use howdah_plan::problem::{Kind, Problem};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::service::Service;
use super::{openapi, serve};
use crate::access::caller::Caller;
use crate::access::gate::{Gate, Verdict};
use crate::access::key::Key;
use crate::access::scope::Scope;
use crate::runtime::declared::Limits;
use crate::runtime::host::{Health, Host};
use crate::skills::{Call, Command, Effect, Example, Lasts, Route, Skill, fits, schema_of, typed};

struct Bench {
    gate: Gate,
    reader: Key,
    expired: Key,
    asked: AtomicU32,
}

impl Host for Bench {
    fn gate(&self) -> &Gate {
        &self.gate
    }

    fn limits(&self) -> Limits {
        Limits { body: 1_000, timeout: Duration::from_millis(400), require_key: true }
    }

    fn look_up(&self, key: Key) -> BoxFuture<'_, Verdict> {
        self.asked.fetch_add(1, Ordering::Relaxed);
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
        self.gate.remember(&key, verdict.clone());
        Box::pin(std::future::ready(verdict))
    }

    fn health(&self) -> BoxFuture<'_, Health> {
        let health = Health {
            status: "healthy".into(),
            database: "postgresql".into(),
            database_connected: true,
            pgvector_enabled: true,
            pgvector_version: None,
            postgresql_version: None,
            version: "0".into(),
            uptime_seconds: 0,
            collections: 0,
            problem: None,
        };
        Box::pin(std::future::ready(health))
    }

    fn gauge(&self) {}

    fn collections(&self) -> Vec<String> {
        vec!["manual".into()]
    }
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Wait {
    collection: String,
    #[serde(default)]
    millis: u64,
    #[serde(default)]
    panic: bool,
}

async fn wait(_: Arc<Bench>, _: Call, input: Wait) -> Result<Wait, Problem> {
    assert!(!input.panic, "asked to panic");
    tokio::time::sleep(Duration::from_millis(input.millis)).await;
    Ok(input)
}

static SKILLS: [Skill<Bench>; 3] = [
    Skill {
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
    },
    Skill {
        name: "look",
        summary: "Looks.",
        description: "Looks.",
        effect: Effect::Reads,
        lasts: Lasts::Request,
        scope: Scope::Read,
        command: Command { words: "look", positional: &[] },
        route: Route { method: "GET", path: "/v1/collections/{collection}/wait", success: 200 },
        input: schema_of::<Wait>,
        output: schema_of::<Wait>,
        examples: &[],
        check: fits::<Wait>,
        run: |context, call| Box::pin(typed(context, call, wait)),
    },
    Skill {
        name: "write",
        summary: "Writes.",
        description: "Writes.",
        effect: Effect::Writes,
        lasts: Lasts::Request,
        scope: Scope::Write,
        command: Command { words: "write", positional: &[] },
        route: Route { method: "POST", path: "/v1/collections/{collection}/write", success: 201 },
        input: schema_of::<Wait>,
        output: schema_of::<Wait>,
        examples: &[],
        check: fits::<Wait>,
        run: |context, call| Box::pin(typed(context, call, wait)),
    },
];

struct Running {
    base: String,
    service: Arc<Service<Bench>>,
    stop: Option<oneshot::Sender<()>>,
    ended: tokio::task::JoinHandle<Result<(), Problem>>,
    client: reqwest::Client,
}

impl Running {
    async fn start(per_second: u32) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let owner = Key::random();
        let bench = Bench {
            gate: Gate::new(per_second, Some(&owner)),
            reader: Key::random(),
            expired: Key::random(),
            asked: AtomicU32::new(0),
        };
        let service = Arc::new(Service::new(&SKILLS, Arc::new(bench)));
        service.set_ready(true);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::spawn(serve(service.clone(), listener, async {
            let _ = stopped.await;
        }));
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Running { base, service, stop: Some(stop), ended, client }
    }

    fn reader(&self) -> String {
        self.service.context().reader.reveal().to_owned()
    }

    fn post(&self, path: &str, body: impl Into<String>) -> reqwest::RequestBuilder {
        self.client
            .post(format!("{}{path}", self.base))
            .bearer_auth(self.reader())
            .header("content-type", "application/json")
            .body(body.into())
    }

    fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.get(format!("{}{path}", self.base)).bearer_auth(self.reader())
    }
}

const WAIT: &str = "/v1/collections/manual/wait";

/// Status, kind and message; checks the one shape on the way.
async fn refusal(request: reqwest::RequestBuilder) -> (u16, String, String) {
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

fn is(answer: &(u16, String, String), status: u16, kind: &str, message: &str) {
    assert_eq!((answer.0, answer.1.as_str(), answer.2.as_str()), (status, kind, message));
}

#[tokio::test]
async fn a_caller_without_a_good_key_is_refused() {
    let server = Running::start(0).await;
    let url = format!("{}{WAIT}", server.base);
    let expired = server.service.context().expired.reveal().to_owned();
    is(&refusal(server.client.post(&url)).await, 401, "unauthenticated", "no key was given");
    is(
        &refusal(server.client.post(&url).basic_auth("a", Some("b"))).await,
        401,
        "unauthenticated",
        "no key was given",
    );
    for wrong in ["nonsense", Key::random().reveal()] {
        let request = server.client.post(&url).header("x-api-key", wrong);
        is(&refusal(request).await, 401, "unauthenticated", "the key is not known");
    }
    is(
        &refusal(server.client.post(&url).bearer_auth(expired)).await,
        401,
        "unauthenticated",
        "the key has expired",
    );
}

#[tokio::test]
async fn a_verdict_is_asked_for_once_in_two_seconds() {
    let server = Running::start(0).await;
    for _ in 0..5 {
        assert_eq!(server.post(WAIT, "{}").send().await.unwrap().status(), 200);
    }
    assert_eq!(server.service.context().asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_reader_may_not_write() {
    let server = Running::start(0).await;
    let answer = refusal(server.post("/v1/collections/manual/write", "{}")).await;
    is(&answer, 403, "forbidden", "this key lacks the scope `write`");
}

#[tokio::test]
async fn a_key_that_asks_too_often_hears_when_to_come_back() {
    let server = Running::start(3).await;
    let mut refused = 0;
    for _ in 0..6 {
        let response = server.post(WAIT, "{}").send().await.unwrap();
        if response.status() == 429 {
            assert_eq!(response.headers()["retry-after"], "1");
            refused += 1;
        }
    }
    assert!(refused >= 2, "{refused}");
}

#[tokio::test]
async fn input_that_does_not_fit_is_refused_with_its_reason() {
    let server = Running::start(0).await;
    is(&refusal(server.post(WAIT, "{\"millis\":")).await, 400, "usage", "the body is not valid JSON");
    is(&refusal(server.post(WAIT, "[]")).await, 400, "usage", "the body is not a JSON object");
    is(&refusal(server.post(WAIT, r#"{"milis":1}"#)).await, 400, "usage", "the input does not fit");
    is(&refusal(server.post(WAIT, r#"{"millis":-1}"#)).await, 400, "usage", "the input does not fit");
    let twice = r#"{"collection":"other"}"#;
    is(
        &refusal(server.post(WAIT, twice)).await,
        400,
        "usage",
        "`collection` belongs in the path, not in the body",
    );
    is(
        &refusal(server.post(WAIT, "x".repeat(1_001))).await,
        413,
        "too_large",
        "the body is larger than 1000 bytes",
    );
    let form = server.client.post(format!("{}{WAIT}", server.base)).bearer_auth(server.reader());
    let form = form.header("content-type", "application/x-www-form-urlencoded").body("a=b");
    let answer = refusal(form).await;
    assert_eq!(answer.0, 415, "{answer:?}");
    is(
        &refusal(server.get(&format!("{WAIT}?milis=1"))).await,
        400,
        "usage",
        "unknown query parameter `milis`",
    );
    assert_eq!(refusal(server.get("/v1/collections/%ff/wait")).await.0, 400);
    assert_eq!(refusal(server.get("/v1/collections/%00/wait")).await.0, 400);
}

#[tokio::test]
async fn an_unknown_path_or_method_has_the_same_shape() {
    let server = Running::start(0).await;
    is(&refusal(server.get("/v2")).await, 404, "not_found", "there is nothing at `/v2`");
    let response = server.client.patch(format!("{}{WAIT}", server.base)).send().await.unwrap();
    assert_eq!(response.status(), 405);
    let allow = response.headers()["allow"].to_str().unwrap();
    assert_eq!(allow, "POST, GET, HEAD");
    is(
        &refusal(server.client.delete(format!("{}/health", server.base))).await,
        405,
        "usage",
        "`DELETE` is not a method of this path",
    );
}

#[tokio::test]
async fn a_slow_request_ends_and_a_panic_is_an_answer() {
    let server = Running::start(0).await;
    is(
        &refusal(server.post(WAIT, r#"{"millis":5000}"#)).await,
        504,
        "timeout",
        "the request took longer than 0.4 s",
    );
    let answer = refusal(server.post(WAIT, r#"{"panic":true}"#)).await;
    is(&answer, 500, "internal", "the request met a fault of howdah");
    assert_eq!(server.post(WAIT, "{}").send().await.unwrap().status(), 200, "it lives on");
}

#[tokio::test]
async fn a_request_id_comes_back_as_it_was_sent() {
    let server = Running::start(0).await;
    let sent = server.get("/livez").header("x-request-id", "trace-7").send().await.unwrap();
    assert_eq!(sent.headers()["x-request-id"], "trace-7");
    let made = server.get("/livez").header("x-request-id", "not decent").send().await.unwrap();
    assert_ne!(made.headers()["x-request-id"], "not decent");
}

#[tokio::test]
async fn requests_under_way_finish_when_the_server_stops() {
    let mut server = Running::start(0).await;
    let mut under_way = Vec::new();
    for _ in 0..20 {
        under_way.push(tokio::spawn(server.post(WAIT, r#"{"millis":250}"#).send()));
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.stop.take().unwrap().send(()).unwrap();
    for one in under_way {
        assert_eq!(one.await.unwrap().unwrap().status(), 200);
    }
    tokio::time::timeout(Duration::from_secs(5), server.ended).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn the_probes_need_no_key() {
    let server = Running::start(0).await;
    for path in ["/health", "/livez", "/readyz", "/metrics", "/version", "/openapi.json", "/", "/docs"] {
        let response = server.client.get(format!("{}{path}", server.base)).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
    }
    server.service.set_ready(false);
    is(&refusal(server.get("/readyz")).await, 503, "unreachable", "the server is starting or stopping");
    let health: Value = server.get("/health").send().await.unwrap().json().await.unwrap();
    assert_eq!(health["status"], "starting");
}

#[test]
fn the_document_says_where_each_field_goes() {
    let document = openapi::document(&SKILLS, &["manual".into()], true);
    let path = &document["paths"]["/v1/collections/{collection}/wait"];
    assert_eq!(path["post"]["operationId"], "wait");
    assert_eq!(
        path["post"]["parameters"],
        json!([{"name": "collection", "in": "path", "required": true,
                "schema": {"type": "string", "enum": ["manual"]}}])
    );
    let body = &path["post"]["requestBody"]["content"]["application/json"];
    assert_eq!(body["schema"]["additionalProperties"], false);
    assert!(body["schema"]["properties"].get("collection").is_none());
    assert_eq!(body["examples"]["example1"]["value"], json!({"millis": 1000}));
    let names: Vec<&str> = path["get"]["parameters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["collection", "millis", "panic"]);
    assert!(document["components"]["schemas"].get("Error").is_some());
}
