//! How is an answer shown that nobody has said anything about?
//!
//! An object as names and values, a list of objects as a table, what is nested deeper as JSON.

use serde_json::{Map, Value};

use super::super::common::Format;
use super::super::print;

/// Prints an answer.
pub fn show(format: Format, answer: &Value) {
    print::out(&text(format, answer));
}

/// An answer in the form asked for.
pub fn text(format: Format, answer: &Value) -> String {
    match format {
        Format::Json => print::pretty(answer),
        Format::Jsonl => rows(answer).iter().map(|row| format!("{row}\n")).collect(),
        Format::Csv => {
            let rows = rows(answer);
            print::csv(&rows, &columns(&rows))
        }
        Format::Table => table(answer),
    }
}

/// The rows of an answer: its only list of objects, or itself.
fn rows(answer: &Value) -> Vec<Value> {
    if let Value::Array(rows) = answer {
        return rows.clone();
    }
    let mut lists = answer.as_object().into_iter().flatten().filter_map(|(_, value)| list(value));
    match (lists.next(), lists.next()) {
        (Some(only), None) => only.clone(),
        _ => vec![answer.clone()],
    }
}

/// A list of objects.
fn list(value: &Value) -> Option<&Vec<Value>> {
    value.as_array().filter(|rows| rows.iter().any(Value::is_object))
}

/// Every field of any row, in the order they are met.
fn columns(rows: &[Value]) -> Vec<(&str, &str)> {
    let mut names: Vec<&str> = Vec::new();
    for name in rows.iter().filter_map(Value::as_object).flat_map(Map::keys) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    names.into_iter().map(|name| (name, name)).collect()
}

fn table(answer: &Value) -> String {
    match answer {
        Value::Array(rows) if list(answer).is_some() => of_rows(rows),
        Value::Object(fields) => {
            let (lists, plain): (Vec<_>, Vec<_>) = fields
                .iter()
                .filter(|(_, value)| !value.is_null())
                .partition(|(_, value)| list(value).is_some());
            let mut text = String::new();
            if !plain.is_empty() {
                let mut table = print::table(["Name", "Value"].into_iter());
                for (name, value) in plain {
                    table.add_row([words(name), cell(value)]);
                }
                text.push_str(&format!("{table}\n"));
            }
            for (name, rows) in lists {
                text.push_str(&format!("{}\n", words(name)));
                text.push_str(&of_rows(list(rows).map_or(&[], Vec::as_slice)));
            }
            text
        }
        other => format!("{}\n", cell(other)),
    }
}

fn of_rows(rows: &[Value]) -> String {
    let columns = columns(rows);
    let titles: Vec<String> = columns.iter().map(|(name, _)| words(name)).collect();
    let mut table = print::table(titles.iter().map(String::as_str));
    for row in rows {
        table.add_row(columns.iter().map(|(name, _)| cell(&row[*name])));
    }
    format!("{table}\n")
}

/// `took_ms` as people read it: `Took ms`.
fn words(name: &str) -> String {
    let spaced = name.replace('_', " ");
    let mut letters = spaced.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// A value: scalars and lists of them as words, everything else as JSON.
fn cell(value: &Value) -> String {
    match value {
        Value::Array(all) if all.iter().any(|one| one.is_object() || one.is_array()) => value.to_string(),
        value => print::moment(&print::cell(value)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn any_answer_is_readable() {
        let answer = json!({"took_ms": 2.5, "deep": {"a": [1]}, "none": null, "hits": [{"id": 1}, {"id": 2, "b": "x"}]});
        let table = text(Format::Table, &answer);
        for words in ["Took ms", "2.5000", "{\"a\":[1]}", "Hits", "Id", "x"] {
            assert!(table.contains(words), "{words}: {table}");
        }
        assert!(!table.contains("None"), "{table}");
        assert_eq!(text(Format::Jsonl, &answer), "{\"id\":1}\n{\"id\":2,\"b\":\"x\"}\n");
        assert_eq!(text(Format::Csv, &answer), "id,b\n1,\n2,x\n");
        assert_eq!(text(Format::Csv, &json!({"a": 1, "b": [true]})), "a,b\n1,true\n");
        assert_eq!(text(Format::Table, &json!("done")), "done\n");
    }
}
