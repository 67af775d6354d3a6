//! Which table, which columns, which operator does a collection mean?
//!
//! A declared [`Collection`](super::Collection) leaves most things unsaid. [`resolve`] says all of them, once, for those
//! who create the table, write into it and search it.

use super::{Adopt, Collection, FixedScalar, FixedValue, Index, Metric, Spec, Storage};
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

/// Name of the key where it is no column.
pub const ROW_KEY: &str = "howdah_row_key";

/// Column names of a collection's table.
#[derive(Debug, Clone, PartialEq)]
pub struct Columns {
    /// Name under which [`Resolved::rows`] has the key: the key column's own, or [`ROW_KEY`] where the key is none or several.
    pub id: String,
    /// The columns of the key; none where nothing identifies a row.
    pub key: Vec<String>,
    /// The condition that the collection's rows meet, in terms of the table's columns; none where all of them are.
    pub fixed: Option<String>,
    /// The columns that this condition names.
    pub filtered: Vec<String>,
    /// How the declaration wants the embeddings of an adopted table compared, where it says so.
    pub compared: Option<Storage>,
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
            key: vec!["id".into()],
            fixed: None,
            filtered: Vec::new(),
            compared: None,
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

    /// What statements read: the table, or a subquery of the collection's rows alone, which the planner flattens. Whatever
    /// looks at rows reads this and not the table, so that a fixed filter holds whatever else is asked.
    pub fn rows(&self) -> String {
        let table = self.qualified();
        let condition =
            self.columns.fixed.as_ref().map_or_else(String::new, |fixed| format!(" WHERE {fixed}"));
        if self.columns.key.len() != 1 {
            let key = self.key("r");
            return format!("(SELECT r.*, {key} AS {ROW_KEY} FROM {table} AS r{condition})");
        }
        if condition.is_empty() { table } else { format!("(SELECT * FROM {table}{condition})") }
    }

    /// The condition that a statement which writes into the table itself has to carry; `TRUE` without a fixed filter.
    pub fn fixed(&self) -> &str {
        self.columns.fixed.as_deref().unwrap_or("TRUE")
    }

    /// The key of a row of the table `alias`: the column, a JSON list of several as text, or the row's place.
    pub fn key(&self, alias: &str) -> String {
        match self.columns.key.as_slice() {
            [one] => format!("{alias}.{}", quote_ident(one)),
            [] => format!("({alias}.tableoid::oid::text || ' ' || {alias}.ctid::text)"),
            several => {
                let columns: Vec<String> =
                    several.iter().map(|column| format!("{alias}.{}", quote_ident(column))).collect();
                format!("jsonb_build_array({})::text", columns.join(", "))
            }
        }
    }

    /// Whether a row can be named by its id.
    ///
    /// # Errors
    /// `usage` where the table has no key.
    pub fn named_rows(&self) -> Result<(), Problem> {
        if !self.columns.key.is_empty() {
            return Ok(());
        }
        Err(Problem::new(Kind::Usage, format!("the rows of collection `{}` have no ids", self.name))
            .detail(format!(
                "the adopted table `{}.{}` has no key, so nothing names a row",
                self.schema, self.table
            ))
            .hint(format!(
                "Use a filter; or give the table a key and name it: `[collections.{}.adopt] id = \"…\"`.",
                self.name
            )))
    }

    /// What of an adopted table's embedding is compared: the column itself (none), or a cast of it that an index can be
    /// made on. `stored` is how the column stores it, `dimensions` how many it says itself to have.
    pub fn cast(&self, stored: Storage, dimensions: Option<u32>) -> Option<(Storage, u32)> {
        let wanted = dimensions.or(self.dimensions).filter(|_| self.adopted)?;
        let halved = stored == Storage::Vector && self.columns.compared == Some(Storage::Halfvec);
        let storage = if halved { Storage::Halfvec } else { stored };
        (halved || dimensions.is_none()).then_some((storage, wanted))
    }

