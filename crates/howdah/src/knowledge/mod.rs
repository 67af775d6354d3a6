//! What is in the collections: how it gets in, and how it is found.

pub mod chunk;
pub mod ingest;
pub mod read;
pub mod remembered;
pub mod search;
