//! Stories of vector indexes and of what searches through them return.

use super::*;
use howdah_plan::check::Severity;
use howdah_postgres::{connect, testing};

/// `rows` vectors of `dimensions` numbers that look random and are the same each time.
fn fill(rows: u32, dimensions: u32) -> String {
    format!(
        "CREATE TABLE t (id bigint PRIMARY KEY, e vector({dimensions})) WITH (autovacuum_enabled = off); SELECT setseed(0.5); \
         INSERT INTO t SELECT g, (SELECT array_agg(random() - 0.5) FROM generate_series(1, {dimensions}) WHERE g > 0)::vector \
         FROM generate_series(1, {rows}) g; ANALYZE t"
    )
}

#[tokio::test]
async fn a_build_that_died_leaves_an_invalid_index() {
    let database = testing::database().await;
    let look = Look::at(&database);
    sql(
        &database,
        "CREATE TABLE t (id bigint, e vector(3)); INSERT INTO t VALUES (1, '[1,2,3]'), (1, '[4,5,6]')",
    )
    .await;
    look.healthy("pgv.index.invalid").await;
    let client = database.client().await;
    client.batch_execute("CREATE UNIQUE INDEX CONCURRENTLY broken ON t (id)").await.expect_err("must fail");
    let finding = look.one("pgv.index.invalid").await;
    assert_eq!(finding.fix.text, "REINDEX INDEX CONCURRENTLY public.broken");
    client.batch_execute("UPDATE t SET id = 2 WHERE e = '[4,5,6]'").await.expect("an update");
    client.batch_execute(&finding.fix.text).await.expect("the fix");
    look.healthy("pgv.index.invalid").await;
}

#[tokio::test]
async fn two_indexes_that_do_the_same() {
    let database = testing::database().await;
    let look = Look::at(&database);
    sql(&database, "CREATE TABLE t (id bigint PRIMARY KEY, e vector(3)); CREATE INDEX ON t USING hnsw (e vector_cosine_ops)")
        .await;
    look.healthy("pgv.index.duplicate").await;
    sql(&database, "CREATE INDEX idx_vectors_hnsw ON t USING hnsw (e vector_cosine_ops)").await;
    let finding = look.one("pgv.index.duplicate").await;
    assert_eq!(finding.fix.text, "DROP INDEX CONCURRENTLY public.idx_vectors_hnsw;");
    assert!(!finding.fix.safe, "a dropped index is a decision");
    sql(&database, &finding.fix.text).await;
    look.healthy("pgv.index.duplicate").await;
}

#[tokio::test]
async fn an_index_for_another_distance_than_the_declared_one() {
    let database = testing::database().await;
    let spec = format!(
        "name = 'x'\n[databases.{}]\n[collections.notes]\ndimensions = 3\nmetric = 'cosine'",
        database.name
    );
    let look = Look::at(&database).declared(&spec);
    sql(&database, "CREATE TABLE notes (id bigint PRIMARY KEY, embedding vector(3)); CREATE INDEX l2 ON notes USING hnsw (embedding vector_l2_ops)")
        .await;
    let finding = look.one("pgv.index.opclass_vs_declared").await;
    assert_eq!(
        finding.measured,
        "collection `notes` is searched by `vector_cosine_ops`, the index has `vector_l2_ops`"
    );
    assert_eq!(finding.object.as_deref(), Some("public.l2"));
    sql(&database, "CREATE INDEX ON notes USING hnsw (embedding vector_cosine_ops)").await;
    look.healthy("pgv.index.opclass_vs_declared").await;
}

