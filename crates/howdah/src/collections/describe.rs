//! What a collection is like: rows, sizes, indexes, the model that filled it.

use howdah_plan::problem::{Kind, Problem};
use howdah_plan::spec::resolve::{Resolved, quote_ident, resolve};
use howdah_plan::spec::{Metric, Spec, Storage};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_postgres::Row;

use super::facts;
use howdah_postgres::Pools;
use howdah_postgres::problem::from_pg;

/// Tables up to this many rows are counted even when nobody asked for it: it takes a few milliseconds.
const COUNTED: f64 = 20_000.0;

/// A collection as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Description {
    /// Name.
    pub name: String,
    /// Database it lives in.
    pub database: String,
    /// Its table, `schema.table`.
    pub table: String,
    /// Whether the table was there before Howdah.
    pub adopted: bool,
    /// `ready`, or `missing` when the table is declared and not made yet.
    pub state: State,
    /// Rows.
    pub rows: u64,
    /// Whether the rows were counted; estimated otherwise.
    pub rows_exact: bool,
    /// Rows without an embedding, which no vector search finds.
    pub null_embeddings: u64,
    /// Dimensions of the embedding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<u32>,
    /// How distance is measured.
    pub metric: Metric,
    /// How an embedding is stored.
    pub storage: Storage,
    /// Why it is stored so.
    pub storage_reason: String,
    /// Text search configuration.
    pub language: String,
    /// Fields to filter on, with their SQL types.
    pub fields: Vec<Field>,
    /// The vector index that searches use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
    /// Why searches compare all rows, where they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_index: Option<String>,
    /// All indexes of the table.
    pub indexes: Vec<IndexDescription>,
    /// Bytes of the table without its indexes.
    pub table_bytes: u64,
    /// Bytes of all its indexes.
    pub index_bytes: u64,
    /// Embedder by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedder: Option<String>,
    /// Model that filled the collection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Documents ingested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documents: Option<u64>,
    /// When a document was last ingested (RFC 3339, UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_ingest: Option<String>,
}

/// Whether a collection can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its table is there.
    Ready,
    /// Declared, and not made yet.
    Missing,
}

/// A field to filter on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Field {
    /// Name.
    pub name: String,
    /// SQL type.
    #[serde(rename = "type")]
    pub sql_type: String,
}

/// An index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IndexDescription {
    /// Name.
    pub name: String,
    /// Access method.
    pub method: String,
    /// Whether it is complete and in use; an index that is being built, or whose build failed, is not.
    pub valid: bool,
    /// Its options (`m=16`).
    pub options: Vec<String>,
    /// Bytes.
    pub bytes: u64,
    /// Scans since the statistics were reset.
    pub scans: u64,
    /// The statement that makes it.
    pub definition: String,
}

const SIZES: &str = "
SELECT coalesce((SELECT sum(pg_table_size(part.relid))::bigint FROM pg_partition_tree(c.oid) part), pg_table_size(c.oid)),
       coalesce((SELECT sum(pg_indexes_size(part.relid))::bigint FROM pg_partition_tree(c.oid) part), pg_indexes_size(c.oid)),
       (SELECT s.null_frac::float8 FROM pg_stats s
        WHERE s.schemaname = n.nspname AND s.tablename = c.relname AND s.attname = $3)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2";

const INDEXES: &str = "
SELECT ic.relname::text, am.amname::text, i.indisvalid AND i.indisready, coalesce(ic.reloptions, '{}'),
       pg_relation_size(ic.oid), pg_stat_get_numscans(ic.oid), pg_get_indexdef(ic.oid)
FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid JOIN pg_am am ON am.oid = ic.relam
JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace n ON n.oid = t.relnamespace
WHERE n.nspname = $1 AND t.relname = $2 ORDER BY i.indisprimary DESC, ic.relname";

const OWN: &str = "
SELECT (SELECT model FROM howdah.collections WHERE name = $1),
       (SELECT count(*) FROM howdah.sources WHERE collection = $1),
       (SELECT max(ingested_at) FROM howdah.sources WHERE collection = $1)";

