//! The block of one collection, as TOML with its comments.

use std::collections::{BTreeMap, BTreeSet};

use super::{Draft, Proposal, Wanted, columns, shown};
use crate::migrate::{live, normal_type};
use crate::spec::resolve::MAX_INDEXED_VECTOR;
use crate::spec::{FixedScalar, FixedValue, Metric};

/// Writes it. `names` are the collections there are, to which it adds its own.
pub(super) fn write(mut draft: Draft, names: &mut BTreeSet<String>, wanted: &Wanted) -> Proposal {
    let relation = draft.relation;
    let collection = name(&draft, names);
    let key = columns::key(relation, draft.library);
    let metric = metric(&mut draft);
    let (own, dimensions) = dimensions(&mut draft);
    let content = columns::content(&mut draft, &key);
    let metadata = columns::metadata(&mut draft);
    remarks(&mut draft, &key);
    let filter = draft.filter();

    let mut head = String::new();
    let elsewhere = wanted
        .spec
        .and_then(|spec| spec.databases.keys().next())
        .is_some_and(|first| first != wanted.database);
    if elsewhere {
        head += &format!("database = {}\n", string(wanted.database));
    }
    let table = draft.table();
    if table != collection {
        head += &format!("table = {}\n", string(&table));
    }
    head += &format!("metric = \"{}\"\n", metric_name(metric));
    if let Some(dimensions) = dimensions.filter(|_| own.is_none()) {
        head += &format!("dimensions = {dimensions}\n");
    }
    let wide = dimensions.is_some_and(|dimensions| dimensions > MAX_INDEXED_VECTOR);
    if wide && normal_type(&draft.embedding.sql_type).starts_with("vector") {
        draft.notes.push(format!(
            "pgvector indexes `vector` up to {MAX_INDEXED_VECTOR} dimensions; compared as `halfvec` it gets an index"
        ));
        head += "storage = \"halfvec\"\n";
    }
    let mut adopt = String::new();
    match key.as_slice() {
        [] => {}
        [one] => adopt += &format!("id = {}\n", string(one)),
        several => {
            let all: Vec<String> = several.iter().map(|column| string(column)).collect();
            adopt += &format!("id = [{}]\n", all.join(", "));
        }
    }
    let named =
        [("content", &content), ("embedding", &Some(draft.embedding.name.clone())), ("metadata", &metadata)];
    for (name, column) in named {
        if let Some(column) = column {
            adopt += &format!("{name} = {}\n", string(column));
        }
    }
    if let Some((column, value)) = &filter {
        adopt += &format!("filter = {{ {} = {} }}\n", self::key(column), fixed(value));
    }
    let mut taken: Vec<&str> = key.iter().map(String::as_str).collect();
    taken.extend([&content, &metadata].into_iter().flatten().map(String::as_str));
    taken.push(&draft.embedding.name);
    // A key of several columns is no single field, so each of its columns is one.
    if key.len() > 1 {
        taken.retain(|name| !key.iter().any(|column| column == name));
    }
    taken.extend(filter.iter().map(|(column, _)| column.as_str()));
    let fields: String = columns::fields(relation, &taken)
        .into_iter()
        .map(|(name, sql_type)| format!("{} = {}\n", self::key(&name), string(&sql_type)))
        .collect();

    let comment = comment(&draft);
    let table_key = format!("collections.{collection}");
    let mut toml = format!("{comment}[{table_key}]\n{head}\n[{table_key}.adopt]\n{adopt}");
    if !fields.is_empty() {
        toml += &format!("\n[{table_key}.fields]\n{fields}");
    }
    Proposal {
        collection,
        table: shown(relation),
        kind: kind(relation.relation).to_owned(),
        library: draft.library.map(|library| library.name.to_owned()),
        embedding: draft.embedding.name.clone(),
        dimensions,
        metric,
        rows: relation.rows,
        notes: draft.notes,
        toml,
    }
}

const fn kind(relation: live::Relation) -> &'static str {
    match relation {
        live::Relation::Table => "table",
        live::Relation::Partitioned => "partitioned table",
        live::Relation::View => "view",
        live::Relation::MaterializedView => "materialised view",
        live::Relation::Foreign => "foreign table",
    }
}

/// A name that no collection has yet: letters, digits, `_` and `-`.
fn name(draft: &Draft, names: &mut BTreeSet<String>) -> String {
    let relation = draft.relation;
    let several = relation.columns.iter().filter(|column| columns::is_vector(&column.sql_type)).count() > 1;
    let base = match draft.part {
        Some(part) => part.name.clone(),
        None if several => format!("{}_{}", relation.name, draft.embedding.name),
        None => relation.name.clone(),
    };
    let mut plain: String = base
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' })
        .collect();
    plain.truncate(50);
    if plain.is_empty() || plain.starts_with('-') || plain.starts_with("pg_") {
        plain = format!("c_{plain}");
    }
    let mut free = plain.clone();
    let mut count = 1;
    while names.contains(&free) {
        count += 1;
        free = format!("{plain}_{count}");
    }
    names.insert(free.clone());
    free
}

