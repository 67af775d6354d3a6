//! Stories of Howdah's own index.

use super::*;
use howdah_plan::check::Severity;
use howdah_postgres::testing;

/// A database with a table of `rows` vectors and an index of method `howdah` on them; none where the extension is not built.
async fn indexed(rows: u32) -> Option<TestDatabase> {
    if !testing::has_extension() {
        return None;
    }
    let database = testing::database().await;
    let statement = format!(
        "CREATE EXTENSION howdah; \
         CREATE TABLE t (id bigint PRIMARY KEY, e vector(24)) WITH (autovacuum_enabled = off); SELECT setseed(0.5); \
         INSERT INTO t SELECT g, (SELECT array_agg(random() - 0.5) FROM generate_series(1, 24) WHERE g > 0)::vector \
         FROM generate_series(1, {rows}) g; CREATE INDEX own ON t USING howdah (e vector_l2_ops); ANALYZE t"
    );
    sql(&database, &statement).await;
    Some(database)
}

#[tokio::test]
async fn a_row_that_is_not_in_the_index() {
    let Some(database) = indexed(2_000).await else { return };
    let look = Look::at(&database);
    look.healthy("howdah.index.damaged").await;
    // Rows come while the server believes that the index need not be told.
    sql(&database, "UPDATE pg_index SET indisready = false WHERE indexrelid = 'own'::regclass").await;
    sql(
        &database,
        "INSERT INTO t SELECT 10000 + g, (SELECT e FROM t WHERE id = g) FROM generate_series(1, 3) g",
    )
    .await;
    sql(&database, "UPDATE pg_index SET indisready = true WHERE indexrelid = 'own'::regclass").await;
    let finding = look.one("howdah.index.damaged").await;
    assert_eq!(finding.object.as_deref(), Some("public.own"));
    assert!(finding.measured.starts_with("3 problem(s), such as: row ("), "{}", finding.measured);
    assert_eq!(finding.fix.text, "REINDEX INDEX CONCURRENTLY public.own");
    sql(&database, &finding.fix.text).await;
    look.healthy("howdah.index.damaged").await;

    let options = Options { checks: vec!["howdah.index.damaged".into()], ..Options::default() };
    let report = run(look.pools, None, None, &options).await.expect("a report");
    assert!(
        report.findings.is_empty() && !report.not_run.is_empty(),
        "it keeps writers out: asked only on request"
    );
}

#[tokio::test]
async fn an_extension_without_its_library() {
    let Some(database) = indexed(100).await else { return };
    Look::at(&database).healthy("howdah.so_loads").await;
    sql(&database, "UPDATE pg_proc SET probin = '$libdir/gone' WHERE proname = 'howdah_handler'").await;
    let finding = Look::at(&database).one("howdah.so_loads").await;
    assert_eq!(finding.severity, Severity::Critical);
    assert!(finding.measured.contains("could not access file"), "{}", finding.measured);
}

#[tokio::test]
async fn an_extension_older_than_its_files() {
    let Some(database) = indexed(100).await else { return };
    let look = Look::at(&database);
    look.healthy("pgv.outdated").await;
    sql(&database, "UPDATE pg_extension SET extversion = '0.0.9' WHERE extname = 'howdah'").await;
    let finding = look.one("pgv.outdated").await;
    let fix = finding.fix.text.as_str();
    assert_eq!((finding.severity, fix), (Severity::High, "ALTER EXTENSION howdah UPDATE"));
}

#[tokio::test]
async fn an_index_that_is_asked_for_too_little_recall() {
    let Some(database) = indexed(20_000).await else { return };
    let look = Look::at(&database);
    look.healthy("pgv.recall.probe").await;
    look.healthy("howdah.index.calibration").await;
    sql(&database, &format!("ALTER DATABASE {} SET howdah.target_recall = 0.3", database.name)).await;
    let finding = look.one("pgv.recall.probe").await;
    assert!(finding.measured.ends_with("`howdah.target_recall` is 0.3"), "{}", finding.measured);
    let first = finding.fix.text.split(';').next().expect("a statement");
    sql(&database, first).await;
    look.healthy("pgv.recall.probe").await;
}

/// What the doctor knows of graphs it must not say of an index that is none.
#[tokio::test]
async fn a_healthy_index_of_howdahs_own_gives_no_finding() {
    let Some(database) = indexed(3_000).await else { return };
    let options = Options { databases: vec![database.name.clone()], recall: true, ..Options::default() };
    let report = run(&database.pools, None, None, &options).await.expect("a report");
    let about = report.findings.iter().filter(|finding| {
        let object = finding.object.as_deref().unwrap_or_default();
        object.contains("own")
            || finding.check.starts_with("howdah.")
            || finding.check.starts_with("pgv.hnsw")
    });
    assert_eq!(about.map(|finding| finding.check.as_str()).collect::<Vec<_>>(), Vec::<&str>::new());
    for id in ["howdah.so_loads", "howdah.index.damaged", "howdah.index.calibration", "pgv.index.answers"] {
        assert!(report.passed.iter().any(|passed| passed.check == id), "{id}: {:?}", report.not_run);
    }
}
