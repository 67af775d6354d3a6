//! What is wrong with this server, and what mends it?
//!
//! The table of checks is `howdah_plan::check`; this room asks its questions. It only reads: every session is read-only and
//! every statement has a timeout. Databases are asked in parallel. A check that cannot run is in the report with the
//! reason; none is left out silently.

pub mod render;
pub mod report;

pub use report::{Answer, NotRun, Options, Report, ServerFacts, Summary};
