//! Which table, which columns, which operator does a collection mean?
//!
//! A declared [`Collection`](super::Collection) leaves most things unsaid. [`resolve`] says all of them, once, for those
//! who create the table, write into it and search it.

use super::{Collection, Index, Metric, Spec, Storage};
use crate::problem::{Kind, Problem};

/// Most dimensions that pgvector indexes as `vector`.
pub const MAX_INDEXED_VECTOR: u32 = 2_000;
/// Most dimensions that pgvector indexes as `halfvec`.
pub const MAX_INDEXED_HALFVEC: u32 = 4_000;
/// Most dimensions that pgvector stores.
pub const MAX_STORED: u32 = 16_000;

/// A collection with nothing left unsaid.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// Name of the collection.
    pub name: String,
    /// Database it lives in.
    pub database: String,
    /// Schema of its table.
    pub schema: String,
    /// Name of its table.
    pub table: String,
    /// Whether the table existed before Howdah.
    pub adopted: bool,
    /// Its columns.
    pub columns: Columns,
    /// Embedder by name.
    pub embedder: Option<String>,
    /// Dimensions of the embedding, where declared.
    pub dimensions: Option<u32>,
    /// How distance is measured.
    pub metric: Metric,
    /// How an embedding is stored.
    pub storage: Storage,
    /// Why it is stored so, in words.
    pub storage_reason: String,
    /// Text search configuration.
    pub language: String,
    /// Whether an adopted table gets an index on its words.
    pub text_index: bool,
    /// Typed filter columns: name and SQL type.
    pub fields: Vec<(String, String)>,
    /// The vector index.
    pub index: Index,
}

/// Column names of a collection's table.
#[derive(Debug, Clone, PartialEq)]
pub struct Columns {
    /// Primary key.
    pub id: String,
    /// Text.
    pub content: Option<String>,
    /// Embedding.
    pub embedding: String,
    /// JSONB.
    pub metadata: Option<String>,
    /// Which document the text came from.
    pub source: Option<String>,
    /// Position in the document.
    pub chunk: Option<String>,
    /// Heading the chunk stands under. Own tables only.
    pub title: Option<String>,
    /// SHA-256 of the chunk.
    pub content_hash: Option<String>,
    /// Stored `tsvector`. Own tables only; an adopted table is searched through an expression.
    pub tsv: Option<String>,
}

impl Columns {
    /// The columns of a table that Howdah made.
    pub fn own() -> Self {
        let some = |name: &str| Some(name.to_owned());
        Columns {
            id: "id".into(),
            content: some("content"),
            embedding: "embedding".into(),
            metadata: some("metadata"),
            source: some("source"),
            chunk: some("chunk"),
            title: some("title"),
            content_hash: some("content_hash"),
            tsv: some("tsv"),
        }
    }
}

impl Resolved {
    /// `"schema"."table"`, quoted.
    pub fn qualified(&self) -> String {
        format!("{}.{}", quote_ident(&self.schema), quote_ident(&self.table))
    }

    /// Name of the vector index that Howdah makes.
    pub fn vector_index_name(&self) -> String {
        format!("{}_{}_idx", self.table, self.columns.embedding)
    }
}

impl Metric {
    /// pgvector's operator: smaller is nearer for all four.
    pub const fn operator(self) -> &'static str {
        match self {
            Metric::Cosine => "<=>",
            Metric::L2 => "<->",
            Metric::InnerProduct => "<#>",
            Metric::L1 => "<+>",
        }
    }

    /// pgvector's operator class for a storage type.
    pub fn opclass(self, storage: Storage) -> String {
        let metric = match self {
            Metric::Cosine => "cosine",
            Metric::L2 => "l2",
            Metric::InnerProduct => "ip",
            Metric::L1 => "l1",
        };
        format!("{}_{metric}_ops", storage.sql_name())
    }
}

impl Storage {
    /// Name of the SQL type.
    pub const fn sql_name(self) -> &'static str {
        match self {
            Storage::Vector => "vector",
            Storage::Halfvec => "halfvec",
        }
    }
}

