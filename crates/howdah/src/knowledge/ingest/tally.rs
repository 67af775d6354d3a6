//! Counting what was done, and how fast.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use howdah_plan::problem::Problem;

use super::report::{Ignored, IngestReport, Kept, LISTED};
use super::write;
use crate::knowledge::read::{BadRecord, Passed, PassedOver};
use crate::observe::progress::{Event, Progress};

/// Rates are taken over so long.
const WINDOW: Duration = Duration::from_secs(20);

/// Empty files that are named; more are only counted.
const EMPTY_LISTED: u64 = 10;

/// The counts of one ingest.
pub(super) struct Tally {
    start: Instant,
    total: Option<u64>,
    progress: Arc<dyn Progress>,
    state: Mutex<State>,
}

struct State {
    report: IngestReport,
    /// Files with nothing in them.
    empty: u64,
    /// Texts that the model does not know enough of, by script.
    unknown: BTreeMap<&'static str, u64>,
    samples: VecDeque<(Instant, u64, u64, u64)>,
    /// Suffixes that say no format, and how many files have them.
    suffixes: BTreeMap<String, u64>,
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
            state: Mutex::new(State {
                report,
                empty: 0,
                unknown: BTreeMap::new(),
                samples,
                suffixes: BTreeMap::new(),
            }),
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

    /// There is nothing in a file: said, and no trouble.
    pub fn empty(&self, found: &BadRecord) {
        let mut state = self.lock();
        state.empty += 1;
        if state.empty <= EMPTY_LISTED {
            state.report.notes.push(format!("`{}` is left out: {}", found.place(), found.reason));
        }
    }

    /// A text is in a script that the model does not know.
    pub fn unknown(&self, script: &'static str) {
        *self.lock().unknown.entry(script).or_default() += 1;
    }

    /// So many files were read.
    pub fn files(&self, read: u64) {
        self.lock().report.files = read;
    }

    /// Something in a directory was not read.
    pub fn passed_over(&self, passed: &PassedOver) {
        let mut state = self.lock();
        if passed.why == Passed::NoFormat {
            let suffix = passed.path.extension().map(|suffix| format!(".{}", suffix.to_string_lossy()));
            *state.suffixes.entry(suffix.unwrap_or_default()).or_default() += 1;
        }
        let report = &mut state.report;
        report.ignored_files += 1;
        if report.ignored.len() < LISTED {
            let (path, reason) = (passed.path.display().to_string(), passed.why.reason(&passed.path));
            report.ignored.push(Ignored { path, reason });
        }
    }

    /// Documents were removed.
    pub fn removed(&self, documents: &[String], rows: u64) {
        let report = &mut self.lock().report;
        report.removed += documents.len() as u64;
        report.rows_removed += rows;
        let room = LISTED.saturating_sub(report.removed_documents.len());
        report.removed_documents.extend(documents.iter().take(room).cloned());
    }

    /// Documents that are gone were kept.
    pub fn kept(&self, kept: Kept) {
        let report = &mut self.lock().report;
        report.kept += kept.gone;
        report.kept_places.push(kept);
    }

    /// Something a person should know.
    pub fn note(&self, note: String) {
        let report = &mut self.lock().report;
        if !report.notes.contains(&note) && report.notes.len() < LISTED {
            report.notes.push(note);
        }
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
            report.renamed += batch.renamed;
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
        let (mut report, empty, suffixes, unknown) = {
            let state = self.lock();
            (state.report.clone(), state.empty, unread(&state.suffixes), state.unknown.clone())
        };
        if empty > EMPTY_LISTED {
            report.notes.push(format!("{} more files have nothing in them", empty - EMPTY_LISTED));
        }
        report.notes.extend(suffixes);
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

    /// Rows written and removed so far.
    pub fn changed_rows(&self) -> u64 {
        let state = self.lock();
        state.report.rows_written + state.report.rows_removed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is said of suffixes that say no format: the most frequent ones.
fn unread(suffixes: &BTreeMap<String, u64>) -> Option<String> {
    let all: u64 = suffixes.values().sum();
    let mut by_count: Vec<(&String, &u64)> = suffixes.iter().collect();
    by_count.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let name =
        |suffix: &String| if suffix.is_empty() { "without a suffix".to_owned() } else { suffix.clone() };
    let listed: Vec<String> =
        by_count.iter().take(8).map(|(suffix, count)| format!("{count} {}", name(suffix))).collect();
    let more = if by_count.len() > listed.len() { ", and others" } else { "" };
    let files = if all == 1 { "1 file was" } else { &format!("{all} files were") };
    (all > 0).then(|| format!("{files} passed over, whose format is not known: {}{more}", listed.join(", ")))
}
