//! Which PostgreSQL and which pgvector is this, and does it work?

use super::super::answer::{Found, Row};
use super::super::contract::{Area, Check, CheckFacts, FixKind, FixTemplate, Need, Severity};
use crate::platform;
use crate::spec::Spec;
use crate::version::{MAJORS, OLDEST_SOUND, faults, parse};

pub static CHECKS: &[Check] = &[
    Check::new(
        "pg.version.eol",
        Area::Version,
        Severity::Critical,
        "PostgreSQL is out of support or behind",
        "A major past its last day gets no fix for anything, security included; an older minor lacks fixes that exist.",
        "SELECT current_setting('server_version') AS version",
    )
    .server()
    .majors(1, 99)
    .each(version)
    .advice(
        "A newer minor replaces the programs and restarts (`apt-get install --only-upgrade`, a newer image); a newer \
         major needs pg_upgrade or dump and restore.",
    ),
    Check::new(
        "pgv.available",
        Area::Extension,
        Severity::Critical,
        "pgvector is not on this server",
        "Without the extension's files there is no vector type. They come with a package or an image; nothing in \
         `shared_preload_libraries` brings them.",
        "SELECT default_version FROM pg_available_extensions WHERE name = 'vector'",
    )
    .server()
    .all(|facts, rows| {
        let database = facts.database.unwrap_or("your database");
        let steps = || platform::install_steps(facts.platform, facts.major(), database);
        let found = || Found::new("`vector` is not in `pg_available_extensions`").value("install", steps());
        if rows.is_empty() { vec![found().fix(INSTALL)] } else { vec![] }
    })
    .advice(
        "Install the package that belongs to this server (Debian and Ubuntu with the PGDG repository: \
         `postgresql-<major>-pgvector`; Docker: the image `pgvector/pgvector:pg<major>`), or let Howdah run a server: \
         remove `url` from `[server]` and run `howdah up`.",
    ),
    Check::new(
        "pgv.installed",
        Area::Extension,
        Severity::Critical,
        "pgvector is not created in this database",
        "An extension is created in each database. The extension is called `vector`, not pgvector.",
        "SELECT extversion FROM pg_extension WHERE extname = 'vector'",
    )
    .all(installed)
    .safe_fix("CREATE EXTENSION IF NOT EXISTS vector"),
    Check::new(
        "pgv.outdated",
        Area::Extension,
        Severity::Medium,
        "an extension's SQL is older than its library",
        "A newer package brings a newer library, but the database keeps the old SQL objects until it is told: new \
         operators and settings are missing, and some fixes with them.",
        "SELECT e.extname AS object, quote_ident(e.extname) AS name, e.extversion, a.default_version FROM pg_extension e \
         JOIN pg_available_extensions a ON a.name = e.extname WHERE e.extversion IS DISTINCT FROM a.default_version",
    )
    .each(|_, row| {
        let found = Found::new(format!("`{}`, available is `{}`", row.text("extversion"), row.text("default_version")));
        let vector = FixTemplate { kind: FixKind::Sql, text: "ALTER EXTENSION {name} UPDATE", safe: true };
        Some(if matches!(row.text("object"), "vector" | "howdah") { found.severity(Severity::High).fix(vector) } else { found })
    })
    .sql_fix("ALTER EXTENSION {name} UPDATE"),
    Check::new(
        "pgv.cve.2026-3172",
        Area::Security,
        Severity::Critical,
        "pgvector has CVE-2026-3172",
        "From 0.6.0 to 0.8.1 a parallel HNSW build writes beyond its buffer: who may create an index may crash the server \
         or read other sessions' memory.",
        AVAILABLE,
    )
    .server()
    .each(|_, row| fault(row, "CVE-2026-3172"))
    .advice(
        "Install pgvector 0.8.4 or newer, then `ALTER EXTENSION vector UPDATE` in each database. Until then: `ALTER \
         SYSTEM SET max_parallel_maintenance_workers = 0` and `SELECT pg_reload_conf()`.",
    ),
    Check::new(
        "pgv.corruption.hnsw_vacuum",
        Area::Integrity,
        Severity::Critical,
        "this pgvector damages HNSW graphs in vacuum",
        "Before 0.8.3 vacuum can corrupt an HNSW index, and before 0.8.4 it can leave the graph unrepaired: rows are \
         there and no search finds them.",
        AVAILABLE,
    )
    .server()
    .each(|_, row| fault(row, "HNSW vacuum corruption"))
    .advice(
        "Install pgvector 0.8.4 or newer, `ALTER EXTENSION vector UPDATE` in each database, then `REINDEX INDEX \
         CONCURRENTLY` each HNSW index.",
    ),
    Check::new(
        "pgv.cve.2026-18022",
        Area::Security,
        Severity::Critical,
        "pgvector has CVE-2026-18022",
        "On a 32-bit server (Raspberry Pi OS 32-bit) an IVFFlat index before 0.8.6 writes out of bounds, which may run an \
         attacker's code.",
        AVAILABLE,
    )
    .server()
    .each(|_, row| fault(row, "CVE-2026-18022"))
    .advice("Install pgvector 0.8.6 or newer, or a 64-bit system."),
    Check::new(
        "pgv.so_loads",
        Area::Extension,
        Severity::Critical,
        "pgvector's library does not work",
        "The distance of two known vectors is computed. An error or another result means that the library does not fit \
         this server or this processor: a build made with `-march=native` stops with an illegal instruction elsewhere.",
        "SELECT '[1,2,3]'::vector <-> '[4,5,6]'::vector AS distance",
    )
    .needs(&[Need::Extension("vector")])
    .error_counts()
    .each(|_, row| {
        let distance = row.float("distance")?;
        ((distance - 5.196_152_422_706_632).abs() > 1e-9)
            .then(|| Found::new(format!("[1,2,3] <-> [4,5,6] is `{distance}` instead of `5.196152422706632`")))
    })
    .advice("Install the package that belongs to this server, or build pgvector with `make OPTFLAGS=\"\"`."),
    Check::new(
        "pgv.trusted",
        Area::Permissions,
        Severity::Info,
        "only a superuser can create pgvector here",
        "Upstream pgvector is not a trusted extension: the right to create objects in the database is not enough. Where a \
         packager or platform allows it, it works; here it does not.",
        "SELECT version, superuser, trusted FROM pg_available_extension_versions v WHERE name = 'vector' \
         AND version = (SELECT default_version FROM pg_available_extensions WHERE name = 'vector') \
         AND NOT EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'vector')",
    )
    .each(|facts, row| {
        (!facts.superuser && row.is("superuser") && !row.is("trusted"))
            .then(|| Found::new(format!("`vector` {} is not trusted and you are no superuser", row.text("version"))))
    })
    .advice(
        "Let an administrator run `CREATE EXTENSION vector` once in this database. Do not make the application a \
         superuser for it.",
    ),
    Check::new(
        "pgv.extension.public_schema",
        Area::Security,
        Severity::Info,
        "pgvector stands in the schema `public`",
        "It works. A schema of its own keeps its functions apart from the application's, at the price of a search path.",
        "SELECT n.nspname AS object FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace \
         WHERE e.extname = 'vector' AND n.nspname = 'public' AND has_schema_privilege('public', n.oid, 'CREATE')",
    )
    .each(|_, _| Some(Found::new("everybody may create objects in the schema of its operators")))
    .sql_fix("REVOKE CREATE ON SCHEMA public FROM PUBLIC"),
    Check::new(
        "pgv.preload.unneeded",
        Area::Config,
        Severity::Info,
        "pgvector is preloaded for nothing",
        "pgvector needs no entry in `shared_preload_libraries`: it is loaded by the first vector. The entry costs a \
         restart, some platforms refuse it, and version 0.6.0 crashed with it.",
        "SELECT current_setting('shared_preload_libraries') AS libraries",
    )
    .server()
    .needs(&[Need::Monitor])
    .each(|_, row| {
        let libraries = row.text("libraries");
        let rest: Vec<&str> = names(libraries).filter(|name| *name != "vector").collect();
        let quoted: Vec<String> = rest.iter().map(|name| format!("'{name}'")).collect();
        names(libraries).any(|name| name == "vector").then(|| {
            Found::new(format!("`shared_preload_libraries` is `{libraries}`"))
                .value("rest", if quoted.is_empty() { "''".to_owned() } else { quoted.join(", ") })
        })
    })
    .sql_fix("ALTER SYSTEM SET shared_preload_libraries = {rest}; -- then restart"),
    Check::new(
        "ext.preload.missing",
        Area::Config,
        Severity::High,
        "an extension's library is not loaded at start",
        "These extensions keep their data in shared memory: created without the preload, each of their functions fails \
         or does nothing.",
        "SELECT extname AS object, current_setting('shared_preload_libraries') AS libraries FROM pg_extension \
         WHERE extname IN ('pg_stat_statements', 'pg_cron', 'pg_net', 'timescaledb', 'pg_stat_kcache', 'pgaudit')",
    )
    .needs(&[Need::Monitor])
    .each(|_, row| {
        let (name, libraries) = (row.text("object"), row.text("libraries"));
        let all: Vec<String> = names(libraries).chain([name]).map(|name| format!("'{name}'")).collect();
        (!names(libraries).any(|library| library == name)).then(|| {
            Found::new(format!("`{name}` is created, `shared_preload_libraries` is `{libraries}`"))
                .value("all", all.join(", "))
        })
    })
    .sql_fix("ALTER SYSTEM SET shared_preload_libraries = {all}; -- then restart"),
    Check::new(
        "pgv.gucs.loaded",
        Area::Config,
        Severity::Info,
        "`hnsw.ef_search` does not exist in a new session",
        "pgvector's settings exist once its library is loaded, which the first vector does. A client whose first \
         statement is `SHOW hnsw.ef_search` gets an error, and `SET` before it checks nothing.",
        "SELECT current_setting('session_preload_libraries') AS session, \
         current_setting('shared_preload_libraries') AS shared",
    )
    .needs(&[Need::Extension("vector"), Need::Monitor])
    .each(|_, row| {
        let loaded = names(row.text("session")).chain(names(row.text("shared"))).any(|name| name == "vector");
        (!loaded).then(|| Found::new("the library is loaded by the first vector of a session"))
    })
    .advice(
        "Nothing has to be done for clients that use vectors before they set anything. Otherwise: `ALTER DATABASE … SET \
         session_preload_libraries = 'vector'`.",
    ),
];

