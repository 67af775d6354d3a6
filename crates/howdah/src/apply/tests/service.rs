//! The roles that the service works as, tried by logging in as them.

use howdah_plan::service::{Purpose, role_name};
use howdah_plan::spec::Spec;

use super::{Server, options, spec};
use crate::apply::Options;
use howdah_postgres::problem::from_pg;
use howdah_postgres::{Secret, SslMode};

const LIBRARY: &str = r#"
name = "library-1"

[databases.library]
schemas = ["shelf"]

[databases.second]

[collections.books]
dimensions = 3
table = "shelf.books"

[collections.papers]
dimensions = 3
table = "papers"
adopt = { id = "id", content = "body", embedding = "embedding" }
"#;

/// What somebody else has in the database; the adopted table numbers its rows by a sequence.
const THEIRS: &str = "
CREATE SCHEMA vectors; CREATE EXTENSION vector SCHEMA vectors;
CREATE TABLE papers (id serial PRIMARY KEY, body text, embedding vectors.vector(3));
CREATE TABLE secrets (id int); INSERT INTO secrets VALUES (1)";

fn password(purpose: Purpose) -> String {
    format!("password to {}", purpose.name())
}

fn with_passwords() -> Options {
    let mut options = options();
    for purpose in Purpose::ALL {
        let secret = Secret::new(password(purpose));
        options.environment.insert(purpose.password_variable().into(), secret);
    }
    options
}

async fn library() -> (Server, Spec) {
    let mut server = Server::start();
    server.sql("postgres", "CREATE DATABASE library").await;
    server.sql("library", THEIRS).await;
    let library = spec(LIBRARY);
    let outcome = server.try_apply(&library, &with_passwords()).await.unwrap();
    assert!(outcome.left.is_empty(), "{}", outcome.left);
    server.cluster.target.sslmode = SslMode::Disable;
    (server, library)
}

/// The SQLSTATE of what a role is told; `ok` where it may.
async fn told(server: &Server, spec: &Spec, purpose: Purpose, database: &str, sql: &str) -> String {
    let mut target = server.cluster.target.with_database(database);
    target.user = role_name(spec, purpose);
    target.password = Some(Secret::new(password(purpose)));
    let client = match howdah_postgres::connect::connect(&target).await {
        Ok(client) => client,
        Err(problem) => return format!("cannot connect: {problem:?}"),
    };
    match client.batch_execute(sql).await {
        Ok(()) => "ok".into(),
        Err(error) => match error.code() {
            Some(code) => code.code().to_owned(),
            None => format!("{:?}", from_pg(&error, "try")),
        },
    }
}

/// What nobody of them may.
const FORBIDDEN: [&str; 9] = [
    "SELECT * FROM secrets",
    "CREATE TABLE mine (id int)",
    "CREATE SCHEMA mine",
    "SET ROLE postgres",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "SELECT pg_read_file('/etc/hostname')",
    "ALTER SYSTEM SET work_mem = '1GB'",
    "SELECT * FROM howdah.managed",
    "TRUNCATE shelf.books",
];

