//! The table itself, one file an area or two.

use super::{Check, FixKind, FixTemplate};

mod server;

/// Every check, by area.
pub static CHECKS: &[&[Check]] = &[server::CHECKS];

const ALL: (u32, u32) = (13, 99);

const fn sql(text: &'static str) -> FixTemplate {
    FixTemplate { kind: FixKind::Sql, text, safe: false }
}

const fn safe_sql(text: &'static str) -> FixTemplate {
    FixTemplate { kind: FixKind::Sql, text, safe: true }
}

const fn command(text: &'static str) -> FixTemplate {
    FixTemplate { kind: FixKind::Command, text, safe: false }
}

const fn advice(text: &'static str) -> FixTemplate {
    FixTemplate { kind: FixKind::Advice, text, safe: false }
}
