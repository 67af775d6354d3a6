//! Never silently short: filters, large limits, dead rows, duplicates, missing embeddings, every kind of index.

use std::time::Duration;

use howdah_plan::problem::Kind;
use howdah_plan::search::SearchAnswer;
use serde_json::{Value, json};

use super::corpus::{Corpus, Row, Shape, ids, indexes, real};
use crate::collections::facts;
use crate::knowledge::search;
use howdah_embed::Embedders;

const CLUSTERED: &str = "INSERT INTO docs (source, chunk, content, metadata, year, embedding)
    SELECT 's' || n % 100, n, 'row ' || n, jsonb_build_object('bucket', n % 100, 'half', n % 2), n % 50,
           ARRAY[sin(n * 0.7), cos(n * 1.3), sin(n * 0.11), cos(n * 0.017), (n % 17) / 17.0, sin(n * n * 0.001),
                 cos(n * 0.31), (n % 101) / 101.0]::real[]::vector
    FROM generate_series(1, {rows}) n";

/// Generated rows in eight dimensions.
async fn generated(rows: u32, index: &str) -> Corpus {
    let corpus = Corpus::new(Shape { dimensions: 8, ..Shape::default() }).await;
    corpus.sql("ALTER TABLE docs SET (autovacuum_enabled = off)").await;
    corpus.sql(&CLUSTERED.replace("{rows}", &rows.to_string())).await;
    if !index.is_empty() {
        corpus.index(index).await;
    }
    corpus
}

fn query(n: u32) -> Value {
    let n = f64::from(n);
    json!([(n * 0.9).sin(), n.cos(), (n * 0.2).sin(), 0.3, 0.5, n.sin(), (n * 0.4).cos(), 0.1])
}

/// Part of the exact answer's rows that are in `answer`, a row as near as the farthest of them counting.
async fn recall(corpus: &Corpus, answer: &SearchAnswer, mut request: Value) -> f64 {
    request["exact"] = json!(true);
    request.as_object_mut().unwrap().remove("ef_search");
    let exact = corpus.search(request).await;
    assert!(exact.complete);
    assert_eq!(answer.results.len(), exact.results.len());
    let Some(farthest) = exact.results.last().and_then(|hit| hit.distance) else { return 1.0 };
    let near = answer.results.iter().filter(|hit| hit.distance.is_some_and(|d| d <= farthest + 1e-6)).count();
    near as f64 / exact.results.len() as f64
}

fn access(answer: &SearchAnswer) -> &str {
    answer.scan.as_ref().map_or("", |scan| scan.access.as_str())
}

#[tokio::test]
async fn a_filter_of_one_percent_still_fills_the_list() {
    for index in indexes(&[
        "hnsw (embedding vector_cosine_ops)",
        "ivfflat (embedding vector_cosine_ops) WITH (lists = 50)",
        "",
    ]) {
        let corpus = generated(8000, index).await;
        for n in 0..10 {
            let free = json!({"vector": query(n), "filter": {"metadata.bucket": n}});
            // With a number of candidates asked for, the index has to do it.
            let forced = json!({"vector": query(n), "filter": {"metadata.bucket": n}, "ef_search": 100});
            for request in [free, forced] {
                let answer = corpus.search(request.clone()).await;
                assert_eq!(answer.results.len(), 10, "{index}: {:?}", answer.scan);
                assert!(answer.complete, "{index}: {}", answer.complete_reason);
                assert!(recall(&corpus, &answer, request).await >= 0.7, "{index}");
            }
        }
    }
}

#[tokio::test]
async fn a_limit_beyond_the_candidates_is_filled() {
    for index in indexes(&[
        "hnsw (embedding vector_cosine_ops)",
        "ivfflat (embedding vector_cosine_ops) WITH (lists = 50)",
    ]) {
        let corpus = generated(12_000, index).await;
        for request in [
            json!({"vector": query(1), "limit": 500, "ef_search": 40}),
            json!({"vector": query(1), "limit": 500}),
            json!({"vector": query(1), "limit": 20, "offset": 2000, "ef_search": 40}),
            json!({"vector": query(1), "limit": 10_000}),
        ] {
            let answer = corpus.search(request.clone()).await;
            assert_eq!(
                answer.results.len() as u64,
                request["limit"].as_u64().unwrap(),
                "{request} {:?}",
                answer.scan
            );
            assert!(answer.complete);
            let distances: Vec<f64> = answer.results.iter().filter_map(|hit| hit.distance).collect();
            assert!(distances.is_sorted(), "{request}");
        }
        // Two builds of an index differ, and so does what a single search finds: the mean is what is promised.
        let mut sum = 0.0;
        for n in 0..10 {
            let request = json!({"vector": query(n), "limit": 500});
            let answer = corpus.search(request.clone()).await;
            let one = recall(&corpus, &answer, request).await;
            assert!(one >= 0.8, "{index}: {one} {:?}", answer.scan);
            sum += one;
        }
        assert!(sum / 10.0 >= 0.95, "{index}: {}", sum / 10.0);
    }
}

