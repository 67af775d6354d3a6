//! What is to keep its rows under another name?
//!
//! A declaration says it with `renamed_from`: a name alone cannot tell a renamed table from a dropped one and a new one. The
//! renaming is a step, and the facts are changed as that step changes the server, so that everything after it is compared
//! with the new names. Where the old name is not there any more, or the new one is there already, there is nothing to do. An
//! index needs no such word: one that is as wanted but for its name gets the name (see `index`).

use super::claims::Renames;
use super::live::{Inside, Live, Table};
use super::memory::{forget, forget_documents, remember};
use super::step::{Step, StepKind};
use super::table::id;
use super::types::normal_type;
use super::types::unquote;
use super::wanted::{Wanted, WantedColumn, WantedTable, qualified};
use super::work::Work;
use crate::spec::Spec;
use crate::spec::resolve::{quote_ident, quote_literal, split_table};

/// The steps that rename, and the facts as they are afterwards.
pub(super) fn sort(spec: &Spec, who: &str, live: &mut Live, wanted: &Wanted) -> Renames {
    let mut renames = Renames::new();
    for table in &wanted.tables {
        let Some(database) = live.databases.get_mut(&table.database) else { continue };
        let declared = |name: &str| {
            let mut all = wanted.tables.iter();
            all.any(|other| other.database == table.database && other.qualified() == name)
        };
        let mut steps: Vec<Step> = Vec::new();
        steps.extend(whole(spec, who, &mut database.inside, table, declared));
        if let Some(live) = database.inside.tables.get_mut(&table.qualified()) {
            let mut renamed = live.clone();
            for column in &table.columns {
                steps.extend(one_column(who, &mut renamed, &mut database.inside.memory, table, column));
            }
            *live = renamed;
        }
        renames.entry(table.database.clone()).or_default().extend(steps);
    }
    renames
}

/// Adds the steps to the plan.
pub(super) fn renames(work: &mut Work, database: &str) {
    let renames = work.renames;
    for step in renames.get(database).into_iter().flatten() {
        work.in_database(database, step.clone());
    }
}

/// The table that a declared one was, as Howdah remembers it: its quoted name, and the collection that it held.
fn before(spec: &Spec, inside: &Inside, table: &WantedTable) -> Option<(String, Option<String>)> {
    let Some(collection) = &table.collection else {
        let declared = spec.tables.get(table.key.as_str())?.renamed_from.as_deref()?;
        let (schema, name) = split_table(declared);
        return Some((qualified(&schema, &name), None));
    };
    let was = spec.collections.get(collection)?.renamed_from.clone()?;
    let said = format!("collection {was}");
    let memory = inside.memory.iter().find(|memory| memory.kind == "table" && memory.declared == said)?;
    Some((memory.name.clone(), Some(was)))
}

fn whole(
    spec: &Spec,
    who: &str,
    inside: &mut Inside,
    table: &WantedTable,
    declared: impl Fn(&str) -> bool,
) -> Option<Step> {
    let (from, collection) = before(spec, inside, table)?;
    let to = table.qualified();
    let same_place = from == to;
    let known = inside.remembers("table", &from).is_some() && inside.tables.contains_key(&from);
    if !known || (!same_place && (declared(&from) || inside.tables.contains_key(&to))) {
        return None;
    }
    let mut live = inside.tables.remove(&from)?;
    let reason = match &collection {
        Some(was) => format!("collection `{}` was `{was}`", table.collection.as_deref().unwrap_or_default()),
        None => format!("table `{}.{}` was `{}.{}`", table.schema, table.name, live.schema, live.name),
    };
    let mut step = Step::new(StepKind::Table, &id("table", table, ":rename"), reason);
    if live.schema != table.schema {
        step = step.sql(format!("ALTER TABLE {from} SET SCHEMA {}", quote_ident(&table.schema)));
    }
    if live.name != table.name {
        let moved = qualified(&table.schema, &live.name);
        step = step.sql(format!("ALTER TABLE {moved} RENAME TO {}", quote_ident(&table.name)));
    }
    let said = table.collection.as_ref().map(|name| format!("collection {name}")).unwrap_or_default();
    step = step.sql(format!(
        "UPDATE howdah.managed SET name = {to} || substr(name, length({from}) + 1),\n    \
         declared = CASE kind WHEN 'table' THEN {} ELSE declared END\n\
         WHERE deployment = {} AND (kind = 'table' AND name = {from}\n    \
         OR kind IN ('column', 'default') AND starts_with(name, {from} || '.'))",
        quote_literal(&said),
        quote_literal(who),
        from = quote_literal(&from),
        to = quote_literal(&to),
    ));
    for memory in &mut inside.memory {
        let part = memory.name.strip_prefix(&from).map(str::to_owned);
        match (memory.kind.as_str(), part) {
            ("table", Some(rest)) if rest.is_empty() => {
                memory.name.clone_from(&to);
                memory.declared.clone_from(&said);
            }
            ("column" | "default", Some(rest)) if rest.starts_with('.') => {
                memory.name = format!("{to}{rest}")
            }
            ("index", _) => {
                let of = |index: &&super::live::Index| qualified(&live.schema, &index.name) == memory.name;
                let Some(index) = live.indexes.iter().find(of) else { continue };
                let moved = qualified(&table.schema, &index.name);
                let declared = memory.declared.replace(&from, &to);
                if moved != memory.name {
                    step = step.sql(forget(who, "index", &memory.name));
                }
                step = step.sql(remember(who, "index", &moved, &declared));
                (memory.name, memory.declared) = (moved, declared);
            }
            _ => {}
        }
    }
    if let (Some(was), Some(now)) = (&collection, &table.collection) {
        step = documents(step, was, now);
    }
    for sequence in inside.sequences.values_mut().filter(|one| one.table.as_ref() == Some(&from)) {
        sequence.table = Some(to.clone());
    }
    (live.schema, live.name) = (table.schema.clone(), table.name.clone());
    inside.tables.insert(to, live);
    Some(step)
}

