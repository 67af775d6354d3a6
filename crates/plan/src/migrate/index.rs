//! Indexes of one database.
//!
//! An index is known by its name. On a table with rows it is built concurrently. One that differs is replaced without a
//! gap: the new one is built beside it under another name, then the two change places in one transaction.

use super::live::{Index, Inside, Relation, Table};
use super::memory::{forget, remember};
use super::step::{IndexBuild, Step, StepKind};
use super::table::Taken;
use super::types::normal_expression;
use super::wanted::{WantedIndex, qualified, shorten};
use super::work::Work;
use crate::spec::resolve::quote_ident;

/// The table that indexes are on.
pub(super) struct On<'a> {
    pub(super) database: &'a str,
    pub(super) schema: &'a str,
    pub(super) name: &'a str,
    /// The table as it is; `None` while it is only planned.
    pub(super) live: Option<&'a Table>,
    pub(super) inside: Option<&'a Inside>,
    pub(super) taken: &'a Taken,
}

impl On<'_> {
    fn table(&self) -> String {
        qualified(self.schema, self.name)
    }

    fn has_rows(&self) -> bool {
        self.live.is_some_and(|live| live.has_rows)
    }

    /// Whether the table can be built on while others write.
    fn concurrently(&self) -> bool {
        self.live.is_some_and(|live| live.has_rows && live.relation == Relation::Table)
    }

    fn find(&self, name: &str) -> Option<&Index> {
        let index = self.live?.indexes.iter().find(|index| index.name == name)?;
        (!self.taken.indexes.contains(name)).then_some(index)
    }

    fn id(&self, index: &str) -> String {
        format!("index:{}:{}.{index}", self.database, self.schema)
    }
}

/// Name under which the successor of an index is built.
fn successor(name: &str) -> String {
    shorten(&format!("{name}_new"))
}

pub(super) fn indexes(work: &mut Work, on: &On, wanted: &[WantedIndex]) {
    for index in wanted {
        match on.find(&index.name) {
            Some(there) if !there.valid => {
                drop_leftover(work, on, &index.name);
                build(work, on, index);
            }
            Some(there) if !same(on, index, there) => replace(work, on, index, there),
            Some(_) => drop_successor(work, on, index),
            None => missing(work, on, index),
        }
    }
    leftovers(work, on, wanted);
    gone(work, on, wanted);
}

/// Whether an index is as declared.
fn same(on: &On, wanted: &WantedIndex, there: &Index) -> bool {
    let remembered = on
        .inside
        .and_then(|inside| inside.remembers("index", &qualified(on.schema, &there.name)))
        .is_some_and(|memory| {
            memory.declared == wanted.create(&wanted.name, &on.table(), false)
                && memory.rendered == there.definition
        });
    remembered || fits(wanted, there)
}

/// Whether an index of whatever name does what is wanted.
pub(super) fn fits(wanted: &WantedIndex, there: &Index) -> bool {
    let unquoted: Vec<String> = there.columns.iter().map(|column| unquote(column)).collect();
    let opclass = match &wanted.opclass {
        Some(opclass) => there.opclasses.first() == Some(opclass),
        None => there.default_opclasses,
    };
    let predicate = match (&wanted.predicate, &there.predicate) {
        (None, None) => true,
        (Some(wanted), Some(there)) => normal_expression(wanted) == normal_expression(there),
        _ => false,
    };
    let columns = match &wanted.expression {
        None => unquoted == wanted.columns,
        Some(expression) => {
            matches!(there.columns.as_slice(), [only] if same_expression(expression, only))
        }
    };
    wanted.method == there.method
        && wanted.unique == there.unique
        && columns
        && opclass
        && predicate
        && options(wanted, there)
}

/// Whether two expressions differ in casts, quotes and parentheses only.
fn same_expression(wanted: &str, there: &str) -> bool {
    let bare = |text: &str| {
        let normal = normal_expression(text);
        normal.chars().filter(|c| !c.is_whitespace() && !matches!(c, '"' | '(' | ')')).collect::<String>()
    };
    bare(wanted) == bare(there)
}

