//! Filters on a real server: the SQL says what the slow truth says, for random filters over random rows.

use howdah_plan::search::filter::{self, Scope};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};

use super::corpus::{Corpus, Row, Shape, ids};

/// Few values, so that they often meet; some that would break out of a badly built statement.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec!["", "a", "b", "ab", "1", "true", "null", "é", "日本"]).prop_map(String::from),
        1 => prop::sample::select(vec![
            "'; DROP TABLE docs; --", "\\", "\"", "$1", "a'b", "{\"a\":1}", "%", "[1]", "\\u0000", "x\ty", "🐘",
        ]).prop_map(String::from),
    ]
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        (-3i64..4).prop_map(Value::from),
        (-6i64..7).prop_map(|n| json!(n as f64 / 2.0)),
        text().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
    ]
}

fn key() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "c.d", "it's", "\\", "0", "$"]).prop_map(String::from)
}

fn metadata() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![4 => scalar(), 1 => Just(Value::Null)];
    let nested = leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::vec((key(), inner), 0..3)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    });
    prop_oneof![
        9 => prop::collection::vec((key(), nested.clone()), 0..4)
            .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        1 => nested,
    ]
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(key(), 1..3).prop_map(|keys| {
        format!("metadata.{}", keys.iter().map(|k| format!("\"{k}\"")).collect::<Vec<_>>().join("."))
    })
}

/// A key with a value of its type.
fn typed() -> impl Strategy<Value = (&'static str, Value)> {
    let days = prop::sample::select(vec!["2020-02-29", "2021-01-01", "2021-01-02"]);
    prop_oneof![
        (-3i64..4).prop_map(|n| ("year", json!(n))),
        (-6i64..7).prop_map(|n| ("price", json!(n as f64 / 2.0))),
        (-6i64..7).prop_map(|n| ("ratio", json!(n as f64 / 2.0))),
        text().prop_map(|s| ("source", json!(s))),
        days.prop_map(|s| ("day", json!(s))),
    ]
}

fn operators(value: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    let many = prop::collection::vec(value.clone(), 0..3);
    prop_oneof![
        3 => value.clone(),
        1 => Just(Value::Null),
        2 => (prop::sample::select(vec!["eq", "ne"]), value).prop_map(|(op, v)| json!({op: v})),
        2 => (prop::sample::select(vec!["in", "not_in"]), many).prop_map(|(op, v)| json!({op: v})),
        2 => any::<bool>().prop_map(|yes| json!({"exists": yes})),
    ]
    .boxed()
}

fn ranges(value: Value) -> impl Strategy<Value = Value> {
    prop::sample::select(vec!["gt", "gte", "lt", "lte"]).prop_map(move |op| json!({op: value.clone()}))
}

fn leaf() -> BoxedStrategy<Value> {
    let one = |(key, test): (String, Value)| json!({key: test});
    prop_oneof![
        3 => (path(), operators(scalar().boxed())).prop_map(one),
        2 => (path(), scalar().prop_filter("ordered", |v| !v.is_boolean()).prop_flat_map(ranges)).prop_map(one),
        1 => (path(), scalar()).prop_map(|(key, value)| json!({key: {"contains": value}})),
        3 => typed().prop_flat_map(|(key, value)| {
            (Just(key.to_owned()), operators(Just(value).boxed()))
        }).prop_map(one),
        2 => typed().prop_flat_map(|(key, value)| (Just(key.to_owned()), ranges(value))).prop_map(one),
        1 => any::<bool>().prop_map(|flag| json!({"flag": flag})),
        1 => text().prop_map(|tag| json!({"tags": {"contains": tag}})),
    ]
    .boxed()
}

fn tree() -> BoxedStrategy<Value> {
    leaf()
        .prop_recursive(4, 24, 3, |inner| {
            let many = prop::collection::vec(inner.clone(), 0..4);
            prop_oneof![
                many.clone().prop_map(|all| json!({"and": all})),
                many.prop_map(|all| json!({"or": all})),
                inner.prop_map(|one| json!({"not": one})),
            ]
        })
        .boxed()
}

fn row() -> BoxedStrategy<Map<String, Value>> {
    let some = |value: BoxedStrategy<Value>| prop_oneof![3 => value, 1 => Just(Value::Null)];
    let half = || (-6i64..7).prop_map(|n| json!(n as f64 / 2.0)).boxed();
    let days = prop::sample::select(vec!["2020-02-29", "2021-01-01", "2021-01-02"]);
    (
        metadata(),
        text(),
        some((-3i64..4).prop_map(Value::from).boxed()),
        some(half()),
        some(half()),
        some(days.prop_map(Value::from).boxed()),
        some(any::<bool>().prop_map(Value::from).boxed()),
        some(prop::collection::vec(text(), 0..3).prop_map(Value::from).boxed()),
    )
        .prop_map(|(metadata, source, year, price, ratio, day, flag, tags)| {
            let row = json!({"metadata": metadata, "source": source, "year": year, "price": price,
                             "ratio": ratio, "day": day, "flag": flag, "tags": tags});
            row.as_object().cloned().unwrap_or_default()
        })
        .boxed()
}

