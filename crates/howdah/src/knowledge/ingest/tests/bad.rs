//! Bad records, and collections that cannot be written.

use std::sync::Arc;

use howdah_plan::problem::Kind;
use howdah_plan::spec::resolve::resolve;
use serde_json::{Value, json};

use super::super::{IngestRequest, Input};
use super::{World, embedder, formats, provider};

/// A file, and where and why it is refused.
const BAD: &[(&str, &[u8], &str, &str)] = &[
    ("a.jsonl", b"{\"id\":1,\"content\":\"ok\"}\n{\"content\": \n", "a.jsonl:2", "malformed JSON"),
    ("b.jsonl", b"{\"content\":\"x\",\"embedding\":[1,2]}\n", "b.jsonl:1", "2 dimensions, the collection 4"),
    ("c.jsonl", b"{\"content\":\"x\",\"embedding\":[1,2,NaN,4]}\n", "c.jsonl:1", "malformed JSON"),
    ("d.jsonl", b"{\"content\":\"x\",\"embedding\":[1,2,1e99,4]}\n", "d.jsonl:1", "inf"),
    ("e.jsonl", b"{\"content\":\"x\",\"embedding\":[0,0,0,0]}\n", "e.jsonl:1", "the vector is zero"),
    ("f.jsonl", b"{\"content\":\"\xff\"}\n", "f.jsonl:1", "invalid UTF-8"),
    ("g.jsonl", b"{\"content\":\"a\\u0000b\"}\n", "g.jsonl:1", "NUL"),
    ("k.md", b"line\nbad \xc3\x28\n", "k.md:2", "invalid UTF-8"),
    ("l.txt", b"a\nb\0c", "l.txt:2", "NUL"),
    ("m.csv", b"id,content\nm1,a\n2\n", "m.csv:3", "1 columns"),
    ("n.csv", b"id,content,embedding\n1,a,[1;2]\n", "n.csv:2", "no list of numbers"),
    ("o.npy", b"\x93NUMPY\x09\x00\x00\x00", "o.npy", "version 9"),
    ("p.jsonl", b"{\"content\":\"x\",\"year\":\"soon\"}\n", "p.jsonl:1", "field `year`"),
    ("q.jsonl", b"[1,2]\n", "q.jsonl:1", "it is to be a JSON object, not sequence"),
];

/// Files with nothing in them, which end no load.
const EMPTY: &[(&str, &[u8], &str)] = &[
    ("h.jsonl", b"", "the file is empty"),
    ("i.md", b"", "the file is empty"),
    ("j.md", b"  \n\n", "there is no text in it"),
];

#[tokio::test]
async fn bad_records_stop_with_file_and_line_or_are_counted() {
    let world = World::new(&[("year", "integer")]).await;
    for (name, content, place, reason) in BAD {
        let path = world.file(name, content);
        let problem = world.ingest(&[&path]).await.unwrap_err();
        assert_eq!(problem.kind, Kind::Failed, "{name}");
        assert!(
            problem.message.contains(place) && problem.message.contains(reason),
            "{name}: {}",
            problem.message
        );
        assert!(problem.hint.unwrap().contains("--skip-bad"));
    }
    for (name, content, reason) in EMPTY {
        let path = world.file(name, content);
        let report = world.ingest(&[&path]).await.unwrap();
        assert!(report.bad == 0 && report.notes[0].ends_with(reason), "{name}: {:?}", report.notes);
    }
    assert_eq!(world.count().await, 0, "nothing of a batch with a bad record is written");
    let mut request = world.request(&[world.dir.path()]);
    request.skip_bad = true;
    let report = world.run(request).await.unwrap();
    assert_eq!(report.bad, BAD.len() as u64, "{:?}", report.bad_records);
    assert_eq!((report.bad_records.len(), report.new, report.notes.len()), (BAD.len(), 2, EMPTY.len()));
}