const INSTALL: FixTemplate = FixTemplate { kind: FixKind::Advice, text: "{install}", safe: false };

const AVAILABLE: &str = "SELECT default_version, CASE WHEN version() ~ '32-bit' THEN 32 ELSE 64 END AS bits \
                         FROM pg_available_extensions WHERE name = 'vector'";

fn version(facts: &CheckFacts<'_>, row: &Row) -> Option<Found> {
    let (major, minor) = (facts.major(), facts.version_num % 10_000);
    let version = row.text("version");
    let Some(known) = MAJORS.iter().find(|known| known.major == major) else {
        let oldest = MAJORS[0].major;
        return (major < oldest).then(|| Found::new(format!("`{version}` is older than {oldest}")));
    };
    if facts.today > known.last_day {
        return Some(Found::new(format!("`{version}`: {major} had its last release on {}", known.last_day)));
    }
    (minor < known.newest_minor).then(|| {
        Found::new(format!("`{version}`, behind {major}.{}", known.newest_minor)).severity(Severity::Medium)
    })
}

fn fault(row: &Row, name: &str) -> Option<Found> {
    let version = row.text("default_version");
    let bits = u32::try_from(row.int("bits")?).ok()?;
    let fault = faults(parse(version)?, bits).find(|fault| fault.name == name)?;
    let [major, minor, patch] = fault.fixed.max(OLDEST_SOUND);
    Some(Found::new(format!("`{version}` is there; {}; sound from {major}.{minor}.{patch}", fault.effect)))
}

fn installed(facts: &CheckFacts<'_>, rows: &[Row]) -> Vec<Found> {
    let (Some(database), true) = (facts.database, rows.is_empty()) else { return vec![] };
    match facts.spec {
        Some(spec) if wants_vectors(spec, database) => {
            vec![Found::new(format!("the declaration wants vectors in `{database}`"))]
        }
        Some(_) => vec![],
        None if database == "postgres" => vec![],
        None => vec![Found::new(format!("`{database}` has no vector type")).severity(Severity::Info)],
    }
}

/// Whether the declaration has vectors in a database.
fn wants_vectors(spec: &Spec, database: &str) -> bool {
    let first = spec.databases.keys().next().map(String::as_str);
    spec.databases.get(database).is_some_and(|declared| declared.extensions.contains_key("vector"))
        || spec.collections.values().any(|it| it.database.as_deref().or(first) == Some(database))
}

fn names(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(|name| name.trim().trim_matches('"')).filter(|name| !name.is_empty())
}
