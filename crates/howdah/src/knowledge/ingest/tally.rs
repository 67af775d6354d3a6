//! Counting what was done, and how fast.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use howdah_plan::problem::Problem;

use super::report::{IngestReport, LISTED};
use super::write;
use crate::knowledge::read::BadRecord;
use crate::observe::progress::{Event, Progress};

/// Rates are taken over so long.
const WINDOW: Duration = Duration::from_secs(20);

/// The counts of one ingest.
pub(super) struct Tally {
    start: Instant,
    total: Option<u64>,
    progress: Arc<dyn Progress>,
    state: Mutex<State>,
}

struct State {
    report: IngestReport,
    /// Texts that the model does not know enough of, by script.
    unknown: BTreeMap<&'static str, u64>,
    samples: VecDeque<(Instant, u64, u64, u64)>,
}

impl Tally {
    /// Nothing done yet, of `total` bytes.
    pub fn new(collection: &str, total: Option<u64>, progress: Arc<dyn Progress>) -> Self {
        let report = IngestReport { collection: collection.to_owned(), ..IngestReport::default() };
        let start = Instant::now();
        let samples = VecDeque::from([(start, 0, 0, 0)]);
        Tally {
            start,
            total,
            progress,
            state: Mutex::new(State { report, unknown: BTreeMap::new(), samples }),
        }
    }

    /// Tells those who watch.
    pub fn tell(&self, event: Event) {
        self.progress.tell(event);
    }

    /// A bad record was skipped.
    pub fn bad(&self, bad: BadRecord) {
        {
            let report = &mut self.lock().report;
            report.bad += 1;
            if report.bad_records.len() < LISTED {
                report.bad_records.push(bad.clone());
            }
        }
        self.tell(Event::LeftOut { place: bad.place(), reason: bad.reason });
    }

    /// A text is in a script that the model does not know.
    pub fn unknown(&self, script: &'static str) {
        *self.lock().unknown.entry(script).or_default() += 1;
    }

    /// So many files were read, so many left out.
    pub fn files(&self, (read, ignored): (u64, u64)) {
        let report = &mut self.lock().report;
        report.files = read;
        report.ignored_files = ignored;
    }

    /// Documents that are gone were removed.
    pub fn removed(&self, documents: u64, rows: u64) {
        let report = &mut self.lock().report;
        report.removed += documents;
        report.rows_removed += rows;
    }

    /// A batch is done.
    pub fn done(&self, batch: &write::Tally) {
        let event = {
            let mut state = self.lock();
            let report = &mut state.report;
            report.documents += batch.new + batch.changed + batch.unchanged;
            report.new += batch.new;
            report.changed += batch.changed;
            report.unchanged += batch.unchanged;
            report.rows_written += batch.rows_written;
            report.rows_unchanged += batch.rows_unchanged;
            report.rows_removed += batch.rows_removed;
            report.embedded += batch.embedded;
            report.bytes += batch.bytes;
            self.advanced(&mut state)
        };
        self.tell(event);
    }

    /// How far it is, with the rates of late and what is left of the time where the total is known.
    fn advanced(&self, state: &mut State) -> Event {
        let now = Instant::now();
        let report = &state.report;
        state.samples.push_back((now, report.bytes, report.documents, report.rows_written));
        while state.samples.len() > 2 && state.samples.get(1).is_some_and(|(at, ..)| now - *at > WINDOW) {
            state.samples.pop_front();
        }
        let (since, bytes, _, rows) = state.samples.front().copied().unwrap_or((self.start, 0, 0, 0));
        let seconds = (now - since).as_secs_f64().max(1e-3);
        let rate = |now: u64, then: u64| (now - then) as f64 / seconds;
        let byte_rate = rate(report.bytes, bytes);
        let mut note = format!(
            "{} documents, {} rows, {:.0} a second",
            report.documents,
            report.rows_written,
            rate(report.rows_written, rows)
        );
        if let Some(left) =
            self.total.map(|total| total.saturating_sub(report.bytes)).filter(|_| byte_rate > 0.0)
        {
            note.push_str(&format!(", {:.0} s to go", left as f64 / byte_rate));
        }
        match self.total {
            Some(total) => Event::Advanced { done: report.bytes, total, unit: "bytes".into(), note },
            None => Event::Advanced { done: report.documents, total: 0, unit: "documents".into(), note },
        }
    }

    /// A problem, with what is safely in before it.
    pub fn so_far(&self, problem: Problem) -> Problem {
        let written = {
            let state = self.lock();
            state.report.new + state.report.changed
        };
        if written == 0 {
            return problem;
        }
        let safe = format!("{written} documents of this run are in the collection and stay");
        let detail = problem.detail.as_ref().map_or(safe.clone(), |detail| format!("{detail}; {safe}"));
        problem.detail(detail)
    }

    /// What was done.
    pub fn report(&self, interrupted: bool) -> IngestReport {
        let (mut report, unknown) = {
            let state = self.lock();
            (state.report.clone(), state.unknown.clone())
        };
        for (script, texts) in unknown {
            let texts = if texts == 1 { "1 text".to_owned() } else { format!("{texts} texts") };
            report.notes.push(format!(
                "the model does not know the {script} script of {texts}: vectors do not tell such texts apart, words \
                 find them; a multilingual model does both"
            ));
        }
        report.took(self.start.elapsed().as_secs_f64());
        report.interrupted = interrupted;
        if interrupted {
            report.notes.push("stopped; the same command again does the rest".to_owned());
        }
        if report.bad > LISTED as u64 {
            report.notes.push(format!("only the first {LISTED} bad records are listed"));
        }
        report
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
