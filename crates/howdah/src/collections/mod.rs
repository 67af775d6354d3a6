//! Which collections are there, and what is in them?
//!
//! [`facts`] is what a search has to know of a table, kept for a few seconds; [`describe`] is what a person wants to know;
//! [`rows`] gets and deletes single rows; [`discover`] looks for tables that could become collections. All of it looks at the live database, for own and adopted tables alike.

pub mod cache;
pub mod describe;
pub mod discover;
pub mod facts;
pub mod rows;
#[cfg(test)]
mod tests;

pub use describe::{Description, describe, list};
pub use rows::{DeleteRequest, Deleted, GetRequest, StoredRow, UpdateRequest, delete, get, update};
