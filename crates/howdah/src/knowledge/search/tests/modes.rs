//! Vector, words and both; metrics, thresholds, pages.

use serde_json::json;

use super::corpus::{Corpus, Row, Shape, ids};

fn row(content: &str, embedding: [f32; 3]) -> Row {
    Row {
        source: "a.md".into(),
        content: content.into(),
        embedding: Some(embedding.into()),
        ..Row::default()
    }
}

async fn axes(metric: &str, storage: &str) -> Corpus {
    let corpus = Corpus::new(Shape { metric, storage, ..Shape::default() }).await;
    corpus
        .insert(&[
            row("the elephant eats grass", [1.0, 0.0, 0.0]),
            row("a mouse eats cheese", [0.0, 2.0, 0.0]),
            row("the elephant fears no mouse", [1.0, 1.0, 0.0]),
            Row { embedding: None, ..row("a row without a vector", [0.0; 3]) },
            row("opposite", [-3.0, 0.0, 0.0]),
        ])
        .await;
    corpus
}

#[tokio::test]
async fn each_metric_sorts_by_nearness_and_says_similarity() {
    for storage in ["vector", "halfvec"] {
        for (metric, order, distance, similarity) in [
            ("cosine", vec![1, 3, 2, 5], 0.0, 1.0),
            ("l2", vec![1, 3, 2, 5], 0.0, 1.0),
            ("l1", vec![1, 3, 2, 5], 0.0, 1.0),
            // The nearest by inner product is the longest in that direction: the product is 1, pgvector says -1.
            ("inner_product", vec![1, 3, 2, 5], -1.0, 1.0),
        ] {
            let corpus = axes(metric, storage).await;
            for index in [false, true] {
                if index {
                    let short = match metric {
                        "inner_product" => "ip",
                        other => other,
                    };
                    corpus.index(&format!("hnsw (embedding {storage}_{short}_ops)")).await;
                }
                let answer = corpus.search(json!({"vector": [1.0, 0.0, 0.0]})).await;
                assert_eq!(ids(&answer)[..2], order[..2], "{metric} {storage}");
                assert_eq!(answer.results.len(), 4, "{metric}: the row without a vector has no distance");
                assert_eq!(answer.results[0].distance, Some(distance), "{metric}");
                assert_eq!(answer.results[0].similarity, Some(similarity), "{metric}");
                assert!(answer.complete, "{}", answer.complete_reason);
            }
        }
    }
}

#[tokio::test]
async fn an_index_that_is_forced_gives_the_same_as_none() {
    let corpus = axes("inner_product", "vector").await;
    corpus.index("hnsw (embedding vector_ip_ops)").await;
    // Enough rows that the index is used at all.
    corpus
        .sql(
            "INSERT INTO docs (source, chunk, content, embedding)
             SELECT 'b', 100 + n, 'filler', ARRAY[sin(n), cos(n), n % 7]::real[]::vector FROM generate_series(1, 3000) n;
             ANALYZE docs",
        )
        .await;
    let index = corpus.search(json!({"vector": [1.0, 0.0, 0.0], "explain": true, "ef_search": 400})).await;
    assert_eq!(index.scan.as_ref().map(|scan| scan.access.as_str()), Some("hnsw"), "{:?}", index.scan);
    let explain = index.explain.expect("a plan");
    assert_eq!(explain.node.as_deref(), Some("Index Scan"), "{}", explain.plan);
    assert_eq!(explain.indexes, ["docs_embedding_idx"]);
    assert!(explain.scanned >= 10 && explain.buffers > 0);
    let exact = corpus.search(json!({"vector": [1.0, 0.0, 0.0], "exact": true})).await;
    assert_eq!(exact.scan.map(|scan| scan.access), Some("exact".into()));
    let distances = |answer: &[howdah_plan::search::answer::Hit]| -> Vec<Option<f64>> {
        answer.iter().map(|hit| hit.distance).collect()
    };
    assert_eq!(distances(&index.results), distances(&exact.results));
}

#[tokio::test]
async fn a_threshold_cuts_the_list_and_says_so() {
    let corpus = axes("cosine", "vector").await;
    let answer = corpus.search(json!({"vector": [1.0, 0.0, 0.0], "min_similarity": 0.5})).await;
    assert_eq!(ids(&answer), [1, 3]);
    assert!(answer.complete);
    assert_eq!(answer.complete_reason, "2 rows: no other row is within the threshold");
    let none = corpus.search(json!({"vector": [0.0, 0.0, 1.0], "max_distance": 0.1})).await;
    assert!(none.results.is_empty() && none.complete, "{none:?}");
}

#[tokio::test]
async fn pages_follow_each_other() {
    let corpus = axes("cosine", "vector").await;
    let all = ids(&corpus.search(json!({"vector": [1.0, 0.2, 0.0]})).await);
    let mut paged = Vec::new();
    for offset in 0..5 {
        let page = corpus.search(json!({"vector": [1.0, 0.2, 0.0], "limit": 1, "offset": offset})).await;
        if let Some(hit) = page.results.first() {
            assert_eq!(hit.rank, offset + 1);
        }
        paged.extend(ids(&page));
    }
    assert_eq!(paged, all);
}