pub(super) fn unquote(column: &str) -> String {
    match column.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) => inner.replace("\"\"", "\""),
        None => column.to_owned(),
    }
}

/// Whether the options have the same effect. Undeclared lists are whatever they were built with.
fn options(wanted: &WantedIndex, there: &Index) -> bool {
    let bits = (howdah_index::options::BITS.name, howdah_index::options::BITS.default_value() as u32);
    let own = [bits];
    let defaults: &[(&str, u32)] = match there.method.as_str() {
        "hnsw" => &[("m", 16), ("ef_construction", 64)],
        "howdah" => &own,
        _ => &[],
    };
    let declared =
        |name: &str| wanted.options.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    let live = |name: &str| there.options.get(name).and_then(|value| value.parse::<u32>().ok());
    let with_default =
        defaults.iter().all(|(name, value)| declared(name).unwrap_or(*value) == live(name).unwrap_or(*value));
    with_default
        && wanted.options.iter().all(|(name, value)| {
            defaults.iter().any(|(known, _)| known == name) || live(name) == Some(*value)
        })
}

fn missing(work: &mut Work, on: &On, index: &WantedIndex) {
    let successor = successor(&index.name);
    match on.find(&successor) {
        Some(there) if there.valid && fits(index, there) => {
            let step = Step::new(
                StepKind::Index,
                &on.id(&index.name),
                format!("index `{}` was built as `{successor}` and waits for its name", index.name),
            )
            .sql(rename(on, &successor, &index.name))
            .sql(remember_index(on, index));
            work.in_database(on.database, step);
        }
        there => {
            if there.is_some() {
                drop_leftover(work, on, &successor);
            }
            build(work, on, index);
        }
    }
}

fn build(work: &mut Work, on: &On, index: &WantedIndex) {
    let concurrently = on.concurrently();
    let mut step = Step::new(
        StepKind::Index,
        &on.id(&index.name),
        format!("index `{}` is not there: {}", index.name, index.reason),
    )
    .sql(index.create(&index.name, &on.table(), concurrently))
    .sql(remember_index(on, index));
    step.transactional = !concurrently;
    step.build = on.has_rows().then(|| build_facts(on, index, &index.name, 0));
    work.in_database(on.database, step);
}

fn build_facts(on: &On, index: &WantedIndex, name: &str, statement: usize) -> IndexBuild {
    IndexBuild {
        table: on.table(),
        index: name.to_owned(),
        method: index.method.clone(),
        bytes_per_row: index.bytes_per_row,
        statement,
    }
}

fn remember_index(on: &On, index: &WantedIndex) -> String {
    let declared = index.create(&index.name, &on.table(), false);
    remember("index", &qualified(on.schema, &index.name), &declared)
}

fn rename(on: &On, from: &str, to: &str) -> String {
    format!("ALTER INDEX {} RENAME TO {}", qualified(on.schema, from), quote_ident(to))
}

fn replace(work: &mut Work, on: &On, index: &WantedIndex, there: &Index) {
    let name = qualified(on.schema, &index.name);
    let reason = format!("index `{}` is not as declared: it is `{}`", index.name, there.definition);
    if !on.concurrently() {
        let mut step = Step::new(StepKind::Index, &on.id(&index.name), reason)
            .sql(format!("DROP INDEX {name}"))
            .sql(index.create(&index.name, &on.table(), false))
            .sql(remember_index(on, index))
            .destructive(on.has_rows());
        step.build = on.has_rows().then(|| build_facts(on, index, &index.name, 1));
        work.in_database(on.database, step);
        return;
    }
    let successor = successor(&index.name);
    let built = match on.find(&successor) {
        Some(there) if there.valid && fits(index, there) => true,
        Some(_) => {
            drop_leftover(work, on, &successor);
            false
        }
        None => false,
    };
    if !built {
        let mut step = Step::new(
            StepKind::Index,
            &on.id(&successor),
            format!("{reason}; its successor is built beside it"),
        )
        .sql(index.create(&successor, &on.table(), true))
        .outside_transaction()
        .destructive(true);
        step.build = Some(build_facts(on, index, &successor, 0));
        work.in_database(on.database, step);
    }
    let swap =
        Step::new(StepKind::Index, &on.id(&index.name), "the successor takes the place of the old index")
            .sql(format!("DROP INDEX {name}"))
            .sql(rename(on, &successor, &index.name))
            .sql(remember_index(on, index))
            .destructive(true);
    work.in_database(on.database, swap);
}