#[tokio::test]
async fn more_than_there_is_says_that_there_is_no_more() {
    for index in indexes(&["hnsw (embedding vector_cosine_ops)"]) {
        let corpus = generated(5000, index).await;
        // The index runs dry after 50 rows that pass; the exact search says that these are all.
        let request =
            json!({"vector": query(3), "limit": 100, "filter": {"metadata.bucket": 7}, "ef_search": 40});
        let answer = corpus.search(request).await;
        assert_eq!(answer.results.len(), 50);
        let escalated = answer.scan.as_ref().is_some_and(|scan| scan.escalated);
        assert!(answer.complete && escalated, "{index}: {:?}", answer.scan);
        assert_eq!(answer.complete_reason, "50 rows: there are no more that match");
        let beyond = corpus.search(json!({"vector": query(3), "limit": 10, "offset": 6000})).await;
        assert!(beyond.results.is_empty() && beyond.complete);
    }
}

#[tokio::test]
async fn howdahs_own_index_is_asked_and_shown() {
    for index in indexes(&[]) {
        let corpus = generated(20_000, index).await;
        for (filter, rows_ready) in
            [(json!({}), 10), (json!({"metadata.half": 1}), 10), (json!({"metadata.bucket": 3}), 50)]
        {
            let mut sum = 0.0;
            for n in 0..20 {
                // One percent would be compared exactly, unless the index is asked for by a number.
                let request = json!({"vector": query(n), "filter": filter, "ef_search": rows_ready});
                let answer = corpus.search(request.clone()).await;
                assert_eq!((answer.results.len(), answer.complete), (10, true), "{:?}", answer.scan);
                assert_eq!(
                    (access(&answer), answer.index.as_deref()),
                    ("howdah", Some("docs_embedding_idx"))
                );
                assert!(answer.scan.as_ref().is_some_and(|scan| !scan.escalated));
                sum += recall(&corpus, &answer, request).await;
            }
            assert!(sum / 20.0 >= 0.97, "{filter}: {}", sum / 20.0);
        }
        let answer = corpus.search(json!({"vector": query(1), "explain": true})).await;
        let explain = answer.explain.expect("explained");
        assert_eq!(explain.indexes, ["docs_embedding_idx"]);
        assert_eq!(explain.node.as_deref(), Some("Index Scan"));
        let client = corpus.db.client().await;
        let row =
            client.query_one("SELECT current_setting('howdah.target_recall', true)", &[]).await.unwrap();
        assert!(row.get::<_, Option<String>>(0).is_none_or(|value| value.is_empty() || value == "0.97"));
    }
}

#[tokio::test]
async fn rows_deleted_and_not_vacuumed_do_not_push_out_the_living() {
    for index in indexes(&[
        "hnsw (embedding vector_cosine_ops)",
        "ivfflat (embedding vector_cosine_ops) WITH (lists = 20)",
    ]) {
        let corpus = generated(10_000, index).await;
        corpus.sql("DELETE FROM docs WHERE year % 10 <> 3").await;
        // Two builds of a graph differ, and so does what a single search finds: the mean is what is promised.
        let (mut told, mut free) = (0.0, 0.0);
        for n in 0..20 {
            let request = json!({"vector": query(n), "ef_search": 100});
            let answer = corpus.search(request.clone()).await;
            assert_eq!((answer.results.len(), answer.complete), (10, true), "{index}");
            assert_ne!(access(&answer), "exact");
            told += recall(&corpus, &answer, request).await;
            let request = json!({"vector": query(n)});
            let answer = corpus.search(request.clone()).await;
            assert_eq!((answer.results.len(), answer.complete), (10, true), "{index}");
            free += recall(&corpus, &answer, request).await;
        }
        assert!(told / 20.0 >= 0.9 && free / 20.0 >= 0.9, "{index}: {told} {free}");
    }
}

