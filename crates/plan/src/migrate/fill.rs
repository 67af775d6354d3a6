//! A field that is declared later: its values are in the metadata of the rows that are there.
//!
//! The step goes through the table in batches, each committed by itself, so that it holds the locks of a few rows at a time
//! and searches and ingests go on beside it. A value that does not fit the type leaves its row as it was. Until the step is
//! done the column is remembered as one that is to be filled: a run that is broken off goes on with the rows that are empty.

use super::live::{Inside, Table};
use super::memory::remember;
use super::step::{Step, StepKind};
use super::table::{column_name, id};
use super::types::normal_type;
use super::wanted::{WantedColumn, WantedTable};
use super::work::Work;
use crate::spec::resolve::{quote_ident, quote_literal};

/// What a column is remembered with until its rows are filled.
pub(super) const UNFILLED: &str = "to be filled from the metadata";
/// Pages of the table in one transaction.
const PAGES: u32 = 256;

/// Whether a new column is a field whose values may be in the rows that are there.
pub(super) fn is_wanted(work: &Work, table: &WantedTable, live: &Table, column: &WantedColumn) -> bool {
    let collection = table.collection.as_ref().and_then(|name| work.spec.collections.get(name));
    live.has_rows && collection.is_some_and(|collection| collection.fields.contains_key(&column.name))
}

/// Whether a column that is there is still to be filled.
pub(super) fn is_left(inside: &Inside, table: &WantedTable, column: &WantedColumn) -> bool {
    inside
        .remembers("column", &column_name(table, &column.name))
        .is_some_and(|memory| memory.declared == UNFILLED)
}

/// Fills a column.
pub(super) fn fill(work: &mut Work, table: &WantedTable, column: &WantedColumn) {
    let step = Step::new(
        StepKind::Column,
        &id("column", table, &format!(".{}:fill", column.name)),
        format!("rows that are there may have `{}` in their metadata; filled in batches", column.name),
    )
    .sql(batches(table, column))
    .sql(remember(work.who(), "column", &column_name(table, &column.name), ""))
    .outside_transaction();
    work.in_database(&table.database, step);
}

fn batches(table: &WantedTable, column: &WantedColumn) -> String {
    let name = table.qualified();
    let field = quote_ident(&column.name);
    let key = quote_literal(&column.name);
    let body = format!(
        "DECLARE
    page bigint := 0;
    pages bigint := pg_relation_size({}::regclass) / current_setting('block_size')::bigint;
    found record;
    said text;
    number numeric;
    value {name}.{field}%TYPE;
BEGIN
    WHILE page <= pages LOOP
        -- Times without a zone are UTC, as they are for an ingest.
        PERFORM set_config('TimeZone', 'UTC', true);
        FOR found IN
            SELECT t.id, t.metadata -> {key} AS json FROM {name} AS t
            WHERE t.ctid >= format('(%s,0)', page)::tid AND t.ctid < format('(%s,0)', page + {PAGES})::tid
              AND t.{field} IS NULL AND jsonb_typeof(t.metadata -> {key}) <> 'null'
        LOOP
            BEGIN
                said := found.json #>> '{{}}';
{}
                UPDATE {name} AS t SET {field} = value, updated_at = now() WHERE t.id = found.id AND t.{field} IS NULL;
            EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
                NULL;
            END;
        END LOOP;
        COMMIT;
        page := page + {PAGES};
    END LOOP;
END",
        quote_literal(&name),
        conversion(&normal_type(&column.sql_type))
    );
    // A name may hold whatever quotes the block.
    let mut quote = "$howdah$".to_owned();
    while body.contains(&quote) {
        quote = quote.replace("$h", "$hh");
    }
    format!("DO {quote}\n{body} {quote}")
}

/// The statements that make `value` of `said`, and leave a row out where something would be lost.
fn conversion(sql_type: &str) -> String {
    const SCALAR: &str = "CONTINUE WHEN jsonb_typeof(found.json) IN ('array', 'object');";
    const DATED: &str = "CONTINUE WHEN said !~ '^\\d{4}-\\d\\d-\\d\\d';";
    let lines: &[&str] = match sql_type.split('(').next().unwrap_or(sql_type) {
        // An assignment would round.
        "smallint" | "integer" | "bigint" | "numeric" => {
            &[SCALAR, "number := said;", "value := number;", "CONTINUE WHEN value <> number;"]
        }
        "date" | "timestamp" | "timestamp with time zone" | "timestamp without time zone" => {
            &[SCALAR, DATED, "value := said;"]
        }
        _ => &[SCALAR, "value := said;"],
    };
    lines.iter().map(|line| format!("                {line}")).collect::<Vec<_>>().join("\n")
}
