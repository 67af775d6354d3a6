//! Do the keys fit each other?
//!
//! What one key alone can get wrong, the schema says and `walk` finds. Here is what needs several keys or knowledge of
//! PostgreSQL: references, names, limits, combinations that cannot work. Each rule looks at the types only; who has the
//! text adds the place.

mod access;
mod collections;
mod index;
mod names;
mod server;
mod tables;

use super::Spec;
use super::place::join;
use super::resolve::nearest;
use crate::problem::{Kind, Problem};

/// A mistake and the dotted key that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Dotted key, as [`super::place::join`] writes it.
    pub key: String,
    /// What is wrong with it, without its place.
    pub problem: Problem,
}

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

/// The mistakes found so far.
#[derive(Debug, Default)]
struct Mistakes {
    found: Vec<Mistake>,
}

impl Mistakes {
    /// Says what is wrong at `key` and what to do.
    fn say(&mut self, key: &str, message: impl Into<String>, hint: impl Into<String>) {
        self.problem(key, Problem::new(Kind::Usage, message).hint(hint));
    }

    fn problem(&mut self, key: &str, problem: Problem) {
        self.found.push(Mistake { key: key.to_owned(), problem });
    }

    /// Says that `key` names a `what` that is not declared in `[section.…]`.
    fn undeclared<'a>(
        &mut self,
        key: &str,
        what: &str,
        section: &str,
        name: &str,
        declared: impl IntoIterator<Item = &'a String>,
    ) {
        let declared: Vec<&str> = declared.into_iter().map(String::as_str).collect();
        let problem =
            Problem::new(Kind::Usage, format!("`{key}` names {what} `{name}`, which is not declared"));
        let problem = if declared.is_empty() {
            problem.detail(format!("nothing is declared under `{section}`"))
        } else {
            problem.detail(format!("declared are: {}", declared.join(", ")))
        };
        let hint = match nearest(name, declared) {
            Some(near) => format!("Did you mean `{near}`?"),
            None => format!("Declare it: `[{}]`.", join(section, name)),
        };
        self.problem(key, problem.hint(hint));
    }
}
