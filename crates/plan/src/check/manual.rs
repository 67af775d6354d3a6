//! The manual page of the doctor, written from the table, so that `howdah search` finds what `howdah doctor` says.

use std::fmt::Write;

use super::contract::{Area, Check, FixKind, Scope};
use super::rows::all;

/// `docs/doctor.md`.
pub fn page() -> String {
    let mut out = String::from(HEAD);
    for area in Area::ALL {
        let mut rows = all().filter(|check| check.area == area).peekable();
        if rows.peek().is_none() {
            continue;
        }
        let _ = writeln!(out, "\n## {}", capital(area.title()));
        for check in rows {
            section(&mut out, check);
        }
    }
    out
}

const HEAD: &str = "# What the doctor looks at

`howdah doctor` asks a PostgreSQL server questions that only read, and says what is wrong, how it knows, why it matters and
how to mend it. A check that cannot run (a missing right, view or extension) is listed as not run, with the reason. It
exits with 0 when nothing of severity high or critical was found and with 7 otherwise; with `--strict` medium findings
count too. `howdah doctor --recall` also compares what the vector indexes answer with the exact answer. `howdah doctor
--fix` prints the fixes of all findings as one script for psql and runs none of them: safe ones as statements, those that may
destroy, lock or need a restart as comments (`--fix=all`: as statements too), commands for a shell as comments. What only a
person can decide is said on standard error. So `howdah doctor --fix | psql \"$DATABASE_URL\"` runs what is safe.

Sizes that a fix names come from the rules that `howdah up` tunes by, for the machine that the declaration says
(`server.memory`, `server.cores`, `server.disk`).

Every check has a name that stays the same. This page is written from the table the doctor runs.
";

fn section(out: &mut String, check: &Check) {
    let _ = writeln!(out, "\n### {}\n", check.id);
    let _ = writeln!(
        out,
        "{}. Severity {}, asked {}.\n",
        capital(check.title),
        check.severity.word(),
        scope(check)
    );
    let _ = writeln!(out, "{}\n", check.why);
    match check.fix.kind {
        FixKind::Sql => {
            let _ = writeln!(out, "Fix:\n\n```sql\n{}\n```", check.fix.text);
        }
        FixKind::Command => {
            let _ = writeln!(out, "Fix:\n\n```sh\n{}\n```", check.fix.text);
        }
        FixKind::Advice => {
            let _ = writeln!(out, "Fix: {}", check.fix.text);
        }
    }
}

fn scope(check: &Check) -> &'static str {
    match check.scope {
        Scope::Server => "once a server",
        Scope::Database => "once a database",
        Scope::VectorColumn => "for each vector column",
        Scope::VectorIndex => "for each vector index",
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
