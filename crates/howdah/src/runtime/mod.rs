//! What does a skill run on?
//!
//! [`Runtime`] is what outlives a call: connections, the gate, when it all began. [`Declared`] is what a declaration says,
//! replaced whole when it is read again. A [`Context`] is the two together as one call sees them.

pub mod declared;
pub mod host;
pub mod process;
pub mod service;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use howdah_plan::problem::{Kind, Problem};
use howdah_plan::spec::Spec;
use howdah_plan::tune::{Machine, Tuned};
use howdah_plan::{budget, rights};
use tokio_util::sync::CancellationToken;

pub use declared::{Declared, Limits};
pub use host::{Health, Host};

use self::service::Seed;
use crate::access::gate::{Gate, Verdict};
use crate::access::key::Key;
use crate::access::store::Store;
use crate::jobs::{Asked, Jobs};
use crate::observe::measure;
use crate::skills::{Call, Lasts, Reply, Skill, SkillFuture};
use howdah_postgres::problem::from_pg;
use howdah_postgres::{Home, Pools, Purpose};

/// Longest time a probe waits for PostgreSQL.
const PROBE: Duration = Duration::from_secs(3);

/// What outlives a call.
pub struct Runtime {
    /// The file that declares it all.
    pub declaration: PathBuf,
    /// Which deployment this is, where the declaration does not say it.
    pub deployment: String,
    /// Howdah's directory.
    pub home: Home,
    /// Connections.
    pub pools: Pools,
    /// Address of the database to show: over TCP, without its password.
    pub address: String,
    /// What the passwords of the service's roles follow from.
    pub seed: Seed,
    /// Who may ask.
    pub gate: Gate,
    /// Work that outlives its request.
    pub jobs: Jobs,
    /// Cancelled when the server is told to stop.
    pub ending: CancellationToken,
    /// When the server started.
    pub started: Instant,
    /// Address of the REST face, where this is a server.
    pub rest: Option<String>,
    /// Settings chosen for the machine, where Howdah runs PostgreSQL itself.
    pub tuned: Vec<Tuned>,
    /// The machine, where PostgreSQL runs on this one.
    pub machine: Option<Machine>,
}

/// What one call runs on.
#[derive(Clone)]
pub struct Context {
    /// What outlives it.
    pub runtime: Arc<Runtime>,
    /// What is declared.
    pub declared: Arc<Declared>,
}

impl Context {
    /// What is declared.
    pub fn spec(&self) -> &Spec {
        &self.declared.spec
    }

    /// Which deployment this is: the declared identity, else the one that is kept beside the declaration.
    pub fn deployment(&self) -> &str {
        self.spec().deployment.as_deref().unwrap_or(&self.runtime.deployment)
    }

    /// Connections for a call, for `purpose`.
    pub fn pools(&self, call: &Call, purpose: Purpose) -> Pools {
        self.runtime.pools.purpose(purpose).until(call.deadline.instant())
    }

    /// Runs a skill. Where a right is missing, the problem says which GRANTs give it.
    pub fn run(self: &Arc<Self>, skill: &'static Skill<Context>, call: Call) -> SkillFuture {
        let context = Arc::clone(self);
        let collection = call.input.get("collection").and_then(|name| name.as_str()).map(str::to_owned);
        Box::pin(async move {
            let ran = (skill.run)(Arc::clone(&context), call).await;
            ran.map_err(|problem| {
                let target = context.runtime.pools.target();
                let role = (!context.runtime.pools.has_roles()).then_some(target.user.as_str());
                rights::explain(problem, context.spec(), collection.as_deref(), role)
            })
        })
    }

