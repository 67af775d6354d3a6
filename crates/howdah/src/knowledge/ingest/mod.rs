//! How do documents get in?
//!
//! [`run`] is a pipeline of four, each a stage ahead of the next, with a short queue between them so that memory stays
//! bounded whatever is read:
//!
//! 1. a thread reads documents (`knowledge::read`) and gathers them into batches (`gather`);
//! 2. the planner leaves out what `howdah.sources` knows already, cuts the rest into chunks and compares them with the rows
//!    that are there (`plan`);
//! 3. the embedder fills in the vectors of the chunks that are new, and the batch is encoded (`fill`, `encode`);
//! 4. one of two writers puts the batch into the database in one transaction (`write`).
//!
//! A few documents of a request go through the same stages one after the other, on one connection.
//!
//! A document's rows and its row in `howdah.sources` are written together or not at all. That is the whole of resuming: the
//! same command again skips what is in and does the rest. Trouble in an early stage travels down the queues behind the
//! batches before it, which are still written.

mod connection;
mod embedded;
mod encode;
mod fill;
mod gather;
mod job;
mod older;
mod pipeline;
mod plan;
mod prune;
pub mod report;
pub mod request;
mod rows;
mod statistics;
mod tally;
#[cfg(test)]
mod tests;
mod writable;
mod write;

use std::sync::Arc;

use howdah_plan::problem::{Kind, Problem};
use howdah_plan::spec::resolve::Resolved;

pub use encode::Copy;
pub use report::IngestReport;
pub use request::IngestRequest;

pub use crate::knowledge::read::{BadRecord, Format, Input, Limits, Selection};

use crate::knowledge::read;
use crate::observe::progress::{Event, Progress};
use howdah_embed::Embedder;
use howdah_postgres::Pools;

/// Ingests what `request` names into a collection. `embedder` is the collection's, or none when every record brings its
/// vector.
///
/// A stop that is asked for ([`IngestRequest::stop`]) is no error: the report says `interrupted`.
///
/// # Errors
/// `not_found` and `usage` for inputs and tables that are not as they should be and `conflict` for another model or other
/// dimensions, before anything is written; `failed` for the first bad record (unless skipped); what the embedder or
/// PostgreSQL say. Whole documents written before that stay.
pub async fn run(
    pools: &Pools,
    embedder: Option<Arc<Embedder>>,
    resolved: &Resolved,
    request: IngestRequest,
    progress: Arc<dyn Progress>,
) -> Result<IngestReport, Problem> {
    let totals = totals(&request).await?;
    let places = if request.prune { prune::places(&request)? } else { Vec::new() };
    needs_embedder(embedder.is_some(), resolved, &request)?;
    if let Some(total) = totals.bytes {
        progress.tell(Event::Advanced { done: 0, total, unit: "bytes".into(), note: String::new() });
    }
    let facts = match &embedder {
        Some(embedder) => {
            progress.tell(Event::Note { text: format!("loading {}", embedder.model_id()) });
            Some(embedder.facts().await?.clone())
        }
        None => None,
    };
    let tally = Arc::new(tally::Tally::new(&resolved.name, totals.bytes, progress));
    let make = async |reading: &connection::Connection| {
        let target = writable::WritableTable::read(reading, resolved, facts.as_ref()).await?;
        let shape = Arc::new(target.shape(resolved, &request.chunking));
        Ok::<_, Problem>((target, shape))
    };
    let stopped = request.stop.clone();
    let dry_run = request.dry_run;
    if request.is_small() {
        let connection = connection::Connection::Lent(pools.get(&resolved.database).await?);
        let (target, shape) = make(&connection).await?;
        let (embedded, tally) = (None, Arc::clone(&tally));
        let job = Arc::new(job::Job { target, shape, embedder, embedded, request, tally });
        pipeline::run_small(Arc::clone(&job), connection)
            .await
            .map_err(|problem| job.tally.so_far(problem))?;
    } else {
        let (reading, writing) = connection::several(pools, &resolved.database).await?;
        let embedded = match embedder {
            Some(_) if !dry_run => embedded::Embedded::open(&reading, &resolved.name).await?,
            _ => None,
        };
        let (target, shape) = make(&reading).await?;
        let tally = Arc::clone(&tally);
        let job = Arc::new(job::Job { target, shape, embedder, embedded, request, tally });
        let outcome = pipeline::run(Arc::clone(&job), &reading, writing).await;
        outcome.map_err(|problem| job.tally.so_far(problem))?;
        if !job.request.stop.is_cancelled() {
            if !places.is_empty() {
                prune::run(&reading, &job.target, &places, &job.request, &job.tally).await?;
            }
            if let Some(embedded) = &job.embedded {
                embedded.clear(&reading).await;
            }
        }
        reading.finish();
    }
    let stopped = stopped.is_cancelled();
    if !stopped && !dry_run {
        let note = statistics::refresh(pools, resolved, tally.changed_rows()).await;
        note.into_iter().for_each(|note| tally.note(note));
    }
    let mut report = tally.report(stopped);
    report.dry_run = dry_run;
    Ok(report)
}

async fn totals(request: &IngestRequest) -> Result<read::Totals, Problem> {
    let (inputs, format, selection) = (request.inputs.clone(), request.format, request.selection.clone());
    tokio::task::spawn_blocking(move || read::totals(&inputs, format, &selection))
        .await
        .unwrap_or_else(|e| Err(Problem::new(Kind::Internal, "cannot list the inputs").detail(e.to_string())))
}

fn needs_embedder(has: bool, resolved: &Resolved, request: &IngestRequest) -> Result<(), Problem> {
    let prose = |input: &Input| match input {
        Input::Path(path) => {
            request.format.or(Format::of(std::path::Path::new(path))).is_some_and(Format::is_prose)
        }
        Input::Records(..) => false,
    };
    if has || !request.inputs.iter().any(prose) {
        return Ok(());
    }
    Err(Problem::new(Kind::Usage, format!("collection `{}` has no embedder for texts", resolved.name)).hint(format!(
        "Add `embedder = \"…\"` below `[collections.{}]` in howdah.toml, or ingest records that bring their `embedding`.",
        resolved.name
    )))
}
