//! What lives beside the collections: plain tables, and the values of settings.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A plain table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Database it lives in; the first declared one when absent.
    #[serde(default)]
    pub database: Option<String>,
    /// Table name, `schema.table` or `table`; the key's name when absent.
    #[serde(default)]
    pub table: Option<String>,
    /// Name it had before, `schema.table` or `table`: the table is renamed with its rows instead of made anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"purchases")]
    pub renamed_from: Option<String>,
    /// Columns, in order.
    #[schemars(length(min = 1))]
    pub columns: Vec<Column>,
    /// Columns of the primary key.
    #[serde(default)]
    pub primary_key: Vec<String>,
    /// Indexes.
    #[serde(default)]
    pub indexes: Vec<TableIndex>,
}

/// A column of a plain table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Name.
    pub name: String,
    /// Name it had before: the column is renamed with its values instead of made anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"created")]
    pub renamed_from: Option<String>,
    /// SQL type (`bigint`, `text`, `jsonb`, `timestamptz`, `varchar(50)`, …).
    #[serde(rename = "type")]
    #[schemars(example = &"timestamptz")]
    pub sql_type: String,
    /// Whether NULL is allowed.
    #[serde(default = "yes")]
    pub nullable: bool,
    /// Default, as an SQL expression.
    #[serde(default)]
    #[schemars(example = &"now()")]
    pub default: Option<String>,
    /// `generated always as identity`.
    #[serde(default)]
    pub identity: bool,
}

fn yes() -> bool {
    true
}

/// An index of a plain table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TableIndex {
    /// Columns, in order.
    #[schemars(length(min = 1))]
    pub columns: Vec<String>,
    /// Access method: `btree`, `gin`, `gist`, `hash`, `brin`.
    #[serde(default = "btree")]
    pub method: String,
    /// Whether values are unique.
    #[serde(default)]
    pub unique: bool,
    /// Rows it covers, as an SQL condition.
    #[serde(default, rename = "where")]
    pub predicate: Option<String>,
}

fn btree() -> String {
    "btree".into()
}

/// A setting's value, as TOML writes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum SettingValue {
    /// `true`, `false`.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A number.
    Float(f64),
    /// Text, with a unit where PostgreSQL has one.
    Text(String),
}
