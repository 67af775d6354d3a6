//! Filling in the vectors of what is new, and encoding it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use howdah_plan::problem::{Kind, Problem};

use super::connection::Connection;
use super::job::{Feed, Job, PACE, Planned, Queue, blocking};
use super::plan::{Change, Row};
use super::write::{self, Batch, Names};
use crate::knowledge::chunk::embedded_text;
use howdah_embed::{Embedder, Purpose};

/// Fewest texts that a slow embedder is asked for at once.
const FEWEST_TEXTS: usize = 8;

/// Fills batch after batch, to the end of the queue, the first trouble, or a stop.
pub(super) async fn fill(job: &Arc<Job>, client: &Connection, mut feed: Feed<Planned>, queue: Queue<Batch>) {
    while let Some(item) = feed.recv().await {
        let went_on = match item {
            Err(problem) => {
                let _ = queue.send(Err(problem)).await;
                false
            }
            Ok(planned) => fill_batch(job, Some(client), planned, &queue).await,
        };
        if !went_on {
            return;
        }
    }
}

/// Embeds what is new of a batch and hands it on: all at once where that is quick, else every few seconds the documents that
/// are complete. Says whether there is to be more. After a stop, or in trouble, what is complete is handed on first. `client`
/// is where vectors of unfinished documents are kept.
pub(super) async fn fill_batch(
    job: &Arc<Job>,
    client: Option<&Connection>,
    planned: Planned,
    queue: &Queue<Batch>,
) -> bool {
    let Planned { names, changes, tally } = planned;
    let mut filling = Filling { job, client, queue, names, changes: changes.into(), tally, handed: 0 };
    let outcome = match &job.embedder {
        Some(_) if job.request.dry_run => {
            filling.tally.embedded = filling.missing().len() as u64;
            Ok(true)
        }
        Some(embedder) => {
            tokio::select! {
                biased;
                () = queue.closed() => return false,
                outcome = filling.embed(embedder) => outcome,
            }
        }
        None => Ok(true),
    };
    match outcome {
        Ok(true) => {
            let all = filling.changes.len();
            filling.hand_on(all).await
        }
        Ok(false) => false,
        Err(problem) => {
            let _ = queue.send(Err(problem)).await;
            false
        }
    }
}

/// A batch that is embedded.
struct Filling<'a> {
    job: &'a Arc<Job>,
    client: Option<&'a Connection>,
    queue: &'a Queue<Batch>,
    names: Names,
    changes: VecDeque<Change>,
    tally: write::Tally,
    /// Changes that are handed on already.
    handed: usize,
}

