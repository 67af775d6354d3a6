//! `howdah status`: nothing is started for the question.

use howdah_plan::problem::Kind;
use serde_json::Value;

use super::super::chart;
use super::super::common::Format;
use super::super::print::{self, cell, field};
use super::presenter::{Presenter, Whom};

const COLUMNS: &[(&str, &str)] = &[
    ("Name", "name"),
    ("Health", "health.status"),
    ("Because", "health.problem"),
    ("Database", "database_url"),
    ("REST", "rest"),
];

/// `howdah status`.
pub const STATUS: Presenter = Presenter {
    skill: "status",
    whom: Whom::Running,
    show: |asked, status| {
        let wrong = what_is_wrong(status);
        let mut status = status.clone();
        if let Some(wrong) = &wrong {
            // In every form of the answer, whatever the server had to say of it.
            status["health"]["problem"] = Value::String(wrong.clone());
        }
        match asked.common.output {
            Format::Table => print::out(&boxed(&status)),
            format => print::rows(format, &status, std::slice::from_ref(&status), COLUMNS),
        }
        if wrong.is_some() && !asked.common.quiet {
            print::err("hint: Look with `howdah doctor`, `howdah logs` and `howdah logs --postgres`.\n");
        }
        Ok(())
    },
    exit: |_, status| {
        if what_is_wrong(status).is_none() {
            return 0;
        }
        // Nothing of Howdah's runs and the database does not answer: that is not degraded, it is not there.
        let there = !field(status, "rest").is_null() || is(status, "health.database_connected");
        let kind = if there { Kind::Degraded } else { Kind::Unreachable };
        kind.row().exit
    },
    ..Presenter::PLAIN
};

fn is(status: &Value, path: &str) -> bool {
    field(status, path) == true
}

/// Why it is not healthy, where it is not.
fn what_is_wrong(status: &Value) -> Option<String> {
    let health = field(status, "health.status");
    if health == "healthy" {
        return None;
    }
    let told = field(status, "health.problem").as_str().map(str::to_owned);
    let missing = || {
        (is(status, "health.database_connected") && !is(status, "health.pgvector_enabled"))
            .then(|| "the extension `vector` is not in the database of the collections".to_owned())
    };
    Some(told.or_else(missing).unwrap_or_else(|| format!("the server says `{}`", cell(health))))
}

fn boxed(status: &Value) -> String {
    let text = |path: &str| cell(field(status, path));
    let rest = match field(status, "rest") {
        Value::Null => "not running".to_owned(),
        address => cell(address),
    };
    let mut lines = vec![("Health".to_owned(), text("health.status"))];
    let wrong = text("health.problem");
    if !wrong.is_empty() {
        lines.push(("Because".to_owned(), wrong));
    }
    lines.extend([
        ("PostgreSQL".to_owned(), text("health.postgresql_version")),
        ("pgvector".to_owned(), text("health.pgvector_version")),
        ("Database".to_owned(), text("database_url")),
        ("REST".to_owned(), rest),
        ("Collections".to_owned(), text("collections")),
        ("Howdah".to_owned(), text("health.version")),
    ]);
    chart::boxed(&text("name"), &lines)
}
