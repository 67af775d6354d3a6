//! Collections to search in: a declared one, its table, rows.

use std::path::PathBuf;

use howdah_plan::search::{SearchAnswer, SearchRequest, text};
use howdah_plan::spec::resolve::{Resolved, resolve};
use howdah_plan::spec::{Spec, read};
use serde_json::{Value, json};

use crate::collections::facts;
use crate::knowledge::search;
use howdah_embed::Embedders;
use howdah_postgres::testing::{TestDatabase, database, has_extension};

/// A collection in a database of its own.
pub(super) struct Corpus {
    pub(super) db: TestDatabase,
    pub(super) resolved: Resolved,
}

/// What a collection is like.
pub(super) struct Shape<'a> {
    pub(super) dimensions: u32,
    pub(super) metric: &'a str,
    pub(super) storage: &'a str,
    pub(super) id_type: &'a str,
}

impl Default for Shape<'_> {
    fn default() -> Self {
        Shape { dimensions: 3, metric: "cosine", storage: "vector", id_type: "bigint" }
    }
}

/// A row to insert; what is absent stays absent.
#[derive(Default, Clone)]
pub(super) struct Row {
    pub(super) source: String,
    pub(super) title: Option<String>,
    pub(super) content: String,
    pub(super) metadata: Value,
    pub(super) year: Option<i32>,
    pub(super) embedding: Option<Vec<f32>>,
}

/// Indexes on the embedding, and Howdah's own where its extension is built.
pub(super) fn indexes(pgvectors: &[&'static str]) -> Vec<&'static str> {
    let own = has_extension().then_some("howdah (embedding vector_cosine_ops)");
    pgvectors.iter().copied().chain(own).collect()
}

impl Corpus {
    pub(super) async fn new(shape: Shape<'_>) -> Corpus {
        let db = database().await;
        let spec = spec(&db.name, &shape);
        let mut resolved = resolve(&spec, "docs").expect("a collection");
        // Not declarable yet, but filters know arrays.
        resolved.fields.push(("tags".into(), "text[]".into()));
        let corpus = Corpus { db, resolved };
        let Shape { dimensions, storage, id_type, .. } = shape;
        let id = match id_type {
            "uuid" => "id uuid DEFAULT gen_random_uuid() PRIMARY KEY",
            _ => "id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
        };
        let tsv = text::own_document("english");
        corpus
            .sql(&format!(
                "CREATE TABLE docs ({id}, source text NOT NULL, chunk integer NOT NULL, title text,
                 content text NOT NULL, content_hash bytea NOT NULL DEFAULT '', metadata jsonb NOT NULL DEFAULT '{{}}',
                 year integer, price numeric, ratio real, day date, at timestamptz, flag boolean, tags text[],
                 embedding {storage}({dimensions}),
                 tsv tsvector GENERATED ALWAYS AS ({tsv}) STORED,
                 created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(),
                 UNIQUE (source, chunk));
                 CREATE INDEX docs_tsv_idx ON docs USING gin (tsv);
                 CREATE INDEX docs_metadata_idx ON docs USING gin (metadata jsonb_path_ops);
                 CREATE INDEX docs_year_idx ON docs (year)"
            ))
            .await;
        corpus
    }

    pub(super) async fn sql(&self, sql: &str) {
        self.db.client().await.batch_execute(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
        facts::forget(&self.db.pools, &self.resolved);
    }

    pub(super) async fn insert(&self, rows: &[Row]) {
        let client = self.db.client().await;
        let statement = format!(
            "INSERT INTO docs (source, chunk, title, content, metadata, year, embedding)
             VALUES ($1, (SELECT count(*) FROM docs), $2, $3, $4, $5, $6::real[]::{})",
            self.resolved.storage.sql_name()
        );
        let prepared = client.prepare_cached(&statement).await.unwrap();
        for row in rows {
            let metadata = if row.metadata.is_null() { json!({}) } else { row.metadata.clone() };
            client
                .execute(
                    &prepared,
                    &[&row.source, &row.title, &row.content, &metadata, &row.year, &row.embedding],
                )
                .await
                .unwrap();
        }
        facts::forget(&self.db.pools, &self.resolved);
    }

    pub(super) async fn index(&self, definition: &str) {
        if definition.starts_with("howdah") {
            self.sql("CREATE EXTENSION IF NOT EXISTS howdah").await;
        }
        self.sql(&format!("CREATE INDEX docs_embedding_idx ON docs USING {definition}; ANALYZE docs")).await;
    }

    pub(super) async fn try_search(
        &self,
        request: Value,
    ) -> Result<SearchAnswer, howdah_plan::problem::Problem> {
        let request: SearchRequest = serde_json::from_value(request).expect("a request");
        search::run(&self.db.pools, &Embedders::default(), &self.resolved, &request).await
    }

    pub(super) async fn search(&self, request: Value) -> SearchAnswer {
        self.try_search(request.clone()).await.unwrap_or_else(|problem| panic!("{request}: {problem:?}"))
    }
}

pub(super) fn spec(database: &str, shape: &Shape<'_>) -> Spec {
    let text = format!(
        "name = \"test\"\n[databases.{database}]\n[collections.docs]\ndatabase = \"{database}\"\n\
         dimensions = {}\nmetric = \"{}\"\nstorage = \"{}\"\nid_type = \"{}\"\n[collections.docs.fields]\n\
         year = \"integer\"\nprice = \"numeric\"\nratio = \"real\"\nday = \"date\"\nat = \"timestamptz\"\n\
         flag = \"boolean\"\n",
        shape.dimensions, shape.metric, shape.storage, shape.id_type
    );
    read::from_str(&text, "howdah.toml").unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// Ids of an answer, as numbers.
pub(super) fn ids(answer: &SearchAnswer) -> Vec<i64> {
    answer.results.iter().map(|hit| hit.id.as_i64().expect("a number")).collect()
}

/// Real embeddings, or none with a word about it.
pub(super) fn real(file: &str, rows: usize) -> Option<Vec<Vec<f32>>> {
    let directory = std::env::var_os("HOWDAH_DATA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    let path = directory.join(file);
    let Ok(bytes) = std::fs::read(&path) else {
        eprintln!("skipped: no real embeddings at {} (set HOWDAH_DATA)", path.display());
        return None;
    };
    // Version 1 of the format: magic, version, length of the header, header.
    let header = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let vectors = bytes[header..].chunks_exact(384 * 2).take(rows).map(|row| {
        row.chunks_exact(2).map(|pair| half::f16::from_le_bytes([pair[0], pair[1]]).to_f32()).collect()
    });
    Some(vectors.collect())
}
