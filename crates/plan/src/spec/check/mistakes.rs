//! What is wrong with a declaration, key by key.

use crate::problem::{Kind, Problem};
use crate::spec::place::join;
use crate::spec::resolve::nearest;

/// A mistake and the dotted key that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Dotted key, as [`join`] writes it.
    pub key: String,
    /// What is wrong with it, without its place.
    pub problem: Problem,
}

/// The mistakes found so far.
#[derive(Debug, Default)]
pub(super) struct Mistakes {
    pub(super) found: Vec<Mistake>,
}

impl Mistakes {
    /// Says what is wrong at `key` and what to do.
    pub(super) fn say(&mut self, key: &str, message: impl Into<String>, hint: impl Into<String>) {
        self.problem(key, Problem::new(Kind::Usage, message).hint(hint));
    }

    pub(super) fn problem(&mut self, key: &str, problem: Problem) {
        self.found.push(Mistake { key: key.to_owned(), problem });
    }

    /// Says that `key` names a `what` that is not declared in `[section.…]`.
    pub(super) fn undeclared<'a>(
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
