//! Which server is meant, as whom, and how safely?
//!
//! A [`Target`] is a connection address with nothing left unsaid. It comes from `server.url` or `DATABASE_URL`, or from
//! an instance that Howdah runs. Printing one never shows the password.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use howdah_plan::problem::{Kind, Problem};
use howdah_plan::spec::resolve::nearest;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use url::Url;

use super::Secret;

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A host name or address.
    Tcp(String),
    /// The directory of a unix socket.
    Socket(PathBuf),
}

/// How the connection is protected, with libpq's names and meanings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SslMode {
    /// Never encrypted.
    Disable,
    /// Encrypted where the server can; the certificate is not checked.
    Prefer,
    /// Encrypted; the certificate is checked only when `sslrootcert` is given.
    Require,
    /// Encrypted, the certificate's chain is checked.
    VerifyCa,
    /// Encrypted, the certificate's chain and its host name are checked.
    VerifyFull,
}

impl SslMode {
    /// All modes with libpq's names.
    pub const NAMES: [(&'static str, SslMode); 6] = [
        ("disable", SslMode::Disable),
        ("allow", SslMode::Prefer),
        ("prefer", SslMode::Prefer),
        ("require", SslMode::Require),
        ("verify-ca", SslMode::VerifyCa),
        ("verify-full", SslMode::VerifyFull),
    ];

    /// libpq's name.
    pub const fn name(self) -> &'static str {
        match self {
            SslMode::Disable => "disable",
            SslMode::Prefer => "prefer",
            SslMode::Require => "require",
            SslMode::VerifyCa => "verify-ca",
            SslMode::VerifyFull => "verify-full",
        }
    }
}

/// A connection address with nothing left unsaid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Where it listens.
    pub host: Host,
    /// Port.
    pub port: u16,
    /// Role to log in as.
    pub user: String,
    /// Its password.
    pub password: Option<Secret>,
    /// Database that is connected to when none is named.
    pub database: String,
    /// How the connection is protected.
    pub sslmode: SslMode,
    /// File with the certificates to trust; the system's when absent.
    pub sslrootcert: Option<PathBuf>,
    /// Longest time to make a connection.
    pub connect_timeout: Duration,
    /// What the server shows as `application_name`.
    pub application_name: String,
    /// `options` of the connection (`-c name=value`).
    pub options: Option<String>,
}

impl Target {
    /// A target with the usual protection and times.
    pub fn new(host: Host, port: u16, user: impl Into<String>, database: impl Into<String>) -> Target {
        Target {
            host,
            port,
            user: user.into(),
            password: None,
            database: database.into(),
            sslmode: SslMode::Prefer,
            sslrootcert: None,
            connect_timeout: Duration::from_secs(10),
            application_name: "howdah".into(),
            options: None,
        }
    }

    /// Reads `postgres://user:password@host:port/database?sslmode=…`. `password` overrules the one in the address;
    /// without either, PGPASSWORD and then the password file (`PGPASSFILE`, `~/.pgpass`) are asked.
    ///
    /// # Errors
    /// `usage`, never with the password in it.
    pub fn from_url(text: &str, password: Option<Secret>) -> Result<Target, Problem> {
        let mut target = parse(text)?;
        target.password = password
            .or(target.password.take())
            .or_else(|| std::env::var("PGPASSWORD").ok().filter(|p| !p.is_empty()).map(Secret::new))
            .or_else(|| from_password_file(&target));
        Ok(target)
    }

    /// The same server, another database.
    #[must_use]
    pub fn with_database(&self, database: &str) -> Target {
        Target { database: database.to_owned(), ..self.clone() }
    }

    /// The same server as another role.
    #[must_use]
    pub fn as_role(&self, user: &str, password: Option<Secret>) -> Target {
        Target { user: user.to_owned(), password, ..self.clone() }
    }

    /// The address as a URL without the password.
    pub fn url(&self) -> String {
        self.write_url(None)
    }

    /// The address as a URL with the password. For showing once to the person who owns it, never for logs.
    pub fn url_with_password(&self) -> String {
        self.write_url(self.password.as_ref().map(Secret::expose))
    }

    fn write_url(&self, password: Option<&str>) -> String {
        let password = password.map(|p| format!(":{}", encode(p))).unwrap_or_default();
        let user = encode(&self.user);
        let database = encode(&self.database);
        let (host, query) = match &self.host {
            Host::Tcp(host) if host.contains(':') => (format!("[{host}]:{}", self.port), String::new()),
            Host::Tcp(host) => (format!("{host}:{}", self.port), String::new()),
            Host::Socket(dir) => {
                (format!(":{}", self.port), format!("?host={}", encode(&dir.to_string_lossy())))
            }
        };
        // libpq reads an address without a host only when nothing stands before the path.
        let (host, query) = match &self.host {
            Host::Socket(_) => (String::from("localhost"), format!("{query}&port={}", self.port)),
            Host::Tcp(_) if self.sslmode == SslMode::Prefer => (host, query),
            Host::Tcp(_) => (host, format!("?sslmode={}", self.sslmode.name())),
        };
        format!("postgres://{user}{password}@{host}/{database}{query}")
    }

