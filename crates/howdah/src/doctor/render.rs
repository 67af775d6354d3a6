//! The report for people: groups, worst first, each finding with its measured value and its fix.

use std::fmt::Write;

use howdah_plan::check::{Area, Finding, FixKind, Severity};

use super::Report;

/// The report as text, without colour.
pub fn text(report: &Report, verbose: bool) -> String {
    let mut out = String::new();
    header(&mut out, report);
    for area in Area::ALL {
        let findings: Vec<&Finding> = report.findings.iter().filter(|finding| finding.area == area).collect();
        if findings.is_empty() {
            continue;
        }
        let _ = writeln!(out, "\n{}", area.title());
        // Findings of one check follow each other: what they share is said once.
        for group in findings.chunk_by(|a, b| a.check == b.check && a.severity == b.severity) {
            entry(&mut out, group, verbose);
        }
    }
    not_run(&mut out, report, verbose);
    let _ = writeln!(out, "\n{}", summary(report));
    out
}

/// One line: how many of what.
pub fn summary(report: &Report) -> String {
    let summary = report.summary;
    format!(
        "{} critical, {} high, {} medium, {} info; {} passed, {} not run",
        summary.critical, summary.high, summary.medium, summary.info, summary.passed, summary.not_run
    )
}

/// The mark in front of a finding.
pub const fn mark(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "CRITICAL",
        Severity::High => "HIGH",
        Severity::Medium => "medium",
        Severity::Info => "info",
    }
}

fn header(out: &mut String, report: &Report) {
    let server = &report.server;
    let platform = server.platform.as_deref().map(|platform| format!(" ({platform})")).unwrap_or_default();
    let replica = if server.replica { ", a replica" } else { "" };
    let _ = writeln!(out, "PostgreSQL {}{platform} at {}{replica}", server.version, server.address);
    for (database, pgvector) in &server.databases {
        let pgvector =
            pgvector.as_deref().map_or("no pgvector".to_owned(), |version| format!("pgvector {version}"));
        let _ = writeln!(out, "  {database}: {pgvector}");
    }
}

fn entry(out: &mut String, group: &[&Finding], verbose: bool) {
    let [first, ..] = group else { return };
    if let [finding] = group {
        let _ = writeln!(
            out,
            "  {:<8} {}{}: {}",
            mark(finding.severity),
            finding.title,
            place(finding),
            finding.measured
        );
    } else {
        let _ = writeln!(out, "  {:<8} {}", mark(first.severity), first.title);
        for finding in group {
            let _ = writeln!(out, "          {}: {}", place(finding), finding.measured);
        }
    }
    let _ = writeln!(out, "           {} · {}", first.check, first.doc);
    if verbose {
        let _ = writeln!(out, "           {}", first.why);
    }
    let mut said: Vec<&str> = Vec::new();
    for finding in group {
        if said.contains(&finding.fix.text.as_str()) {
            continue;
        }
        said.push(&finding.fix.text);
        let label = match finding.fix.kind {
            FixKind::Sql => "sql",
            FixKind::Command => "run",
            FixKind::Advice => "fix",
        };
        for (n, line) in finding.fix.text.lines().enumerate() {
            let label = if n == 0 { label } else { "" };
            let _ = writeln!(out, "           {label:>3} {line}");
        }
    }
}

/// Where it is: database and object, in brackets.
fn place(finding: &Finding) -> String {
    match (&finding.database, &finding.object) {
        (Some(database), Some(object)) => format!(" [{database}: {object}]"),
        (Some(database), None) => format!(" [{database}]"),
        (None, Some(object)) => format!(" [{object}]"),
        (None, None) => String::new(),
    }
}

