//! Where do the index's bytes live, and the rows' vectors?
//!
//! The unsafe room: buffers, locks, generic WAL, the table access method. What stands above it (`am`) hands the
//! algorithms of `howdah-index` a [`pages::Pages`] and a [`rows::Rows`] and no pointer.

pub mod cache;
pub mod filter;
pub mod line_pointers;
pub mod owner;
pub mod pages;
pub mod rows;
pub mod scan_table;
pub mod sort;
