//! Stories of connections and of what PostgreSQL says, on real servers.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use howdah_plan::problem::{DoNow, Kind, Problem};
use howdah_plan::spec::Server;

use super::instance::{Instance, Patience, RunningServer};
use super::problem::from_pg;
use super::{Home, Host, Secret, SslMode, Target, connect, find, testing};

async fn refused(target: &Target) -> Problem {
    connect::connect(target).await.expect_err("must not connect")
}

/// What the server says to `sql`, as a problem.
async fn said(client: &super::Lease, sql: &str) -> Problem {
    from_pg(&client.batch_execute(sql).await.unwrap_err(), "do it")
}

#[tokio::test]
async fn each_refusal_of_the_server_is_of_its_kind() {
    let database = testing::database().await;
    let client = database.client().await;
    for (sql, kind, state) in [
        ("SELECT * FROM no_such_table", Kind::NotFound, "42P01"),
        ("SELEC 1", Kind::Failed, "42601"),
        ("SELECT '[1,2]'::vector <-> '[1,2,3]'::vector", Kind::Usage, "22000"),
        ("SELECT '[1,x]'::vector", Kind::Usage, "22P02"),
        ("CREATE DATABASE postgres", Kind::Conflict, "42P04"),
        ("BEGIN READ ONLY; CREATE TABLE x (n int)", Kind::Failed, "25006"),
        ("ROLLBACK; SET statement_timeout = 20; SELECT pg_sleep(5)", Kind::Timeout, "57014"),
    ] {
        let problem = said(&client, sql).await;
        assert_eq!(problem.kind, kind, "{sql}: {problem:?}");
        assert!(problem.detail.as_deref().unwrap_or_default().contains(state), "{sql}: {problem:?}");
        assert!(problem.message.starts_with("cannot do it: "), "{problem}");
    }
}

#[tokio::test]
async fn a_lock_that_somebody_holds_is_a_conflict_to_retry() {
    let database = testing::database().await;
    let holder = database.pools.own(&database.name).await.unwrap();
    holder.batch_execute("CREATE TABLE held (n int)").await.unwrap();
    holder.batch_execute("BEGIN; LOCK TABLE held").await.unwrap();
    let problem = said(&database.client().await, "SET lock_timeout = 20; SELECT * FROM held").await;
    assert_eq!((problem.kind, problem.do_now), (Kind::Conflict, DoNow::Retry));
}

#[tokio::test]
async fn a_database_that_is_not_there_and_a_port_where_nobody_is_are_told_apart() {
    let database = testing::empty_database().await;
    let problem = database.pools.get("no_such_database").await.err().unwrap();
    assert_eq!(problem.kind, Kind::NotFound);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut target = Target::new(Host::Tcp("127.0.0.1".into()), port, "me", "d");
    target.connect_timeout = Duration::from_millis(300);
    let problem = refused(&target).await;
    assert_eq!(problem.kind, Kind::Unreachable);
    assert_eq!(problem.message, format!("PostgreSQL at `127.0.0.1:{port}` does not answer"));
    drop(listener);
    let problem = refused(&target).await;
    assert_eq!(problem.message, format!("nothing listens at `127.0.0.1:{port}`"));
    assert_eq!(problem.kind.row().exit, 3);
}

#[tokio::test]
async fn a_server_that_cannot_encrypt_is_refused_when_encryption_is_required() {
    let database = testing::empty_database().await;
    let tcp = Target { host: Host::Tcp("127.0.0.1".into()), ..database.target.clone() };
    connect::connect(&Target { sslmode: SslMode::Prefer, ..tcp.clone() }).await.unwrap();
    let problem = refused(&Target { sslmode: SslMode::Require, ..tcp }).await;
    assert_eq!(problem.kind, Kind::Unauthenticated);
    assert!(problem.message.ends_with("does not encrypt"), "{problem}");
}

/// A server with TLS: Debian's, since the bundle has none.
struct Encrypted {
    running: Option<RunningServer>,
    dir: PathBuf,
}

impl Encrypted {
    async fn start() -> Option<Encrypted> {
        let bindir = Path::new("/usr/lib/postgresql/15/bin");
        let openssl = Command::new("openssl").arg("version").stdout(Stdio::null()).status();
        if !bindir.join("initdb").is_file() || !openssl.is_ok_and(|status| status.success()) {
            eprintln!("skipped: needs Debian's PostgreSQL 15 and openssl");
            return None;
        }
        let dir = testing::directory();
        let home = Home::at(dir.join("h"));
        let programs = find::inspect(bindir).unwrap();
        let instance = Instance::new(&home, "tls", &Server::default(), programs).unwrap();
        instance.init().await.unwrap();
        certificates(&dir);
        // The server shows the certificate that the authority signed; `self.pem` is for the second story.
        let (certificate, key) = (dir.join("server.pem"), dir.join("server.key"));
        testing::user().own(&key).unwrap();
        instance
            .configure([
                ("ssl", "on"),
                ("ssl_cert_file", certificate.to_str().unwrap()),
                ("ssl_key_file", key.to_str().unwrap()),
                ("fsync", "off"),
            ])
            .unwrap();
        let running = instance.start().await.unwrap();
        Some(Encrypted { running: Some(running), dir })
    }

