//! The steps of `howdah up`, as they happen.
//!
//! On a terminal the step under way stands on one line with its progress, and is replaced by what came of it. Elsewhere
//! each step is a line when it is done, and one that takes long says so every five seconds.

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::print::{self, DIM, GREEN, YELLOW, paint};
use crate::observe::progress::{Event, Progress, duration};

/// How often a long step says that it lives, where there is no terminal.
const PATIENCE: Duration = Duration::from_secs(5);

/// Shows steps.
pub struct Steps {
    quiet: bool,
    terminal: bool,
    step: String,
    begun: Instant,
    said: Instant,
    drawn: bool,
}

impl Steps {
    /// Shows nothing when `quiet`.
    pub fn new(quiet: bool) -> Self {
        let now = Instant::now();
        let terminal = std::io::stderr().is_terminal();
        Steps { quiet, terminal, step: String::new(), begun: now, said: now, drawn: false }
    }

    /// Shows one event.
    pub fn show(&mut self, event: &Event) {
        if self.quiet {
            return;
        }
        match event {
            Event::Begin { step } => {
                self.step.clone_from(step);
                self.begun = Instant::now();
                self.said = self.begun;
                self.draw("");
            }
            Event::Advanced { done, total, unit, .. } => self.progress(*done, *total, unit),
            Event::Done { took_ms, note } => {
                self.clear();
                let took = duration(Duration::from_millis(*took_ms));
                print::err(&format!("{} {note} {}\n", paint("✓", GREEN), paint(&took, DIM)));
            }
            Event::LeftOut { place, reason } => {
                self.clear();
                print::err(&format!("{} {place}: {reason}\n", paint("left out:", YELLOW)));
            }
            Event::Note { text } => {
                self.clear();
                print::err(&format!("note: {text}\n"));
            }
            Event::Ready { .. } | Event::Failed { .. } => self.clear(),
        }
    }

    fn progress(&mut self, done: u64, total: u64, unit: &str) {
        let text = if total > 0 {
            let percent = (done.min(total) * 100).checked_div(total).unwrap_or_default();
            format!("{} of {} {unit}, {percent} %", print::thousands(done), print::thousands(total))
        } else {
            format!("{} {unit}", print::thousands(done))
        };
        if self.terminal {
            self.draw(&text);
        } else if self.said.elapsed() >= PATIENCE {
            self.said = Instant::now();
            print::err(&format!("  {}: {text} {}\n", self.step, duration(self.begun.elapsed())));
        }
    }

    fn draw(&mut self, text: &str) {
        if !self.terminal {
            return;
        }
        self.clear();
        let space = if text.is_empty() { "" } else { ": " };
        print::err(&format!("{} {}{space}{text}", paint("·", DIM), self.step));
        self.drawn = true;
    }

    fn clear(&mut self) {
        if self.drawn {
            print::err("\r\x1b[2K");
            self.drawn = false;
        }
    }
}

/// The same for work that tells from several threads.
pub struct Shown(Mutex<Steps>);

impl Shown {
    /// Shows nothing when `quiet`.
    pub fn new(quiet: bool) -> Self {
        Shown(Mutex::new(Steps::new(quiet)))
    }
}

impl From<Steps> for Shown {
    fn from(steps: Steps) -> Self {
        Shown(Mutex::new(steps))
    }
}

impl Progress for Shown {
    fn tell(&self, event: Event) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).show(&event);
    }
}
