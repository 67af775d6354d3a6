//! How does the server become what is declared?
//!
//! [`plan`] reads the facts and compares; [`run`] does that under a lock and carries the steps out, then looks again.
//! What to do is decided by [`howdah_plan::migrate`], without effects; this module reads the server, runs the statements and waits for them.
//!
//! A run may end anywhere, killed included: each transactional step is one transaction, the others are such that the next
//! run finds what is left over and repairs it. One run at a time, by an advisory lock; what a killed run left running on
//! the server is ended by the next one, which by then holds the lock.

mod build;
pub mod facts;
mod lock;
mod run;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use howdah_plan::migrate::{self, Plan};
use howdah_plan::problem::Problem;
use howdah_plan::spec::Spec;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::observe::progress;
use howdah_postgres::{Pools, Secret};

pub use run::run;

/// How to apply.
#[derive(Debug, Clone)]
pub struct Options {
    /// How to plan.
    pub plan: migrate::Options,
    /// Longest wait for a lock that somebody else holds.
    pub lock_timeout: Duration,
    /// Most memory, in bytes, that building an index may take. Absent, as much as `shared_buffers`, which tells how large
    /// the server's machine is.
    pub build_memory: Option<u64>,
    /// Values of environment variables, before the environment's own. Here whoever serves gives the passwords of the roles
    /// that the service works as ([`howdah_plan::service::Purpose::password_variable`]); where nobody does, they get one
    /// that nobody knows.
    pub environment: BTreeMap<String, Secret>,
    /// Ends the run before its next step.
    pub cancel: CancellationToken,
    /// Stops after so many steps, as if killed. For tests.
    #[doc(hidden)]
    pub stop_after: Option<usize>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            plan: migrate::Options::default(),
            lock_timeout: Duration::from_secs(10),
            build_memory: None,
            environment: BTreeMap::new(),
            cancel: CancellationToken::new(),
            stop_after: None,
        }
    }
}

/// What a run tells while it runs.
#[derive(Debug, Clone)]
pub enum ApplyEvent {
    /// The plan is made, under the lock. A second one follows where the first brought something new to light.
    Planned(Plan),
    /// A step begins.
    Step {
        /// Its number, from 1.
        number: usize,
        /// How many there are.
        of: usize,
        /// The step.
        step: migrate::Step,
    },
    /// A step is done.
    Done {
        /// The step's id.
        id: String,
        /// How long it took.
        took: Duration,
    },
    /// An index is being built.
    Building(Building),
    /// Something to know.
    Note(String),
}

/// How far an index is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Building {
    /// Its name.
    pub index: String,
    /// What the server is doing, in its words.
    pub phase: String,
    /// Done so far, in `unit`.
    pub done: u64,
    /// All there is to do in this phase; 0 when unknown.
    pub total: u64,
    /// `blocks`, `tuples` or `sessions` waited for.
    pub unit: &'static str,
}

/// Tells what a run tells to those who follow a piece of work.
pub fn tell(progress: &dyn progress::Progress) -> impl Fn(ApplyEvent) + Send + Sync + '_ {
    move |event| match event {
        ApplyEvent::Planned(_) => {}
        ApplyEvent::Step { step, .. } => progress.tell(progress::Event::Begin { step: step.reason }),
        ApplyEvent::Done { id, took } => {
            progress.tell(progress::Event::Done { took_ms: progress::milliseconds(took), note: id });
        }
        ApplyEvent::Building(at) => {
            let (unit, note) = (at.unit.to_owned(), format!("{}: {}", at.index, at.phase));
            progress.tell(progress::Event::Advanced { done: at.done, total: at.total, unit, note });
        }
        ApplyEvent::Note(text) => progress.tell(progress::Event::Note { text }),
    }
}

/// Told of each [`ApplyEvent`].
pub type Progress<'a> = &'a (dyn Fn(ApplyEvent) + Send + Sync);

/// What a run did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Outcome {
    /// Ids of the steps that were carried out, in order.
    pub done: Vec<String>,
    /// Settings that wait for a restart of the server.
    pub restart: Vec<String>,
    /// What is left: no steps, but perhaps blocked ones and notes.
    pub left: Plan,
    /// Said where a server applied the declaration as it read it, and the file is another by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declaration: Option<Older>,
}

/// The declaration that a server applied is older than its file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Older {
    /// What is the matter.
    pub message: String,
    /// How to have the file applied.
    pub hint: String,
    /// What to do now.
    pub do_now: Reload,
}

/// What to do about an older declaration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reload {
    /// Let the server read the file again.
    Reload,
}

/// What `howdah apply` would do.
///
/// # Errors
/// What the server says while the facts are read. That the declaration is impossible on this server is no error here but
/// in [`Plan::problems`].
pub async fn plan(pools: &Pools, spec: &Spec, options: &migrate::Options) -> Result<Plan, Problem> {
    let live = facts::read(pools, spec).await?;
    Ok(migrate::diff(spec, &live, options))
}
