//! Does an adopted table fit what is declared of it?
//!
//! Its columns are never touched. What does not fit is one problem that lists every difference.

use super::live::{Inside, Relation, Table};
use super::types::{normal_type, unquote, vector};
use crate::problem::{Kind, Problem};
use crate::spec::Storage;
use crate::spec::resolve::Resolved;

/// What is compared of the embedding column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Embedding {
    /// How it is stored, or what it is cast to.
    pub(super) storage: Storage,
    /// Dimensions; none, when neither the column nor the declaration says.
    pub(super) dimensions: Option<u32>,
    /// Whether it is a cast of the column.
    pub(super) cast: bool,
}

/// Checks an adopted table and returns it with its embedding column.
pub(super) fn check<'a>(
    adopted: &Resolved,
    inside: Option<&'a Inside>,
) -> Result<(&'a Table, Embedding), Problem> {
    let shown = format!("{}.{}", adopted.schema, adopted.table);
    let Some(live) = inside.and_then(|inside| inside.tables.get(&adopted.qualified())) else {
        return Err(Problem::new(Kind::NotFound, format!("adopted table `{shown}` is not there"))
            .detail(format!("collection `{}` adopts it in database `{}`", adopted.name, adopted.database))
            .hint("Create the table first, or leave out `adopt` and Howdah makes one."));
    };
    let (embedding, mut differs) = compared(adopted, live);
    key(adopted, live, &mut differs);
    match embedding {
        Some(embedding) if differs.is_empty() => Ok((live, embedding)),
        _ => Err(misfit(adopted, &differs)),
    }
}

/// What can be said of a table that fits, and is worth knowing.
pub(super) fn notes(adopted: &Resolved, live: &Table, embedding: Embedding) -> Vec<String> {
    let name = &adopted.name;
    let mut notes = Vec::new();
    if let Some(relation) = live.relation.read_only() {
        notes.push(format!("collection `{name}` is {relation}: it is searched, and not written into"));
    }
    if adopted.columns.key.is_empty() {
        let why = match live.constraints.iter().find(|constraint| constraint.primary) {
            Some(primary) => {
                format!("no `id` is named, and the table's key is {}", toml_list(&primary.columns))
            }
            None => "the table has no key".to_owned(),
        };
        notes.push(format!(
            "collection `{name}`: {why}; so its rows are found by searches and filters, and not by id"
        ));
    } else if !unique(adopted, live) {
        notes.push(format!(
            "collection `{name}`: nothing makes {} unique; rows that share it come back more than once",
            listed(&adopted.columns.key)
        ));
    }
    if embedding.dimensions.is_none() {
        notes.push(format!(
            "collection `{name}` gets no vector index: its column has no dimensions; with `dimensions = …` in \
             `[collections.{name}]` it gets one of the column's cast, and searches use it"
        ));
    }
    notes
}

/// Whether the key identifies a row.
fn unique(adopted: &Resolved, live: &Table) -> bool {
    let key = &adopted.columns.key;
    let same =
        |columns: &[String]| columns.len() == key.len() && key.iter().all(|column| columns.contains(column));
    let unquoted = |columns: &[String]| columns.iter().map(|column| unquote(column)).collect::<Vec<_>>();
    live.constraints.iter().any(|constraint| same(&constraint.columns))
        || live.indexes.iter().any(|index| {
            index.unique && index.valid && index.predicate.is_none() && same(&unquoted(&index.columns))
        })
}

fn key(adopted: &Resolved, live: &Table, differs: &mut Vec<String>) {
    let key = &adopted.columns.key;
    for column in key {
        type_of(live, column, differs);
    }
    let view = matches!(live.relation, Relation::View | Relation::Foreign);
    if key.is_empty() {
        if view {
            differs.push(format!(
                "it is {}, whose rows have no place of their own: name a column that identifies them as `id`",
                live.relation.read_only().unwrap_or("a view")
            ));
        }
        return;
    }
    if live.relation.read_only().is_some() || unique(adopted, live) {
        return;
    }
    let primary = live.constraints.iter().find(|constraint| constraint.primary);
    let instead = match primary {
        Some(primary) => format!("; its key is {}", toml_list(&primary.columns)),
        None => "; leave `id` out to search it without ids".to_owned(),
    };
    let what = if key.len() == 1 { "column" } else { "columns" };
    differs.push(format!("nothing makes {what} {} unique, so it identifies no row{instead}", listed(key)));
}