#[tokio::test]
async fn neighbours_of_a_row_leave_the_row_out() {
    for id_type in ["bigint", "uuid"] {
        let corpus = Corpus::new(Shape { id_type, ..Shape::default() }).await;
        corpus
            .insert(&[
                row("one", [1.0, 0.0, 0.0]),
                row("two", [1.0, 0.1, 0.0]),
                row("three", [0.0, 1.0, 0.0]),
            ])
            .await;
        let near = corpus.search(json!({"vector": [1.0, 0.0, 0.0], "limit": 1})).await;
        let id = near.results[0].id.clone();
        let answer = corpus.search(json!({"id": id, "limit": 2})).await;
        let contents: Vec<_> = answer.results.iter().filter_map(|hit| hit.content.as_deref()).collect();
        assert_eq!(contents, ["two", "three"]);
        let paged = corpus.search(json!({"id": id, "limit": 1, "offset": 1, "sql": true})).await;
        assert_eq!(paged.results[0].content.as_deref(), Some("three"));
    }
}

#[tokio::test]
async fn a_hybrid_search_fuses_ranks() {
    let corpus = axes("cosine", "vector").await;
    let answer =
        corpus.search(json!({"text": "elephant mouse", "vector": [0.0, 1.0, 0.0], "explain": true})).await;
    let first = &answer.results[0];
    // Second by vector, first by words (both are in it); the mouse is first by vector and second by words.
    let (vector, text) = (first.legs.vector.expect("a place"), first.legs.text.expect("a place"));
    let fused = 1.0 / (60.0 + f64::from(vector.rank)) + 1.0 / (60.0 + f64::from(text.rank));
    assert!((first.score - fused).abs() < 1e-12);
    assert!(answer.results.windows(2).all(|pair| pair[0].score >= pair[1].score));
    let snippet: Vec<char> = first.snippet.as_deref().unwrap_or_default().chars().collect();
    let marked: Vec<String> = first
        .marks
        .iter()
        .map(|[begin, end]| snippet[*begin as usize..*end as usize].iter().collect())
        .collect();
    assert!(marked.iter().any(|word| word == "mouse"), "{first:?}");
    assert!(answer.explain.expect("a plan").fusion.is_some_and(|words| words.contains("60 + vector rank")));
    let heavy = corpus
        .search(
            json!({"text": "elephant", "vector": [0.0, 1.0, 0.0], "weights": {"text": 100.0}, "limit": 2}),
        )
        .await;
    assert!(heavy.results.iter().all(|hit| hit.legs.text.is_some()), "{heavy:?}");
    let strict =
        corpus.search(json!({"text": "elephant", "vector": [0.0, 1.0, 0.0], "min_similarity": 0.9})).await;
    assert_eq!(ids(&strict), [2], "the threshold holds for rows found by words, too");
    assert!(strict.complete);
}

#[tokio::test]
async fn rows_found_by_words_alone_still_have_a_distance() {
    let corpus = axes("cosine", "vector").await;
    let answer = corpus
        .search(
            json!({"text": "opposite", "vector": [0.0, 1.0, 0.0], "candidates": {"vector": 1}, "limit": 1,
                       "weights": {"text": 2.0}}),
        )
        .await;
    assert_eq!(ids(&answer), [5]);
    assert_eq!(answer.results[0].legs.vector, None);
    assert_eq!(answer.results[0].distance, Some(1.0));
}

#[tokio::test]
async fn what_is_not_selected_is_not_returned() {
    let corpus = axes("cosine", "vector").await;
    let answer = corpus.search(json!({"vector": [1.0, 0.0, 0.0], "select": ["fields"]})).await;
    let hit = &answer.results[0];
    assert!(hit.content.is_none() && hit.metadata.is_none() && hit.fields.is_some());
    assert_eq!(hit.source.as_deref(), Some("a.md"));
}

#[tokio::test]
async fn the_printed_sql_runs_and_gives_the_same() {
    let corpus = axes("cosine", "vector").await;
    let request = json!({
        "text": "elephant's \\ mouse", "vector": [0.5, 1.0, 0.0], "sql": true, "limit": 3,
        "filter": {"source": {"in": ["a.md", "it's \"b\""]}}
    });
    let answer = corpus.search(request).await;
    let sql = answer.sql.clone().expect("the statement");
    let client = corpus.db.pools.own(&corpus.db.name).await.unwrap();
    let messages = client.simple_query(&sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    let printed: Vec<i64> = messages
        .iter()
        .filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok(),
            _ => None,
        })
        .collect();
    assert_eq!(printed, ids(&answer));
}

#[tokio::test]
async fn zero_vectors_in_the_table_have_no_direction() {
    let corpus = axes("cosine", "vector").await;
    corpus.insert(&[row("nothing", [0.0, 0.0, 0.0])]).await;
    for request in [
        json!({"vector": [1.0, 0.0, 0.0], "exact": true}),
        json!({"vector": [1.0, 0.0, 0.0], "max_distance": 2.0}),
        json!({"vector": [1.0, 0.0, 0.0], "text": "elephant"}),
    ] {
        let answer = corpus.search(request).await;
        assert!(answer.complete);
        assert!(answer.results.iter().all(|hit| hit.content.as_deref() != Some("nothing")), "{answer:?}");
    }
}
