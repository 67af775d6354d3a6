//! Stories of vacuum, statistics, tables and keys.

use super::*;
use howdah_plan::check::Severity;
use howdah_postgres::testing;

#[tokio::test]
async fn a_table_that_is_never_vacuumed_or_analysed() {
    let database = testing::database().await;
    let look = Look::at(&database);
    look.healthy("vac.autovacuum_off").await;
    sql(
        &database,
        "CREATE TABLE t (id bigint PRIMARY KEY) WITH (autovacuum_enabled = off); \
         INSERT INTO t SELECT generate_series(1, 30000); SELECT pg_stat_force_next_flush()",
    )
    .await;
    let off = look.one("vac.autovacuum_off").await;
    assert_eq!((off.severity, off.object.as_deref()), (Severity::High, Some("public.t")));
    let never = look.one("vac.never_analyzed").await;
    sql(&database, &never.fix.text).await;
    look.healthy("vac.never_analyzed").await;
    look.healthy("vac.dead").await;
    sql(&database, "DELETE FROM t WHERE id <= 15000; SELECT pg_stat_force_next_flush()").await;
    let dead = look.one("vac.dead").await;
    assert_eq!(dead.measured, "15000 dead beside 15000 live");
    sql(&database, &dead.fix.text).await;
    look.healthy("vac.dead").await;
    sql(&database, &off.fix.text).await;
    look.healthy("vac.autovacuum_off").await;
}

#[tokio::test]
async fn autovacuum_turned_off_for_all() {
    let (_cluster, pools) = cluster(&["autovacuum=off"]);
    let finding = Look::server(&pools).one("vac.autovacuum_off").await;
    assert_eq!(finding.severity, Severity::Critical);
    assert!(finding.fix.text.starts_with("ALTER SYSTEM SET autovacuum = on"));
}

#[tokio::test]
async fn keys_that_end() {
    let database = testing::database().await;
    let look = Look::at(&database);
    sql(
        &database,
        "CREATE TABLE small (id serial PRIMARY KEY); CREATE TABLE large (id bigserial PRIMARY KEY)",
    )
    .await;
    look.healthy("seq.exhaustion").await;
    assert_eq!(look.one("seq.int4_pk").await.object.as_deref(), Some("public.small"));
    sql(&database, "SELECT setval('small_id_seq', 2000000000)").await;
    let finding = look.one("seq.exhaustion").await;
    assert_eq!(finding.measured, "at 2000000000 of 2147483647 (`integer`)");
    sql(&database, "ALTER TABLE small ALTER COLUMN id TYPE bigint; ALTER SEQUENCE small_id_seq AS bigint")
        .await;
    look.healthy("seq.exhaustion").await;
    look.healthy("seq.int4_pk").await;
}

#[tokio::test]
async fn tables_without_keys_and_indexes_they_need() {
    let database = testing::database().await;
    let look = Look::at(&database);
    sql(
        &database,
        "CREATE TABLE parent (id bigint PRIMARY KEY); \
         CREATE TABLE child (parent bigint REFERENCES parent, at timestamp)",
    )
    .await;
    let key = look.one("schema.no_pk").await;
    let foreign = look.one("schema.fk_unindexed").await;
    assert_eq!(foreign.fix.text, "CREATE INDEX CONCURRENTLY ON public.child (parent)");
    let time = look.one("schema.timestamp_notz").await;
    assert_eq!((time.measured.as_str(), time.object.as_deref()), ("at", Some("public.child")));
    sql(&database, key.fix.text.split(';').next().expect("the statement")).await;
    sql(&database, &foreign.fix.text).await;
    sql(&database, "ALTER TABLE child ALTER COLUMN at TYPE timestamptz USING at AT TIME ZONE 'UTC'").await;
    for id in ["schema.no_pk", "schema.fk_unindexed", "schema.timestamp_notz"] {
        look.healthy(id).await;
    }
}

#[tokio::test]
async fn a_system_that_sorts_differently_than_it_did() {
    let (_cluster, pools) = cluster(&[]);
    let look = Look::server(&pools);
    look.healthy("schema.collation_mismatch").await;
    execute(&pools, "UPDATE pg_database SET datcollversion = '2.28' WHERE datname = 'postgres'").await;
    let finding = look.one("schema.collation_mismatch").await;
    assert_eq!((finding.severity, finding.object.as_deref()), (Severity::Critical, Some("postgres")));
}

#[tokio::test]
async fn transactions_that_deadlock() {
    let (_cluster, pools) = cluster(&["deadlock_timeout=100ms"]);
    let look = Look::server(&pools);
    execute(&pools, "CREATE TABLE t (id bigint PRIMARY KEY, n int);\nINSERT INTO t VALUES (1, 0), (2, 0)")
        .await;
    look.healthy("wl.deadlocks").await;
    let one = connect::connect(&pools.target()).await.expect("a connection");
    let two = connect::connect(&pools.target()).await.expect("a connection");
    one.batch_execute("BEGIN; UPDATE t SET n = 1 WHERE id = 1").await.expect("an update");
    two.batch_execute("BEGIN; UPDATE t SET n = 1 WHERE id = 2").await.expect("an update");
    let (first, second) = tokio::join!(
        one.batch_execute("UPDATE t SET n = 2 WHERE id = 2"),
        two.batch_execute("UPDATE t SET n = 2 WHERE id = 1")
    );
    assert!(first.is_err() != second.is_err(), "{first:?} {second:?}");
    drop((one, two));
    tokio::time::sleep(std::time::Duration::from_millis(1_200)).await;
    assert_eq!(look.one("wl.deadlocks").await.object.as_deref(), Some("postgres"));
}
