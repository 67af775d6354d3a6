//! On whose PostgreSQL are we, and what are the right steps there?
//!
//! [`detect`] names the platform from what a connection shows, and says what gave it away. [`judge`] decides whether
//! Howdah can work on a server at all; when it cannot, the problem carries the steps for that platform (`steps`).
//! pgvector is loaded on demand: no platform needs it in `shared_preload_libraries`, and none needs a reboot for it.

mod steps;
#[cfg(test)]
mod tests;

use crate::problem::{Kind, Problem};
use crate::version::{OLDEST_SOUND, faults, parse};

/// Oldest major of PostgreSQL that Howdah works with.
pub const OLDEST_MAJOR: u32 = 14;
/// Newest major that Howdah was tested with.
pub const NEWEST_MAJOR: u32 = 18;

/// A platform that PostgreSQL runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Id {
    /// Amazon RDS for PostgreSQL.
    Rds,
    /// Amazon Aurora PostgreSQL.
    Aurora,
    /// Azure Database for PostgreSQL, flexible server.
    Azure,
    /// Google Cloud SQL for PostgreSQL.
    CloudSql,
    /// Google AlloyDB.
    AlloyDb,
    /// Supabase.
    Supabase,
    /// Neon.
    Neon,
    /// Heroku Postgres.
    Heroku,
    /// Render.
    Render,
    /// DigitalOcean managed databases.
    DigitalOcean,
    /// Railway.
    Railway,
    /// Aiven.
    Aiven,
    /// A container image.
    Docker,
    /// Packages of Debian or Ubuntu.
    Debian,
    /// Packages of Red Hat, Fedora and their kin.
    Rhel,
    /// Homebrew or Postgres.app.
    MacOs,
    /// Anything else: built from source, as far as the steps go.
    Source,
}

/// A platform with what gave it away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// Which one.
    pub id: Id,
    /// Why, in words.
    pub reason: String,
}

impl Id {
    /// Its name, as its owner writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Id::Rds => "Amazon RDS",
            Id::Aurora => "Amazon Aurora",
            Id::Azure => "Azure Database for PostgreSQL",
            Id::CloudSql => "Google Cloud SQL",
            Id::AlloyDb => "Google AlloyDB",
            Id::Supabase => "Supabase",
            Id::Neon => "Neon",
            Id::Heroku => "Heroku Postgres",
            Id::Render => "Render",
            Id::DigitalOcean => "DigitalOcean",
            Id::Railway => "Railway",
            Id::Aiven => "Aiven",
            Id::Docker => "Docker",
            Id::Debian => "Debian or Ubuntu packages",
            Id::Rhel => "Red Hat packages",
            Id::MacOs => "macOS",
            Id::Source => "self-hosted PostgreSQL",
        }
    }

    /// Whether somebody else has the superuser and the file system.
    pub const fn is_managed(self) -> bool {
        !matches!(self, Id::Docker | Id::Debian | Id::Rhel | Id::MacOs | Id::Source | Id::Railway)
    }
}

/// What a connection, and the machine where it is local, show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlatformFacts {
    /// `version()`.
    pub version: String,
    /// Names of settings that the server has besides PostgreSQL's own (`rds.extensions`, `neon.…`).
    pub settings: Vec<String>,
    /// Names of roles.
    pub roles: Vec<String>,
    /// Names of schemas in the database.
    pub schemas: Vec<String>,
    /// Whether there is a function `aurora_version`.
    pub aurora: bool,
    /// Host name that was connected to; none for a socket.
    pub host: Option<String>,
    /// `data_directory`, where it may be seen.
    pub data_directory: Option<String>,
    /// Whether the server is on this machine and this machine is a container.
    pub container: bool,
}

struct Sign {
    id: Id,
    host: &'static [&'static str],
    setting: &'static [&'static str],
    role: &'static [&'static str],
    schema: &'static [&'static str],
}

const fn sign(
    id: Id,
    host: &'static [&'static str],
    setting: &'static [&'static str],
    role: &'static [&'static str],
    schema: &'static [&'static str],
) -> Sign {
    Sign { id, host, setting, role, schema }
}

