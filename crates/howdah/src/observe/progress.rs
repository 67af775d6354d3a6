//! How far is a piece of work?
//!
//! One kind of event and one kind of listener for everything that takes long: a start, an apply, an ingest, a job. The
//! listener is a terminal, a log, a file that another process follows, or the table of jobs.

use std::time::{Duration, Instant};

use howdah_plan::problem::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Something that happened in a piece of work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A step begins.
    Begin {
        /// What is done, as people say it.
        step: String,
    },
    /// The step under way got further.
    #[serde(alias = "progress")]
    Advanced {
        /// Done so far, in `unit`.
        done: u64,
        /// To do in all; 0 where that is not known.
        total: u64,
        /// Of what: `bytes`, `steps`, `blocks`.
        unit: String,
        /// What else is known of it, as people read it.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        note: String,
    },
    /// The step under way is done.
    Done {
        /// Milliseconds it took.
        took_ms: u64,
        /// What came of it.
        note: String,
    },
    /// Something to know.
    Note {
        /// The sentence.
        text: String,
    },
    /// A document or record could not be used and was left out.
    LeftOut {
        /// File, and line where it has lines.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The server is ready, but for so many documents or records that could not be read.
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

/// Who is told. Called from several threads, never while a lock of the caller is held; it must not block.
pub trait Progress: Send + Sync {
    /// Tells one event.
    fn tell(&self, event: Event);
}

impl<F: Fn(Event) + Send + Sync> Progress for F {
    fn tell(&self, event: Event) {
        self(event);
    }
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn tell(&self, _: Event) {}
}

/// Tells the log.
#[derive(Debug, Clone, Copy, Default)]
pub struct ToLog;

impl Progress for ToLog {
    fn tell(&self, event: Event) {
        match event {
            Event::Begin { step } => tracing::info!("{step}"),
            Event::Advanced { .. } => {}
            Event::Done { took_ms, note } => tracing::info!(took_ms, "{note}"),
            Event::Note { text } => tracing::info!("{text}"),
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

/// A step under way.
pub struct TimedStep<'a> {
    progress: &'a dyn Progress,
    begun: Instant,
}

impl<'a> TimedStep<'a> {
    /// Begins a step.
    pub fn begin(progress: &'a dyn Progress, step: impl Into<String>) -> Self {
        progress.tell(Event::Begin { step: step.into() });
        TimedStep { progress, begun: Instant::now() }
    }

    /// It got further.
    pub fn advanced(&self, done: u64, total: u64, unit: &str) {
        self.progress.tell(Event::Advanced { done, total, unit: unit.to_owned(), note: String::new() });
    }

    /// It is done; `note` says what came of it.
    pub fn done(self, note: impl Into<String>) {
        self.progress.tell(Event::Done { took_ms: milliseconds(self.begun.elapsed()), note: note.into() });
    }
}

/// Whole milliseconds.
pub fn milliseconds(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
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
    fn time_is_said_as_people_read_it() {
        assert_eq!(duration(Duration::from_millis(412)), "0.4 s");
        assert_eq!(duration(Duration::from_secs(185)), "3 min 05 s");
    }
}
