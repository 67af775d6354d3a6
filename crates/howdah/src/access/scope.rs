//! What may a caller do?

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a key must allow for a skill to run. Each includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Search and look.
    Read,
    /// Ingest and delete rows.
    Write,
    /// Change the server and its keys.
    Admin,
}

impl Scope {
    /// Its name in JSON and in `howdah.api_keys`.
    pub const fn name(self) -> &'static str {
        match self {
            Scope::Read => "read",
            Scope::Write => "write",
            Scope::Admin => "admin",
        }
    }
}
