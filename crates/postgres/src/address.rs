//! How is an address read?
//!
//! As libpq reads a connection URI: user and password end at the first `@`, `+` is a plus, what stands after `?` overrules what
//! stands before it, and what is left out comes from a service file, then from the environment (`PGHOST`, `PGSSLMODE`, …), then
//! from defaults. A parameter that changes what is connected to, and that this client cannot honour, is refused by its name;
//! none is passed over. Mistakes never quote the part of an address where a password may stand.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use howdah_plan::problem::{Kind, Problem};
use howdah_plan::spec::resolve::nearest;
use percent_encoding::percent_decode_str;
use tokio_postgres::config::ChannelBinding;

use super::target::{Host, SessionAttrs, SslMode, Target};
use super::{Secret, passfile};

/// Reads a variable of the environment.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What becomes of a parameter.
#[derive(Clone, Copy, PartialEq)]
enum Use {
    /// It is obeyed.
    Taken,
    /// It changes nothing that can be seen from here.
    NoEffect,
    /// It is a demand that this client cannot meet.
    Refused,
}

/// Parameters by libpq's names, what becomes of them, and the variable that stands in for each.
const PARAMETERS: &[(&str, Use, &str)] = &[
    ("host", Use::Taken, "PGHOST"),
    ("port", Use::Taken, "PGPORT"),
    ("user", Use::Taken, "PGUSER"),
    ("dbname", Use::Taken, "PGDATABASE"),
    ("password", Use::Taken, "PGPASSWORD"),
    ("passfile", Use::Taken, "PGPASSFILE"),
    ("service", Use::Taken, "PGSERVICE"),
    ("sslmode", Use::Taken, "PGSSLMODE"),
    ("sslrootcert", Use::Taken, "PGSSLROOTCERT"),
    ("connect_timeout", Use::Taken, "PGCONNECT_TIMEOUT"),
    ("application_name", Use::Taken, "PGAPPNAME"),
    ("fallback_application_name", Use::Taken, ""),
    ("options", Use::Taken, "PGOPTIONS"),
    ("target_session_attrs", Use::Taken, "PGTARGETSESSIONATTRS"),
    ("channel_binding", Use::Taken, "PGCHANNELBINDING"),
    ("client_encoding", Use::Taken, "PGCLIENTENCODING"),
    ("gssencmode", Use::Taken, "PGGSSENCMODE"),
    ("sslnegotiation", Use::Taken, "PGSSLNEGOTIATION"),
    ("sslcompression", Use::NoEffect, ""),
    ("sslsni", Use::NoEffect, ""),
    ("keepalives", Use::NoEffect, ""),
    ("keepalives_idle", Use::NoEffect, ""),
    ("keepalives_interval", Use::NoEffect, ""),
    ("keepalives_count", Use::NoEffect, ""),
    ("tcp_user_timeout", Use::NoEffect, ""),
    ("load_balance_hosts", Use::NoEffect, ""),
    ("krbsrvname", Use::NoEffect, ""),
    ("gsslib", Use::NoEffect, ""),
    ("gssdelegation", Use::NoEffect, ""),
    ("hostaddr", Use::Refused, "PGHOSTADDR"),
    ("requirepeer", Use::Refused, "PGREQUIREPEER"),
    ("require_auth", Use::Refused, "PGREQUIREAUTH"),
    ("replication", Use::Refused, ""),
    ("sslcert", Use::Refused, "PGSSLCERT"),
    ("sslkey", Use::Refused, "PGSSLKEY"),
    ("sslpassword", Use::Refused, ""),
    ("sslcertmode", Use::Refused, "PGSSLCERTMODE"),
    ("sslcrl", Use::Refused, "PGSSLCRL"),
    ("sslcrldir", Use::Refused, "PGSSLCRLDIR"),
    ("ssl_min_protocol_version", Use::Refused, "PGSSLMINPROTOCOLVERSION"),
    ("ssl_max_protocol_version", Use::Refused, "PGSSLMAXPROTOCOLVERSION"),
];

/// Parameters of other clients that stand in addresses as platforms hand them out. libpq refuses them; here they mean nothing.
const OF_OTHERS: [&str; 4] = ["pgbouncer", "connection_limit", "pool_timeout", "schema"];

const FORM: &str = "Write `server.url` as `postgres://user@host:5432/database?sslmode=verify-full`.";
const ENCODE: &str = "In a user name or a password write `@` as `%40`, `:` as `%3A`, `/` as `%2F`, `?` as `%3F`, `#` as `%23` \
                      and `%` as `%25`; or leave the password out of the address and name its variable in \
                      `server.password_env`.";

