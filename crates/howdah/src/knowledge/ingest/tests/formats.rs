//! Every format, once around.

use std::sync::Arc;

use half::f16;
use serde_json::{Value, json};

use super::super::{Event, IngestRequest, Input};
use super::{Watch, World};

#[tokio::test]
async fn a_directory_of_texts_comes_in_with_titles_and_vectors() {
    let world = World::new(&[]).await;
    world.file("docs/guide.md", "# Guide\n\nhello\n\n## Install\n\napt install howdah\n");
    world.file("docs/sub/note.txt", "a plain note");
    world.file("docs/page.html", "<title>Page</title><h1>Top</h1><p>html text</p>");
    world.file("docs/picture.png", "not read");
    let docs = world.dir.path().join("docs");
    let watch = Arc::new(Watch::default());
    let report = super::run(
        world.pools(),
        world.embedder.clone(),
        &world.resolved,
        world.request(&[&docs]),
        Arc::clone(&watch) as _,
    )
    .await
    .unwrap();
    assert_eq!((report.files, report.ignored_files, report.documents, report.new), (3, 1, 3, 3));
    assert_eq!((report.rows_written, report.embedded), (4, 4));
    let titles: Vec<Value> = world.rows().await.iter().map(|row| row["title"].clone()).collect();
    assert_eq!(titles, ["Guide", "Guide > Install", "Page > Top", "note"]);
    assert_eq!(world.rows().await[1]["content"], "## Install\n\napt install howdah");
    let mut embedded = world.embedded().await;
    embedded.sort();
    assert_eq!(embedded[1], "Guide > Install\napt install howdah");
    let null = "SELECT count(*) FROM notes WHERE embedding IS NULL OR tsv = ''";
    assert_eq!(world.database.client().await.query_one(null, &[]).await.unwrap().get::<_, i64>(0), 0);
    let remembered = "SELECT model, dimensions, normalised FROM howdah.collections WHERE name = 'notes'";
    let row = world.database.client().await.query_one(remembered, &[]).await.unwrap();
    assert_eq!((row.get::<_, &str>(0), row.get::<_, i32>(1), row.get::<_, bool>(2)), ("test-model", 4, true));
    let events = watch.events.lock().unwrap();
    assert!(matches!(events[0], Event::Advanced { done: 0, total: 1.., .. }), "{:?}", events[0]);
    let Some(Event::Advanced { done, total, .. }) = events.last() else { panic!("{events:?}") };
    assert_eq!(done, total);
}

#[tokio::test]
async fn json_lines_fill_fields_metadata_and_vectors() {
    let fields = [
        ("year", "integer"),
        ("big", "bigint"),
        ("score", "double precision"),
        ("open", "boolean"),
        ("seen", "timestamptz"),
        ("day", "date"),
        ("extra", "jsonb"),
        ("key", "uuid"),
        ("tags", "text[]"),
        ("lang", "varchar(8)"),
    ];
    let world = World::new(&fields).await;
    let record = json!({
        "id": 7, "title": "T", "text": "words", "embedding": [0.5, 0, 0, -1], "year": 2020, "big": "9007199254740993",
        "score": 1.5, "open": "yes", "seen": "2026-11-20T12:00:00+01:00", "day": "2026-11-20", "extra": {"a": [1]},
        "key": "67e55044-10b1-426f-9247-bb680e5fe0c8", "tags": ["a", null, "b"], "lang": "en", "other": 1,
        "metadata": {"deep": {"er": true}},
    });
    let path = world.file("r.jsonl", format!("{record}\n\n{{\"content\":\"only text\"}}\n"));
    let report = world.ingest(&[&path]).await.unwrap();
    assert_eq!((report.new, report.embedded), (2, 1));
    let rows = world.rows().await;
    let row = rows.iter().find(|row| row["source"] == "7").unwrap();
    assert_eq!(row["metadata"], json!({"deep": {"er": true}, "other": 1}));
    assert_eq!(row["embedding"], "[0.5,0,0,-1]");
    assert_eq!(
        (&row["year"], &row["big"], &row["open"]),
        (&json!(2020), &json!(9_007_199_254_740_993_i64), &json!(true))
    );
    assert_eq!(
        (&row["day"], &row["extra"], &row["tags"]),
        (&json!("2026-11-20"), &json!({"a": [1]}), &json!(["a", null, "b"]))
    );
    assert_eq!((&row["key"], &row["lang"]), (&json!("67e55044-10b1-426f-9247-bb680e5fe0c8"), &json!("en")));
    assert!(row["seen"].as_str().unwrap().starts_with("2026-11-20T11:00:00"), "{}", row["seen"]);
    let unnamed = rows.iter().find(|row| row["source"] != "7").unwrap();
    assert!(unnamed["source"].as_str().unwrap().contains("r.jsonl#"));
    assert_eq!(unnamed["year"], Value::Null);
}

