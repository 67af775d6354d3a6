//! Can I talk to it?
//!
//! [`Pools`] keeps connections to one server, a pool for each database, made when first asked for. Connections come back
//! as they are: whoever changes a session setting does so with `SET LOCAL` in a transaction. [`Pools::raw`] gives a
//! connection of one's own, for work that is long or cannot run in a transaction.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, TimeoutType,
};
use howdah_plan::problem::{Kind, Problem};
use tokio_postgres::{Client, Config, NoTls};

use super::{Host, SslMode, Target, problem, tls};

/// Connections to one server. Cheap to clone; all clones share the pools.
#[derive(Clone)]
pub struct Pools {
    inner: Arc<Inner>,
}

struct Inner {
    target: Target,
    max: usize,
    wait: Duration,
    by_database: Mutex<HashMap<String, Pool>>,
}

impl std::fmt::Debug for Pools {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pools").field("target", &self.inner.target).field("max", &self.inner.max).finish()
    }
}

impl Pools {
    /// Pools to `target` of at most `max` connections a database. Nothing is connected yet.
    pub fn new(target: Target, max: usize) -> Pools {
        let wait = target.connect_timeout.max(Duration::from_secs(5));
        Pools { inner: Arc::new(Inner { target, max: max.max(1), wait, by_database: Mutex::default() }) }
    }

    /// The server.
    pub fn target(&self) -> &Target {
        &self.inner.target
    }

    /// A pooled connection to `database`.
    ///
    /// # Errors
    /// `unreachable`, `unauthenticated`, `not_found` (no such database) and the like when no connection can be made;
    /// `timeout` when all connections are busy for too long.
    pub async fn get(&self, database: &str) -> Result<Object, Problem> {
        let pool = self.pool(database)?;
        pool.get().await.map_err(|e| self.pool_problem(database, e))
    }

    /// A pooled connection to the target's own database.
    ///
    /// # Errors
    /// As [`Pools::get`].
    pub async fn get_default(&self) -> Result<Object, Problem> {
        self.get(&self.inner.target.database).await
    }

    /// A connection of one's own to `database`. It ends when the client is dropped.
    ///
    /// # Errors
    /// As [`Pools::get`].
    pub async fn raw(&self, database: &str) -> Result<Client, Problem> {
        connect(&self.inner.target.with_database(database)).await
    }

    /// Closes the connections to `database`, so that it can be dropped or renamed.
    pub fn forget(&self, database: &str) {
        let pool = self.lock().remove(database);
        if let Some(pool) = pool {
            pool.close();
        }
    }

    /// Closes everything.
    pub fn close(&self) {
        for (_, pool) in self.lock().drain() {
            pool.close();
        }
    }

    /// Connections that are open, and how many of them wait for work, over all databases.
    pub fn usage(&self) -> (usize, usize) {
        self.lock()
            .values()
            .map(Pool::status)
            .fold((0, 0), |(open, idle), status| (open + status.size, idle + status.available))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Pool>> {
        self.inner.by_database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pool(&self, database: &str) -> Result<Pool, Problem> {
        let mut pools = self.lock();
        if let Some(pool) = pools.get(database) {
            return Ok(pool.clone());
        }
        let target = self.inner.target.with_database(database);
        let settings = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = if encrypted(&target) {
            Manager::from_config(config(&target), tls::connector(&target)?, settings)
        } else {
            Manager::from_config(config(&target), NoTls, settings)
        };
        let pool = Pool::builder(manager)
            .max_size(self.inner.max)
            .runtime(Runtime::Tokio1)
            .create_timeout(Some(target.connect_timeout))
            .wait_timeout(Some(self.inner.wait))
            .build()
            .map_err(|e| Problem::new(Kind::Internal, "cannot make a pool").detail(e.to_string()))?;
        pools.insert(database.to_owned(), pool.clone());
        Ok(pool)
    }

    fn pool_problem(&self, database: &str, error: PoolError) -> Problem {
        let target = self.inner.target.with_database(database);
        match error {
            PoolError::Backend(e) => problem::from_connect(&e, &target),
            PoolError::Timeout(TimeoutType::Create) => problem::connect_timeout(&target),
            PoolError::Timeout(_) => {
                Problem::new(Kind::Timeout, format!("all connections to database `{database}` are busy"))
                    .detail(format!("{} connections, waited {:?}", self.inner.max, self.inner.wait))
                    .hint("Try again, or raise `api.max_pool`.")
            }
            other => Problem::new(Kind::Unreachable, format!("the pool for database `{database}` is closed"))
                .detail(other.to_string()),
        }
    }
}

/// Makes one connection to `target`. It ends when the client is dropped.
///
/// # Errors
/// As [`Pools::get`].
pub async fn connect(target: &Target) -> Result<Client, Problem> {
    let config = config(target);
    let made = async {
        if encrypted(target) {
            let (client, connection) = config
                .connect(tls::connector(target)?)
                .await
                .map_err(|e| problem::from_connect(&e, target))?;
            tokio::spawn(drive(connection));
            Ok(client)
        } else {
            let (client, connection) =
                config.connect(NoTls).await.map_err(|e| problem::from_connect(&e, target))?;
            tokio::spawn(drive(connection));
            Ok(client)
        }
    };
    match tokio::time::timeout(target.connect_timeout, made).await {
        Ok(client) => client,
        Err(_) => Err(problem::connect_timeout(target)),
    }
}

/// Runs `sql` for at most `limit`, in the transaction that `client` is in. Without a transaction it has no effect.
///
/// # Errors
/// What the server says.
pub async fn limit_statements(
    client: &impl deadpool_postgres::GenericClient,
    limit: Duration,
) -> Result<(), Problem> {
    let sql = format!("SET LOCAL statement_timeout = {}", limit.as_millis().clamp(1, i32::MAX as u128));
    client.batch_execute(&sql).await.map_err(|e| problem::from_pg(&e, "set a time limit"))
}

async fn drive(connection: impl Future<Output = Result<(), tokio_postgres::Error>>) {
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection to PostgreSQL ended");
    }
}

/// A unix socket is never encrypted; nobody is in between.
fn encrypted(target: &Target) -> bool {
    target.sslmode != SslMode::Disable && matches!(target.host, Host::Tcp(_))
}

fn config(target: &Target) -> Config {
    let mut config = Config::new();
    match &target.host {
        Host::Tcp(host) => config.host(host.as_str()),
        Host::Socket(dir) => config.host_path(dir),
    };
    config
        .port(target.port)
        .user(target.user.as_str())
        .dbname(target.database.as_str())
        .application_name(target.application_name.as_str())
        .connect_timeout(target.connect_timeout)
        .ssl_mode(match (encrypted(target), target.sslmode) {
            (false, _) => tokio_postgres::config::SslMode::Disable,
            (true, SslMode::Prefer) => tokio_postgres::config::SslMode::Prefer,
            (true, _) => tokio_postgres::config::SslMode::Require,
        });
    if let Some(password) = &target.password {
        config.password(password.expose());
    }
    if let Some(options) = &target.options {
        config.options(options.as_str());
    }
    config
}
