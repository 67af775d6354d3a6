//! What does the server look like now?
//!
//! The facts that a plan is made from, as plain data: `apply::facts` reads them, tests write them by hand. Types and
//! expressions are the server's own rendering under `search_path = pg_catalog`. Objects in a database are keyed by
//! their quoted name, `"schema"."table"`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Facts of a live server.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Live {
    /// The server and who asks.
    pub server: Server,
    /// Roles by name.
    pub roles: BTreeMap<String, Role>,
    /// Databases by name.
    pub databases: BTreeMap<String, Database>,
    /// Extensions that could be created, by name.
    pub available: BTreeMap<String, Available>,
    /// Server settings by name.
    pub settings: BTreeMap<String, Setting>,
}

/// The server and who asks.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Server {
    /// `server_version_num`, as 180004.
    pub version: u32,
    /// Database that the connection belongs to when none is named.
    pub maintenance: String,
    /// Role that the connection runs as.
    pub user: String,
    /// Whether that role is a superuser.
    pub superuser: bool,
    /// Whether that role may `ALTER SYSTEM`.
    pub alter_system: bool,
    /// Encoding of `template1`.
    pub template_encoding: String,
}

/// A role.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Role {
    /// Whether it may log in.
    pub login: bool,
    /// Most connections at a time, -1 for no limit.
    pub connection_limit: i32,
    /// Roles it is a direct member of.
    pub member_of: BTreeSet<String>,
    /// Its settings (`ALTER ROLE … SET`).
    pub settings: BTreeMap<String, String>,
    /// Its comment: how a role that Howdah made is recognised.
    pub comment: Option<String>,
    /// Whether the connected role may `SET ROLE` to it.
    pub settable: bool,
    /// Attributes beyond logging in, as `ALTER ROLE` takes them: `SUPERUSER`, `INHERIT`, `CREATEDB`, …
    pub attributes: BTreeSet<String>,
    /// Databases in which it owns something or has rights by name.
    pub databases: BTreeSet<String>,
}

/// A database, from outside; its inside only where it is declared and can be entered.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Database {
    /// Role that owns it.
    pub owner: String,
    /// Its settings (`ALTER DATABASE … SET`).
    pub settings: BTreeMap<String, String>,
    /// Its comment: how a database that Howdah made is recognised.
    pub comment: Option<String>,
    /// Rights on it.
    pub acl: Acl,
    /// What is in it.
    pub inside: Inside,
}

/// What is in a database.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Inside {
    /// Howdah's own tables.
    pub internal: InternalSchema,
    /// What Howdah remembers to have made. While a plan is made, only what is this deployment's own.
    pub memory: Vec<Memory>,
    /// Deployments that work in it.
    pub deployments: Vec<Deployment>,
    /// What other deployments have made, and what nobody owns; sorted out of `memory` when a plan is made.
    pub others: Vec<Memory>,
    /// Extensions that are installed.
    pub extensions: BTreeMap<String, Installed>,
    /// Schemas by name, without the system's and Howdah's own.
    pub schemas: BTreeMap<String, Schema>,
    /// Tables, views and the like by quoted name, without members of extensions.
    pub tables: BTreeMap<String, Table>,
    /// Sequences by quoted name.
    pub sequences: BTreeMap<String, Sequence>,
    /// Default privileges.
    pub default_acl: Vec<DefaultAcl>,
    /// Roles that were given the right to see the lines of the server's configuration files in this database.
    pub sees_files: BTreeSet<String>,
}

impl Inside {
    /// What is remembered about a thing.
    pub fn remembers(&self, kind: &str, name: &str) -> Option<&Memory> {
        self.memory.iter().find(|memory| memory.kind == kind && memory.name == name)
    }

    /// What others made, or nobody owns.
    pub fn of_others(&self, kind: &str, name: &str) -> Option<&Memory> {
        self.others.iter().find(|memory| memory.kind == kind && memory.name == name)
    }
}

/// The schema `howdah`, where it is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct InternalSchema {
    /// How many statements ran before migrations were recorded by domain ([`crate::internal_schema::counted`]).
    pub counted: usize,
    /// What `howdah.migrations` records.
    pub migrations: Vec<AppliedMigration>,
    /// The schema itself.
    pub schema: Option<Schema>,
    /// Its tables by quoted name: owner and rights only.
    pub tables: BTreeMap<String, Table>,
}

/// A migration that has run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AppliedMigration {
    /// Its domain.
    pub domain: String,
    /// Its number in the domain.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// Checksum of what ran.
    pub checksum: String,
}

/// One row of `howdah.managed`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// `table`, `column`, `default`, `index`, `extension`, `schema`, `setting`, `collection`.
    pub kind: String,
    /// Quoted name.
    pub name: String,
    /// Id of the deployment it belongs to; empty for what was made before deployments had one.
    pub deployment: String,
    /// What was declared.
    pub declared: String,
    /// How the server rendered it right after.
    pub rendered: String,
}

/// One row of `howdah.deployments`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Deployment {
    /// Its identity.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Where its declaration stood at first, for people.
    pub place: String,
    /// When it was first seen.
    pub first_seen: String,
}

