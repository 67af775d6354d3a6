//! Which databases, which roles, and who may do what?

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SettingValue;

/// A database.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Database {
    /// Role that owns it.
    #[schemars(example = &"app_owner")]
    pub owner: Option<String>,
    /// Extensions by name; the value is a version, or `"*"` for whatever is newest there.
    #[schemars(example = serde_json::json!({"vector": "*"}))]
    pub extensions: IndexMap<String, String>,
    /// Schemas besides `public`.
    #[schemars(example = vec!["reports"])]
    pub schemas: Vec<String>,
    /// Settings of this database (`ALTER DATABASE … SET`).
    pub settings: IndexMap<String, SettingValue>,
}

/// A role.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Role {
    /// Whether it may log in.
    pub login: bool,
    /// Environment variable that holds its password. Passwords never stand in the declaration.
    #[schemars(example = &"APP_PASSWORD")]
    pub password_env: Option<String>,
    /// Roles it is a member of.
    #[schemars(example = vec!["readers"])]
    pub member_of: Vec<String>,
    /// Most connections at a time.
    #[schemars(range(min = -1), example = 20)]
    pub connection_limit: Option<i32>,
    /// What it may do.
    pub grants: Vec<Grant>,
    /// Settings of this role (`ALTER ROLE … SET`).
    pub settings: IndexMap<String, SettingValue>,
}

/// Rights of a role in a database. Rights on tables also become default privileges, so that a table made later is not
/// forgotten.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Database the rights are in.
    pub database: String,
    /// Schema the tables are in.
    #[serde(default = "public_schema")]
    pub schema: String,
    /// Rights on tables: `select`, `insert`, `update`, `delete`, `truncate`, `references`, `trigger`, or `all`.
    #[schemars(length(min = 1), example = vec!["select", "insert", "update", "delete"])]
    pub privileges: Vec<String>,
    /// Tables the rights are on; all tables of the schema, present and future, when absent.
    #[serde(default)]
    #[schemars(example = vec!["memory_entries"])]
    pub tables: Option<Vec<String>>,
}

/// The schema `public`.
pub fn public_schema() -> String {
    "public".into()
}