/// Says everything a declared collection leaves unsaid.
///
/// # Errors
/// `not_found` when no collection has this name, with the nearest one as the hint; `usage` when the declaration has no
/// database.
pub fn resolve(spec: &Spec, name: &str) -> Result<Resolved, Problem> {
    let Some(collection) = spec.collections.get(name) else {
        let mut problem = Problem::new(Kind::NotFound, format!("collection `{name}` is not declared"));
        let names: Vec<&str> = spec.collections.keys().map(String::as_str).collect();
        problem = problem.detail(if names.is_empty() {
            "the declaration has no collections".to_owned()
        } else {
            format!("declared are: {}", names.join(", "))
        });
        return Err(match nearest(name, names) {
            Some(near) => problem.hint(format!("Did you mean `{near}`?")),
            None => {
                problem.hint(format!("Add `[collections.{name}]` to howdah.toml and run `howdah apply`."))
            }
        });
    };
    let database =
        collection.database.clone().or_else(|| spec.databases.keys().next().cloned()).ok_or_else(|| {
            Problem::new(Kind::Usage, format!("collection `{name}` has no database"))
                .hint("Declare one: `[databases.app]`.".to_owned())
        })?;
    let (schema, table) = split_table(collection.table.as_deref().unwrap_or(name));
    let dimensions = collection.dimensions.or_else(|| embedder_dimensions(spec, collection));
    let (storage, storage_reason) = choose_storage(collection.storage, dimensions);
    Ok(Resolved {
        name: name.to_owned(),
        database,
        schema,
        table,
        adopted: collection.adopt.is_some(),
        columns: columns(collection),
        embedder: collection.embedder.clone(),
        dimensions,
        metric: collection.metric,
        storage,
        storage_reason,
        language: collection.language.clone(),
        text_index: collection.adopt.as_ref().is_some_and(|adopt| adopt.text_index),
        fields: collection.fields.iter().map(|(name, kind)| (name.clone(), kind.clone())).collect(),
        index: collection.index.clone(),
    })
}

fn columns(collection: &Collection) -> Columns {
    match &collection.adopt {
        None => Columns::own(),
        Some(adopt) => Columns {
            id: adopt.id.clone(),
            content: adopt.content.clone(),
            embedding: adopt.embedding.clone(),
            metadata: adopt.metadata.clone(),
            source: adopt.source.clone(),
            chunk: adopt.chunk.clone(),
            title: None,
            content_hash: adopt.content_hash.clone(),
            tsv: None,
        },
    }
}

fn embedder_dimensions(spec: &Spec, collection: &Collection) -> Option<u32> {
    let embedder = spec.embedders.get(collection.embedder.as_deref()?)?;
    embedder.dimensions.or_else(|| known_dimensions(&embedder.model))
}

/// Dimensions of models whose name is enough to know them.
pub fn known_dimensions(model: &str) -> Option<u32> {
    match model.rsplit('/').next().unwrap_or(model) {
        "all-MiniLM-L6-v2" | "all-MiniLM-L12-v2" | "bge-small-en-v1.5" | "e5-small-v2" => Some(384),
        "all-mpnet-base-v2"
        | "bge-base-en-v1.5"
        | "e5-base-v2"
        | "nomic-embed-text"
        | "nomic-embed-text-v1.5" => Some(768),
        "bge-large-en-v1.5" | "mxbai-embed-large" | "mxbai-embed-large-v1" | "bge-m3" => Some(1024),
        "text-embedding-3-small" | "text-embedding-ada-002" => Some(1536),
        "text-embedding-3-large" => Some(3072),
        _ => None,
    }
}

fn choose_storage(declared: Option<Storage>, dimensions: Option<u32>) -> (Storage, String) {
    match (declared, dimensions) {
        (Some(storage), _) => (storage, "declared".into()),
        (None, Some(dimensions)) if dimensions > MAX_INDEXED_VECTOR => (
            Storage::Halfvec,
            format!("{dimensions} dimensions: pgvector indexes `vector` only up to {MAX_INDEXED_VECTOR}"),
        ),
        (None, _) => (Storage::Vector, format!("up to {MAX_INDEXED_VECTOR} dimensions")),
    }
}

/// Splits `schema.table`; the schema is `public` when absent.
pub fn split_table(name: &str) -> (String, String) {
    match name.split_once('.') {
        Some((schema, table)) => (schema.to_owned(), table.to_owned()),
        None => ("public".to_owned(), name.to_owned()),
    }
}

/// An SQL identifier, always quoted.
pub fn quote_ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// An SQL string literal.
pub fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

/// The candidate nearest to `word`, when it is near enough to be meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len().max(word.len()) / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
