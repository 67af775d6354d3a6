//! Statements by which Howdah remembers what it made in a database, see [`super::live::Memory`].

use super::live::Memory;
use super::step::Step;
use crate::spec::resolve::quote_literal;

/// A statement that makes Howdah remember what the deployment `who` made.
pub(super) fn remember(who: &str, kind: &str, name: &str, declared: &str) -> String {
    let mut arguments = vec![quote_literal(kind), quote_literal(name)];
    if !declared.is_empty() || !who.is_empty() {
        arguments.push(quote_literal(declared));
    }
    if !who.is_empty() {
        arguments.push(quote_literal(who));
    }
    format!("SELECT howdah.remember({})", arguments.join(", "))
}

/// The opposite of [`remember`].
pub(super) fn forget(who: &str, kind: &str, name: &str) -> String {
    let mut arguments = vec![quote_literal(kind), quote_literal(name)];
    if !who.is_empty() {
        arguments.push(quote_literal(who));
    }
    format!("SELECT howdah.forget({})", arguments.join(", "))
}

/// Makes what `before` made, or nobody owns where that is empty, the deployment `who`'s own.
pub(super) fn claim(who: &str, memory: &Memory) -> String {
    let arguments = [&memory.kind, &memory.name, who, &memory.deployment].map(quote_literal);
    format!("SELECT howdah.claim({})", arguments.join(", "))
}

/// Makes the next ingest take every document for new.
pub(super) fn forget_documents(step: Step, collection: &str) -> Step {
    let collection = quote_literal(collection);
    step.sql(format!("DELETE FROM howdah.sources WHERE collection = {collection}"))
        .sql(format!("DELETE FROM howdah.collections WHERE name = {collection}"))
}