fn not_run(out: &mut String, report: &Report, verbose: bool) {
    if report.not_run.is_empty() {
        return;
    }
    let mut by_reason: Vec<(&str, Vec<String>)> = Vec::new();
    for missing in &report.not_run {
        let name = match &missing.database {
            Some(database) => format!("{} ({database})", missing.check),
            None => missing.check.clone(),
        };
        match by_reason.iter_mut().find(|(reason, _)| *reason == missing.reason) {
            Some((_, names)) => names.push(name),
            None => by_reason.push((&missing.reason, vec![name])),
        }
    }
    let _ = writeln!(out, "\nnot run");
    for (reason, names) in by_reason {
        if verbose || names.len() <= 3 {
            let _ = writeln!(out, "  {reason}: {}", names.join(", "));
        } else {
            let _ = writeln!(out, "  {reason}: {} and {} more", names[..3].join(", "), names.len() - 3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{NotRun, Report, ServerFacts};
    use howdah_plan::check::Fix;

    fn finding(check: &str, object: &str, severity: Severity) -> Finding {
        Finding {
            check: check.into(),
            area: Area::VectorIndex,
            severity,
            title: "it is broken".into(),
            database: Some("app".into()),
            object: Some(object.into()),
            measured: format!("{object} measured"),
            why: "It matters.".into(),
            fix: Fix { kind: FixKind::Sql, text: "VACUUM t".into(), safe: true },
            doc: "docs/doctor.md#x".into(),
        }
    }

    fn report(findings: Vec<Finding>, strict: bool) -> Report {
        let not_run = ["a", "b", "c", "d"].map(|check| NotRun {
            check: check.into(),
            database: None,
            reason: "only a superuser sees it".into(),
        });
        let server = ServerFacts {
            address: "127.0.0.1:5432".into(),
            version: "18.4".into(),
            ..ServerFacts::default()
        };
        Report::new(server, findings, vec![], not_run.into(), strict)
    }

    #[test]
    fn a_report_is_grouped_and_the_worst_comes_first() {
        let findings = vec![
            finding("b.second", "t", Severity::Medium),
            finding("a.first", "u", Severity::Critical),
            finding("b.second", "s", Severity::Medium),
        ];
        insta::assert_snapshot!(text(&report(findings, false), true));
    }

    #[test]
    fn the_exit_code_says_whether_something_counts() {
        let code = |severity, strict| report(vec![finding("a", "t", severity)], strict).exit_code;
        assert_eq!((code(Severity::Critical, false), code(Severity::High, false)), (7, 7));
        assert_eq!((code(Severity::Medium, false), code(Severity::Medium, true)), (0, 7));
        assert_eq!((code(Severity::Info, true), report(vec![], true).exit_code), (0, 0));
    }

    #[test]
    fn the_script_has_every_fix_and_psql_runs_only_the_safe_ones() {
        let with = |check: &str, kind, text: &str, safe| Finding {
            fix: Fix { kind, text: text.into(), safe },
            database: None,
            ..finding(check, "t", Severity::High)
        };
        let all = report(
            vec![
                with("a.safe", FixKind::Sql, "ALTER SYSTEM SET jit = off;\nSELECT pg_reload_conf()", true),
                with("b.unsafe", FixKind::Sql, "DROP INDEX i", false),
                with("c.shell", FixKind::Command, "howdah apply", false),
                with("d.gap", FixKind::Sql, "CREATE INDEX ON t (<column>)", false),
                with("e.advice", FixKind::Advice, "Think.", false),
            ],
            false,
        );
        let runs = |script: &str| -> Vec<String> {
            script.lines().filter(|line| !line.starts_with("--")).map(str::to_owned).collect()
        };
        let script = all.fixes(false);
        assert_eq!(runs(&script), ["ALTER SYSTEM SET jit = off;", "SELECT pg_reload_conf();"], "{script}");
        for words in ["--   DROP INDEX i\n", "-- in a shell:\n--   howdah apply\n", "-- to be completed:\n"] {
            assert!(script.contains(words), "{words}: {script}");
        }
        assert!(!script.contains("Think."), "{script}");
        assert_eq!((all.commented(false), all.commented(true)), (2, 1));
        let more = all.fixes(true);
        assert_eq!(runs(&more)[2..], ["DROP INDEX i;"], "{more}");
        assert_eq!(
            all.without_script().map(|finding| finding.check.as_str()).collect::<Vec<_>>(),
            ["e.advice"]
        );
    }
}
