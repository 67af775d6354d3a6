//! What is `howdah up` doing right now?
//!
//! The server that starts tells its steps; whoever started it shows them. A server in the background writes them to a
//! file that the command follows, so that neither depends on the other's life.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use howdah_plan::problem::{Kind, Problem};
use serde::{Deserialize, Serialize};

/// Something that happened while starting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A step begins.
    Begin {
        /// What is done, as people say it.
        step: String,
    },
    /// The step under way got further.
    Progress {
        /// Done so far.
        done: u64,
        /// To do in all; 0 where that is not known.
        total: u64,
        /// Of what.
        unit: String,
    },
    /// The step under way is done.
    Done {
        /// Milliseconds it took.
        took_ms: u64,
        /// What came of it.
        note: String,
    },
    /// A document or record could not be read and was left out.
    LeftOut {
        /// File, and line where it has lines.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Everything is there, but for so many documents or records that could not be read.
    Ready {
        /// How many were left out.
        #[serde(default)]
        left_out: u64,
    },
    /// It cannot go on.
    Failed {
        /// Why.
        problems: Vec<Problem>,
    },
}

/// Who is told.
pub trait Report: Send + Sync {
    /// Tells one event.
    fn tell(&self, event: Event);
}

/// A step under way.
pub struct Step<'a> {
    report: &'a dyn Report,
    begun: Instant,
}

impl<'a> Step<'a> {
    /// Begins a step.
    pub fn begin(report: &'a dyn Report, step: impl Into<String>) -> Self {
        report.tell(Event::Begin { step: step.into() });
        Step { report, begun: Instant::now() }
    }

    /// It got further.
    pub fn progress(&self, done: u64, total: u64, unit: &str) {
        self.report.tell(Event::Progress { done, total, unit: unit.to_owned() });
    }

    /// It is done; `note` says what came of it.
    pub fn done(self, note: impl Into<String>) {
        let took_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.report.tell(Event::Done { took_ms, note: note.into() });
    }
}

/// Tells a file, for the command that waits.
pub struct ToFile(Mutex<File>);

impl ToFile {
    /// Begins the file anew.
    ///
    /// # Errors
    /// `machine` when it cannot be written.
    pub fn create(path: &Path) -> Result<Self, Problem> {
        let file = File::create(path).map_err(|error| {
            Problem::new(Kind::Machine, format!("cannot write `{}`", path.display()))
                .detail(error.to_string())
        })?;
        Ok(ToFile(Mutex::new(file)))
    }
}

impl Report for ToFile {
    fn tell(&self, event: Event) {
        ToLog.tell(event.clone());
        let mut line = serde_json::to_string(&event).unwrap_or_default();
        line.push('\n');
        // Nobody can be told that telling failed; the log has the event.
        let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes());
    }
}

/// Tells the log.
pub struct ToLog;

impl Report for ToLog {
    fn tell(&self, event: Event) {
        match event {
            Event::Begin { step } => tracing::info!("{step}"),
            Event::Progress { .. } => {}
            Event::Done { took_ms, note } => tracing::info!(took_ms, "{note}"),
            Event::LeftOut { place, reason } => tracing::warn!(place, "left out: {reason}"),
            Event::Ready { left_out } => tracing::info!(left_out, "ready"),
            Event::Failed { problems } => {
                for problem in problems {
                    tracing::error!(detail = problem.detail, hint = problem.hint, "{}", problem.message);
                }
            }
        }
    }
}

/// Follows the file another process writes.
pub struct Follower {
    file: Option<File>,
    path: std::path::PathBuf,
    rest: String,
}

impl Follower {
    /// Follows `path`, which need not be there yet.
    pub fn new(path: &Path) -> Self {
        Follower { file: None, path: path.to_owned(), rest: String::new() }
    }

    /// The events written since the last call.
    pub fn read(&mut self) -> Vec<Event> {
        if self.file.is_none() {
            self.file = File::open(&self.path).ok();
        }
        let Some(file) = &mut self.file else { return Vec::new() };
        let mut more = Vec::new();
        // A broken read is tried again at the next call.
        if file.read_to_end(&mut more).is_err() {
            return Vec::new();
        }
        self.rest.push_str(&String::from_utf8_lossy(&more));
        let mut events = Vec::new();
        while let Some(end) = self.rest.find('\n') {
            let line: String = self.rest.drain(..=end).collect();
            events.extend(serde_json::from_str::<Event>(&line));
        }
        events
    }

    /// Begins again at the start of the file.
    pub fn rewind(&mut self) {
        if let Some(file) = &mut self.file {
            let _ = file.seek(SeekFrom::Start(0));
        }
        self.rest.clear();
    }
}

/// Time as people read it: `0.4 s`, `12.0 s`, `3 min 05 s`.
pub fn duration(took: Duration) -> String {
    let seconds = took.as_secs();
    if seconds < 60 {
        format!("{:.1} s", took.as_secs_f64())
    } else {
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_follower_reads_whole_events_however_they_are_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("steps");
        let mut follower = Follower::new(&path);
        assert_eq!(follower.read(), []);
        let report = ToFile::create(&path).unwrap();
        let step = Step::begin(&report, "starting");
        assert_eq!(follower.read(), [Event::Begin { step: "starting".into() }]);
        step.progress(1, 2, "rows");
        report.0.lock().unwrap().write_all(b"{\"event\":\"re").unwrap();
        assert_eq!(follower.read().len(), 1);
        report.0.lock().unwrap().write_all(b"ady\"}\n").unwrap();
        assert_eq!(follower.read(), [Event::Ready { left_out: 0 }]);
    }

    #[test]
    fn time_is_said_as_people_read_it() {
        assert_eq!(duration(Duration::from_millis(412)), "0.4 s");
        assert_eq!(duration(Duration::from_secs(185)), "3 min 05 s");
    }
}
