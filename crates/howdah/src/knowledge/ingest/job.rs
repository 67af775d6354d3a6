//! What do the stages of an ingest share, and what do they hand to each other?

use std::sync::Arc;
use std::time::Duration;

use howdah_plan::problem::{Kind, Problem};
use tokio::sync::mpsc;

use super::embedded::Embedded;
use super::plan::Change;
use super::request::IngestRequest;
use super::tally::Tally;
use super::writable::WritableTable;
use super::write::{self, Names};
use crate::knowledge::read::{Document, Shape};
use howdah_embed::Embedder;

/// What is ready is written after so long, however little it is: a kill takes no more than this.
pub(super) const PACE: Duration = Duration::from_secs(2);

/// One ingest.
pub(super) struct Job {
    pub target: WritableTable,
    pub shape: Arc<Shape>,
    pub embedder: Option<Arc<Embedder>>,
    /// Vectors of documents that were not written yet when an ingest ended.
    pub embedded: Option<Embedded>,
    pub request: IngestRequest,
    pub tally: Arc<Tally>,
}

/// A document and the file it came from.
pub(super) type Taken = (Document, Option<Arc<str>>);

/// Documents compared.
pub(super) struct Planned {
    pub names: Names,
    pub changes: Vec<Change>,
    pub tally: write::Tally,
}

/// Where a stage puts what it has done.
pub(super) type Queue<T> = mpsc::Sender<Result<T, Problem>>;
/// Where the next one takes it from.
pub(super) type Feed<T> = mpsc::Receiver<Result<T, Problem>>;

/// Does work that keeps a thread busy, on one of those for it.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|e| {
        Problem::new(Kind::Internal, "a stage of the ingest stopped unexpectedly").detail(e.to_string())
    })
}
