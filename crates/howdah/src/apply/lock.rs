//! One run at a time.
//!
//! The lock is an advisory one in the database `postgres` (advisory locks belong to a database; all runs have to meet in
//! the same one), held by a connection that does nothing else but watch. It ends with the connection, so a killed run
//! never keeps it.

use std::time::{Duration, Instant};

use howdah_plan::problem::{Kind, Problem};
use tokio_postgres::Client;

use howdah_postgres::problem::from_pg;
use howdah_postgres::{Own, Pools};

/// The number that all runs lock: "howdah" and a 1, as bytes.
const KEY: i64 = 0x686f_7764_6168_0001;

/// How long a run waits for the lock: on a busy machine the session of one that has ended may take so long to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a run calls itself to the server.
pub(super) fn application_name(deployment: &str) -> String {
    let mut name = format!("howdah apply {deployment}");
    // PostgreSQL keeps 63 bytes; a name that was cut would not be found again.
    while name.len() > 63 {
        name.pop();
    }
    name
}

/// The lock. Held until dropped.
pub(super) struct Lock {
    /// The connection that holds it; free to be used for looking.
    pub(super) client: Own,
}

impl Lock {
    /// Takes the lock, and ends what a killed run of the same deployment left running.
    ///
    /// # Errors
    /// `conflict` when another run holds it, with who that is.
    pub(super) async fn take(pools: &Pools, deployment: &str) -> Result<Lock, Problem> {
        let client = match pools.own("postgres").await {
            Ok(client) => client,
            Err(problem)
                if matches!(problem.kind, Kind::NotFound | Kind::Forbidden | Kind::Unauthenticated) =>
            {
                pools.own(&pools.target().database).await?
            }
            Err(problem) => return Err(problem),
        };
        let doing = "take the lock for `howdah apply`";
        let end = Instant::now() + PATIENCE;
        loop {
            let row = client
                .query_one("SELECT pg_try_advisory_lock($1)", &[&KEY])
                .await
                .map_err(|e| from_pg(&e, doing))?;
            if row.get::<_, bool>(0) {
                break;
            }
            if Instant::now() >= end {
                return Err(held(&client).await);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let name = application_name(deployment);
        client
            .query("SELECT set_config('application_name', $1, false)", &[&name])
            .await
            .map_err(|e| from_pg(&e, doing))?;
        let lock = Lock { client };
        lock.end_leftovers(&name).await?;
        Ok(lock)
    }

    /// Ends statements of a killed run. Whoever else bears the name is one: this run holds the lock and has no other
    /// connection yet.
    async fn end_leftovers(&self, name: &str) -> Result<(), Problem> {
        let doing = "end what a killed `howdah apply` left running";
        for _ in 0..100 {
            let rows = self
                .client
                .query(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                     WHERE application_name = $1 AND pid <> pg_backend_pid()",
                    &[&name],
                )
                .await
                .map_err(|e| from_pg(&e, doing))?;
            if rows.is_empty() {
                return Ok(());
            }
            tracing::info!(sessions = rows.len(), "ending what a killed `howdah apply` left running");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(Problem::new(Kind::Conflict, "a killed `howdah apply` still has a statement running")
            .hint("Look for it in `pg_stat_activity` and end it with `pg_terminate_backend(pid)`."))
    }
}

/// Who holds the lock.
async fn held(client: &Client) -> Problem {
    let holder = client
        .query_opt(
            "SELECT a.pid, coalesce(a.usename, '?'), coalesce(a.application_name, ''),
                    coalesce(host(a.client_addr), 'this machine'), to_char(a.backend_start, 'YYYY-MM-DD HH24:MI:SS TZ')
             FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
             WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
               AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
               AND (l.classid::bigint << 32 | l.objid::bigint) = $1 LIMIT 1",
            &[&KEY],
        )
        .await;
    let problem = Problem::new(Kind::Conflict, "another `howdah apply` is running on this server")
        .hint("Wait until it is done, then run the command again.");
    match holder {
        Ok(Some(row)) => {
            let (pid, user, name, from, since) = (
                row.get::<_, i32>(0),
                row.get::<_, String>(1),
                row.get::<_, String>(2),
                row.get::<_, String>(3),
                row.get::<_, String>(4),
            );
            problem.detail(format!(
                "process {pid} of the server, role `{user}`, `{name}`, from {from}, since {since}"
            ))
        }
        _ => problem.detail("it has just ended, or its session may not be seen"),
    }
}
