//! `howdah doctor`.

use clap::{Arg, ArgAction};
use howdah_plan::problem::{Kind, Problem};
use serde::Deserialize;
use serde_json::Value;

use super::super::common::Format;
use super::super::print::{self, field};
use super::presenter::{Flag, Presenter, Whom};
use crate::doctor::{Report, render};

const FIX: &str = "fix";
const VERBOSE: &str = "verbose";

const COLUMNS: &[(&str, &str)] = &[
    ("Check", "check"),
    ("Severity", "severity"),
    ("Database", "database"),
    ("Object", "object"),
    ("Title", "title"),
    ("Measured", "measured"),
    ("Fix", "fix.text"),
];

/// `howdah doctor`. A server without Howdah has no REST: it is looked at from here.
pub const DOCTOR: Presenter = Presenter {
    skill: "doctor",
    flags: &[
        Flag { long: Some("check"), value: Some("NAME"), ..Flag::of("checks") },
        Flag { long: Some("database"), value: Some("NAME"), ..Flag::of("databases") },
    ],
    extra: || {
        let switch = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
        vec![
            Arg::new(FIX)
                .long(FIX)
                .value_parser(["safe", "all"])
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("safe")
                .help("Print the fixes as one SQL script for psql, those that are not safe as comments unless `all`; nothing is run"),
            switch(VERBOSE).short('v').help("Say why each finding matters"),
        ]
    },
    whom: Whom::Here,
    show: |asked, answer| {
        let report = Report::deserialize(answer).map_err(|error| {
            Problem::new(Kind::Internal, "the report cannot be read").detail(error.to_string())
        })?;
        let fix = asked.matches.get_one::<String>(FIX);
        match asked.common.output {
            Format::Table if fix.is_some() => {
                script(&report, fix.is_some_and(|which| which == "all"), asked.common.quiet);
            }
            Format::Table => print::out(&render::text(&report, asked.has(VERBOSE))),
            format => {
                let rows = field(answer, "findings").as_array().map_or(&[][..], Vec::as_slice);
                print::rows(format, answer, rows, COLUMNS);
            }
        }
        Ok(())
    },
    exit: |_, answer| exit(answer),
    ..Presenter::PLAIN
};

/// The script on standard output, and what is not in it on standard error.
fn script(report: &Report, unsafe_too: bool, quiet: bool) {
    print::out(&report.fixes(unsafe_too));
    if quiet {
        return;
    }
    for finding in report.without_script() {
        print::err(&format!(
            "no script for {}: {}\n  {}\n",
            finding.check, finding.measured, finding.fix.text
        ));
    }
    let commented = report.commented(unsafe_too);
    if commented > 0 {
        print::err(&format!(
            "note: {commented} of the script's fixes stand as comments: read them, or print them as statements with \
             `--fix=all`\n"
        ));
    }
    if report.findings.is_empty() {
        print::err("note: nothing was found, so there is nothing to mend\n");
    }
}

/// The report says it itself.
fn exit(answer: &Value) -> u8 {
    field(answer, "exit_code").as_u64().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