#[tokio::test]
async fn a_line_of_a_hundred_mebibytes_is_reported_with_its_place() {
    use std::io::Write;
    let world = World::new(&[]).await;
    let path = world.file("long.jsonl", "{\"id\":1,\"content\":\"before\"}\n{\"id\":2,\"content\":\"");
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    (0..100).for_each(|_| file.write_all(&vec![b'x'; 1 << 20]).unwrap());
    file.write_all(b"\"}\n{\"id\":3,\"content\":\"after\"}\n").unwrap();
    let problem = world.ingest(&[&path]).await.unwrap_err();
    assert!(
        problem.message.contains("long.jsonl:2") && problem.message.contains("16777216 are allowed"),
        "{problem}"
    );
    let mut request = world.request(&[&path]);
    request.skip_bad = true;
    let report = world.run(request).await.unwrap();
    assert_eq!((report.bad, report.new), (1, 2));
    // A quote that is never closed would swallow the file.
    let mut open = b"id,content\n1,\"".to_vec();
    open.resize(20 << 20, b'y');
    let csv = world.file("open.csv", open);
    let problem = world.ingest(&[&csv]).await.unwrap_err();
    assert!(problem.message.contains("quote left open"), "{problem}");
}

#[tokio::test]
async fn bad_vectors_of_a_block_are_placed_by_row() {
    let world = World::without_embedder("vector(4)").await;
    let path = world.file("v.npy", formats::npy(&[[1.0; 4], [0.0; 4], [f32::NAN, 0.0, 0.0, 0.0], [2.0; 4]]));
    let problem = world.ingest(&[&path]).await.unwrap_err();
    assert!(problem.message.contains("v.npy:2") && problem.message.contains("zero"), "{problem}");
    let mut request = world.request(&[&path]);
    request.skip_bad = true;
    let report = world.run(request).await.unwrap();
    assert_eq!((report.bad, report.rows_written), (2, 2));
    let mut cut = formats::npy(&[[1.0; 4]; 9]);
    cut.truncate(cut.len() - 3);
    let problem = world.ingest(&[&world.file("cut.npy", cut)]).await.unwrap_err();
    assert!(problem.message.contains("cut off"), "{problem}");
}

#[tokio::test]
async fn two_documents_of_one_name_are_refused() {
    let world = World::new(&[]).await;
    let path = world.file("r.jsonl", "{\"id\":1,\"content\":\"a\"}\n{\"id\":1,\"content\":\"b\"}\n");
    let problem = world.ingest(&[&path]).await.unwrap_err();
    assert!(
        problem.message.contains("r.jsonl:2") && problem.message.contains("second document"),
        "{problem}"
    );
}

#[tokio::test]
async fn another_model_or_other_dimensions_are_refused_before_anything_is_written() {
    let mut world = World::new(&[]).await;
    let path = world.file("a.md", "text");
    world.ingest(&[&path]).await.unwrap();
    let before = world.versions().await;
    world.file("a.md", "other text");
    let server = provider().await;
    world.embedder = Some(Arc::new(embedder(&server, "another-model")));
    let problem = world.ingest(&[&path]).await.unwrap_err();
    assert_eq!(problem.kind, Kind::Conflict);
    assert!(problem.message.contains("`test-model`, not `another-model`"), "{problem}");
    assert!(problem.hint.unwrap().contains("new collection"));
    world.resolved.dimensions = Some(3);
    let problem = world.ingest(&[&path]).await.unwrap_err();
    assert!(problem.message.contains("`4`") && problem.message.contains("`3`"), "{problem}");
    assert_eq!(world.versions().await, before);
}

