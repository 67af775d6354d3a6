//! How much does ingest cost beside what cannot be avoided?
//!
//! Two comparisons, each in rounds that take turns, so that a busy moment of the machine hits both sides; what counts is
//! the median of the rounds' ratios.
//!
//! - Ready-made vectors: `howdah ingest` of a `.npy` file against one binary COPY of the same rows, encoded beforehand, into
//!   the same table. An ingest begins with two connections and a look at the table, some hundredths of a second, so a rate
//!   takes many rows.
//! - Texts: `howdah ingest` of JSON Lines against the embedder alone, on the same texts in the same batches.
//!
//! Everything happens in a schema of its own, which is removed at the end; the table is an own table of Howdah's without a
//! vector index.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::{SinkExt, stream};
use howdah_plan::problem::{Kind, Problem};
use howdah_plan::spec::resolve::{Columns, Resolved};
use howdah_plan::spec::{Collection, Index, Metric, Storage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::median;
use crate::knowledge::ingest::{self, Copy, IngestReport, IngestRequest};
use crate::observe::progress::Silent;
use howdah_embed::{Embedder, Purpose};
use howdah_postgres::Pools;
use howdah_postgres::problem::from_pg;

/// Schema, table and collection of the bench.
const NAME: &str = "howdah_bench";

/// How to measure.
#[derive(Debug, Clone)]
pub struct Options {
    /// Rounds of each comparison.
    pub rounds: u32,
    /// Vectors of the first comparison.
    pub rows: usize,
    /// Dimensions of them.
    pub dimensions: usize,
    /// Texts of the second comparison.
    pub texts: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options { rounds: 5, rows: 200_000, dimensions: 384, texts: 256 }
    }
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Ready-made vectors: ingest against raw COPY.
    pub ready: Comparison,
    /// Texts: ingest against the embedder alone; absent without an embedder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedded: Option<Comparison>,
    /// Tokens a second of the embedder alone (words, where there is no tokenizer).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_second: Option<f64>,
}

/// Ingest against something it cannot be faster than.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// Rows a round.
    pub rows: u64,
    /// Rows a second of the other side, the median.
    pub other_rows_per_second: f64,
    /// Rows a second of ingest, the median.
    pub ingest_rows_per_second: f64,
    /// Ingest's rate as a part of the other's: the median of the rounds.
    pub ratio: f64,
    /// The ratio of each round.
    pub ratios: Vec<f64>,
}

impl Comparison {
    fn of(rows: usize, times: &[(f64, f64)]) -> Self {
        let rate = |seconds: f64| rows as f64 / seconds;
        let ratios: Vec<f64> = times.iter().map(|(other, ingest)| other / ingest).collect();
        Comparison {
            rows: rows as u64,
            other_rows_per_second: median(times.iter().map(|(other, _)| rate(*other))),
            ingest_rows_per_second: median(times.iter().map(|(_, ingest)| rate(*ingest))),
            ratio: median(ratios.iter().copied()),
            ratios,
        }
    }
}

/// Measures in `database`. `progress` is called with what is done, in words.
///
/// # Errors
/// Whatever keeps the database or the embedder from answering.
pub async fn run(
    pools: &Pools,
    database: &str,
    embedder: Option<Arc<Embedder>>,
    options: &Options,
    progress: &(dyn Fn(&str) + Send + Sync),
) -> Result<Report, Problem> {
    let directory = std::env::temp_dir().join(format!("{NAME}-{}", std::process::id()));
    std::fs::create_dir_all(&directory).map_err(|e| cannot_write(&directory, &e))?;
    let client = pools.own(database).await?;
    let outcome = measure(pools, &client, database, embedder, options, &directory, progress).await;
    let swept = sweep(&client, true).await;
    let _ = std::fs::remove_dir_all(&directory);
    let report = outcome?;
    swept?;
    Ok(report)
}

async fn measure(
    pools: &Pools,
    client: &Client,
    database: &str,
    embedder: Option<Arc<Embedder>>,
    options: &Options,
    directory: &Path,
    progress: &(dyn Fn(&str) + Send + Sync),
) -> Result<Report, Problem> {
    let place = Place { pools, client, database };
    place.table(options.dimensions).await?;
    let ready = place.ready(options, directory, progress).await?;
    let Some(embedder) = embedder else {
        return Ok(Report { ready, embedded: None, tokens_per_second: None });
    };
    place.table(embedder.facts().await?.dimensions as usize).await?;
    let (embedded, tokens) = place.embedded(&embedder, options, directory, progress).await?;
    Ok(Report { ready, embedded: Some(embedded), tokens_per_second: Some(tokens) })
}

