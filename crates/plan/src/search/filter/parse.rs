//! Reading the JSON filter. Every mistake names the key it was found under.

use serde_json::{Map, Value};

use super::{Expr, Kind, MAX_DEPTH, MAX_TESTS, MAX_VALUES, Operand, Order, Scope, Test};
use crate::problem::{self, Problem};
use crate::spec::resolve::nearest;

const OPERATORS: [&str; 10] = ["eq", "ne", "gt", "gte", "lt", "lte", "in", "not_in", "exists", "contains"];

/// Reads a filter against what it may name.
///
/// # Errors
/// `usage`: an unknown key or operator (with the nearest one), a value that does not fit, too deep, too long.
pub fn parse(filter: &Value, scope: &Scope) -> Result<Expr, Problem> {
    Reader { scope, tests: 0 }.object(as_object(filter)?, 1)
}

/// The filter as an object, which every filter is.
///
/// # Errors
/// `usage` where it is something else.
pub fn as_object(filter: &Value) -> Result<&Map<String, Value>, Problem> {
    filter.as_object().ok_or_else(|| {
        usage(format!("a filter is an object, not {}", what(filter))).hint("Write it as `{\"year\": 2020}`.")
    })
}

struct Reader<'a> {
    scope: &'a Scope,
    tests: usize,
}