#[tokio::test]
async fn a_long_record_becomes_several_rows_of_one_document() {
    let world = World::new(&[("year", "integer")]).await;
    let words = (0..100).map(|i| format!("word{i}")).collect::<Vec<_>>().join(" ");
    let record = json!({"id": "long", "content": words, "year": 1999, "color": "red"});
    world
        .run(IngestRequest::new(vec![Input::Records("memory".into(), vec![record])], world.collection()))
        .await
        .unwrap();
    let rows = world.rows().await;
    assert_eq!(rows.len(), 3);
    assert!(
        rows.iter()
            .all(|row| row["year"] == 1999 && row["metadata"]["color"] == "red" && row["source"] == "long")
    );
}

#[tokio::test]
async fn csv_columns_are_the_keys_of_json_lines() {
    let world = World::new(&[("year", "integer")]).await;
    let path = world.file(
        "t.csv",
        "id,content,year,kind,metadata\n1,\"two\nlines\",2020,a,\"{\"\"x\"\":1}\"\n2,plain,,b,\n",
    );
    let tabs = world.file("t.tsv", "id\ttext\n3\ttabbed\n");
    world.ingest(&[&path, &tabs]).await.unwrap();
    let rows = world.rows().await;
    assert_eq!(rows[0]["content"], "two\nlines");
    assert_eq!(rows[0]["metadata"], json!({"x": 1, "kind": "a"}));
    assert_eq!((&rows[0]["year"], &rows[1]["year"]), (&json!(2020), &Value::Null));
    assert_eq!(rows[2]["content"], "tabbed");
}

#[tokio::test]
async fn front_matter_gives_title_metadata_and_fields() {
    let world = World::new(&[("owner", "text"), ("year", "integer")]).await;
    world.file(
        "a.md",
        "---\ntitle: Runbook\nowner: ops\ntags: [a, b]\n---\n\n# Power\n\nTurn it off and on.\n",
    );
    world.file("b.md", "+++\ntitle = \"T\"\nyear = 2026\n+++\ntext");
    world.ingest(&[world.dir.path()]).await.unwrap();
    let rows = world.rows().await;
    assert_eq!(
        (&rows[0]["title"], &rows[0]["content"]),
        (&json!("Runbook > Power"), &json!("# Power\n\nTurn it off and on."))
    );
    assert_eq!(
        (&rows[0]["owner"], &rows[0]["metadata"]),
        (&json!("ops"), &json!({"owner": "ops", "tags": ["a", "b"]}))
    );
    assert_eq!((&rows[1]["title"], &rows[1]["year"]), (&json!("T"), &json!(2026)));
    let bad = world.file("c.md", "---\nyear: soon\n---\ntext");
    let problem = world.ingest(&[&bad]).await.unwrap_err();
    assert!(problem.message.contains("c.md:1") && problem.message.contains("`year`"), "{problem}");
}

#[tokio::test]
async fn another_encoding_is_read_when_it_is_said() {
    let world = World::new(&[]).await;
    let path = world.file("latin.md", b"caf\xe9 au lait");
    let problem = world.ingest(&[&path]).await.unwrap_err();
    assert!(problem.hint.unwrap().contains("`--encoding latin1`"));
    let mut request = world.request(&[&path]);
    request.encoding = Some(crate::knowledge::read::encoding("latin1").unwrap());
    world.run(request).await.unwrap();
    assert_eq!(world.texts().await[0].2, "café au lait");
}

