//! `howdah collections list` and `show`.

use serde_json::Value;

use super::super::chart;
use super::super::common::Format;
use super::super::print::{self, cell, field};
use super::presenter::Presenter;

/// `howdah collections list`.
pub const LIST: Presenter = Presenter {
    skill: "list_collections",
    show: |asked, answer| {
        let mut rows = field(answer, "collections").as_array().cloned().unwrap_or_default();
        if asked.common.output == Format::Table {
            rows.iter_mut().for_each(said);
        }
        print::rows(asked.common.output, answer, &rows, COLUMNS);
        Ok(())
    },
    ..Presenter::PLAIN
};

/// `howdah collections show`.
pub const DESCRIBE: Presenter = Presenter {
    skill: "describe_collection",
    show: |asked, answer| {
        match asked.common.output {
            Format::Table => show(answer),
            format => print::rows(format, answer, std::slice::from_ref(answer), COLUMNS),
        }
        Ok(())
    },
    ..Presenter::PLAIN
};

const COLUMNS: &[(&str, &str)] = &[
    ("Collection", "name"),
    ("State", "state"),
    ("Rows", "rows"),
    ("Documents", "documents"),
    ("Dimensions", "dimensions"),
    ("Metric", "metric"),
    ("Index", "index"),
    ("Table", "table_bytes"),
    ("Indexes", "index_bytes"),
];

/// Numbers as people read them.
fn said(row: &mut Value) {
    for name in ["table_bytes", "index_bytes"] {
        if let Some(count) = row[name].as_u64() {
            row[name] = print::bytes(count).into();
        }
    }
    for name in ["rows", "documents"] {
        if let Some(count) = row[name].as_u64() {
            row[name] = print::thousands(count).into();
        }
    }
}

fn show(answer: &Value) {
    let mut answer = answer.clone();
    said(&mut answer);
    let counted = if field(&answer, "rows_exact") == &Value::Bool(true) { "" } else { " (estimated)" };
    let text = |path: &str| cell(field(&answer, path));
    let fields: Vec<String> = field(&answer, "fields")
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| format!("{} {}", cell(field(one, "name")), cell(field(one, "type"))))
        .collect();
    let mut lines = vec![
        ("State".to_owned(), text("state")),
        ("Table".to_owned(), format!("{} in {}, {}", text("table"), text("database"), text("table_bytes"))),
        ("Rows".to_owned(), format!("{}{counted}", text("rows"))),
        ("Documents".to_owned(), text("documents")),
        ("Without embedding".to_owned(), text("null_embeddings")),
        (
            "Embedding".to_owned(),
            format!("{}({}), {} distance", text("storage"), text("dimensions"), text("metric")),
        ),
        ("Model".to_owned(), text("model")),
        ("Language".to_owned(), text("language")),
        ("Fields".to_owned(), fields.join(", ")),
        ("Last ingest".to_owned(), print::moment(&text("last_ingest"))),
        ("No index".to_owned(), text("no_index")),
    ];
    for index in field(&answer, "indexes").as_array().into_iter().flatten() {
        let valid = if field(index, "valid") == &Value::Bool(true) { "" } else { ", not valid" };
        let size = print::bytes(field(index, "bytes").as_u64().unwrap_or_default());
        lines.push((
            "Index".to_owned(),
            format!("{} {}, {size}{valid}", cell(field(index, "name")), cell(field(index, "method"))),
        ));
    }
    lines.retain(|(_, value)| !value.is_empty());
    print::out(&chart::boxed(&text("name"), &lines));
}