#[tokio::test]
async fn each_role_may_what_it_serves_with_and_nothing_else() {
    let (server, spec) = library().await;
    let book = "INSERT INTO shelf.books (source, chunk, content, content_hash, embedding) VALUES ('a', 0, 'a', '', '[1,2,3]')";
    let nearest = "SELECT * FROM shelf.books ORDER BY embedding OPERATOR(vectors.<=>) '[1,2,3]'::vectors.vector LIMIT 1";
    let document = "INSERT INTO howdah.sources VALUES ('books', 'a', '', 1)";
    let key = "INSERT INTO howdah.api_keys (name, prefix, hash, scopes) VALUES ('a', 'a', '', '{}')";
    let job = "INSERT INTO howdah.jobs (skill, input, caller) VALUES ('ingest', '{}', 'a')";
    let book = book.replace("'[1,2,3]'", "'[1,2,3]'::vectors.vector");
    let reads = [nearest, "SELECT * FROM papers", "SELECT * FROM howdah.sources, howdah.collections"];
    let writes = [
        book.as_str(),
        "UPDATE shelf.books SET content = 'b'",
        "DELETE FROM shelf.books",
        "INSERT INTO papers (body) VALUES ('a')",
        document,
        "UPDATE howdah.sources SET chunks = 2; DELETE FROM howdah.sources; DELETE FROM howdah.collections",
        "CREATE TEMPORARY TABLE batch (id int)",
    ];
    let control = [
        key,
        job,
        "SELECT * FROM howdah.api_keys, howdah.jobs",
        "UPDATE howdah.jobs SET state = 'running'; DELETE FROM howdah.jobs; DELETE FROM howdah.api_keys",
    ];
    let may = |purpose: Purpose, sql: &str| match purpose {
        Purpose::Read => reads.contains(&sql) || sql.starts_with("CREATE TEMPORARY"),
        Purpose::Write => reads.contains(&sql) || writes.contains(&sql),
        Purpose::Control => control.contains(&sql) || sql.starts_with("CREATE TEMPORARY"),
        // It sees what is declared, not the keys, and changes nothing.
        Purpose::Inspect => {
            reads.contains(&sql)
                || sql == "SELECT * FROM howdah.managed"
                || sql.starts_with("CREATE TEMPORARY")
        }
    };
    for purpose in Purpose::ALL {
        for sql in writes.iter().chain(&reads).chain(&control).chain(&FORBIDDEN) {
            let expected = if may(purpose, sql) { "ok" } else { "42501" };
            assert_eq!(told(&server, &spec, purpose, "library", sql).await, expected, "{purpose:?}: {sql}");
        }
    }
    for (sql, expected) in [
        ("SELECT * FROM pg_file_settings, pg_hba_file_rules", "ok"),
        ("SELECT * FROM pg_stat_activity, pg_settings", "ok"),
        ("SELECT * FROM pg_authid", "42501"),
        ("SELECT pg_terminate_backend(pg_backend_pid())", "57P01"),
        ("SELECT pg_reload_conf()", "42501"),
        ("BEGIN; LOCK TABLE papers IN SHARE MODE", "42501"),
    ] {
        assert_eq!(told(&server, &spec, Purpose::Inspect, "library", sql).await, expected, "{sql}");
    }
    // Keys and jobs are kept in one database.
    for (purpose, sql, expected) in [
        (Purpose::Control, "SELECT * FROM howdah.api_keys", "42501"),
        (Purpose::Read, "SELECT * FROM howdah.sources", "ok"),
        (Purpose::Write, document, "ok"),
    ] {
        assert_eq!(told(&server, &spec, purpose, "second", sql).await, expected, "{purpose:?}: {sql}");
    }
    let unlike = "SELECT string_agg(rolname, ' ') FROM pg_roles WHERE rolname ~ '^howdah_library_1_' \
                  AND (rolsuper OR (rolinherit AND rolname !~ '_inspect$') OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls)";
    assert_eq!(server.value("postgres", unlike).await, "");
    let plan = server.plan(&spec).await;
    assert!(plan.is_empty(), "{plan}");
}

#[tokio::test]
async fn where_everybody_lost_a_right_the_service_keeps_what_it_needs() {
    let (server, spec) = library().await;
    server
        .sql(
            "library",
            "REVOKE ALL ON DATABASE library FROM PUBLIC; REVOKE USAGE ON SCHEMA public FROM PUBLIC",
        )
        .await;
    server.apply(&spec).await;
    assert!(server.plan(&spec).await.is_empty());
    for (purpose, sql, expected) in [
        (Purpose::Read, "SELECT * FROM papers", "ok"),
        (Purpose::Read, "CREATE TEMPORARY TABLE batch (id int)", "42501"),
        (Purpose::Write, "CREATE TEMPORARY TABLE batch (id int)", "ok"),
        (Purpose::Write, "INSERT INTO papers (body) VALUES ('a')", "ok"),
        (Purpose::Control, "SELECT * FROM howdah.jobs", "ok"),
    ] {
        assert_eq!(told(&server, &spec, purpose, "library", sql).await, expected, "{purpose:?}: {sql}");
    }
}

