//! What a check, its answer and a finding are made of.
//!
//! A row of the table is built with [`Check::new`] and the methods after it; the module's `mod.rs` says how questions are
//! written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer::{Found, Row};
use crate::platform::Platform;
use crate::spec::Spec;
use crate::tune::Machine;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing; nothing fails because of it.
    Info,
    /// A warning: it costs speed, room or safety and can wait for the next working day.
    Medium,
    /// A failure: answers, data or access are at risk now.
    High,
    /// A failure: answers are wrong, data can be lost or the server taken over.
    Critical,
}

impl Severity {
    /// The word for people and JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Medium => "medium",
            Severity::High => "high",
            Severity::Critical => "critical",
        }
    }

    /// Whether the doctor's exit code speaks of it without `--strict`.
    pub const fn fails(self) -> bool {
        matches!(self, Severity::High | Severity::Critical)
    }
}

/// Which part of the system a check looks at; reports are grouped by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Area {
    /// Which PostgreSQL.
    Version,
    /// Which pgvector.
    Extension,
    /// Who may get in, and as whom.
    Security,
    /// Who may do what.
    Permissions,
    /// How vectors are declared.
    VectorSchema,
    /// How vectors are indexed.
    VectorIndex,
    /// Whether answers are right and whole.
    Quality,
    /// Settings.
    Config,
    /// Declared against live.
    Drift,
    /// Memory and disk.
    Capacity,
    /// Whether data is what was written.
    Integrity,
    /// Whether a commit survives.
    Durability,
    /// Sessions and locks.
    Connections,
    /// Vacuum and statistics.
    Maintenance,
    /// Tables and keys.
    Schema,
    /// Replicas.
    Replication,
    /// Archive and backups.
    Backup,
    /// What can be seen, and what is seen.
    Observability,
}

impl Area {
    /// All areas, in the order of a report.
    pub const ALL: [Area; 18] = [
        Area::Version,
        Area::Extension,
        Area::Security,
        Area::Permissions,
        Area::VectorSchema,
        Area::VectorIndex,
        Area::Quality,
        Area::Config,
        Area::Drift,
        Area::Capacity,
        Area::Integrity,
        Area::Durability,
        Area::Connections,
        Area::Maintenance,
        Area::Schema,
        Area::Replication,
        Area::Backup,
        Area::Observability,
    ];

    /// Heading of the group.
    pub const fn title(self) -> &'static str {
        match self {
            Area::Version => "version",
            Area::Extension => "extension",
            Area::Security => "security",
            Area::Permissions => "permissions",
            Area::VectorSchema => "vector columns",
            Area::VectorIndex => "vector indexes",
            Area::Quality => "quality of answers",
            Area::Config => "settings",
            Area::Drift => "drift",
            Area::Capacity => "memory and disk",
            Area::Integrity => "integrity",
            Area::Durability => "durability",
            Area::Connections => "connections",
            Area::Maintenance => "maintenance",
            Area::Schema => "tables",
            Area::Replication => "replication",
            Area::Backup => "archive and backup",
            Area::Observability => "observability",
        }
    }
}

/// How often a question is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Once, in any database.
    Server,
    /// In every database.
    Database,
    /// In every database, once for each column of a vector type: the question has `{table}`, `{column}`, `{type}`.
    VectorColumn,
    /// In every database, once for each vector index: the question has `{index}`, `{table}`, `{expression}`.
    VectorIndex,
}

/// What has to be there for the question to be asked at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// An extension, in the database that is asked.
    Extension(&'static str),
    /// A server that is no replica.
    Primary,
    /// Superuser, since no weaker right shows it.
    Superuser,
    /// The right to see the lines of the server's configuration files, or superuser.
    ConfigFiles,
    /// `pg_monitor`, or superuser.
    Monitor,
    /// Facts about the machine, which only a local server gives.
    Machine,
    /// The declaration.
    Declaration,
    /// Asked only on request, since it costs more than a look (`--recall`).
    Request,
}

/// What a fix is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FixKind {
    /// SQL to run in the database of the finding.
    Sql,
    /// A command for a shell.
    Command,
    /// Something that only a person can decide; the text says what.
    Advice,
}

/// A fix as the table has it: `{column}` stands for a value of the row that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FixTemplate {
    /// What it is.
    pub kind: FixKind,
    /// The text.
    pub text: &'static str,
    /// Whether it may be run without thinking: it destroys nothing, blocks nobody for long and needs no restart.
    pub safe: bool,
}

/// A fix for one finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fix {
    /// What it is.
    pub kind: FixKind,
    /// The text, ready to be pasted.
    pub text: String,
    /// Whether it destroys nothing, blocks nobody for long and needs no restart.
    pub safe: bool,
}

/// One check.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// Name, for ever the same.
    pub id: &'static str,
    /// What it looks at.
    pub area: Area,
    /// How bad a finding is, unless the verdict says otherwise.
    pub severity: Severity,
    /// What a finding means, in a few words.
    pub title: &'static str,
    /// Why it matters, in a sentence or two.
    pub why: &'static str,
    /// How often it is asked.
    pub scope: Scope,
    /// First and last major it makes sense for.
    pub majors: (u32, u32),
    /// What has to be there.
    pub needs: &'static [Need],
    /// The question.
    pub sql: &'static str,
    /// The question from a later major on.
    pub sql_from: Option<(u32, &'static str)>,
    /// Whether an error of the question is the finding, rather than a reason why it did not run.
    pub error_counts: bool,
    /// Reads the rows.
    pub verdict: Verdict,
    /// What to do.
    pub fix: FixTemplate,
}

