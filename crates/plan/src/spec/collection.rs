//! What turns text into vectors, and which tables hold them?

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Something that turns text into vectors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Embedder {
    /// How it is spoken to.
    pub kind: EmbedderKind,
    /// Model name: what the provider calls it, or `all-MiniLM-L6-v2` for the one Howdah fetches.
    #[schemars(example = &"all-MiniLM-L6-v2")]
    pub model: String,
    /// Directory with `model.safetensors`, `config.json` and `tokenizer.json` (kind `local`).
    #[serde(default)]
    #[schemars(example = &"models/all-MiniLM-L6-v2")]
    pub path: Option<String>,
    /// Base address (kinds `openai`, `ollama`, `tei`).
    #[serde(default)]
    #[schemars(example = &"http://127.0.0.1:11434")]
    pub url: Option<String>,
    /// Environment variable that holds the provider's key.
    #[serde(default)]
    #[schemars(example = &"OPENAI_API_KEY")]
    pub api_key_env: Option<String>,
    /// Dimensions of its vectors; known by itself for kind `local`.
    #[serde(default)]
    #[schemars(range(min = 1, max = 16_000), example = 384)]
    pub dimensions: Option<u32>,
    /// Texts a request.
    #[serde(default)]
    #[schemars(range(min = 1, max = 2048), example = 64)]
    pub batch: Option<u32>,
    /// Longest time for one request, in seconds.
    #[serde(default)]
    #[schemars(range(min = 1, max = 3600), example = 30)]
    pub timeout_seconds: Option<u64>,
    /// Longest text it takes, in characters: a longer chunk is cut. When absent 8000, or eight for each of a chunk's
    /// `max_tokens` where that is more.
    #[serde(default)]
    #[schemars(range(min = 200, max = 1_000_000), example = 8000)]
    pub max_characters: Option<u32>,
}

/// How an embedder is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EmbedderKind {
    /// A BERT-family sentence transformer, run in this process.
    Local,
    /// `POST /v1/embeddings` as OpenAI has it.
    Openai,
    /// `POST /api/embed` of Ollama.
    Ollama,
    /// `POST /embed` of Text Embeddings Inference.
    Tei,
}

/// A table that holds text, metadata and embeddings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Collection {
    /// Database it lives in; the first declared one when absent.
    #[serde(default)]
    pub database: Option<String>,
    /// Table name, `schema.table` or `table`; the collection's name when absent. A name that holds a dot is quoted as in
    /// SQL: `"\"a.b\""`, `"sales.\"a.b\""`.
    #[serde(default)]
    #[schemars(example = &"public.documents")]
    pub table: Option<String>,
    /// Name the collection had before: its table and what was ingested go along instead of being made anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"documents")]
    pub renamed_from: Option<String>,
    /// Names an existing table's columns. With it the table is adopted: Howdah never creates or alters its columns.
    #[serde(default)]
    pub adopt: Option<Adopt>,
    /// Embedder by name; absent when the caller brings vectors.
    #[serde(default)]
    pub embedder: Option<String>,
    /// Dimensions of the embedding; the embedder's when absent.
    #[serde(default)]
    #[schemars(range(min = 1, max = 16_000), example = 384)]
    pub dimensions: Option<u32>,
    /// How distance is measured.
    #[serde(default)]
    pub metric: Metric,
    /// How an embedding is stored; `vector` up to 2,000 dimensions, `halfvec` above, when absent.
    #[serde(default)]
    pub storage: Option<Storage>,
    /// Type of the primary key of an own table.
    #[serde(default)]
    pub id_type: IdType,
    /// Text search configuration (`english`, `german`, `simple`, …).
    #[serde(default = "english")]
    #[schemars(example = &"english")]
    pub language: String,
    /// Typed columns to filter on, besides the `metadata` JSONB: name to SQL type.
    #[serde(default)]
    #[schemars(example = serde_json::json!({"year": "integer"}))]
    pub fields: IndexMap<String, String>,
    /// How documents are cut.
    #[serde(default)]
    pub chunking: Chunking,
    /// The vector index: its kind alone (`index = "auto"`), or a table of kind and options.
    #[serde(default, deserialize_with = "kind_or_table")]
    #[schemars(schema_with = "kind_or_table_schema", example = &"auto")]
    pub index: Index,
    /// Files and directories that `howdah up` ingests, relative to the declaration's file. What is in the collection
    /// already and has not changed is left alone.
    #[serde(default)]
    #[schemars(example = vec!["docs"])]
    pub documents: Vec<String>,
    /// How many of a folder's documents, or of a file's records, `howdah up` and `ingest --prune` remove at once because
    /// they are gone from there: a share of those that were loaded, or a number. 20 % when absent; up to five may go under
    /// any share. Beyond the limit, and where nothing at all is left, nothing is removed and the command says so.
    #[serde(default)]
    #[schemars(example = &"20%")]
    pub max_removed: Option<String>,
}

fn english() -> String {
    "english".into()
}

