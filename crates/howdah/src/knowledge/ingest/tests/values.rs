//! No value is lost without a word: it is kept as it was written, or refused by its name.

use serde_json::{Value, json};

use super::super::{IngestRequest, Input};
use super::World;

/// The source, the text and the metadata of a row.
type Kept = (&'static str, &'static str, &'static str);

/// A file, and its rows.
const KEPT: &[(&str, &str, &[Kept])] = &[
    (
        "both.csv",
        "content,text,source\nC,T,1\n,T,2\nC,,3\n",
        &[("1", "C", r#"{"text":"T"}"#), ("2", "T", "{}"), ("3", "C", "{}")],
    ),
    (
        "both.jsonl",
        "{\"id\":1,\"content\":\"C\",\"text\":\"\"}\n{\"id\":2,\"text\":\"T\",\"content\":null}\n{\"id\":3,\"text\":\"T\",\"content\":\"C\"}\n",
        &[("1", "C", r#"{"text":""}"#), ("2", "T", "{}"), ("3", "C", r#"{"text":"T"}"#)],
    ),
    (
        "numbers.jsonl",
        "{\"id\":1,\"content\":\"C\",\"n\":123456789012345678901234567890,\"f\":0.1000000000000000055511151231257827,\"e\":1e400,\"m\":-1.50,\"deep\":{\"a\":[98765432109876543210.5]}}\n",
        &[(
            "1",
            "C",
            r#"{"n":123456789012345678901234567890,"f":0.1000000000000000055511151231257827,"m":-1.50,"deep":{"a":[98765432109876543210.5]}}"#,
        )],
    ),
    (
        "id.jsonl",
        "{\"id\":123456789012345678901234567890,\"content\":\"C\"}\n",
        &[("123456789012345678901234567890", "C", "{}")],
    ),
    ("unnamed.csv", "content,,source,\nC,kept,1,\n", &[("1", "C", r#"{"column_2":"kept"}"#)]),
    (
        "same.jsonl",
        "{\"id\":1,\"content\":\"C\",\"k\":1,\"metadata\":{\"k\":1}}\n",
        &[("1", "C", r#"{"k":1}"#)],
    ),
];

/// A file, and where and why it is refused.
const REFUSED: &[(&str, &str, &str, &str)] = &[
    ("twice.csv", "content,tag,tag,source\nC,a,b,1\n", "twice.csv:1", "`tag`"),
    ("twice_same.csv", "content,title,title\nC,a,b\n", "twice_same.csv:1", "`title`"),
    ("ragged.csv", "content,source\nC,1\nC,2,3\n", "ragged.csv:3", "3 columns"),
    ("key.jsonl", "{\"content\":\"C\",\"k\":1,\"metadata\":{\"k\":2}}\n", "key.jsonl:1", "`k`"),
    ("twice.jsonl", "{\"content\":\"C\",\"k\":1,\"k\":2}\n", "twice.jsonl:1", "`k`"),
    ("content.jsonl", "{\"content\":\"C\",\"content\":\"D\"}\n", "content.jsonl:1", "`content`"),
    (
        "inside.jsonl",
        "{\"content\":\"C\",\"a\":{\"b\":{\"k\":1,\"\\u006b\":2}}}\n",
        "inside.jsonl:1",
        "`a.b.k`",
    ),
    ("meta.jsonl", "{\"content\":\"C\",\"metadata\":{\"k\":1,\"k\":2}}\n", "meta.jsonl:1", "`metadata.k`"),
    ("field.jsonl", "{\"content\":\"C\",\"year\":1,\"metadata\":{\"year\":2}}\n", "field.jsonl:1", "`year`"),
    ("nul.jsonl", "{\"content\":\"C\",\"a\":{\"b\":\"\\u0000\"}}\n", "nul.jsonl:1", "`a.b` has a NUL"),
    (
        "half.jsonl",
        "{\"content\":\"C\",\"a\":[\"\\ud800\"]}\n",
        "half.jsonl:1",
        "`a[0]` has half of a surrogate pair",
    ),
    ("half_key.jsonl", "{\"content\":\"C\",\"a\":{\"\\udc00\":1}}\n", "half_key.jsonl:1", "surrogate"),
    ("huge.jsonl", "{\"content\":\"C\",\"a\":1e131073}\n", "huge.jsonl:1", "`a`"),
    ("small.jsonl", "{\"content\":\"C\",\"a\":1e-16384}\n", "small.jsonl:1", "`a`"),
    ("title.jsonl", "{\"content\":\"C\",\"title\":5}\n", "title.jsonl:1", "`title`"),
    ("words.jsonl", "{\"content\":\"C\",\"embedding\":[\"1\",2,3,4]}\n", "words.jsonl:1", "`embedding`"),
    ("metadata.jsonl", "{\"content\":\"C\",\"metadata\":[1]}\n", "metadata.jsonl:1", "`metadata`"),
];

#[tokio::test]
async fn values_are_kept_as_they_were_written() {
    for (name, content, expected) in KEPT {
        let world = World::new(&[("year", "integer")]).await;
        let path = world.file(name, content);
        world.ingest(&[&path]).await.unwrap_or_else(|problem| panic!("{name}: {problem:?}"));
        let client = world.database.client().await;
        let rows = client
            .query("SELECT source, content, metadata::text FROM notes ORDER BY source, chunk", &[])
            .await
            .unwrap();
        assert_eq!(rows.len(), expected.len(), "{name}");
        for (row, (source, text, metadata)) in rows.iter().zip(*expected) {
            assert_eq!((row.get::<_, &str>(0), row.get::<_, &str>(1)), (*source, *text), "{name}");
            // PostgreSQL compares what it stores, digit by digit.
            let same = client
                .query_one(
                    "SELECT ($1::text::jsonb - 'e') = $2::text::jsonb",
                    &[&row.get::<_, &str>(2), metadata],
                )
                .await
                .unwrap();
            assert!(same.get::<_, bool>(0), "{name}: {} is not {metadata}", row.get::<_, &str>(2));
        }
    }
}

#[tokio::test]
async fn what_cannot_be_kept_is_refused_by_name() {
    let world = World::new(&[("year", "integer")]).await;
    let mut wrong = Vec::new();
    for (name, content, place, reason) in REFUSED {
        let path = world.file(name, content);
        match world.ingest(&[&path]).await {
            Ok(report) => wrong.push(format!("{name}: taken, {} rows", report.rows_written)),
            Err(problem) if !problem.message.contains(place) || !problem.message.contains(reason) => {
                wrong.push(format!("{name}: {}", problem.message));
            }
            Err(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(world.count().await, 0);
}

#[tokio::test]
async fn records_in_memory_are_those_of_files() {
    let world = World::new(&[("year", "integer")]).await;
    let records = vec![
        json!({"source": "a", "content": "x", "year": 2020, "lang": "en"}),
        json!({"source": "b"}),
        json!({"source": "c", "content": "y", "year": "soon"}),
        json!({"source": "d", "text": "z", "metadata": {"year": 7}}),
        json!(5),
    ];
    let mut request =
        IngestRequest::new(vec![Input::Records("documents".into(), records)], world.collection());
    let problem = world.run(request.clone()).await.unwrap_err();
    assert!(problem.message.contains("`documents[1]`"), "{problem}");
    request.skip_bad = true;
    let report = world.run(request).await.unwrap();
    let bad: Vec<String> = report.bad_records.iter().map(|bad| bad.place()).collect();
    assert_eq!(bad, ["documents[1]", "documents[2]", "documents[4]"]);
    assert_eq!((report.new, report.rows_written), (2, 2));
    let rows = world.rows().await;
    assert_eq!((&rows[0]["year"], &rows[0]["metadata"]), (&json!(2020), &json!({"lang": "en"})));
    assert_eq!((&rows[1]["year"], &rows[1]["content"]), (&json!(7), &Value::from("z")));
}

#[tokio::test]
async fn a_line_beside_a_vector_names_its_document() {
    let world = World::without_embedder("vector(4)").await;
    let path = world.file("v.npy", super::formats::npy(&[[1.0; 4], [2.0; 4], [3.0; 4]]));
    // Rows that were the block's before their lines named documents are not there twice.
    world.ingest(&[&path]).await.unwrap();
    assert_eq!(world.count().await, 3);
    world.file(
        "v.jsonl",
        "{\"source\":\"a.md\",\"content\":\"one\"}\n{\"source\":\"b.md\",\"id\":7,\"content\":\"two\"}\n{\"content\":\"three\"}\n",
    );
    world.ingest(&[&path]).await.unwrap();
    let rows = world.rows().await;
    let sources: Vec<&str> = rows.iter().filter_map(|row| row["source"].as_str()).collect();
    assert_eq!(sources, ["a.md", "b.md", "v.npy#0"]);
    assert_eq!(rows[1]["metadata"], json!({"id": "7"}));
    assert!(world.ingest(&[&path]).await.unwrap().wrote_nothing());
}
