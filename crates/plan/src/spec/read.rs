//! From text to types, with every mistake named by file, line, column and key.
//!
//! Three readings, each only when the one before was clean: is it TOML, does every key and value fit the schema that
//! the types give (`walk`), do the keys fit each other (`check`). Each reading reports all it finds.

use toml::de::DeTable;

use super::place::{Lines, Places};
use super::{Spec, check, schema, version, walk};
use crate::problem::{Kind, Problem};

/// Most mistakes that are worth reading in one go.
const MOST: usize = 50;

/// A declaration together with the places of its keys.
#[derive(Debug, Clone, PartialEq)]
pub struct Located {
    /// What is declared.
    pub spec: Spec,
    /// Where each key stands.
    pub places: Places,
}

/// Reads and checks a declaration. `file` is how messages call it.
///
/// # Errors
/// All mistakes found, never none: each a `usage` problem whose message begins with `file:line:column:` and names the
/// dotted key.
pub fn from_str(text: &str, file: &str) -> Result<Spec, Vec<Problem>> {
    located(text, file).map(|located| located.spec)
}

/// As [`from_str`], and keeps the places for those who find mistakes later (a directory that is not there, a role the
/// server refuses).
///
/// # Errors
/// As [`from_str`].
pub fn located(text: &str, file: &str) -> Result<Located, Vec<Problem>> {
    let located = unchecked(text, file)?;
    let mut mistakes = check::check(&located.spec);
    if mistakes.is_empty() {
        return Ok(located);
    }
    mistakes.sort_by_key(|mistake| located.places.find(&mistake.key));
    let locate = |mistake: check::Mistake| located.places.locate(&mistake.key, mistake.problem);
    Err(mistakes.into_iter().take(MOST).map(locate).collect())
}

/// Reads a declaration without the rules that span several keys.
///
/// # Errors
/// As [`from_str`], for what is not TOML and for keys and values that do not fit the schema.
pub fn unchecked(text: &str, file: &str) -> Result<Located, Vec<Problem>> {
    let lines = Lines::new(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(errors.iter().take(MOST).map(|e| not_toml(e, &lines, file)).collect());
    }
    if let Some(problem) = version::newer(table.get_ref(), &lines, file) {
        return Err(vec![problem]);
    }
    let walked = walk::walk(schema::schema(), table.get_ref(), &lines, file);
    if !walked.problems.is_empty() {
        return Err(walked.problems.into_iter().take(MOST).collect());
    }
    match toml::from_str(text) {
        Ok(spec) => Ok(Located { spec, places: walked.places }),
        Err(error) => Err(vec![not_toml(&error, &lines, file)]),
    }
}

/// What the TOML parser says, in our shape. Its message never quotes the text, which may hold a secret.
fn not_toml(error: &toml::de::Error, lines: &Lines<'_>, file: &str) -> Problem {
    let place = error.span().map(|span| lines.place(span.start));
    let said = error.message().lines().collect::<Vec<_>>().join(", ");
    let problem = Problem::new(Kind::Usage, format!("not valid TOML: {said}"));
    let near = error.span().and_then(|span| key_near(lines.text(), span.start));
    let problem = match near {
        Some(key) => problem.detail(format!("at `{key}`")),
        None => problem,
    };
    let problem = problem
        .hint("Text stands in quotes, a table begins with `[name]`, and a key stands once in its table.");
    Places::new(file).at_place(place, problem)
}

/// The dotted key that a broken line seems to be about: its table's header and what stands before its `=`.
fn key_near(text: &str, offset: usize) -> Option<String> {
    let bare = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '"' | '\'');
    let name =
        |text: &str| Some(text.trim()).filter(|n| !n.is_empty() && n.chars().all(bare)).map(str::to_owned);
    let start = text.get(..offset)?.rfind('\n').map_or(0, |at| at + 1);
    let line = text[start..].lines().next().unwrap_or_default();
    let header = |line: &str| name(line.trim().strip_prefix('[')?.trim_matches(['[', ']']));
    if let Some(table) = header(line) {
        return Some(table);
    }
    let key = line.split_once('=').and_then(|(key, _)| name(key));
    let table = text[..start].lines().rev().find_map(header);
    match (table, key) {
        (Some(table), Some(key)) => Some(format!("{table}.{key}")),
        (table, key) => table.or(key),
    }
}
