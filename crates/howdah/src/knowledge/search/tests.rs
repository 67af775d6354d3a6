//! Searches against a real server.

mod corpus;
mod filters;
mod inputs;
mod modes;
mod pages;
mod scans;
mod texts;
mod words;
