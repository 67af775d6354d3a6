//! The filter in plain Rust: the slow truth that the SQL is compared with.

use serde_json::{Map, Value};

use super::kind::compare_numbers;
use super::{Expr, Operand, Test};

/// Whether a row matches. `row` has one value a column, NULL being JSON `null` or absent, the metadata among them.
pub fn matches(expr: &Expr, row: &Map<String, Value>) -> bool {
    match expr {
        Expr::And(items) => items.iter().all(|item| matches(item, row)),
        Expr::Or(items) => items.iter().any(|item| matches(item, row)),
        Expr::Not(inner) => !matches(inner, row),
        Expr::Test(target, test) => find(target, row).is_some_and(|value| holds(target, test, value)),
    }
}

/// The value tested; none where it is missing or null.
fn find<'a>(target: &Operand, row: &'a Map<String, Value>) -> Option<&'a Value> {
    let value = match target {
        Operand::Column { name, .. } => row.get(name)?,
        Operand::Metadata { column, path } => {
            path.iter().try_fold(row.get(column)?, |value, key| value.as_object()?.get(key))?
        }
    };
    (!value.is_null()).then_some(value)
}

fn holds(target: &Operand, test: &Test, value: &Value) -> bool {
    match test {
        Test::Exists => true,
        Test::Equals(wanted) => equal(value, wanted),
        Test::In(wanted) => wanted.iter().any(|wanted| equal(value, wanted)),
        Test::Contains(wanted) => value.as_array().is_some_and(|held| held.iter().any(|v| equal(v, wanted))),
        Test::Compares(order, wanted) => match target {
            Operand::Column { kind, .. } => kind.compare(*order, value, wanted),
            Operand::Metadata { .. } => super::Kind::Text.compare(*order, value, wanted),
        },
    }
}

fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => compare_numbers(a, b).is_some_and(std::cmp::Ordering::is_eq),
        (a, b) => a == b,
    }
}
