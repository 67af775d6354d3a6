//! A role can do what is declared and nothing else, tried by connecting as it.

use howdah_plan::problem::Kind;

use super::{SHOP, Server, options, spec};
use crate::apply::Options;
use howdah_postgres::{Secret, SslMode};

#[tokio::test]
async fn a_role_may_what_is_declared_and_no_more() {
    let mut server = Server::start();
    let shop = spec(SHOP);
    server.apply(&shop).await;
    // A table that the owner makes later, with a sequence of its own.
    server
        .sql(
            "shop",
            "SET ROLE shop_owner; CREATE TABLE later (id serial, text text); \
             CREATE TABLE archive.later (id int)",
        )
        .await;
    server.cluster.target.sslmode = SslMode::Disable;
    let app = async |sql: &str| server.try_as("shop_app", "correct horse", "shop", sql).await;
    for allowed in [
        "SELECT * FROM notes",
        "INSERT INTO later (text) VALUES ('a')",
        "UPDATE later SET text = 'b'; DELETE FROM later",
        "SELECT * FROM archive.later",
        "SELECT * FROM archive.events",
        "SELECT 1 / (current_setting('statement_timeout') = '30s')::int",
    ] {
        app(allowed).await.unwrap_or_else(|problem| panic!("{allowed}: {problem:#?}"));
    }
    for forbidden in [
        "TRUNCATE notes",
        "INSERT INTO archive.later VALUES (1)",
        "CREATE TABLE mine (id int)",
        "SELECT * FROM howdah.api_keys",
        "DROP TABLE later",
        "ALTER SYSTEM SET work_mem = '1GB'",
    ] {
        let problem = app(forbidden).await.expect_err(forbidden);
        assert_eq!(problem.kind, Kind::Forbidden, "{forbidden}: {problem:#?}");
    }
    let wrong = server.try_as("shop_app", "wrong", "shop", "SELECT 1").await.unwrap_err();
    assert_eq!(wrong.kind, Kind::Unauthenticated);
    let seen = server.value("postgres", "SELECT rolpassword FROM pg_authid WHERE rolname = 'shop_app'").await;
    assert!(seen.starts_with("SCRAM-SHA-256$4096:"), "{seen}");
    assert!(!server.cluster.log().contains("correct horse"));
}

