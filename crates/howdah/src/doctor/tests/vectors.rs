//! Stories of vector columns and of pgvector itself.

use super::*;
use howdah_plan::check::Severity;
use howdah_postgres::{Secret, testing};

const COLLECTION: &str = "name = 'x'\n[databases.DB]\n[collections.notes]\ndimensions = 4\n";

fn declaration(database: &TestDatabase) -> String {
    COLLECTION.replace("DB", &database.name)
}

#[tokio::test]
async fn a_declared_database_without_pgvector() {
    let database = testing::empty_database().await;
    let look = Look::at(&database).declared(&declaration(&database));
    let finding = look.one("pgv.installed").await;
    assert_eq!(finding.severity, Severity::Critical);
    assert!(finding.fix.safe);
    sql(&database, &finding.fix.text).await;
    look.healthy("pgv.installed").await;

    let stranger = testing::empty_database().await;
    assert_eq!(Look::at(&stranger).one("pgv.installed").await.severity, Severity::Info);
}

#[tokio::test]
async fn an_extension_older_than_its_library() {
    let database = testing::database().await;
    let look = Look::at(&database);
    look.healthy("pgv.outdated").await;
    sql(&database, "UPDATE pg_extension SET extversion = '0.8.4' WHERE extname = 'vector'").await;
    let finding = look.one("pgv.outdated").await;
    assert_eq!(
        (finding.severity, finding.fix.text.as_str()),
        (Severity::High, "ALTER EXTENSION vector UPDATE")
    );
    assert_eq!(finding.measured, "`0.8.4`, available is `0.8.5`");
    sql(&database, &finding.fix.text).await;
    look.healthy("pgv.outdated").await;
}

#[tokio::test]
async fn a_library_that_computes_nonsense_or_is_not_there() {
    let database = testing::database().await;
    let look = Look::at(&database);
    look.healthy("pgv.so_loads").await;
    sql(
        &database,
        "CREATE OR REPLACE FUNCTION l2_distance(vector, vector) RETURNS float8 LANGUAGE sql IMMUTABLE STRICT AS 'SELECT 1.0::float8'",
    )
    .await;
    assert_eq!(
        look.one("pgv.so_loads").await.measured,
        "[1,2,3] <-> [4,5,6] is `1` instead of `5.196152422706632`"
    );

    let database = testing::database().await;
    sql(&database, "UPDATE pg_proc SET probin = '$libdir/gone' WHERE proname = 'vector_in'").await;
    let finding = Look::at(&database).one("pgv.so_loads").await;
    assert_eq!(finding.severity, Severity::Critical);
    assert!(finding.measured.contains("could not access file"), "{}", finding.measured);
}

