//! How many connections an ingest takes, and how long its statements may.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::super::{IngestRequest, Input};
use super::World;
use super::progress::slow;
use crate::knowledge::ingest::tests::embedder;

/// Sessions of the database that are not this one's, while an ingest waits for its embedder.
async fn while_embedding(world: &World, request: IngestRequest, sql: &str) -> Vec<String> {
    let look = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        let rows = world.database.client().await.query(sql, &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    };
    let (report, seen) = tokio::join!(world.run(request), look);
    assert!(report.unwrap().new > 0);
    seen
}

#[tokio::test]
async fn a_few_documents_take_one_connection_that_is_given_back_as_it_was() {
    let mut world = World::new(&[]).await;
    let server = slow(Duration::from_millis(1500)).await;
    world.embedder = Some(Arc::new(embedder(&server, "test-model")));
    let request = |text: &str| {
        let documents = vec![json!({"source": "a", "content": text}), json!({"source": "b", "content": "y"})];
        IngestRequest::new(vec![Input::Records("documents".into(), documents)], world.collection())
    };
    let sessions = "SELECT application_name FROM pg_stat_activity
                    WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let seen = while_embedding(&world, request("x"), sessions).await;
    assert!(seen.len() <= 1, "{seen:?}");
    // The second one changes a row, by way of the staging table.
    let report = world.run(request("z")).await.unwrap();
    assert_eq!((report.changed, report.unchanged), (1, 1), "{report:?}");
    let left = "SELECT count(*) FROM pg_class WHERE relname = 'howdah_staging'";
    assert_eq!(world.value(left).await, 0);
    let open =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'";
    assert_eq!(world.value(open).await, 0);
    assert!(world.run(request("z")).await.unwrap().wrote_nothing());
}

#[tokio::test]
async fn documents_that_are_refused_leave_no_transaction_behind() {
    let world = World::new(&[]).await;
    let client = world.database.client().await;
    client
        .batch_execute("ALTER TABLE notes ADD CONSTRAINT short CHECK (length(content) < 10)")
        .await
        .unwrap();
    let request = |text: &str| {
        let documents = vec![json!({"source": "a", "content": text})];
        IngestRequest::new(vec![Input::Records("documents".into(), documents)], world.collection())
    };
    world.run(request("much longer than that")).await.unwrap_err();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let open =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'";
    assert_eq!(world.value(open).await, 0);
    assert_eq!(world.run(request("short")).await.unwrap().new, 1);
}

#[tokio::test]
async fn every_statement_of_a_long_ingest_has_a_deadline() {
    let world = World::without_embedder("vector(4)").await;
    let path = world.file("r.jsonl", "{\"id\": 1, \"content\": \"x\", \"embedding\": [1, 0, 0, 0]}\n");
    let client = world.database.client().await;
    client
        .batch_execute(
            "CREATE TABLE said (name text, setting text);
             CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
               INSERT INTO said SELECT name, setting FROM pg_settings
               WHERE name IN ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout');
               RETURN NULL; END $$;
             CREATE TRIGGER noted AFTER INSERT ON notes FOR EACH STATEMENT EXECUTE FUNCTION note()",
        )
        .await
        .unwrap();
    world.ingest(&[&path]).await.unwrap();
    assert_eq!(world.value("SELECT count(*) FROM said WHERE setting <> '0'").await, 3);
}