/// What an address, a service file and the environment say, by libpq's names.
type Said = BTreeMap<String, String>;

/// Reads an address and what it leaves out.
///
/// # Errors
/// `usage`, never with the password in it.
pub(super) fn read(text: &str, environment: Environment<'_>) -> Result<Target, Problem> {
    let rest = text
        .strip_prefix("postgres://")
        .or_else(|| text.strip_prefix("postgresql://"))
        .ok_or_else(|| usage("the server's address does not begin with `postgres://`"))?;
    let hint = if rest.contains('@') { ENCODE } else { FORM };
    let mut said = parts(rest).map_err(|what| Problem::new(Kind::Usage, what).hint(hint))?;
    from_service(&mut said, environment)?;
    from_environment(&mut said, environment)?;
    target(&said, environment)
}

fn usage(what: impl Into<String>) -> Problem {
    Problem::new(Kind::Usage, what).hint(FORM)
}

/// The parts of an address after its scheme.
fn parts(rest: &str) -> Result<Said, String> {
    let mut said = Said::new();
    // libpq: user and password are there when an `@` comes before the first `/`, and they end at the first `@`.
    let before_path = rest.find('/').unwrap_or(rest.len());
    let rest = match rest[..before_path].find('@') {
        Some(at) => {
            let (user, password) = rest[..at].split_once(':').unwrap_or((&rest[..at], ""));
            put(&mut said, "user", user)?;
            put(&mut said, "password", password)?;
            &rest[at + 1..]
        }
        None => rest,
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    place(&mut said, authority)?;
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    if let Some(database) = path.strip_prefix('/') {
        if database.contains('@') {
            return Err("the database's name in the server's address has an unencoded `@`".into());
        }
        put(&mut said, "dbname", database)?;
    }
    for pair in query.split('&').filter(|_| !query.is_empty()) {
        parameter(&mut said, pair)?;
    }
    Ok(said)
}

/// Host and port.
fn place(said: &mut Said, authority: &str) -> Result<(), String> {
    if authority.contains(',') {
        return Err("the server's address names several hosts; one is possible".into());
    }
    if authority.contains('@') {
        return Err("the server's address has more than one `@` before the host".into());
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) =
                rest.split_once(']').ok_or("the address has a `[` without its `]` around an IPv6 address")?;
            let port = if rest.is_empty() { Some("") } else { rest.strip_prefix(':') };
            if host.is_empty() {
                return Err("the server's address has an empty IPv6 address".into());
            }
            (host, port.ok_or("after the `]` of an IPv6 address come `:` and a port, or nothing")?)
        }
        None => authority.split_once(':').unwrap_or((authority, "")),
    };
    // What stands here may be the rest of a password: it is not quoted.
    if !port.is_empty() && port_of(port).is_none() {
        return Err("the port in the server's address is not a number from 1 to 65535".into());
    }
    put(said, "host", host)?;
    put(said, "port", port)
}

/// One `name=value` behind the `?`.
fn parameter(said: &mut Said, pair: &str) -> Result<(), String> {
    let (name, value) = pair
        .split_once('=')
        .ok_or("a parameter in the server's address has no `=`: they read `?name=value&name=value`")?;
    if value.contains('=') {
        return Err("a parameter in the server's address has a second `=`; write it as `%3D`".into());
    }
    let (name, value) = (decode(name)?, decode(value)?);
    if name == "ssl" && value == "true" {
        // As JDBC writes it; libpq takes that much of it.
        said.insert("sslmode".into(), "require".into());
    } else if !OF_OTHERS.contains(&name.as_str()) {
        known(&name)?;
        said.insert(name, value);
    }
    Ok(())
}

/// Refuses names that are no parameter, and demands that are not met.
fn known(name: &str) -> Result<(), String> {
    match PARAMETERS.iter().find(|(known, ..)| *known == name) {
        Some((_, Use::Refused, _)) => {
            Err(format!("`{name}` in the server's address is not supported by howdah"))
        }
        Some(_) => Ok(()),
        None => {
            let names = PARAMETERS.iter().map(|(name, ..)| *name);
            let near = nearest(name, names).map(|near| format!("; did you mean `{near}`?"));
            Err(format!("unknown parameter `{name}` in the server's address{}", near.unwrap_or_default()))
        }
    }
}

