//! What did an ingest do?

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::knowledge::read::BadRecord;

/// Bad records that a report lists; more are only counted.
pub const LISTED: usize = 100;

/// Something in a directory that was not read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ignored {
    /// Where it is.
    pub path: String,
    /// Why it was not read.
    pub reason: String,
}

/// A file or folder from which too many documents are gone to remove them unasked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Kept {
    /// Its path, as documents are named.
    pub place: String,
    /// Documents that came from there.
    pub documents: u64,
    /// How many of them are gone from there.
    pub gone: u64,
    /// Why they were kept, in a sentence.
    pub reason: String,
    /// The command that removes them.
    pub hint: String,
}

/// What an ingest did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IngestReport {
    /// Collection.
    pub collection: String,
    /// Files read.
    pub files: u64,
    /// What was found in the directories and not read: files whose suffix says no format, or that were not to be read.
    pub ignored_files: u64,
    /// The first of them, with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignored: Vec<Ignored>,
    /// Documents read: files, records, or blocks of ready-made vectors.
    pub documents: u64,
    /// Documents that were not there before.
    pub new: u64,
    /// Documents that had changed.
    pub changed: u64,
    /// Documents that were there as they are.
    pub unchanged: u64,
    /// Documents that are there under another name by now: their file is named from the declaration's directory.
    #[serde(default)]
    pub renamed: u64,
    /// Documents removed because they are gone from their file or folder, or were there twice under two names.
    pub removed: u64,
    /// The first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed_documents: Vec<String>,
    /// Documents that are gone from their file or folder and were kept, because too much of it is gone.
    #[serde(default)]
    pub kept: u64,
    /// Where they came from, and why they were kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept_places: Vec<Kept>,
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
    /// Whether nothing was written, only counted.
    #[serde(default)]
    pub dry_run: bool,
    /// What else a person should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl IngestReport {
    /// Adds what another ingest into the same collection did.
    pub fn add(&mut self, other: IngestReport) {
        // Field by field, so that a new one is not forgotten.
        let IngestReport {
            collection: _,
            files,
            ignored_files,
            ignored,
            documents,
            new,
            changed,
            unchanged,
            renamed,
            removed,
            removed_documents,
            kept,
            kept_places,
            rows_written,
            rows_unchanged,
            rows_removed,
            embedded,
            bytes,
            bad,
            bad_records,
            seconds,
            rows_per_second: _,
            interrupted,
            dry_run,
            notes,
        } = other;
        self.files += files;
        self.ignored_files += ignored_files;
        self.documents += documents;
        self.new += new;
        self.changed += changed;
        self.unchanged += unchanged;
        self.renamed += renamed;
        self.removed += removed;
        self.kept += kept;
        self.ignored.extend(ignored);
        self.removed_documents.extend(removed_documents);
        self.kept_places.extend(kept_places);
        self.dry_run |= dry_run;
        self.rows_written += rows_written;
        self.rows_unchanged += rows_unchanged;
        self.rows_removed += rows_removed;
        self.embedded += embedded;
        self.bytes += bytes;
        self.bad += bad;
        self.bad_records.extend(bad_records);
        self.interrupted |= interrupted;
        self.took(self.seconds + seconds);
        for note in notes {
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
    }

    /// All of it took so long.
    pub(super) fn took(&mut self, seconds: f64) {
        self.seconds = seconds;
        self.rows_per_second = self.rows_written as f64 / seconds.max(1e-9);
    }

    /// Whether the collection is as it was.
    pub fn wrote_nothing(&self) -> bool {
        self.rows_written == 0
            && self.rows_removed == 0
            && self.new == 0
            && self.changed == 0
            && self.removed == 0
            && self.renamed == 0
    }

    /// Whether the collection does not hold what the files hold, for all that was tried.
    pub fn is_incomplete(&self) -> bool {
        self.bad > 0 || self.kept > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_when_parts_are_added() {
        let part = |rows_written, seconds| IngestReport {
            collection: "notes".into(),
            files: 1,
            ignored_files: 2,
            documents: 6,
            new: 1,
            changed: 2,
            unchanged: 3,
            removed: 4,
            renamed: 3,
            kept: 2,
            rows_written,
            rows_unchanged: 5,
            rows_removed: 6,
            embedded: 7,
            bytes: 8,
            bad: 9,
            seconds,
            rows_per_second: rows_written as f64 / seconds,
            notes: vec!["said once".into()],
            ..IngestReport::default()
        };
        let mut whole = IngestReport { collection: "notes".into(), ..IngestReport::default() };
        whole.add(part(10, 1.0));
        assert_eq!(whole, part(10, 1.0), "a part alone is the whole");
        whole.add(IngestReport { interrupted: true, ..part(30, 3.0) });
        assert_eq!((whole.files, whole.ignored_files, whole.documents), (2, 4, 12));
        assert_eq!((whole.new, whole.changed, whole.unchanged, whole.removed), (2, 4, 6, 8));
        assert_eq!((whole.renamed, whole.kept), (6, 4));
        assert_eq!((whole.rows_written, whole.rows_unchanged, whole.rows_removed), (40, 10, 12));
        assert_eq!((whole.embedded, whole.bytes, whole.bad), (14, 16, 18));
        assert_eq!((whole.seconds, whole.rows_per_second, whole.interrupted), (4.0, 10.0, true));
        assert_eq!(whole.notes, ["said once"]);
    }
}
