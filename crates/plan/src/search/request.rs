//! What can be asked of a collection.
//!
//! One type for every face: the REST body, the command line's flags and the schema in the OpenAPI document. What cannot be
//! said in a schema (which fields go together) is checked by [`SearchRequest::check`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Most rows one search returns.
pub const MAX_LIMIT: u32 = 10_000;
/// Furthest a search can be paged.
pub const MAX_OFFSET: u32 = 100_000;
/// Most dimensions of a query vector.
pub const MAX_DIMENSIONS: usize = 16_000;
/// Longest query text in bytes.
pub const MAX_TEXT: usize = 100_000;
/// Constant of reciprocal rank fusion: a leg gives `weight / (60 + rank)`.
pub const RRF_K: u32 = 60;
/// Candidates each leg of a hybrid search gives to the fusion, unless asked otherwise.
pub const DEFAULT_DEPTH: u32 = 50;

/// A search in one collection: by text, by vector, or by the id of a row.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SearchRequest {
    /// Collection to search.
    pub collection: String,
    /// What to look for, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Query vector, for callers that embed themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16000))]
    pub vector: Option<Vec<f32>>,
    /// Id of a row whose neighbours are wanted; the row itself is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<RowId>,
    /// How to search. When absent: `hybrid` where text meets an embedder or comes with a vector, `text` for text alone,
    /// `vector` for a vector or an id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Most rows to return, 1 to 10000.
    #[schemars(range(min = 1, max = 10000))]
    pub limit: Option<u32>,
    /// Rows to pass over first, up to 100000.
    #[schemars(range(min = 0, max = 100000))]
    pub offset: Option<u32>,
    /// The `next` of the page before: the rows behind it in the list, none of them twice. With everything else the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Which rows count: `{"year": {"gte": 2019}, "metadata.lang": {"in": ["en", "de"]}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Map<String, Value>>")]
    pub filter: Option<Value>,
    /// Rows farther away than this distance are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_distance: Option<f64>,
    /// Rows less similar than this are left out; the meaning of similarity follows the metric.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_similarity: Option<f64>,
    /// How words are matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub words: Option<Words>,
    /// What each leg of a hybrid search weighs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<Weights>,
    /// Candidates each leg of a hybrid search gives to the fusion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidates: Option<Candidates>,
    /// What to return of a row besides its id; everything the table has when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub select: Option<Vec<Part>>,
    /// Candidates the graph index keeps while it searches, 1 to 1000: more finds more and takes longer. Chosen from the
    /// table's facts when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub ef_search: Option<u32>,
    /// Compares every row instead of asking the index.
    pub exact: bool,
    /// Longest time for the statement in the database, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 600000))]
    pub timeout_ms: Option<u32>,
    /// Also returns what PostgreSQL did: the plan with its buffers, the index, the rows scanned. Runs the statement twice.
    pub explain: bool,
    /// Also returns the statement as SQL that can be run by hand.
    pub sql: bool,
}

/// Id of a row: a number, or text for `uuid` and text keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum RowId {
    /// A whole number.
    Integer(i64),
    /// Anything else, as text.
    Text(String),
}

impl std::fmt::Display for RowId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RowId::Integer(number) => number.fmt(f),
            RowId::Text(text) => f.write_str(text),
        }
    }
}

/// How to search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// By nearness of embeddings.
    Vector,
    /// By words.
    Text,
    /// Both, fused by their ranks.
    Hybrid,
}

/// How words are matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Words {
    /// A row with any of the words counts, and more and rarer words rank it higher: right for questions.
    #[default]
    Any,
    /// A row needs all of the words. In both, `word:*` is any word that begins so.
    All,
    /// As web search engines have it: `"a phrase"`, `or`, `-without`.
    Web,
}

/// What each leg of a hybrid search weighs; 0 to 1000.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Weights {
    /// The vector leg.
    pub vector: f64,
    /// The text leg.
    pub text: f64,
}

impl Default for Weights {
    fn default() -> Self {
        Weights { vector: 1.0, text: 1.0 }
    }
}

/// Candidates each leg of a hybrid search gives to the fusion; 1 to 10000, and never fewer than `offset + limit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Candidates {
    /// The vector leg.
    #[schemars(range(min = 1, max = 10000))]
    pub vector: u32,
    /// The text leg.
    #[schemars(range(min = 1, max = 10000))]
    pub text: u32,
}

impl Default for Candidates {
    fn default() -> Self {
        Candidates { vector: DEFAULT_DEPTH, text: DEFAULT_DEPTH }
    }
}

/// What to return of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The whole text.
    Content,
    /// The JSON metadata.
    Metadata,
    /// The declared fields.
    Fields,
    /// A few sentences of the text around the words, and where they are marked; only where text is searched for.
    Snippet,
}