/// An extension that could be created.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Available {
    /// Version that `CREATE EXTENSION` installs.
    pub default_version: String,
    /// All versions that could be installed or updated to.
    pub versions: BTreeSet<String>,
}

/// An extension that is installed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Installed {
    /// Its version.
    pub version: String,
    /// Schema its objects are in.
    pub schema: String,
}

/// A schema.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Schema {
    /// Role that owns it.
    pub owner: String,
    /// Rights on it.
    pub acl: Acl,
    /// Functions, types and the like in it that are neither tables nor part of one.
    pub others: u64,
}

/// Kind of relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// An ordinary table.
    #[default]
    Table,
    /// A partitioned table: its indexes cannot be built concurrently.
    Partitioned,
    /// A view.
    View,
    /// A materialised view: it can have indexes.
    MaterializedView,
    /// A foreign table.
    Foreign,
}

impl Relation {
    /// What it is, where Howdah only reads it.
    pub const fn read_only(self) -> Option<&'static str> {
        match self {
            Relation::Table | Relation::Partitioned => None,
            Relation::View => Some("a view"),
            Relation::MaterializedView => Some("a materialised view"),
            Relation::Foreign => Some("a foreign table"),
        }
    }

    /// Whether it can have indexes.
    pub const fn indexable(self) -> bool {
        matches!(self, Relation::Table | Relation::Partitioned | Relation::MaterializedView)
    }
}

/// A table.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Table {
    /// Schema it is in.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// What kind of relation it is.
    pub relation: Relation,
    /// Role that owns it.
    pub owner: String,
    /// Rights on it.
    pub acl: Acl,
    /// Columns, in order.
    pub columns: Vec<Column>,
    /// Primary key and unique constraints.
    pub constraints: Vec<Constraint>,
    /// Indexes, those of constraints included.
    pub indexes: Vec<Index>,
    /// Whether there is at least one row (looked at only for declared tables; false otherwise).
    pub has_rows: bool,
    /// Rows as the planner estimates them; 0 when unknown.
    pub estimated_rows: u64,
    /// Whether row-level security is on.
    pub row_security: bool,
    /// Whether it is a materialised view that holds nothing yet.
    pub unpopulated: bool,
    /// Bytes on disk, indexes and TOAST included.
    pub bytes: u64,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type as `format_type` says it.
    pub sql_type: String,
    /// Whether it is declared NOT NULL.
    pub not_null: bool,
    /// Its default expression.
    pub default: Option<String>,
    /// Its identity.
    pub identity: Identity,
    /// The expression it is generated from.
    pub generated: Option<String>,
}

/// Identity of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    /// No identity column.
    #[default]
    No,
    /// `GENERATED ALWAYS AS IDENTITY`.
    Always,
    /// `GENERATED BY DEFAULT AS IDENTITY`.
    ByDefault,
}

/// A primary key or unique constraint.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Constraint {
    /// Its name.
    pub name: String,
    /// Primary key, else unique.
    pub primary: bool,
    /// Its columns, in order.
    pub columns: Vec<String>,
}

/// An index.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Index {
    /// Its name; its schema is the table's.
    pub name: String,
    /// Access method.
    pub method: String,
    /// Whether values are unique.
    pub unique: bool,
    /// Columns or expressions, in order, as `pg_get_indexdef` says each.
    pub columns: Vec<String>,
    /// Operator class of each column.
    pub opclasses: Vec<String>,
    /// Whether all of these are the defaults for their types.
    pub default_opclasses: bool,
    /// Options (`WITH (…)`).
    pub options: BTreeMap<String, String>,
    /// Rows it covers.
    pub predicate: Option<String>,
    /// Whether it is valid and ready: false after a concurrent build that did not finish.
    pub valid: bool,
    /// Whether it belongs to a constraint.
    pub constraint: bool,
    /// The whole definition.
    pub definition: String,
}

/// A sequence.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Sequence {
    /// Schema it is in.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Role that owns it.
    pub owner: String,
    /// Quoted name of the table whose column owns it.
    pub table: Option<String>,
    /// Name of that column, where it is an identity column: who writes there needs no rights on the sequence.
    pub identity: Option<String>,
    /// Rights on it.
    pub acl: Acl,
}

/// Rights: grantee to privileges in upper case. The grantee `""` is PUBLIC.
pub type Acl = BTreeMap<String, BTreeSet<String>>;

/// Default privileges of what one role makes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DefaultAcl {
    /// Role that makes the objects.
    pub maker: String,
    /// Schema they are made in.
    pub schema: String,
    /// `r` for tables, `S` for sequences.
    pub object: String,
    /// The rights.
    pub acl: Acl,
}

/// A server setting.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Setting {
    /// Value in force, in `unit`.
    pub value: String,
    /// Unit of `value` (`8kB`, `ms`, …).
    pub unit: Option<String>,
    /// `bool`, `integer`, `real`, `string`, `enum`.
    pub kind: String,
    /// `postmaster`, `sighup`, `superuser`, `user`, `internal`, …
    pub context: String,
    /// Where the value in force comes from.
    pub source: String,
    /// Value that the configuration files give it, as written there; absent when none does or they cannot be read.
    pub file_value: Option<String>,
    /// Whether the files hold a value that waits for a restart.
    pub pending_restart: bool,
}
