//! Where does the server come from?
//!
//! In this order: the address in the declaration, or `DATABASE_URL`; a PostgreSQL on this machine that has pgvector
//! 0.8.4 or newer; the portable bundle. Every candidate that is passed over says why, and so does the one that is taken.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use howdah_bundle::extension::version_in as version_in_control;
use howdah_plan::platform::{NEWEST_MAJOR, OLDEST_MAJOR};
use howdah_plan::problem::{Kind, Problem};
use howdah_plan::spec::{Server, ServerSource};
use howdah_plan::version::{OLDEST_SOUND, parse};

use super::{Home, Secret, Target, bundle, fetch};

/// Environment variable that names the server like `server.url`.
pub const URL_VARIABLE: &str = "DATABASE_URL";

/// Environment variable by which `howdah env` says that `DATABASE_URL` names Howdah's own server. A shell that has read
/// it must not make that server a foreign one.
pub const OWN_URL_VARIABLE: &str = "HOWDAH_OWN_DATABASE_URL";

/// Where a server's programs come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Installed on this machine.
    System,
    /// Carried in this binary.
    Embedded,
    /// Fetched from the package index.
    Fetched,
}

/// The programs of a PostgreSQL server on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// Directory with `postgres`, `initdb` and the rest.
    pub bindir: PathBuf,
    /// Directory with the server's libraries (`$libdir`).
    pub libdir: PathBuf,
    /// Directory with the server's data (`extension/` is in it).
    pub sharedir: PathBuf,
    /// Major version.
    pub major: u32,
    /// Version, as PostgreSQL prints it.
    pub version: String,
    /// Version of pgvector that is available there.
    pub pgvector: Option<String>,
    /// Version of Howdah's own extension that is available there.
    pub howdah: Option<String>,
    /// Where they come from.
    pub source: Source,
    /// Why these were chosen, in words.
    pub reason: String,
}

impl Programs {
    /// Path of a program.
    pub fn program(&self, name: &str) -> PathBuf {
        self.bindir.join(name)
    }
}

/// A server that was found.
#[derive(Debug, Clone)]
pub enum FoundServer {
    /// One that runs already, at an address.
    Remote {
        /// The address.
        target: Target,
        /// Why it is taken, in words.
        reason: String,
    },
    /// Programs to run one with.
    Local(Programs),
}

impl FoundServer {
    /// Why it is taken, in words.
    pub fn reason(&self) -> &str {
        match self {
            FoundServer::Remote { reason, .. } => reason,
            FoundServer::Local(programs) => &programs.reason,
        }
    }
}

/// What was found, and what was passed over.
#[derive(Debug, Clone)]
pub struct Search {
    /// What is taken.
    pub found: FoundServer,
    /// Candidates that were passed over, each with its reason, in words.
    pub rejected: Vec<String>,
}

/// Finds the server for a declaration. `existing` is the major of the instance's data where there is any: it is kept
/// when no version is declared.
///
/// # Errors
/// `usage` when the address cannot be read or the password's variable is not set; `machine` when `source = "system"` finds
/// nothing, with every reason; what the bundle says otherwise.
pub async fn locate(server: &Server, home: &Home, existing: Option<u32>) -> Result<Search, Problem> {
    if let Some((url, reason)) = address(server) {
        let target = Target::from_url(&url, declared_password(server)?)?;
        return Ok(Search { found: FoundServer::Remote { target, reason }, rejected: Vec::new() });
    }
    let (source, home) = (server.source, home.clone());
    let wanted = server.version.or(existing);
    fetch::blocking(move || local(source, wanted, &home, candidates())).await
}

/// The server at a declared address, if there is one: `server.url`, else `DATABASE_URL`.
///
/// # Errors
/// `usage` when the address cannot be read or the password's variable is not set.
pub fn declared(server: &Server) -> Result<Option<Target>, Problem> {
    let Some((url, _)) = address(server) else { return Ok(None) };
    Target::from_url(&url, declared_password(server)?).map(Some)
}

/// The major of the data that an instance has already.
pub fn existing_major(data: &Path) -> Option<u32> {
    fs::read_to_string(data.join("PG_VERSION")).ok()?.trim().parse().ok()
}

fn address(server: &Server) -> Option<(String, String)> {
    if let Some(url) = &server.url {
        return Some((url.clone(), "declared as `server.url`".into()));
    }
    Some((from_environment()?, format!("{URL_VARIABLE} is set")))
}