/// All declared collections, in their order. One whose table is not there is listed as missing.
///
/// # Errors
/// Whatever keeps the databases from answering.
pub async fn list(pools: &Pools, spec: &Spec) -> Result<Vec<Description>, Problem> {
    let mut all = Vec::with_capacity(spec.collections.len());
    for name in spec.collections.keys() {
        let resolved = resolve(spec, name)?;
        all.push(match describe(pools, &resolved, false).await {
            Err(problem) if problem.kind == Kind::NotFound => missing(&resolved),
            described => described?,
        });
    }
    Ok(all)
}

/// One collection. Rows are counted when `exact`, or when there are few.
///
/// # Errors
/// `not_found` when its table is not there; whatever keeps the database from answering.
pub async fn describe(pools: &Pools, resolved: &Resolved, exact: bool) -> Result<Description, Problem> {
    let failed = |e: tokio_postgres::Error| from_pg(&e, "describe a collection");
    let client = pools.get(&resolved.database).await?;
    let facts = facts::read(&client, resolved).await?;
    let (schema, table) = (&resolved.schema, &resolved.table);
    let sizes =
        client.query_one(SIZES, &[schema, table, &resolved.columns.embedding]).await.map_err(failed)?;
    let indexes = client.query(INDEXES, &[schema, table]).await.map_err(failed)?;
    let rows_exact = exact || facts.rows <= COUNTED;
    let (rows, null_embeddings) = if rows_exact {
        let counted = client.query_one(&count(resolved), &[]).await.map_err(failed)?;
        (whole(counted.get(0)), whole(counted.get(1)))
    } else {
        let empty = sizes.get::<_, Option<f64>>(2).unwrap_or_default();
        (rounded(facts.rows), rounded(facts.rows * empty))
    };
    let mut description = Description {
        state: State::Ready,
        rows,
        rows_exact,
        null_embeddings,
        dimensions: facts.dimensions.or(resolved.dimensions),
        storage: facts.storage,
        index: facts.index.map(|index| index.name),
        no_index: facts.no_index,
        indexes: indexes.iter().map(index).collect(),
        table_bytes: whole(sizes.get(0)),
        index_bytes: whole(sizes.get(1)),
        ..missing(resolved)
    };
    let own: bool = client
        .query_one("SELECT to_regclass('howdah.collections') IS NOT NULL AND to_regclass('howdah.sources') IS NOT NULL", &[])
        .await
        .map_err(failed)?
        .get(0);
    if own {
        let row = client.query_one(OWN, &[&resolved.name]).await.map_err(failed)?;
        description.model = row.get(0);
        description.documents = Some(whole(row.get(1)));
        description.last_ingest = row.get::<_, Option<Timestamp>>(2).map(|at| at.to_string());
    }
    Ok(description)
}

fn count(resolved: &Resolved) -> String {
    format!(
        "SELECT count(*), count(*) FILTER (WHERE {} IS NULL) FROM {}",
        quote_ident(&resolved.columns.embedding),
        resolved.rows()
    )
}

fn missing(resolved: &Resolved) -> Description {
    Description {
        name: resolved.name.clone(),
        database: resolved.database.clone(),
        table: format!("{}.{}", resolved.schema, resolved.table),
        adopted: resolved.adopted,
        state: State::Missing,
        rows: 0,
        rows_exact: true,
        null_embeddings: 0,
        dimensions: resolved.dimensions,
        metric: resolved.metric,
        storage: resolved.storage,
        storage_reason: resolved.storage_reason.clone(),
        language: resolved.language.clone(),
        fields: resolved
            .fields
            .iter()
            .map(|(name, sql_type)| Field { name: name.clone(), sql_type: sql_type.clone() })
            .collect(),
        index: None,
        no_index: None,
        indexes: Vec::new(),
        table_bytes: 0,
        index_bytes: 0,
        embedder: resolved.embedder.clone(),
        model: None,
        documents: None,
        last_ingest: None,
    }
}

fn index(row: &Row) -> IndexDescription {
    IndexDescription {
        name: row.get(0),
        method: row.get(1),
        valid: row.get(2),
        options: row.get(3),
        bytes: whole(row.get(4)),
        scans: whole(row.get(5)),
        definition: row.get(6),
    }
}

fn whole(count: i64) -> u64 {
    u64::try_from(count).unwrap_or_default()
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Counts and row estimates: never negative, far below 2^52.
fn rounded(estimate: f64) -> u64 {
    estimate.round().max(0.0) as u64
}