/// What gives a platform away: suffixes of host names, beginnings of settings, roles, schemas. Platforms that are built
/// on another's come first.
const SIGNS: &[Sign] = &[
    sign(Id::Heroku, &[], &["heroku."], &["heroku_admin"], &["heroku_ext"]),
    sign(Id::Supabase, &[".supabase.co", ".supabase.com"], &["supautils."], &["supabase_admin"], &[]),
    sign(Id::Neon, &[".neon.tech", ".neon.build"], &["neon."], &["neon_superuser"], &["neon"]),
    sign(Id::AlloyDb, &[], &["alloydb."], &["alloydbsuperuser"], &[]),
    sign(Id::CloudSql, &[], &["cloudsql."], &["cloudsqlsuperuser"], &[]),
    sign(Id::Azure, &[".postgres.database.azure.com"], &["azure."], &["azure_pg_admin"], &[]),
    sign(Id::Rds, &[".rds.amazonaws.com", ".rds.amazonaws.com.cn"], &["rds."], &["rds_superuser"], &[]),
    sign(Id::DigitalOcean, &[".db.ondigitalocean.com"], &[], &["doadmin"], &[]),
    sign(Id::Render, &[".render.com"], &[], &[], &[]),
    sign(Id::Railway, &[".railway.app", ".railway.internal", ".rlwy.net"], &[], &[], &[]),
    sign(Id::Aiven, &[".aivencloud.com"], &["aiven."], &["avnadmin"], &[]),
];

/// Names the platform and says what gave it away.
pub fn detect(facts: &PlatformFacts) -> Platform {
    let host = facts.host.as_deref().unwrap_or_default().to_ascii_lowercase();
    for sign in SIGNS {
        if let Some(reason) = seen(sign, facts, &host) {
            if sign.id == Id::Rds && (facts.aurora || host.contains(".cluster-")) {
                return Platform {
                    id: Id::Aurora,
                    reason: "the server has `aurora_version`, or a cluster's address".into(),
                };
            }
            return Platform { id: sign.id, reason };
        }
    }
    self_hosted(facts)
}

fn seen(sign: &Sign, facts: &PlatformFacts, host: &str) -> Option<String> {
    if let Some(suffix) = sign.host.iter().find(|suffix| host.ends_with(**suffix)) {
        return Some(format!("the host name ends in `{suffix}`"));
    }
    // Inside Render, the host is only the service's name.
    if sign.id == Id::Render && host.starts_with("dpg-") && host.ends_with("-a") {
        return Some("the host name is one of Render's".into());
    }
    let setting = |prefix: &&str| facts.settings.iter().find(|name| name.starts_with(*prefix));
    if let Some(name) = sign.setting.iter().find_map(setting) {
        return Some(format!("the server has the setting `{name}`"));
    }
    if let Some(role) = sign.role.iter().find(|role| facts.roles.iter().any(|name| name == *role)) {
        return Some(format!("the server has the role `{role}`"));
    }
    let schema = sign.schema.iter().find(|schema| facts.schemas.iter().any(|name| name == *schema))?;
    Some(format!("the database has the schema `{schema}`"))
}

fn self_hosted(facts: &PlatformFacts) -> Platform {
    let version = facts.version.as_str();
    let platform = |id, reason: &str| Platform { id, reason: reason.to_owned() };
    let data = facts.data_directory.as_deref().unwrap_or_default();
    let of_image = data == "/var/lib/postgresql/data"
        || data.starts_with("/var/lib/postgresql/data/")
        || (data.starts_with("/var/lib/postgresql/") && data.ends_with("/docker"));
    if of_image {
        return platform(Id::Docker, "the data directory is the one of PostgreSQL's container image");
    }
    if version.contains("-linux-musl") {
        return platform(Id::Docker, "the server is built for Alpine, as container images are");
    }
    if version.contains("apple-darwin") {
        return platform(Id::MacOs, "the server is built for macOS");
    }
    if version.contains("(Debian ") || version.contains("(Ubuntu ") {
        return platform(Id::Debian, "the server's version names the package");
    }
    // Portable builds are made with Red Hat's compiler too; only the place of the data tells the package.
    if version.contains("(Red Hat ") && data.starts_with("/var/lib/pgsql") {
        return platform(Id::Rhel, "the data directory is the one of Red Hat's packages");
    }
    if facts.container {
        return platform(Id::Docker, "the server is in this container");
    }
    platform(Id::Source, "nothing gives a platform away")
}

/// The steps that bring pgvector to a server of `platform` that does not have it, and create it in `database`.
pub fn install_steps(platform: &Platform, major: u32, database: &str) -> String {
    steps::Steps { id: platform.id, major, database }.install()
}

