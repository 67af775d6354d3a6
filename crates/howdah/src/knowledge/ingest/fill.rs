//! Filling in the vectors of what is new, and encoding it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use howdah_plan::problem::{Kind, Problem};
use howdah_plan::search::direction::comparable;
use howdah_plan::spec::{Metric, Storage};

use super::connection::Connection;
use super::job::{Feed, Job, PACE, Planned, Queue, blocking};
use super::plan::{Change, Row};
use super::write::{self, Batch, Names};
use crate::knowledge::chunk::embedded_text;
use crate::knowledge::read::BadRecord;
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
    let (changes, refused) = (changes.into(), HashMap::new());
    let mut filling = Filling { job, client, queue, names, changes, refused, tally, handed: 0 };
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
    /// Why the embedder refuses a text of these changes: they are left out as a whole.
    refused: HashMap<usize, BadRecord>,
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

    /// Embeds some rows. A document with a text that the embedder refuses is a bad record.
    async fn embed_part(&mut self, embedder: &Embedder, part: &[(usize, usize)]) -> Result<(), Problem> {
        let (mut places, mut texts) = (Vec::with_capacity(part.len()), Vec::with_capacity(part.len()));
        for place in part.iter().filter(|(at, _)| !self.refused.contains_key(at)).copied().collect::<Vec<_>>()
        {
            if let Some(row) = self.row(place) {
                texts.push(text_of(row));
                places.push(place);
            }
        }
        if texts.is_empty() {
            return Ok(());
        }
        let answers = embedder.embed_each(&texts, Purpose::Document).await?;
        let scripts = texts.iter().filter_map(|text| embedder.unknown_script(text));
        scripts.for_each(|script| self.job.tally.unknown(script));
        for (place, answer) in places.iter().zip(answers) {
            let vector = match answer {
                Ok(vector) => vector,
                Err(problem) => {
                    self.refuse(*place, problem)?;
                    continue;
                }
            };
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
            self.tally.embedded += 1;
        }
        Ok(())
    }

    /// The embedder does not take a chunk of a document: it is left out, or ends the ingest.
    fn refuse(&mut self, (at, number): (usize, usize), problem: Problem) -> Result<(), Problem> {
        let goes_on = self.job.request.goes_on();
        let Some(change) = self.changes.get_mut(at - self.handed) else { return Err(problem) };
        let bad = refused_text(change, number, problem);
        if !goes_on {
            return Err(bad.problem());
        }
        self.refused.entry(at).or_insert(bad);
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
        let mut changes: Vec<Change> = Vec::with_capacity(ready);
        for (at, mut change) in (self.handed..).zip(self.changes.drain(..ready)) {
            match self.refused.remove(&at) {
                Some(bad) => {
                    self.tally.bytes += change.bytes;
                    self.job.tally.bad(bad);
                }
                None => {
                    compare(self.job, &mut change);
                    changes.push(change);
                }
            }
        }
        self.handed += ready;
        let (names, tally) = (std::mem::take(&mut self.names), std::mem::take(&mut self.tally));
        let job = Arc::clone(self.job);
        let batch = blocking(move || Batch::new(&job.target, names, changes, tally)).await;
        let failed = batch.is_err();
        self.queue.send(batch).await.is_ok() && !failed
    }
}

/// Brings vectors whose length overflows or vanishes to length one, where it is their direction that is compared.
fn compare(job: &Job, change: &mut Change) {
    if job.shape.metric == Metric::Cosine {
        let storage = if job.target.half { Storage::Halfvec } else { Storage::Vector };
        let vectors = change.written().filter_map(|row| row.embedding.as_mut());
        vectors.for_each(|vector| comparable(vector, storage));
    }
}

/// Why the embedder does not take a written row of a document.
fn refused_text(change: &mut Change, number: usize, problem: Problem) -> BadRecord {
    let (chunk, content) =
        change.written_row(number).map_or((0, ""), |row| (row.chunk, row.content.as_str()));
    let (characters, begin) = (content.chars().count(), format!("{:.60}", content.trim_start()));
    let detail = problem.detail.map(|detail| format!(" ({detail})")).unwrap_or_default();
    let reason = format!(
        "{}{detail}: chunk {} of `{}`, {characters} characters, which begins `{begin}`",
        problem.message,
        chunk + 1,
        change.source,
    );
    change.place.bad(reason)
}

fn text_of(row: &Row) -> String {
    embedded_text(row.title.as_deref(), &row.content)
}
