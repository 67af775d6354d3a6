//! Which vector index does each collection get, and what is checked of an adopted one?

use super::live::Table;
use super::wanted::{WantedIndex, adopted_text_index};
use super::work::Work;
use super::{adopt, index, table, vector};
use crate::spec::resolve::{Resolved, resolve};

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
            chosen(&resolved, vector::EmbeddingFacts { extension, table, storage, dimensions })
        })
    });
    own || work.wanted.adopted.iter().filter(|adopted| adopted.database == database).any(|adopted| {
        adopt::check(adopted, inside).is_ok_and(|(table, (storage, dimensions))| {
            chosen(adopted, vector::EmbeddingFacts { extension, table: Some(table), storage, dimensions })
        })
    })
}

/// An adopted table: checked, never altered. Its vector index is made where no index there does the same.
pub(super) fn adopt(work: &mut Work, adopted: &Resolved) {
    let inside = work.inside(&adopted.database);
    let (live, (storage, dimensions)) = match adopt::check(adopted, inside) {
        Ok(found) => found,
        Err(problem) => return work.problem(problem),
    };
    let extension = work.live.available.get(vector::EXTENSION);
    let index = vector_index(
        work,
        adopted,
        &vector::EmbeddingFacts { extension, table: Some(live), storage, dimensions },
    );
    // An index of another name that does the same is as good.
    let served = |index: &WantedIndex| {
        let same =
            |there: &super::live::Index| there.valid && there.name != index.name && index::fits(index, there);
        live.indexes.iter().any(same) && !live.indexes.iter().any(|there| there.name == index.name)
    };
    let text = adopted_text_index(adopted).filter(|index| !served(index));
    if let Some(index) = text.as_ref().filter(|_| !adopted.text_index && live.has_rows) {
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
    let vector = index.filter(|index| !served(index));
    let wanted: Vec<WantedIndex> = vector.into_iter().chain(text.filter(|_| adopted.text_index)).collect();
    let taken = table::Taken::default();
    let on = index::On {
        database: &adopted.database,
        schema: &adopted.schema,
        name: &adopted.table,
        live: Some(live),
        inside,
        taken: &taken,
    };
    index::indexes(work, &on, &wanted);
}