/// A successor that is no longer needed.
fn drop_successor(work: &mut Work, on: &On, index: &WantedIndex) {
    let successor = successor(&index.name);
    if on.find(&successor).is_some() {
        drop_leftover(work, on, &successor);
    }
}

fn drop_leftover(work: &mut Work, on: &On, name: &str) {
    let concurrently = on.live.is_some_and(|live| live.relation == Relation::Table);
    let mut step = Step::new(
        StepKind::Index,
        &format!("{}:drop", on.id(name)),
        format!("index `{name}` is left over from a build that did not finish"),
    )
    .sql(format!(
        "DROP INDEX {}IF EXISTS {}",
        if concurrently { "CONCURRENTLY " } else { "" },
        qualified(on.schema, name)
    ));
    step.transactional = !concurrently;
    work.in_database(on.database, step);
}

/// What a broken-off `REINDEX CONCURRENTLY` leaves behind, and invalid indexes of others.
fn leftovers(work: &mut Work, on: &On, wanted: &[WantedIndex]) {
    let Some(live) = on.live else { return };
    for there in live.indexes.iter().filter(|index| !index.valid && !on.taken.indexes.contains(&index.name)) {
        let known =
            |name: &str| wanted.iter().any(|index| index.name == name || successor(&index.name) == name);
        if known(&there.name) {
            continue;
        }
        let base = there.name.trim_end_matches(|c: char| c.is_ascii_digit());
        let base = base.strip_suffix("_ccnew").or_else(|| base.strip_suffix("_ccold"));
        let of_ours = base.is_some_and(|base| {
            known(base) || live.indexes.iter().any(|index| index.constraint && index.name == base)
        });
        if of_ours {
            drop_leftover(work, on, &there.name);
        } else if !remembered(on, &there.name) {
            work.note(
                Some(on.database),
                format!(
                    "index `{}` on `{}.{}` is invalid, and howdah did not make it",
                    there.name, on.schema, on.name
                ),
            );
        }
    }
}

fn remembered(on: &On, index: &str) -> bool {
    on.inside.is_some_and(|inside| inside.remembers("index", &qualified(on.schema, index)).is_some())
}

/// Indexes that Howdah made and that are no longer declared.
fn gone(work: &mut Work, on: &On, wanted: &[WantedIndex]) {
    let Some(live) = on.live else { return };
    for there in live.indexes.iter().filter(|index| !index.constraint) {
        let declared = wanted.iter().any(|index| index.name == there.name);
        if declared || on.taken.indexes.contains(&there.name) {
            continue;
        }
        if !remembered(on, &there.name) {
            let kept = wanted.iter().any(|index| successor(&index.name) == there.name);
            if there.valid && !kept {
                work.note(
                    Some(on.database),
                    format!("index `{}` on `{}.{}` is not declared", there.name, on.schema, on.name),
                );
            }
            continue;
        }
        let name = qualified(on.schema, &there.name);
        let mut step = Step::new(
            StepKind::Index,
            &format!("{}:drop", on.id(&there.name)),
            format!("howdah made index `{}`, and it is no longer declared", there.name),
        )
        .sql(format!("DROP INDEX {}IF EXISTS {name}", if on.concurrently() { "CONCURRENTLY " } else { "" }))
        .sql(forget("index", &name))
        .destructive(on.has_rows());
        step.transactional = !on.concurrently();
        work.in_database(on.database, step);
    }
}
