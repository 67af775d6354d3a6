//! Statements by which Howdah remembers what it made in a database, see [`super::live::Memory`].

use super::step::Step;
use crate::spec::resolve::quote_literal;

/// A statement that makes Howdah remember what it made.
pub(super) fn remember(kind: &str, name: &str, declared: &str) -> String {
    let mut arguments = vec![quote_literal(kind), quote_literal(name)];
    if !declared.is_empty() {
        arguments.push(quote_literal(declared));
    }
    format!("SELECT howdah.remember({})", arguments.join(", "))
}

/// The opposite of [`remember`].
pub(super) fn forget(kind: &str, name: &str) -> String {
    format!("SELECT howdah.forget({}, {})", quote_literal(kind), quote_literal(name))
}

/// Makes the next ingest take every document for new.
pub(super) fn forget_documents(step: Step, collection: &str) -> Step {
    let collection = quote_literal(collection);
    step.sql(format!("DELETE FROM howdah.sources WHERE collection = {collection}"))
        .sql(format!("DELETE FROM howdah.collections WHERE name = {collection}"))
}
