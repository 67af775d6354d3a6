//! Threads that encode rows while the server's own thread reads the table.
//!
//! A backend is one thread, and PostgreSQL may be called from that one only. The workers never call it: they get numbers
//! and give bytes back. Signals stay with the main thread, so that a cancelled build is noticed where it can be acted on.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, channel, sync_channel};
use std::thread::Scope;

use howdah_index::build::Trained;
use howdah_index::format::Fault;
use howdah_index::page::Tid;

/// Values handed over at a time, and rows at the most and at the least.
const BATCH_VALUES: usize = 100_000;
const BATCH_ROWS: [usize; 2] = [16, 256];

/// Rows to encode.
struct Batch {
    rows: usize,
    tids: Vec<Tid>,
    vectors: Vec<f32>,
}

/// Encoded rows: their lists, and their codes one after the other.
pub struct Encoded {
    /// List of each row.
    pub lists: Vec<u32>,
    /// Codes, all of one length.
    pub codes: Vec<u8>,
}

/// The main thread's end: rows in, encoded rows out, in no order.
pub struct Workers<'a> {
    dimensions: usize,
    batch: Batch,
    work: SyncSender<Batch>,
    done: Receiver<Result<Encoded, Fault>>,
    take: Box<dyn FnMut(Encoded) + 'a>,
}

impl<'a> Workers<'a> {
    /// Starts `threads` workers in `scope`. What they finish is given to `take`, on the calling thread.
    pub fn start<'scope, 'env>(
        scope: &'scope Scope<'scope, 'env>,
        trained: &'scope Trained,
        dimensions: usize,
        threads: usize,
        take: impl FnMut(Encoded) + 'a,
    ) -> Self {
        let (work, jobs) = sync_channel::<Batch>(2 * threads);
        let (results, done) = channel();
        let jobs = std::sync::Arc::new(Mutex::new(jobs));
        let blocked = SignalsBlocked::new();
        for _ in 0..threads {
            let (jobs, results) = (jobs.clone(), results.clone());
            scope.spawn(move || {
                let mut encoder = trained.encoder();
                loop {
                    // The lock is held while waiting for a batch: another worker waits for the lock instead.
                    let Ok(batch) = jobs.lock().map_err(drop).and_then(|jobs| jobs.recv().map_err(drop))
                    else {
                        return;
                    };
                    if results.send(encode(&mut encoder, &batch, dimensions)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(blocked);
        Self { dimensions, batch: Batch::new(dimensions), work, done, take: Box::new(take) }
    }

    /// Hands over a row.
    pub fn push(&mut self, tid: Tid, vector: &[f32]) -> Result<(), Fault> {
        if vector.len() != self.dimensions {
            return Err(Fault::Dimensions { expected: self.dimensions, found: vector.len() });
        }
        self.batch.tids.push(tid);
        self.batch.vectors.extend_from_slice(vector);
        if self.batch.tids.len() == self.batch.rows { self.send() } else { Ok(()) }
    }

    /// Sends the batch, taking results for as long as the workers are behind.
    fn send(&mut self) -> Result<(), Fault> {
        let mut batch = std::mem::replace(&mut self.batch, Batch::new(self.dimensions));
        loop {
            self.take_finished()?;
            match self.work.try_send(batch) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(back)) => batch = back,
                Err(TrySendError::Disconnected(_)) => return self.wait(),
            }
            self.wait()?;
        }
    }

    fn take_finished(&mut self) -> Result<(), Fault> {
        loop {
            match self.done.try_recv() {
                Ok(encoded) => (self.take)(encoded?),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return Ok(()),
            }
        }
    }

    /// Waits for one result.
    fn wait(&mut self) -> Result<(), Fault> {
        if let Ok(encoded) = self.done.recv() {
            (self.take)(encoded?);
        }
        Ok(())
    }

    /// Waits for everything.
    pub fn finish(mut self) -> Result<(), Fault> {
        if !self.batch.tids.is_empty() {
            self.send()?;
        }
        let Self { work, done, mut take, .. } = self;
        drop(work);
        for encoded in done {
            take(encoded?);
        }
        Ok(())
    }
}

impl Batch {
    fn new(dimensions: usize) -> Self {
        let rows = (BATCH_VALUES / dimensions).clamp(BATCH_ROWS[0], BATCH_ROWS[1]);
        Self { rows, tids: Vec::with_capacity(rows), vectors: Vec::with_capacity(rows * dimensions) }
    }
}

fn encode(
    encoder: &mut howdah_index::build::RowEncoder<'_>,
    batch: &Batch,
    dimensions: usize,
) -> Result<Encoded, Fault> {
    let mut encoded = Encoded {
        lists: Vec::with_capacity(batch.tids.len()),
        codes: Vec::with_capacity(batch.tids.len() * encoder.code_bytes()),
    };
    for (tid, vector) in batch.tids.iter().zip(batch.vectors.chunks_exact(dimensions)) {
        if let Some(list) = encoder.encode(*tid, vector, &mut encoded.codes)? {
            encoded.lists.push(list);
        }
    }
    Ok(encoded)
}

/// All signals blocked on this thread, and so on the threads it starts, until dropped.
pub struct SignalsBlocked(libc::sigset_t);

impl SignalsBlocked {
    /// Blocks them.
    pub fn new() -> Self {
        // SAFETY: both sets are written by the calls before they are read.
        unsafe {
            let mut all = std::mem::zeroed();
            let mut before = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, &raw mut before);
            Self(before)
        }
    }

    /// Lets signals come while `work` runs, which starts no threads.
    pub fn lifted(&self, work: impl FnOnce()) {
        // SAFETY: both sets are valid; when `work` unwinds, dropping this value does what is left out.
        unsafe {
            let mut all = std::mem::zeroed();
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, &raw mut all);
            work();
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
        }
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        // SAFETY: restores the mask that `new` read.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut());
        }
    }
}
