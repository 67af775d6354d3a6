//! Which declarations does this howdah read, and what will later ones have?
//!
//! The version goes up when a declaration means something else than before. Sections that
//! a later howdah will know are reserved: such a section is refused by name and never taken for a misspelt one.

use toml::de::{DeTable, DeValue};

use super::place::{Lines, Places};
use crate::problem::{Kind, Problem};

/// The version of the declaration that this howdah reads, and that one without `version` is of.
pub const CURRENT: u32 = 1;

/// This howdah's own version.
const HOWDAH: &str = env!("CARGO_PKG_VERSION");

/// Sections that are kept for later: name, and what will be declared there.
const LATER: [(&str, &str); 6] = [
    ("backup", "when backups are made, where they go and how long they stay"),
    ("cluster", "replicas, and what happens when the primary is gone"),
    ("pooler", "a connection pooler before the server"),
    ("packs", "applications that bring tables and skills of their own"),
    ("targets", "several environments of one declaration"),
    ("servers", "several servers under one declaration"),
];

pub(super) fn current() -> u32 {
    CURRENT
}

/// What is wrong with a document of a newer version: only this, for its keys may mean anything.
pub(super) fn newer(document: &DeTable<'_>, lines: &Lines<'_>, file: &str) -> Option<Problem> {
    let (_, value) = document.iter().find(|(name, _)| name.get_ref() == "version")?;
    let DeValue::Integer(number) = value.get_ref() else { return None };
    let version = i128::from_str_radix(number.as_str(), number.radix()).ok();
    if version.is_some_and(|version| version <= i128::from(CURRENT)) {
        return None;
    }
    let problem = Problem::new(Kind::Usage, format!("the declaration is of version `{}`", number.as_str()))
        .detail(format!("this howdah ({HOWDAH}) reads version {CURRENT}, key `version`"))
        .hint(format!("Run a newer howdah, or write it as one of version {CURRENT}: `version = {CURRENT}`."));
    Some(Places::new(file).at_place(Some(lines.place(value.span().start)), problem))
}

/// The problem with a section that is kept for later.
pub(super) fn later(name: &str) -> Option<Problem> {
    let (name, meaning) = LATER.iter().find(|(later, _)| *later == name)?;
    Some(
        Problem::new(Kind::Usage, format!("section `{name}` is not known yet to howdah {HOWDAH}"))
            .detail(format!("it is kept for a later howdah: {meaning}"))
            .hint("Take it out, or run a howdah that knows it; `howdah --version` says which this is."),
    )
}
