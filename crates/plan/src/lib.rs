//! Howdah's decisions: facts in, plan out.
//!
//! Nothing here reads a file, opens a socket, looks at a clock or draws a random number. Every verdict, rendered text,
//! tuning rule and migration order is a function from data to data, so that all of them are tested in milliseconds and
//! none depends on the machine they ran on. The effects live in the crate `howdah`.

pub mod adoption;
pub mod budget;
pub mod check;
pub mod hex;
pub mod internal_schema;
pub mod migrate;
pub mod platform;
pub mod preset;
pub mod problem;
pub mod removal;
pub mod rights;
pub mod search;
pub mod service;
pub mod settings;
pub mod spec;
pub mod tune;
pub mod version;