const METRICS: [Metric; 4] = [Metric::Cosine, Metric::L2, Metric::InnerProduct, Metric::L1];

fn metric_name(metric: Metric) -> &'static str {
    match metric {
        Metric::Cosine => "cosine",
        Metric::L2 => "l2",
        Metric::InnerProduct => "inner_product",
        Metric::L1 => "l1",
    }
}

/// The metric of an operator class: `vector_cosine_ops`.
fn metric_of(opclass: &str) -> Option<Metric> {
    let (_, suffix) = opclass.split_once('_')?;
    METRICS.into_iter().find(|metric| {
        let own = metric.opclass(crate::spec::Storage::Vector);
        own.split_once('_').is_some_and(|(_, own)| own == suffix)
    })
}

fn metric(draft: &mut Draft) -> Metric {
    let column = &draft.embedding.name;
    let made: Vec<Metric> = draft
        .relation
        .opclasses
        .iter()
        .filter(|(of, _)| of == column)
        .filter_map(|(_, opclass)| metric_of(opclass))
        .collect();
    let (metric, note) = match made.as_slice() {
        [] => match draft.library {
            Some(library) => (
                library.metric,
                Some(format!("metric: the default of {}; no index says otherwise", library.name)),
            ),
            None => (
                Metric::Cosine,
                Some("metric: a guess, for no index says it; what does the program that writes the rows compare by?".into()),
            ),
        },
        [first, rest @ ..] if rest.iter().all(|other| other == first) => {
            (*first, Some("metric: as its index has it".to_owned()))
        }
        [first, ..] => {
            let all: BTreeSet<&str> = made.iter().map(|metric| metric_name(*metric)).collect();
            let all: Vec<&str> = all.into_iter().collect();
            (*first, Some(format!("metric: there are indexes for {}; which one is searched by?", all.join(" and "))))
        }
    };
    draft.notes.extend(note);
    metric
}

/// Dimensions as the column says them, and as they are known altogether.
fn dimensions(draft: &mut Draft) -> (Option<u32>, Option<u32>) {
    let sql_type = normal_type(&draft.embedding.sql_type);
    let own = sql_type.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')?.parse().ok());
    if own.is_some() {
        return (own, own);
    }
    let none = BTreeMap::new();
    let sampled = match draft.part {
        Some(part) => &part.dimensions,
        None => draft.relation.sampled.get(&draft.embedding.name).unwrap_or(&none),
    };
    let (found, note) = match sampled.len() {
        0 => (
            None,
            "its column has no dimensions and no row tells them: add `dimensions = …` to get an index"
                .to_owned(),
        ),
        1 => (
            sampled.keys().next().copied(),
            "dimensions: as its rows have them; the column says none, so the index is of its cast".to_owned(),
        ),
        _ => {
            let counts: Vec<String> =
                sampled.iter().map(|(dimensions, rows)| format!("{dimensions} ({rows} rows)")).collect();
            (
                None,
                format!(
                    "its rows have different dimensions: {}; confine the collection to one kind with `filter` and add `dimensions = …`",
                    counts.join(", ")
                ),
            )
        }
    };
    draft.notes.push(note);
    (None, found)
}

fn remarks(draft: &mut Draft, key: &[String]) {
    let relation = draft.relation;
    draft.notes.extend(draft.library.and_then(|library| library.note).map(str::to_owned));
    if let Some(what) = relation.relation.read_only() {
        draft.notes.push(format!("it is {what}: searched, and not written into"));
    } else if key.is_empty() {
        draft.notes.push("it has no key: its rows are found by searches and filters, and not by id".into());
    }
    if relation.row_security {
        draft.notes.push(
            "row-level security is on: searches see what its policies show to the role that asks".into(),
        );
    }
}

fn comment(draft: &Draft) -> String {
    let relation = draft.relation;
    let what = match draft.library {
        Some(library) => format!("{} of {}", kind(relation.relation), library.name),
        None => kind(relation.relation).to_owned(),
    };
    let rows = match relation.rows {
        0 => String::new(),
        rows => format!(", about {rows} rows"),
    };
    let mut lines = vec![format!("`{}`: {what}{rows}.", shown(relation))];
    lines.extend(draft.notes.iter().cloned());
    lines.iter().map(|line| format!("# {}\n", line.replace(['\n', '\r'], " "))).collect()
}

/// A TOML string.
pub(super) fn string(text: &str) -> String {
    if !text.contains('\'') && text.contains('"') && !text.chars().any(char::is_control) {
        return format!("'{text}'");
    }
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

/// A TOML key.
pub(super) fn key(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if bare { name.to_owned() } else { string(name) }
}

fn fixed(value: &FixedValue) -> String {
    let one = |value: &FixedScalar| match value {
        FixedScalar::Flag(flag) => flag.to_string(),
        FixedScalar::Whole(number) => number.to_string(),
        FixedScalar::Text(text) => string(text),
    };
    match value {
        FixedValue::One(value) => one(value),
        FixedValue::Any(values) => format!("[{}]", values.iter().map(one).collect::<Vec<_>>().join(", ")),
    }
}
