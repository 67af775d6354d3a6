//! Howdah's vector index, without a server.
//!
//! Inverted lists of random-rotation codes (RaBitQ) on 8 KiB pages: what is written here is the mathematics and the
//! page formats; who keeps the pages is said by [`page::PageStore`]. No files, sockets, clocks or environment.

pub mod build;
pub mod calibrate;
pub mod directory;
pub mod distance;
pub mod format;
pub mod kmeans;
pub mod memory;
pub mod options;
pub mod page;
pub mod pool;
pub mod quantize;
pub mod rng;
pub mod rotate;
pub mod search;
pub mod space;
pub mod writer;