    /// Where it listens, for messages: `host:port` or the socket's path.
    pub fn place(&self) -> String {
        match &self.host {
            Host::Tcp(host) => format!("{host}:{}", self.port),
            Host::Socket(dir) => dir.join(format!(".s.PGSQL.{}", self.port)).display().to_string(),
        }
    }

    /// Whether it listens on this machine as far as the address says.
    pub fn is_local(&self) -> bool {
        match &self.host {
            Host::Socket(_) => true,
            Host::Tcp(host) => {
                host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
            }
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url())
    }
}

const PARAMETERS: [&str; 10] = [
    "sslmode",
    "sslrootcert",
    "connect_timeout",
    "application_name",
    "options",
    "host",
    "port",
    "user",
    "password",
    "dbname",
];

fn parse(text: &str) -> Result<Target, Problem> {
    let usage = |what: String| {
        Problem::new(Kind::Usage, what)
            .hint("Write `server.url` as `postgres://user@host:5432/database?sslmode=verify-full`.")
    };
    let rest = text
        .strip_prefix("postgres://")
        .or_else(|| text.strip_prefix("postgresql://"))
        .ok_or_else(|| usage("the server's address does not begin with `postgres://`".into()))?;
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if authority.rsplit('@').next().unwrap_or_default().contains(',') {
        return Err(usage("the server's address names several hosts; one is possible".into()));
    }
    let url = Url::parse(&format!("postgres://{rest}"))
        .map_err(|e| usage(format!("the server's address cannot be read: {e}")))?;
    let some = |text: &str| (!text.is_empty()).then(|| decode(text));
    let host = match url.host_str() {
        None | Some("") => Host::Tcp("localhost".into()),
        Some(host) => host_of(&decode(host)),
    };
    let user = some(url.username()).or_else(|| std::env::var("USER").ok()).unwrap_or("postgres".into());
    let database = some(url.path().trim_start_matches('/')).unwrap_or_else(|| user.clone());
    let mut target = Target::new(host, url.port().unwrap_or(5432), user, database);
    target.password = url.password().and_then(some).map(Secret::new);
    for (name, value) in url.query_pairs() {
        set(&mut target, &name, &value).map_err(usage)?;
    }
    Ok(target)
}

fn host_of(host: &str) -> Host {
    if host.starts_with('/') {
        Host::Socket(host.into())
    } else {
        Host::Tcp(host.trim_matches(['[', ']']).to_owned())
    }
}

fn set(target: &mut Target, name: &str, value: &str) -> Result<(), String> {
    match name {
        "sslmode" => {
            let found = SslMode::NAMES.iter().find(|(name, _)| *name == value);
            target.sslmode = found.map(|(_, mode)| *mode).ok_or_else(|| {
                format!("`sslmode={value}` in the server's address is none of disable, prefer, require, verify-ca, verify-full")
            })?;
        }
        "sslrootcert" if value == "system" => {
            // libpq: the system's certificates, and nothing weaker than the full check.
            target.sslmode = SslMode::VerifyFull;
        }
        "sslrootcert" => target.sslrootcert = Some(value.into()),
        "connect_timeout" => {
            let seconds: u64 = value.parse().map_err(|_| {
                format!("`connect_timeout={value}` in the server's address is not a number of seconds")
            })?;
            target.connect_timeout = Duration::from_secs(seconds.clamp(1, 3600));
        }
        "application_name" => target.application_name = value.to_owned(),
        "options" => target.options = Some(value.to_owned()),
        "host" => target.host = host_of(value),
        "port" => {
            target.port =
                value.parse().map_err(|_| format!("`port={value}` in the server's address is not a port"))?;
        }
        "user" => target.user = value.to_owned(),
        "password" => target.password = Some(Secret::new(value)),
        "dbname" => target.database = value.to_owned(),
        // Of no meaning to this client, and in many addresses that are handed out.
        "channel_binding"
        | "target_session_attrs"
        | "sslnegotiation"
        | "gssencmode"
        | "pgbouncer"
        | "connection_limit"
        | "pool_timeout"
        | "schema" => {}
        _ => {
            let near = nearest(name, PARAMETERS).map(|near| format!("; did you mean `{near}`?"));
            return Err(format!(
                "unknown parameter `{name}` in the server's address{}",
                near.unwrap_or_default()
            ));
        }
    }
    Ok(())
}

