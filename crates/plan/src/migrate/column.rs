//! A column that is there: its type, its default, its identity, whether it may be NULL, what it is generated from.

use super::live::{Column, Identity, Inside, Table};
use super::memory::remember;
use super::step::{Step, StepKind};
use super::table::{Taken, column_name, id, rewritten};
use super::types::{Change, change, normal_expression, normal_type};
use super::wanted::{WantedColumn, WantedTable};
use super::work::Work;
use crate::spec::resolve::{quote_ident, quote_literal};

/// Whether the server's rendering stands for the declared expression.
fn same_expression(inside: &Inside, name: &str, declared: &str, live: &str) -> bool {
    let remembered = inside
        .remembers("default", name)
        .is_some_and(|memory| memory.declared == declared && memory.rendered == live);
    remembered || normal_expression(declared) == normal_expression(live)
}

/// Compares a column that is there.
pub(super) fn alter(
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
    let mut change = ColumnChange::new(work.who(), table, live, column, there);
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
        format!(
            "column `{}` is generated otherwise than declared, and its indexes are built again{}",
            column.name,
            rewritten(live)
        ),
    )
    .sql(format!("ALTER TABLE {} DROP COLUMN {}", table.qualified(), quote_ident(&column.name)))
    .sql(format!("ALTER TABLE {} ADD COLUMN {}", table.qualified(), column.definition()))
    .destructive(there.generated.is_none() && live.has_rows)
    .sql(remember(work.who(), "column", &name, ""));
    if let Some(expression) = column.expression() {
        step = step.sql(remember(work.who(), "default", &name, expression));
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

/// The statements that make one column as declared, and why.
struct ColumnChange<'a> {
    /// The deployment.
    who: &'a str,
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
    fn new(
        who: &'a str,
        table: &'a WantedTable,
        live: &'a Table,
        column: &'a WantedColumn,
        there: &'a Column,
    ) -> Self {
        ColumnChange {
            who,
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
        let words = if super::types::rewrites(&from, &to) { rewritten(self.live) } else { String::new() };
        self.reasons.push(format!("is `{from}`, declared is `{to}`{words}"));
        let quoted = quote_ident(&self.column.name);
        let change = change(&quoted, &from, &to);
        // PostgreSQL keeps an index over a change that keeps the values, but not always over another one.
        let kept = matches!(change, Change::Lossless(_)) && super::types::vector(&from).is_none();
        for index in indexes_on(self.live, &self.column.name) {
            if !kept && !taken.indexes.contains(&index) {
                self.sql.push(format!(
                    "DROP INDEX IF EXISTS {}",
                    super::wanted::qualified(&self.live.schema, &index)
                ));
                self.indexes.push(index);
            }
        }
        // It converts no column that others are computed from.
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
        let using = match change {
            Change::Lossless(using) => using,
            Change::Lossy(using) => {
                self.destructive = self.live.has_rows;
                // Without rows there is nothing to lose, and should one come in between, it is refused rather than lost.
                if self.live.has_rows { using } else { format!("{quoted}::text::{to}") }
            }
        };
        let lost = using.starts_with("NULL::");
        self.alter(&format!("TYPE {} USING {using}", self.column.sql_type));
        if lost {
            self.forget_embeddings();
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
            self.sql.push(remember(
                self.who,
                "default",
                &column_name(self.table, &self.column.name),
                expression,
            ));
        }
    }

    /// Embeddings of another length are gone: the next ingest has to take every document and every chunk for new.
    fn forget_embeddings(&mut self) {
        let Some(collection) = &self.table.collection else { return };
        self.sql.push(format!("UPDATE {} SET content_hash = ''", self.table.qualified()));
        let forget = super::memory::forget_documents(Step::new(StepKind::Column, "", ""), collection);
        self.sql.extend(forget.sql);
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
                self.sql.push(remember(self.who, "default", &name, declared));
                self.reasons
                    .push(format!("has the default `{}`, declared is `{declared}`", live.unwrap_or("none")));
            }
            (None, Some(live)) => {
                self.alter("DROP DEFAULT");
                self.reasons.push(format!("has the default `{live}`, declared is none"));
            }
            (None, None) => {}
        }
    }
}