#[tokio::test]
async fn an_index_that_is_being_built() {
    let database = testing::database().await;
    let look = Look::at(&database);
    sql(&database, &fill(6_000, 64)).await;
    look.healthy("pgv.index.building").await;
    let client = connect::connect(&database.target).await.expect("a connection");
    let build = client.batch_execute(
        "SET max_parallel_maintenance_workers = 0; CREATE INDEX ON t USING hnsw (e vector_l2_ops) WITH (m = 48, ef_construction = 500)",
    );
    let watch = async {
        for _ in 0..200 {
            let findings = look.finds("pgv.index.building").await;
            if !findings.is_empty() {
                client.cancel_token().cancel_query(tokio_postgres::NoTls).await.expect("a cancel");
                return findings;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("the build was never seen")
    };
    let (built, findings) = tokio::join!(build, watch);
    assert!(built.is_err(), "it was cancelled");
    assert_eq!(findings[0].severity, Severity::Info);
}

#[tokio::test]
async fn lists_made_on_an_empty_table_and_one_probe() {
    let database = testing::database().await;
    let look = Look::at(&database);
    sql(&database, "CREATE TABLE t (id bigint PRIMARY KEY, e vector(3)); CREATE INDEX lists ON t USING ivfflat (e vector_l2_ops) WITH (lists = 100)")
        .await;
    look.healthy("pgv.ivfflat.built_empty").await;
    sql(
        &database,
        "INSERT INTO t SELECT g, ARRAY[g, 1, 2]::vector FROM generate_series(1, 5000) g; ANALYZE t",
    )
    .await;
    let finding = look.one("pgv.ivfflat.built_empty").await;
    assert!(finding.measured.starts_with("100 lists for 5000 rows, about 10 fit"), "{}", finding.measured);
    let probes = look.one("pgv.ivfflat.probes").await;
    sql(&database, &probes.fix.text).await;
    look.healthy("pgv.ivfflat.probes").await;
    for statement in finding.fix.text.split(";\n") {
        sql(&database, statement).await;
    }
    look.healthy("pgv.ivfflat.built_empty").await;
}

#[tokio::test]
async fn a_limit_above_ef_search() {
    let database = testing::database().await;
    let look = Look::at(&database);
    sql(&database, &fill(500, 8)).await;
    look.healthy("pgv.hnsw.ef_search_lt_limit").await;
    sql(&database, "CREATE INDEX ON t USING hnsw (e vector_l2_ops)").await;
    // The fault itself: 100 rows are asked for, 40 come.
    let short =
        "SET LOCAL enable_seqscan = off; SELECT id FROM t ORDER BY e <-> '[0,0,0,0,0,0,0,0]' LIMIT 100";
    let count = async || {
        let client = connect::connect(&database.target).await.expect("a connection");
        let rows = client.simple_query(&format!("BEGIN; {short}")).await.expect("rows");
        rows.iter().filter(|it| matches!(it, tokio_postgres::SimpleQueryMessage::Row(_))).count()
    };
    assert!(count().await < 100);
    look.one("pgv.guc.scope").await;
    let finding = look.one("pgv.hnsw.ef_search_lt_limit").await;
    assert_eq!(finding.severity, Severity::Medium);
    sql(&database, &finding.fix.text).await;
    assert_eq!(count().await, 100);
    look.healthy("pgv.hnsw.ef_search_lt_limit").await;
    look.healthy("pgv.guc.scope").await;
}

#[tokio::test]
async fn a_build_that_will_not_fit() {
    let database = testing::database().await;
    let look = Look::at(&database);
    sql(&database, &fill(2_000, 384)).await;
    sql(&database, "CREATE INDEX ON t USING hnsw (e vector_l2_ops)").await;
    look.healthy("pgv.index.mwm_fit").await;
    sql(&database, &format!("ALTER DATABASE {} SET maintenance_work_mem = '1MB'", database.name)).await;
    let finding = look.one("pgv.index.mwm_fit").await;
    assert!(finding.measured.starts_with("2000 rows need about 4"), "{}", finding.measured);
    assert!(finding.fix.text.starts_with("SET maintenance_work_mem = '5MB'"), "{}", finding.fix.text);
}

#[tokio::test]
async fn dead_rows_in_the_graph_then_an_index_too_large_for_what_is_left() {
    let database = testing::database().await;
    let look = Look::at(&database);
    sql(&database, &fill(1_500, 384)).await;
    sql(&database, "CREATE INDEX graph ON t USING hnsw (e vector_l2_ops)").await;
    look.healthy("pgv.recall.after_dead_tuples").await;
    look.healthy("pgv.index.bloat").await;
    sql(&database, "DELETE FROM t WHERE id > 300; SELECT pg_stat_force_next_flush()").await;
    let finding = look.one("pgv.recall.after_dead_tuples").await;
    assert_eq!(finding.measured, "80 % dead (1200 rows)");
    sql(&database, &finding.fix.text).await;
    look.healthy("pgv.recall.after_dead_tuples").await;
    let finding = look.one("pgv.index.bloat").await;
    assert_eq!(finding.fix.text, "REINDEX INDEX CONCURRENTLY public.graph");
    sql(&database, &finding.fix.text).await;
    look.healthy("pgv.index.bloat").await;
}

#[tokio::test]
async fn an_index_that_misses_neighbours() {
    let database = testing::database().await;
    let look = Look::at(&database);
    sql(&database, &fill(3_000, 24)).await;
    sql(&database, "CREATE INDEX graph ON t USING hnsw (e vector_l2_ops)").await;
    sql(&database, &format!("ALTER DATABASE {} SET hnsw.ef_search = 200", database.name)).await;
    look.healthy("pgv.recall.probe").await;
    sql(&database, &format!("ALTER DATABASE {} SET hnsw.ef_search = 10", database.name)).await;
    sql(&database, "DROP INDEX graph; CREATE INDEX graph ON t USING hnsw (e vector_l2_ops) WITH (m = 2, ef_construction = 4)")
        .await;
    let finding = look.one("pgv.recall.probe").await;
    assert_eq!(finding.severity, Severity::Critical, "{}", finding.measured);
    assert!(finding.measured.starts_with("recall@10 is 0."), "{}", finding.measured);
    assert!(finding.fix.text.contains("REINDEX INDEX CONCURRENTLY public.graph"));

    let options = Options { checks: vec!["pgv.recall.probe".into()], ..Options::default() };
    let report = run(look.pools, None, None, &options).await.expect("a report");
    assert!(report.findings.is_empty() && !report.not_run.is_empty(), "asked only on request");
}

#[tokio::test]
async fn equal_distances_at_the_edge_are_no_loss() {
    let database = testing::database().await;
    sql(
        &database,
        "CREATE TABLE t (id bigint PRIMARY KEY, e vector(2)); \
         INSERT INTO t SELECT g, ARRAY[g % 2, 1]::vector FROM generate_series(1, 400) g; ANALYZE t; \
         CREATE INDEX ON t USING hnsw (e vector_cosine_ops)",
    )
    .await;
    Look::at(&database).healthy("pgv.recall.probe").await;
}