#[tokio::test]
async fn duplicates_are_all_found_once() {
    let corpus = generated(3000, "").await;
    corpus
        .sql(
            "INSERT INTO docs (source, chunk, content, embedding)
             SELECT 'same', 100000 + n, 'same', '[1,1,1,1,1,1,1,1]' FROM generate_series(1, 1500) n",
        )
        .await;
    for index in indexes(&["hnsw (embedding vector_cosine_ops)"]) {
        corpus.sql("DROP INDEX IF EXISTS docs_embedding_idx").await;
        corpus.index(index).await;
        for limit in [10, 700] {
            let request = json!({"vector": [1, 1, 1, 1, 1, 1, 1, 1], "limit": limit, "ef_search": 40});
            let answer = corpus.search(request).await;
            let mut found = ids(&answer);
            found.sort_unstable();
            found.dedup();
            assert_eq!((found.len(), answer.complete), (limit, true), "{index}");
            assert!(answer.results.iter().all(|hit| hit.source.as_deref() == Some("same")), "{index}");
        }
    }
}

#[tokio::test]
async fn rows_without_an_embedding_are_not_waited_for() {
    let corpus = generated(4000, "hnsw (embedding vector_cosine_ops)").await;
    corpus.sql("UPDATE docs SET embedding = NULL WHERE id > 12; ANALYZE docs").await;
    for request in
        [json!({"vector": query(1), "limit": 20}), json!({"vector": query(1), "limit": 20, "ef_search": 40})]
    {
        let answer = corpus.search(request).await;
        assert_eq!((answer.results.len(), answer.complete), (12, true), "{:?}", answer.scan);
    }
}

#[tokio::test]
async fn settings_stay_in_their_transaction() {
    let corpus = generated(6000, "hnsw (embedding vector_cosine_ops)").await;
    for _ in 0..12 {
        let answer = corpus.search(json!({"vector": query(2), "ef_search": 100})).await;
        assert_eq!(access(&answer), "hnsw", "{:?}", answer.scan);
    }
    let client = corpus.db.client().await;
    for (name, value) in [("hnsw.ef_search", "40"), ("hnsw.iterative_scan", "off"), ("enable_sort", "on")] {
        let row = client.query_one("SELECT current_setting($1)", &[&name]).await.unwrap();
        assert_eq!(row.get::<_, String>(0), value, "{name}");
    }
}

#[tokio::test]
async fn a_search_that_is_dropped_leaves_the_connection_clean() {
    let corpus = generated(6000, "hnsw (embedding vector_cosine_ops)").await;
    let request = serde_json::from_value(json!({"vector": query(2), "ef_search": 400})).unwrap();
    let embedders = Embedders::default();
    for microseconds in (0..4000).step_by(100) {
        let search = search::run(&corpus.db.pools, &embedders, &corpus.resolved, &request);
        let _ = tokio::time::timeout(Duration::from_micros(microseconds), search).await;
    }
    for _ in 0..8 {
        let client = corpus.db.client().await;
        let row = client
            .query_one("SELECT current_setting('enable_sort'), pg_current_xact_id_if_assigned() IS NULL", &[])
            .await;
        assert_eq!(row.unwrap().get::<_, String>(0), "on");
        client.batch_execute("VACUUM docs").await.expect("no transaction was left open");
    }
}

#[tokio::test]
async fn a_statement_out_of_time_is_told_as_such() {
    let corpus = generated(1000, "").await;
    corpus
        .sql("CREATE FUNCTION slow(v vector) RETURNS vector LANGUAGE sql AS 'SELECT v FROM pg_sleep(1)'")
        .await;
    corpus.sql("ALTER TABLE docs RENAME TO hidden").await;
    corpus
        .sql(
            "CREATE VIEW docs AS SELECT id, source, chunk, title, content, metadata, year, price, ratio, day, at, flag,
             tags, slow(embedding) AS embedding, tsv, created_at FROM hidden",
        )
        .await;
    let problem =
        corpus.try_search(json!({"vector": query(1), "timeout_ms": 100})).await.expect_err("too slow");
    assert_eq!(problem.kind, Kind::Timeout, "{problem:?}");
}

