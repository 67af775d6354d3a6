//! Servers: started, killed and started again, followed by a replica.

use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::{Db, Kit};

/// How long anything may take that has to happen; beyond, the story fails.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Settings of every server: small, quick to start, strict about what it replays.
const SETTINGS: &[(&str, &str)] = &[
    ("listen_addresses", "''"),
    ("shared_buffers", "64MB"),
    ("max_connections", "40"),
    ("max_wal_senders", "4"),
    ("wal_level", "replica"),
    ("log_min_messages", "warning"),
    ("autovacuum", "off"),
    ("max_wal_size", "1GB"),
    ("wal_sender_timeout", "10s"),
    ("restart_after_crash", "off"),
];

/// A running server on a socket of its own.
pub struct Server {
    kit: &'static Kit,
    /// Its directory: data, socket, log.
    pub dir: PathBuf,
    port: u16,
    child: Mutex<Option<Child>>,
}

impl Server {
    /// The server that stories share which do not harm it.
    pub fn shared(kit: &'static Kit) -> &'static Self {
        static SHARED: OnceLock<Server> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(kit, "shared", &[("fsync", "off"), ("synchronous_commit", "off")]))
    }

    /// A new server, settings beside the usual ones.
    pub fn start(kit: &'static Kit, name: &str, settings: &[(&str, &str)]) -> Self {
        let server = Self::new(kit, name);
        let data = server.data();
        let arguments = ["-D", &data, "-U", "postgres", "-A", "trust", "-k", "-N", "--no-instructions"];
        kit.run("initdb", &[&arguments[..], &["-E", "UTF8", "--locale=C.UTF-8"]].concat());
        server.configure(SETTINGS);
        server.configure(settings);
        server.up();
        server
    }

    fn new(kit: &'static Kit, name: &str) -> Self {
        // Sockets of different servers lie in different directories; the number only keeps shared memory apart.
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let port = 20_000 + (std::process::id() % 20_000) as u16 + NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = kit.root.join(name);
        kit.make_dir(&dir);
        Self { kit, dir, port, child: Mutex::new(None) }
    }

    fn data(&self) -> String {
        self.dir.join("data").display().to_string()
    }

    /// Adds settings, for the next start.
    pub fn configure(&self, settings: &[(&str, &str)]) {
        use std::io::Write;
        let path = self.dir.join("data/postgresql.conf");
        let mut file =
            std::fs::OpenOptions::new().append(true).open(path).expect("the server has a configuration");
        for (name, value) in settings {
            writeln!(file, "{name} = {value}").expect("and it can be written");
        }
    }

    /// Starts the server and waits until it answers.
    pub fn up(&self) {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.join("log"))
            .expect("a log can be written");
        let mut command = self.kit.program("postgres");
        command.args(["-D", &self.data(), "-p", &self.port.to_string()]);
        command.arg("-k").arg(&self.dir).stdout(Stdio::null()).stderr(log);
        let mut child = self.kit.spawn(command);
        let begun = Instant::now();
        while Db::try_open(self, "postgres").is_err() {
            if let Ok(Some(status)) = child.try_wait() {
                panic!("the server ended: {status}\n{}", self.log());
            }
            assert!(begun.elapsed() < PATIENCE, "the server does not answer\n{}", self.log());
            std::thread::sleep(Duration::from_millis(30));
        }
        *self.child.lock().expect("nobody panicked with it") = Some(child);
    }

    /// Kills every process of the server at once, as a power cut would.
    pub fn kill(&self) {
        let Some(mut child) = self.child.lock().expect("nobody panicked with it").take() else { return };
        let postmaster = child.id();
        // Stopped first, so that it starts nobody while its children are counted. Backends have process groups of their
        // own: only who their parent is tells them.
        signal("STOP", &[postmaster]);
        let mut all = children(postmaster);
        all.push(postmaster);
        signal("KILL", &all);
        child.wait().expect("it is our child");
        let begun = Instant::now();
        all.pop();
        while all.iter().any(|pid| is_alive(*pid)) {
            assert!(begun.elapsed() < PATIENCE, "killed processes live");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Stops the server in order.
    pub fn stop(&self) {
        let Some(mut child) = self.child.lock().expect("nobody panicked with it").take() else { return };
        signal("INT", &[child.id()]);
        child.wait().expect("it is our child");
    }

    /// A streaming replica of this server.
    pub fn replica(&self, name: &str) -> Self {
        let replica = Self::new(self.kit, name);
        let (host, port) = (self.dir.display().to_string(), self.port.to_string());
        let arguments = [
            "-D",
            &replica.data(),
            "-h",
            &host,
            "-p",
            &port,
            "-U",
            "postgres",
            "-R",
            "-c",
            "fast",
            "-X",
            "stream",
        ];
        self.kit.run("pg_basebackup", &arguments);
        replica.up();
        replica
    }

    /// Waits until this replica has replayed all that `primary` has written.
    pub fn catch_up(&self, primary: &Self) {
        let target: String = primary.db("postgres").one("SELECT pg_current_wal_flush_lsn()::text");
        let begun = Instant::now();
        let question = format!("SELECT coalesce(pg_last_wal_replay_lsn() >= '{target}', false)");
        while !self.db("postgres").one::<bool>(&question) {
            assert!(begun.elapsed() < PATIENCE, "the replica stays behind {target}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A connection to database `name`.
    pub fn db(&self, name: &str) -> Db {
        Db::try_open(self, name).unwrap_or_else(|e| panic!("{e}\n{}", self.log()))
    }

    /// A new database with the extension, and a connection to it.
    pub fn database(&self, name: &str) -> Db {
        self.db("postgres").run(&format!("CREATE DATABASE {name}"));
        let mut db = self.db(name);
        db.run("CREATE EXTENSION howdah CASCADE");
        db
    }

    /// How to reach database `name`, in the words of libpq.
    pub fn address(&self, name: &str) -> String {
        format!("host={} port={} user=postgres dbname={name}", self.dir.display(), self.port)
    }

    /// Runs a client program against database `name`.
    pub fn client(&self, program: &str, name: &str, arguments: &[&str]) -> String {
        self.kit.run(program, &[&["-d", &self.address(name)], arguments].concat())
    }

    /// All that the server has said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// Panics when the log has a panic, an inconsistency or a crash of a process that nobody killed.
    pub fn assert_log_is_clean(&self) {
        const BAD: [&str; 4] = ["PANIC", "inconsistent page", "was terminated by signal", "TRAP:"];
        let log = self.log();
        let bad: Vec<&str> = log.lines().filter(|line| BAD.iter().any(|bad| line.contains(bad))).collect();
        assert!(bad.is_empty(), "{}: {bad:#?}", self.dir.display());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if !std::thread::panicking() && std::env::var_os("HOWDAH_STORIES_KEEP").is_none() {
            // What cannot be removed is the operating system's: it is temporary.
            drop(std::fs::remove_dir_all(&self.dir));
        }
    }
}

fn signal(name: &str, pids: &[u32]) {
    let pids = pids.iter().map(ToString::to_string);
    // A process that is gone already is no failure.
    drop(
        std::process::Command::new("kill").arg(format!("-{name}")).args(pids).stderr(Stdio::null()).status(),
    );
}

fn stat(pid: u32) -> Option<(char, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut rest = stat.rsplit(") ").next()?.split(' ');
    Some((rest.next()?.chars().next()?, rest.next()?.parse().ok()?))
}

fn children(parent: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").expect("this is Linux");
    let pids = entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| stat(*pid).is_some_and(|(_, of)| of == parent)).collect()
}

fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| !matches!(state, 'Z' | 'X'))
}
