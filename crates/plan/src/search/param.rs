//! Values of a statement, kept apart from its text.
//!
//! A value reaches PostgreSQL only through [`Params::bind`], which leaves `$n` with a cast in the text. The cast pins the
//! parameter's type, so the statement can be sent without asking the server for its types first. [`with_literals`] writes
//! the values into the text for people to read and run; nothing in Howdah runs what it returns.

use crate::spec::resolve::quote_literal;

/// A bound value, in one of the few types that go over the wire.
#[derive(Debug, Clone, PartialEq)]
pub enum Param {
    /// `text`
    Text(String),
    /// `text[]`
    Texts(Vec<String>),
    /// `bigint`
    Integer(i64),
    /// `bigint[]`
    Integers(Vec<i64>),
    /// `double precision`
    Float(f64),
    /// `double precision[]`
    Floats(Vec<f64>),
    /// `boolean`
    Bool(bool),
    /// `boolean[]`
    Bools(Vec<bool>),
    /// `real[]`: what vectors travel as.
    Reals(Vec<f32>),
}

impl Param {
    /// Name of the SQL type.
    pub const fn sql_type(&self) -> &'static str {
        match self {
            Param::Text(_) => "text",
            Param::Texts(_) => "text[]",
            Param::Integer(_) => "bigint",
            Param::Integers(_) => "bigint[]",
            Param::Float(_) => "float8",
            Param::Floats(_) => "float8[]",
            Param::Bool(_) => "boolean",
            Param::Bools(_) => "boolean[]",
            Param::Reals(_) => "real[]",
        }
    }

    /// The value as an SQL literal, for people.
    fn literal(&self) -> String {
        fn array<T>(values: &[T], one: impl Fn(&T) -> String) -> String {
            quote_literal(&format!("{{{}}}", values.iter().map(one).collect::<Vec<_>>().join(",")))
        }
        let text = match self {
            Param::Text(v) => quote_literal(v),
            Param::Texts(v) => array(v, |s| format!("\"{}\"", s.replace('\\', "\\\\").replace('"', "\\\""))),
            Param::Integer(v) => quote_literal(&v.to_string()),
            Param::Integers(v) => array(v, ToString::to_string),
            Param::Float(v) => quote_literal(&v.to_string()),
            Param::Floats(v) => array(v, ToString::to_string),
            Param::Bool(v) => quote_literal(&v.to_string()),
            Param::Bools(v) => array(v, ToString::to_string),
            Param::Reals(v) => array(v, ToString::to_string),
        };
        // The placeholder's own cast follows in the text, so the literal needs none.
        text
    }
}

/// The bound values of one statement, in the order of their numbers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Params(pub Vec<Param>);

impl Params {
    /// Binds a value; returns its placeholder with the cast, `$3::text`.
    pub fn bind(&mut self, value: Param) -> String {
        let sql_type = value.sql_type();
        self.0.push(value);
        format!("${}::{sql_type}", self.0.len())
    }
}

/// The text with its values written in, to read and to run by hand. Placeholders inside quoted identifiers and strings
/// stay what they are.
pub fn with_literals(sql: &str, params: &[Param]) -> String {
    let mut out = String::with_capacity(sql.len());
    let mut rest = sql;
    while let Some(at) = rest.find(['$', '"', '\'']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let quote = rest.as_bytes()[0];
        if quote == b'$' {
            let digits = rest[1..].bytes().take_while(u8::is_ascii_digit).count();
            let number: usize = rest[1..=digits].parse().unwrap_or(0);
            match number.checked_sub(1).and_then(|i| params.get(i)) {
                Some(param) => out.push_str(&param.literal()),
                None => out.push_str(&rest[..=digits]),
            }
            rest = &rest[1 + digits..];
        } else {
            // A doubled quote ends one string and begins the next, which comes to the same.
            let end = rest[1..].bytes().position(|b| b == quote).map_or(rest.len(), |i| i + 2);
            out.push_str(&rest[..end]);
            rest = &rest[end..];
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_stand_where_the_placeholders_stood_and_quotes_are_doubled() {
        let mut params = Params::default();
        let a = params.bind(Param::Text("O'Reilly \\ $2".into()));
        let b = params.bind(Param::Texts(vec!["a\"b".into(), "c".into()]));
        let sql = format!("SELECT {a}, {b}, \"col$1\", 'it''s $1', $9");
        assert_eq!(
            with_literals(&sql, &params.0),
            "SELECT E'O''Reilly \\\\ $2'::text, E'{\"a\\\\\"b\",\"c\"}'::text[], \"col$1\", 'it''s $1', $9"
        );
    }
}
