//! How do documents get in?
//!
//! [`run`] is a pipeline of four, each a stage ahead of the next, with a short queue between them so that memory stays
//! bounded whatever is read:
//!
//! 1. a thread reads documents and gathers them into batches (`knowledge::read`);
//! 2. the planner leaves out what `howdah.sources` knows already, cuts the rest into chunks and compares them with the rows
//!    that are there (`plan`);
//! 3. the embedder fills in the vectors of the chunks that are new, and the batch is encoded (`encode`);
//! 4. one of two writers puts the batch into the database in one transaction (`write`).
//!
//! A document's rows and its row in `howdah.sources` are written together or not at all. That is the whole of resuming: the
//! same command again skips what is in and does the rest. Trouble in an early stage travels down the queues behind the
//! batches before it, which are still written.

mod encode;
mod pipeline;
mod plan;
mod prune;
pub mod report;
pub mod request;
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

pub use crate::knowledge::read::{BadRecord, Format, Input, Limits};

use crate::knowledge::read;
use crate::observe::progress::{Event, Progress};
use howdah_embed::Embedder;
use howdah_postgres::{Own, Pools};

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
    let prefixes = if request.prune { prune::prefixes(&request)? } else { Vec::new() };
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
    let (mut reading, writing) = connections(pools, resolved).await?;
    let target = writable::WritableTable::read(&reading, resolved, facts.as_ref()).await?;
    let job = pipeline::Job {
        shape: Arc::new(target.shape(resolved, &request.chunking)),
        tally: Arc::new(tally::Tally::new(&resolved.name, totals.bytes, progress)),
        target,
        embedder,
        request,
    };
    let job = Arc::new(job);
    let outcome = pipeline::run(Arc::clone(&job), &reading, writing).await;
    if let Err(problem) = outcome {
        return Err(job.tally.so_far(problem));
    }
    let stopped = job.request.stop.is_cancelled();
    if !prefixes.is_empty() && !stopped {
        prune::run(&mut reading, &job.target, &prefixes, &job.tally).await?;
    }
    reading.finish();
    Ok(job.tally.report(stopped))
}

async fn totals(request: &IngestRequest) -> Result<read::Totals, Problem> {
    let (inputs, format) = (request.inputs.clone(), request.format);
    tokio::task::spawn_blocking(move || read::totals(&inputs, format))
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

/// One connection to read with and two to write with, one where the budget has no more.
async fn connections(pools: &Pools, resolved: &Resolved) -> Result<(Own, Vec<Own>), Problem> {
    let mut all = pools.own_several(&resolved.database, 3).await?;
    for client in &all {
        // A limit meant for searches must not end an ingest halfway; a lock that somebody holds ends it.
        client
            .batch_execute(
                "SET statement_timeout = 0; SET lock_timeout = '60s'; SET application_name = 'howdah ingest'",
            )
            .await
            .map_err(|e| howdah_postgres::problem::from_pg(&e, "set up a connection"))?;
    }
    let reading = match all.len() {
        0 | 1 => pools.own(&resolved.database).await?,
        _ => all.remove(0),
    };
    Ok((reading, all))
}
