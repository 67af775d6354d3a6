//! What is `howdah up` doing right now?
//!
//! The server that starts tells its steps; whoever started it shows them. A server in the background writes them to a
//! file that the command follows, so that neither depends on the other's life. Every attempt to start has a file of its
//! own, named in the instance's lock while its server is the one that starts: others who wait for that follow it too.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use howdah_plan::problem::{Kind, Problem};
use serde::{Deserialize, Serialize};

use super::instance_lock::Holder;
use crate::observe::progress::{Event, Progress, ToLog};

/// What stands in a line of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Line {
    /// Something happened. Tried first: an event has no `beaten_by`, and that may be missing below.
    Event(Event),
    /// Another process has the instance: this one leaves it to that, and ends.
    Beaten {
        /// Who has it; none when that was not written yet.
        beaten_by: Option<Holder>,
    },
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

    /// Tells that another process has the instance.
    pub fn beaten_by(&self, holder: Option<Holder>) {
        self.write(&Line::Beaten { beaten_by: holder });
    }

    fn write(&self, line: &Line) {
        let mut text = serde_json::to_string(line).unwrap_or_default();
        text.push('\n');
        // Nobody can be told that telling failed; the log has the event.
        let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(text.as_bytes());
    }
}

impl Progress for ToFile {
    fn tell(&self, event: Event) {
        ToLog.tell(event.clone());
        self.write(&Line::Event(event));
    }
}

/// Follows the file another process writes.
pub struct Follower {
    file: Option<File>,
    path: PathBuf,
    /// The beginning of a line that is not whole yet.
    rest: Vec<u8>,
}

impl Follower {
    /// Follows `path`, which need not be there yet.
    pub fn new(path: &Path) -> Self {
        Follower { file: None, path: path.to_owned(), rest: Vec::new() }
    }

    /// The lines written since the last call.
    pub fn read(&mut self) -> Vec<Line> {
        if self.file.is_none() {
            self.file = File::open(&self.path).ok();
        }
        let Some(file) = &mut self.file else { return Vec::new() };
        // What was read before an error is kept, and the rest is read at the next call.
        let _ = file.read_to_end(&mut self.rest);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
        let whole: Vec<u8> = self.rest.drain(..=end).collect();
        whole.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::progress::TimedStep;

    #[test]
    fn a_follower_reads_whole_events_however_they_are_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("steps");
        let mut follower = Follower::new(&path);
        assert_eq!(follower.read(), []);
        let report = ToFile::create(&path).unwrap();
        let step = TimedStep::begin(&report, "starting");
        assert_eq!(follower.read(), [Line::Event(Event::Begin { step: "starting".into() })]);
        step.advanced(1, 2, "rows");
        report.0.lock().unwrap().write_all(b"{\"event\":\"re").unwrap();
        assert_eq!(follower.read().len(), 1);
        report.0.lock().unwrap().write_all(b"ady\"}\n").unwrap();
        assert_eq!(follower.read(), [Line::Event(Event::Ready { left_out: 0 })]);
        report.beaten_by(None);
        assert_eq!(follower.read(), [Line::Beaten { beaten_by: None }]);
    }
}