#[tokio::test]
async fn a_role_that_may_only_read_any_more_loses_its_sequences_too() {
    let mut server = Server::start();
    let shop = spec(SHOP);
    server.apply(&shop).await;
    // Made later by the owner, so that the default privileges give what a writer needs: on the sequence of the identity
    // too, which needs nothing.
    let later = "SET ROLE shop_owner; \
                 CREATE TABLE later (id bigint GENERATED ALWAYS AS IDENTITY, number serial, text text)";
    server.sql("shop", later).await;
    let usable = "SELECT string_agg(c.relname, ' ' ORDER BY c.relname) FROM pg_class c \
                  WHERE CASE c.relkind WHEN 'S' THEN has_sequence_privilege('shop_app', c.oid, 'USAGE,SELECT,UPDATE') END";
    let before = server.value("shop", usable).await;
    assert!(before.contains("later_id_seq") && before.contains("later_number_seq"), "{before}");
    let plan = server.plan(&shop).await;
    assert!(plan.is_empty(), "a writer keeps what the default privileges gave: {plan}");

    let writes = r#"["select", "insert", "update", "delete"]"#;
    let reading = spec(&SHOP.replace(writes, r#"["select"]"#));
    server.apply(&reading).await;
    let plan = server.plan(&reading).await;
    assert!(plan.is_empty(), "{plan}");
    assert_eq!(server.value("shop", usable).await, "");
    server.cluster.target.sslmode = SslMode::Disable;
    let app = async |sql: &str| server.try_as("shop_app", "correct horse", "shop", sql).await;
    app("SELECT * FROM later").await.unwrap();
    for forbidden in ["SELECT nextval('later_id_seq')", "SELECT nextval('later_number_seq')"] {
        let problem = app(forbidden).await.expect_err(forbidden);
        assert_eq!(problem.kind, Kind::Forbidden, "{forbidden}: {problem:#?}");
    }
}

#[tokio::test]
async fn a_password_is_set_once_and_again_when_asked() {
    let server = Server::with(&["log_statement=all"]);
    let shop = spec(SHOP);
    let without = Options::default();
    let problem = server.try_apply(&shop, &without).await.unwrap_err();
    assert_eq!(problem.kind, Kind::Usage);
    assert!(problem.message.contains("`APP_PASSWORD`"), "{problem:#?}");
    assert_eq!(server.value("postgres", "SELECT count(*) FROM pg_roles WHERE rolname ~ '^shop'").await, "0");

    // Killed between the role and its password: the next run sets it.
    let stopped = Options { stop_after: Some(2), ..options() };
    server.try_apply(&shop, &stopped).await.unwrap_err();
    let hash = "SELECT rolpassword FROM pg_authid WHERE rolname = 'shop_app'";
    assert_eq!(server.value("postgres", hash).await, "");
    server.apply(&shop).await;
    let first = server.value("postgres", hash).await;
    assert!(!first.is_empty());
    server.apply(&shop).await;
    assert_eq!(server.value("postgres", hash).await, first, "a second run sets no password");

    let mut again = options();
    again.plan.set_passwords = true;
    again.environment.insert("APP_PASSWORD".into(), Secret::new("battery staple"));
    server.try_apply(&shop, &again).await.unwrap();
    assert_ne!(server.value("postgres", hash).await, first);
    let log = server.cluster.log();
    assert!(log.contains("ALTER ROLE \"shop_app\" PASSWORD"), "statements are logged");
    assert!(!log.contains("battery staple") && !log.contains("correct horse"));
    let shown = format!("{}", crate::apply::plan(&server.pools, &shop, &again.plan).await.unwrap());
    assert!(shown.contains("PASSWORD '***'") && !shown.contains("SCRAM-SHA-256$"), "{shown}");
}

/// On a hosted server nobody is superuser: vector is there already, the role may create roles and databases.
#[tokio::test]
async fn who_is_no_superuser_gets_as_far_as_the_rights_go() {
    let server = Server::start();
    server.sql("postgres", "CREATE ROLE admin LOGIN CREATEDB CREATEROLE PASSWORD 'admin'").await;
    let shop = spec(SHOP);
    let mut target = server.cluster.target.clone();
    target.user = "admin".into();
    target.password = Some(Secret::new("admin"));
    let pools = howdah_postgres::Pools::new(target, 2);
    let problem = crate::apply::run(&pools, &shop, &options(), &|_| {}).await.unwrap_err();
    assert_eq!(problem.kind, Kind::Forbidden, "{problem:#?}");
    // An administrator does what only he can.
    server.sql("postgres", "GRANT pg_monitor TO admin WITH ADMIN OPTION").await;
    let problem = crate::apply::run(&pools, &shop, &options(), &|_| {}).await.unwrap_err();
    assert_eq!(problem.kind, Kind::Forbidden, "{problem:#?}");
    assert!(
        problem.hint.as_ref().is_some_and(|hint| hint.contains("CREATE EXTENSION vector")),
        "{problem:#?}"
    );
    server.sql("shop", "CREATE EXTENSION vector").await;
    let outcome = crate::apply::run(&pools, &shop, &options(), &|_| {}).await;
    let outcome = outcome.unwrap_or_else(|problem| panic!("{problem:#?}"));
    assert!(outcome.left.is_empty(), "{}", outcome.left);
    let notes: Vec<&str> = outcome.left.notes.iter().map(|note| note.text.as_str()).collect();
    assert!(notes.iter().any(|note| note.contains("`max_wal_senders` should be 7")), "{notes:?}");
    let plan = crate::apply::plan(&pools, &shop, &Default::default()).await.unwrap();
    assert!(plan.is_empty(), "{plan}");
}
