//! Searches against a real server.

mod corpus;
mod filters;
mod inputs;
mod modes;
mod scans;
mod words;