impl Filling<'_> {
    /// The rows that have no vector: the number of their change, and theirs in it.
    fn missing(&mut self) -> Vec<(usize, usize)> {
        let of = |(at, change): (usize, &mut Change)| {
            change
                .written()
                .enumerate()
                .filter(|(_, row)| row.embedding.is_none())
                .map(|(number, _)| (at, number))
                .collect::<Vec<_>>()
        };
        self.changes.iter_mut().enumerate().flat_map(of).collect()
    }

    fn row(&mut self, (at, number): (usize, usize)) -> Option<&mut Row> {
        self.changes.get_mut(at - self.handed)?.written_row(number)
    }

    /// Embeds all of it. False after a stop.
    async fn embed(&mut self, embedder: &Embedder) -> Result<bool, Problem> {
        self.recall().await?;
        let missing = self.missing();
        let mut left = missing.as_slice();
        let most = embedder.preferred_batch().max(1);
        let mut size = most;
        let (mut written, mut kept) = (Instant::now(), Vec::new());
        while !left.is_empty() {
            let (part, rest) = left.split_at(size.min(left.len()));
            let begun = Instant::now();
            let stop = self.job.request.stop.clone();
            let done = tokio::select! {
                done = self.embed_part(embedder, part) => done,
                () = stop.cancelled() => {
                    self.hand_on_until(part[0].0).await;
                    return Ok(false);
                }
            };
            if let Err(problem) = done {
                self.hand_on_until(part[0].0).await;
                return Err(problem);
            }
            // Every few seconds there is something to write, however slow the embedder is.
            size = match begun.elapsed() {
                long if long > PACE => (size / 2).max(FEWEST_TEXTS.min(most)),
                short if short < PACE / 4 => (size * 2).min(most),
                _ => size,
            };
            kept.extend_from_slice(part);
            left = rest;
            let Some((next, _)) = left.first().copied() else { break };
            if written.elapsed() < PACE {
                continue;
            }
            if !self.hand_on_until(next).await {
                return Ok(false);
            }
            // What belongs to the document that is not complete.
            kept.retain(|(at, _)| *at == next);
            self.keep(&kept).await;
            kept.clear();
            written = Instant::now();
        }
        Ok(true)
    }

    async fn embed_part(&mut self, embedder: &Embedder, part: &[(usize, usize)]) -> Result<(), Problem> {
        let mut texts = Vec::with_capacity(part.len());
        for place in part {
            texts.extend(self.row(*place).map(|row| text_of(row)));
        }
        let vectors = embedder.embed(&texts, Purpose::Document).await?;
        for (place, vector) in part.iter().zip(vectors) {
            let shape = Arc::clone(&self.job.shape);
            let Some(row) = self.row(*place) else { continue };
            shape.check_vector(&vector).map_err(|reason| {
                Problem::new(
                    Kind::Failed,
                    format!("model `{}` gave a vector that cannot be stored", embedder.model_id()),
                )
                .detail(format!("{reason}; text: {:.80}", row.content))
            })?;
            row.embedding = Some(vector);
        }
        self.tally.embedded += part.len() as u64;
        Ok(())
    }

    /// Takes vectors that an ingest of before embedded for a document it did not come to write.
    async fn recall(&mut self) -> Result<(), Problem> {
        let Some((embedded, client)) = self.job.embedded.as_ref().zip(self.client) else { return Ok(()) };
        if !embedded.any() {
            return Ok(());
        }
        let missing = self.missing();
        let mut hashes = Vec::with_capacity(missing.len());
        for place in &missing {
            hashes.extend(self.row(*place).map(|row| row.hash.to_vec()));
        }
        let mut vectors = embedded.recall(client, &hashes).await?;
        for place in missing {
            let shape = Arc::clone(&self.job.shape);
            if let Some(row) = self.row(place)
                && let Some(vector) = vectors.remove(row.hash.as_slice())
                && shape.check_vector(&vector).is_ok()
            {
                row.embedding = Some(vector);
            }
        }
        Ok(())
    }

    /// Keeps vectors of a document that is too long to be embedded within a few seconds.
    async fn keep(&mut self, places: &[(usize, usize)]) {
        let Some((embedded, client)) = self.job.embedded.as_ref().zip(self.client) else { return };
        let mut rows = Vec::with_capacity(places.len());
        for place in places {
            rows.extend(self.row(*place).and_then(|row| Some((row.hash.to_vec(), row.embedding.clone()?))));
        }
        embedded.keep(client, rows).await;
    }

    /// Hands on the changes before the one of this number.
    async fn hand_on_until(&mut self, next: usize) -> bool {
        let ready = next - self.handed;
        ready == 0 || self.hand_on(ready).await
    }

    /// Encodes and hands on so many changes. Says whether somebody took them.
    async fn hand_on(&mut self, ready: usize) -> bool {
        self.handed += ready;
        let changes: Vec<Change> = self.changes.drain(..ready).collect();
        let (names, tally) = (std::mem::take(&mut self.names), std::mem::take(&mut self.tally));
        let job = Arc::clone(self.job);
        let batch = blocking(move || Batch::new(&job.target, names, changes, tally)).await;
        let failed = batch.is_err();
        self.queue.send(batch).await.is_ok() && !failed
    }
}

fn text_of(row: &Row) -> String {
    embedded_text(row.title.as_deref(), &row.content)
}
