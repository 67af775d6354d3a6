//! Can Howdah work on this server at all? Asked before anything is done, so that what cannot work fails at once and
//! names the steps that end it.
//!
//! Reads the facts over one connection and lets [`howdah_plan::platform`] judge them. Whether pgvector may be created is
//! not guessed from role names: it is created in a transaction that is rolled back.

use howdah_plan::platform::{self, Candidate, Platform, PlatformFacts};
use howdah_plan::problem::Problem;
use tokio_postgres::{Client, IsolationLevel};

use super::problem::from_pg;
use super::{Host, Pools, Target};

/// What is known about a server that Howdah can work on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preflight {
    /// `server_version_num`: 160014.
    pub version_num: u32,
    /// `server_version`: `16.14`.
    pub version: String,
    /// On whose PostgreSQL we are, and why.
    pub platform: Platform,
    /// Version of pgvector that the server offers.
    pub pgvector: String,
    /// Version of pgvector in the database, where it is installed.
    pub installed: Option<String>,
    /// Whether our role is superuser.
    pub superuser: bool,
    /// Whether the server is a replica or read-only.
    pub read_only: bool,
    /// What a person should know all the same, in sentences.
    pub notes: Vec<String>,
}

/// Reads the facts of the server and of `database`, and judges them.
///
/// # Errors
/// `machine` when the server is too old, or pgvector is missing or has a known fault; `forbidden` when it may not be
/// created; what connecting says. The hint holds the steps for the platform.
pub async fn preflight(pools: &Pools, database: &str) -> Result<Preflight, Problem> {
    let mut client = pools.own(database).await?;
    let facts = facts(&client, &pools.target()).await?;
    let platform = platform::detect(&facts);
    let mut candidate = candidate(&client, database, &facts).await?;
    let row = client
        .query_one(
            "SELECT current_setting('is_superuser') = 'on', pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on'",
            &[],
        )
        .await
        .map_err(|e| from_pg(&e, "look at the server"))?;
    let (superuser, read_only): (bool, bool) = (row.get(0), row.get(1));
    let worth_trying = candidate.installed.is_none() && candidate.available.is_some() && !read_only;
    if worth_trying && !superuser {
        candidate.refusal = try_to_create(&mut client).await?;
        candidate.may_create = candidate.refusal.is_none();
    }
    let notes = platform::judge(&candidate, &platform)?;
    Ok(Preflight {
        version_num: candidate.version_num,
        version: candidate.version,
        platform,
        pgvector: candidate.available.unwrap_or_default(),
        installed: candidate.installed,
        superuser,
        read_only,
        notes,
    })
}

/// On whose PostgreSQL are we?
///
/// # Errors
/// What the server says.
pub async fn platform_of(client: &Client, target: &Target) -> Result<Platform, Problem> {
    Ok(platform::detect(&facts(client, target).await?))
}

async fn facts(client: &Client, target: &Target) -> Result<PlatformFacts, Problem> {
    let sql = "SELECT version(),
        ARRAY(SELECT name FROM pg_settings WHERE name LIKE '%.%' ORDER BY name),
        ARRAY(SELECT rolname::text FROM pg_roles ORDER BY rolname),
        ARRAY(SELECT nspname::text FROM pg_namespace ORDER BY nspname),
        EXISTS (SELECT FROM pg_proc WHERE proname = 'aurora_version'),
        (SELECT setting FROM pg_settings WHERE name = 'data_directory')";
    let row = client.query_one(sql, &[]).await.map_err(|e| from_pg(&e, "look at the server"))?;
    Ok(PlatformFacts {
        version: row.get(0),
        settings: row.get(1),
        roles: row.get(2),
        schemas: row.get(3),
        aurora: row.get(4),
        host: match &target.host {
            Host::Tcp(host) => Some(host.clone()),
            Host::Socket(_) => None,
        },
        data_directory: row.get(5),
        // A loopback port may be another container's; a socket is ours.
        container: matches!(target.host, Host::Socket(_)) && super::machine::in_container(),
    })
}

async fn candidate(client: &Client, database: &str, facts: &PlatformFacts) -> Result<Candidate, Problem> {
    let sql = "SELECT current_setting('server_version_num')::int, current_setting('server_version'), current_user::text,
        (SELECT default_version FROM pg_available_extensions WHERE name = 'vector'),
        (SELECT extversion FROM pg_extension WHERE extname = 'vector')";
    let row = client.query_one(sql, &[]).await.map_err(|e| from_pg(&e, "look for pgvector"))?;
    Ok(Candidate {
        version_num: u32::try_from(row.get::<_, i32>(0)).unwrap_or_default(),
        version: row.get(1),
        bits: if facts.version.contains("32-bit") { 32 } else { 64 },
        database: database.to_owned(),
        role: row.get(2),
        available: row.get(3),
        installed: row.get(4),
        may_create: true,
        refusal: None,
    })
}

