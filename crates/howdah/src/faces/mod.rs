//! How is a skill asked for?
//!
//! Each face reads the table [`crate::skills::SKILLS`] and speaks one language: [`cli`] to people and scripts, [`rest`] to
//! programs. What speaks HTTP is mounted in [`http`]. No face touches PostgreSQL, and none knows more of a skill than its row in the table says.

pub mod cli;
pub mod http;
pub mod rest;

#[cfg(test)]
mod tests;
