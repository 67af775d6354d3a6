//! What is embedded is kept: a slow embedder that is killed has not worked for nothing.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::{World, embedder, vector};

/// An embedder that takes so long for a request.
pub(super) async fn slow(pause: Duration) -> MockServer {
    let server = MockServer::start().await;
    let answer = move |request: &wiremock::Request| {
        let body: serde_json::Value = request.body_json().unwrap();
        let texts = body["inputs"].as_array().unwrap();
        let vectors: Vec<[f64; 4]> = texts.iter().map(|text| vector(text.as_str().unwrap())).collect();
        ResponseTemplate::new(200).set_body_json(vectors).set_delay(pause)
    };
    Mock::given(wiremock::matchers::path("/embed")).respond_with(answer).mount(&server).await;
    server
}

#[tokio::test]
async fn records_embedded_slowly_are_kept_when_the_ingest_is_killed() {
    let mut world = World::new(&[]).await;
    let server = slow(Duration::from_millis(1500)).await;
    world.embedder = Some(Arc::new(embedder(&server, "test-model")));
    let records: String =
        (0..301).map(|i| format!("{}\n", json!({"id": i, "content": format!("short text {i}")}))).collect();
    let path = world.file("r.jsonl", records);
    let killed = tokio::time::timeout(Duration::from_secs(6), world.ingest(&[&path])).await;
    assert!(killed.is_err(), "it ended before it was killed");
    let kept = world.count().await;
    assert!((32..301).contains(&kept), "{kept} rows are kept");
    let report = world.ingest(&[&path]).await.unwrap();
    assert!(report.unchanged as i64 >= kept, "{report:?}");
    assert_eq!((report.unchanged + report.new, world.count().await), (301, 301));
}

#[tokio::test]
async fn a_document_that_takes_long_to_embed_goes_on_where_it_was_killed() {
    let mut world = World::new(&[]).await;
    let server = slow(Duration::from_millis(1200)).await;
    world.embedder = Some(Arc::new(embedder(&server, "test-model")));
    let sections: String = (0..1200).map(|i| format!("# Part {i}\n\nText number {i}.\n\n")).collect();
    let path = world.file("long.md", sections);
    let killed = tokio::time::timeout(Duration::from_secs(9), world.ingest(&[&path])).await;
    assert!(killed.is_err(), "it ended before it was killed");
    assert_eq!(world.count().await, 0, "half a document");
    let kept = world.value("SELECT count(*) FROM howdah.embedded").await;
    assert!(kept > 0, "nothing of the first {kept} vectors is kept");
    let before = world.embedded().await.len();
    let good = super::provider().await;
    world.embedder = Some(Arc::new(embedder(&good, "test-model")));
    let report = world.ingest(&[&path]).await.unwrap();
    assert_eq!((report.new, report.rows_written), (1, 1200), "{report:?}");
    assert_eq!(report.embedded as i64, 1200 - kept, "{report:?}, {before}");
    assert_eq!(world.value("SELECT count(*) FROM howdah.embedded").await, 0);
}

#[tokio::test]
async fn a_stop_keeps_what_is_embedded() {
    let mut world = World::new(&[]).await;
    let server = slow(Duration::from_millis(300)).await;
    world.embedder = Some(Arc::new(embedder(&server, "test-model")));
    let records: String =
        (0..800).map(|i| format!("{}\n", json!({"id": i, "content": format!("short text {i}")}))).collect();
    let path = world.file("r.jsonl", records);
    let request = world.request(&[&path]);
    let stop = request.stop.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(1200)).await;
        stop.cancel();
    });
    let report = world.run(request).await.unwrap();
    assert!(report.interrupted && report.new >= 32, "{report:?}");
    assert_eq!(world.count().await, report.new as i64);
}