impl Reader<'_> {
    fn object(&mut self, object: &Map<String, Value>, depth: usize) -> Result<Expr, Problem> {
        if depth > MAX_DEPTH {
            return Err(usage(format!("the filter is nested deeper than {MAX_DEPTH}")));
        }
        let mut all = Vec::with_capacity(object.len());
        for (key, value) in object {
            all.push(match key.as_str() {
                "and" => Expr::And(self.list("and", value, depth)?),
                "or" => Expr::Or(self.list("or", value, depth)?),
                "not" => match value {
                    Value::Object(inner) => Expr::Not(Box::new(self.object(inner, depth + 1)?)),
                    other => return Err(usage(format!("`not` takes a filter, not {}", what(other)))),
                },
                key => self.tests_of(key, value)?,
            });
        }
        Ok(one_or_all(all))
    }

    fn list(&mut self, name: &str, value: &Value, depth: usize) -> Result<Vec<Expr>, Problem> {
        let Value::Array(items) = value else {
            return Err(usage(format!("`{name}` takes a list of filters, not {}", what(value))));
        };
        items
            .iter()
            .map(|item| match item {
                Value::Object(inner) => self.object(inner, depth + 1),
                other => Err(usage(format!("`{name}` takes a list of filters, and one is {}", what(other)))),
            })
            .collect()
    }

    fn tests_of(&mut self, key: &str, value: &Value) -> Result<Expr, Problem> {
        let target = self.target(key)?;
        let Value::Object(operators) = value else {
            return self.test(key, &target, "eq", value);
        };
        if operators.is_empty() {
            return Err(usage(format!("`{key}` has no operator"))
                .hint(format!("Operators are: {}.", OPERATORS.join(", "))));
        }
        let tests: Result<Vec<Expr>, Problem> =
            operators.iter().map(|(operator, value)| self.test(key, &target, operator, value)).collect();
        Ok(one_or_all(tests?))
    }

    fn target(&self, key: &str) -> Result<Operand, Problem> {
        if let Some((_, name, kind)) = self.scope.columns.iter().find(|(known, ..)| known == key) {
            return match kind {
                Kind::Other(name) => Err(usage(format!("`{key}` cannot be filtered on"))
                    .detail(format!("its type is `{name}`"))
                    .hint("Filter on a number, text, boolean, uuid, date or time, or on metadata.")),
                _ => Ok(Operand::Column { name: name.clone(), kind: kind.clone() }),
            };
        }
        if let Some(path) = key.strip_prefix("metadata.") {
            let Some(column) = &self.scope.metadata else {
                return Err(usage(format!("`{key}`: this collection has no metadata column"))
                    .hint("Name its JSONB column under `adopt.metadata` in howdah.toml."));
            };
            let path = split_path(path).ok_or_else(|| {
                usage(format!("`{key}` is not a path"))
                    .hint("Write `metadata.a.b`; quote a part that holds a dot: `metadata.\"a.b\".c`.")
            })?;
            no_nul(key, key)?;
            return Ok(Operand::Metadata { column: column.clone(), path });
        }
        Err(self.unknown(key))
    }

    fn unknown(&self, key: &str) -> Problem {
        let mut names: Vec<&str> = self.scope.keys().collect();
        if self.scope.metadata.is_some() {
            names.push("metadata.<path>");
        }
        let problem =
            usage(format!("unknown filter key `{key}`")).detail(format!("keys are: {}", names.join(", ")));
        let bare = key.trim_start_matches('$').to_ascii_lowercase();
        let word = ["and", "or", "not"].into_iter().find(|word| *word == bare);
        match word.or_else(|| nearest(key, self.scope.keys())) {
            Some(near) => problem.hint(format!("Did you mean `{near}`?")),
            None if self.scope.metadata.is_some() => {
                problem.hint(format!("For a key of the metadata write `metadata.{key}`."))
            }
            None => problem.hint(format!("Declare it under `fields` in howdah.toml: `{key} = \"text\"`.")),
        }
    }

    fn test(&mut self, key: &str, target: &Operand, operator: &str, value: &Value) -> Result<Expr, Problem> {
        self.tests += 1;
        if self.tests > MAX_TESTS {
            return Err(usage(format!("the filter has more than {MAX_TESTS} tests"))
                .hint("Use `in` for many values of one key."));
        }
        let yes = |test| Expr::Test(target.clone(), test);
        let not = |test| Expr::Not(Box::new(Expr::Test(target.clone(), test)));
        Ok(match (operator, value) {
            ("eq", Value::Null) => not(Test::Exists),
            ("ne", Value::Null) => yes(Test::Exists),
            ("eq", value) => yes(Test::Equals(scalar(key, target, value)?)),
            ("ne", value) => not(Test::Equals(scalar(key, target, value)?)),
            ("gt", value) => yes(ordered(key, target, Order::Greater, value)?),
            ("gte", value) => yes(ordered(key, target, Order::GreaterOrEqual, value)?),
            ("lt", value) => yes(ordered(key, target, Order::Less, value)?),
            ("lte", value) => yes(ordered(key, target, Order::LessOrEqual, value)?),
            ("in", value) => yes(Test::In(scalars(key, target, value)?)),
            ("not_in", value) => not(Test::In(scalars(key, target, value)?)),
            ("exists", Value::Bool(true)) => yes(Test::Exists),
            ("exists", Value::Bool(false)) => not(Test::Exists),
            ("exists", other) => return Err(needs(key, "exists", "true or false", other)),
            ("contains", value) => yes(Test::Contains(element(key, target, value)?)),
            (unknown, _) => return Err(unknown_operator(key, unknown)),
        })
    }
}

fn one_or_all(mut all: Vec<Expr>) -> Expr {
    if all.len() == 1 { all.remove(0) } else { Expr::And(all) }
}

fn unknown_operator(key: &str, operator: &str) -> Problem {
    let problem = usage(format!("unknown operator `{operator}` under `{key}`"))
        .detail(format!("operators are: {}", OPERATORS.join(", ")));
    match nearest(operator.trim_start_matches('$'), OPERATORS) {
        Some(near) => problem.hint(format!("Did you mean `{near}`?")),
        None => problem.hint(format!("For a key inside the metadata write `metadata.{key}.{operator}`.")),
    }
}

/// A value that the target can equal.
fn scalar(key: &str, target: &Operand, value: &Value) -> Result<Value, Problem> {
    match (target, value) {
        (_, Value::Array(_)) => Err(usage(format!("`{key}` cannot equal a list")).hint(
            "For one of several values write `{\"in\": […]}`; for an array that holds a value, `contains`.",
        )),
        (_, Value::Object(_)) => Err(usage(format!("`{key}` cannot equal an object"))
            .hint("Name the place inside it: `metadata.a.b`.")),
        (Operand::Column { kind: Kind::Array(_), .. }, _) => Err(usage(format!("`{key}` is an array"))
            .hint(format!("Write `{{\"{key}\": {{\"contains\": {value}}}}}`."))),
        (target, value) => fitting(key, target, value),
    }
}

