//! Which vector index does each collection get, and what is checked of an adopted one?

use super::live::{Index, Table};
use super::wanted::{WantedIndex, adopted_text_index};
use super::work::Work;
use super::{adopt, index, table, vector};
use crate::service::Purpose;
use crate::spec::resolve::{Resolved, quote_ident, resolve};

/// The vector index of a collection whose table is Howdah's.
pub(super) fn own_vector_index(
    work: &mut Work,
    collection: &str,
    live: Option<&Table>,
) -> Option<WantedIndex> {
    let resolved = resolve(work.spec, collection).ok()?;
    let facts = vector::EmbeddingFacts {
        extension: work.live.available.get(vector::EXTENSION),
        table: live,
        storage: resolved.storage,
        dimensions: resolved.dimensions,
        cast: false,
    };
    vector_index(work, &resolved, &facts)
}

fn vector_index(work: &mut Work, resolved: &Resolved, facts: &vector::EmbeddingFacts) -> Option<WantedIndex> {
    match vector::choose(resolved, facts) {
        Ok(chosen) => {
            for note in chosen.notes {
                work.note(Some(&resolved.database), note);
            }
            chosen.index
        }
        Err(problem) => {
            work.problem(problem);
            None
        }
    }
}

/// Whether a collection in a database gets an index of the extension's access method.
pub(super) fn wants_extension(work: &Work, database: &str) -> bool {
    let inside = work.inside(database);
    let extension = work.live.available.get(vector::EXTENSION);
    let chosen = |resolved: &Resolved, facts: vector::EmbeddingFacts| {
        vector::choose(resolved, &facts).is_ok_and(|chosen| chosen.needs_extension())
    };
    let own = work.wanted.tables.iter().filter(|table| table.database == database).any(|table| {
        let resolved = table.collection.as_deref().and_then(|name| resolve(work.spec, name).ok());
        resolved.is_some_and(|resolved| {
            let table = inside.and_then(|inside| inside.tables.get(&table.qualified()));
            let (storage, dimensions) = (resolved.storage, resolved.dimensions);
            chosen(&resolved, vector::EmbeddingFacts { extension, table, storage, dimensions, cast: false })
        })
    });
    own || work.wanted.adopted.iter().filter(|adopted| adopted.database == database).any(|adopted| {
        adopt::check(adopted, inside).is_ok_and(|(table, embedding)| {
            table.relation.indexable() && chosen(adopted, facts_of(work, table, embedding))
        })
    })
}

fn facts_of<'a>(
    work: &Work<'a>,
    table: &'a Table,
    embedding: adopt::Embedding,
) -> vector::EmbeddingFacts<'a> {
    vector::EmbeddingFacts {
        extension: work.live.available.get(vector::EXTENSION),
        table: Some(table),
        storage: embedding.storage,
        dimensions: embedding.dimensions,
        cast: embedding.cast,
    }
}

/// An adopted table, and all collections of it: checked, never altered. A vector index is made where no index there does the
/// same.
pub(super) fn adopt(work: &mut Work, sharing: &[&Resolved]) {
    let Some(first) = sharing.first() else { return };
    let inside = work.inside(&first.database);
    let mut wanted: Vec<WantedIndex> = Vec::new();
    let mut found = None;
    let mut served = 0;
    for adopted in sharing {
        let (live, embedding) = match adopt::check(adopted, inside) {
            Ok(found) => found,
            Err(problem) => {
                work.problem(problem);
                continue;
            }
        };
        found = Some(live);
        for note in adopt::notes(adopted, live, embedding) {
            work.note(Some(&adopted.database), note);
        }
        row_security(work, adopted, live);
        if let Some(index) = text_index(work, adopted, live)
            && !wanted.iter().any(|other| other.name == index.name)
        {
            wanted.push(index);
        }
        if !live.relation.indexable() || embedding.dimensions.is_none() {
            continue;
        }
        let Some(index) = vector_index(work, adopted, &facts_of(work, live, embedding)) else { continue };
        // An index of all rows serves a part of them as well.
        let theirs = |there: &&Index| {
            there.valid
                && there.name != index.name
                && (index::fits(&index, there) || there.predicate.is_none() && index::serves(&index, there))
        };
        if live.indexes.iter().any(|there| theirs(&there))
            && !live.indexes.iter().any(|there| there.name == index.name)
        {
            served += 1;
        } else if !wanted.iter().any(|other| other.name == index.name) {
            wanted.push(index);
        }
    }
    let Some(live) = found else { return };
    if wanted.is_empty() && served > 0 || !live.relation.indexable() {
        return;
    }
    let taken = table::Taken::default();
    let on = index::On {
        who: work.who(),
        database: &first.database,
        schema: &first.schema,
        name: &first.table,
        live: Some(live),
        inside,
        taken: &taken,
    };
    index::indexes(work, &on, &wanted);
}

/// Row-level security hides rows from the service's roles, and searches cannot tell.
fn row_security(work: &mut Work, adopted: &Resolved, live: &Table) {
    if !live.row_security || work.service.is_empty() {
        return;
    }
    let roles: Vec<String> = work
        .service
        .iter()
        .filter(|(purpose, _)| *purpose != Purpose::Control)
        .map(|(_, role)| quote_ident(role))
        .collect();
    let note = format!(
        "collection `{}`: row-level security is on for `{}.{}`, and the service sees only the rows that a policy shows to \
         its roles; to show it all: CREATE POLICY howdah ON {} TO {} USING (true);",
        adopted.name,
        adopted.schema,
        adopted.table,
        adopted.qualified(),
        roles.join(", ")
    );
    work.note(Some(&adopted.database), note);
}

/// The index on the words of an adopted table, where it is declared and none there does the same; where it is not declared,
/// that a search by words reads every row is said.
fn text_index(work: &mut Work, adopted: &Resolved, live: &Table) -> Option<WantedIndex> {
    if !live.relation.indexable() {
        return None;
    }
    let index = adopted_text_index(adopted)?;
    let same = |there: &Index| there.valid && there.name != index.name && index::fits(&index, there);
    if live.indexes.iter().any(same) && !live.indexes.iter().any(|there| there.name == index.name) {
        return None;
    }
    if !adopted.text_index && live.has_rows {
        work.note(
            Some(&adopted.database),
            format!(
                "a search of collection `{}` by words reads every row of `{}.{}`: no index is on {}; `text_index = true` \
                 below `[collections.{}.adopt]` has one built, concurrently",
                adopted.name,
                adopted.schema,
                adopted.table,
                index.expression.as_deref().unwrap_or_default(),
                adopted.name
            ),
        );
    }
    adopted.text_index.then_some(index)
}
