//! Reading, and gathering what was read into batches.
//!
//! A batch is handed on when it is full or a few seconds old. Standard input may stand still between two documents, so it is
//! read by a thread of its own, and what came before is handed on meanwhile.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use howdah_plan::problem::{Kind, Problem};

use super::job::{Job, PACE, Queue, Taken};
use super::prune;
use super::request::IngestRequest;
use crate::knowledge::read::{Body, Document, Input, Passed, PassedOver, Reader, Refusal};

/// Bytes of text in a batch where the embedder is the brake.
const TEXT_BYTES: u64 = 64 << 10;
/// Bytes in a batch where it is not.
const READY_BYTES: u64 = 16 << 20;
/// The first batch has this part of the rows of others.
const FIRST_PART: usize = 8;
/// Stack of a thread that reads: what converts HTML goes down as deep as it is nested.
pub(super) const STACK: usize = 16 << 20;
/// Documents of standard input that are read ahead.
const AHEAD: usize = 64;

/// Documents read together.
#[derive(Default)]
pub(super) struct Read {
    pub documents: Vec<Taken>,
    pub seen: prune::Seen,
    bytes: u64,
    /// Bytes of text that have to be embedded.
    text: u64,
    rows: usize,
}

/// What a step of the reader gave.
struct Item {
    result: Result<Document, Refusal>,
    origin: Option<Arc<str>>,
    met: Met,
}

/// What a step of the reader met on its way.
#[derive(Default)]
struct Met {
    opened: Vec<Arc<str>>,
    passed: Vec<PassedOver>,
    files: u64,
}

/// What comes next.
enum Next {
    Item(Box<Item>),
    /// Nothing so far.
    Waiting,
    End(Met),
}

/// Reads all inputs, to their end, the first trouble, or a stop.
pub(super) fn read(job: &Arc<Job>, queue: &Queue<Read>) {
    let streamed = |input: &Input| matches!(input, Input::Path(path) if path == "-");
    if !job.request.inputs.iter().any(streamed) {
        let mut reader = reader(job);
        return gather(job, queue, |_| step(&mut reader));
    }
    let (send, items) = sync_channel(AHEAD);
    let reading = Arc::clone(job);
    // It may wait for ever, and then it ends with the program.
    let started = std::thread::Builder::new()
        .name("howdah-stdin".into())
        .stack_size(STACK)
        .spawn(move || pull(&reading, &send));
    if let Err(e) = started {
        let problem = Problem::new(Kind::Machine, "cannot start a thread").detail(e.to_string());
        let _ = queue.blocking_send(Err(problem));
        return;
    }
    gather(job, queue, |patience| receive(&items, patience));
}

fn reader(job: &Job) -> Reader {
    let IngestRequest { inputs, format, encoding, limits, selection, .. } = job.request.clone();
    Reader::new(inputs, format, limits, Arc::clone(&job.shape))
        .named(job.request.naming())
        .selecting(selection)
        .encoded_in(encoding)
}

fn step(reader: &mut Reader) -> Next {
    let result = reader.next();
    let met = Met { opened: reader.opened(), passed: reader.passed_over(), files: reader.files() };
    match result {
        Some(result) => Next::Item(Box::new(Item { result, origin: reader.origin().cloned(), met })),
        None => Next::End(met),
    }
}

/// Reads for somebody who waits with patience.
fn pull(job: &Job, items: &SyncSender<Next>) {
    let mut reader = reader(job);
    loop {
        let next = step(&mut reader);
        let ended = matches!(next, Next::End(_));
        if items.send(next).is_err() || ended {
            return;
        }
    }
}

fn receive(items: &Receiver<Next>, patience: Option<Duration>) -> Next {
    let Some(patience) = patience else { return items.recv().unwrap_or_else(|_| Next::End(Met::default())) };
    match items.recv_timeout(patience) {
        Ok(next) => next,
        Err(RecvTimeoutError::Timeout) => Next::Waiting,
        Err(RecvTimeoutError::Disconnected) => Next::End(Met::default()),
    }
}

/// Gathers what comes into batches. `next` is told how long it may wait: for ever while there is nothing to hand on.
fn gather(job: &Job, queue: &Queue<Read>, mut next: impl FnMut(Option<Duration>) -> Next) {
    let goes_on = job.request.goes_on();
    let mut batch = Read::default();
    let mut begun = Instant::now();
    // A short one first: the writer waits for it.
    let mut rows = job.request.batch_rows.div_ceil(FIRST_PART);
    loop {
        let patience = (!batch.documents.is_empty()).then(|| PACE.saturating_sub(begun.elapsed()));
        let next = next(patience);
        if job.request.stop.is_cancelled() {
            return;
        }
        match next {
            Next::Waiting => {}
            Next::End(met) => {
                batch.meet(job, met);
                break;
            }
            Next::Item(item) => {
                let Item { result, origin, met } = *item;
                batch.meet(job, met);
                match result {
                    Ok(document) => {
                        if batch.documents.is_empty() {
                            begun = Instant::now();
                        }
                        batch.add(document, origin);
                    }
                    Err(Refusal::Empty(found)) => {
                        batch.seen.unread(origin.as_ref());
                        job.tally.empty(&found);
                    }
                    Err(Refusal::Bad(bad)) if goes_on => {
                        batch.seen.unread(origin.as_ref());
                        job.tally.bad(bad);
                    }
                    Err(refusal) => {
                        let _ = queue.blocking_send(Err(refusal.problem()));
                        return;
                    }
                }
            }
        }
        let old = !batch.documents.is_empty() && begun.elapsed() >= PACE;
        // A queue that is closed has told its trouble further down.
        if batch.is_full(rows) || old {
            if queue.blocking_send(Ok(std::mem::take(&mut batch))).is_err() {
                return;
            }
            rows = job.request.batch_rows;
        }
    }
    let _ = queue.blocking_send(Ok(batch));
}

impl Read {
    /// Notes what was met. What was not to be read is not gone.
    fn meet(&mut self, job: &Job, met: Met) {
        self.seen.files(met.opened);
        for passed in &met.passed {
            job.tally.passed_over(passed);
            if passed.why != Passed::NoFormat {
                self.seen.unread(passed.name.as_deref().map(Into::into).as_ref());
            }
        }
        if met.files > 0 {
            job.tally.files(met.files);
        }
    }

    fn add(&mut self, document: Document, origin: Option<Arc<str>>) {
        self.bytes += document.bytes;
        match &document.body {
            Body::Rows(rows) => self.rows += rows.len(),
            Body::Record(record) if record.embedding.is_some() => self.rows += 1,
            Body::Record(_) | Body::Text { .. } => {
                self.rows += 1;
                self.text += document.bytes;
            }
        }
        self.documents.push((document, origin));
    }

    fn is_full(&self, rows: usize) -> bool {
        self.text >= TEXT_BYTES || self.bytes >= READY_BYTES || self.rows >= rows
    }
}
