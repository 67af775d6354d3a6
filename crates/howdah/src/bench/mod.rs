//! How fast is it, and how right? Measured, never guessed.
//!
//! Benches of the product itself; indexes side by side are a crate of their own, [`howdah_bench`].

pub use howdah_bench::{Dated, index, median, npy};

pub mod ingest;
pub mod queries;
pub mod recall;
pub mod search;
#[cfg(test)]
mod tests;
