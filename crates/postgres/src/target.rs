//! Which server is meant, as whom, and how safely?
//!
//! A [`Target`] is a connection address with nothing left unsaid. It comes from `server.url` or `DATABASE_URL`, or from
//! an instance that Howdah runs. Printing one never shows the password.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use howdah_plan::problem::Problem;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio_postgres::config::ChannelBinding;

use super::{Secret, address};

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
    /// Which kind of session is asked for (`target_session_attrs`).
    pub session: SessionAttrs,
    /// Whether the login is bound to the encrypted channel.
    pub channel_binding: ChannelBinding,
}

/// Which kind of session is asked for, with libpq's names and meanings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SessionAttrs {
    /// Any.
    #[default]
    Any,
    /// One that may write.
    ReadWrite,
    /// One that may not.
    ReadOnly,
    /// One of a server that is no replica.
    Primary,
    /// One of a replica.
    Standby,
}

impl SessionAttrs {
    /// All of them with libpq's names. Of a single server, one that prefers a replica takes what there is.
    pub const NAMES: [(&'static str, SessionAttrs); 6] = [
        ("any", SessionAttrs::Any),
        ("read-write", SessionAttrs::ReadWrite),
        ("read-only", SessionAttrs::ReadOnly),
        ("primary", SessionAttrs::Primary),
        ("standby", SessionAttrs::Standby),
        ("prefer-standby", SessionAttrs::Any),
    ];

    /// The one of this name.
    pub fn named(name: &str) -> Option<SessionAttrs> {
        SessionAttrs::NAMES.iter().find(|(known, _)| *known == name).map(|(_, attrs)| *attrs)
    }

    /// libpq's name.
    pub fn name(self) -> &'static str {
        SessionAttrs::NAMES.iter().find(|(_, attrs)| *attrs == self).map_or("any", |(name, _)| name)
    }

    /// Whether a session fits of which this is known.
    pub const fn fits(self, replica: bool, read_only: bool) -> bool {
        match self {
            SessionAttrs::Any => true,
            SessionAttrs::ReadWrite => !replica && !read_only,
            SessionAttrs::ReadOnly => replica || read_only,
            SessionAttrs::Primary => !replica,
            SessionAttrs::Standby => replica,
        }
    }
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
            session: SessionAttrs::Any,
            channel_binding: ChannelBinding::Prefer,
        }
    }

    /// Reads `postgres://user:password@host:port/database?sslmode=…` as libpq does. `password` overrules the one in the
    /// address; without either, PGPASSWORD and then the password file (`PGPASSFILE`, `~/.pgpass`) are asked.
    ///
    /// # Errors
    /// `usage`, never with the password in it.
    pub fn from_url(text: &str, password: Option<Secret>) -> Result<Target, Problem> {
        let mut target = address::read(text, &|name| std::env::var(name).ok())?;
        target.password = password.or(target.password);
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
        let (user, database) = (encode(&self.user), encode(&self.database));
        let mut query = Vec::new();
        let host = match &self.host {
            Host::Tcp(host) if host.contains(':') => format!("[{host}]:{}", self.port),
            Host::Tcp(host) => format!("{}:{}", encode(host), self.port),
            Host::Socket(dir) => {
                query.push(format!("host={}", encode(&dir.to_string_lossy())));
                query.push(format!("port={}", self.port));
                // Some readers of addresses want a host before the path.
                "localhost".to_owned()
            }
        };
        if self.sslmode != SslMode::Prefer {
            query.push(format!("sslmode={}", self.sslmode.name()));
        }
        if let Some(path) = &self.sslrootcert {
            query.push(format!("sslrootcert={}", encode(&path.to_string_lossy())));
        }
        if let Some(options) = &self.options {
            query.push(format!("options={}", encode(options)));
        }
        if self.session != SessionAttrs::Any {
            query.push(format!("target_session_attrs={}", self.session.name()));
        }
        if self.channel_binding == ChannelBinding::Require {
            query.push("channel_binding=require".to_owned());
        }
        let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
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

/// What stands encoded in an address: everything but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use howdah_plan::problem::Kind;

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
            "postgres://a@h/d?sslrootcert=/c%26a.pem&target_session_attrs=primary&channel_binding=require&options=-c%20a%3Db",
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
}