/// Whether `DATABASE_URL` names another server than the declaration, which comes first.
pub fn overruled(server: &Server) -> bool {
    let (Some(url), Some(set)) = (&server.url, from_environment()) else { return false };
    match (Target::from_url(url, None), Target::from_url(&set, None)) {
        (Ok(declared), Ok(set)) => (declared.place(), declared.database) != (set.place(), set.database),
        // What cannot be read is not what is used either.
        (_, _) => *url != set,
    }
}

/// The address in `DATABASE_URL`, unless it came from `howdah env` and means Howdah's own server.
pub fn from_environment() -> Option<String> {
    let url = std::env::var(URL_VARIABLE).ok().filter(|url| !url.is_empty())?;
    let own = std::env::var(OWN_URL_VARIABLE).is_ok_and(|own| own == url);
    (!own).then_some(url)
}

fn declared_password(server: &Server) -> Result<Option<Secret>, Problem> {
    let Some(name) = &server.password_env else { return Ok(None) };
    match std::env::var(name) {
        Ok(password) if !password.is_empty() => Ok(Some(Secret::new(password))),
        _ => Err(Problem::new(Kind::Usage, format!("the variable `{name}` is not set"))
            .detail("`server.password_env` names it")
            .hint(format!("Set it: `export {name}=…`, or correct `server.password_env`."))),
    }
}

fn local(
    source: ServerSource,
    wanted: Option<u32>,
    home: &Home,
    candidates: Vec<PathBuf>,
) -> Result<Search, Problem> {
    let mut rejected = Vec::new();
    if source != ServerSource::Bundle {
        match best(candidates, wanted, &mut rejected) {
            Some(programs) => return Ok(Search { found: FoundServer::Local(programs), rejected }),
            None if source == ServerSource::System => return Err(no_system_server(wanted, &rejected)),
            None => {}
        }
    }
    let mut programs =
        bundle::programs(home, wanted.unwrap_or(bundle::DEFAULT_MAJOR)).map_err(|problem| {
            let before = problem.detail.clone().unwrap_or_default();
            let all: Vec<String> =
                rejected.iter().cloned().chain((!before.is_empty()).then_some(before)).collect();
            if all.is_empty() { problem } else { problem.detail(all.join("; ")) }
        })?;
    if source == ServerSource::Bundle {
        programs.reason.push_str("; declared as `server.source`");
    } else if rejected.is_empty() {
        programs.reason.push_str("; no PostgreSQL was found on this machine");
    }
    Ok(Search { found: FoundServer::Local(programs), rejected })
}

fn no_system_server(wanted: Option<u32>, rejected: &[String]) -> Problem {
    let which = wanted.map_or_else(|| "PostgreSQL".to_owned(), |major| format!("PostgreSQL {major}"));
    let problem = Problem::new(Kind::Machine, format!("no {which} with pgvector 0.8.4 or newer is on this machine"))
        .hint("Install it and pgvector (`apt-get install postgresql-16-pgvector`), or set `server.source = \"bundle\"`.");
    problem.detail(if rejected.is_empty() {
        "no PostgreSQL was found at all".to_owned()
    } else {
        rejected.join("; ")
    })
}

/// The newest candidate that fits; the reasons of the others go to `rejected`.
fn best(candidates: Vec<PathBuf>, wanted: Option<u32>, rejected: &mut Vec<String>) -> Option<Programs> {
    let mut fitting: Vec<Programs> = Vec::new();
    for bindir in candidates {
        match inspect(&bindir).and_then(|programs| fits(programs, wanted)) {
            Ok(programs) => fitting.push(programs),
            Err(reason) => rejected.push(reason),
        }
    }
    fitting.sort_by_key(|programs| programs.major);
    fitting.pop()
}

fn fits(mut programs: Programs, wanted: Option<u32>) -> Result<Programs, String> {
    let name = format!("PostgreSQL {} in {}", programs.version, programs.bindir.display());
    if !(OLDEST_MAJOR..=NEWEST_MAJOR).contains(&programs.major) {
        return Err(format!("{name}: Howdah works with {OLDEST_MAJOR} to {NEWEST_MAJOR}"));
    }
    if let Some(wanted) = wanted.filter(|wanted| *wanted != programs.major) {
        return Err(format!("{name}: version {wanted} is wanted"));
    }
    let Some(pgvector) = &programs.pgvector else {
        return Err(format!("{name}: pgvector is not available there"));
    };
    if parse(pgvector).is_none_or(|version| version < OLDEST_SOUND) {
        return Err(format!(
            "{name}: pgvector {pgvector} is older than 0.8.4, which damages or loses index entries"
        ));
    }
    programs.reason = format!(
        "PostgreSQL {} with pgvector {pgvector} is on this machine, in {}",
        programs.version,
        programs.bindir.display()
    );
    Ok(programs)
}

