//! Tables and their constraints, columns that come and go.

use std::collections::BTreeSet;

use super::column;
use super::fill;
use super::live::{Inside, Table};
use super::memory::{forget, forget_documents, remember};
use super::step::{Step, StepKind};
use super::types::normal_type;
use super::wanted::{WantedColumn, WantedTable};
use super::work::Work;
use crate::problem::{Kind, Problem};
use crate::spec::resolve::quote_ident;
use crate::spec::size;

/// What a table's steps take away on their way: indexes and constraints on it have to be made again.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Columns that are dropped and added again.
    pub(super) columns: BTreeSet<String>,
    /// Indexes that are dropped.
    pub(super) indexes: BTreeSet<String>,
    /// Declared columns that cannot be added.
    pub(super) missing: BTreeSet<String>,
}

impl Taken {
    /// Whether all of these columns are there in the end.
    pub(super) fn has(&self, columns: &[String]) -> bool {
        !columns.iter().any(|column| self.missing.contains(column))
    }
}

pub(super) fn create(work: &mut Work, table: &WantedTable) {
    let name = table.qualified();
    let mut lines: Vec<String> =
        table.columns.iter().map(|column| format!("    {}", column.definition())).collect();
    if !table.primary_key.is_empty() {
        lines.push(format!("    PRIMARY KEY ({})", idents(&table.primary_key)));
    }
    lines.extend(table.uniques.iter().map(|columns| format!("    UNIQUE ({})", idents(columns))));
    let (what, said) = match &table.collection {
        Some(collection) => {
            (format!("collection `{collection}` has no table"), format!("collection {collection}"))
        }
        None => (format!("table `{}.{}` is declared and not there", table.schema, table.name), String::new()),
    };
    let mut step = Step::new(StepKind::Table, &id("table", table, ""), what)
        .sql(format!("CREATE TABLE {name} (\n{}\n)", lines.join(",\n")));
    if let Some(owner) = wanted_owner(work, table) {
        step = step.sql(format!("ALTER TABLE {name} OWNER TO {}", quote_ident(&owner)));
    }
    // Somebody dropped it: what was ingested into it is gone, and must not pass for there.
    let known = work.inside(&table.database).is_some_and(|inside| inside.remembers("table", &name).is_some());
    if let Some(collection) = table.collection.as_deref().filter(|_| known) {
        step = forget_documents(step, collection);
    }
    step = step.sql(remember(work.who(), "table", &name, &said));
    for column in &table.columns {
        if let Some(expression) = column.expression() {
            step = step.sql(remember(work.who(), "default", &column_name(table, &column.name), expression));
        }
    }
    work.in_database(&table.database, step);
}

/// The owner that a new table is given: the database's, where one is declared and is not who applies anyway.
fn wanted_owner(work: &Work, table: &WantedTable) -> Option<String> {
    let owner = work.spec.databases.get(&table.database)?.owner.clone()?;
    (owner != work.live.server.user).then_some(owner)
}

pub(super) fn id(kind: &str, table: &WantedTable, rest: &str) -> String {
    format!("{kind}:{}:{}.{}{rest}", table.database, table.schema, table.name)
}

pub(super) fn idents(columns: &[String]) -> String {
    columns.iter().map(|column| quote_ident(column)).collect::<Vec<_>>().join(", ")
}

pub(super) fn column_name(table: &WantedTable, column: &str) -> String {
    format!("{}.{}", table.qualified(), quote_ident(column))
}