/// Keeps what is not empty.
fn put(said: &mut Said, name: &str, encoded: &str) -> Result<(), String> {
    if !encoded.is_empty() {
        said.insert(name.to_owned(), decode(encoded)?);
    }
    Ok(())
}

/// `%2F` to `/`. libpq refuses half a token and a zero byte; `+` stands for itself.
fn decode(text: &str) -> Result<String, String> {
    let hex = |c: Option<u8>| c.is_some_and(|c| c.is_ascii_hexdigit());
    let bytes = text.as_bytes();
    let broken = bytes.iter().enumerate().any(|(at, byte)| {
        *byte == b'%' && !(hex(bytes.get(at + 1).copied()) && hex(bytes.get(at + 2).copied()))
    });
    if broken {
        return Err("a `%` in the server's address is not followed by two hexadecimal digits".into());
    }
    let decoded = percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| "the server's address does not decode to UTF-8".to_owned())?;
    if decoded.contains('\0') {
        return Err("the server's address has a zero byte (`%00`)".into());
    }
    Ok(decoded.into_owned())
}

/// Adds what the service that is named says.
fn from_service(said: &mut Said, environment: Environment<'_>) -> Result<(), Problem> {
    let Some(name) = said.get("service").cloned().or_else(|| environment("PGSERVICE")) else { return Ok(()) };
    if name.is_empty() {
        return Ok(());
    }
    let own = environment("PGSERVICEFILE")
        .map(PathBuf::from)
        .or_else(|| environment("HOME").map(|home| Path::new(&home).join(".pg_service.conf")));
    let shared = environment("PGSYSCONFDIR").map_or_else(
        || ["/etc/postgresql-common/pg_service.conf", "/etc/pg_service.conf"].map(PathBuf::from).to_vec(),
        |directory| vec![Path::new(&directory).join("pg_service.conf")],
    );
    for path in own.into_iter().chain(shared) {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        if let Some(lines) = section(&text, &name) {
            return add_service(said, lines, &path);
        }
    }
    Err(Problem::new(Kind::Usage, format!("the service `{name}` is in no service file"))
        .detail("the address or PGSERVICE names it; PGSERVICEFILE, `~/.pg_service.conf` and `pg_service.conf` of the system were read")
        .hint(format!("Write it into `~/.pg_service.conf` below `[{name}]`, or unset PGSERVICE.")))
}

/// The lines of `[name]` in a service file.
fn section<'a>(text: &'a str, name: &str) -> Option<Vec<&'a str>> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.find(|line| line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) == Some(name))?;
    Some(lines.take_while(|line| !line.starts_with('[')).collect())
}

fn add_service(said: &mut Said, lines: Vec<&str>, path: &Path) -> Result<(), Problem> {
    let refuse = |what: String| {
        Problem::new(Kind::Usage, what)
            .detail(format!("in the service file `{}`", path.display()))
            .hint("Each line of a service is a libpq parameter as in `host=db.example.com`.")
    };
    for line in lines {
        let (name, value) =
            line.split_once('=').ok_or_else(|| refuse("a line of the service has no `=`".into()))?;
        if name == "service" {
            return Err(refuse("a service names another service".into()));
        }
        known(name).map_err(|what| refuse(what.replace("the server's address", "the service")))?;
        said.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    }
    Ok(())
}

/// Adds what variables say of the parameters that nobody has named yet.
fn from_environment(said: &mut Said, environment: Environment<'_>) -> Result<(), Problem> {
    for (name, how, variable) in PARAMETERS.iter().filter(|(.., variable)| !variable.is_empty()) {
        let Some(value) = environment(variable).filter(|value| !value.is_empty()) else { continue };
        if said.contains_key(*name) {
            continue;
        }
        if *how == Use::Refused {
            return Err(Problem::new(
                Kind::Usage,
                format!("{variable} is set, and `{name}` is not supported by howdah"),
            )
            .hint(format!("Run `unset {variable}` for howdah.")));
        }
        said.insert((*name).to_owned(), value);
    }
    Ok(())
}

