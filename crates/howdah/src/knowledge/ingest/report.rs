//! What did an ingest do?

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::knowledge::read::BadRecord;

/// Bad records that a report lists; more are only counted.
pub const LISTED: usize = 100;

/// What an ingest did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IngestReport {
    /// Collection.
    pub collection: String,
    /// Files read.
    pub files: u64,
    /// Files in the directories whose suffix says nothing.
    pub ignored_files: u64,
    /// Documents read: files, records, or blocks of ready-made vectors.
    pub documents: u64,
    /// Documents that were not there before.
    pub new: u64,
    /// Documents that had changed.
    pub changed: u64,
    /// Documents that were there as they are.
    pub unchanged: u64,
    /// Documents removed because they are gone (`--prune`).
    pub removed: u64,
    /// Rows written.
    pub rows_written: u64,
    /// Rows of changed documents that were left as they are.
    pub rows_unchanged: u64,
    /// Rows removed.
    pub rows_removed: u64,
    /// Texts embedded.
    pub embedded: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Bad records, skipped.
    pub bad: u64,
    /// The first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bad_records: Vec<BadRecord>,
    /// Seconds it took.
    pub seconds: f64,
    /// Rows written a second.
    pub rows_per_second: f64,
    /// Whether it was stopped before the end. What is written stays; the same command again does the rest.
    pub interrupted: bool,
    /// What else a person should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl IngestReport {
    /// Whether the collection is as it was.
    pub fn wrote_nothing(&self) -> bool {
        self.rows_written == 0
            && self.rows_removed == 0
            && self.new == 0
            && self.changed == 0
            && self.removed == 0
    }
}