impl Check {
    /// A row of the table, asked once a database; a finding for each row unless a verdict is given.
    pub(super) const fn new(
        id: &'static str,
        area: Area,
        severity: Severity,
        title: &'static str,
        why: &'static str,
        sql: &'static str,
    ) -> Self {
        Check {
            id,
            area,
            severity,
            title,
            why,
            scope: Scope::Database,
            majors: (13, 99),
            needs: &[],
            sql,
            sql_from: None,
            error_counts: false,
            verdict: Verdict::All(|_, _| Vec::new()),
            fix: FixTemplate { kind: FixKind::Advice, text: "", safe: false },
        }
    }

    pub(super) const fn server(mut self) -> Self {
        self.scope = Scope::Server;
        self
    }

    pub(super) const fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    pub(super) const fn majors(mut self, first: u32, last: u32) -> Self {
        self.majors = (first, last);
        self
    }

    pub(super) const fn needs(mut self, needs: &'static [Need]) -> Self {
        self.needs = needs;
        self
    }

    pub(super) const fn sql_from(mut self, major: u32, sql: &'static str) -> Self {
        self.sql_from = Some((major, sql));
        self
    }

    pub(super) const fn error_counts(mut self) -> Self {
        self.error_counts = true;
        self
    }

    pub(super) const fn each(mut self, verdict: fn(&CheckFacts<'_>, &Row) -> Option<Found>) -> Self {
        self.verdict = Verdict::Each(verdict);
        self
    }

    pub(super) const fn all(mut self, verdict: fn(&CheckFacts<'_>, &[Row]) -> Vec<Found>) -> Self {
        self.verdict = Verdict::All(verdict);
        self
    }

    pub(super) const fn sql_fix(mut self, text: &'static str) -> Self {
        self.fix = FixTemplate { kind: FixKind::Sql, text, safe: false };
        self
    }

    pub(super) const fn safe_fix(mut self, text: &'static str) -> Self {
        self.fix = FixTemplate { kind: FixKind::Sql, text, safe: true };
        self
    }

    pub(super) const fn command(mut self, text: &'static str) -> Self {
        self.fix = FixTemplate { kind: FixKind::Command, text, safe: false };
        self
    }

    pub(super) const fn advice(mut self, text: &'static str) -> Self {
        self.fix = FixTemplate { kind: FixKind::Advice, text, safe: false };
        self
    }

    /// The question for `major`.
    pub fn sql_for(&self, major: u32) -> &'static str {
        match self.sql_from {
            Some((from, sql)) if major >= from => sql,
            _ => self.sql,
        }
    }

    /// Whether it makes sense on `major`.
    pub fn suits(&self, major: u32) -> bool {
        major >= self.majors.0 && major <= self.majors.1
    }

    /// Where the manual speaks of it.
    pub fn doc(&self) -> String {
        format!("docs/doctor.md#{}", self.id.replace('.', ""))
    }
}

/// Reads rows: nothing found, or what.
#[derive(Debug, Clone, Copy)]
pub enum Verdict {
    /// Each row by itself.
    Each(fn(&CheckFacts<'_>, &Row) -> Option<Found>),
    /// All rows together, also when there is none.
    All(fn(&CheckFacts<'_>, &[Row]) -> Vec<Found>),
}

/// What a verdict knows besides the rows.
#[derive(Debug, Clone)]
pub struct CheckFacts<'a> {
    /// `server_version_num`: 160014.
    pub version_num: u32,
    /// Today as `YYYY-MM-DD`.
    pub today: &'a str,
    /// Database that was asked; none for questions to the server.
    pub database: Option<&'a str>,
    /// Extensions installed in that database, with their versions.
    pub extensions: &'a BTreeMap<String, String>,
    /// Whether we are superuser.
    pub superuser: bool,
    /// Whether we are a member of `pg_monitor`.
    pub monitor: bool,
    /// Whether we see the lines of the server's configuration files.
    pub config_files: bool,
    /// Whether the server is a replica.
    pub recovery: bool,
    /// Whether the server is reached over loopback or a unix socket only.
    pub local: bool,
    /// On whose PostgreSQL we are.
    pub platform: &'a Platform,
    /// The machine, where the server is local.
    pub machine: Option<&'a Machine>,
    /// The declaration, where there is one.
    pub spec: Option<&'a Spec>,
    /// Whether questions that cost more than a look are asked.
    pub requested: bool,
}

impl CheckFacts<'_> {
    /// The major version.
    pub const fn major(&self) -> u32 {
        self.version_num / 10_000
    }

    /// Whether Howdah runs the server, so that the declaration is the place for its settings.
    pub fn own(&self) -> bool {
        self.machine.is_some() && self.spec.is_some_and(|spec| spec.server.url.is_none())
    }
}

/// A finding, whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// Name of the check.
    pub check: String,
    /// What it looks at.
    pub area: Area,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in a few words.
    pub title: String,
    /// Database it is in; none for the whole server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// Table, index, role, setting it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// What was measured.
    pub measured: String,
    /// Why it matters.
    pub why: String,
    /// What to do.
    pub fix: Fix,
    /// Where the manual speaks of it.
    pub doc: String,
}
