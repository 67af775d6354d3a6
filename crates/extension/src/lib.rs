//! Howdah's vector index inside PostgreSQL: the access method `howdah`.
//!
//! The mathematics is in `howdah-index`; here are PostgreSQL's callbacks (`am`), its storage (`storage`, the unsafe
//! room), its types (`types`). Types and operators are pgvector's, unchanged. Nothing has to be preloaded, and every
//! page is logged by generic WAL, so that a replica or a restore needs this library only to search.
#![allow(unsafe_code)] // PostgreSQL is C. Every block says who promises what.
#![warn(clippy::undocumented_unsafe_blocks)]

pgrx::pg_module_magic!();

mod am;
mod compat;
mod functions;
mod storage;
mod types;

/// Called by PostgreSQL when the library is loaded.
#[pgrx::pg_guard]
pub extern "C-unwind" fn _PG_init() {
    am::options::register();
    am::demand::register();
}
