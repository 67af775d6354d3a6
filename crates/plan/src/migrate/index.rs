//! Indexes of one database.
//!
//! An index is known by its name. On a table with rows it is built concurrently. One that differs is replaced without a
//! gap: the new one is built beside it under another name, then the two change places in one transaction.

use super::live::{Index, Inside, Relation, Table};
use super::memory::{forget, remember};
use super::ownership::owner;
use super::step::{IndexBuild, Step, StepKind};
use super::table::Taken;
use super::types::{cast_of, normal_expression, same_condition, unquote};
use super::wanted::{WantedIndex, qualified, shorten};
use super::work::Work;
use crate::problem::{Kind, Problem};
use crate::spec::resolve::quote_ident;

/// The table that indexes are on.
pub(super) struct On<'a> {
    /// The deployment.
    pub(super) who: &'a str,
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
        self.live.is_some_and(|live| live.has_rows && plain(live.relation))
    }

    fn find(&self, name: &str) -> Option<&Index> {
        let index = self.live?.indexes.iter().find(|index| index.name == name)?;
        (!self.taken.indexes.contains(name)).then_some(index)
    }

    /// The other deployment that made an index, for people.
    fn owner(&self, index: &str) -> Option<String> {
        let inside = self.inside?;
        let memory = inside.of_others("index", &qualified(self.schema, index))?;
        (!memory.deployment.is_empty()).then(|| owner(inside, memory))
    }

    fn id(&self, index: &str) -> String {
        format!("index:{}:{}.{index}", self.database, self.schema)
    }
}

/// Whether its indexes can be built and dropped concurrently.
const fn plain(relation: Relation) -> bool {
    matches!(relation, Relation::Table | Relation::MaterializedView)
}

/// Name under which the successor of an index is built.
fn successor(name: &str) -> String {
    shorten(&format!("{name}_new"))
}

pub(super) fn indexes(work: &mut Work, on: &On, wanted: &[WantedIndex]) {
    for index in wanted {
        match on.find(&index.name) {
            Some(there) if (!there.valid || !same(on, index, there)) && on.owner(&index.name).is_some() => {
                let owner = on.owner(&index.name).unwrap_or_default();
                work.problem(of_another(on, index, &owner, there));
            }
            Some(there) if !there.valid => {
                drop_leftover(work, on, &index.name);
                build(work, on, index);
            }
            Some(there) if !same(on, index, there) => replace(work, on, index, there),
            Some(_) => drop_successor(work, on, index),
            None => match renamed(on, index, wanted) {
                Some(there) => rename_one(work, on, index, there),
                None => missing(work, on, index),
            },
        }
    }
    leftovers(work, on, wanted);
    gone(work, on, wanted);
}

fn of_another(on: &On, index: &WantedIndex, owner: &str, there: &Index) -> Problem {
    let name = &index.name;
    Problem::new(Kind::Conflict, format!("index `{name}` belongs to {owner}, and is declared otherwise here"))
        .detail(format!(
            "on `{}.{}` in database `{}`: `{}`",
            on.schema, on.name, on.database, there.definition
        ))
        .hint("Declare it as it is, or make it this deployment's with `howdah apply --take-over`.")
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
    let predicate = match (&wanted.predicate, &there.predicate) {
        (None, None) => true,
        (Some(wanted), Some(there)) => same_condition(wanted, there),
        _ => false,
    };
    predicate && serves(wanted, there)
}

/// The same, whichever rows the index covers.
pub(super) fn serves(wanted: &WantedIndex, there: &Index) -> bool {
    let columns = match (&wanted.cast, &wanted.expression) {
        (_, Some(expression)) => {
            matches!(there.columns.as_slice(), [only] if same_expression(expression, only))
        }
        (Some(cast), None) => wanted.columns.first().is_some_and(|column| {
            there.columns.len() == 1 && cast_of(&there.columns[0]) == Some((column.clone(), cast.clone()))
        }),
        (None, None) => there.columns.iter().map(|column| unquote(column)).eq(wanted.columns.iter().cloned()),
    };
    let opclass = match &wanted.opclass {
        Some(opclass) => there.opclasses.first() == Some(opclass),
        None => there.default_opclasses,
    };
    wanted.method == there.method
        && wanted.unique == there.unique
        && columns
        && opclass
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

/// An index of Howdah's own that is as wanted but for its name, and wanted for nothing else.
fn renamed<'a>(on: &'a On, index: &WantedIndex, wanted: &[WantedIndex]) -> Option<&'a Index> {
    let free = |there: &&Index| {
        let claimed = |other: &WantedIndex| other.name == there.name || successor(&other.name) == there.name;
        there.valid && !there.constraint && remembered(on, &there.name) && !wanted.iter().any(claimed)
    };
    // Of two that it would do for, the first takes it.
    let first = |there: &Index| {
        let before = wanted.iter().take_while(|other| other.name != index.name);
        !before.into_iter().any(|other| on.find(&other.name).is_none() && fits(other, there))
    };
    let there = on.live?.indexes.iter().filter(free).find(|there| fits(index, there))?;
    (first(there) && on.find(&there.name).is_some()).then_some(there)
}

fn rename_one(work: &mut Work, on: &On, index: &WantedIndex, there: &Index) {
    let reason = format!("index `{}` is there as `{}`", index.name, there.name);
    let step = Step::new(StepKind::Index, &on.id(&index.name), reason)
        .sql(rename(on, &there.name, &index.name))
        .sql(forget(on.who, "index", &qualified(on.schema, &there.name)))
        .sql(remember_index(on, index));
    work.in_database(on.database, step);
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
    remember(on.who, "index", &qualified(on.schema, &index.name), &declared)
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
    let concurrently = on.live.is_some_and(|live| plain(live.relation));
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
        if of_ours && on.owner(&there.name).is_none() {
            drop_leftover(work, on, &there.name);
        } else if !remembered(on, &there.name) && on.owner(&there.name).is_none() {
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
        let is_renamed = |index: &WantedIndex| {
            on.find(&index.name).is_none()
                && renamed(on, index, wanted).is_some_and(|one| one.name == there.name)
        };
        if declared || wanted.iter().any(is_renamed) || on.taken.indexes.contains(&there.name) {
            continue;
        }
        if !remembered(on, &there.name) {
            let kept = wanted.iter().any(|index| successor(&index.name) == there.name);
            if there.valid && !kept && on.owner(&there.name).is_none() {
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
        .sql(forget(on.who, "index", &name))
        .destructive(on.has_rows());
        step.transactional = !on.concurrently();
        work.in_database(on.database, step);
    }
}
