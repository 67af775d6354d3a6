//! How does the command line say what the table of skills leaves open?
//!
//! One row a skill, and none for most of them: a new skill has a command with flags, help and a readable answer without a
//! line here.

pub mod adopt;
pub mod apply;
pub mod batch;
pub mod collections;
pub mod doctor;
pub mod documents;
pub mod explain;
pub mod filter;
pub mod ingest;
pub mod jobs;
pub mod keys;
pub mod plain;
pub mod plan;
pub mod presenter;
pub mod search;
pub mod status;

pub use presenter::{Asked, Flag, Presenter, Whom, switch_in};

/// The rows.
pub static PRESENTERS: &[Presenter] = &[
    search::SEARCH,
    batch::BATCH,
    ingest::INGEST,
    collections::LIST,
    collections::DESCRIBE,
    documents::GET,
    documents::DELETE,
    adopt::ADOPT,
    plan::PLAN,
    apply::APPLY,
    doctor::DOCTOR,
    status::STATUS,
    jobs::LIST,
    jobs::SHOW,
    jobs::CANCEL,
    keys::CREATE,
    keys::LIST,
    keys::REVOKE,
];

/// The row of a skill.
pub fn of(skill: &str) -> &'static Presenter {
    static PLAIN: Presenter = Presenter::PLAIN;
    PRESENTERS.iter().find(|row| row.skill == skill).unwrap_or(&PLAIN)
}

/// A word that several commands begin with.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    /// The word.
    pub word: &'static str,
    /// What the commands do.
    pub about: &'static str,
    /// The second word, where none is given.
    pub default: Option<&'static str>,
}

/// The groups that have more to say than their name.
pub static GROUPS: &[Group] = &[
    Group { word: "collections", about: "Look at collections", default: Some("list") },
    Group { word: "jobs", about: "Look at jobs, and end them", default: Some("list") },
    Group { word: "keys", about: "Make, list and revoke API keys", default: None },
];

/// The row of a word.
pub fn group(word: &str) -> Option<&'static Group> {
    GROUPS.iter().find(|group| group.word == word)
}

/// Commands in the order people meet them; others stand behind them.
pub const ORDER: &[&str] = &[
    "up",
    "down",
    "status",
    "logs",
    "init",
    "adopt",
    "plan",
    "apply",
    "ingest",
    "search",
    "search-batch",
    "collections",
    "get",
    "update",
    "delete",
    "doctor",
    "jobs",
    "keys",
    "config",
    "psql",
    "env",
    "openapi",
    "completions",
    "bench",
    "version",
];
