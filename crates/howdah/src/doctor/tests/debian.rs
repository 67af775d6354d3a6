//! Stories on the system's own PostgreSQL, where there is one: TLS, contrib, no pgvector, pages without checksums.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use super::*;
use howdah_plan::check::{self, Need};
use howdah_postgres::{Host, Target, testing};

/// A server of the system's programs; ends with the value.
struct System {
    child: Child,
    dir: PathBuf,
    pools: Pools,
}

impl Drop for System {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGQUIT);
        }
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn programs() -> Option<PathBuf> {
    let found = (15..=18).map(|major| PathBuf::from(format!("/usr/lib/postgresql/{major}/bin")));
    found.into_iter().find(|bin| bin.join("postgres").exists())
}

fn quietly(program: &Path, arguments: &[&str]) -> bool {
    let mut command = testing::user().command(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

async fn start() -> Option<System> {
    let openssl = Path::new("/usr/bin/openssl");
    let (Some(bin), true) = (programs(), openssl.exists()) else {
        eprintln!("skipped: no PostgreSQL of the system below /usr/lib/postgresql, or no openssl");
        return None;
    };
    let dir = testing::directory();
    let at = |name: &str| dir.join(name).display().to_string();
    assert!(quietly(&bin.join("initdb"), &["-D", &at("data"), "-U", "postgres", "-A", "trust", "--no-sync"]));
    let (key, certificate) = (at("key"), at("certificate"));
    let subject = ["-subj", "/CN=localhost", "-keyout", &key, "-out", &certificate];
    let request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"];
    assert!(quietly(openssl, &[&request[..], &subject[..]].concat()));
    let settings = [
        "fsync=off".to_owned(),
        "port=5999".to_owned(),
        "listen_addresses=".to_owned(),
        format!("unix_socket_directories={}", dir.display()),
        "ssl=on".to_owned(),
        format!("ssl_key_file={key}"),
        format!("ssl_cert_file={certificate}"),
    ];
    let mut command = testing::user().command(&bin.join("postgres"));
    command.args(["-D", &at("data")]);
    for setting in &settings {
        command.args(["-c", setting]);
    }
    let child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a server");
    let target = Target::new(Host::Socket(dir.clone()), 5999, "postgres", "postgres");
    let system = System { child, dir, pools: Pools::new(target, 4) };
    for _ in 0..200 {
        if connect::connect(&system.pools.target()).await.is_ok() {
            return Some(system);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the system's server does not start")
}

#[tokio::test]
async fn the_systems_server_with_tls_and_without_checksums() {
    let Some(system) = start().await else { return };
    let look = Look::server(&system.pools);
    look.healthy("sec.ssl_on").await;
    assert_eq!(look.one("cfg.checksums").await.measured, "`data_checksums` is off");

    let available = look.report("pgv.available").await;
    assert_eq!(available.not_run, []);
    if let Some(finding) = available.findings.first() {
        assert_eq!(finding.measured, "`vector` is not in `pg_available_extensions`");
        assert_eq!(available.exit_code, 7);
    }
    if look.finds("pgv.available").await.is_empty() {
        execute(&system.pools, "CREATE EXTENSION vector").await;
    }

    let options = Options { recall: true, timeout_seconds: 120, ..Options::default() };
    let report = run(&system.pools, None, None, &options).await.expect("a report");
    for missing in &report.not_run {
        let check = check::find(&missing.check).expect("a check");
        assert!(!check.needs.is_empty(), "{missing:?}");
        let why = check.needs.iter().any(|need| match need {
            Need::Extension(name) => missing.reason.contains(name),
            Need::Machine | Need::Declaration => true,
            _ => false,
        });
        assert!(why, "{missing:?}");
    }
}
