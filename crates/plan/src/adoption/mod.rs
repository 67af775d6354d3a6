//! Which collections would the tables that are there make?
//!
//! [`propose`] looks at the relations of a database that have a column of vectors ([`Relation`]: plain facts, which
//! `collections::discover` reads) and writes for each the block that adopts it, with a comment on what was seen and what had
//! to be guessed. Tables of well-known libraries are recognised by their shape ([`library`]).

mod block;
mod columns;
pub mod library;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::migrate::live;
use crate::spec::resolve::table_name;
use crate::spec::{FixedScalar, FixedValue, Metric, Spec};

/// A relation with at least one column of vectors.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Relation {
    /// Schema it is in.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// What kind of relation it is.
    pub relation: live::Relation,
    /// Rows as the planner estimates them.
    pub rows: u64,
    /// Whether row-level security is on.
    pub row_security: bool,
    /// Columns, in order.
    pub columns: Vec<Column>,
    /// The columns of each key, the primary one first.
    pub keys: Vec<Vec<String>>,
    /// Vector indexes: the column, and the operator class.
    pub opclasses: Vec<(String, String)>,
    /// Dimensions of the rows that were looked at, by column and for the whole table: how many rows have them.
    pub sampled: BTreeMap<String, BTreeMap<u32, u64>>,
    /// Parts of the table that are collections by themselves to the library that made it.
    pub parts: Vec<Part>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type as `format_type` says it, without a schema.
    pub sql_type: String,
}

/// A part of a table.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Part {
    /// The column that says which part a row is of.
    pub column: String,
    /// Its value.
    pub value: String,
    /// What the library calls the part.
    pub name: String,
    /// Dimensions of its rows that were looked at.
    pub dimensions: BTreeMap<u32, u64>,
}

/// What a database has to adopt.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Adoption {
    /// The database.
    pub database: String,
    /// The collections that its tables would make.
    pub collections: Vec<Proposal>,
    /// Tables with vectors that were left out, and why.
    pub skipped: Vec<Skipped>,
    /// All blocks, as they would stand in the declaration.
    pub toml: String,
}

/// A collection that a table would make.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Proposal {
    /// Name of the collection.
    pub collection: String,
    /// The table, `schema.table`.
    pub table: String,
    /// What it is: a table, a partitioned table, a view, …
    pub kind: String,
    /// The library that made it, where its shape tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub library: Option<String>,
    /// Column of the vectors.
    pub embedding: String,
    /// Its dimensions, where they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<u32>,
    /// How distance is measured.
    pub metric: Metric,
    /// Rows, as the planner estimates them.
    pub rows: u64,
    /// What was seen, guessed, or cannot be done.
    pub notes: Vec<String>,
    /// Its block.
    pub toml: String,
}

/// A table that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Skipped {
    /// The table, `schema.table`.
    pub table: String,
    /// Why.
    pub why: String,
}

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Wanted<'a> {
    /// The declaration that the blocks are for.
    pub spec: Option<&'a Spec>,
    /// The database that the relations are in.
    pub database: &'a str,
    /// Only these tables, as `table` or `schema.table`; all when empty.
    pub tables: &'a [String],
}

/// What a proposal is made from, in the order it is decided.
struct Draft<'a> {
    relation: &'a Relation,
    library: Option<&'static library::Library>,
    embedding: &'a Column,
    part: Option<&'a Part>,
    notes: Vec<String>,
}

/// The blocks for what is there.
pub fn propose(relations: &[Relation], wanted: &Wanted) -> Adoption {
    let mut adoption = Adoption { database: wanted.database.to_owned(), ..Adoption::default() };
    let mut names: BTreeSet<String> =
        wanted.spec.into_iter().flat_map(|spec| spec.collections.keys().cloned()).collect();
    for relation in relations.iter().filter(|relation| is_asked_for(relation, wanted.tables)) {
        if let Some(why) = left_out(relation, wanted) {
            adoption.skipped.push(Skipped { table: shown(relation), why });
            continue;
        }
        let library = relation.library();
        for embedding in relation.columns.iter().filter(|column| columns::is_vector(&column.sql_type)) {
            let parts: Vec<Option<&Part>> = match relation.parts.as_slice() {
                [] => vec![None],
                parts => parts.iter().map(Some).collect(),
            };
            for part in parts {
                let draft = Draft { relation, library, embedding, part, notes: Vec::new() };
                let proposal = block::write(draft, &mut names, wanted);
                adoption.collections.push(proposal);
            }
        }
    }
    adoption.toml = whole(&adoption.collections, wanted);
    adoption
}

fn is_asked_for(relation: &Relation, tables: &[String]) -> bool {
    tables.is_empty()
        || tables.iter().any(|asked| {
            *asked == relation.name
                || crate::spec::resolve::parse_table(asked).is_some_and(|(schema, table)| {
                    table == relation.name && (schema == relation.schema || !asked.contains('.'))
                })
        })
}

fn shown(relation: &Relation) -> String {
    format!("{}.{}", relation.schema, relation.name)
}

/// Why a relation makes no collection.
fn left_out(relation: &Relation, wanted: &Wanted) -> Option<String> {
    if let Some(name) = declared_as(relation, wanted) {
        return Some(format!("collection `{name}` has it already"));
    }
    let searched = relation.columns.iter().any(|column| columns::is_vector(&column.sql_type));
    if !searched {
        let other = relation.columns.iter().find(|column| columns::is_other_vector(&column.sql_type))?;
        return Some(format!(
            "column `{}` is `{}`, which Howdah does not search yet",
            other.name, other.sql_type
        ));
    }
    let view = matches!(relation.relation, live::Relation::View | live::Relation::Foreign);
    if view && columns::key(relation, relation.library()).is_empty() {
        let what = relation.relation.read_only().unwrap_or("a view");
        return Some(format!("it is {what}, and no column looks like one that identifies its rows"));
    }
    None
}

/// The declared collection of a table.
fn declared_as(relation: &Relation, wanted: &Wanted) -> Option<String> {
    let spec = wanted.spec?;
    let first = spec.databases.keys().next();
    let found = spec.collections.iter().find(|(name, collection)| {
        let at = collection.database.as_ref().or(first);
        let table = crate::spec::resolve::split_table(collection.table.as_deref().unwrap_or(name));
        at.is_some_and(|at| at == wanted.database)
            && table == (relation.schema.clone(), relation.name.clone())
    });
    found.map(|(name, _)| name.clone())
}

/// The blocks, and the database where it is not declared yet.
fn whole(proposals: &[Proposal], wanted: &Wanted) -> String {
    if proposals.is_empty() {
        return String::new();
    }
    let declared = wanted.spec.is_some_and(|spec| spec.databases.contains_key(wanted.database));
    let mut text = String::new();
    if !declared {
        text += &format!("[databases.{}]\n\n", block::key(wanted.database));
    }
    text + &proposals.iter().map(|one| one.toml.as_str()).collect::<Vec<_>>().join("\n")
}

impl Relation {
    /// The library that made it.
    fn library(&self) -> Option<&'static library::Library> {
        library::of(&self.schema, &self.name, |name| self.columns.iter().any(|column| column.name == name))
    }
}

impl Draft<'_> {
    /// The fixed filter of a part.
    fn filter(&self) -> Option<(String, FixedValue)> {
        let part = self.part?;
        Some((part.column.clone(), FixedValue::One(FixedScalar::Text(part.value.clone()))))
    }

    fn table(&self) -> String {
        table_name(&self.relation.schema, &self.relation.name)
    }
}
