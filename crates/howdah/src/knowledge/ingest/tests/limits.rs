//! What PostgreSQL refuses of a document is that document's trouble: it is named with file and line, and the others come in.

use serde_json::json;

use super::super::{IngestRequest, Input};
use super::World;

#[tokio::test]
async fn a_text_beyond_the_full_text_limit_is_named_and_the_rest_comes_in() {
    let world = World::new(&[("key", "text"), ("short", "varchar(3)")]).await;
    let words: String = (0..300_000).map(|i| format!("word{i} ")).collect();
    // Does not compress, so it does not fit into a page of the field's index.
    let mut state = 88_172_645_463_325_252_u64;
    let mut letter = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'a' + (state % 26) as u8)
    };
    let long: String = (0..9_000).map(|_| letter()).collect();
    world
        .database
        .client()
        .await
        .batch_execute("CREATE INDEX ON notes (key); ALTER TABLE notes ADD CHECK (content <> 'forbidden')")
        .await
        .unwrap();
    let lines = [
        json!({"id": "before", "content": "one", "embedding": [1, 0, 0, 0]}),
        json!({"id": "words", "content": words, "embedding": [1, 0, 0, 0]}),
        json!({"id": "key", "content": "two", "key": long, "embedding": [1, 0, 0, 0]}),
        json!({"id": "short", "content": "two", "short": "abcd", "embedding": [1, 0, 0, 0]}),
        json!({"id": "check", "content": "forbidden", "embedding": [1, 0, 0, 0]}),
        json!({"id": "after", "content": "three", "embedding": [1, 0, 0, 0]}),
    ];
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let path = world.file("r.jsonl", text);
    let problem = world.ingest(&[&path]).await.unwrap_err();
    assert!(
        problem.message.contains("r.jsonl:2") && problem.message.contains("tsvector"),
        "{problem} {:?}",
        problem.detail
    );
    assert!(problem.hint.unwrap().contains("--skip-bad"));
    let mut request = world.request(&[&path]);
    request.skip_bad = true;
    let report = world.run(request.clone()).await.unwrap();
    let bad: Vec<Option<u64>> = report.bad_records.iter().map(|bad| bad.line).collect();
    assert_eq!(bad, [Some(2), Some(3), Some(4), Some(5)], "{:?}", report.bad_records);
    let sources: Vec<String> = world.texts().await.into_iter().map(|(source, ..)| source).collect();
    assert_eq!(sources, ["after", "before"]);
    assert_eq!((report.new, report.rows_written), (2, 2));
    let again = world.run(request).await.unwrap();
    assert_eq!((again.unchanged, again.bad, again.rows_written), (2, 4, 0));
}

#[tokio::test]
async fn a_changed_document_that_is_refused_stays_as_it_was() {
    let world = World::new(&[("short", "varchar(3)")]).await;
    let path = world
        .file("r.jsonl", "{\"id\":1,\"content\":\"a\",\"short\":\"abc\"}\n{\"id\":2,\"content\":\"b\"}\n");
    world.ingest(&[&path]).await.unwrap();
    world
        .file("r.jsonl", "{\"id\":1,\"content\":\"a2\",\"short\":\"abcd\"}\n{\"id\":2,\"content\":\"b2\"}\n");
    let mut request = world.request(&[&path]);
    request.skip_bad = true;
    let report = world.run(request).await.unwrap();
    assert_eq!((report.bad, report.changed), (1, 1), "{:?}", report.bad_records);
    let texts: Vec<String> = world.texts().await.into_iter().map(|(.., text)| text).collect();
    assert_eq!(texts, ["a", "b2"]);
}

#[tokio::test]
async fn a_few_documents_of_a_request_are_told_apart_on_the_connection_they_share() {
    let world = World::new(&[]).await;
    let client = world.database.client().await;
    client.batch_execute("ALTER TABLE notes ADD CHECK (content <> 'forbidden')").await.unwrap();
    let run = async |first: &str, second: &str| {
        let records = vec![json!({"id": 1, "content": first}), json!({"id": 2, "content": second})];
        let inputs = vec![Input::Records("documents".into(), records)];
        let request = IngestRequest::new(inputs, world.collection());
        world.run(IngestRequest { skip_bad: true, ..request }).await.unwrap()
    };
    assert_eq!(run("a", "b").await.new, 2);
    let report = run("forbidden", "b2").await;
    assert_eq!((report.bad, report.changed), (1, 1), "{report:?}");
    assert_eq!(report.bad_records[0].index, Some(0));
    let texts = async || world.texts().await.into_iter().map(|(.., text)| text).collect::<Vec<_>>();
    assert_eq!(texts().await, ["a", "b2"]);
    // The connection goes back as it was.
    assert_eq!(run("a3", "b3").await.changed, 2);
    assert_eq!(texts().await, ["a3", "b3"]);
}

#[tokio::test]
async fn a_word_of_a_megabyte_comes_in() {
    let world = World::new(&[]).await;
    let word = "x".repeat(1 << 20);
    let path = world.file(
        "r.jsonl",
        format!(
            "{}\n",
            json!({"id": 1, "content": format!("before {word} after"), "embedding": [1, 0, 0, 0]})
        ),
    );
    assert_eq!(world.ingest(&[&path]).await.unwrap().rows_written, 1);
}