struct Place<'a> {
    pools: &'a Pools,
    client: &'a Client,
    database: &'a str,
}

impl Place<'_> {
    async fn table(&self, dimensions: usize) -> Result<(), Problem> {
        sweep(self.client, true).await?;
        let tsv = howdah_plan::search::text::own_document("english");
        let sql = format!(
            "CREATE SCHEMA {NAME}; CREATE TABLE {NAME}.{NAME} (
                id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, source text NOT NULL, chunk integer NOT NULL,
                title text, content text NOT NULL, content_hash bytea NOT NULL, metadata jsonb NOT NULL DEFAULT '{{}}',
                embedding vector({dimensions}),
                tsv tsvector GENERATED ALWAYS AS ({tsv}) STORED,
                created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(),
                UNIQUE (source, chunk))"
        );
        self.client.batch_execute(&sql).await.map_err(|e| from_pg(&e, "make the bench's table"))
    }

    async fn ready(
        &self,
        options: &Options,
        directory: &Path,
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<Comparison, Problem> {
        let path = directory.join("vectors.npy");
        let (file, messages) = vectors(options.rows, options.dimensions);
        std::fs::write(&path, file).map_err(|e| cannot_write(&path, &e))?;
        let mut times = Vec::new();
        // The first round warms the caches; it does not count.
        for round in 0..=options.rounds {
            sweep(self.client, false).await?;
            let raw = seconds(self.copy(&messages)).await?;
            sweep(self.client, false).await?;
            let own = seconds(self.ingest(&path, None)).await?;
            if round > 0 {
                times.push((raw, own));
                progress(&format!("vectors: round {round} of {}", options.rounds));
            }
        }
        Ok(Comparison::of(options.rows, &times))
    }

    async fn embedded(
        &self,
        embedder: &Arc<Embedder>,
        options: &Options,
        directory: &Path,
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<(Comparison, f64), Problem> {
        let texts = texts(options.texts);
        let path = directory.join("texts.jsonl");
        let lines: String = texts
            .iter()
            .enumerate()
            .map(|(id, text)| format!("{{\"id\":{id},\"content\":\"{text}\"}}\n"))
            .collect();
        std::fs::write(&path, lines).map_err(|e| cannot_write(&path, &e))?;
        let tokens: usize = texts.iter().map(|text| embedder.count_tokens(text)).sum();
        let mut times = Vec::new();
        for round in 1..=options.rounds {
            let alone = seconds(alone(embedder, &texts)).await?;
            sweep(self.client, false).await?;
            let own = seconds(self.ingest(&path, Some(Arc::clone(embedder)))).await?;
            times.push((alone, own));
            progress(&format!("texts: round {round} of {}", options.rounds));
        }
        Ok((
            Comparison::of(texts.len(), &times),
            tokens as f64 / median(times.iter().map(|(alone, _)| *alone)),
        ))
    }

    async fn copy(&self, messages: &[Bytes]) -> Result<(), Problem> {
        let fail = |e: tokio_postgres::Error| from_pg(&e, "copy into the bench's table");
        let columns = "source, chunk, title, content, content_hash, metadata, embedding";
        let sql = format!("COPY {NAME}.{NAME} ({columns}) FROM STDIN (FORMAT binary)");
        let mut sink = Box::pin(self.client.copy_in::<_, Bytes>(&sql).await.map_err(fail)?);
        sink.send_all(&mut stream::iter(messages.iter().cloned().map(Ok))).await.map_err(fail)?;
        sink.as_mut().finish().await.map(|_| ()).map_err(fail)
    }

    async fn ingest(&self, path: &Path, embedder: Option<Arc<Embedder>>) -> Result<IngestReport, Problem> {
        let resolved = resolved(self.database);
        let request = IngestRequest::paths([path.display().to_string()], &collection()?);
        ingest::run(self.pools, embedder, &resolved, request, Arc::new(Silent)).await
    }
}

/// Empties the bench's table; removes it, too, when `all`. Both sides begin with an empty table and no dead rows.
async fn sweep(client: &Client, all: bool) -> Result<(), Problem> {
    let forget = format!(
        "DELETE FROM howdah.sources WHERE collection = '{NAME}'; DELETE FROM howdah.collections WHERE name = '{NAME}'"
    );
    let table =
        if all { format!("DROP SCHEMA IF EXISTS {NAME} CASCADE") } else { format!("TRUNCATE {NAME}.{NAME}") };
    client.batch_execute(&format!("SET client_min_messages = warning; {table}; {forget}")).await.map_err(
        |e| from_pg(&e, "clear the bench's table").hint("Create Howdah's own tables: `howdah apply`."),
    )
}

fn resolved(database: &str) -> Resolved {
    Resolved {
        name: NAME.into(),
        database: database.into(),
        schema: NAME.into(),
        table: NAME.into(),
        adopted: false,
        columns: Columns::own(),
        embedder: None,
        dimensions: None,
        metric: Metric::Cosine,
        storage: Storage::Vector,
        storage_reason: String::new(),
        language: "english".into(),
        text_index: false,
        fields: Vec::new(),
        index: Index::default(),
    }
}

/// A collection with everything as usual.
fn collection() -> Result<Collection, Problem> {
    serde_json::from_str("{}")
        .map_err(|e| Problem::new(Kind::Internal, "a collection needs a key").detail(e.to_string()))
}

async fn seconds<T>(work: impl Future<Output = Result<T, Problem>>) -> Result<f64, Problem> {
    let begin = Instant::now();
    work.await?;
    Ok(begin.elapsed().as_secs_f64())
}

async fn alone(embedder: &Embedder, texts: &[String]) -> Result<(), Problem> {
    for part in texts.chunks(embedder.preferred_batch()) {
        embedder.embed(part, Purpose::Document).await?;
    }
    Ok(())
}

/// A `.npy` file of vectors, and the same rows as COPY has them.
fn vectors(rows: usize, dimensions: usize) -> (Vec<u8>, Vec<Bytes>) {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dimensions}), }}\n");
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend(u16::try_from(header.len()).unwrap_or(u16::MAX).to_le_bytes());
    file.extend(header.as_bytes());
    let mut copy = Copy::default();
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut vector = vec![0f32; dimensions];
    for row in 0..rows {
        for x in &mut vector {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *x = (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5;
            file.extend(x.to_le_bytes());
        }
        copy.begin(7);
        copy.bytes(Some(format!("vectors.npy#{}", row / 4_096).as_bytes()));
        copy.bytes(Some(&(row as i32).to_be_bytes()));
        copy.bytes(None);
        copy.bytes(Some(b""));
        copy.bytes(Some(&state.to_le_bytes().repeat(4)));
        copy.bytes(Some(b"\x01{}"));
        copy.vector(&vector, false);
    }
    (file, copy.finish())
}

