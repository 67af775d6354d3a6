//! What can an ingest be asked?

use std::path::PathBuf;

use encoding_rs::Encoding;
use howdah_plan::removal::Limit;
use howdah_plan::spec::{Chunking, Collection};
use tokio_util::sync::CancellationToken;

use crate::knowledge::read::{Format, Input, Limits, Naming, Selection};

/// Most documents of a small ingest.
pub(super) const SMALL: usize = 100;

/// One ingest.
#[derive(Debug, Clone)]
pub struct IngestRequest {
    /// Where the documents come from, in order.
    pub inputs: Vec<Input>,
    /// Directory from which files below it are named, wherever their paths are given from: that of the declaration. The
    /// working directory, unless set otherwise.
    pub base: Option<PathBuf>,
    /// Paths that the declaration names.
    pub declared: Vec<String>,
    /// Which files of directories are read.
    pub selection: Selection,
    /// Format of every input; told from the file name when absent (JSON Lines for standard input).
    pub format: Option<Format>,
    /// Encoding of texts without a byte order mark; UTF-8 when absent.
    pub encoding: Option<&'static Encoding>,
    /// Whether bad records are counted and skipped. Without it the first one ends the ingest of a file; a directory is
    /// read to its end.
    pub skip_bad: bool,
    /// Whether documents that came from the given files and directories and are gone from there are removed from the
    /// collection, within `max_removed`.
    pub prune: bool,
    /// How many of a place's documents may be removed at once.
    pub max_removed: Limit,
    /// Whether all documents of a place may be removed because nothing is left there.
    pub allow_empty: bool,
    /// Whether it is only said what would be done.
    pub dry_run: bool,
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
            declared: collection.documents.clone(),
            selection: Selection::default(),
            format: None,
            encoding: None,
            skip_bad: false,
            prune: false,
            // What is no limit is refused where declarations are read.
            max_removed: collection.max_removed.as_deref().and_then(Limit::parse).unwrap_or_default(),
            allow_empty: false,
            dry_run: false,
            limits: Limits::default(),
            chunking: collection.chunking.clone(),
            batch_rows: 5_000,
            stop: CancellationToken::new(),
        }
    }

    /// How its files are named.
    pub(super) fn naming(&self) -> Naming {
        Naming::new(self.base.as_deref().unwrap_or(std::path::Path::new(".")), &self.declared)
    }

    /// Whether what is bad is left out, and the rest read: always where a directory is among the inputs, whose other files
    /// have no part in it.
    pub(super) fn goes_on(&self) -> bool {
        self.skip_bad
            || self
                .inputs
                .iter()
                .any(|input| matches!(input, Input::Path(path) if std::path::Path::new(path).is_dir()))
    }

    /// Whether it is small enough for one connection: a few documents that are in memory.
    pub(super) fn is_small(&self) -> bool {
        let count = |input: &Input| match input {
            Input::Records(_, records) => records.len(),
            Input::Path(_) => SMALL + 1,
        };
        self.inputs.iter().map(count).sum::<usize>() <= SMALL && !self.prune
    }

    /// An ingest of paths.
    pub fn paths<P: Into<String>>(paths: impl IntoIterator<Item = P>, collection: &Collection) -> Self {
        IngestRequest::new(paths.into_iter().map(|path| Input::Path(path.into())).collect(), collection)
    }
}