    fn target(&self, host: &str, sslmode: SslMode, authority: Option<&str>) -> Target {
        let target = self.running.as_ref().unwrap().target.clone();
        let sslrootcert = authority.map(|name| self.dir.join(name));
        Target { host: Host::Tcp(host.into()), sslmode, sslrootcert, ..target }
    }

    async fn stop(mut self) {
        self.running.take().unwrap().stop(Patience::default()).await.unwrap();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// `ca.pem` signs `server.pem` for `localhost`; `other.pem` is an authority that signed nothing.
fn certificates(dir: &Path) {
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).current_dir(dir).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
    let with = |more: &[&'static str]| [["req"].as_slice(), ec.as_slice(), more].concat();
    openssl(&with(&["-x509", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=authority"]));
    openssl(&with(&["-x509", "-keyout", "other.key", "-out", "other.pem", "-subj", "/CN=other"]));
    openssl(&with(&["-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost"]));
    fs::write(dir.join("names"), "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n").unwrap();
    openssl(&[
        "x509",
        "-req",
        "-in",
        "server.csr",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-days",
        "2",
        "-extfile",
        "names",
        "-out",
        "server.pem",
    ]);
    fs::set_permissions(dir.join("server.key"), fs::Permissions::from_mode(0o600)).unwrap();
}

#[tokio::test]
async fn each_sslmode_checks_what_it_promises() {
    let Some(server) = Encrypted::start().await else { return };
    let encrypted = async |target: Target| -> Result<bool, Problem> {
        let client = connect::connect(&target).await?;
        let row =
            client.query_one("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", &[]).await.unwrap();
        Ok(row.get(0))
    };
    for (host, mode, authority, expected) in [
        ("127.0.0.1", SslMode::Disable, None, Some(false)),
        ("127.0.0.1", SslMode::Prefer, None, Some(true)),
        ("127.0.0.1", SslMode::Require, None, Some(true)),
        ("127.0.0.1", SslMode::Require, Some("ca.pem"), Some(true)),
        ("127.0.0.1", SslMode::Require, Some("other.pem"), None),
        ("127.0.0.1", SslMode::VerifyCa, Some("ca.pem"), Some(true)),
        ("127.0.0.1", SslMode::VerifyCa, Some("other.pem"), None),
        ("localhost", SslMode::VerifyFull, Some("ca.pem"), Some(true)),
        ("127.0.0.1", SslMode::VerifyFull, Some("ca.pem"), None),
        ("localhost", SslMode::VerifyFull, Some("other.pem"), None),
        // The server's own certificate, given as the one to trust.
        ("localhost", SslMode::VerifyFull, Some("server.pem"), Some(true)),
        ("127.0.0.1", SslMode::VerifyFull, Some("server.pem"), None),
        ("127.0.0.1", SslMode::VerifyCa, Some("server.pem"), Some(true)),
        ("localhost", SslMode::VerifyFull, None, None),
    ] {
        let case = format!("{host} {} {authority:?}", mode.name());
        match (encrypted(server.target(host, mode, authority)).await, expected) {
            (Ok(is), Some(wanted)) => assert_eq!(is, wanted, "{case}"),
            (Err(problem), None) => {
                assert_eq!(problem.kind, Kind::Unauthenticated, "{case}: {problem:?}");
                assert!(problem.message.contains("is not trusted"), "{case}: {problem:?}");
            }
            (got, _) => panic!("{case}: {got:?}"),
        }
    }
    // A login that is bound to the channel works over TLS, and only there.
    for (sslmode, expected) in [(SslMode::Require, Some(true)), (SslMode::Disable, None)] {
        let target = Target {
            channel_binding: tokio_postgres::config::ChannelBinding::Require,
            ..server.target("127.0.0.1", sslmode, None)
        };
        assert_eq!(encrypted(target).await.ok(), expected, "{}", sslmode.name());
    }
    // Over TLS the login still counts.
    let target = server.target("localhost", SslMode::VerifyFull, Some("ca.pem"));
    let wrong = target.as_role("postgres", Some(Secret::new("wrong")));
    assert_eq!(refused(&wrong).await.kind, Kind::Unauthenticated);
    let nowhere = Target { sslrootcert: Some("/no/such/ca.pem".into()), ..target };
    assert_eq!(refused(&nowhere).await.kind, Kind::Machine);
    server.stop().await;
}
