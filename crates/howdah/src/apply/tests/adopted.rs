//! An adopted table is checked and indexed, never altered.

use howdah_plan::problem::Kind;

use super::{Server, destroying, options, spec};

const ADOPT: &str = r#"
name = "adopting"
[databases.legacy]
[collections.memory]
dimensions = 3
[collections.memory.adopt]
id = "entry_id"
content = "body"
embedding = "vec"
metadata = "meta"
"#;

async fn with_table(server: &Server) {
    server.sql("postgres", "CREATE DATABASE legacy").await;
    server
        .sql(
            "legacy",
            "CREATE EXTENSION vector; CREATE TABLE memory (entry_id int PRIMARY KEY, body varchar(100) NOT NULL, \
             vec vector(3), meta jsonb DEFAULT '[]', more int); \
             INSERT INTO memory SELECT i, 'text', array_agg(random()) FROM generate_series(1, 100) AS i, \
             generate_series(1, 3) GROUP BY i",
        )
        .await;
}

const SHAPE: &str = "SELECT string_agg(attname || format_type(atttypid, atttypmod) || attnotnull, ',' ORDER BY attnum) \
                     FROM pg_attribute WHERE attrelid = 'memory'::regclass AND attnum > 0";

#[tokio::test]
async fn an_adopted_table_gets_its_index_and_nothing_else() {
    let server = Server::start();
    with_table(&server).await;
    let shape = server.value("legacy", SHAPE).await;
    let adopt = spec(ADOPT);
    let outcome = server.apply(&adopt).await;
    assert!(outcome.done.contains(&"index:legacy:public.memory_vec_idx".to_owned()), "{:?}", outcome.done);
    assert!(server.plan(&adopt).await.is_empty());
    assert_eq!(server.value("legacy", SHAPE).await, shape);
    assert_eq!(server.value("legacy", "SELECT count(*) FROM memory").await, "100");

    // Another index that does the same will do.
    server
        .sql(
            "legacy",
            "DROP INDEX memory_vec_idx; CREATE INDEX theirs ON memory USING hnsw (vec vector_cosine_ops)",
        )
        .await;
    assert!(server.plan(&adopt).await.is_empty());

    // No longer adopted: the table stays, whatever is allowed.
    let gone = spec("name = \"adopting\"\n[databases.legacy]\nextensions = { vector = \"*\" }\n");
    server.try_apply(&gone, &destroying()).await.unwrap();
    assert_eq!(server.value("legacy", SHAPE).await, shape);
}

#[tokio::test]
async fn a_table_that_does_not_fit_is_refused_with_every_difference() {
    let without = Server::start();
    let adopt = spec(ADOPT);
    let problem = without.try_apply(&adopt, &options()).await.unwrap_err();
    assert_eq!(problem.kind, Kind::NotFound, "{problem:#?}");
    assert!(problem.detail.as_ref().unwrap().contains("what does not depend on it is done"), "{problem:#?}");
    let server = Server::start();
    with_table(&server).await;
    server
        .sql(
            "legacy",
            "ALTER TABLE memory DROP CONSTRAINT memory_pkey, DROP COLUMN meta, \
             ALTER COLUMN body TYPE bytea USING body::bytea, ALTER COLUMN vec TYPE vector(4) USING NULL",
        )
        .await;
    let shape = server.value("legacy", SHAPE).await;
    let problem = server.try_apply(&adopt, &destroying()).await.unwrap_err();
    assert_eq!(problem.kind, Kind::Conflict);
    let detail = problem.detail.unwrap();
    for part in [
        "`body` is `bytea`",
        "`vec` has 4 dimensions, declared are 3",
        "`meta` is not there",
        "`entry_id` unique",
    ] {
        assert!(detail.contains(part), "{part} in {detail}");
    }
    assert_eq!(server.value("legacy", SHAPE).await, shape);
    // A search answers from nothing that was not found to fit.
    let resolved = howdah_plan::spec::resolve::resolve(&adopt, "memory").unwrap();
    let problem = crate::collections::facts::of(&server.pools, &resolved).await.unwrap_err();
    assert_eq!(problem.kind, Kind::Conflict, "{problem:#?}");
    assert!(problem.detail.unwrap().contains("`meta` is not there"));
}

#[tokio::test]
async fn the_words_of_an_adopted_table_get_an_index_where_it_is_declared() {
    let server = Server::start();
    with_table(&server).await;
    let plan = server.plan(&spec(ADOPT)).await;
    let offer = plan.notes.iter().find(|note| note.text.contains("text_index = true"));
    assert!(offer.is_some_and(|note| note.text.contains("reads every row")), "{plan}");
    let indexed = spec(&ADOPT.replace("id = \"entry_id\"", "id = \"entry_id\"\ntext_index = true"));
    let plan = server.plan(&indexed).await;
    let step = plan.steps.iter().find(|step| step.id.contains("memory_body_words_idx")).expect("a step");
    assert!(step.sql[0].contains("CREATE INDEX CONCURRENTLY") && !step.destructive, "{plan}");
    server.apply(&indexed).await;
    let plan = server.plan(&indexed).await;
    assert!(plan.is_empty() && plan.notes.is_empty(), "{plan}");
    let scan = "SELECT to_tsvector('english'::regconfig, body) @@ 'text'::tsquery FROM memory LIMIT 1";
    assert_eq!(server.value("legacy", scan).await, "true");

    // Another index that does the same will do, and the one that is no longer declared goes.
    server
        .sql(
            "legacy",
            "CREATE INDEX theirs ON memory USING gin (to_tsvector('english', body)); DROP INDEX memory_body_words_idx",
        )
        .await;
    assert!(server.plan(&indexed).await.is_empty());
    let plan = server.plan(&spec(ADOPT)).await;
    assert!(plan.is_empty() && plan.notes.iter().all(|note| !note.text.contains("text_index")), "{plan}");
}