/// A NumPy file of halves.
pub(super) fn npy(rows: &[[f32; 4]]) -> Vec<u8> {
    let header = format!("{{'descr': '<f2', 'fortran_order': False, 'shape': ({}, 4), }}\n", rows.len());
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    rows.iter().flatten().for_each(|x| bytes.extend(f16::from_f32(*x).to_le_bytes()));
    bytes
}

#[tokio::test]
async fn ready_made_vectors_come_in_blocks_with_the_lines_beside_them() {
    let world = World::without_embedder("halfvec(4)").await;
    let rows: Vec<[f32; 4]> = (0..5000).map(|i| [1.0, (i % 100) as f32, 0.0, 0.25]).collect();
    let path = world.file("v/vectors.npy", npy(&rows));
    let lines: String =
        (0..5000).map(|i| format!("{{\"id\": {i}, \"content\": \"row {i}\", \"n\": {i}}}\n")).collect();
    world.file("v/vectors.jsonl", lines);
    let report = world.ingest(&[path.parent().unwrap()]).await.unwrap();
    assert_eq!((report.documents, report.rows_written, report.embedded), (2, 5000, 0));
    let sql = "SELECT content, embedding::text, metadata, source FROM notes WHERE chunk = 4999";
    let row = world.database.client().await.query_one(sql, &[]).await.unwrap();
    assert_eq!((row.get::<_, &str>(0), row.get::<_, &str>(1)), ("row 4999", "[1,99,0,0.25]"));
    assert_eq!(row.get::<_, Value>(2), json!({"n": 4999, "id": "4999"}));
    assert!(row.get::<_, &str>(3).ends_with("vectors.npy#1"));
}

#[cfg(feature = "parquet")]
#[tokio::test]
async fn parquet_columns_are_the_keys_of_json_lines() {
    use arrow_array::builder::{FixedSizeListBuilder, Float32Builder};
    use arrow_array::{
        ArrayRef, Decimal128Array, Float32Array, Int32Array, RecordBatch, StringArray,
        TimestampMicrosecondArray,
    };
    let world = World::without_embedder("vector(4)").await;
    let mut vectors = FixedSizeListBuilder::new(Float32Builder::new(), 4);
    for x in [1.0, 2.0] {
        vectors.values().append_slice(&[x, 0.0, 0.0, 1.0]);
        vectors.append(true);
    }
    let price = Decimal128Array::from(vec![150, -5]).with_precision_and_scale(10, 2).unwrap();
    let columns: [(&str, ArrayRef); 7] = [
        ("price", Arc::new(price)),
        ("weight", Arc::new(Float32Array::from(vec![0.1, f32::NAN]))),
        ("seen", Arc::new(TimestampMicrosecondArray::from(vec![1_700_000_000_000_000, 0]))),
        ("id", Arc::new(Int32Array::from(vec![1, 2]))),
        ("text", Arc::new(StringArray::from(vec![Some("one"), None]))),
        ("lang", Arc::new(StringArray::from(vec!["en", "de"]))),
        ("embedding", Arc::new(vectors.finish())),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let path = world.file("p.parquet", "");
    let file = std::fs::File::create(&path).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    world.ingest(&[&path]).await.unwrap();
    let rows = world.rows().await;
    let known = json!({"price": 1.5, "weight": 0.1, "seen": "2023-11-14 22:13:20", "lang": "en"});
    assert_eq!((&rows[0]["content"], &rows[0]["metadata"]), (&json!("one"), &known));
    assert_eq!(
        (&rows[1]["metadata"]["price"], &rows[1]["metadata"]["weight"]),
        (&json!(-0.05), &json!("NaN"))
    );
    assert_eq!(rows[1]["embedding"], "[2,0,0,1]");
    assert_eq!(world.ingest(&[&path]).await.unwrap().unchanged, 2);
}
