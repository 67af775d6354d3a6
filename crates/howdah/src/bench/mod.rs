//! How fast is it, and how right? Measured, never guessed.

pub mod index;
pub mod ingest;
pub mod queries;
pub mod recall;
pub mod search;
#[cfg(test)]
mod tests;