/// Columns of an adopted table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Adopt {
    /// Primary key column, or the columns of a key of several. A table without a key leaves it out: its rows are found by
    /// searches and filters, not by id.
    #[serde(default, deserialize_with = "one_or_list", serialize_with = "as_one_or_list")]
    #[schemars(schema_with = "one_or_list_schema", example = &"id")]
    pub id: Vec<String>,
    /// Text column.
    #[serde(default)]
    pub content: Option<String>,
    /// Embedding column.
    pub embedding: String,
    /// JSONB column.
    #[serde(default)]
    pub metadata: Option<String>,
    /// Column that says which document the text came from. Ingest needs it, `chunk` and `content_hash`.
    #[serde(default)]
    pub source: Option<String>,
    /// Integer column with the chunk's position in its document.
    #[serde(default)]
    pub chunk: Option<String>,
    /// `bytea` column with the chunk's hash.
    #[serde(default)]
    pub content_hash: Option<String>,
    /// The rows of the table that the collection has: a column (or `metadata.<key>`) and its value, or several of which it
    /// has one. Every search, count and deletion is confined to them, whatever filter a request brings.
    #[serde(default)]
    #[schemars(example = serde_json::json!({"tenant": 7}))]
    pub filter: IndexMap<String, FixedValue>,
    /// Whether Howdah builds a GIN index on the words of `content`, concurrently, where the table has none: without one a
    /// search by words reads every row.
    #[serde(default)]
    pub text_index: bool,
}

/// What a fixed filter compares a column with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FixedValue {
    /// This value.
    One(FixedScalar),
    /// One of these values.
    Any(Vec<FixedScalar>),
}

impl JsonSchema for FixedValue {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "FixedValue".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let one = ["boolean", "integer", "string"].map(|name| serde_json::json!({ "type": name }));
        let [flag, whole, text] = one.clone();
        json_schema!({
            "description": "What a fixed filter compares a column with: a value, or a list of which it has one.",
            "anyOf": [flag, whole, text, { "type": "array", "items": { "anyOf": one } }]
        })
    }
}

/// One value of a fixed filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FixedScalar {
    /// True or false.
    Flag(bool),
    /// A whole number.
    Whole(i64),
    /// Text; anything else that has a type of its own is written as text too (`uuid`, dates, `numeric`).
    Text(String),
}

/// What may stand after `id =`.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrList {
    One(String),
    List(Vec<String>),
}

fn one_or_list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(match OneOrList::deserialize(deserializer)? {
        OneOrList::One(name) => vec![name],
        OneOrList::List(names) => names,
    })
}

fn as_one_or_list<S: Serializer>(names: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    match names {
        [one] => one.serialize(serializer),
        several => several.serialize(serializer),
    }
}

fn one_or_list_schema(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [generator.subschema_for::<String>(), generator.subschema_for::<Vec<String>>()] })
}

/// Type of the primary key of an own table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IdType {
    /// `bigint generated always as identity`.
    #[default]
    Bigint,
    /// `uuid default gen_random_uuid()`.
    Uuid,
}

/// How distance is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Cosine distance, `<=>`.
    #[default]
    Cosine,
    /// Euclidean distance, `<->`.
    L2,
    /// Inner product, `<#>` (which PostgreSQL stores negated).
    InnerProduct,
    /// Taxicab distance, `<+>`.
    L1,
}

/// How an embedding is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Storage {
    /// Four bytes a dimension, indexed up to 2,000 dimensions by pgvector.
    Vector,
    /// Two bytes a dimension, indexed up to 4,000 dimensions by pgvector.
    Halfvec,
}

/// How documents are cut into chunks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Chunking {
    /// Largest chunk in the embedder's tokens (in words, where there is no tokenizer).
    #[schemars(range(min = 16, max = 8192))]
    pub max_tokens: u32,
    /// Tokens repeated from the chunk before.
    #[schemars(range(max = 4096))]
    pub overlap: u32,
}

impl Default for Chunking {
    fn default() -> Self {
        Chunking { max_tokens: 220, overlap: 30 }
    }
}

/// The vector index of a collection.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Index {
    /// Which access method.
    pub kind: IndexKind,
    /// HNSW: edges a node (pgvector's default is 16).
    #[schemars(range(min = 2, max = 100), example = 16)]
    pub m: Option<u32>,
    /// HNSW: candidates while building, at least twice `m` (pgvector's default is 64).
    #[schemars(range(min = 4, max = 1000), example = 64)]
    pub ef_construction: Option<u32>,
    /// IVFFlat: lists (pgvector's default is 100), about rows / 1000, and only once the table has rows. Howdah's own: lists
    /// to begin with; chosen by the number of rows when absent, which is nearly always right.
    #[schemars(range(min = 1, max = 262_144), example = 1000)]
    pub lists: Option<u32>,
    /// Howdah's own: bits kept of each dimension (4 when absent). 5 makes the index a fifth larger and fetches a
    /// row less from the table for each search.
    #[schemars(range(min = 4, max = 5), example = 4)]
    pub bits: Option<u32>,
}

/// Access method of a vector index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IndexKind {
    /// Howdah's own where its extension is available and knows the metric, pgvector's HNSW elsewhere. `howdah plan` says
    /// which, and why.
    Auto,
    /// Howdah's own: the server has to have the extension `howdah`.
    Howdah,
    /// pgvector's graph.
    #[default]
    Hnsw,
    /// pgvector's inverted lists.
    Ivfflat,
    /// No index: every search is exact.
    None,
}

/// What may stand after `index =`.
#[derive(Deserialize)]
#[serde(untagged)]
enum KindOrTable {
    Kind(IndexKind),
    Table(Index),
}

fn kind_or_table<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Index, D::Error> {
    Ok(match KindOrTable::deserialize(deserializer)? {
        KindOrTable::Kind(kind) => Index { kind, ..Index::default() },
        KindOrTable::Table(index) => index,
    })
}

fn kind_or_table_schema(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [generator.subschema_for::<IndexKind>(), generator.subschema_for::<Index>()] })
}
