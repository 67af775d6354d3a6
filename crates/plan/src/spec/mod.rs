//! What did the user declare?
//!
//! `howdah.toml` as types. The same types give the JSON Schema for editors, so a key exists exactly once. Reading a file
//! into these types, with the file, line and key of every mistake and a "did you mean", is `read`; what can only be
//! known from several keys together is `check`.

pub mod resolve;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The whole declaration, `howdah.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Name of the deployment; also the name of its instance.
    pub name: String,
    /// The PostgreSQL server.
    #[serde(default)]
    pub server: Server,
    /// The REST face.
    #[serde(default)]
    pub api: Api,
    /// Databases by name.
    #[serde(default)]
    pub databases: IndexMap<String, Database>,
    /// Roles by name.
    #[serde(default)]
    pub roles: IndexMap<String, Role>,
    /// Embedders by name.
    #[serde(default)]
    pub embedders: IndexMap<String, Embedder>,
    /// Collections by name: tables that hold text, metadata and embeddings.
    #[serde(default)]
    pub collections: IndexMap<String, Collection>,
    /// Plain tables by name, for what lives beside the collections.
    #[serde(default)]
    pub tables: IndexMap<String, Table>,
    /// PostgreSQL settings that overrule the tuned ones.
    #[serde(default)]
    pub settings: IndexMap<String, SettingValue>,
}

/// The PostgreSQL server: one that Howdah runs, or one that is there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Address of a server that is there already (`postgres://…`). The variable `DATABASE_URL` does the same. A
    /// password does not belong here: `password_env`.
    pub url: Option<String>,
    /// Environment variable that holds the password for `url`.
    pub password_env: Option<String>,
    /// Where the server comes from when there is no `url`.
    pub source: ServerSource,
    /// Major version to run: 16 or 18 for the bundle.
    pub version: Option<u32>,
    /// Loopback TCP port; a free one when absent.
    pub port: Option<u16>,
    /// Data directory; below Howdah's own directory when absent.
    pub data_directory: Option<String>,
    /// Unprivileged user that runs the server when Howdah is started by root.
    pub user: Option<String>,
    /// Memory to tune for (`2GiB`); the machine's when absent.
    pub memory: Option<String>,
    /// CPU cores to tune for; the machine's when absent.
    pub cores: Option<u32>,
    /// Kind of disk to tune for.
    pub disk: Disk,
    /// Kind of work to tune for.
    pub workload: Workload,
    /// Connections to allow.
    pub max_connections: Option<u32>,
    /// Write-ahead log archiving and the like stay off unless declared in `settings`.
    pub tune: bool,
}

impl Default for Server {
    fn default() -> Self {
        Server {
            url: None,
            password_env: None,
            source: ServerSource::Auto,
            version: None,
            port: None,
            data_directory: None,
            user: None,
            memory: None,
            cores: None,
            disk: Disk::Ssd,
            workload: Workload::Mixed,
            max_connections: None,
            tune: true,
        }
    }
}

/// Where a server comes from when no address is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServerSource {
    /// The machine's PostgreSQL where it has pgvector ≥ 0.8.4, else the bundle.
    #[default]
    Auto,
    /// The machine's PostgreSQL, or fail.
    System,
    /// The portable bundle.
    Bundle,
}

/// Kind of disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Disk {
    /// NVMe or SATA flash.
    #[default]
    Ssd,
    /// Spinning disk.
    Hdd,
    /// SD card or eMMC.
    SdCard,
}

/// Kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Workload {
    /// Searches and writes.
    #[default]
    Mixed,
    /// A small board that shares its memory with other services.
    Edge,
    /// A machine that does nothing else.
    Dedicated,
}

/// The REST face.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Api {
    /// Address to listen on (`127.0.0.1:0` takes a free port).
    pub listen: String,
    /// Database that keeps Howdah's own tables (keys); the first declared one when absent.
    pub database: Option<String>,
    /// Largest request body in bytes.
    pub max_body_bytes: u64,
    /// Longest time for one request, in seconds.
    pub timeout_seconds: u64,
    /// Requests a second allowed to one key; 0 for no limit.
    pub requests_per_second: u32,
    /// Connections to PostgreSQL kept at the most.
    pub max_pool: u32,
    /// Whether requests need a key. Off only on loopback.
    pub require_key: bool,
}

impl Default for Api {
    fn default() -> Self {
        Api {
            listen: "127.0.0.1:0".into(),
            database: None,
            max_body_bytes: 16 << 20,
            timeout_seconds: 30,
            requests_per_second: 200,
            max_pool: 20,
            require_key: true,
        }
    }
}

/// A database.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Database {
    /// Role that owns it.
    pub owner: Option<String>,
    /// Extensions by name; the value is a version, or `"*"` for whatever is newest there.
    pub extensions: IndexMap<String, String>,
    /// Schemas besides `public`.
    pub schemas: Vec<String>,
    /// Settings of this database (`ALTER DATABASE … SET`).
    pub settings: IndexMap<String, SettingValue>,
}

/// A role.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Role {
    /// Whether it may log in.
    pub login: bool,
    /// Environment variable that holds its password. Passwords never stand in the declaration.
    pub password_env: Option<String>,
    /// Roles it is a member of.
    pub member_of: Vec<String>,
    /// Most connections at a time.
    pub connection_limit: Option<i32>,
    /// What it may do.
    pub grants: Vec<Grant>,
    /// Settings of this role (`ALTER ROLE … SET`).
    pub settings: IndexMap<String, SettingValue>,
}