    /// The keys, for a call.
    ///
    /// # Errors
    /// `usage` when no database is declared.
    pub fn keys(&self, call: &Call) -> Result<Store<'_>, Problem> {
        let pools = self.pools(call, Purpose::Control);
        Ok(Store { pools, database: self.declared.database()?, deployment: self.deployment() })
    }

    /// Puts the declared limits in force: requests a second, connections, and the time of a statement.
    ///
    /// # Errors
    /// What keeps the server from saying how many connections there may be.
    pub async fn take_limits(&self) -> Result<(), Problem> {
        let Runtime { gate, pools, .. } = &*self.runtime;
        let spec = self.spec();
        gate.allow(spec.api.requests_per_second);
        pools.limit_statements(Some(self.declared.limits.timeout));
        let database = pools.target().database;
        let server = pools.purpose(Purpose::Operate).allowed(&database).await?;
        let budget = budget::divide(server, spec.api.max_pool, spec.collections.len());
        tracing::info!(
            read = budget.read,
            write = budget.write,
            control = budget.control,
            "connections to PostgreSQL: {}",
            budget.reason
        );
        pools.divide(&budget);
        Ok(())
    }

    async fn probe(&self) -> Result<(String, Option<String>), Problem> {
        let pools = self.runtime.pools.purpose(Purpose::Probe).until(Some(Instant::now() + PROBE));
        let client = pools.get(self.declared.database()?).await?;
        let sql = "SELECT current_setting('server_version'), \
                   (SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'vector')";
        let row = client.query_one(sql, &[]).await.map_err(|error| from_pg(&error, "ask for the version"))?;
        Ok((row.get(0), row.get(1)))
    }

    async fn ask_health(&self) -> Health {
        let probed = match tokio::time::timeout(PROBE, self.probe()).await {
            Ok(probed) => probed,
            Err(_) => Err(Problem::new(Kind::Timeout, format!("no answer within {} s", PROBE.as_secs()))),
        };
        metrics::gauge!(measure::POSTGRES_UP).set(if probed.is_ok() { 1.0 } else { 0.0 });
        let (versions, problem) = match probed {
            Ok(versions) => (Some(versions), None),
            Err(problem) => {
                tracing::warn!(detail = problem.detail, "PostgreSQL did not answer a probe: {problem}");
                (None, Some(problem.message))
            }
        };
        let connected = versions.is_some();
        let (postgresql, pgvector) =
            versions.map_or((None, None), |(postgresql, vector)| (Some(postgresql), vector));
        Health {
            status: if connected && pgvector.is_some() { "healthy" } else { "unhealthy" }.into(),
            database: "postgresql".into(),
            database_connected: connected,
            pgvector_enabled: pgvector.is_some(),
            pgvector_version: pgvector,
            postgresql_version: postgresql,
            version: env!("CARGO_PKG_VERSION").into(),
            uptime_seconds: self.runtime.started.elapsed().as_secs(),
            collections: u32::try_from(self.spec().collections.len()).unwrap_or(u32::MAX),
            problem,
        }
    }

    async fn ask_key(&self, key: Key) -> Verdict {
        let asking = self.runtime.gate.asking();
        let asked = match self.declared.database() {
            Ok(database) => {
                let pools = self.runtime.pools.purpose(Purpose::Control).until(Some(Instant::now() + PROBE));
                Store { pools, database, deployment: self.deployment() }.look_up(&key).await
            }
            Err(problem) => Err(problem),
        };
        match asked {
            Ok(verdict) => {
                self.runtime.gate.remember(asking, &key, verdict.clone());
                verdict
            }
            // Not knowing is no verdict: it is not remembered. The caller is not known yet and is told no more.
            Err(problem) => {
                tracing::error!(detail = problem.detail, "a key was not looked up: {problem}");
                let heard = Problem::new(problem.kind, "the key cannot be checked now")
                    .hint("Try again in a moment; the server's log says why.");
                Verdict::Bad(heard.do_now(problem.do_now))
            }
        }
    }
}

impl Host for Context {
    fn gate(&self) -> &Gate {
        &self.runtime.gate
    }

    fn limits(&self) -> Limits {
        self.declared.limits
    }

    fn cors(&self) -> &[String] {
        &self.declared.spec.api.cors
    }

    fn ask(
        self: Arc<Self>,
        skill: &'static Skill<Self>,
        call: Call,
    ) -> BoxFuture<'static, Result<Reply, Problem>> {
        let as_job = match skill.lasts {
            Lasts::Request => false,
            // A call with a name of its own is to be found again.
            Lasts::OnDemand => call.detached || call.idempotency_key.is_some(),
            Lasts::JobAlone => true,
        };
        Box::pin(async move {
            if !as_job {
                return call.deadline.within(self.run(skill, call)).await.map(Reply::Ended);
            }
            let jobs = self.runtime.jobs.clone();
            match jobs.ask(&self, skill, call).await? {
                Asked::Ended(value) => Ok(Reply::Ended(value)),
                Asked::UnderWay(job) => serde_json::to_value(job).map(Reply::UnderWay).map_err(|error| {
                    Problem::new(Kind::Internal, "a job cannot be written as JSON").detail(error.to_string())
                }),
            }
        })
    }

    fn look_up(&self, key: Key) -> BoxFuture<'_, Verdict> {
        Box::pin(self.ask_key(key))
    }

    fn health(&self) -> BoxFuture<'_, Health> {
        Box::pin(self.ask_health())
    }

    fn gauge(&self) {
        let (open, idle) = self.runtime.pools.usage();
        metrics::gauge!(measure::POOL, "state" => "open").set(open as f64);
        metrics::gauge!(measure::POOL, "state" => "idle").set(idle as f64);
    }

    fn place(&self) -> String {
        self.runtime.pools.target().place()
    }

    fn collections(&self) -> Vec<String> {
        self.spec().collections.keys().cloned().collect()
    }
}