#[tokio::test]
async fn what_somebody_gave_them_is_taken_away() {
    let (server, spec) = library().await;
    let (role, inspect) = (role_name(&spec, Purpose::Read), role_name(&spec, Purpose::Inspect));
    for change in [
        format!("GRANT SELECT ON secrets TO {role}"),
        format!("GRANT SELECT ON howdah.api_keys TO {role}"),
        format!("GRANT INSERT ON shelf.books TO {role}"),
        format!("GRANT CREATE ON SCHEMA howdah TO {role}"),
        format!("GRANT CREATE ON DATABASE library TO {role}"),
        format!("GRANT pg_read_all_data TO {role}"),
        format!("ALTER ROLE {role} SUPERUSER CREATEDB INHERIT"),
        format!("ALTER ROLE {role} NOLOGIN CONNECTION LIMIT 1"),
        format!("ALTER ROLE {inspect} SUPERUSER NOINHERIT"),
        format!("GRANT pg_write_all_data TO {inspect}; REVOKE pg_monitor FROM {inspect}"),
        format!("REVOKE EXECUTE ON FUNCTION pg_hba_file_rules() FROM {inspect}"),
        format!("ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO {role}"),
    ] {
        server.sql("library", &change).await;
        assert!(!server.plan(&spec).await.is_empty(), "{change}");
        server.apply(&spec).await;
        let plan = server.plan(&spec).await;
        assert!(plan.is_empty(), "{change}: {plan}");
        for forbidden in ["SELECT * FROM secrets", "SELECT * FROM howdah.api_keys", "CREATE SCHEMA mine"] {
            let code = told(&server, &spec, Purpose::Read, "library", forbidden).await;
            assert_eq!(code, "42501", "{change}: {forbidden}");
        }
    }
}

#[tokio::test]
async fn a_removed_collection_and_a_removed_database_end_their_rights() {
    let (server, declared) = library().await;
    let without = LIBRARY.split("[collections.papers]").next().unwrap().replace("[databases.second]", "");
    let less = spec(&without);
    server.apply(&less).await;
    let plan = server.plan(&less).await;
    assert!(plan.steps.is_empty() && plan.problems.is_empty(), "{plan}");
    for (database, sql) in [("library", "SELECT * FROM papers"), ("second", "SELECT * FROM howdah.sources")] {
        assert_eq!(told(&server, &declared, Purpose::Read, database, sql).await, "42501", "{sql}");
    }
    assert_eq!(told(&server, &declared, Purpose::Read, "library", "SELECT * FROM shelf.books").await, "ok");
    assert_eq!(server.value("library", "SELECT count(*) FROM papers").await, "0", "the table stays");
}

#[tokio::test]
async fn switched_off_they_are_dropped_and_switched_on_they_are_back() {
    let (server, declared) = library().await;
    let count = "SELECT count(*) FROM pg_roles WHERE rolname ~ '^howdah_library_1_'";
    assert_eq!(server.value("postgres", count).await, "4");
    // A table that one of them came to own is nobody's loss.
    let write = role_name(&declared, Purpose::Write);
    server.sql("library", &format!("CREATE TABLE kept (id int); ALTER TABLE kept OWNER TO {write}")).await;
    let off = spec(&format!("{LIBRARY}\n[api]\nroles = \"off\"\n"));
    server.apply(&off).await;
    assert_eq!(server.value("postgres", count).await, "0");
    assert_eq!(server.value("library", "SELECT count(*) FROM kept").await, "0");
    let plan = server.plan(&off).await;
    assert!(plan.is_empty(), "{plan}");
    server.try_apply(&declared, &with_passwords()).await.unwrap();
    assert_eq!(told(&server, &declared, Purpose::Read, "library", "SELECT * FROM shelf.books").await, "ok");
    assert!(server.plan(&declared).await.is_empty());
}

#[tokio::test]
async fn a_password_that_nobody_gives_is_one_that_nobody_knows_until_the_service_sets_its_own() {
    let mut server = Server::start();
    let declared = spec("name = \"library-1\"\n[databases.library]\n");
    server.apply(&declared).await;
    server.cluster.target.sslmode = SslMode::Disable;
    let sql = "SELECT * FROM howdah.jobs";
    let refused = told(&server, &declared, Purpose::Control, "library", sql).await;
    assert!(refused.starts_with("cannot connect"), "{refused}");
    let mut options = with_passwords();
    options.plan.set_service_passwords = true;
    let outcome = server.try_apply(&declared, &options).await.unwrap();
    assert_eq!(outcome.done.len(), 4, "{:?}", outcome.done);
    assert_eq!(told(&server, &declared, Purpose::Control, "library", sql).await, "ok");
    let seen = "SELECT count(*) FROM pg_authid WHERE rolname ~ '^howdah_library_1_' AND rolpassword ~ '^SCRAM-SHA-256'";
    assert_eq!(server.value("postgres", seen).await, "4");
}
