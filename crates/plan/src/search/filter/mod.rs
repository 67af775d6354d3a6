//! Which rows count?
//!
//! The JSON filter, one grammar for every face:
//!
//! ```json
//! {"year": {"gte": 2019, "lt": 2024}, "metadata.lang": {"in": ["en", "de"]}, "not": {"source": "draft.md"}}
//! ```
//!
//! - A key is a declared field, `source`, `id`, `created_at`, or `metadata.<path>`; a path's part that holds a dot is
//!   quoted: `metadata."a.b".c`. Several keys of one object must all hold.
//! - `{"key": value}` is equality. Operators: `eq`, `ne`, `gt`, `gte`, `lt`, `lte`, `in`, `not_in`, `exists`, and `contains`
//!   for arrays. `and` and `or` take a list of filters, `not` takes one.
//! - A number never equals a string. A value that does not fit the field's SQL type is refused; a metadata value of
//!   another type merely does not match.
//! - **A missing value is not equal to anything, and nothing is unknown**: every test is true or false. So
//!   `{"not": {"owner": "ada"}}` and `{"owner": {"ne": "ada"}}` include the rows that have no owner, and `not` is always
//!   the exact complement. `{"owner": null}` means that it is missing; JSON `null` in metadata counts as missing.
//!
//! - An empty filter, and an `and` of nothing, holds for every row; an `or` of nothing and an `in` of nothing for none.
//!   [`Expr::constant`] says so, and whoever deletes by a filter refuses one that holds for every row.
//!
//! [`parse`] gives an [`Expr`]; [`sql`] turns it into a condition with bound parameters; [`evaluate`] says the same in plain
//! Rust, and a property test holds the two together on a real server.

mod evaluate;
mod kind;
mod parse;
mod sql;
#[cfg(test)]
mod tests;
pub mod types;

pub use evaluate::matches;
pub use kind::Kind;
pub(crate) use kind::uuid;
pub use parse::{as_object, parse};
pub use sql::condition;

use serde_json::Value;

use crate::spec::resolve::Resolved;

/// Deepest nesting of a filter.
pub const MAX_DEPTH: usize = 16;
/// Most tests in a filter.
pub const MAX_TESTS: usize = 256;
/// Most values of one `in`.
pub const MAX_VALUES: usize = 10_000;

/// A filter, understood and checked.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// All hold; true when there are none.
    And(Vec<Expr>),
    /// One holds; false when there are none.
    Or(Vec<Expr>),
    /// It does not hold.
    Not(Box<Expr>),
    /// One test.
    Test(Operand, Test),
}

impl Expr {
    /// What it comes to for every row, whatever is in it; none when that depends on the row.
    pub fn constant(&self) -> Option<bool> {
        let items = |items: &[Expr], decides: bool| {
            let all: Vec<Option<bool>> = items.iter().map(Expr::constant).collect();
            if all.contains(&Some(decides)) {
                return Some(decides);
            }
            all.iter().all(Option::is_some).then_some(!decides)
        };
        match self {
            Expr::And(all) => items(all, false),
            Expr::Or(any) => items(any, true),
            Expr::Not(inner) => inner.constant().map(|value| !value),
            Expr::Test(_, Test::In(values)) if values.is_empty() => Some(false),
            Expr::Test(..) => None,
        }
    }

    /// Whether it tests anything at all.
    pub fn has_tests(&self) -> bool {
        match self {
            Expr::And(items) | Expr::Or(items) => items.iter().any(Expr::has_tests),
            Expr::Not(inner) => inner.has_tests(),
            Expr::Test(..) => true,
        }
    }
}

/// What is tested.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// A column.
    Column {
        /// Its name in the table.
        name: String,
        /// Its type.
        kind: Kind,
    },
    /// A place in the metadata: object keys from the top.
    Metadata {
        /// The JSONB column.
        column: String,
        /// Keys.
        path: Vec<String>,
    },
}

/// The test. Values have been checked against the target's type.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    /// Is there and equals.
    Equals(Value),
    /// Is there and compares so.
    Compares(Order, Value),
    /// Is there and equals one of them.
    In(Vec<Value>),
    /// Is an array that holds it.
    Contains(Value),
    /// Is there.
    Exists,
}

/// An order comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Order {
    /// The operator.
    pub const fn sql(self) -> &'static str {
        match self {
            Order::Less => "<",
            Order::LessOrEqual => "<=",
            Order::Greater => ">",
            Order::GreaterOrEqual => ">=",
        }
    }

    /// Whether two compared values stand in this order.
    pub const fn holds(self, ordering: std::cmp::Ordering) -> bool {
        match self {
            Order::Less => ordering.is_lt(),
            Order::LessOrEqual => ordering.is_le(),
            Order::Greater => ordering.is_gt(),
            Order::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

/// What a filter on a collection may name.
#[derive(Debug, Clone, PartialEq)]
pub struct Scope {
    /// Key, column, type.
    columns: Vec<(String, String, Kind)>,
    /// The JSONB column.
    metadata: Option<String>,
}

impl Scope {
    /// The keys of a collection. `id_type` is the SQL type of its primary key.
    pub fn new(resolved: &Resolved, id_type: &str) -> Scope {
        let mut columns: Vec<(String, String, Kind)> = Vec::new();
        let mut add = |key: &str, column: &str, sql_type: &str| {
            if !columns.iter().any(|(known, ..)| known == key) {
                columns.push((key.to_owned(), column.to_owned(), Kind::of(sql_type)));
            }
        };
        for (name, sql_type) in &resolved.fields {
            add(name, name, sql_type);
        }
        if resolved.columns.key.len() == 1 {
            add("id", &resolved.columns.id, id_type);
        }
        if let Some(source) = &resolved.columns.source {
            add("source", source, "text");
        }
        if !resolved.adopted {
            add("created_at", "created_at", "timestamptz");
        }
        Scope { columns, metadata: resolved.columns.metadata.clone() }
    }

    /// Every key that can be named, for "did you mean".
    fn keys(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|(key, ..)| key.as_str())
    }
}
