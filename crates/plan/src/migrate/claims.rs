//! What was found out before the comparison, for those who add it to the plan: whose the records are, and what is renamed.

use std::collections::BTreeMap;

use super::live::Memory;
use super::step::Step;

/// What the records of one database need.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// What becomes this deployment's, with whose it was.
    pub(super) taken: Vec<Memory>,
    /// What it uses beside others: kind and name.
    pub(super) used: Vec<(&'static str, String)>,
    /// Records of its own that mean nothing any more.
    pub(super) stale: Vec<Memory>,
}

/// Claims by database.
pub(super) type Ownership = BTreeMap<String, Claims>;

/// Steps that rename, by database.
pub(super) type Renames = BTreeMap<String, Vec<Step>>;
