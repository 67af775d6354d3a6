//! What can be wrong with PostgreSQL as a vector database, and how does one see it?
//!
//! One table, [`CHECKS`]: a row is a question in SQL, a verdict over its rows and a fix with the row's own values in it.
//! The doctor runs the questions and hands the rows back; nothing here talks to a server, so every verdict is tested on
//! made-up rows and the manual (`docs/doctor.md`) is written from the same table. A further check is a further row.
//!
//! Conventions of a question: it only reads; it runs on every major of `majors`; a column named `object` names the thing a
//! finding is about, quoted as SQL needs it; every column can stand in the fix as `{column}`.

mod answer;
mod contract;
mod judge;
pub mod manual;
mod rows;

pub use answer::{Found, Row};
pub use contract::{
    Area, Check, CheckFacts, Finding, Fix, FixKind, FixTemplate, Need, Scope, Severity, Verdict,
};
pub use judge::{cannot, error_finding, findings, fix_for, template};
pub use rows::{CHECKS, all, find};

#[cfg(test)]
mod tests;
