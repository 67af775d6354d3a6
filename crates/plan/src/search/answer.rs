//! What comes back from a search.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::request::Mode;
use crate::spec::Metric;

/// The answer to a search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SearchAnswer {
    /// Collection searched.
    pub collection: String,
    /// How it was searched.
    pub mode: Mode,
    /// How distance is measured; absent where no vector took part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<Metric>,
    /// The rows, best first.
    pub results: Vec<Hit>,
    /// Where the next page begins: give it as `cursor`. Absent where the list ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Whether the answer holds as many rows as exist, up to the limit.
    pub complete: bool,
    /// Why it is complete, or what it lacks, in words.
    pub complete_reason: String,
    /// What else a person should know of the answer, as that a filter compares with a type that the rows do not have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Time for the whole search, in milliseconds.
    pub took_ms: f64,
    /// Time to turn the text into a vector, in milliseconds; absent where none was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embed_ms: Option<f64>,
    /// Vector index used; absent where every candidate was compared or no vector took part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
    /// Rows read, where it was counted (`explain`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scanned: Option<u64>,
    /// How the vectors were searched and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scan: Option<ScanReport>,
    /// What PostgreSQL did, where asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explain: Option<Explain>,
    /// The statement as SQL to run by hand, where asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<String>,
}

/// One row of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Hit {
    /// Place in the whole list, from 1; with an offset the first row has `offset + 1`.
    pub rank: u32,
    /// Id of the row: a number, or text.
    pub id: Value,
    /// What the rows are sorted by, larger is better: similarity (vector), text rank (text), fused rank (hybrid).
    pub score: f64,
    /// Distance to the query as pgvector has it, smaller is nearer; for inner product it is negative.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distance: Option<f64>,
    /// Similarity, larger is nearer: `1 - distance` for cosine (−1 to 1), the inner product itself for inner product,
    /// `1 / (1 + distance)` for L2 and L1 (0 to 1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub similarity: Option<f64>,
    /// Where each leg of the search had the row.
    pub legs: Legs,
    /// Document it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Heading it stands under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The whole text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// The part of the text that holds the words: plain text, not HTML, with white space as single spaces. `…` stands where
    /// text is left out before or behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snippet: Option<String>,
    /// The words in the snippet, each as `[begin, end]`: places in the snippet counted in characters (Unicode code points,
    /// not bytes and not UTF-16 units) from 0, the end not included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<[u32; 2]>,
    /// The JSON metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
    /// The declared fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<IndexMap<String, Value>>,
}

/// Where each leg had a row; absent where the leg did not find it or took no part.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Legs {
    /// The vector leg.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vector: Option<VectorLeg>,
    /// The text leg.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<TextLeg>,
}

/// A row's place among the nearest vectors.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VectorLeg {
    /// Place, from 1.
    pub rank: u32,
    /// Distance as pgvector has it.
    pub distance: f64,
}

/// A row's place among the texts that hold the words.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TextLeg {
    /// Place, from 1.
    pub rank: u32,
    /// Text rank, larger is better.
    pub score: f64,
}

/// How the vectors were searched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScanReport {
    /// `hnsw`, `ivfflat`, `howdah`, or `exact`.
    pub access: String,
    /// Why, in words.
    pub reason: String,
    /// Settings of the transaction it ran in.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub settings: IndexMap<String, String>,
    /// Whether the index came back short and every candidate was compared instead.
    pub escalated: bool,
}

/// What PostgreSQL did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Explain {
    /// Type of the node that read the embeddings (`Index Scan`, `Seq Scan`, …).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Type of the node that read the words; `Seq Scan` where no text index serves them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_node: Option<String>,
    /// Indexes read, by name.
    pub indexes: Vec<String>,
    /// Rows read from the table or its indexes, counting those that a filter dropped.
    pub scanned: u64,
    /// Rows that a filter dropped.
    pub filtered: u64,
    /// Pages read, in the cache or not.
    pub buffers: u64,
    /// Time to plan, in milliseconds.
    pub planning_ms: f64,
    /// Time to execute, in milliseconds.
    pub execution_ms: f64,
    /// How a hybrid score is made, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fusion: Option<String>,
    /// `EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)`, as PostgreSQL wrote it.
    pub plan: Value,
}
