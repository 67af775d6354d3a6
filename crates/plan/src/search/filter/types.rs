//! Does a filter compare metadata with values of a type that is not there?
//!
//! A number never equals a text, so a filter on a key whose values are all text finds nothing when it is asked with a
//! number, and says so with a complete, empty answer. Where an answer is shorter than it may be, [`sample`] asks which
//! types a few rows have at the places that the filter compares, and [`notes`] puts into words where they are others.

use serde_json::Value;

use super::{Expr, Operand, Test};
use crate::search::param::{Param, Params};
use crate::search::statement::Statement;
use crate::spec::resolve::{Resolved, quote_ident};

/// Rows that are looked at.
const SAMPLE: u32 = 1_000;
/// Places that are looked at.
const PLACES: usize = 8;

/// A place in the metadata, and the type that a filter compares it with, as `jsonb_typeof` calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    column: String,
    path: Vec<String>,
    wanted: &'static str,
    value: String,
}

/// What a filter compares the metadata with.
pub fn compared(expr: &Expr) -> Vec<Compared> {
    let mut all = Vec::new();
    gather(expr, &mut all);
    all
}

fn gather(expr: &Expr, all: &mut Vec<Compared>) {
    match expr {
        Expr::And(items) | Expr::Or(items) => items.iter().for_each(|item| gather(item, all)),
        Expr::Not(inner) => gather(inner, all),
        Expr::Test(Operand::Metadata { column, path }, test) => {
            let value = match test {
                Test::Equals(value) | Test::Compares(_, value) => Some(value),
                Test::In(values) => values.first(),
                Test::Contains(_) | Test::Exists => None,
            };
            let Some((value, wanted)) = value.and_then(|value| Some((value, kind(value)?))) else { return };
            let known = all.iter().any(|one| one.path == *path && one.wanted == wanted);
            if !known && all.len() < PLACES {
                let (column, path) = (column.clone(), path.clone());
                all.push(Compared { column, path, wanted, value: value.to_string() });
            }
        }
        Expr::Test(Operand::Column { .. }, _) => {}
    }
}

fn kind(value: &Value) -> Option<&'static str> {
    match value {
        Value::Bool(_) => Some("boolean"),
        Value::Number(_) => Some("number"),
        Value::String(_) => Some("string"),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Asks for the types that rows have at these places: the number of the place, the type, how many rows.
pub fn sample(compared: &[Compared], resolved: &Resolved) -> Option<Statement> {
    let column = quote_ident(&compared.first()?.column);
    let mut params = Params::default();
    let places: Vec<String> = (0..)
        .zip(compared)
        .map(|(number, one): (usize, _)| {
            format!("({number}, {})", params.bind(Param::Texts(one.path.clone())))
        })
        .collect();
    let sql = format!(
        "SELECT p.number, jsonb_typeof(s.metadata #> p.path), count(*)
         FROM (SELECT t.{column}::jsonb AS metadata FROM {} AS t LIMIT {SAMPLE}) AS s,
              (VALUES {}) AS p (number, path)
         GROUP BY 1, 2",
        resolved.qualified(),
        places.join(", ")
    );
    Some(Statement { sql, params: params.0, common: false })
}

/// Where rows have another type than the filter compares with. `found` is what [`sample`] answered.
pub fn notes(compared: &[Compared], found: &[(usize, Option<String>, u64)]) -> Vec<String> {
    (0..).zip(compared).filter_map(|(number, one): (usize, _)| note(one, number, found)).collect()
}

fn note(one: &Compared, number: usize, found: &[(usize, Option<String>, u64)]) -> Option<String> {
    let there = || {
        found.iter().filter(move |(place, ..)| *place == number).filter_map(|(_, kind, rows)| {
            kind.as_deref().filter(|kind| *kind != "null").map(|kind| (kind, *rows))
        })
    };
    let all: u64 = there().map(|(_, rows)| rows).sum();
    let (other, rows) = there().filter(|(kind, _)| *kind != one.wanted).max_by_key(|(_, rows)| *rows)?;
    let key = one.path.join(".");
    let text = format!(
        "`metadata.{key}` holds {} in {rows} of {all} sampled rows that have it, and the filter compares it with {}, which never equals it",
        said(other),
        said(one.wanted)
    );
    Some(match (one.wanted, other) {
        ("number" | "boolean", "string") => format!(
            "{text}; write it as text, `{{\"metadata.{key}\": \"{}\"}}`, or declare a field of that type for `{key}`",
            one.value
        ),
        _ => text,
    })
}

fn said(kind: &str) -> &str {
    match kind {
        "string" => "text",
        "number" => "a number",
        "boolean" => "a boolean",
        "array" => "a list",
        "object" => "an object",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(wanted: &'static str, value: &str) -> Compared {
        Compared { column: "metadata".into(), path: vec!["price".into()], wanted, value: value.into() }
    }

    #[test]
    fn another_type_is_told_with_what_to_write() {
        let found = [(0, Some("string".to_owned()), 3), (0, None, 5)];
        let told = notes(&[price("number", "1.5")], &found);
        assert_eq!(told.len(), 1);
        assert!(told[0].starts_with("`metadata.price` holds text in 3 of 3 sampled rows"), "{told:?}");
        assert!(told[0].contains("`{\"metadata.price\": \"1.5\"}`"), "{told:?}");
        assert!(notes(&[price("string", "\"x\"")], &found).is_empty());
        let mixed = [(0, Some("number".to_owned()), 9), (0, Some("string".to_owned()), 1)];
        assert!(notes(&[price("number", "1")], &mixed)[0].contains("1 of 10"));
        assert!(notes(&[price("number", "1")], &[(0, Some("null".to_owned()), 1)]).is_empty());
    }
}
