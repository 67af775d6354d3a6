//! The benches themselves, on a small collection; and, when asked for, on a large one.

use howdah_plan::spec::read;
use howdah_plan::spec::resolve::{Resolved, resolve};
use serde_json::json;

use super::{queries, recall, search};
use howdah_embed::Embedders;
use howdah_postgres::testing::{database, has_extension};
use howdah_postgres::{Pools, Target};

fn resolved(database: &str, dimensions: u32) -> Resolved {
    let text = format!(
        "name = \"bench\"\n[databases.{database}]\n[collections.docs]\ndimensions = {dimensions}\n\
         [collections.docs.fields]\nyear = \"integer\"\n"
    );
    let spec = read::from_str(&text, "howdah.toml").unwrap_or_else(|problems| panic!("{problems:?}"));
    resolve(&spec, "docs").expect("a collection")
}

const ROWS: &str = "
CREATE TABLE docs (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, source text NOT NULL, chunk integer NOT NULL,
  title text, content text NOT NULL, metadata jsonb NOT NULL DEFAULT '{}', year integer, embedding vector(8),
  tsv tsvector GENERATED ALWAYS AS (to_tsvector('english'::regconfig, content)) STORED);
INSERT INTO docs (source, chunk, content, embedding)
SELECT 's', n, 'row ' || n, ARRAY[sin(n * 0.7), cos(n * 1.3), sin(n * 0.11), cos(n * 0.017), (n % 17) / 17.0,
       sin(n * n * 0.001), cos(n * 0.31), (n % 101) / 101.0]::real[]::vector FROM generate_series(1, 3000) n;
CREATE INDEX docs_embedding_idx ON docs USING hnsw (embedding vector_cosine_ops);
ANALYZE docs";

#[tokio::test]
async fn a_small_collection_is_measured() {
    measure("hnsw", ROWS).await;
    if has_extension() {
        let rows = ROWS.replace("USING hnsw", "USING howdah");
        measure("howdah", &format!("CREATE EXTENSION howdah; {rows}")).await;
    }
}

async fn measure(access: &str, rows: &str) {
    let db = database().await;
    db.client().await.batch_execute(rows).await.unwrap();
    let resolved = resolved(&db.name, 8);
    let embedders = Embedders::default();
    let options = search::Options { rounds: 2, per_round: 5, ..search::Options::default() };
    let speed = search::run(&db.pools, &embedders, &resolved, &options, |_| ()).await.unwrap();
    assert_eq!((speed.raw.count, speed.in_process.count, speed.rest), (10, 10, None));
    assert!(speed.raw.p50_ms > 0.0 && speed.in_process_ratio > 0.0 && speed.rows == 3000);
    let options = recall::Options { queries: 20, ef_search: Some(100), ..recall::Options::default() };
    let found = recall::run(&db.pools, &embedders, &resolved, &options, |_| ()).await.unwrap();
    assert_eq!((found.queries, found.complete, found.short), (20, 20, 0));
    assert_eq!(found.access, [(access.to_owned(), 20)]);
    assert!(found.recall_tie_aware >= 0.9 && found.recall_tie_aware >= found.recall, "{found:?}");
    let first = queries::sample(&db.pools, &resolved, 5, 1).await.unwrap();
    assert_eq!(first, queries::sample(&db.pools, &resolved, 5, 1).await.unwrap());
}

/// `HOWDAH_BENCH_URL` names a database with a table `docs` of a default collection in 384 dimensions whose metadata has
/// `bucket`, 0 to 99; `HOWDAH_BENCH_QUERIES` an `.npy` file of query vectors.
#[tokio::test]
#[ignore = "takes minutes; needs a large collection at HOWDAH_BENCH_URL"]
async fn a_large_collection_is_measured() {
    let Ok(url) = std::env::var("HOWDAH_BENCH_URL") else {
        eprintln!("skipped: HOWDAH_BENCH_URL is not set");
        return;
    };
    let target = Target::from_url(&url, None).expect("an address");
    let resolved = resolved(&target.database, 384);
    let pools = Pools::new(target, 4);
    let embedders = Embedders::default();
    let vectors =
        std::env::var_os("HOWDAH_BENCH_QUERIES").map(|path| super::npy::read_npy(path.as_ref()).unwrap());
    for filter in [
        None,
        Some(json!({"metadata.bucket": 3})),
        Some(json!({"metadata.deci": 3})),
        Some(json!({"metadata.lang": "en"})),
    ] {
        let options = recall::Options { vectors: vectors.clone(), filter, ..recall::Options::default() };
        let report = recall::run(&pools, &embedders, &resolved, &options, |_| ()).await.unwrap();
        println!("{:?}\n{}", options.filter, serde_json::to_string_pretty(&report).unwrap());
    }
    for text in [None, Some("word5 row".to_owned())] {
        let options = search::Options { text, ..search::Options::default() };
        let report = search::run(&pools, &embedders, &resolved, &options, |_| ()).await.unwrap();
        println!("{}", serde_json::to_string_pretty(&report).unwrap());
    }
}
