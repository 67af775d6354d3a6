//! Tables, columns and constraints of one database.

use std::collections::BTreeSet;

use super::inside::remember;
use super::live::{Column, Identity, Inside, Relation, Table};
use super::step::{Step, StepKind};
use super::types::{Change, change, normal_expression, normal_type};
use super::wanted::{WantedColumn, WantedTable, serial};
use super::work::Work;
use crate::problem::{Kind, Problem};
use crate::spec::resolve::{quote_ident, quote_literal};

/// What a table's steps take away on their way: indexes and constraints on it have to be made again.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Columns that are dropped and added again.
    pub(super) columns: BTreeSet<String>,
    /// Indexes that are dropped.
    pub(super) indexes: BTreeSet<String>,
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
    step = step.sql(remember("table", &name, &said));
    for column in &table.columns {
        if let Some(expression) = column.expression() {
            step = step.sql(remember("default", &column_name(table, &column.name), expression));
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

fn column_name(table: &WantedTable, column: &str) -> String {
    format!("{}.{}", table.qualified(), quote_ident(column))
}

/// Compares a table that is there. Says what its steps take away.
pub(super) fn alter(work: &mut Work, table: &WantedTable, live: &Table, inside: &Inside) -> Taken {
    let mut taken = Taken::default();
    if live.relation == Relation::Other {
        work.problem(
            Problem::new(Kind::Conflict, format!("`{}.{}` is not a table", live.schema, live.name))
                .detail(format!("database `{}` has a view or foreign table of that name", table.database))
                .hint("Declare another table name, or adopt it."),
        );
        return taken;
    }
    owner(work, table, live, inside);
    let mut keys_left = live.constraints.clone();
    keys_left.retain(|key| !drop_key(work, table, live, inside, key));
    let (generated, ordinary): (Vec<_>, Vec<_>) =
        table.columns.iter().partition(|column| column.generated.is_some());
    for column in ordinary.into_iter().chain(generated) {
        match live.columns.iter().find(|there| there.name == column.name) {
            Some(there) if !taken.columns.contains(&column.name) => {
                alter_column(work, table, live, inside, column, there, &mut taken);
            }
            _ => add_column(work, table, live, column),
        }
    }
    extra_columns(work, table, live, inside);
    keys_left.retain(|key| !key.columns.iter().any(|column| taken.columns.contains(column)));
    add_keys(work, table, live, &keys_left);
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

fn add_keys(work: &mut Work, table: &WantedTable, live: &Table, there: &[super::live::Constraint]) {
    let name = table.qualified();
    let has_primary = there.iter().any(|key| key.primary);
    if !table.primary_key.is_empty() && !has_primary {
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
    for columns in &table.uniques {
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

fn add_column(work: &mut Work, table: &WantedTable, live: &Table, column: &WantedColumn) {
    let fills_itself = column.expression().is_some() || column.identity || serial(&column.sql_type);
    if column.not_null && !fills_itself && live.has_rows {
        work.problem(
            Problem::new(
                Kind::Conflict,
                format!("column `{}` of `{}.{}` cannot be added", column.name, live.schema, live.name),
            )
            .detail("it is declared not null without a default, and the table has rows")
            .hint("Give it a `default`, or let it be nullable."),
        );
        return;
    }
    let rewrite = if column.generated.is_some() || column.identity { "; the table is rewritten" } else { "" };
    let name = column_name(table, &column.name);
    let mut step = Step::new(
        StepKind::Column,
        &id("column", table, &format!(".{}", column.name)),
        format!("column `{}` is declared and not there{rewrite}", column.name),
    )
    .sql(format!("ALTER TABLE {} ADD COLUMN {}", table.qualified(), column.definition()))
    .sql(remember("column", &name, ""));
    if let Some(expression) = column.expression() {
        step = step.sql(remember("default", &name, expression));
    }
    work.in_database(&table.database, step);
}

/// Whether the server's rendering stands for the declared expression.
fn same_expression(inside: &Inside, name: &str, declared: &str, live: &str) -> bool {
    let remembered = inside
        .remembers("default", name)
        .is_some_and(|memory| memory.declared == declared && memory.rendered == live);
    remembered || normal_expression(declared) == normal_expression(live)
}

fn alter_column(
    work: &mut Work,
    table: &WantedTable,
    live: &Table,
    inside: &Inside,
    column: &WantedColumn,
    there: &Column,
    taken: &mut Taken,
) {
    if column.generated.is_some() || there.generated.is_some() {
        return alter_generated(work, table, live, inside, column, there, taken);
    }
    let mut change = ColumnChange::new(table, live, column, there);
    change.identity_goes();
    change.type_changes(taken);
    change.nullability();
    change.identity_comes();
    change.default(inside);
    if change.sql.is_empty() {
        return;
    }
    let mut step = Step::new(
        StepKind::Column,
        &id("column", table, &format!(".{}", column.name)),
        format!("column `{}` {}", column.name, change.reasons.join("; ")),
    )
    .destructive(change.destructive);
    step.sql = std::mem::take(&mut change.sql);
    let (columns, indexes) = (std::mem::take(&mut change.columns), std::mem::take(&mut change.indexes));
    if work.in_database(&table.database, step) {
        taken.columns.extend(columns);
        taken.indexes.extend(indexes);
    }
}

/// A generated column holds nothing of its own: it is made again.
fn alter_generated(
    work: &mut Work,
    table: &WantedTable,
    live: &Table,
    inside: &Inside,
    column: &WantedColumn,
    there: &Column,
    taken: &mut Taken,
) {
    let name = column_name(table, &column.name);
    let same = match (&column.generated, &there.generated) {
        (Some(declared), Some(live)) => {
            normal_type(&column.sql_type) == normal_type(&there.sql_type)
                && same_expression(inside, &name, declared, live)
        }
        _ => false,
    };
    if same {
        return;
    }
    let mut step = Step::new(
        StepKind::Column,
        &id("column", table, &format!(".{}", column.name)),
        format!("column `{}` is generated otherwise than declared; the table is rewritten", column.name),
    )
    .sql(format!("ALTER TABLE {} DROP COLUMN {}", table.qualified(), quote_ident(&column.name)))
    .sql(format!("ALTER TABLE {} ADD COLUMN {}", table.qualified(), column.definition()))
    .destructive(there.generated.is_none() && live.has_rows)
    .sql(remember("column", &name, ""));
    if let Some(expression) = column.expression() {
        step = step.sql(remember("default", &name, expression));
    }
    if work.in_database(&table.database, step) {
        taken.columns.insert(column.name.clone());
        taken.indexes.extend(indexes_on(live, &column.name));
    }
}

/// Names of a table's indexes that a column is part of, those of constraints left out.
fn indexes_on(live: &Table, column: &str) -> Vec<String> {
    let quoted = quote_ident(column);
    live.indexes
        .iter()
        .filter(|index| !index.constraint)
        .filter(|index| {
            index.columns.iter().any(|part| part == column || *part == quoted)
                || index.predicate.as_deref().is_some_and(|predicate| mentions(predicate, column))
        })
        .map(|index| index.name.clone())
        .collect()
}

/// Whether an expression speaks of a column. Too often is harmless: an index is built again.
fn mentions(expression: &str, column: &str) -> bool {
    expression.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|word| word == column)
        || expression.contains(&quote_ident(column))
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
        work.in_database(
            &table.database,
            Step::new(
                StepKind::Column,
                &id("column", table, &format!(".{}:drop", there.name)),
                format!("howdah made column `{}`, and it is no longer declared", there.name),
            )
            .sql(format!("ALTER TABLE {} DROP COLUMN {}", table.qualified(), quote_ident(&there.name)))
            .sql(super::inside::forget("column", &name))
            .sql(super::inside::forget("default", &name))
            .destructive(true),
        );
    }
}

/// The statements that make one column as declared, and why.
struct ColumnChange<'a> {
    table: &'a WantedTable,
    live: &'a Table,
    column: &'a WantedColumn,
    there: &'a Column,
    /// Identity and default, as the statements so far leave them.
    identity: Identity,
    live_default: Option<&'a str>,
    made_again: bool,
    sql: Vec<String>,
    reasons: Vec<String>,
    destructive: bool,
    columns: Vec<String>,
    indexes: Vec<String>,
}

impl<'a> ColumnChange<'a> {
    fn new(table: &'a WantedTable, live: &'a Table, column: &'a WantedColumn, there: &'a Column) -> Self {
        ColumnChange {
            table,
            live,
            column,
            there,
            identity: there.identity,
            live_default: there.default.as_deref(),
            made_again: false,
            sql: Vec::new(),
            reasons: Vec::new(),
            destructive: false,
            columns: Vec::new(),
            indexes: Vec::new(),
        }
    }

    fn alter(&mut self, what: &str) {
        self.sql.push(format!(
            "ALTER TABLE {} ALTER COLUMN {} {what}",
            self.table.qualified(),
            quote_ident(&self.column.name)
        ));
    }

    fn identity_goes(&mut self) {
        if self.identity != Identity::No && !self.column.identity {
            self.alter("DROP IDENTITY");
            self.identity = Identity::No;
            self.reasons.push("is declared without identity".into());
        }
    }

    fn type_changes(&mut self, taken: &Taken) {
        let from = normal_type(&self.there.sql_type);
        let to = normal_type(&self.column.sql_type);
        if from == to {
            return;
        }
        self.reasons.push(format!("is `{from}`, declared is `{to}`"));
        // What hangs on the column goes first; PostgreSQL converts no column that others are computed from.
        for index in indexes_on(self.live, &self.column.name) {
            if !taken.indexes.contains(&index) {
                self.sql.push(format!(
                    "DROP INDEX IF EXISTS {}",
                    super::wanted::qualified(&self.live.schema, &index)
                ));
                self.indexes.push(index);
            }
        }
        for other in &self.live.columns {
            let depends = other.generated.as_deref().is_some_and(|text| mentions(text, &self.column.name));
            if depends && !taken.columns.contains(&other.name) {
                self.sql.push(format!(
                    "ALTER TABLE {} DROP COLUMN {}",
                    self.table.qualified(),
                    quote_ident(&other.name)
                ));
                self.columns.push(other.name.clone());
                self.indexes.extend(indexes_on(self.live, &other.name));
            }
        }
        let identity_type = |name: &str| matches!(name, "smallint" | "integer" | "bigint");
        if (self.there.identity != Identity::No || self.column.identity)
            && identity_type(&from) != identity_type(&to)
        {
            self.replace();
            return;
        }
        if self.live_default.take().is_some() {
            self.alter("DROP DEFAULT");
        }
        let quoted = quote_ident(&self.column.name);
        let using = match change(&quoted, &from, &to) {
            Change::Lossless(using) => using,
            Change::Lossy(using) => {
                self.destructive = self.live.has_rows;
                // Without rows there is nothing to lose, and should one come in between, it is refused rather than lost.
                if self.live.has_rows { using } else { format!("{quoted}::text::{to}") }
            }
        };
        self.alter(&format!("TYPE {} USING {using}", self.column_type()));
        if super::types::vector(&from).is_some() && self.destructive {
            self.forget_embeddings();
        }
    }

    /// The type to convert to; a serial's own integer type.
    fn column_type(&self) -> String {
        if serial(&self.column.sql_type) {
            normal_type(&self.column.sql_type)
        } else {
            self.column.sql_type.clone()
        }
    }

    /// No value can stay: the column is dropped and made again.
    fn replace(&mut self) {
        let table = self.table.qualified();
        self.sql.push(format!("ALTER TABLE {table} DROP COLUMN {}", quote_ident(&self.column.name)));
        self.sql.push(format!("ALTER TABLE {table} ADD COLUMN {}", self.column.definition()));
        self.columns.push(self.column.name.clone());
        self.destructive = self.live.has_rows;
        self.made_again = true;
        if let Some(expression) = self.column.expression() {
            self.sql.push(remember("default", &column_name(self.table, &self.column.name), expression));
        }
    }

    /// Embeddings of another length are gone: the next ingest has to take every document for new.
    fn forget_embeddings(&mut self) {
        let Some(collection) = &self.table.collection else { return };
        let collection = quote_literal(collection);
        self.sql.push(format!("DELETE FROM howdah.sources WHERE collection = {collection}"));
        self.sql.push(format!("DELETE FROM howdah.collections WHERE name = {collection}"));
        self.reasons.push("its embeddings have to be made again by `howdah ingest`".into());
    }

    fn nullability(&mut self) {
        if self.made_again || self.column.not_null == self.there.not_null {
            return;
        }
        if self.column.not_null {
            self.alter("SET NOT NULL");
            self.reasons.push("is declared not null".into());
        } else {
            self.alter("DROP NOT NULL");
            self.reasons.push("is declared nullable".into());
        }
    }

    fn identity_comes(&mut self) {
        if self.made_again || !self.column.identity || self.identity == Identity::Always {
            return;
        }
        self.reasons.push("is declared an identity".into());
        if self.identity == Identity::ByDefault {
            self.alter("SET GENERATED ALWAYS");
            return;
        }
        if self.live_default.take().is_some() {
            self.alter("DROP DEFAULT");
        }
        self.alter("ADD GENERATED ALWAYS AS IDENTITY");
        let (table, column) = (self.table.qualified(), quote_ident(&self.column.name));
        self.sql.push(format!(
            "SELECT setval(pg_get_serial_sequence({}, {}), coalesce(max({column}), 0) + 1, false) FROM {table}",
            quote_literal(&table),
            quote_literal(&self.column.name)
        ));
    }

    fn default(&mut self, inside: &Inside) {
        if self.made_again {
            return;
        }
        let name = column_name(self.table, &self.column.name);
        match (&self.column.default, self.live_default) {
            (Some(declared), live) => {
                if live.is_some_and(|live| same_expression(inside, &name, declared, live)) {
                    return;
                }
                self.alter(&format!("SET DEFAULT {declared}"));
                self.sql.push(remember("default", &name, declared));
                self.reasons
                    .push(format!("has the default `{}`, declared is `{declared}`", live.unwrap_or("none")));
            }
            (None, Some(live)) => {
                if serial(&self.column.sql_type) && live.starts_with("nextval(") {
                    return;
                }
                self.alter("DROP DEFAULT");
                self.reasons.push(format!("has the default `{live}`, declared is none"));
            }
            (None, None) => {}
        }
    }
}