#[tokio::test]
async fn more_than_two_thousand_dimensions_are_searched_as_halfvec() {
    let corpus = Corpus::new(Shape { dimensions: 3072, storage: "halfvec", ..Shape::default() }).await;
    let row = |n: usize| {
        let (group, own) = ((n % 20 + 1) as f32, n as f32);
        let embedding =
            (0..3072).map(|d| (d as f32 * group * 0.05).sin() + 0.3 * (d as f32 * own * 0.013).sin());
        let embedding = embedding.collect();
        Row { source: "s".into(), content: n.to_string(), embedding: Some(embedding), ..Row::default() }
    };
    corpus.insert(&(0..2300).map(row).collect::<Vec<_>>()).await;
    corpus.index("hnsw (embedding halfvec_cosine_ops)").await;
    let request = json!({"vector": row(100).embedding, "ef_search": 200});
    let answer = corpus.search(request.clone()).await;
    assert_eq!((answer.results.len(), access(&answer)), (10, "hnsw"));
    assert_eq!(answer.results[0].content.as_deref(), Some("100"));
    assert!(answer.results[0].distance.is_some_and(|distance| distance.abs() < 1e-3));
}

#[tokio::test]
async fn an_index_that_cannot_serve_is_not_claimed() {
    let corpus = generated(5000, "hnsw (embedding vector_l2_ops)").await;
    let answer = corpus.search(json!({"vector": query(1)})).await;
    assert_eq!((access(&answer), answer.index.as_deref()), ("exact", None));
    assert!(answer.scan.is_some_and(|scan| scan.reason.contains("is made for `<->`")));
}

#[tokio::test]
async fn an_index_on_a_part_or_an_expression_is_named_with_why_it_does_not_serve() {
    for (index, why) in [
        ("hnsw (embedding vector_cosine_ops) WHERE year > 3", "covers only a part of the rows"),
        ("hnsw ((embedding::halfvec(8)) halfvec_cosine_ops)", "searches order by the column itself"),
    ] {
        let corpus = generated(3000, index).await;
        let answer = corpus.search(json!({"vector": query(1)})).await;
        assert_eq!((access(&answer), answer.index.as_deref()), ("exact", None));
        assert!(answer.complete);
        let reason = answer.scan.expect("a scan").reason;
        assert!(reason.starts_with("index `docs_") && reason.contains(why), "{reason}");
        // One that serves is taken, whatever else there is.
        corpus.sql("CREATE INDEX serves ON docs USING hnsw (embedding vector_cosine_ops)").await;
        facts::forget(&corpus.db.pools, &corpus.resolved);
        let answer = corpus.search(json!({"vector": query(1), "ef_search": 100})).await;
        assert_eq!((access(&answer), answer.index.as_deref()), ("hnsw", Some("serves")));
    }
}

#[tokio::test]
async fn pgvector_may_live_in_another_schema() {
    let corpus = generated(4000, "hnsw (embedding vector_cosine_ops)").await;
    corpus.sql("CREATE SCHEMA extensions; ALTER EXTENSION vector SET SCHEMA extensions").await;
    // A connection that has not seen the types where they were.
    corpus.db.pools.forget(&corpus.db.name);
    for request in [
        json!({"vector": query(1), "ef_search": 100}),
        json!({"id": 5, "exact": true}),
        json!({"vector": query(1), "text": "row", "max_distance": 0.5}),
    ] {
        assert_eq!(corpus.search(request).await.results.len(), 10);
    }
}

#[tokio::test]
async fn real_embeddings_are_found() {
    let (Some(base), Some(queries)) =
        (real("minilm384-base.f16.npy", 6000), real("minilm384-query.f16.npy", 60))
    else {
        return;
    };
    let corpus = Corpus::new(Shape { dimensions: 384, ..Shape::default() }).await;
    let rows = base.into_iter().enumerate().map(|(n, embedding)| Row {
        source: "s".into(),
        content: n.to_string(),
        metadata: json!({"bucket": n % 100, "tenth": n % 10}),
        embedding: Some(embedding),
        ..Row::default()
    });
    corpus.insert(&rows.collect::<Vec<_>>()).await;
    for (index, least) in indexes(&["hnsw (embedding vector_cosine_ops)"]).into_iter().zip([0.99, 0.98]) {
        corpus.sql("DROP INDEX IF EXISTS docs_embedding_idx").await;
        corpus.index(index).await;
        for filter in [json!({}), json!({"metadata.bucket": 3}), json!({"metadata.tenth": 3})] {
            let mut sum = 0.0;
            for query in &queries {
                let request = json!({"vector": query, "filter": filter});
                let answer = corpus.search(request.clone()).await;
                assert!(answer.complete);
                sum += recall(&corpus, &answer, request).await;
            }
            let recall = sum / queries.len() as f64;
            assert!(recall >= least, "{index} {filter}: {recall}");
        }
    }
}
