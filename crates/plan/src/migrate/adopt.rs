//! Does an adopted table fit what is declared of it?
//!
//! Its columns are never touched. What does not fit is one problem that lists every difference.

use super::live::{Inside, Relation, Table};
use super::types::{normal_type, vector};
use crate::problem::{Kind, Problem};
use crate::spec::Storage;
use crate::spec::resolve::Resolved;

/// The embedding column as it is: storage and dimensions (none, when the column does not say).
pub(super) type Embedding = (Storage, Option<u32>);

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
    let unique = live.constraints.iter().any(|key| key.columns == [adopted.columns.id.clone()])
        || live.indexes.iter().any(|index| {
            index.unique
                && index.valid
                && index.predicate.is_none()
                && index.columns == [adopted.columns.id.clone()]
        });
    if !unique {
        differs
            .push(format!("nothing makes column `{}` unique, so it identifies no row", adopted.columns.id));
    }
    match embedding {
        Some(embedding) if differs.is_empty() => Ok((live, embedding)),
        _ => Err(misfit(adopted, &differs)),
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
    if live.relation == Relation::Other {
        differs.push("it is a view or foreign table, not a table".to_owned());
    }
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
        differs.push(format!("column `{column}` is `{found}`, not `vector` or `halfvec`"));
        return None;
    };
    if let (Some(declared), Some(there)) = (adopted.dimensions, dimensions)
        && declared != there
    {
        differs.push(format!("column `{column}` has {there} dimensions, declared are {declared}"));
    }
    let storage = if name == "vector" { Storage::Vector } else { Storage::Halfvec };
    Some((storage, dimensions))
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
        (&names.metadata, |found| found == "jsonb", "jsonb"),
        (&names.chunk, |found| matches!(found, "smallint" | "integer" | "bigint"), "integer"),
        (&names.content_hash, |found| found == "bytea", "bytea"),
    ];
    type_of(live, &names.id, differs);
    for (column, fits, wanted) in expected {
        let Some(column) = column else { continue };
        if let Some(found) = type_of(live, column, differs)
            && !fits(&found)
        {
            differs.push(format!("column `{column}` is `{found}`, not `{wanted}`"));
        }
    }
    for (column, declared) in &adopted.fields {
        if let Some(found) = type_of(live, column, differs)
            && found != normal_type(declared)
        {
            differs.push(format!("column `{column}` is `{found}`, declared is `{declared}`"));
        }
    }
}