#[tokio::test]
async fn random_filters_match_what_the_slow_truth_matches() {
    let corpus = Corpus::new(Shape::default()).await;
    let mut runner = TestRunner::new(Config { cases: 400, ..Config::default() });
    let rows: Vec<_> = (0..120).map(|_| row().new_tree(&mut runner).unwrap().current()).collect();
    let client = corpus.db.client().await;
    for (at, row) in rows.iter().enumerate() {
        client
            .execute(
                "INSERT INTO docs (source, chunk, content, metadata, year, price, ratio, day, flag, tags, embedding)
                 SELECT r->>'source', $2, 'x', r->'metadata', (r->>'year')::int, (r->>'price')::numeric,
                        (r->>'ratio')::real, (r->>'day')::date, (r->>'flag')::boolean,
                        CASE WHEN jsonb_typeof(r->'tags') = 'array'
                             THEN ARRAY(SELECT jsonb_array_elements_text(r->'tags')) END,
                        '[1,0,0]'
                 FROM (SELECT $1::jsonb AS r) one",
                &[&Value::Object(row.clone()), &(at as i32)],
            )
            .await
            .unwrap();
    }
    drop(client);
    let scope = Scope::new(&corpus.resolved, "bigint");
    for _ in 0..400 {
        let filter = json!({"and": [tree().new_tree(&mut runner).unwrap().current()]});
        let expr = filter::parse(&filter, &scope).unwrap_or_else(|problem| panic!("{filter}: {problem:?}"));
        let expected: Vec<i64> =
            (1..).zip(&rows).filter(|(_, row)| filter::matches(&expr, row)).map(|(id, _)| id).collect();
        let answer = corpus.search(json!({"vector": [1.0, 0.0, 0.0], "limit": 200, "filter": filter})).await;
        let mut found = ids(&answer);
        found.sort_unstable();
        let differs: Vec<_> = found
            .iter()
            .filter(|id| !expected.contains(id))
            .chain(expected.iter().filter(|id| !found.contains(id)))
            .map(|id| Value::Object(rows[*id as usize - 1].clone()))
            .collect();
        assert!(differs.is_empty(), "{filter}\ndiffers on {differs:?}");
        assert!(answer.complete);
    }
}

#[tokio::test]
async fn no_value_or_key_breaks_out() {
    let corpus = Corpus::new(Shape::default()).await;
    let evil = "'; DROP TABLE docs; --";
    corpus
        .insert(&[Row {
            source: evil.into(),
            content: "x".into(),
            metadata: json!({evil: evil, "a": "b"}),
            embedding: Some(vec![1.0, 0.0, 0.0]),
            ..Row::default()
        }])
        .await;
    let path = format!("metadata.\"{evil}\"");
    for filter in [
        json!({"source": evil}),
        json!({"source": {"in": [evil, "\"", "\\", "{", "}"]}}),
        json!({path.clone(): evil}),
        json!({path.clone(): {"in": [evil]}}),
        json!({path.clone(): {"gte": evil}}),
        json!({path: {"exists": true}}),
        json!({"not": {"metadata.a": "\\' OR TRUE"}}),
    ] {
        let answer = corpus.search(json!({"vector": [1.0, 0.0, 0.0], "filter": filter})).await;
        assert_eq!(ids(&answer), [1], "{filter}");
    }
    let texts = [evil, "' | '", "a:*b & !c <-> \\", "((", "\"", "-", "'", "\\'", "!!", "a'b\\c", "<b>"];
    for words in ["any", "all", "web"] {
        for text in texts {
            let answer = corpus.search(json!({"text": text, "words": words})).await;
            assert!(answer.complete, "{text}");
        }
    }
}

#[tokio::test]
async fn equality_in_metadata_is_served_by_the_index() {
    let corpus = Corpus::new(Shape::default()).await;
    corpus
        .sql(
            "INSERT INTO docs (source, chunk, content, metadata, embedding)
             SELECT 's', n, 'x', jsonb_build_object('n', n, 'many', n % 2), '[1,0,0]' FROM generate_series(1, 20000) n;
             ANALYZE docs",
        )
        .await;
    for filter in [json!({"metadata.n": 17}), json!({"metadata.n": {"in": [17, 18]}})] {
        let answer =
            corpus.search(json!({"vector": [1.0, 0.0, 0.0], "filter": filter, "explain": true})).await;
        let explain = answer.explain.expect("a plan");
        assert!(explain.indexes.iter().any(|index| index == "docs_metadata_idx"), "{}", explain.plan);
        assert!(explain.scanned < 100, "{}", explain.plan);
    }
}
