//! What is `howdah up` doing right now?
//!
//! The server that starts tells its steps; whoever started it shows them. A server in the background writes them to a
//! file that the command follows, so that neither depends on the other's life.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use howdah_plan::problem::{Kind, Problem};

use crate::observe::progress::{Event, Progress, ToLog};

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

impl Progress for ToFile {
    fn tell(&self, event: Event) {
        ToLog.tell(event.clone());
        let mut line = serde_json::to_string(&event).unwrap_or_default();
        line.push('\n');
        // Nobody can be told that telling failed; the log has the event.
        let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::progress::Step;

    #[test]
    fn a_follower_reads_whole_events_however_they_are_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("steps");
        let mut follower = Follower::new(&path);
        assert_eq!(follower.read(), []);
        let report = ToFile::create(&path).unwrap();
        let step = Step::begin(&report, "starting");
        assert_eq!(follower.read(), [Event::Begin { step: "starting".into() }]);
        step.advanced(1, 2, "rows");
        report.0.lock().unwrap().write_all(b"{\"event\":\"re").unwrap();
        assert_eq!(follower.read().len(), 1);
        report.0.lock().unwrap().write_all(b"ady\"}\n").unwrap();
        assert_eq!(follower.read(), [Event::Ready { left_out: 0 }]);
    }
}
