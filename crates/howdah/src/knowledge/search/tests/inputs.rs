//! What cannot be searched for is refused, in words.

use howdah_plan::problem::Kind;
use serde_json::{Value, json};

use super::corpus::{Corpus, Row, Shape};

async fn refused(corpus: &Corpus, request: Value, kind: Kind, message: &str) {
    let problem = corpus.try_search(request.clone()).await.expect_err(&request.to_string());
    assert_eq!(problem.kind, kind, "{request}: {problem:?}");
    assert!(problem.message.contains(message), "{request}: {problem:?}");
    assert!(problem.detail.is_some() || problem.hint.is_some(), "{request}: {problem:?}");
}

#[tokio::test]
async fn bad_requests_are_refused() {
    let corpus = Corpus::new(Shape::default()).await;
    let v = json!([1.0, 0.0, 0.0]);
    let cases = [
        (json!({}), "nothing to search for"),
        (json!({"vector": v, "limit": 0}), "limit `0` is out of range"),
        (json!({"vector": v, "limit": 1_000_000_000}), "limit `1000000000` is out of range"),
        (json!({"vector": v, "offset": 200_000}), "offset `200000` is out of range"),
        (json!({"vector": v, "ef_search": 0}), "ef_search `0`"),
        (json!({"vector": [1.0, 2.0]}), "the query vector has `2` dimensions"),
        (json!({"vector": []}), "dimensions"),
        (json!({"vector": [1e39, 0.0, 0.0]}), "`inf` at place 0"),
        (json!({"vector": [0.0, 0.0, 0.0]}), "the query vector is zero"),
        (json!({"vector": v, "id": 1}), "both `vector` and `id`"),
        (json!({"vector": v, "mode": "hybrid"}), "needs `text`"),
        (json!({"text": "a", "mode": "vector"}), "has no embedder"),
        (json!({"text": "  "}), "is empty"),
        (json!({"text": "a\u{0}b"}), "NUL"),
        (json!({"text": "a", "max_distance": 1.0}), "threshold"),
        (json!({"vector": v, "max_distance": 1.0, "min_similarity": 0.0}), "both `max_distance`"),
        (json!({"id": "seven"}), "id `seven` does not fit"),
        (json!({"vector": v, "text": "a", "weights": {"vector": 0.0}}), "weight `0`"),
        (json!({"vector": v, "text": "a", "candidates": {"text": 0}}), "candidates.text `0`"),
        (json!({"vector": v, "filter": {"yaer": 1}}), "unknown filter key `yaer`"),
        (json!({"vector": v, "filter": {"year": "abc"}}), "`year` is `integer`"),
    ];
    for (request, message) in cases {
        refused(&corpus, request, Kind::Usage, message).await;
    }
    refused_row(&corpus).await;
}

async fn refused_row(corpus: &Corpus) {
    let missing = corpus.try_search(json!({"id": 999})).await.expect_err("no such row");
    assert_eq!(
        (missing.kind, missing.message.as_str()),
        (Kind::NotFound, "collection `docs` has no row `999`")
    );
    corpus.insert(&[Row::default()]).await;
    refused(corpus, json!({"id": 1}), Kind::Failed, "row `1` has no embedding").await;
}

#[tokio::test]
async fn a_filter_of_another_type_than_the_rows_have_is_told() {
    let corpus = Corpus::new(Shape::default()).await;
    let row = |price: Value| Row {
        embedding: Some(vec![1.0, 0.0, 0.0]),
        metadata: json!({"price": price}),
        ..Row::default()
    };
    corpus.insert(&[row(json!("1.50")), row(json!("2")), row(json!(null))]).await;
    let ask = async |filter: Value| {
        corpus.try_search(json!({"vector": [1.0, 0.0, 0.0], "filter": filter})).await.unwrap()
    };
    let answer = ask(json!({"metadata.price": 1.50})).await;
    assert!(answer.results.is_empty() && answer.complete);
    assert_eq!(answer.notes.len(), 1);
    assert!(
        answer.notes[0].starts_with("`metadata.price` holds text in 2 of 2 sampled rows"),
        "{:?}",
        answer.notes
    );
    for fine in [json!({"metadata.price": "1.50"}), json!({"metadata.other": 1}), json!({"source": "x"})] {
        assert!(ask(fine.clone()).await.notes.is_empty(), "{fine}");
    }
}

#[tokio::test]
async fn a_vector_too_large_for_halfvec_is_refused() {
    let corpus = Corpus::new(Shape { storage: "halfvec", ..Shape::default() }).await;
    refused(&corpus, json!({"vector": [70_000.0, 0.0, 0.0]}), Kind::Usage, "`70000` at place 0").await;
    refused(&corpus, json!({"vector": [0.0, 0.0, 0.0]}), Kind::Usage, "is zero").await;
}

#[tokio::test]
async fn a_table_that_is_not_there_says_what_to_run() {
    let corpus = Corpus::new(Shape::default()).await;
    corpus.sql("DROP TABLE docs").await;
    let problem = corpus.try_search(json!({"text": "a"})).await.expect_err("no table");
    assert_eq!(problem.kind, Kind::NotFound);
    assert_eq!(problem.hint.as_deref(), Some("Run `howdah apply`."));
}
