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
        for finding in findings {
            entry(&mut out, finding, verbose);
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
    let platform = server.platform.as_deref().map(|platform| format!(" on {platform}")).unwrap_or_default();
    let replica = if server.replica { ", a replica" } else { "" };
    let _ = writeln!(out, "PostgreSQL {}{platform} at {}{replica}", server.version, server.address);
    for (database, pgvector) in &server.databases {
        let pgvector =
            pgvector.as_deref().map_or("no pgvector".to_owned(), |version| format!("pgvector {version}"));
        let _ = writeln!(out, "  {database}: {pgvector}");
    }
}

fn entry(out: &mut String, finding: &Finding, verbose: bool) {
    let at = match (&finding.database, &finding.object) {
        (Some(database), Some(object)) => format!(" [{database}: {object}]"),
        (Some(database), None) => format!(" [{database}]"),
        (None, Some(object)) => format!(" [{object}]"),
        (None, None) => String::new(),
    };
    let _ = writeln!(out, "  {:<8} {}{at}: {}", mark(finding.severity), finding.title, finding.measured);
    let _ = writeln!(out, "           {} · {}", finding.check, finding.doc);
    if verbose {
        let _ = writeln!(out, "           {}", finding.why);
    }
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
