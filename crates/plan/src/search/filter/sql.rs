//! The filter as an SQL condition.
//!
//! Only column names (quoted) and operators stand in the text; every value, and every key of a metadata path, is bound.
//! `not` is pushed down to the tests, where it becomes `IS NOT TRUE`: so a test that comes out NULL counts as false, its
//! negation as true, and the tests that are not negated stay in the plain form that an index can serve.

use serde_json::{Map, Value, json};

use super::{Expr, Operand, Test};
use crate::search::param::{Param, Params};
use crate::spec::resolve::quote_ident;

/// The condition, over a table with the alias `alias`. The values are appended to `params`.
pub fn condition(expr: &Expr, alias: &str, params: &mut Params) -> String {
    Writer { alias, params }.expr(expr, false)
}

struct Writer<'a> {
    alias: &'a str,
    params: &'a mut Params,
}

impl Writer<'_> {
    fn expr(&mut self, expr: &Expr, negated: bool) -> String {
        match expr {
            Expr::Not(inner) => self.expr(inner, !negated),
            Expr::And(items) => self.join(items, if negated { "OR" } else { "AND" }, negated),
            Expr::Or(items) => self.join(items, if negated { "AND" } else { "OR" }, negated),
            Expr::Test(target, Test::Exists) => self.exists(target, negated),
            Expr::Test(target, test) => {
                let sql = self.test(target, test);
                if negated { format!("({sql}) IS NOT TRUE") } else { sql }
            }
        }
    }

    fn join(&mut self, items: &[Expr], word: &str, negated: bool) -> String {
        if items.is_empty() {
            return if word == "AND" { "TRUE".into() } else { "FALSE".into() };
        }
        let parts: Vec<String> = items.iter().map(|item| self.expr(item, negated)).collect();
        format!("({})", parts.join(&format!(" {word} ")))
    }

    fn column(&self, name: &str) -> String {
        format!("{}.{}", self.alias, quote_ident(name))
    }

    /// The metadata: an adopted column may be `json`, and on `jsonb` the cast is none.
    fn json(&self, name: &str) -> String {
        format!("{}::jsonb", self.column(name))
    }

    fn exists(&mut self, target: &Operand, negated: bool) -> String {
        match target {
            Operand::Column { name, .. } => {
                format!("{} IS {}NULL", self.column(name), if negated { "" } else { "NOT " })
            }
            Operand::Metadata { column, path } => {
                let path = self.params.bind(Param::Text(format!("{} ? (@ != null)", json_path(path))));
                let sql = format!("jsonb_path_exists({}, {path}::jsonpath, '{{}}', true)", self.json(column));
                if negated { format!("({sql}) IS NOT TRUE") } else { sql }
            }
        }
    }

    fn test(&mut self, target: &Operand, test: &Test) -> String {
        match target {
            Operand::Column { name, kind } => {
                let column = self.column(name);
                let mut bind = |(param, cast): (Param, &str)| format!("{}{cast}", self.params.bind(param));
                match test {
                    Test::Equals(value) => format!("{column} = {}", bind(kind.param(value))),
                    Test::Compares(order, value) => {
                        format!("{column} {} {}", order.sql(), bind(kind.param(value)))
                    }
                    Test::In(values) => format!("{column} = ANY ({})", bind(kind.params(values))),
                    Test::Contains(value) => format!("{} = ANY ({column})", bind(kind.param(value))),
                    Test::Exists => format!("{column} IS NOT NULL"),
                }
            }
            Operand::Metadata { column, path } => self.metadata(column, path, test),
        }
    }

    /// Equality is containment, which the GIN index serves. Comparison is a strict JSON path, silent on rows where the
    /// path leads nowhere or to another type: those do not match, and raise nothing.
    fn metadata(&mut self, column: &str, path: &[String], test: &Test) -> String {
        let column = self.json(column);
        match test {
            Test::Equals(value) => {
                let holds = self.params.bind(Param::Text(nested(path, value).to_string()));
                format!("{column} @> {holds}::jsonb")
            }
            Test::In(values) => {
                let all = values.iter().map(|value| nested(path, value).to_string()).collect();
                let holds = self.params.bind(Param::Texts(all));
                format!("{column} @> ANY ({holds}::jsonb[])")
            }
            Test::Contains(value) => {
                let holds = self.params.bind(Param::Text(nested(path, &json!([value])).to_string()));
                format!("{column} @> {holds}::jsonb")
            }
            Test::Compares(order, value) => {
                let path = format!("{} ? (@ {} $v)", json_path(path), order.sql());
                let path = self.params.bind(Param::Text(path));
                let value = self.params.bind(Param::Text(json!({"v": value}).to_string()));
                format!("jsonb_path_exists({column}, {path}::jsonpath, {value}::jsonb, true)")
            }
            Test::Exists => self.exists(&Operand::Metadata { column, path: path.to_vec() }, false),
        }
    }
}

/// `strict $."a"."b"`
fn json_path(path: &[String]) -> String {
    path.iter().fold("strict $".to_owned(), |sofar, key| format!("{sofar}.{}", Value::from(key.as_str())))
}

/// `{"a": {"b": value}}`
fn nested(path: &[String], value: &Value) -> Value {
    path.iter().rev().fold(value.clone(), |inner, key| {
        let mut object = Map::new();
        object.insert(key.clone(), inner);
        Value::Object(object)
    })
}