fn listed(columns: &[String]) -> String {
    columns.iter().map(|column| format!("`{column}`")).collect::<Vec<_>>().join(", ")
}

fn toml_list(columns: &[String]) -> String {
    let quoted: Vec<String> = columns.iter().map(|column| format!("{column:?}")).collect();
    match quoted.as_slice() {
        [one] => format!("`id = {one}`"),
        several => format!("`id = [{}]`", several.join(", ")),
    }
}

/// Whether a search may answer from an adopted table: as far as that can be told from its columns.
///
/// # Errors
/// `conflict` with every difference between the table and what is declared of it.
pub fn fits(adopted: &Resolved, live: &Table) -> Result<(), Problem> {
    let (_, differs) = compared(adopted, live);
    if differs.is_empty() { Ok(()) } else { Err(misfit(adopted, &differs)) }
}

fn compared(adopted: &Resolved, live: &Table) -> (Option<Embedding>, Vec<String>) {
    let mut differs = Vec::new();
    let embedding = embedding(adopted, live, &mut differs);
    columns(adopted, live, &mut differs);
    (embedding, differs)
}

fn misfit(adopted: &Resolved, differs: &[String]) -> Problem {
    let shown = format!("{}.{}", adopted.schema, adopted.table);
    Problem::new(Kind::Conflict, format!("adopted table `{shown}` does not fit the declaration"))
        .detail(differs.join("; "))
        .hint(format!(
            "Correct `[collections.{}]` to match the table; Howdah never changes an adopted table.",
            adopted.name
        ))
}

fn type_of(live: &Table, column: &str, differs: &mut Vec<String>) -> Option<String> {
    let found = live.columns.iter().find(|there| there.name == column);
    if found.is_none() {
        differs.push(format!("column `{column}` is not there"));
    }
    found.map(|there| normal_type(&there.sql_type))
}

fn embedding(adopted: &Resolved, live: &Table, differs: &mut Vec<String>) -> Option<Embedding> {
    let column = &adopted.columns.embedding;
    let found = type_of(live, column, differs)?;
    let Some((name, dimensions)) = vector(&found) else {
        let base = found.split('(').next().unwrap_or_default();
        let why = match base {
            "sparsevec" | "bit" | "bit varying" => ", which Howdah does not search yet",
            _ => "",
        };
        differs.push(format!("column `{column}` is `{found}`{why}, not `vector` or `halfvec`"));
        return None;
    };
    if let (Some(declared), Some(there)) = (adopted.dimensions, dimensions)
        && declared != there
    {
        differs.push(format!("column `{column}` has {there} dimensions, declared are {declared}"));
    }
    let storage = if name == "vector" { Storage::Vector } else { Storage::Halfvec };
    Some(match adopted.cast(storage, dimensions) {
        Some((storage, dimensions)) => Embedding { storage, dimensions: Some(dimensions), cast: true },
        None => Embedding { storage, dimensions, cast: false },
    })
}

/// A column's name, whether its type will do, and the type to name when not.
type Expected<'a> = (&'a Option<String>, fn(&str) -> bool, &'static str);

fn columns(adopted: &Resolved, live: &Table, differs: &mut Vec<String>) {
    let names = &adopted.columns;
    let textual: fn(&str) -> bool =
        |found| found == "text" || found.starts_with("character varying") || found == "citext";
    let expected: [Expected; 5] = [
        (&names.content, textual, "text"),
        (&names.source, textual, "text"),
        (&names.metadata, |found| matches!(found, "jsonb" | "json"), "jsonb` or `json"),
        (&names.chunk, |found| matches!(found, "smallint" | "integer" | "bigint"), "integer"),
        (&names.content_hash, |found| found == "bytea", "bytea"),
    ];
    for (column, fits, wanted) in expected {
        let Some(column) = column else { continue };
        if let Some(found) = type_of(live, column, differs)
            && !fits(&found)
        {
            differs.push(format!("column `{column}` is `{found}`, not `{wanted}`"));
        }
    }
    for column in &names.filtered {
        type_of(live, column, differs);
    }
    for (column, declared) in &adopted.fields {
        if let Some(found) = type_of(live, column, differs)
            && found != normal_type(declared)
        {
            differs.push(format!("column `{column}` is `{found}`, declared is `{declared}`"));
        }
    }
}
