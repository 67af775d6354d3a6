//! What did the user declare?
//!
//! `howdah.toml` as types. The same types give the JSON Schema for editors, so a key exists exactly once. Reading a file
//! into these types, with the file, line and key of every mistake and a "did you mean", is `read`; what can only be
//! known from several keys together is `check`.

mod access;
#[cfg(any(test, feature = "arbitrary"))]
pub mod arbitrary;

pub mod check;
mod collection;
pub mod manual;
pub mod place;
pub mod read;
pub mod resolve;
pub mod schema;
mod server;
pub mod size;
mod table;
pub mod version;
mod walk;

pub use access::{Database, Grant, Role, public_schema};
pub use collection::{
    Adopt, Chunking, Collection, Embedder, EmbedderKind, FixedScalar, FixedValue, IdType, Index, IndexKind,
    Metric, Storage,
};
pub use server::{Api, Disk, Server, ServerSource, ServiceRoles, Workload};
pub use table::{Column, SettingValue, Table, TableIndex};

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The whole declaration, `howdah.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Version of the declaration: what its keys mean. A howdah refuses a newer one than it reads.
    #[schemars(range(min = 1), example = 1)]
    #[serde(default = "version::current")]
    pub version: u32,
    /// Name of the deployment; also the name of its instance: letters, digits, `-` and `_`.
    #[schemars(example = &"howdah", length(min = 1, max = 63))]
    pub name: String,
    /// Identity of the deployment, a UUID: what it made in a database is its own, and another deployment leaves it alone.
    /// Absent, the one that the first `howdah apply` makes and keeps beside this file in `.howdah/deployment.toml`. Declare it
    /// where several checkouts are one deployment.
    #[schemars(example = &"7b0c9a52-6f0e-4d2a-9a51-3a3f1a2b4c5d")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
    /// The PostgreSQL server.
    #[serde(default)]
    pub server: Server,
    /// The REST face.
    #[serde(default)]
    pub api: Api,
    /// Databases by name.
    #[serde(default)]
    pub databases: IndexMap<String, Database>,
    /// Roles by name.
    #[serde(default)]
    pub roles: IndexMap<String, Role>,
    /// Embedders by name.
    #[serde(default)]
    pub embedders: IndexMap<String, Embedder>,
    /// Collections by name: tables that hold text, metadata and embeddings.
    #[serde(default)]
    pub collections: IndexMap<String, Collection>,
    /// Plain tables by name, for what lives beside the collections.
    #[serde(default)]
    pub tables: IndexMap<String, Table>,
    /// PostgreSQL settings that overrule the tuned ones.
    #[schemars(example = serde_json::json!({"log_min_duration_statement": "1s"}))]
    #[serde(default)]
    pub settings: IndexMap<String, SettingValue>,
}

impl Spec {
    /// The database that keeps Howdah's own tables for the whole deployment (keys, jobs): the one that `api.database` names,
    /// else the first that is declared.
    pub fn home_database(&self) -> Option<&str> {
        self.api.database.as_deref().or_else(|| self.databases.keys().next().map(String::as_str))
    }
}
