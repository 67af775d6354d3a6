//! Stories of the access method in real servers, named by what breaks. Each ends with an index that is sound.
#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

mod build;
mod catalog;
mod concurrency;
mod grow;
mod refuse;
mod scan;
mod unlogged;
mod vacuum;
mod wide;