/// Texts of a paragraph each, no two alike.
fn texts(count: usize) -> Vec<String> {
    const WORDS: [&str; 24] = [
        "vector", "index", "the", "server", "of", "a", "search", "returns", "rows", "near", "query", "and",
        "replica", "log", "writes", "memory", "with", "filter", "table", "elephant", "to", "in", "recall",
        "disk",
    ];
    let text = |number: usize| {
        let words = 40 + number * 7 % 60;
        (0..words)
            .map(|word| WORDS[(number * 31 + word * word + word) % WORDS.len()])
            .collect::<Vec<_>>()
            .join(" ")
    };
    (0..count).map(text).collect()
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Problem {
    Problem::new(Kind::Machine, format!("cannot write `{}`", path.display())).detail(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use howdah_postgres::testing;

    #[tokio::test]
    async fn the_bench_measures_and_leaves_nothing() {
        let database = testing::database().await;
        let client = database.client().await;
        for migration in howdah_plan::internal_schema::all() {
            client.batch_execute(migration.sql).await.unwrap();
        }
        let options = Options { rounds: 2, rows: 3_000, dimensions: 8, ..Options::default() };
        let report = run(&database.pools, &database.name, None, &options, &|_| {}).await.unwrap();
        assert!(report.ready.ratio > 0.0 && report.ready.ratios.len() == 2, "{report:?}");
        assert_eq!(report.ready.rows, 3_000);
        let left = "SELECT (SELECT count(*) FROM howdah.sources) + (SELECT count(*) FROM pg_namespace WHERE nspname = $1)";
        assert_eq!(client.query_one(left, &[&NAME]).await.unwrap().get::<_, i64>(0), 0);
    }
}
