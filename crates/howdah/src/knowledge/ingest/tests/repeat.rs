//! The same again, changed files, files that are gone.

use serde_json::json;

use super::super::{IngestRequest, Input};
use super::World;

#[tokio::test]
async fn a_second_run_writes_nothing() {
    let world = World::new(&[]).await;
    world.file("d/a.md", "# A\n\ntext");
    let lines: String = (0..500).map(|i| format!("{{\"id\": {i}, \"content\": \"text {i}\"}}\n")).collect();
    world.file("d/r.jsonl", lines);
    let dir = world.dir.path().join("d");
    let first = world.ingest(&[&dir]).await.unwrap();
    assert_eq!(first.new, 501);
    let (before, embedded) = (world.versions().await, world.embedded().await.len());
    let again = world.ingest(&[&dir]).await.unwrap();
    assert!(again.wrote_nothing() && again.unchanged == 501, "{again:?}");
    assert_eq!(world.versions().await, before);
    assert_eq!(world.embedded().await.len(), embedded);
}

#[tokio::test]
async fn a_changed_file_embeds_and_writes_only_its_changed_chunks() {
    let world = World::new(&[]).await;
    let path = world.file("a.md", "# A\n\none\n\n# B\n\ntwo\n\n# C\n\nthree\n\n# D\n\nfour");
    world.ingest(&[&path]).await.unwrap();
    let ids = "SELECT content, id FROM notes ORDER BY chunk";
    let before = world.database.client().await.query(ids, &[]).await.unwrap();
    let embedded = world.embedded().await.len();
    // One section is new at the top, one is edited, the last is gone.
    world.file("a.md", "# New\n\nzero\n\n# A\n\none\n\n# B\n\nTWO\n\n# C\n\nthree");
    let report = world.ingest(&[&path]).await.unwrap();
    assert_eq!((report.changed, report.new, report.embedded), (1, 0, 2), "{report:?}");
    let texts: Vec<String> = world.texts().await.into_iter().map(|(_, _, text)| text).collect();
    assert_eq!(texts, ["# New\n\nzero", "# A\n\none", "# B\n\nTWO", "# C\n\nthree"]);
    let mut fresh = world.embedded().await.split_off(embedded);
    fresh.sort();
    assert_eq!(fresh, ["B\nTWO", "New\nzero"]);
    let after = world.database.client().await.query(ids, &[]).await.unwrap();
    let id = |rows: &[tokio_postgres::Row], text: &str| {
        rows.iter().find(|row| row.get::<_, &str>(0) == text).map(|row| row.get::<_, i64>(1))
    };
    assert_eq!(id(&before, "# A\n\none"), id(&after, "# A\n\none"), "a moved chunk keeps its row");
    assert!(world.ingest(&[&path]).await.unwrap().wrote_nothing());
}

#[tokio::test]
async fn a_file_that_shrinks_loses_its_stale_rows_and_one_that_only_moves_space_writes_no_rows() {
    let world = World::new(&[]).await;
    let path = world.file("a.md", "# A\n\none\n\n# B\n\ntwo");
    world.ingest(&[&path]).await.unwrap();
    world.file("a.md", "# A\n\none\n\n\n\n# B\n\ntwo\n\n");
    let spaced = world.ingest(&[&path]).await.unwrap();
    assert_eq!((spaced.changed, spaced.rows_written, spaced.rows_unchanged), (1, 0, 2), "{spaced:?}");
    world.file("a.md", "# B\n\ntwo");
    let shrunk = world.ingest(&[&path]).await.unwrap();
    assert_eq!((shrunk.rows_removed, shrunk.embedded), (1, 0));
    assert_eq!(world.count().await, 1);
}

#[tokio::test]
async fn vanished_files_stay_unless_pruned() {
    let world = World::new(&[]).await;
    let gone = world.file("d/gone.md", "# Gone\n\ntext");
    world.file("d/kept.md", "# Kept\n\ntext");
    world
        .file("d/r.jsonl", "{\"content\":\"a\"}\n{\"content\":\"b\"}\n{\"id\":\"mine\",\"content\":\"c\"}\n");
    world.file("dd/other.md", "# Other");
    let (dir, other) = (world.dir.path().join("d"), world.dir.path().join("dd"));
    world.ingest(&[&dir, &other]).await.unwrap();
    std::fs::remove_file(&gone).unwrap();
    world.file("d/r.jsonl", "{\"content\":\"b\"}\n");
    world.file("d/kept.md", b"broken \xff");
    assert_eq!(world.ingest(&[&dir.join("r.jsonl")]).await.unwrap().removed, 0);
    let mut request = world.request(&[&dir]);
    (request.prune, request.skip_bad) = (true, true);
    let report = world.run(request).await.unwrap();
    assert_eq!((report.removed, report.rows_removed, report.bad), (3, 3, 1), "{report:?}");
    let left: Vec<String> = world.texts().await.into_iter().map(|(_, _, text)| text).collect();
    let mut sorted = left.clone();
    sorted.sort();
    assert_eq!(sorted, ["# Kept\n\ntext", "# Other", "b"]);
}

#[tokio::test]
async fn pruning_without_a_file_or_directory_is_refused() {
    let world = World::new(&[]).await;
    let input = Input::Records("r".into(), vec![json!({"content": "x"})]);
    let mut request = IngestRequest::new(vec![input], world.collection());
    request.prune = true;
    assert!(world.run(request).await.unwrap_err().message.contains("which documents are gone"));
}

#[tokio::test]
async fn records_may_come_in_any_order_and_twice() {
    let world = World::new(&[]).await;
    let records = |texts: &[&str]| {
        let records = texts.iter().map(|text| json!({"content": text})).collect();
        IngestRequest::new(vec![Input::Records("r".into(), records)], world.collection())
    };
    world.run(records(&["a", "b", "a"])).await.unwrap();
    assert_eq!(world.count().await, 2);
    assert!(world.run(records(&["b", "a"])).await.unwrap().wrote_nothing());
}

#[tokio::test]
async fn rows_without_their_source_are_taken_over() {
    let world = World::new(&[]).await;
    let path = world.file("a.md", "# A\n\none\n\n# B\n\ntwo");
    world.ingest(&[&path]).await.unwrap();
    world
        .database
        .client()
        .await
        .batch_execute("DELETE FROM howdah.sources; UPDATE notes SET content_hash = '' WHERE chunk = 1")
        .await
        .unwrap();
    let report = world.ingest(&[&path]).await.unwrap();
    assert_eq!((report.new, report.rows_written, report.rows_unchanged), (1, 1, 1), "{report:?}");
}