/// The target that all of it means.
fn target(said: &Said, environment: Environment<'_>) -> Result<Target, Problem> {
    let some = |name: &str| said.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let unfit = |name: &str, value: &str, wanted: &str| {
        usage(format!("`{name}={value}` in the server's address is none of {wanted}"))
    };
    let port = match some("port") {
        Some(port) if port.contains(',') => return Err(usage("`port` names several ports; one is possible")),
        Some(port) => {
            port_of(port).ok_or_else(|| usage(format!("`port={port}` is not a number from 1 to 65535")))?
        }
        None => 5432,
    };
    let user = some("user").map_or_else(|| who(environment), str::to_owned);
    let database = some("dbname").unwrap_or(&user).to_owned();
    let mut target = Target::new(host(some("host"), port)?, port, user, database);
    target.password = some("password").map(Secret::new);
    if let Some(value) = said.get("sslmode") {
        let found = SslMode::NAMES.iter().find(|(name, _)| name == value);
        let wanted = "disable, allow, prefer, require, verify-ca, verify-full";
        target.sslmode = found.map(|(_, mode)| *mode).ok_or_else(|| unfit("sslmode", value, wanted))?;
    }
    match some("sslrootcert") {
        // libpq: the system's certificates, and nothing weaker than the full check.
        Some("system") if said.get("sslmode").is_some_and(|mode| mode != "verify-full") => {
            return Err(usage("`sslrootcert=system` goes with `sslmode=verify-full` only"));
        }
        Some("system") => target.sslmode = SslMode::VerifyFull,
        other => target.sslrootcert = other.map(PathBuf::from),
    }
    if let Some(value) = some("connect_timeout") {
        let seconds: i64 = value.trim().parse().map_err(|_| {
            usage(format!("`connect_timeout={value}` in the server's address is not a number of seconds"))
        })?;
        // libpq waits without end for 0; an hour is as long as anything here waits.
        let seconds = if seconds <= 0 { 3600 } else { seconds.min(3600) };
        target.connect_timeout = Duration::from_secs(seconds.unsigned_abs());
    }
    if let Some(name) = some("application_name").or_else(|| some("fallback_application_name")) {
        name.clone_into(&mut target.application_name);
    }
    target.options = some("options").map(str::to_owned);
    if let Some(value) = said.get("target_session_attrs") {
        target.session = SessionAttrs::named(value).ok_or_else(|| {
            unfit("target_session_attrs", value, &SessionAttrs::NAMES.map(|(name, _)| name).join(", "))
        })?;
    }
    target.channel_binding = match some("channel_binding") {
        None | Some("prefer") => ChannelBinding::Prefer,
        Some("disable") => ChannelBinding::Disable,
        Some("require") => ChannelBinding::Require,
        Some(value) => return Err(unfit("channel_binding", value, "disable, prefer, require")),
    };
    for (name, wanted) in [("gssencmode", &["disable", "prefer"][..]), ("sslnegotiation", &["postgres"])] {
        if let Some(value) = some(name).filter(|value| !wanted.contains(value)) {
            return Err(unfit(name, value, &wanted.join(", ")).detail("howdah's connections know no other"));
        }
    }
    if let Some(value) = some("client_encoding")
        && !["auto", "utf8", "utf-8", "unicode"].contains(&value.to_ascii_lowercase().as_str())
    {
        return Err(unfit("client_encoding", value, "auto, UTF8"));
    }
    if target.password.is_none() {
        target.password = passfile::password(&target, some("passfile"), environment);
    }
    Ok(target)
}

fn port_of(text: &str) -> Option<u16> {
    text.trim().parse().ok().filter(|port| *port > 0)
}

/// Where the server listens; without a word on it the socket where there is one, as libpq has it, else this machine.
fn host(said: Option<&str>, port: u16) -> Result<Host, Problem> {
    match said {
        Some(host) if host.contains(',') => {
            Err(usage("`host` in the server's address names several hosts; one is possible"))
        }
        Some(host) if host.starts_with('@') => Err(usage("abstract sockets are not supported by howdah")),
        Some(host) if host.starts_with('/') => Ok(Host::Socket(host.into())),
        Some(host) => Ok(Host::Tcp(host.to_owned())),
        None => {
            let there = |directory: &&str| Path::new(directory).join(format!(".s.PGSQL.{port}")).exists();
            let socket = passfile::SOCKET_DIRECTORIES.into_iter().find(there);
            Ok(socket
                .map_or_else(|| Host::Tcp("localhost".into()), |directory| Host::Socket(directory.into())))
        }
    }
}

/// The name that the operating system has for us.
fn who(environment: Environment<'_>) -> String {
    let known = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten().map(|user| user.name);
    known.or_else(|| environment("USER")).unwrap_or_else(|| "postgres".into())
}

#[cfg(test)]
mod tests;