/// Compares a table that is there. Says what its steps take away.
pub(super) fn alter(work: &mut Work, table: &WantedTable, live: &Table, inside: &Inside) -> Taken {
    let mut taken = Taken::default();
    owner(work, table, live, inside);
    let mut keys_left = live.constraints.clone();
    keys_left.retain(|key| !drop_key(work, table, live, inside, key));
    let (generated, ordinary): (Vec<_>, Vec<_>) =
        table.columns.iter().partition(|column| column.generated.is_some());
    for column in ordinary.into_iter().chain(generated) {
        match live.columns.iter().find(|there| there.name == column.name) {
            Some(there) if !taken.columns.contains(&column.name) => {
                column::alter(work, table, live, inside, column, there, &mut taken);
                if fill::is_left(inside, table, column) {
                    fill::fill(work, table, column);
                }
            }
            _ => {
                if !add_column(work, table, live, column) {
                    taken.missing.insert(column.name.clone());
                }
            }
        }
    }
    extra_columns(work, table, live, inside);
    keys_left.retain(|key| !key.columns.iter().any(|column| taken.columns.contains(column)));
    add_keys(work, table, live, &keys_left, &taken);
    taken
}

fn owner(work: &mut Work, table: &WantedTable, live: &Table, inside: &Inside) {
    let declared = work.spec.databases.get(&table.database).and_then(|database| database.owner.clone());
    let Some(owner) = declared.filter(|owner| *owner != live.owner) else { return };
    let name = format!("{}.{}", live.schema, live.name);
    if inside.remembers("table", &table.qualified()).is_none() {
        work.note(
            Some(&table.database),
            format!(
                "table `{name}` belongs to `{}`, the database to `{owner}`; howdah did not make it",
                live.owner
            ),
        );
        return;
    }
    work.in_database(
        &table.database,
        Step::new(
            StepKind::Table,
            &id("table", table, ":owner"),
            format!(
                "table `{name}` belongs to `{}`, the database is declared to belong to `{owner}`",
                live.owner
            ),
        )
        .sql(format!("ALTER TABLE {} OWNER TO {}", table.qualified(), quote_ident(&owner))),
    );
}

/// Drops a primary key that differs. Says whether it is gone.
fn drop_key(
    work: &mut Work,
    table: &WantedTable,
    live: &Table,
    inside: &Inside,
    key: &super::live::Constraint,
) -> bool {
    if !key.primary || key.columns == table.primary_key {
        return false;
    }
    if table.primary_key.is_empty() && inside.remembers("table", &table.qualified()).is_none() {
        work.note(
            Some(&table.database),
            format!("table `{}.{}` has a primary key that is not declared", live.schema, live.name),
        );
        return false;
    }
    work.in_database(
        &table.database,
        Step::new(
            StepKind::Constraint,
            &id("constraint", table, ":primary:drop"),
            format!(
                "the primary key is ({}), declared is ({})",
                key.columns.join(", "),
                table.primary_key.join(", ")
            ),
        )
        .sql(format!("ALTER TABLE {} DROP CONSTRAINT {}", table.qualified(), quote_ident(&key.name)))
        .destructive(live.has_rows),
    )
}

fn add_keys(
    work: &mut Work,
    table: &WantedTable,
    live: &Table,
    there: &[super::live::Constraint],
    taken: &Taken,
) {
    let name = table.qualified();
    let has_primary = there.iter().any(|key| key.primary);
    if !table.primary_key.is_empty() && !has_primary && taken.has(&table.primary_key) {
        work.in_database(
            &table.database,
            Step::new(
                StepKind::Constraint,
                &id("constraint", table, ":primary"),
                format!("table `{}.{}` has no primary key", live.schema, live.name),
            )
            .sql(format!("ALTER TABLE {name} ADD PRIMARY KEY ({})", idents(&table.primary_key))),
        );
    }
    for columns in table.uniques.iter().filter(|columns| taken.has(columns)) {
        let same = |key: &super::live::Constraint| key.columns == *columns;
        let index = |index: &super::live::Index| {
            index.unique
                && index.valid
                && index.predicate.is_none()
                && index.columns == *columns
                && !index.constraint
        };
        if there.iter().any(same) || live.indexes.iter().any(index) {
            continue;
        }
        work.in_database(
            &table.database,
            Step::new(
                StepKind::Constraint,
                &id("constraint", table, &format!(":unique:{}", columns.join(","))),
                format!("({}) identify a row, and nothing makes them unique", columns.join(", ")),
            )
            .sql(format!("ALTER TABLE {name} ADD UNIQUE ({})", idents(columns))),
        );
    }
}

