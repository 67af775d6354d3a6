//! Howdah's vector index, without a server.
//!
//! Inverted lists of random-rotation codes (RaBitQ) on 8 KiB pages: what is written here is the mathematics and the
//! page formats; who keeps the pages is said by [`page::PageStore`]. No files, sockets, clocks or environment.
#![cfg_attr(test, allow(clippy::unwrap_used))] // A test that cannot go on fails.

pub mod build;
pub mod calibrate;
pub mod check;
pub mod cost;
pub mod curve;
pub mod directory;
pub mod distance;
pub mod exact;
pub mod format;
pub mod generate;
pub mod info;
pub mod insert;
pub mod kept;
pub mod kmeans;
pub mod memory;
pub mod options;
pub mod page;
pub mod pool;
pub mod quantize;
pub mod rng;
pub mod rotate;
pub mod search;
mod sketch;
pub mod space;
pub mod split;
pub mod vacuum;
pub mod writer;
