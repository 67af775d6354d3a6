//! Servers: started, killed and started again, followed by a replica.
//!
//! How a server is made, configured, started, waited for and stopped is [`howdah_postgres::instance`]'s. Here is what only
//! stories want: a power cut, a replica, a log that must be clean, and all of it without `async`, since a story's threads
//! wait for their own statements.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use howdah_plan::problem::Problem;
use howdah_plan::spec;
use howdah_postgres::instance::{Instance, Patience, RunningServer, is_alive};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::kit::PATIENCE;
use crate::{Db, Kit};

/// Settings of every server: small, quick to start, strict about what it replays.
const SETTINGS: &[(&str, &str)] = &[
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

/// A server, running or not.
pub struct Server {
    kit: &'static Kit,
    instance: Instance,
    running: Mutex<Option<RunningServer>>,
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
        server.must(server.instance.init());
        let settings = SETTINGS.iter().chain(settings).copied();
        server.instance.configure(settings).expect("the data directory can be written");
        server.up();
        server
    }

    fn new(kit: &'static Kit, name: &str) -> Self {
        let declared = spec::Server { port: Some(port()), ..spec::Server::default() };
        let instance = Instance::new(&kit.home(), name, &declared, kit.programs.clone());
        let instance = instance.unwrap_or_else(|problem| panic!("{problem:?}"));
        Self { kit, instance, running: Mutex::new(None) }
    }

    /// Starts the server and waits until it answers.
    pub fn up(&self) {
        *self.running.lock().expect("nobody panicked with it") = Some(self.must(self.instance.start()));
    }

    /// What came of it; panics with the log when nothing did.
    fn must<T>(&self, done: impl Future<Output = Result<T, Problem>>) -> T {
        self.kit.wait(done).unwrap_or_else(|problem| panic!("{problem:?}\n{}", self.log()))
    }

    fn take(&self) -> Option<RunningServer> {
        self.running.lock().expect("nobody panicked with it").take()
    }

    /// Kills every process of the server at once, as a power cut would.
    pub fn kill(&self) {
        let Some(mut running) = self.take() else { return };
        if !running.is_alive() {
            return;
        }
        let postmaster = Pid::from_raw(running.pid);
        // Halted first, so that it starts nobody while its children are listed.
        kill(postmaster, Signal::SIGSTOP).expect("the server runs");
        let all = running.processes();
        assert!(all.len() > 1, "the kernel does not say who the server's processes are");
        for pid in &all {
            // One that has ended by itself is no failure.
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        self.must(async { Ok(running.died().await) });
        let begun = Instant::now();
        while all.iter().any(|pid| is_alive(*pid)) {
            assert!(begun.elapsed() < PATIENCE, "killed processes live");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Stops the server in order.
    pub fn stop(&self) {
        let Some(running) = self.take() else { return };
        self.must(running.stop(Patience { smart: Duration::ZERO, ..Patience::default() }));
    }

    /// A streaming replica of this server.
    pub fn replica(&self, name: &str) -> Self {
        let replica = Self::new(self.kit, name);
        let (from, to) = (&self.instance.layout, &replica.instance.layout);
        fs::copy(from.password_file(), to.password_file()).expect("a replica has its primary's password");
        fs::create_dir(&to.data).expect("a directory can be made");
        fs::set_permissions(&to.data, Permissions::from_mode(0o700)).expect("it is ours");
        replica.instance.user.own(&to.data).unwrap_or_else(|problem| panic!("{problem:?}"));
        let data = to.data.display().to_string();
        self.client("pg_basebackup", "postgres", &["-D", &data, "-R", "-c", "fast", "-X", "stream"]);
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
        let target = self.instance.target().unwrap_or_else(|problem| panic!("{problem:?}"));
        let (sockets, password) = (self.instance.layout.sockets(), target.password.expect("it has one"));
        format!(
            "host={} port={} user={} password={} dbname={name}",
            sockets.display(),
            target.port,
            target.user,
            password.expose()
        )
    }

    /// Runs a client program against database `name`.
    pub fn client(&self, program: &str, name: &str, arguments: &[&str]) -> String {
        self.kit.run(program, &[&["-d", &self.address(name)], arguments].concat())
    }

    /// All that the server has said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.instance.layout.log_file()).unwrap_or_default()
    }

    /// Panics when the log has a panic, an inconsistency or a crash of a process that nobody killed.
    pub fn assert_log_is_clean(&self) {
        const BAD: [&str; 4] = ["PANIC", "inconsistent page", "was terminated by signal", "TRAP:"];
        let log = self.log();
        let bad: Vec<&str> = log.lines().filter(|line| BAD.iter().any(|bad| line.contains(bad))).collect();
        assert!(bad.is_empty(), "{}: {bad:#?}", self.instance.layout.name);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if !std::thread::panicking() && std::env::var_os("HOWDAH_TEST_KEEP").is_none() {
            // Room for the stories that follow; what cannot be removed now goes with the process.
            let _ = fs::remove_dir_all(&self.instance.layout.root);
        }
    }
}

/// A free port. It lies below those that the system gives to whoever asks for any, so that a server that was killed finds
/// it free again: its replica knows no other.
fn port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + (std::process::id() % 10_000) as u16;
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