#[tokio::test]
async fn texts_without_an_embedder_and_missing_things_are_said() {
    let mut world = World::without_embedder("vector(4)").await;
    let path = world.file("a.md", "text");
    let problem = world.ingest(&[&path]).await.unwrap_err();
    assert!(problem.message.contains("has no embedder"), "{problem}");
    let records = IngestRequest::new(
        vec![Input::Records("r".into(), vec![json!({"content": "x"})])],
        world.collection(),
    );
    assert!(world.run(records).await.unwrap_err().message.contains("no `embedding`"));
    let problem = world.ingest(&[std::path::Path::new("/no/such/file.md")]).await.unwrap_err();
    assert_eq!(problem.kind, Kind::NotFound);
    let odd = world.file("x.xyz", "?");
    assert!(world.ingest(&[&odd]).await.unwrap_err().message.contains("format"));
    world.resolved.table = "missing".into();
    let npy = world.file("v.npy", formats::npy(&[[1.0; 4]]));
    let problem = world.ingest(&[&npy]).await.unwrap_err();
    assert!(problem.hint.unwrap().contains("howdah apply"));
}

#[tokio::test]
async fn an_adopted_table_is_filled_or_refused_with_the_statement_that_helps() {
    let mut world = World::new(&[]).await;
    let client = world.database.client().await;
    client
        .batch_execute("CREATE TABLE old (key uuid PRIMARY KEY DEFAULT gen_random_uuid(), body text, emb vector(4), meta json)")
        .await
        .unwrap();
    let adopt = json!({"id": "key", "content": "body", "embedding": "emb", "metadata": "meta"});
    world
        .spec
        .collections
        .insert("old".into(), serde_json::from_value(json!({"adopt": adopt, "dimensions": 4})).unwrap());
    world.resolved = resolve(&world.spec, "old").unwrap();
    let path = world.file("a.md", "# Head\n\ntext");
    let problem = world.ingest(&[&path]).await.unwrap_err();
    let hint = problem.hint.unwrap();
    let statement = "ALTER TABLE \"public\".\"old\" ADD COLUMN source text, ADD COLUMN chunk integer, ADD COLUMN content_hash bytea;";
    assert!(hint.contains(statement), "{hint}");
    client.batch_execute(statement).await.unwrap();
    let adopt = json!({"id": "key", "content": "body", "embedding": "emb", "metadata": "meta",
                       "source": "source", "chunk": "chunk", "content_hash": "content_hash"});
    world.spec.collections["old"].adopt = serde_json::from_value(adopt).unwrap();
    world.resolved = resolve(&world.spec, "old").unwrap();
    assert_eq!(world.ingest(&[&path]).await.unwrap().rows_written, 1);
    let row = client.query_one("SELECT body, meta->>'title', emb IS NOT NULL FROM old", &[]).await.unwrap();
    assert_eq!(
        (row.get::<_, &str>(0), row.get::<_, &str>(1), row.get::<_, bool>(2)),
        ("# Head\n\ntext", "Head", true)
    );
    world.file("a.md", "# Head\n\nchanged");
    assert_eq!(world.ingest(&[&path]).await.unwrap().rows_written, 1);
    assert!(world.ingest(&[&path]).await.unwrap().wrote_nothing());
    client.batch_execute("ALTER TABLE old ADD COLUMN must integer NOT NULL DEFAULT 0; ALTER TABLE old ALTER must DROP DEFAULT").await.unwrap();
    let problem = world.ingest(&[&path]).await.unwrap_err();
    assert!(problem.message.contains("`must`") && problem.hint.unwrap().contains("SET DEFAULT"));
}

#[tokio::test]
async fn a_vector_too_long_or_too_short_for_single_precision_is_stored_as_its_direction() {
    let world = World::new(&[]).await;
    let path = world.file(
        "v.jsonl",
        "{\"id\":1,\"content\":\"a\",\"embedding\":[3e38,3e38,3e38,3e38]}\n\
         {\"id\":2,\"content\":\"b\",\"embedding\":[1e-23,1e-23,0,0]}\n\
         {\"id\":3,\"content\":\"c\",\"embedding\":[3,0,4,0]}\n",
    );
    assert_eq!(world.ingest(&[&path]).await.unwrap().new, 3);
    let stored: Vec<Value> = world.rows().await.iter().map(|row| row["embedding"].clone()).collect();
    assert_eq!(
        stored,
        [json!("[0.5,0.5,0.5,0.5]"), json!("[0.70710677,0.70710677,0,0]"), json!("[3,0,4,0]")]
    );
    assert_eq!(world.ingest(&[&path]).await.unwrap().unchanged, 3);
}

