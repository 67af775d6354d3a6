//! The table itself, one file an area or two.
//!
//! A row reads: name, area, severity, what a finding means, why it matters, the question; then who is asked, what is
//! needed, the verdict and the fix.

use super::contract::Check;

/// Indexes with their table, access method and schema: `i`, `c`, `t`, `am`, `n`.
macro_rules! vector_indexes {
    () => {
        "pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am am ON am.oid = c.relam \
         JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace n ON n.oid = t.relnamespace \
         AND n.nspname NOT LIKE 'pg\\_temp%'"
    };
}

/// Columns of a vector type with their table and schema: `a`, `c`, `t`, `n`.
macro_rules! vector_columns {
    () => {
        "pg_attribute a JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p') \
         JOIN pg_type t ON t.oid = a.atttypid AND t.typname IN ('vector', 'halfvec', 'sparsevec') \
         JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname NOT LIKE 'pg\\_%' \
         AND n.nspname <> 'information_schema' AND NOT c.relispartition \
         WHERE NOT a.attisdropped AND a.attnum > 0"
    };
}

mod advised;
mod backup;
mod columns;
mod config;
mod connections;
mod extension;
mod figure;
mod indexes;
mod maintenance;
mod own;
mod quality;
mod replication;
mod security;
mod tables;
mod workload;

/// Every check, by area.
pub static CHECKS: &[&[Check]] = &[
    extension::CHECKS,
    security::CHECKS,
    columns::CHECKS,
    indexes::CHECKS,
    own::CHECKS,
    quality::CHECKS,
    config::CHECKS,
    connections::CHECKS,
    maintenance::CHECKS,
    tables::CHECKS,
    replication::CHECKS,
    backup::CHECKS,
    workload::CHECKS,
];

/// The row of a check.
pub fn find(id: &str) -> Option<&'static Check> {
    CHECKS.iter().copied().flatten().find(|check| check.id == id)
}

/// All checks, in the order of the table.
pub fn all() -> impl Iterator<Item = &'static Check> {
    CHECKS.iter().copied().flatten()
}
