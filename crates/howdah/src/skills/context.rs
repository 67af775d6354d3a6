//! What does a skill run on?
//!
//! Everything that lives longer than one call: the declaration, the connections, the embedders, who may ask.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use howdah_plan::problem::{Kind, Problem};
use howdah_plan::spec::Spec;
use howdah_plan::tune::{Machine, Tuned};

use super::host::{Health, Host};
use crate::access::gate::{Gate, Verdict};
use crate::access::key::Key;
use crate::access::store::Store;
use crate::embed::Embedders;
use crate::observe::measure;
use crate::postgres::problem::from_pg;
use crate::postgres::{Home, Pools};

/// Longest time a probe waits for PostgreSQL.
const PROBE: Duration = Duration::from_secs(3);

/// What skills run on.
#[derive(Clone)]
pub struct Context {
    /// What is declared.
    pub spec: Arc<Spec>,
    /// The file it is declared in.
    pub declaration: PathBuf,
    /// Howdah's directory.
    pub home: Home,
    /// Connections.
    pub pools: Pools,
    /// What turns text into vectors.
    pub embedders: Embedders,
    /// Address of the database to show: over TCP, without its password.
    pub address: String,
    /// Who may ask.
    pub gate: Arc<Gate>,
    /// When the server started.
    pub started: Instant,
    /// Address of the REST face, where this is a server.
    pub rest: Option<String>,
    /// Settings chosen for the machine, where Howdah runs PostgreSQL itself.
    pub tuned: Vec<Tuned>,
    /// The machine, where PostgreSQL runs on this one.
    pub machine: Option<Machine>,
}

impl Context {
    /// The database that keeps Howdah's own tables for the whole instance.
    ///
    /// # Errors
    /// `usage` when none is declared.
    pub fn database(&self) -> Result<&str, Problem> {
        self.spec
            .api
            .database
            .as_deref()
            .or_else(|| self.spec.databases.keys().next().map(String::as_str))
            .ok_or_else(|| {
                Problem::new(Kind::Usage, "no database is declared")
                    .hint("Declare one in howdah.toml: `[databases.app]`.")
            })
    }

    /// The keys.
    ///
    /// # Errors
    /// `usage` when no database is declared.
    pub fn keys(&self) -> Result<Store<'_>, Problem> {
        Ok(Store { pools: &self.pools, database: self.database()? })
    }

    async fn probe(&self) -> Result<(String, Option<String>), Problem> {
        let client = self.pools.get(self.database()?).await?;
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
            Err(problem) => (None, Some(problem.message)),
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
            uptime_seconds: self.started.elapsed().as_secs(),
            collections: u32::try_from(self.spec.collections.len()).unwrap_or(u32::MAX),
            problem,
        }
    }

    async fn ask_key(&self, key: Key) -> Verdict {
        let asked = match self.keys() {
            Ok(store) => store.look_up(&key).await,
            Err(problem) => Err(problem),
        };
        match asked {
            Ok(verdict) => {
                self.gate.remember(&key, verdict.clone());
                verdict
            }
            // Not knowing is no verdict: it is not remembered.
            Err(problem) => Verdict::Bad(problem),
        }
    }
}

impl Host for Context {
    fn gate(&self) -> &Gate {
        &self.gate
    }

    fn look_up(&self, key: Key) -> BoxFuture<'_, Verdict> {
        Box::pin(self.ask_key(key))
    }

    fn health(&self) -> BoxFuture<'_, Health> {
        Box::pin(self.ask_health())
    }

    fn gauge(&self) {
        let (open, idle) = self.pools.usage();
        metrics::gauge!(measure::POOL, "state" => "open").set(open as f64);
        metrics::gauge!(measure::POOL, "state" => "idle").set(idle as f64);
    }

    fn collections(&self) -> Vec<String> {
        self.spec.collections.keys().cloned().collect()
    }
}