/// What stands encoded in an address: everything but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Looks into libpq's password file, which counts only when nobody else may read it.
fn from_password_file(target: &Target) -> Option<Secret> {
    use std::os::unix::fs::MetadataExt;
    let path = std::env::var_os("PGPASSFILE")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".pgpass")))?;
    let meta = std::fs::metadata(&path).ok()?;
    if meta.mode() & 0o077 != 0 {
        tracing::warn!("`{}` is ignored: others may read it; run `chmod 600` on it", path.display());
        return None;
    }
    password_in(&std::fs::read_to_string(&path).ok()?, target)
}

fn password_in(file: &str, target: &Target) -> Option<Secret> {
    let host = match &target.host {
        Host::Tcp(host) => host.clone(),
        Host::Socket(_) => "localhost".into(),
    };
    let wanted = [host, target.port.to_string(), target.database.clone(), target.user.clone()];
    file.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let fields = fields_of(line);
        let (password, keys) = fields.split_last()?;
        let fits = keys.len() == 4 && keys.iter().zip(&wanted).all(|(key, want)| key == "*" || key == want);
        fits.then(|| Secret::new(password.clone()))
    })
}

/// Splits at colons; a backslash takes the meaning from what follows.
fn fields_of(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c == ':' && fields.len() < 5 {
            fields.push(String::new());
            continue;
        }
        let taken = if c == '\\' { chars.next() } else { Some(c) };
        if let Some(field) = fields.last_mut() {
            field.extend(taken);
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_with_everything_in_it() {
        let target = Target::from_url(
            "postgresql://me%40corp:p%40ss%2Fword@db.example.com:6432/app%20db?sslmode=verify-full&sslrootcert=/ca.pem&connect_timeout=3",
            None,
        )
        .unwrap();
        assert_eq!(target.host, Host::Tcp("db.example.com".into()));
        assert_eq!(
            (target.port, target.user.as_str(), target.database.as_str()),
            (6432, "me@corp", "app db")
        );
        assert_eq!(target.password.as_ref().unwrap().expose(), "p@ss/word");
        assert_eq!(target.sslmode, SslMode::VerifyFull);
        assert_eq!(target.sslrootcert.as_deref(), Some(Path::new("/ca.pem")));
        assert_eq!(target.connect_timeout, Duration::from_secs(3));
    }

    #[test]
    fn what_is_written_is_read_again() {
        for url in [
            "postgres://a:b@h:1/d",
            "postgres://a:b@[::1]:5433/d?sslmode=require",
            "postgres://a@localhost/d?host=/run/x%20y&port=5433",
        ] {
            let target = Target::from_url(url, Some(Secret::new("s:/@"))).unwrap();
            let again = Target::from_url(&target.url_with_password(), None).unwrap();
            assert_eq!(again, target, "{url}");
        }
    }

    #[test]
    fn a_password_is_never_printed() {
        let target = Target::from_url("postgres://me:topsecret@h/d?password=topsecret", None).unwrap();
        for text in [format!("{target:?}"), format!("{target}"), target.url(), target.place()] {
            assert!(!text.contains("topsecret"), "{text}");
        }
        for wrong in [
            "postgres://me:topsecret@h:99999/d",
            "postgres://me:topsecret@h/d?sslmod=require",
            "postgres://me:topsecret@h1,h2/d",
            "mysql://me:topsecret@h/d",
            "postgres://me:topsecret@h/d?sslmode=perhaps",
        ] {
            let problem = Target::from_url(wrong, None).unwrap_err();
            assert_eq!(problem.kind, Kind::Usage);
            assert!(!format!("{problem:?}").contains("topsecret"), "{problem:?}");
        }
    }

    #[test]
    fn a_mistyped_parameter_is_named_with_its_neighbour() {
        let problem = Target::from_url("postgres://h/d?sslmod=require", None).unwrap_err();
        assert_eq!(
            problem.message,
            "unknown parameter `sslmod` in the server's address; did you mean `sslmode`?"
        );
    }

    #[test]
    fn the_password_file_is_matched_field_by_field() {
        let target = Target::new(Host::Tcp("h".into()), 5432, "me", "d");
        let file = "# comment\nother:*:*:*:no\nh:5432:*:me:a\\:b:c\\\\d\n*:*:*:*:last\n";
        assert_eq!(password_in(file, &target).unwrap().expose(), "a:b:c\\d");
        assert!(password_in("h:1:d:me:x", &target).is_none());
    }
}