    /// Name of the vector index that Howdah makes.
    pub fn vector_index_name(&self) -> String {
        match self.columns.fixed {
            // Several collections may share a table, each with its rows and the index of them.
            Some(_) => format!("{}_{}_{}_idx", self.table, self.name, self.columns.embedding),
            None => format!("{}_{}_idx", self.table, self.columns.embedding),
        }
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
            id: match adopt.id.as_slice() {
                [one] => one.clone(),
                _ => ROW_KEY.to_owned(),
            },
            key: adopt.id.clone(),
            fixed: fixed(adopt),
            filtered: adopt.filter.keys().filter(|key| !key.starts_with("metadata.")).cloned().collect(),
            compared: collection.storage,
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

/// The fixed filter as SQL. A literal without a type takes the column's, whichever that is.
fn fixed(adopt: &Adopt) -> Option<String> {
    let tests: Vec<String> = adopt.filter.iter().map(|(key, value)| fixed_test(adopt, key, value)).collect();
    match tests.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        several => Some(several.iter().map(|test| format!("({test})")).collect::<Vec<_>>().join(" AND ")),
    }
}

fn fixed_test(adopt: &Adopt, key: &str, value: &FixedValue) -> String {
    if let (Some(path), Some(metadata)) = (key.strip_prefix("metadata."), &adopt.metadata) {
        let holds = |value: &FixedScalar| {
            let json = serde_json::json!({ path: value }).to_string();
            format!("{}::jsonb @> {}", quote_ident(metadata), quote_literal(&json))
        };
        return match value {
            FixedValue::One(one) => holds(one),
            FixedValue::Any(several) if several.is_empty() => "FALSE".into(),
            FixedValue::Any(several) => {
                format!("({})", several.iter().map(holds).collect::<Vec<_>>().join(" OR "))
            }
        };
    }
    let column = quote_ident(key);
    match value {
        FixedValue::One(one) => format!("{column} = {}", quote_literal(&plain(one))),
        FixedValue::Any(several) => {
            let element =
                |one: &FixedScalar| format!("\"{}\"", plain(one).replace('\\', "\\\\").replace('"', "\\\""));
            let list: Vec<String> = several.iter().map(element).collect();
            format!("{column} = ANY ({})", quote_literal(&format!("{{{}}}", list.join(","))))
        }
    }
}

fn plain(value: &FixedScalar) -> String {
    match value {
        FixedScalar::Flag(flag) => flag.to_string(),
        FixedScalar::Whole(number) => number.to_string(),
        FixedScalar::Text(text) => text.clone(),
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

/// Splits `schema.table`; the schema is `public` when absent. A part that holds a dot is quoted as in SQL.
pub fn split_table(name: &str) -> (String, String) {
    parse_table(name).unwrap_or_else(|| ("public".to_owned(), name.to_owned()))
}

/// The same; none where the text is no such name.
pub fn parse_table(name: &str) -> Option<(String, String)> {
    let (first, rest) = table_part(name)?;
    let Some(rest) = rest else { return Some(("public".to_owned(), first)) };
    match table_part(rest)? {
        (second, None) => Some((first, second)),
        _ => None,
    }
}

/// The first part of a name, and what stands behind its dot.
fn table_part(text: &str) -> Option<(String, Option<&str>)> {
    let Some(quoted) = text.strip_prefix('"') else {
        return Some(match text.split_once('.') {
            Some((first, rest)) => (first.to_owned(), Some(rest)),
            None => (text.to_owned(), None),
        });
    };
    let mut part = String::new();
    let mut rest = quoted;
    loop {
        let end = rest.find('"')?;
        part.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(doubled) => {
                part.push('"');
                rest = doubled;
            }
            None => break,
        }
    }
    if rest.is_empty() { Some((part, None)) } else { rest.strip_prefix('.').map(|rest| (part, Some(rest))) }
}

/// `schema.table` as the declaration writes it: parts are quoted where they have to be.
pub fn table_name(schema: &str, table: &str) -> String {
    let part = |name: &str| {
        if name.contains('.') || name.starts_with('"') { quote_ident(name) } else { name.to_owned() }
    };
    if schema == "public" { part(table) } else { format!("{}.{}", part(schema), part(table)) }
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
