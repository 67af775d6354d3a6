//! Which PostgreSQL and which pgvector is this?

use super::{ALL, advice, command, safe_sql, sql};
use crate::check::version::{MAJORS, OLDEST_SOUND, faults, parse};
use crate::check::{Area, Check, Facts, FixTemplate, Found, Need, Row, Scope, Severity, Verdict};

const AVAILABLE: &str = "SELECT default_version, installed_version, \
     CASE WHEN version() ~ '32-bit' THEN 32 ELSE 64 END AS bits FROM pg_available_extensions WHERE name = 'vector'";

pub static CHECKS: &[Check] = &[
    Check {
        id: "pg.version.eol",
        area: Area::Version,
        severity: Severity::Critical,
        title: "PostgreSQL is out of support or behind",
        why: "A major past its last day gets no fix for anything, security included; an older minor lacks fixes that \
              exist.",
        scope: Scope::Server,
        majors: (1, 99),
        needs: &[],
        sql: &[(1, "SELECT current_setting('server_version') AS version")],
        verdict: Verdict::Each(version),
        fix: command(
            "howdah doctor --help  # then: minor versions replace the programs and restart; a major needs pg_upgrade",
        ),
    },
    Check {
        id: "pgv.available",
        area: Area::Extension,
        severity: Severity::Critical,
        title: "pgvector is not on this server",
        why: "Without the extension's files there is no vector type. They come with a package or an image; nothing in \
              `shared_preload_libraries` brings them.",
        scope: Scope::Server,
        majors: ALL,
        needs: &[],
        sql: &[(13, AVAILABLE)],
        verdict: Verdict::All(|_, rows| {
            if rows.is_empty() {
                vec![Found::new("`vector` is not in `pg_available_extensions`")]
            } else {
                vec![]
            }
        }),
        fix: advice(
            "Install the package that belongs to this server (Debian and Ubuntu: postgresql-<major>-pgvector; Docker: \
             the image pgvector/pgvector:pg<major>), or let Howdah run one: remove `url` from `[server]` and run \
             `howdah up`.",
        ),
    },
];

fn version(facts: &Facts<'_>, row: &Row) -> Option<Found> {
    let (major, minor) = (facts.major(), facts.version_num % 10_000);
    let version = row.text("version");
    let Some(known) = MAJORS.iter().find(|known| known.major == major) else {
        let oldest = MAJORS[0].major;
        return (major < oldest).then(|| Found::new(format!("`{version}` is older than {oldest}")));
    };
    if facts.today > known.last_day {
        return Some(Found::new(format!("`{version}`: {major} had its last release on {}", known.last_day)));
    }
    (minor < known.newest_minor).then(|| {
        Found::new(format!("`{version}`, behind {major}.{}", known.newest_minor)).severity(Severity::Medium)
    })
}
