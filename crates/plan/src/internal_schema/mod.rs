//! Which tables are Howdah's own, and how do they get from any older state to today's?
//!
//! Howdah keeps its tables in the schema `howdah` of every declared database. They are made by migrations, a list for each
//! domain, in a file for each domain; [`DOMAINS`] is the one place where they are listed. `howdah.migrations` records
//! which have run, with a checksum of what ran.
//!
//! A migration that has been released is never edited: what it did is out there. A table is changed, and a function
//! replaced, by a further migration with the next number. A test holds every statement and checksum letter by letter.
//! The comparison with what a server has is `migrate::inside`'s.

mod core;
mod jobs;
mod keys;
mod knowledge;
mod migration;
#[cfg(test)]
mod tests;

pub use migration::{Domain, Migration};

/// Name of the schema that holds Howdah's own tables.
pub const SCHEMA: &str = "howdah";

/// All domains, in the order in which their migrations run. `core` makes the schema and comes first.
pub const DOMAINS: &[Domain] = &[core::DOMAIN, keys::DOMAIN, knowledge::DOMAIN, jobs::DOMAIN];

/// Before there were migrations by domain, `howdah.meta` counted how many statements of one list had run. This is that
/// list, by domain and number; nothing is ever added to it.
const COUNTED: [(&str, u32); 8] = [
    ("core", 1),
    ("core", 2),
    ("knowledge", 1),
    ("knowledge", 2),
    ("keys", 1),
    ("core", 3),
    ("core", 4),
    ("core", 5),
];

/// Key in `howdah.meta` under which that number was kept.
pub const COUNT_KEY: &str = "steps";

/// Every migration, in the order in which they run.
pub fn all() -> impl Iterator<Item = &'static Migration> {
    DOMAINS.iter().flat_map(|domain| domain.migrations)
}

/// Every table of Howdah's own, without the schema.
pub fn tables() -> impl Iterator<Item = &'static str> {
    DOMAINS.iter().flat_map(|domain| domain.tables).copied()
}

/// The migration of a domain and number.
pub fn find(domain: &str, number: u32) -> Option<&'static Migration> {
    all().find(|migration| migration.domain == domain && migration.number == number)
}

/// What had run in a database whose `howdah.meta` counts `count` statements; nothing where no version counted so far.
pub fn counted(count: usize) -> Option<&'static [(&'static str, u32)]> {
    COUNTED.get(..count)
}