/// Says whether it can be.
fn add_column(work: &mut Work, table: &WantedTable, live: &Table, column: &WantedColumn) -> bool {
    let fills_itself = column.expression().is_some() || column.identity;
    if column.not_null && !fills_itself && live.has_rows {
        work.problem(
            Problem::new(
                Kind::Conflict,
                format!("column `{}` of `{}.{}` cannot be added", column.name, live.schema, live.name),
            )
            .detail("it is declared not null without a default, and the table has rows")
            .hint("Give it a `default`, or let it be nullable."),
        );
        return false;
    }
    let rewrite = if column.generated.is_some() || column.identity { rewritten(live) } else { String::new() };
    let name = column_name(table, &column.name);
    let fills = fill::is_wanted(work, table, live, column);
    let mut step = Step::new(
        StepKind::Column,
        &id("column", table, &format!(".{}", column.name)),
        format!("column `{}` is declared and not there{rewrite}", column.name),
    )
    .sql(format!("ALTER TABLE {} ADD COLUMN {}", table.qualified(), column.definition()))
    .sql(remember(work.who(), "column", &name, if fills { fill::UNFILLED } else { "" }));
    if let Some(expression) = column.expression() {
        step = step.sql(remember(work.who(), "default", &name, expression));
    }
    if work.in_database(&table.database, step) && fills {
        fill::fill(work, table, column);
    }
    true
}

fn extra_columns(work: &mut Work, table: &WantedTable, live: &Table, inside: &Inside) {
    for there in &live.columns {
        if table.columns.iter().any(|column| column.name == there.name) {
            continue;
        }
        let name = column_name(table, &there.name);
        if inside.remembers("column", &name).is_none() {
            work.note(
                Some(&table.database),
                format!("column `{}` of `{}.{}` is not declared", there.name, live.schema, live.name),
            );
            continue;
        }
        rename_hint(work, table, live, there);
        work.in_database(
            &table.database,
            Step::new(
                StepKind::Column,
                &id("column", table, &format!(".{}:drop", there.name)),
                format!("howdah made column `{}`, and it is no longer declared", there.name),
            )
            .sql(format!("ALTER TABLE {} DROP COLUMN {}", table.qualified(), quote_ident(&there.name)))
            .sql(forget(work.who(), "column", &name))
            .sql(forget(work.who(), "default", &name))
            .destructive(true),
        );
    }
}

/// Where a column goes and one of the same type comes, it may be the same: says how to keep its values.
fn rename_hint(work: &mut Work, table: &WantedTable, live: &Table, there: &super::live::Column) {
    let comes = |column: &&WantedColumn| {
        !live.columns.iter().any(|known| known.name == column.name)
            && normal_type(&column.sql_type) == normal_type(&there.sql_type)
    };
    let Some(column) = table.columns.iter().find(comes).filter(|_| table.collection.is_none()) else {
        return;
    };
    let text = format!(
        "column `{}` of `{}.{}` goes and `{}` of the same type comes; if it is the same column, write \
         `renamed_from = \"{}\"` beside its name in `[tables.{}]`, and its values stay",
        there.name, table.schema, table.name, column.name, there.name, table.key
    );
    work.note(Some(&table.database), text);
}

/// What it means that every row is written anew.
pub(super) fn rewritten(live: &Table) -> String {
    if !live.has_rows {
        return String::new();
    }
    let rows = match live.estimated_rows {
        0 => String::new(),
        rows => format!("about {rows} rows, "),
    };
    format!(
        "; every row is written anew under a lock that keeps readers and writers out (ACCESS EXCLUSIVE): {rows}{} with \
         indexes",
        size::shown(live.bytes)
    )
}