fn scalars(key: &str, target: &Operand, value: &Value) -> Result<Vec<Value>, Problem> {
    let Value::Array(values) = value else { return Err(needs(key, "in", "a list", value)) };
    if values.len() > MAX_VALUES {
        return Err(usage(format!("`in` under `{key}` has {} values", values.len()))
            .detail(format!("at most {MAX_VALUES} are allowed")));
    }
    values
        .iter()
        .map(|value| match value {
            Value::Null => Err(usage(format!("`in` under `{key}` holds null"))
                .hint("For a missing value write `{\"exists\": false}`.")),
            value => scalar(key, target, value),
        })
        .collect()
}

fn ordered(key: &str, target: &Operand, order: Order, value: &Value) -> Result<Test, Problem> {
    match target {
        Operand::Column { kind, .. } if !kind.ordered() => {
            return Err(usage(format!("`{key}` is `{}`, which has no order", kind.name())));
        }
        Operand::Metadata { .. } if !value.is_number() && !value.is_string() => {
            return Err(needs(key, "a comparison", "a number or a string", value));
        }
        _ => {}
    }
    Ok(Test::Compares(order, scalar(key, target, value)?))
}

/// A value that the target, an array, can hold.
fn element(key: &str, target: &Operand, value: &Value) -> Result<Value, Problem> {
    match (target, value) {
        (_, Value::Null | Value::Array(_) | Value::Object(_)) => {
            Err(needs(key, "contains", "a string, a number or a boolean", value))
        }
        (Operand::Column { kind: Kind::Array(_), .. } | Operand::Metadata { .. }, value) => {
            fitting(key, target, value)
        }
        (Operand::Column { kind, .. }, _) => {
            Err(usage(format!("`{key}` is `{}`, not an array", kind.name())))
        }
    }
}

fn fitting(key: &str, target: &Operand, value: &Value) -> Result<Value, Problem> {
    if let Value::String(text) = value {
        no_nul(key, text)?;
    }
    match target {
        Operand::Metadata { .. } => Ok(value.clone()),
        Operand::Column { kind, .. } => kind.fit(value).map_err(|fits| {
            usage(format!("`{key}` is `{}`, and {} is not", kind.name(), shown(value)))
                .hint(format!("It needs {fits}."))
        }),
    }
}

fn no_nul(key: &str, text: &str) -> Result<(), Problem> {
    if text.contains('\0') {
        return Err(usage(format!("the value for `{}` holds a NUL character", key.replace('\0', "\\0")))
            .detail("PostgreSQL stores no NUL in text, so no row can match"));
    }
    Ok(())
}

/// Splits `a.b` and `"a.b".c` into keys.
fn split_path(path: &str) -> Option<Vec<String>> {
    let mut keys = Vec::new();
    let mut rest = path;
    loop {
        let (key, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').map(|(key, after)| (key.to_owned(), after))?,
            None => {
                let end = rest.find('.').unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        if key.is_empty() || keys.len() == MAX_DEPTH {
            return None;
        }
        keys.push(key);
        match after.strip_prefix('.') {
            Some(next) => rest = next,
            None if after.is_empty() => return Some(keys),
            None => return None,
        }
    }
}

fn usage(message: String) -> Problem {
    Problem::new(problem::Kind::Usage, message)
}

fn needs(key: &str, operator: &str, wanted: &str, got: &Value) -> Problem {
    usage(format!("`{operator}` under `{key}` needs {wanted}, not {}", what(got)))
}

/// A value for a message, cut where it is long.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("`{}…`", &text[..at]),
        None => format!("`{text}`"),
    }
}

fn what(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
