//! Which column of a table is what?
//!
//! What a library is known to do is taken; else names that people give decide, and what is alone of its type.

use super::library::Library;
use super::{Column, Draft, Relation};
use crate::migrate::normal_type;
use crate::search::filter::Kind;

/// Names that people give to the text, the best first.
const TEXTS: &[&str] = &[
    "content",
    "text",
    "body",
    "document",
    "chunk",
    "page_content",
    "passage",
    "description",
    "summary",
    "title",
];
/// Names that people give to the metadata.
const METADATA: &[&str] =
    &["metadata", "metadata_", "meta", "cmetadata", "attributes", "properties", "extra", "data"];
/// Names that people give to what identifies a row, where no key says it.
const IDS: &[&str] = &["id", "langchain_id", "uuid", "node_id", "pk", "key"];

/// A type that is searched.
pub(super) fn is_vector(sql_type: &str) -> bool {
    matches!(base(sql_type).as_str(), "vector" | "halfvec")
}

/// A type of pgvector that is not searched.
pub(super) fn is_other_vector(sql_type: &str) -> bool {
    matches!(base(sql_type).as_str(), "sparsevec" | "bit" | "bit varying")
}

fn base(sql_type: &str) -> String {
    normal_type(sql_type).split('(').next().unwrap_or_default().to_owned()
}

fn is_text(sql_type: &str) -> bool {
    matches!(base(sql_type).as_str(), "text" | "character varying" | "citext")
}

fn is_json(sql_type: &str) -> bool {
    matches!(base(sql_type).as_str(), "json" | "jsonb")
}

fn named<'a>(relation: &'a Relation, names: &[&str], fits: fn(&str) -> bool) -> Option<&'a Column> {
    names.iter().find_map(|name| {
        relation.columns.iter().find(|column| column.name == *name && fits(&column.sql_type))
    })
}

/// The columns of the key.
pub(super) fn key(relation: &Relation, library: Option<&Library>) -> Vec<String> {
    if let Some(first) = relation.keys.first() {
        return first.clone();
    }
    // A view has no key, and its rows are known by what those of its tables are.
    if relation.relation.read_only().is_none() {
        return Vec::new();
    }
    let own = library.map(|library| library.id).into_iter();
    let names: Vec<&str> = own.chain(IDS.iter().copied()).collect();
    named(relation, &names, |_| true).map(|column| column.name.clone()).into_iter().collect()
}

/// The text.
pub(super) fn content(draft: &mut Draft, key: &[String]) -> Option<String> {
    if let Some(library) = draft.library {
        return library.content.map(str::to_owned);
    }
    if let Some(column) = named(draft.relation, TEXTS, is_text) {
        return Some(column.name.clone());
    }
    let texts: Vec<&Column> = draft
        .relation
        .columns
        .iter()
        .filter(|column| is_text(&column.sql_type) && !key.contains(&column.name))
        .collect();
    match texts.as_slice() {
        [only] => Some(only.name.clone()),
        [] => {
            draft.notes.push("it has no column of text, so searches are by vector".into());
            None
        }
        several => {
            let names: Vec<String> = several.iter().map(|column| format!("`{}`", column.name)).collect();
            draft.notes.push(format!(
                "no column of text looks like the one to search: name it as `content`: {}",
                names.join(", ")
            ));
            None
        }
    }
}

/// The metadata.
pub(super) fn metadata(draft: &mut Draft) -> Option<String> {
    if let Some(library) = draft.library {
        return Some(library.metadata.to_owned());
    }
    if let Some(column) = named(draft.relation, METADATA, is_json) {
        return Some(column.name.clone());
    }
    let json: Vec<&Column> =
        draft.relation.columns.iter().filter(|column| is_json(&column.sql_type)).collect();
    match json.as_slice() {
        [only] => Some(only.name.clone()),
        [] => None,
        several => {
            let names: Vec<String> = several.iter().map(|column| format!("`{}`", column.name)).collect();
            draft
                .notes
                .push(format!("which column is the metadata? name it as `metadata`: {}", names.join(", ")));
            None
        }
    }
}

/// The other columns that a filter can name, with their types.
pub(super) fn fields(relation: &Relation, taken: &[&str]) -> Vec<(String, String)> {
    let filterable = |column: &&Column| {
        let known = !matches!(Kind::of(&column.sql_type), Kind::Other(_) | Kind::Array(_));
        let name = column.name.as_str();
        let named = !matches!(name, "and" | "or" | "not" | "metadata") && !name.contains('.');
        // These are no types of the declaration.
        let declared = !matches!(base(&column.sql_type).as_str(), "citext" | "character" | "bpchar");
        known && named && declared && !taken.contains(&name)
    };
    let found = relation.columns.iter().filter(filterable);
    found.map(|column| (column.name.clone(), normal_type(&column.sql_type))).collect()
}