/// A provider that reads no more than so many characters of a text.
async fn strict(characters: usize) -> wiremock::MockServer {
    let server = wiremock::MockServer::start().await;
    let answer = move |request: &wiremock::Request| {
        let body: Value = request.body_json().unwrap();
        let texts = body["inputs"].as_array().unwrap();
        if texts.iter().any(|text| {
            text.as_str().unwrap().contains("poison") || text.as_str().unwrap().chars().count() > characters
        }) {
            return wiremock::ResponseTemplate::new(400).set_body_string("input is too long");
        }
        wiremock::ResponseTemplate::new(200).set_body_json(vec![[1.0, 0.5, 0.0, 0.0]; texts.len()])
    };
    wiremock::Mock::given(wiremock::matchers::path("/embed")).respond_with(answer).mount(&server).await;
    server
}

#[tokio::test]
async fn text_without_spaces_goes_to_a_provider_in_pieces() {
    let mut world = World::new(&[]).await;
    let server = strict(8_192).await;
    world.embedder = Some(Arc::new(embedder(&server, "strict")));
    let sentence = "资料库每天晚上备份一次，并且每个月测试一次还原。";
    let path = world.file("backup.md", format!("# 备份\n\n{}", sentence.repeat(500)));
    let thai = world.file("thai.md", "ฐานข้อมูลสำรองทุกคืนและทดสอบการกู้คืนเดือนละครั้ง".repeat(340));
    let base64 = world.file("data.txt", "QUJD".repeat(20_000));
    world.ingest(&[&path, &thai, &base64]).await.unwrap();
    let texts = world.texts().await;
    let of = |name: &str| texts.iter().filter(|(source, ..)| source.ends_with(name)).count();
    assert!(of("backup.md") > 100 && of("thai.md") > 50 && of("data.txt") > 10, "{} chunks", texts.len());
    let longest = texts.iter().map(|(.., content)| content.chars().count()).max().unwrap();
    assert!(longest <= 8_000, "{longest}");
}

#[tokio::test]
async fn a_text_that_the_provider_refuses_is_named_and_can_be_left_out() {
    let mut world = World::new(&[]).await;
    let server = strict(8_192).await;
    world.embedder = Some(Arc::new(embedder(&server, "strict")));
    for number in 0..30 {
        world.file(&format!("good/{number}.md"), format!("# Good {number}\n\nA text."));
    }
    world
        .file("good/bad.md", format!("# First\n\nA text.\n\n# Second\n\n{} poison here", "word ".repeat(20)));
    let dir = world.dir.path().join("good");
    let problem = world.ingest(&[&dir.join("bad.md")]).await.unwrap_err();
    assert!(
        problem.message.contains("bad.md")
            && problem.message.contains("chunk 2")
            && problem.message.contains("too long"),
        "{problem}"
    );
    assert!(problem.hint.unwrap().contains("--skip-bad"));
    let mut request = world.request(&[&dir]);
    request.skip_bad = true;
    let report = world.run(request).await.unwrap();
    assert_eq!((report.bad, report.new), (1, 30), "{:?}", report.bad_records);
    assert!(report.bad_records[0].file.ends_with("bad.md"));
    assert!(world.texts().await.iter().all(|(source, ..)| !source.ends_with("bad.md")), "half a document");
    // A provider that takes nothing at all is no fault of a text.
    let server = strict(0).await;
    world.embedder = Some(Arc::new(embedder(&server, "strict")));
    let mut request = world.request(&[&dir]);
    request.skip_bad = true;
    let problem = world.run(request).await.unwrap_err();
    assert!(problem.message.contains("refused"), "{problem}");
}
