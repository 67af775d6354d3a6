//! Where in the file does a key stand?
//!
//! A mistake is only helpful with its place. [`Places`] remembers line and column of every key of a document under its
//! dotted name, so that a rule that sees nothing but the types can still be answered with `howdah.toml:12:3`.

use std::collections::BTreeMap;
use std::fmt;

use crate::problem::Problem;

/// A position in a text; both numbers start at 1, and a column is a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line.
    pub line: u32,
    /// Column, in characters.
    pub column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// The places of all keys of one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    file: String,
    at: BTreeMap<String, Place>,
}

impl Places {
    /// No places yet, in a file of this name.
    pub fn new(file: impl Into<String>) -> Self {
        Places { file: file.into(), at: BTreeMap::new() }
    }

    /// Name of the file, as it was given.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Remembers where a dotted key stands; the first place counts.
    pub fn insert(&mut self, key: impl Into<String>, place: Place) {
        self.at.entry(key.into()).or_insert(place);
    }

    /// Where a dotted key itself stands; none for one that is not in the document.
    pub fn exact(&self, key: &str) -> Option<Place> {
        self.at.get(key).copied()
    }

    /// Where a dotted key stands, or else the nearest table around it that is in the document.
    pub fn find(&self, key: &str) -> Option<Place> {
        if let Some(place) = self.at.get(key) {
            return Some(*place);
        }
        let cuts = key.char_indices().rev().filter(|(_, c)| matches!(c, '.' | '['));
        cuts.filter_map(|(at, _)| self.at.get(&key[..at])).copied().next()
    }

    /// `file:line:column`, or the file alone where nothing nearer is known.
    pub fn describe(&self, key: &str) -> String {
        match self.find(key) {
            Some(place) => format!("{}:{place}", self.file),
            None => self.file.clone(),
        }
    }

    /// Puts the key's place in front of a problem's message, and names the key where the problem does not.
    pub fn locate(&self, key: &str, mut problem: Problem) -> Problem {
        let named = |text: &str| text.contains(&format!("`{key}"));
        if !named(&problem.message) && !problem.detail.as_deref().is_some_and(named) {
            let more = problem.detail.take().map(|detail| format!("; {detail}")).unwrap_or_default();
            problem.detail = Some(format!("at `{key}`{more}"));
        }
        self.at_place(self.find(key), problem)
    }

    /// Puts a place in front of a problem's message.
    pub(super) fn at_place(&self, place: Option<Place>, mut problem: Problem) -> Problem {
        problem.message = match place {
            Some(place) => format!("{}:{place}: {}", self.file, problem.message),
            None => format!("{}: {}", self.file, problem.message),
        };
        problem
    }
}

/// `parent.key`, the key quoted where TOML would quote it.
pub fn join(parent: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    let key = if bare { key.to_owned() } else { format!("{key:?}") };
    if parent.is_empty() { key } else { format!("{parent}.{key}") }
}

/// `parent[index]`.
pub fn item(parent: &str, index: usize) -> String {
    format!("{parent}[{index}]")
}

/// Turns byte offsets into places.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let after_newline = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1);
        Lines { text, starts: std::iter::once(0).chain(after_newline).collect() }
    }

    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    pub(super) fn place(&self, offset: usize) -> Place {
        let offset = offset.min(self.text.len());
        let line = self.starts.partition_point(|start| *start <= offset).max(1);
        let before = self.text.get(self.starts[line - 1]..offset).unwrap_or_default();
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Place { line: number(line), column: number(before.chars().count() + 1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_key_is_found_at_the_table_around_it() {
        let mut places = Places::new("howdah.toml");
        places.insert("roles.app", Place { line: 7, column: 1 });
        places.insert("roles.app.grants[0]", Place { line: 9, column: 5 });
        assert_eq!(places.describe("roles.app.login"), "howdah.toml:7:1");
        assert_eq!(places.describe("roles.app.grants[0].tables[2]"), "howdah.toml:9:5");
        assert_eq!(places.describe("name"), "howdah.toml");
    }

    #[test]
    fn columns_count_characters_not_bytes() {
        let text = "a = 1\nü = é x";
        assert_eq!(Lines::new(text).place(text.len() - 1), Place { line: 2, column: 7 });
        assert_eq!(Lines::new("").place(0), Place { line: 1, column: 1 });
    }

    #[test]
    fn names_that_toml_quotes_are_quoted() {
        assert_eq!(join("databases", "my db"), "databases.\"my db\"");
        assert_eq!(join("", "name"), "name");
    }
}
