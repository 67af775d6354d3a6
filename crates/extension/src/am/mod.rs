//! PostgreSQL's index access method interface, one file a callback.
//!
//! The callbacks translate: PostgreSQL's relations, datums and scan keys on one side, the algorithms of `howdah-index`
//! over [`crate::storage`] on the other. No algorithm lives here.

mod build;
mod cost;
pub mod demand;
mod handler;
mod insert;
mod opclass;
pub mod options;
mod report;
pub mod scan;
mod vacuum;
mod workers;

pub use report::{error as report_error, raise};
