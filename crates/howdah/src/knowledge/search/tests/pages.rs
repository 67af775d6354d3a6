//! Lists read page by page: no row twice, and none passed over.

use std::collections::HashSet;

use howdah_plan::problem::Kind;
use serde_json::{Value, json};

use super::corpus::{Corpus, Row, Shape, indexes};

/// The ids of `pages` pages, and the keys they are sorted by.
async fn pages(corpus: &Corpus, request: &Value, pages: usize) -> (Vec<i64>, Vec<f64>) {
    let (mut ids, mut keys) = (Vec::new(), Vec::new());
    let mut cursor: Option<String> = None;
    for page in 0..pages {
        let mut request = request.clone();
        request["cursor"] = json!(cursor);
        let answer = corpus.search(request).await;
        for (at, hit) in answer.results.iter().enumerate() {
            assert_eq!(hit.rank as usize, ids.len() + 1, "page {page}, row {at}");
            ids.push(hit.id.as_i64().unwrap());
            keys.push(hit.distance.filter(|_| hit.legs.text.is_none()).unwrap_or(-hit.score));
        }
        cursor = answer.next;
        if cursor.is_none() {
            assert!(answer.complete, "{}", answer.complete_reason);
            break;
        }
    }
    (ids, keys)
}

fn assert_once(ids: &[i64], what: &str) {
    let different: HashSet<i64> = ids.iter().copied().collect();
    assert_eq!(different.len(), ids.len(), "{what}: rows came twice");
}

/// 200 vectors, twenty rows of each, in no order.
async fn copies() -> Corpus {
    let corpus = Corpus::new(Shape { dimensions: 8, ..Shape::default() }).await;
    corpus
        .sql(
            "SELECT setseed(0.5);
             INSERT INTO docs (source, chunk, content, embedding)
             SELECT 'd', row_number() OVER (ORDER BY random()), 'text ' || v % 7,
                    (SELECT array_agg(sin(v * 13 + d * 7 + 1) ORDER BY d) FROM generate_series(1, 8) AS d)::real[]::vector
             FROM generate_series(1, 200) AS v, generate_series(1, 20) AS copy ORDER BY random();
             ANALYZE docs",
        )
        .await;
    corpus
}

fn question(dimensions: u32) -> Vec<f64> {
    (0..dimensions).map(|at| (f64::from(at) * 3.7).cos()).collect()
}

#[tokio::test]
async fn equally_near_rows_come_once_by_offset_and_by_cursor() {
    let corpus = copies().await;
    let exact = json!({"vector": question(8), "limit": 10, "exact": true, "select": []});
    let mut by_offset = Vec::new();
    for page in 0..20 {
        let mut request = exact.clone();
        request["offset"] = json!(page * 10);
        let answer = corpus.search(request).await;
        assert!(answer.complete);
        by_offset.extend(answer.results.iter().map(|hit| hit.id.as_i64().unwrap()));
    }
    assert_once(&by_offset, "by offset");
    let (by_cursor, keys) = pages(&corpus, &exact, 20).await;
    assert_eq!(by_cursor, by_offset);
    assert!(keys.is_sorted());
    let (all, _) =
        pages(&corpus, &json!({"vector": question(8), "limit": 500, "exact": true, "select": []}), 20).await;
    assert_eq!(all.len(), 4000);
    assert_once(&all, "the whole list");
}

#[tokio::test]
async fn equally_near_rows_come_once_through_an_index() {
    for definition in indexes(&[
        "hnsw (embedding vector_cosine_ops)",
        "ivfflat (embedding vector_cosine_ops) WITH (lists = 20)",
    ]) {
        let corpus = copies().await;
        corpus.index(definition).await;
        // Naming the candidates takes the index, whatever it costs.
        let request = json!({"vector": question(8), "limit": 10, "ef_search": 400, "select": []});
        let first = corpus.search(request.clone()).await;
        assert!(first.index.is_some(), "{definition}: {:?}", first.scan);
        let (ids, keys) = pages(&corpus, &request, 20).await;
        assert_eq!(ids.len(), 200, "{definition}");
        assert_once(&ids, definition);
        assert!(keys.is_sorted(), "{definition}");
    }
}

