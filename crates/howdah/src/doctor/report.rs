//! What the doctor says, as data.

use std::collections::BTreeMap;

use howdah_plan::check::{Finding, FixKind, Severity};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What to look at, and how hard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Databases to look at; every one that takes connections when empty.
    pub databases: Vec<String>,
    /// Checks to run, by name or by the beginning of a name (`pgv.`); all when empty.
    pub checks: Vec<String>,
    /// Whether medium findings count for the exit code too.
    pub strict: bool,
    /// Whether to compare the vector indexes' answers with the exact ones.
    pub recall: bool,
    /// Stored vectors to try for each index, with `recall`.
    pub recall_samples: u32,
    /// Longest time for one statement, in seconds.
    pub timeout_seconds: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            databases: Vec::new(),
            checks: Vec::new(),
            strict: false,
            recall: false,
            recall_samples: 20,
            timeout_seconds: 10,
        }
    }
}

/// The whole report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Which server it is about.
    pub server: ServerFacts,
    /// What is wrong, the worst first.
    pub findings: Vec<Finding>,
    /// Checks that found nothing.
    pub passed: Vec<Answer>,
    /// Checks that could not run.
    pub not_run: Vec<NotRun>,
    /// Counts.
    pub summary: Summary,
    /// Exit code of the command line: 0, or 7 when something counts (see [`Report::exit_code`]).
    pub exit_code: u8,
}

/// Which server it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServerFacts {
    /// Host and port, without any secret.
    pub address: String,
    /// Version of PostgreSQL, as it says itself.
    pub version: String,
    /// On whose PostgreSQL it is (`Amazon RDS`, `Debian or Ubuntu packages`, …, `run by Howdah`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Whether it is a replica.
    pub replica: bool,
    /// Databases that were looked at, with the version of pgvector in each.
    pub databases: BTreeMap<String, Option<String>>,
}

/// A check that ran.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Answer {
    /// Its name.
    pub check: String,
    /// Database it ran in; none for the whole server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
}

/// A check that could not run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NotRun {
    /// Its name.
    pub check: String,
    /// Database it should have run in; none for the whole server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// Why not.
    pub reason: String,
}

/// Counts of a report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// Critical findings.
    pub critical: usize,
    /// High findings.
    pub high: usize,
    /// Medium findings.
    pub medium: usize,
    /// Things worth knowing.
    pub info: usize,
    /// Checks that found nothing.
    pub passed: usize,
    /// Checks that could not run.
    pub not_run: usize,
}

impl Report {
    /// Puts a report together: sorts, counts, and decides the exit code.
    pub fn new(
        server: ServerFacts,
        mut findings: Vec<Finding>,
        passed: Vec<Answer>,
        not_run: Vec<NotRun>,
        strict: bool,
    ) -> Self {
        findings.sort_by(|a, b| {
            b.severity.cmp(&a.severity).then_with(|| {
                (a.area, &a.check, &a.database, &a.object).cmp(&(b.area, &b.check, &b.database, &b.object))
            })
        });
        let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
        let summary = Summary {
            critical: count(Severity::Critical),
            high: count(Severity::High),
            medium: count(Severity::Medium),
            info: count(Severity::Info),
            passed: passed.len(),
            not_run: not_run.len(),
        };
        let mut report = Report { server, findings, passed, not_run, summary, exit_code: 0 };
        report.exit_code = report.exit_code(strict);
        report
    }

    /// 7 (degraded) when there is a finding of severity high or critical, or, with `strict`, medium; else 0. Findings of
    /// severity info and checks that could not run never count: on a managed server some never can.
    pub fn exit_code(&self, strict: bool) -> u8 {
        let counts =
            |finding: &Finding| finding.severity.fails() || (strict && finding.severity == Severity::Medium);
        if self.findings.iter().any(counts) { howdah_plan::problem::Kind::Degraded.row().exit } else { 0 }
    }

    /// The fixes that are SQL or a command, as one script for psql, grouped by database; empty when there is none. What
    /// destroys, locks or needs a restart stands in it as a comment unless `unsafe_too`; a command for a shell and what has
    /// gaps to fill in always do. Nothing runs it.
    pub fn fixes(&self, unsafe_too: bool) -> String {
        let mut by_database: BTreeMap<Option<&str>, Vec<&Finding>> = BTreeMap::new();
        for finding in self.findings.iter().filter(|finding| finding.fix.kind != FixKind::Advice) {
            by_database.entry(finding.database.as_deref()).or_default().push(finding);
        }
        let mut script = String::new();
        for (database, findings) in by_database {
            if let Some(database) = database {
                script.push_str(&format!("\\connect \"{}\"\n", database.replace('"', "\"\"")));
            }
            let mut done: Vec<&str> = Vec::new();
            for finding in findings {
                if done.contains(&finding.fix.text.as_str()) {
                    continue;
                }
                done.push(&finding.fix.text);
                script.push_str(&statement(finding, unsafe_too));
            }
        }
        script
    }

    /// Findings without SQL and without a command: their fix is advice for a person.
    pub fn without_script(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.fix.kind == FixKind::Advice)
    }

    /// How many fixes stand as comments in [`Report::fixes`] though they are SQL.
    pub fn commented(&self, unsafe_too: bool) -> usize {
        let commented =
            |finding: &&Finding| finding.fix.kind == FixKind::Sql && obstacle(finding, unsafe_too).is_some();
        self.findings.iter().filter(commented).count()
    }
}

/// Why a fix is not to be run by psql as it stands.
fn obstacle(finding: &Finding, unsafe_too: bool) -> Option<&'static str> {
    let gap =
        finding.fix.text.split('<').skip(1).any(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()));
    match finding.fix.kind {
        FixKind::Command => Some("in a shell:"),
        _ if gap => Some("to be completed:"),
        _ if !finding.fix.safe && !unsafe_too => {
            Some("it may destroy, lock or need a restart; read it first:")
        }
        _ => None,
    }
}

/// One fix of the script, with a comment that says what it is for.
fn statement(finding: &Finding, unsafe_too: bool) -> String {
    let about = finding.object.as_deref().map(|object| format!(" ({object})")).unwrap_or_default();
    let head = format!("{}{about}: {}", finding.check, finding.measured).replace('\n', " ");
    let text = finding.fix.text.trim_end();
    match obstacle(finding, unsafe_too) {
        Some(why) => {
            let lines: String = text.lines().map(|line| format!("--   {line}\n")).collect();
            format!("-- {head}\n-- {why}\n{lines}")
        }
        None => format!("-- {head}\n{text}{}\n", if text.ends_with(';') { "" } else { ";" }),
    }
}