/// What was ingested goes along with a collection's name.
fn documents(step: Step, was: &str, now: &str) -> Step {
    let step = forget_documents(step, now);
    let (was, now) = (quote_literal(was), quote_literal(now));
    step.sql(format!("UPDATE howdah.sources SET collection = {now} WHERE collection = {was}"))
        .sql(format!("UPDATE howdah.collections SET name = {now} WHERE name = {was}"))
}

fn one_column(
    who: &str,
    live: &mut Table,
    memory: &mut [super::live::Memory],
    table: &WantedTable,
    column: &WantedColumn,
) -> Option<Step> {
    let was = column.renamed_from.as_deref()?;
    let has = |name: &str| live.columns.iter().any(|there| there.name == name);
    let declared = table.columns.iter().any(|other| other.name == was);
    if declared || !has(was) || has(&column.name) {
        return None;
    }
    let to = table.qualified();
    let (old, new) = (quote_ident(was), quote_ident(&column.name));
    let reason = format!("column `{}` of `{}.{}` was `{was}`", column.name, table.schema, table.name);
    let mut step =
        Step::new(StepKind::Column, &id("column", table, &format!(".{}:rename", column.name)), reason)
            .sql(format!("ALTER TABLE {to} RENAME COLUMN {old} TO {new}"))
            .sql(format!(
                "UPDATE howdah.managed SET name = {}\nWHERE deployment = {} AND kind IN ('column', 'default') AND name = {}",
                quote_literal(&format!("{to}.{new}")),
                quote_literal(who),
                quote_literal(&format!("{to}.{old}"))
            ));
    let indexes = live.indexes.iter().map(|index| qualified(&live.schema, &index.name));
    let indexes: Vec<String> = indexes.collect();
    for one in memory.iter_mut() {
        if matches!(one.kind.as_str(), "column" | "default") && one.name == format!("{to}.{old}") {
            one.name = format!("{to}.{new}");
        }
        if one.kind == "index" && indexes.contains(&one.name) {
            let declared = one.declared.replace(&old, &new);
            if declared != one.declared {
                step = step.sql(remember(who, "index", &one.name, &declared));
                one.declared = declared;
            }
        }
    }
    rename_in(live, was, &column.name);
    Some(step)
}

/// The facts of a table after a column's renaming.
fn rename_in(live: &mut Table, was: &str, now: &str) {
    let same = |name: &mut String| {
        if unquote(name) == was {
            now.clone_into(name);
        }
    };
    for column in &mut live.columns {
        same(&mut column.name);
        column.generated = column.generated.take().map(|text| reworded(&text, was, now));
    }
    for constraint in &mut live.constraints {
        constraint.columns.iter_mut().for_each(same);
    }
    for index in &mut live.indexes {
        index.columns.iter_mut().for_each(same);
        index.predicate = index.predicate.take().map(|text| reworded(&text, was, now));
    }
}

/// An expression with one word replaced.
fn reworded(text: &str, was: &str, now: &str) -> String {
    let mut all = String::new();
    let mut word = String::new();
    for c in text.chars().chain(std::iter::once('\0')) {
        if c.is_alphanumeric() || c == '_' {
            word.push(c);
            continue;
        }
        all.push_str(if word == was { now } else { &word });
        word.clear();
        if c != '\0' {
            all.push(c);
        }
    }
    all
}

/// Where a table goes and one of the same columns comes, it may be the same: says how to keep its rows.
pub(super) fn hint(work: &mut Work, database: &str) {
    let Some(inside) = work.inside(database) else { return };
    let wanted = work.wanted;
    let coming =
        |table: &&WantedTable| table.database == database && !inside.tables.contains_key(&table.qualified());
    let going: Vec<&Table> = inside
        .tables
        .iter()
        .filter(|(name, _)| inside.remembers("table", name).is_some())
        .filter(|(name, _)| !wanted.tables.iter().any(|table| table.qualified() == **name))
        .map(|(_, table)| table)
        .collect();
    for table in wanted.tables.iter().filter(coming) {
        let Some(there) = going.iter().find(|there| same_columns(table, there)) else { continue };
        let old = format!("{}.{}", there.schema, there.name);
        let (section, from) = match &table.collection {
            Some(name) => {
                let said = inside.remembers("table", &qualified(&there.schema, &there.name));
                let was = said.and_then(|memory| memory.declared.strip_prefix("collection "));
                let Some(was) = was else { continue };
                (format!("collections.{name}"), was.to_owned())
            }
            None => (format!("tables.{}", table.key), old.trim_start_matches("public.").to_owned()),
        };
        let text = format!(
            "`{old}` goes and `{}.{}` of the same columns comes; if it is the same table, write `renamed_from = \"{from}\"` \
             into `[{section}]`, and its rows stay",
            table.schema, table.name
        );
        work.note(Some(database), text);
    }
}

fn same_columns(wanted: &WantedTable, there: &Table) -> bool {
    let mut declared: Vec<(String, String)> =
        wanted.columns.iter().map(|column| (column.name.clone(), normal_type(&column.sql_type))).collect();
    let mut live: Vec<(String, String)> =
        there.columns.iter().map(|column| (column.name.clone(), normal_type(&column.sql_type))).collect();
    declared.sort();
    live.sort();
    declared == live
}
