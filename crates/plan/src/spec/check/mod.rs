//! Do the keys fit each other?
//!
//! What one key alone can get wrong, the schema says and `walk` finds. Here is what needs several keys or knowledge of
//! PostgreSQL: references, names, limits, combinations that cannot work. Each rule looks at the types only; who has the
//! text adds the place.

mod access;
mod collections;
mod index;
mod mistakes;
mod names;
mod server;
mod tables;

pub use mistakes::Mistake;
pub use tables::FIELD_TYPES;

use super::Spec;
use mistakes::Mistakes;

/// Finds all mistakes that single keys do not show. Empty when the declaration can be carried out as far as one can
/// know without the server.
pub fn check(spec: &Spec) -> Vec<Mistake> {
    let mut mistakes = Mistakes::default();
    server::check(spec, &mut mistakes);
    access::check(spec, &mut mistakes);
    collections::check(spec, &mut mistakes);
    tables::check(spec, &mut mistakes);
    mistakes.found
}
