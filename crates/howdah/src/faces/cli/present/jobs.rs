//! `howdah jobs`.

use serde_json::Value;

use super::super::common::Format;
use super::super::print::{self, cell, field, thousands};
use super::plain;
use super::presenter::Presenter;

const COLUMNS: &[(&str, &str)] = &[
    ("Id", "id"),
    ("Work", "skill"),
    ("State", "state"),
    ("Progress", "progress"),
    ("Asked for", "created_at"),
    ("Ended", "finished_at"),
    ("Because", "problem"),
];

/// `howdah jobs list`.
pub const LIST: Presenter = Presenter {
    skill: "list_jobs",
    show: |asked, answer| {
        let rows = field(answer, "jobs").as_array().map_or(&[][..], Vec::as_slice);
        match asked.common.output {
            Format::Table | Format::Csv => {
                let rows: Vec<Value> = rows.iter().map(in_words).collect();
                print::rows(asked.common.output, answer, &rows, COLUMNS);
            }
            format => print::rows(format, answer, rows, COLUMNS),
        }
        if rows.is_empty() && !asked.common.quiet {
            print::err("no jobs\n");
        }
        Ok(())
    },
    ..Presenter::PLAIN
};

/// `howdah jobs show`.
pub const SHOW: Presenter = Presenter {
    skill: "get_job",
    show: |asked, job| {
        match asked.common.output {
            Format::Table => plain::show(Format::Table, &in_words(job)),
            format => plain::show(format, job),
        }
        Ok(())
    },
    ..Presenter::PLAIN
};

/// `howdah jobs cancel`.
pub const CANCEL: Presenter = Presenter { skill: "cancel_job", show: SHOW.show, ..Presenter::PLAIN };

/// A job with its progress and its problem as people read them.
fn in_words(job: &Value) -> Value {
    let mut job = job.clone();
    let Some(fields) = job.as_object_mut() else { return job };
    if let Some(progress) = fields.get("progress").filter(|progress| progress.is_object()) {
        let words = progress_words(progress);
        fields.insert("progress".into(), words.into());
    }
    if let Some(problem) = fields.get("problem").filter(|problem| problem.is_object()) {
        let message = cell(field(problem, "message"));
        fields.insert("problem".into(), message.into());
    }
    job
}

/// `embed: 1,200 of 3,000 blocks, note`.
fn progress_words(progress: &Value) -> String {
    let text = |name: &str| cell(field(progress, name));
    let number = |name: &str| field(progress, name).as_u64().unwrap_or_default();
    let (done, total, unit) = (number("done"), number("total"), text("unit"));
    let amount = |count: u64| if unit == "bytes" { print::bytes(count) } else { thousands(count) };
    let far = match (done, total) {
        (0, 0) => String::new(),
        (done, 0) => amount(done),
        (done, total) => format!("{} of {}", amount(done), amount(total)),
    };
    let unit = if unit == "bytes" || far.is_empty() { String::new() } else { format!(" {unit}") };
    let far = format!("{far}{unit}").trim_end().to_owned();
    let step = text("step");
    let head = match (step.is_empty(), far.is_empty()) {
        (false, false) => format!("{step}: {far}"),
        _ => format!("{step}{far}"),
    };
    [head, text("note")].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn how_far_a_job_is_stands_in_words() {
        for (progress, words) in [
            (
                json!({"step": "embed", "done": 1200, "total": 3000, "unit": "blocks"}),
                "embed: 1,200 of 3,000 blocks",
            ),
            (
                json!({"step": "read", "done": 2048, "total": 0, "unit": "bytes", "note": "a.md"}),
                "read: 2.0 KiB, a.md",
            ),
            (json!({"step": "apply", "done": 0, "total": 0, "unit": ""}), "apply"),
            (json!({"note": "waiting"}), "waiting"),
            (json!({}), ""),
        ] {
            assert_eq!(progress_words(&progress), words);
        }
        let job = json!({"id": "1", "progress": {"step": "x"}, "problem": {"kind": "failed", "message": "no disk"}});
        assert_eq!(in_words(&job), json!({"id": "1", "progress": "x", "problem": "no disk"}));
    }
}