/// Creates pgvector and takes it back. Returns what the server said against it.
async fn try_to_create(client: &mut Client) -> Result<Option<String>, Problem> {
    let doing = "try to create pgvector";
    let transaction = client
        .build_transaction()
        .isolation_level(IsolationLevel::ReadCommitted)
        .start()
        .await
        .map_err(|e| from_pg(&e, doing))?;
    let tried = transaction.batch_execute("SET LOCAL lock_timeout = '5s'; CREATE EXTENSION vector").await;
    let refusal = match &tried {
        Ok(()) => None,
        Err(error) => match error.as_db_error() {
            Some(db) => Some(match db.hint() {
                Some(hint) => format!("{}; {hint}", db.message()),
                None => db.message().to_owned(),
            }),
            None => return Err(from_pg(error, doing)),
        },
    };
    transaction.rollback().await.map_err(|e| from_pg(&e, doing))?;
    Ok(refusal)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use howdah_plan::platform::Id;
    use howdah_plan::problem::Kind;
    use howdah_plan::spec::Server;

    use super::*;
    use crate::instance::{Instance, Patience};
    use crate::{Home, find, testing};

    #[tokio::test]
    async fn a_good_server_passes_and_is_left_as_it_was() {
        let database = testing::empty_database().await;
        let seen = preflight(&database.pools, &database.name).await.unwrap();
        assert_eq!((seen.installed, seen.superuser, seen.read_only), (None, true, false));
        assert_eq!(seen.pgvector, "0.8.5");
        assert_eq!(seen.version_num / 10_000, testing::major());
        assert_eq!(seen.notes, Vec::<String>::new());
        let with = testing::database().await;
        let seen = preflight(&with.pools, &with.name).await.unwrap();
        assert_eq!(seen.installed.as_deref(), Some("0.8.5"));
    }

    #[tokio::test]
    async fn a_role_that_may_not_create_pgvector_is_told_who_may() {
        let database = testing::empty_database().await;
        let role = format!("owner_of_{}", database.name);
        let admin = database.client().await;
        admin
            .batch_execute(&format!(
                "CREATE ROLE {role} LOGIN PASSWORD 'x'; ALTER DATABASE {} OWNER TO {role}",
                database.name
            ))
            .await
            .unwrap();
        let target = database.target.as_role(&role, Some(crate::Secret::new("x")));
        let pools = Pools::new(target, 2);
        let problem = preflight(&pools, &database.name).await.unwrap_err();
        assert_eq!(problem.kind, Kind::Forbidden);
        assert!(problem.message.contains(&format!("`{role}`")), "{problem}");
        assert!(problem.detail.unwrap().contains("permission denied to create extension"));
        assert!(problem.hint.unwrap().contains("CREATE EXTENSION vector"));
        // Once an administrator has created it, the same role passes.
        admin.batch_execute("CREATE EXTENSION vector").await.unwrap();
        let seen = preflight(&pools, &database.name).await.unwrap();
        assert!(!seen.superuser);
        pools.close();
        admin
            .batch_execute(&format!(
                "ALTER DATABASE {} OWNER TO postgres; DROP OWNED BY {role}; DROP ROLE {role}",
                database.name
            ))
            .await
            .unwrap();
    }

    /// A machine's own PostgreSQL without pgvector: Debian 12 has no package of it.
    #[tokio::test]
    async fn a_server_without_pgvector_fails_at_once_with_the_steps_for_its_platform() {
        let bindir = Path::new("/usr/lib/postgresql/15/bin");
        if !bindir.join("initdb").is_file()
            || Path::new("/usr/share/postgresql/15/extension/vector.control").exists()
        {
            eprintln!("skipped: needs Debian's PostgreSQL 15 without pgvector");
            return;
        }
        let dir = testing::directory();
        let programs = find::inspect(bindir).unwrap();
        assert_eq!((programs.major, programs.pgvector.clone()), (15, None));
        let instance =
            Instance::new(&Home::at(dir.join("h")), "debian", &Server::default(), programs).unwrap();
        instance.init().await.unwrap();
        let running = instance.start().await.unwrap();
        let pools = Pools::new(running.target.clone(), 2);
        let problem = preflight(&pools, "postgres").await.unwrap_err();
        assert_eq!(problem.kind, Kind::Machine);
        assert_eq!(problem.message, "pgvector is not available on this server");
        let detail = problem.detail.unwrap();
        assert!(detail.contains("Debian") && detail.contains("PostgreSQL 15."), "{detail}");
        assert!(problem.hint.unwrap().contains("apt-get install -y postgresql-15-pgvector"));
        let client = pools.own("postgres").await.unwrap();
        assert_eq!(platform_of(&client, &pools.target()).await.unwrap().id, Id::Debian);
        drop(client);
        running.stop(Patience::default()).await.unwrap();
        let _ = std::fs::remove_dir_all(dir);
    }
}