/// Rights of a role in a database. Rights on tables also become default privileges, so that a table made later is not
/// forgotten.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Database the rights are in.
    pub database: String,
    /// Schema the tables are in.
    #[serde(default = "public_schema")]
    pub schema: String,
    /// Rights on tables: `select`, `insert`, `update`, `delete`, `truncate`, `references`, `trigger`, or `all`.
    pub privileges: Vec<String>,
    /// Tables the rights are on; all tables of the schema, present and future, when absent.
    #[serde(default)]
    pub tables: Option<Vec<String>>,
}

/// The schema `public`.
pub fn public_schema() -> String {
    "public".into()
}

/// Something that turns text into vectors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Embedder {
    /// How it is spoken to.
    pub kind: EmbedderKind,
    /// Model name: what the provider calls it, or `all-MiniLM-L6-v2` for the one Howdah fetches.
    pub model: String,
    /// Directory with `model.safetensors`, `config.json` and `tokenizer.json` (kind `local`).
    #[serde(default)]
    pub path: Option<String>,
    /// Base address (kinds `openai`, `ollama`, `tei`).
    #[serde(default)]
    pub url: Option<String>,
    /// Environment variable that holds the provider's key.
    #[serde(default)]
    pub api_key_env: Option<String>,
    /// Dimensions of its vectors; known by itself for kind `local`.
    #[serde(default)]
    pub dimensions: Option<u32>,
    /// Texts a request.
    #[serde(default)]
    pub batch: Option<u32>,
    /// Longest time for one request, in seconds.
    #[serde(default)]
    pub timeout_seconds: Option<u64>,
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
    /// Table name, `schema.table` or `table`; the collection's name when absent.
    #[serde(default)]
    pub table: Option<String>,
    /// Names an existing table's columns. With it the table is adopted: Howdah never creates or alters its columns.
    #[serde(default)]
    pub adopt: Option<Adopt>,
    /// Embedder by name; absent when the caller brings vectors.
    #[serde(default)]
    pub embedder: Option<String>,
    /// Dimensions of the embedding; the embedder's when absent.
    #[serde(default)]
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
    pub language: String,
    /// Typed columns to filter on, besides the `metadata` JSONB: name to SQL type.
    #[serde(default)]
    pub fields: IndexMap<String, String>,
    /// How documents are cut.
    #[serde(default)]
    pub chunking: Chunking,
    /// The vector index.
    #[serde(default)]
    pub index: Index,
    /// Files and directories that `howdah up` loads into it, relative to the declaration.
    #[serde(default)]
    pub documents: Vec<String>,
}

fn english() -> String {
    "english".into()
}

/// Columns of an adopted table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Adopt {
    /// Primary key column.
    pub id: String,
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
    pub max_tokens: u32,
    /// Tokens repeated from the chunk before.
    pub overlap: u32,
}

impl Default for Chunking {
    fn default() -> Self {
        Chunking { max_tokens: 220, overlap: 30 }
    }
}

/// The vector index of a collection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Index {
    /// Which access method.
    pub kind: IndexKind,
    /// HNSW: edges a node.
    pub m: Option<u32>,
    /// HNSW: candidates while building.
    pub ef_construction: Option<u32>,
    /// IVFFlat: lists.
    pub lists: Option<u32>,
}

impl Default for Index {
    fn default() -> Self {
        Index { kind: IndexKind::Auto, m: None, ef_construction: None, lists: None }
    }
}

/// Access method of a vector index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IndexKind {
    /// Howdah's own where the extension is available, pgvector's HNSW elsewhere.
    #[default]
    Auto,
    /// Howdah's own.
    Howdah,
    /// pgvector's graph.
    Hnsw,
    /// pgvector's inverted lists.
    Ivfflat,
    /// No index: every search is exact.
    None,
}

/// A plain table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Database it lives in; the first declared one when absent.
    #[serde(default)]
    pub database: Option<String>,
    /// Table name, `schema.table` or `table`; the key's name when absent.
    #[serde(default)]
    pub table: Option<String>,
    /// Columns, in order.
    pub columns: Vec<Column>,
    /// Columns of the primary key.
    #[serde(default)]
    pub primary_key: Vec<String>,
    /// Indexes.
    #[serde(default)]
    pub indexes: Vec<TableIndex>,
}

/// A column of a plain table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Name.
    pub name: String,
    /// SQL type (`bigint`, `text`, `jsonb`, `timestamptz`, `varchar(50)`, …).
    #[serde(rename = "type")]
    pub sql_type: String,
    /// Whether NULL is allowed.
    #[serde(default = "yes")]
    pub nullable: bool,
    /// Default, as an SQL expression.
    #[serde(default)]
    pub default: Option<String>,
    /// `generated always as identity`.
    #[serde(default)]
    pub identity: bool,
}

fn yes() -> bool {
    true
}

/// An index of a plain table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TableIndex {
    /// Columns, in order.
    pub columns: Vec<String>,
    /// Access method: `btree`, `gin`, `gist`, `hash`, `brin`.
    #[serde(default = "btree")]
    pub method: String,
    /// Whether values are unique.
    #[serde(default)]
    pub unique: bool,
    /// Rows it covers, as an SQL condition.
    #[serde(default, rename = "where")]
    pub predicate: Option<String>,
}

fn btree() -> String {
    "btree".into()
}

/// A setting's value, as TOML writes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum SettingValue {
    /// `true`, `false`.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A number.
    Float(f64),
    /// Text, with a unit where PostgreSQL has one.
    Text(String),
}