#[tokio::test]
async fn thousands_of_different_rows_come_once_through_an_index() {
    for definition in indexes(&["hnsw (embedding vector_cosine_ops)"]) {
        let corpus = Corpus::new(Shape { dimensions: 32, ..Shape::default() }).await;
        corpus
            .sql(
                "SELECT setseed(0.25);
                 INSERT INTO docs (source, chunk, content, embedding)
                 SELECT 'd', v, 'x', (SELECT array_agg(sin(v * 12.9898 + d * d * 78.233) ORDER BY d) FROM generate_series(1, 32) AS d)::real[]::vector
                 FROM generate_series(1, 6000) AS v",
            )
            .await;
        corpus.index(definition).await;
        let request = json!({"vector": question(32), "limit": 100, "ef_search": 400, "select": []});
        let (ids, keys) = pages(&corpus, &request, 25).await;
        assert_eq!(ids.len(), 2500, "{definition}");
        assert_once(&ids, definition);
        assert!(keys.is_sorted(), "{definition}");
        let mut exact = request.clone();
        (exact["exact"], exact["limit"]) = (json!(true), json!(2500));
        exact.as_object_mut().unwrap().remove("ef_search");
        let truth: HashSet<i64> =
            corpus.search(exact).await.results.iter().map(|hit| hit.id.as_i64().unwrap()).collect();
        let found = ids.iter().filter(|id| truth.contains(id)).count();
        assert!(found >= 2400, "{definition}: {found} of 2500");
    }
}

#[tokio::test]
async fn pages_of_words_and_of_both_fit_together() {
    let corpus = copies().await;
    let words = json!({"text": "text 3 5", "mode": "text", "limit": 50, "select": []});
    let (ids, keys) = pages(&corpus, &words, 200).await;
    assert_eq!(ids.len(), 4000, "every row holds the word `text`");
    assert_once(&ids, "words");
    assert!(keys.is_sorted());
    let both = json!({"text": "text 3 5", "vector": question(8), "mode": "hybrid", "limit": 10, "select": [],
        "candidates": {"vector": 60, "text": 60}});
    let mut ids = Vec::new();
    let mut request = both.clone();
    let last = loop {
        let answer = corpus.search(request.clone()).await;
        ids.extend(answer.results.iter().map(|hit| hit.id.as_i64().unwrap()));
        match &answer.next {
            Some(next) => request["cursor"] = json!(next),
            None => break answer,
        }
    };
    assert_once(&ids, "both");
    assert!(ids.len() >= 60 && ids.len() <= 120, "{}", ids.len());
    assert!(!last.complete && last.complete_reason.contains("candidates"), "{}", last.complete_reason);
    // By offset the candidates grow with the list.
    let mut far = both.clone();
    far["offset"] = json!(100);
    assert!(corpus.search(far).await.next.is_none());
}

#[tokio::test]
async fn the_weights_of_words_stay_what_they_were_when_statistics_change() {
    let corpus = copies().await;
    let request = json!({"text": "text 3 5", "mode": "text", "limit": 300, "select": []});
    let first = corpus.search(request.clone()).await;
    corpus.sql("DELETE FROM docs WHERE content = 'text 6'; ANALYZE docs").await;
    let mut second = request.clone();
    second["cursor"] = json!(first.next);
    let second = corpus.search(second).await;
    let ids: Vec<i64> =
        first.results.iter().chain(&second.results).map(|hit| hit.id.as_i64().unwrap()).collect();
    assert_eq!(ids.len(), 600);
    assert_once(&ids, "over an ANALYZE");
}

#[tokio::test]
async fn a_cursor_of_another_search_is_refused_and_text_keys_work() {
    let corpus = Corpus::new(Shape { id_type: "uuid", ..Shape::default() }).await;
    let rows: Vec<Row> = (0..30)
        .map(|at| Row {
            source: format!("s{at}"),
            content: "elephant".into(),
            embedding: Some(vec![1.0, 0.0, 0.0]),
            ..Row::default()
        })
        .collect();
    corpus.insert(&rows).await;
    let request = json!({"vector": [1.0, 0.5, 0.0], "limit": 7});
    let mut ids = HashSet::new();
    let mut page = request.clone();
    loop {
        let answer = corpus.search(page.clone()).await;
        answer.results.iter().for_each(|hit| assert!(ids.insert(hit.id.to_string())));
        let Some(next) = answer.next else { break };
        page["cursor"] = json!(next);
    }
    assert_eq!(ids.len(), 30);
    let next = corpus.search(request).await.next.unwrap();
    for (request, reason) in [
        (json!({"vector": [1.0, 0.4, 0.0], "limit": 7, "cursor": next}), "another search"),
        (
            json!({"vector": [1.0, 0.5, 0.0], "limit": 7, "cursor": next, "offset": 3}),
            "both `cursor` and `offset`",
        ),
        (json!({"vector": [1.0, 0.5, 0.0], "limit": 7, "cursor": "00ff"}), "not one that a search gave"),
    ] {
        let problem = corpus.try_search(request).await.unwrap_err();
        assert_eq!(problem.kind, Kind::Usage);
        assert!(problem.message.contains(reason), "{problem}");
    }
}
