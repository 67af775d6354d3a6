//! `howdah collections`, `get`, `delete` and `doctor`.

use std::process::ExitCode;

use howdah_plan::problem::{Kind, Problem};
use serde_json::{Map, Value, json};

use super::args::{Collections, CollectionsCommand, Common, Delete, Doctor, Format, Get};
use super::print::{self, cell, field};
use super::search::{json_flag, row_id};
use super::session::Session;
use super::{Outcome, chart};
use crate::doctor::{Report, render};

/// Lists or shows collections.
pub async fn collections(common: &Common, flags: &Collections) -> Outcome {
    let session = Session::open(common).await?;
    match &flags.command {
        None | Some(CollectionsCommand::List) => {
            let answer = session.call("list_collections", json!({})).await?;
            let mut rows = field(&answer, "collections").as_array().cloned().unwrap_or_default();
            if common.output == Format::Table {
                rows.iter_mut().for_each(said);
            }
            print::rows(common.output, &answer, &rows, COLUMNS);
        }
        Some(CollectionsCommand::Show { collection, exact }) => {
            let input = json!({"collection": collection, "exact": exact});
            let answer = session.call("describe_collection", input).await?;
            match common.output {
                Format::Table => show(&answer),
                format => print::rows(format, &answer, std::slice::from_ref(&answer), COLUMNS),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

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

/// Gets a row.
pub async fn get(common: &Common, flags: &Get) -> Outcome {
    let session = Session::open(common).await?;
    let input =
        json!({"collection": flags.collection, "id": row_id(&flags.id), "embedding": flags.embedding});
    let row = session.call("get_document", input).await?;
    match common.output {
        Format::Table | Format::Json => print::out(&print::pretty(&row)),
        format => print::rows(
            format,
            &row,
            std::slice::from_ref(&row),
            &[("Id", "id"), ("Source", "source"), ("Title", "title"), ("Text", "content")],
        ),
    }
    Ok(ExitCode::SUCCESS)
}

/// Deletes rows.
pub async fn delete(common: &Common, flags: &Delete) -> Outcome {
    let mut input = Map::new();
    input.insert("collection".into(), flags.collection.clone().into());
    if !flags.ids.is_empty() {
        input.insert("ids".into(), flags.ids.iter().map(|id| row_id(id)).collect());
    }
    if let Some(source) = &flags.source {
        input.insert("source".into(), source.clone().into());
    }
    if let Some(filter) = &flags.filter {
        input.insert("filter".into(), json_flag("--filter", filter)?);
    }
    input.insert("dry_run".into(), flags.dry_run.into());
    let session = Session::open(common).await?;
    let deleted = session.call("delete_documents", Value::Object(input)).await?;
    match common.output {
        Format::Table | Format::Csv => {
            let verb = if flags.dry_run { "would delete" } else { "deleted" };
            let many = |name| field(&deleted, name).as_u64().unwrap_or_default();
            print::out(&format!(
                "{verb} {} of {}\n",
                print::count(many("rows"), "row"),
                print::count(many("documents"), "document")
            ));
        }
        Format::Json | Format::Jsonl => print::out(&format!("{deleted}\n")),
    }
    Ok(ExitCode::SUCCESS)
}

/// Looks whether the server is well.
pub async fn doctor(common: &Common, flags: &Doctor) -> Outcome {
    let input = json!({
        "checks": flags.check,
        "databases": flags.database,
        "strict": flags.strict,
        "recall": flags.recall,
    });
    // The declaration as it is now, not as the running server read it; and a server without Howdah has no REST.
    let session = match &common.url {
        Some(_) => Session::open(common).await?,
        None => Session::Local(Session::own(common).await?.1),
    };
    let answer = session.call("doctor", input).await?;
    let report: Report = serde_json::from_value(answer.clone()).map_err(|error| {
        Problem::new(Kind::Internal, "the report cannot be read").detail(error.to_string())
    })?;
    match common.output {
        Format::Table if flags.fix => print::out(&report.fixes()),
        Format::Table => print::out(&render::text(&report, flags.verbose)),
        format => {
            let rows = field(&answer, "findings").as_array().cloned().unwrap_or_default();
            print::rows(
                format,
                &answer,
                &rows,
                &[
                    ("Check", "check"),
                    ("Severity", "severity"),
                    ("Database", "database"),
                    ("Object", "object"),
                    ("Title", "title"),
                    ("Measured", "measured"),
                    ("Fix", "fix.text"),
                ],
            );
        }
    }
    Ok(ExitCode::from(report.exit_code))
}
