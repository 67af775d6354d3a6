//! Which declared tables cannot be on this server?
//!
//! What cannot be is named as a problem and taken out of what is wanted before anything is planned, so that no step follows
//! from it: no table of a collection without pgvector, no rights on it, no index. Everything else is planned as if it were
//! alone in the declaration.

use super::adopt;
use super::live::{Inside, Live};
use super::types::{normal_type, vector};
use super::wanted::{Impossible, Wanted, WantedTable};
use crate::problem::{Kind, Problem};
use crate::spec::Spec;

/// The extension without which no collection can be.
pub(super) const PGVECTOR: &str = "vector";

/// Takes out what cannot be.
pub(super) fn sort(spec: &Spec, live: &Live, wanted: &mut Wanted) {
    let lacking: Vec<&String> = spec.databases.keys().filter(|name| lacks_vector(spec, live, name)).collect();
    let inside = |name: &str| live.databases.get(name).map(|database| &database.inside);
    let (mut problems, mut impossible) = (Vec::new(), Vec::new());
    wanted.tables.retain(|table| {
        let without = lacking.contains(&&table.database) && needs_vector(table);
        let no_table = inside(&table.database).and_then(|inside| not_a_table(table, inside));
        let possible = !without && no_table.is_none();
        problems.extend(no_table);
        impossible
            .extend((!possible).then(|| Impossible { lacks_vector: without, ..Impossible::table(table) }));
        possible
    });
    wanted.adopted.retain(|adopted| {
        let without = lacking.contains(&&adopted.database);
        let fits = match without {
            true => false,
            // A database that is not declared is a problem of its own.
            false if !spec.databases.contains_key(&adopted.database) => return true,
            false => match adopt::check(adopted, inside(&adopted.database)) {
                Ok(_) => true,
                Err(problem) => {
                    problems.push(problem);
                    false
                }
            },
        };
        impossible
            .extend((!fits).then(|| Impossible { lacks_vector: without, ..Impossible::adopted(adopted) }));
        fits
    });
    wanted.problems.extend(problems);
    wanted.impossible.extend(impossible);
}

/// Whether pgvector is neither there nor to be had in the declared version.
fn lacks_vector(spec: &Spec, live: &Live, database: &str) -> bool {
    if live.databases.get(database).is_some_and(|there| there.inside.extensions.contains_key(PGVECTOR)) {
        return false;
    }
    let declared = spec.databases.get(database).and_then(|declared| declared.extensions.get(PGVECTOR));
    match live.available.get(PGVECTOR) {
        None => true,
        Some(available) => {
            declared.is_some_and(|version| version != "*" && !available.versions.contains(version))
        }
    }
}

fn needs_vector(table: &WantedTable) -> bool {
    table.collection.is_some()
        || table.columns.iter().any(|column| vector(&normal_type(&column.sql_type)).is_some())
}

fn not_a_table(table: &WantedTable, inside: &Inside) -> Option<Problem> {
    let live = inside.tables.get(&table.qualified()).filter(|live| live.relation.read_only().is_some())?;
    Some(
        Problem::new(Kind::Conflict, format!("`{}.{}` is not a table", live.schema, live.name))
            .detail(format!("database `{}` has a view or foreign table of that name", table.database))
            .hint("Declare another table name, or adopt it."),
    )
}