/// What is known about a server and one database, for the verdict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Candidate {
    /// `server_version_num`: 160014.
    pub version_num: u32,
    /// `server_version`: `16.14`.
    pub version: String,
    /// Address width of the server, 64 or 32.
    pub bits: u32,
    /// Database that was looked at.
    pub database: String,
    /// Role that looked.
    pub role: String,
    /// Version of pgvector that the server offers: the library that would run.
    pub available: Option<String>,
    /// Version of the extension in the database.
    pub installed: Option<String>,
    /// Whether `role` may create the extension in the database. Of no matter where it is installed.
    pub may_create: bool,
    /// What the server said when it may not.
    pub refusal: Option<String>,
}

impl Candidate {
    /// The major version.
    pub const fn major(&self) -> u32 {
        self.version_num / 10_000
    }
}

/// Decides whether Howdah can work on a server. Returns what a person should know all the same, in sentences.
///
/// The library decides about faults, not the extension's version in the catalog: after an update of the package every
/// new session runs the new library, whatever the catalog says.
///
/// # Errors
/// `machine` when the server is too old, or pgvector is missing or has a known fault; `forbidden` when it may not be
/// created. Hint: the steps for the platform.
pub fn judge(candidate: &Candidate, platform: &Platform) -> Result<Vec<String>, Problem> {
    let steps = steps::Steps { id: platform.id, major: candidate.major(), database: &candidate.database };
    let place = format!("{} ({})", platform.id.name(), platform.reason);
    let major = candidate.major();
    if major < OLDEST_MAJOR {
        return Err(Problem::new(Kind::Machine, format!("PostgreSQL `{}` is too old", candidate.version))
            .detail(format!("{place}; Howdah needs {OLDEST_MAJOR} or newer, and so does pgvector's newest"))
            .hint(steps.upgrade_server()));
    }
    let Some(available) = &candidate.available else {
        let (what, facts) = match &candidate.installed {
            Some(installed) => (
                "pgvector's files are gone from this server",
                format!("version {installed} is installed in database `{}`", candidate.database),
            ),
            None => (
                "pgvector is not available on this server",
                "`pg_available_extensions` has no `vector`".into(),
            ),
        };
        return Err(Problem::new(Kind::Machine, what)
            .detail(format!("{place}; PostgreSQL {}; {facts}", candidate.version))
            .hint(steps.install()));
    };
    if let Some(fault) = fault_of(available, candidate.bits) {
        let needed = if candidate.bits == 32 { "0.8.6" } else { "0.8.4" };
        return Err(Problem::new(Kind::Machine, format!("pgvector `{available}` has a known fault"))
            .detail(format!("{fault}; {place}; {needed} or newer is sound"))
            .hint(steps.update(needed)));
    }
    if candidate.installed.is_none() && !candidate.may_create {
        let refusal = candidate.refusal.as_deref().unwrap_or("only a superuser may create it");
        return Err(Problem::new(
            Kind::Forbidden,
            format!("role `{}` may not create pgvector in database `{}`", candidate.role, candidate.database),
        )
        .detail(format!("{refusal}; {place}; `vector` is not a trusted extension"))
        .hint(steps.create()));
    }
    Ok(notes(candidate, available))
}

fn fault_of(version: &str, bits: u32) -> Option<String> {
    let Some(parsed) = parse(version) else { return Some(format!("version {version} cannot be read")) };
    let found: Vec<String> =
        faults(parsed, bits).map(|fault| format!("{}: {}", fault.name, fault.effect)).collect();
    if !found.is_empty() {
        return Some(found.join("; "));
    }
    (parsed < OLDEST_SOUND).then(|| format!("version {version} lacks HNSW or later corrections"))
}

fn notes(candidate: &Candidate, available: &str) -> Vec<String> {
    let mut notes = Vec::new();
    if candidate.major() > NEWEST_MAJOR {
        notes.push(format!(
            "PostgreSQL {} is newer than what Howdah was tested with ({NEWEST_MAJOR}).",
            candidate.version
        ));
    }
    let Some(installed) = &candidate.installed else { return notes };
    if parse(installed) < parse(available) {
        notes.push(format!(
            "Database `{}` has pgvector {installed}, the server offers {available}: run `ALTER EXTENSION vector UPDATE` there.",
            candidate.database
        ));
    }
    if let Some(fault) = fault_of(installed, candidate.bits) {
        notes.push(format!(
            "HNSW indexes built while pgvector {installed} ran may be damaged ({fault}): rebuild each with `REINDEX INDEX CONCURRENTLY`."
        ));
    }
    notes
}
