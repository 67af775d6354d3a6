//! What can an ingest be asked?

use std::path::PathBuf;

use encoding_rs::Encoding;
use howdah_plan::spec::{Chunking, Collection};
use tokio_util::sync::CancellationToken;

use crate::knowledge::read::{Format, Input, Limits};

/// One ingest.
#[derive(Debug, Clone)]
pub struct IngestRequest {
    /// Where the documents come from, in order.
    pub inputs: Vec<Input>,
    /// Directory from which documents below it are named, however their paths are given: the working directory, unless
    /// set otherwise.
    pub base: Option<PathBuf>,
    /// Format of every input; told from the file name when absent (JSON Lines for standard input).
    pub format: Option<Format>,
    /// Encoding of texts without a byte order mark; UTF-8 when absent.
    pub encoding: Option<&'static Encoding>,
    /// Whether bad records are counted and skipped. Without it the first one ends the ingest.
    pub skip_bad: bool,
    /// Whether documents of the given directories that are gone from there are removed from the collection.
    pub prune: bool,
    /// Longest line, largest file.
    pub limits: Limits,
    /// How documents are cut.
    pub chunking: Chunking,
    /// Rows in one transaction, about.
    pub batch_rows: usize,
    /// Ends the ingest early, after the transaction that is running.
    pub stop: CancellationToken,
}

impl IngestRequest {
    /// An ingest of `inputs` into a declared collection, everything else as usual.
    pub fn new(inputs: Vec<Input>, collection: &Collection) -> Self {
        IngestRequest {
            inputs,
            base: std::env::current_dir().ok(),
            format: None,
            encoding: None,
            skip_bad: false,
            prune: false,
            limits: Limits::default(),
            chunking: collection.chunking.clone(),
            batch_rows: 5_000,
            stop: CancellationToken::new(),
        }
    }

    /// An ingest of paths.
    pub fn paths<P: Into<String>>(paths: impl IntoIterator<Item = P>, collection: &Collection) -> Self {
        IngestRequest::new(paths.into_iter().map(|path| Input::Path(path.into())).collect(), collection)
    }
}