/// What a directory of programs holds.
///
/// # Errors
/// Why it is no server, in words.
pub fn inspect(bindir: &Path) -> Result<Programs, String> {
    let shown = bindir.display();
    for program in ["postgres", "initdb"] {
        if !bindir.join(program).is_file() {
            return Err(format!("{shown}: `{program}` is not there, only clients"));
        }
    }
    let said =
        output(&bindir.join("postgres"), "--version").ok_or(format!("{shown}: `postgres` does not run"))?;
    let (version, major) = version_in(&said).ok_or(format!("{shown}: `postgres` says {said:?}"))?;
    let (libdir, sharedir) = directories(bindir, major);
    Ok(Programs {
        bindir: bindir.to_owned(),
        pgvector: version_of(&sharedir, "vector"),
        howdah: extension_version(&sharedir),
        libdir,
        sharedir,
        major,
        version,
        source: Source::System,
        reason: String::new(),
    })
}

/// `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)` to version and major.
fn version_in(said: &str) -> Option<(String, u32)> {
    let version = said.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    Some((version.to_owned(), digits.parse().ok()?))
}

fn directories(bindir: &Path, major: u32) -> (PathBuf, PathBuf) {
    let prefix = bindir.parent().unwrap_or(bindir);
    let config = bindir.join("pg_config");
    let asked = |flag: &str| output(&config, flag).map(PathBuf::from).filter(|dir| dir.is_dir());
    let first =
        |dirs: &[PathBuf]| dirs.iter().find(|dir| dir.is_dir()).cloned().unwrap_or_else(|| dirs[0].clone());
    let libdir = || first(&[prefix.join("lib/postgresql"), prefix.join("lib")]);
    let sharedir = || {
        first(&[
            PathBuf::from(format!("/usr/share/postgresql/{major}")),
            prefix.join("share/postgresql"),
            prefix.join("share"),
        ])
    };
    (asked("--pkglibdir").unwrap_or_else(libdir), asked("--sharedir").unwrap_or_else(sharedir))
}

