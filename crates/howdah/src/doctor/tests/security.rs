//! Stories of who may get in, and as whom.

use std::io::Write;

use super::*;
use howdah_plan::check::Severity;
use howdah_postgres::testing;

fn append(cluster: &Cluster, file: &str, line: &str) {
    let path = cluster.dir.join("data").join(file);
    let mut file = std::fs::OpenOptions::new().append(true).open(path).expect("the file");
    writeln!(file, "{line}").expect("a line");
}

#[tokio::test]
async fn rules_that_let_anybody_in_or_cannot_be_read() {
    let (cluster, pools) = cluster(&[]);
    let look = Look::server(&pools);
    look.healthy("cfg.hba_trust").await;
    look.healthy("cfg.hba_errors").await;
    append(&cluster, "pg_hba.conf", "host all all 0.0.0.0/0 trust");
    append(&cluster, "pg_hba.conf", "host all all 10.0.0.0/8 md5");
    let findings = look.finds("cfg.hba_trust").await;
    let severities: Vec<Severity> = findings.iter().map(|finding| finding.severity).collect();
    assert_eq!(severities, [Severity::Critical, Severity::Medium], "{findings:#?}");
    assert_eq!(findings[0].measured, "`host all all 0.0.0.0 trust`");
    append(&cluster, "pg_hba.conf", "host all all nonsense");
    let finding = look.one("cfg.hba_errors").await;
    assert!(finding.object.is_some_and(|line| line.starts_with("line ")));
}

#[tokio::test]
async fn a_server_that_others_reach_without_encryption() {
    let (_cluster, pools) = cluster(&[]);
    let finding = Look::server(&pools).one("sec.ssl_on").await;
    assert_eq!(finding.severity, Severity::Info, "loopback only");
    let (_cluster, pools) = cluster(&["listen_addresses=127.0.0.1,127.0.0.2"]);
    assert_eq!(Look::server(&pools).one("sec.ssl_on").await.severity, Severity::High);
    Look::server(&pools).healthy("sec.ssl_clients").await;
}

#[tokio::test]
async fn passwords_kept_as_md5() {
    let (_cluster, pools) = cluster(&["password_encryption=md5"]);
    let look = Look::server(&pools);
    look.healthy("sec.md5_roles").await;
    execute(&pools, "CREATE ROLE \"old app\" LOGIN PASSWORD 'secret'").await;
    let finding = look.one("sec.md5_roles").await;
    assert_eq!(finding.object.as_deref(), Some("\"old app\""));
    let finding = look.one("sec.password_enc").await;
    assert!(finding.fix.safe);
    let (_cluster, pools) = cluster(&[]);
    execute(&pools, &finding.fix.text).await;
    Look::server(&pools).healthy("sec.password_enc").await;
}

#[tokio::test]
async fn an_application_connected_as_superuser() {
    let (_cluster, pools) = cluster(&[]);
    let look = Look::server(&pools);
    look.healthy("sec.superuser_apps").await;
    let mut target = pools.target().clone();
    target.application_name = "shop".into();
    let shop = connect::connect(&target).await.expect("a connection");
    let finding = look.one("sec.superuser_apps").await;
    assert_eq!(
        (finding.measured.as_str(), finding.object.as_deref()),
        ("1 session(s) of `shop`", Some("postgres"))
    );
    drop(shop);
}

#[tokio::test]
async fn more_superusers_than_one_needs() {
    let (_cluster, pools) = cluster(&[]);
    let look = Look::server(&pools);
    look.healthy("sec.superusers").await;
    execute(&pools, "CREATE ROLE a SUPERUSER LOGIN;\nCREATE ROLE b SUPERUSER LOGIN").await;
    assert_eq!(look.one("sec.superusers").await.measured, "a, b, postgres");
}

#[tokio::test]
async fn a_table_made_later_that_the_application_cannot_read() {
    let database = testing::database().await;
    let role = format!("app_{}", database.name);
    let spec = format!(
        "name = 'x'\n[databases.{0}]\n[roles.{role}]\nlogin = true\n[[roles.{role}.grants]]\ndatabase = '{0}'\n\
         privileges = ['select']",
        database.name
    );
    let look = Look::at(&database).declared(&spec);
    sql(&database, &format!("CREATE ROLE {role}; CREATE TABLE old (id bigint PRIMARY KEY); GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"))
        .await;
    look.healthy("sec.default_privs").await;
    sql(&database, "CREATE TABLE new (id bigint PRIMARY KEY)").await;
    let finding = look.one("sec.default_privs").await;
    assert_eq!(finding.object.as_deref(), Some("public.new"));
    sql(&database, &finding.fix.text).await;
    sql(&database, "CREATE TABLE newer (id bigint PRIMARY KEY)").await;
    look.healthy("sec.default_privs").await;
    sql(&database, &format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

#[tokio::test]
async fn a_log_that_holds_every_statement() {
    let (_cluster, pools) = cluster(&["log_statement=all"]);
    let finding = Look::server(&pools).one("sec.log_statement_all").await;
    assert!(finding.fix.text.starts_with("ALTER SYSTEM SET log_statement = 'none'"));
    let (_cluster, pools) = cluster(&["log_statement=ddl"]);
    Look::server(&pools).healthy("sec.log_statement_all").await;
}

#[tokio::test]
async fn a_configuration_file_with_an_error() {
    let (cluster, pools) = cluster(&[]);
    let look = Look::server(&pools);
    look.healthy("cfg.file_errors").await;
    append(&cluster, "postgresql.conf", "work_memory = 64MB");
    let finding = look.one("cfg.file_errors").await;
    assert!(finding.measured.contains("`work_memory = 64MB`"), "{}", finding.measured);
    assert!(finding.object.is_some_and(|place| place.contains("postgresql.conf:")));
}