#[tokio::test]
async fn an_application_that_is_expected_to_create_the_extension() {
    let database = testing::empty_database().await;
    let role = format!("r_{}", database.name);
    sql(
        &database,
        &format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'x'; GRANT CREATE ON DATABASE {} TO {role}",
            database.name
        ),
    )
    .await;
    let pools = Pools::new(database.target.as_role(&role, Some(Secret::new("x"))), 2);
    let look = Look { pools: &pools, database: database.name.clone(), spec: None, machine: None };
    assert!(look.one("pgv.trusted").await.measured.contains("is not trusted"));
    sql(&database, "CREATE EXTENSION vector").await;
    look.healthy("pgv.trusted").await;
    drop(pools);
    sql(&database, &format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

#[tokio::test]
async fn operators_in_a_schema_that_everybody_writes() {
    let database = testing::database().await;
    let look = Look::at(&database);
    look.healthy("pgv.extension.public_schema").await;
    look.healthy("sec.public_create").await;
    sql(&database, "GRANT CREATE ON SCHEMA public TO PUBLIC").await;
    look.one("sec.public_create").await;
    let finding = look.one("pgv.extension.public_schema").await;
    sql(&database, &finding.fix.text).await;
    look.healthy("pgv.extension.public_schema").await;
}

#[tokio::test]
async fn search_settings_that_do_not_exist_yet() {
    let database = testing::database().await;
    let look = Look::at(&database);
    look.one("pgv.gucs.loaded").await;
    sql(&database, &format!("ALTER DATABASE {} SET session_preload_libraries = 'vector'", database.name))
        .await;
    look.healthy("pgv.gucs.loaded").await;
}

#[tokio::test]
async fn an_extension_that_needed_a_preload() {
    let database = testing::database().await;
    let look = Look::at(&database);
    look.healthy("ext.preload.missing").await;
    sql(
        &database,
        "INSERT INTO pg_extension SELECT 90001, 'pg_cron', extowner, extnamespace, false, '1.6' FROM pg_extension WHERE extname = 'vector'",
    )
    .await;
    let finding = look.one("ext.preload.missing").await;
    assert!(
        finding.fix.text.starts_with("ALTER SYSTEM SET shared_preload_libraries = 'pg_cron'"),
        "{finding:?}"
    );
}

#[tokio::test]
async fn a_column_that_takes_vectors_of_any_length() {
    let database = testing::database().await;
    let look = Look::at(&database);
    sql(&database, "CREATE TABLE \"My notes\" (id bigint PRIMARY KEY, e vector)").await;
    let finding = look.one("pgv.col.no_dims").await;
    assert_eq!(finding.object.as_deref(), Some("public.\"My notes\".e"));
    assert!(finding.fix.text.contains("ALTER TABLE public.\"My notes\" ALTER COLUMN e TYPE vector("));
    sql(&database, "ALTER TABLE \"My notes\" ALTER COLUMN e TYPE vector(3)").await;
    look.healthy("pgv.col.no_dims").await;
}

#[tokio::test]
async fn a_column_too_long_for_an_index() {
    let database = testing::database().await;
    let look = Look::at(&database);
    sql(&database, "CREATE TABLE t (id bigint PRIMARY KEY, e vector(3072), h halfvec(3072))").await;
    let finding = look.one("pgv.dim.over_limit").await;
    assert_eq!(finding.measured, "3072 dimensions of `vector`, indexed up to 2000");
    let index = finding.fix.text.split(';').next().expect("the statement");
    sql(&database, index).await;
    look.healthy("pgv.dim.over_limit").await;
}

#[tokio::test]
async fn a_column_of_another_model() {
    let database = testing::database().await;
    let look = Look::at(&database).declared(&declaration(&database));
    sql(&database, "CREATE TABLE notes (id bigint PRIMARY KEY, embedding vector(3))").await;
    let finding = look.one("pgv.dim.mismatch_model").await;
    assert_eq!(finding.measured, "the column has 3 dimensions, collection `notes` declares 4");
    sql(&database, "ALTER TABLE notes ALTER COLUMN embedding TYPE vector(4)").await;
    look.healthy("pgv.dim.mismatch_model").await;
}

#[tokio::test]
async fn a_large_table_without_an_index_read_as_a_whole() {
    let database = testing::database().await;
    let look = Look::at(&database);
    sql(
        &database,
        "CREATE TABLE t (id bigint PRIMARY KEY, e vector(3)); \
         INSERT INTO t SELECT g, ARRAY[g % 97, g % 89, 1]::vector FROM generate_series(1, 60000) g; ANALYZE t",
    )
    .await;
    let finding = look.one("pgv.col.no_index").await;
    assert_eq!(finding.measured, "about 60000 rows and no vector index");
    for _ in 0..12 {
        sql(&database, "SELECT id FROM t ORDER BY e <-> '[1,2,3]' LIMIT 1").await;
    }
    sql(&database, "SELECT pg_stat_force_next_flush()").await;
    let finding = look.one("wl.seqscan_vector").await;
    assert!(finding.measured.ends_with("through indexes"), "{}", finding.measured);

    sql(&database, "SET maintenance_work_mem = '128MB'; CREATE INDEX ON t USING ivfflat (e vector_l2_ops) WITH (lists = 60)")
        .await;
    look.healthy("pgv.col.no_index").await;
    sql(&database, "SELECT pg_stat_reset_single_table_counters('t'::regclass)").await;
    look.healthy("wl.seqscan_vector").await;
}

#[tokio::test]
async fn vectors_beside_their_rows() {
    let database = testing::database().await;
    let look = Look::at(&database);
    sql(&database, "CREATE TABLE t (id bigint PRIMARY KEY, e vector(768)); UPDATE pg_class SET reltuples = 20000 WHERE relname = 't'")
        .await;
    look.one("pgv.storage_external").await;
    sql(&database, "ALTER TABLE t ALTER COLUMN e SET STORAGE PLAIN").await;
    look.healthy("pgv.storage_external").await;
}

#[tokio::test]
async fn vectors_of_length_zero_and_rows_without_one() {
    let database = testing::database().await;
    let look = Look::at(&database);
    sql(
        &database,
        "CREATE TABLE t (id bigint PRIMARY KEY, e vector(3), h halfvec(3)); \
         INSERT INTO t SELECT g, '[1,2,3]', '[1,2,3]' FROM generate_series(1, 100) g; ANALYZE t",
    )
    .await;
    look.healthy("pgv.zero_norm").await;
    look.healthy("pgv.null_vectors").await;
    sql(&database, "UPDATE t SET e = '[0,0,0]' WHERE id = 7; UPDATE t SET h = NULL WHERE id > 50; ANALYZE t")
        .await;
    let finding = look.one("pgv.zero_norm").await;
    assert_eq!(
        (finding.measured.as_str(), finding.object.as_deref()),
        ("1 of 100 rows looked at", Some("public.t.e"))
    );
    assert!(finding.fix.text.starts_with("SELECT * FROM public.t WHERE vector_norm(e::vector) = 0"));
    let finding = look.one("pgv.null_vectors").await;
    assert_eq!(
        (finding.measured.as_str(), finding.object.as_deref()),
        ("50.0 % of the rows", Some("public.t.h"))
    );
}
