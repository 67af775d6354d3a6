//! `howdah status`: nothing is started for the question.

use howdah_plan::problem::Kind;
use serde_json::Value;

use super::super::chart;
use super::super::common::Format;
use super::super::print::{self, cell, field};
use super::presenter::{Presenter, Whom};

const COLUMNS: &[(&str, &str)] =
    &[("Name", "name"), ("Health", "health.status"), ("Database", "database_url"), ("REST", "rest")];

/// `howdah status`.
pub const STATUS: Presenter = Presenter {
    skill: "status",
    whom: Whom::Running,
    show: |asked, status| {
        match asked.common.output {
            Format::Table => print::out(&boxed(status)),
            format => print::rows(format, status, std::slice::from_ref(status), COLUMNS),
        }
        Ok(())
    },
    exit: |_, status| {
        let healthy = field(status, "health.database_connected") == true;
        if healthy { 0 } else { Kind::Unreachable.row().exit }
    },
    ..Presenter::PLAIN
};

fn boxed(status: &Value) -> String {
    let text = |path: &str| cell(field(status, path));
    let rest = match field(status, "rest") {
        Value::Null => "not running".to_owned(),
        address => cell(address),
    };
    let lines = [
        ("Health".to_owned(), text("health.status")),
        ("PostgreSQL".to_owned(), text("health.postgresql_version")),
        ("pgvector".to_owned(), text("health.pgvector_version")),
        ("Database".to_owned(), text("database_url")),
        ("REST".to_owned(), rest),
        ("Collections".to_owned(), text("collections")),
        ("Howdah".to_owned(), text("health.version")),
    ];
    chart::boxed(&text("name"), &lines)
}