fn output(program: &Path, flag: &str) -> Option<String> {
    let output = Command::new(program).arg(flag).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Version of Howdah's own extension that a server with this data directory makes available.
pub(super) fn extension_version(sharedir: &Path) -> Option<String> {
    version_of(sharedir, howdah_bundle::extension::NAME)
}

fn version_of(sharedir: &Path, extension: &str) -> Option<String> {
    let control = fs::read_to_string(sharedir.join(format!("extension/{extension}.control"))).ok()?;
    version_in_control(&control)
}

/// Directories on this machine that may hold a server's programs, each once.
fn candidates() -> Vec<PathBuf> {
    const PATTERNS: [(&str, &str, &str); 7] = [
        ("/usr/lib/postgresql", "", "bin"),
        ("/usr", "pgsql-", "bin"),
        ("/usr/local", "pgsql", "bin"),
        ("/opt/homebrew/opt", "postgresql", "bin"),
        ("/usr/local/opt", "postgresql", "bin"),
        ("/usr/lib", "postgresql1", "bin"),
        ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
    ];
    let mut found: Vec<PathBuf> = Vec::new();
    for (parent, prefix, below) in PATTERNS {
        let entries = fs::read_dir(parent).into_iter().flatten().flatten();
        found.extend(
            entries
                .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
                .map(|entry| entry.path().join(below)),
        );
    }
    found.extend(output(Path::new("pg_config"), "--bindir").map(PathBuf::from));
    let path = std::env::var_os("PATH").unwrap_or_default();
    found.extend(std::env::split_paths(&path).filter(|dir| dir.join("postgres").is_file()));
    let mut seen = Vec::new();
    // A client's `pg_config` may name a directory without a server; that is worth a word. A directory that is not there
    // is not.
    found.retain(|dir| {
        let Ok(real) = fs::canonicalize(dir) else { return false };
        let new = !seen.contains(&real);
        seen.push(real);
        new && (dir.join("postgres").is_file() || dir.join("pg_config").is_file())
    });
    found
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::testing;

    /// A directory that looks like an installed server.
    fn fake(dir: &Path, version: &str, pgvector: Option<&str>) -> PathBuf {
        let bindir = dir.join(version).join("bin");
        let share = dir.join(version).join("share/extension");
        fs::create_dir_all(&bindir).unwrap();
        fs::create_dir_all(&share).unwrap();
        for (name, text) in [
            ("postgres", format!("echo 'postgres (PostgreSQL) {version} (Packager {version}-1)'")),
            ("initdb", String::new()),
            ("pg_config", format!("echo '{}'", dir.join(version).join("share").display())),
        ] {
            let path = bindir.join(name);
            fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        if let Some(pgvector) = pgvector {
            let control = format!("comment = 'x'\ndefault_version = '{pgvector}'\n");
            fs::write(share.join("vector.control"), control).unwrap();
        }
        bindir
    }

    fn found(search: Search) -> Programs {
        match search.found {
            FoundServer::Local(programs) => programs,
            FoundServer::Remote { .. } => panic!("not local"),
        }
    }

    #[test]
    fn the_newest_server_with_a_sound_pgvector_is_taken_and_the_others_say_why_not() {
        let dir = tempfile::tempdir().unwrap();
        let clients = dir.path().join("clients/bin");
        fs::create_dir_all(&clients).unwrap();
        let all = vec![
            fake(dir.path(), "13.2", Some("0.8.5")),
            fake(dir.path(), "15.18", None),
            fake(dir.path(), "16.4", Some("0.8.5")),
            fake(dir.path(), "17.2", Some("0.8.0")),
            clients,
        ];
        let search = local(ServerSource::Auto, None, &testing::home(), all.clone()).unwrap();
        let why = search.rejected.join("\n");
        let programs = found(search);
        assert_eq!((programs.major, programs.source), (16, Source::System));
        assert!(programs.reason.starts_with("PostgreSQL 16.4 with pgvector 0.8.5 is on this machine"));
        for words in [
            "13.2/bin: Howdah works with 14 to 18",
            "15.18/bin: pgvector is not available there",
            "17.2/bin: pgvector 0.8.0 is older than 0.8.4",
            "`postgres` is not there, only clients",
        ] {
            assert!(why.contains(words), "{words}: {why}");
        }
        let problem = local(ServerSource::System, Some(15), &testing::home(), all).unwrap_err();
        assert_eq!(problem.message, "no PostgreSQL 15 with pgvector 0.8.4 or newer is on this machine");
        assert!(problem.detail.unwrap().contains("16.4/bin: version 15 is wanted"));
    }

    #[test]
    fn without_one_the_bundle_is_taken_in_the_declared_major() {
        let search = local(ServerSource::Auto, None, &testing::home(), Vec::new()).unwrap();
        let programs = found(search);
        assert_eq!((programs.major, programs.pgvector.as_deref()), (18, Some("0.8.5")));
        assert!(programs.reason.ends_with("no PostgreSQL was found on this machine"), "{}", programs.reason);
        assert!(programs.program("postgres").is_file());
        let programs = found(local(ServerSource::Bundle, Some(16), &testing::home(), Vec::new()).unwrap());
        assert_eq!(programs.major, 16);
        assert_eq!(inspect(&programs.bindir).unwrap().pgvector.as_deref(), Some("0.8.5"));
        let problem = local(ServerSource::Auto, Some(17), &testing::home(), Vec::new()).unwrap_err();
        assert_eq!(problem.message, "the portable bundle has no PostgreSQL `17`");
    }

    #[tokio::test]
    async fn a_declared_address_wins_and_its_password_comes_from_the_variable() {
        let server = Server { url: Some("postgres://me@db.example.com/app".into()), ..Server::default() };
        let search = locate(&server, &testing::home(), None).await.unwrap();
        assert_eq!(search.found.reason(), "declared as `server.url`");
        assert!(
            matches!(search.found, FoundServer::Remote { target, .. } if target.place() == "db.example.com:5432")
        );
        let server = Server { password_env: Some("HOWDAH_NO_SUCH_VARIABLE".into()), ..server };
        let problem = locate(&server, &testing::home(), None).await.unwrap_err();
        assert_eq!(problem.message, "the variable `HOWDAH_NO_SUCH_VARIABLE` is not set");
    }

    #[test]
    fn versions_are_read_as_packagers_print_them() {
        let read = |text| version_in(text).unwrap();
        assert_eq!(read("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), ("15.18".into(), 15));
        assert_eq!(read("postgres (PostgreSQL) 19beta1"), ("19beta1".into(), 19));
        assert_eq!(version_in("nothing"), None);
    }
}
