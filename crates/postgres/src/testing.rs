//! A real PostgreSQL for tests.
//!
//! [`database`] gives a fresh database with pgvector in it, on a cluster that the test process starts when the first
//! test asks and that ends with the process, however that ends: the server is started by a small shell that holds a pipe
//! from the test process, and when the pipe closes it kills the server and removes its directory.
//!
//! The server comes from the portable bundle, kept in a home shared by all test runs: `HOWDAH_TEST_HOME`, else
//! `target/test-home`, else (root, when the clone is out of the server user's reach) below the system's temporary
//! directory. `HOWDAH_TEST_PG=16` chooses the major. The cluster trades durability for speed and proves nothing about it;
//! tests of durability start an instance of their own.

mod disk;

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use howdah_plan::problem::{Kind, Problem};

use super::find::Programs;
use super::user::{RunAs, cannot_write};
use super::{Home, Host, Pools, Secret, Target, bundle, connect, problem};

pub use disk::SmallDisk;

/// Password of the superuser `postgres` of a test cluster.
pub const PASSWORD: &str = "howdah-test";
/// Database of a test cluster that others are copied from; it has pgvector.
const TEMPLATE: &str = "howdah_template";

/// What the shell does that stands between a test process and its server: `$1` template, `$2` directory, `$3` postgres.
const KEEPER: &str = r#"
template=$1 dir=$2 postgres=$3
shift 3
umask 077
cp -R "$template" "$dir/data" || exit 1
"$postgres" -D "$dir/data" "$@" >"$dir/log" 2>&1 </dev/null &
server=$!
read -r _
kill -QUIT "$server" 2>/dev/null
wait "$server" 2>/dev/null
rm -rf "$dir"
"#;

/// What another shell does when the test process is gone: `$1` is how the names of its directories begin.
const SWEEP: &str = r#"
read -r _
for dir in "$1"*; do
  find "$dir" -name postmaster.pid 2>/dev/null | while read -r file; do
    server=$(head -n 1 "$file")
    kill -QUIT "$server" 2>/dev/null
    # One that a test has halted hears nothing else.
    kill -CONT "$server" 2>/dev/null
  done
done
sleep 1
for dir in "$1"*; do umount "$dir"/* 2>/dev/null; done
[ -n "$HOWDAH_TEST_KEEP" ] || rm -rf "$1"*
"#;

/// A database of one's own, dropped with the value.
#[derive(Debug)]
pub struct TestDatabase {
    /// Its name.
    pub name: String,
    /// Pools to its cluster; ask them for [`TestDatabase::name`].
    pub pools: Pools,
    /// Its address, as the superuser `postgres`, over the unix socket.
    pub target: Target,
}

impl TestDatabase {
    /// A pooled connection to it.
    pub async fn client(&self) -> crate::Lease {
        self.pools.get(&self.name).await.expect("a connection to the test database")
    }

    /// Its address over TCP with the password, for programs that take one (`DATABASE_URL`).
    pub fn url(&self) -> String {
        let host = Host::Tcp("127.0.0.1".into());
        Target { host, ..self.target.clone() }.url_with_password()
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        self.pools.close();
        let (target, name) = (self.target.with_database("postgres"), self.name.clone());
        // The test's own runtime is going away; dropping needs one that lives.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let Ok(runtime) = runtime else { return };
            runtime.block_on(async {
                if let Ok(client) = connect::connect(&target).await {
                    let _ =
                        client.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
                }
            });
        });
        let _ = dropping.join();
    }
}

/// A fresh database with pgvector, on the shared cluster.
pub async fn database() -> TestDatabase {
    make(TEMPLATE).await
}

/// A fresh database with nothing in it, on the shared cluster.
pub async fn empty_database() -> TestDatabase {
    make("template0").await
}

async fn make(template: &str) -> TestDatabase {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("test_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let target = cluster().target.clone();
    let client = connect::connect(&target).await.expect("a connection to the test cluster");
    client
        .batch_execute(&format!("CREATE DATABASE {name} TEMPLATE {template}"))
        .await
        .map_err(|e| problem::from_pg(&e, "create a test database"))
        .expect("a test database");
    let target = target.with_database(&name);
    TestDatabase { name, pools: Pools::new(target.clone(), 8), target }
}

/// A cluster that ends with the test process.
#[derive(Debug)]
pub struct Cluster {
    /// Address of its database `postgres`, as the superuser.
    pub target: Target,
    /// Its programs.
    pub programs: Programs,
    /// Its directory: `data`, `log`.
    pub dir: PathBuf,
    keeper: Child,
}

impl Cluster {
    /// Starts a cluster of one's own, with further settings (`name=value`), for tests that mistreat it.
    ///
    /// # Panics
    /// When it cannot be started; the message says why.
    pub fn start(settings: &[&str]) -> Cluster {
        Cluster::start_major(major(), settings)
    }

    /// Starts a cluster of one's own of another major, 16 or 18.
    ///
    /// # Panics
    /// When it cannot be started; the message says why.
    pub fn start_major(major: u32, settings: &[&str]) -> Cluster {
        start(major, settings).unwrap_or_else(|problem| panic!("no test cluster: {problem:?}"))
    }

    /// Process id of its postmaster.
    pub fn pid(&self) -> Option<i32> {
        fs::read_to_string(self.dir.join("data/postmaster.pid")).ok()?.lines().next()?.parse().ok()
    }

    /// Whether its server has Howdah's own extension; see [`has_extension`].
    pub fn has_extension(&self) -> bool {
        let has = self.programs.howdah.is_some();
        if !has {
            eprintln!(
                "skipped: indexes of method `howdah`, for its extension is not built for {} (scripts/extension.sh {})",
                self.programs.major, self.programs.major
            );
        }
        has
    }

    /// What the server wrote to its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// The cluster that all tests of this process share.
///
/// # Panics
/// When it cannot be started; the message says why.
pub fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start(&[]))
}

/// Whether the shared cluster has Howdah's own extension; where not, says aloud that something is skipped for want of it.
/// `scripts/extension.sh 18` builds it.
pub fn has_extension() -> bool {
    cluster().has_extension()
}

/// The major to test on: `HOWDAH_TEST_PG`, else the bundle's default.
pub fn major() -> u32 {
    std::env::var("HOWDAH_TEST_PG").ok().and_then(|text| text.parse().ok()).unwrap_or(bundle::DEFAULT_MAJOR)
}

/// The user that runs test servers.
///
/// # Panics
/// When there is none.
pub fn user() -> RunAs {
    RunAs::choose(None, None).unwrap_or_else(|problem| panic!("nobody to run a server as: {problem:?}"))
}

/// The home that test runs share: downloads, unpacked servers and models.
pub fn home() -> Home {
    if let Some(home) = std::env::var_os("HOWDAH_TEST_HOME").filter(|home| !home.is_empty()) {
        return Home::at(home);
    }
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), PathBuf::from);
    let near = Home::at(fs::canonicalize(&target).unwrap_or(target).join("test-home"));
    if user().check_reach(&near.root).is_ok() {
        return near;
    }
    Home::at(std::env::temp_dir().join("howdah-test-home"))
}

/// A directory that the server's user may use, short enough for a unix socket. When the test process ends, however it
/// ends, servers that run in it are killed and it is removed; `HOWDAH_TEST_KEEP=1` leaves it for looking into.
///
/// # Panics
/// When it cannot be made.
pub fn directory() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    static SWEEPER: OnceLock<Option<Child>> = OnceLock::new();
    let prefix = std::env::temp_dir().join(format!("hwd-{}-", std::process::id()));
    SWEEPER.get_or_init(|| {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SWEEP, "sh"]).arg(&prefix).current_dir("/").process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()
    });
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let dir = PathBuf::from(format!("{}{count}", prefix.display()));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).expect("a temporary directory");
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("its mode");
    user().own(&dir).expect("its owner");
    dir
}

fn start(major: u32, settings: &[&str]) -> Result<Cluster, Problem> {
    let home = home();
    let programs = bundle::programs(&home, major)?;
    let template = template(&home, &programs)?;
    let mut last = None;
    for _ in 0..5 {
        match start_once(&programs, &template, settings) {
            Ok(cluster) => return Ok(cluster),
            // Somebody else may have taken the free port in between.
            Err(problem) if problem.detail.as_deref().is_some_and(|text| text.contains("in use")) => {
                last = Some(problem);
            }
            Err(problem) => return Err(problem),
        }
    }
    Err(last.unwrap_or_else(|| Problem::new(Kind::Machine, "no free port")))
}

fn start_once(programs: &Programs, template: &Path, settings: &[&str]) -> Result<Cluster, Problem> {
    let dir = directory();
    let port = free_port()?;
    let mut command = user().command(Path::new("/bin/sh"));
    command.args(["-c", KEEPER, "sh"]).arg(template).arg(&dir).arg(programs.program("postgres"));
    let socket = format!("unix_socket_directories={}", dir.display());
    let port_setting = format!("port={port}");
    let usual = [
        "listen_addresses=127.0.0.1",
        "fsync=off",
        "synchronous_commit=off",
        "full_page_writes=off",
        "shared_buffers=64MB",
        "max_connections=200",
        "max_wal_size=512MB",
        "jit=off",
    ];
    for setting in
        usual.into_iter().chain([socket.as_str(), port_setting.as_str()]).chain(settings.iter().copied())
    {
        command.arg("-c").arg(setting);
    }
    let keeper = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| Problem::new(Kind::Machine, "cannot start a shell").detail(e.to_string()))?;
    let mut target = Target::new(Host::Socket(dir.clone()), port, "postgres", "postgres");
    target.password = Some(Secret::new(PASSWORD));
    let mut cluster = Cluster { target, programs: programs.clone(), dir, keeper };
    wait_until_ready(&mut cluster)?;
    Ok(cluster)
}

fn wait_until_ready(cluster: &mut Cluster) -> Result<(), Problem> {
    let begin = Instant::now();
    let pid_file = cluster.dir.join("data/postmaster.pid");
    while begin.elapsed() < Duration::from_secs(60) {
        let state = fs::read_to_string(&pid_file).unwrap_or_default();
        if state.lines().nth(7).is_some_and(|line| line.trim() == "ready") {
            return Ok(());
        }
        let log = cluster.log();
        let gone = cluster.keeper.try_wait().ok().flatten().is_some();
        if gone || log.contains("FATAL") {
            return Err(Problem::new(Kind::Machine, "the test cluster does not start").detail(log));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(Problem::new(Kind::Timeout, "the test cluster does not start").detail(cluster.log()))
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16, Problem> {
    std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|e| Problem::new(Kind::Machine, "no free port").detail(e.to_string()))
}

/// The data directory that clusters are copied from, made once for each major.
fn template(home: &Home, programs: &Programs) -> Result<PathBuf, Problem> {
    let user = user();
    let templates = home.root.join("templates");
    fs::create_dir_all(&templates).map_err(|e| cannot_write(&templates, &e))?;
    let _lock = howdah_bundle::fetch::lock(&templates.join(".lock"))?;
    let template = templates.join(format!("{}-{}-{}", programs.version, user.name, 1));
    howdah_bundle::unpack::atomically(&template, |partial| {
        user.own(partial)?;
        let data = partial.join("data");
        let secret = partial.join("password");
        fs::write(&secret, PASSWORD).map_err(|e| cannot_write(&secret, &e))?;
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o644))
            .map_err(|e| cannot_write(&secret, &e))?;
        run(
            user.command(&programs.program("initdb"))
                .args(["--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256"])
                .args(["--data-checksums", "--wal-segsize=1", "--no-sync", "--no-instructions"])
                .arg(format!("--pwfile={}", secret.display()))
                .arg(format!("--pgdata={}", data.display())),
            "",
        )?;
        single(&user, programs, &data, "postgres", &format!("CREATE DATABASE {TEMPLATE};\n"))?;
        single(&user, programs, &data, TEMPLATE, "CREATE EXTENSION vector;\n")
    })?;
    Ok(template.join("data"))
}

/// Runs statements in a server that serves nobody else and ends.
fn single(user: &RunAs, programs: &Programs, data: &Path, database: &str, sql: &str) -> Result<(), Problem> {
    let mut command = user.command(&programs.program("postgres"));
    command.args(["--single", "-c", "exit_on_error=true", "-c", "fsync=off", "-D"]).arg(data).arg(database);
    run(&mut command, sql)
}

fn run(command: &mut Command, input: &str) -> Result<(), Problem> {
    let failed =
        |e: io::Error| Problem::new(Kind::Machine, "cannot run PostgreSQL's programs").detail(e.to_string());
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        io::Write::write_all(&mut stdin, input.as_bytes()).map_err(failed)?;
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    Err(Problem::new(Kind::Machine, "the test template cannot be made")
        .detail(String::from_utf8_lossy(&output.stderr).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_fresh_database_has_pgvector_and_goes_away() {
        let database = database().await;
        let row =
            database.client().await.query_one("SELECT '[1,2,3]'::vector <-> '[4,5,6]'", &[]).await.unwrap();
        assert!((row.get::<_, f64>(0) - 5.196_152_422_706_632).abs() < 1e-12);
        let (target, name) = (cluster().target.clone(), database.name.clone());
        drop(database);
        let client = connect::connect(&target).await.unwrap();
        let left = client.query("SELECT 1 FROM pg_database WHERE datname = $1", &[&name]).await.unwrap();
        assert!(left.is_empty());
    }

    #[tokio::test]
    async fn the_address_over_tcp_works_for_other_programs() {
        let database = database().await;
        let target = Target::from_url(&database.url(), None).unwrap();
        connect::connect(&target).await.unwrap().batch_execute("SELECT 1").await.unwrap();
    }

    #[tokio::test]
    async fn a_wrong_password_is_told_as_such() {
        let database = empty_database().await;
        let target = database.target.as_role("postgres", Some(Secret::new("wrong")));
        let problem = connect::connect(&target).await.expect_err("must not connect");
        assert_eq!(problem.kind, Kind::Unauthenticated);
        assert_eq!(problem.kind.row().exit, 4);
        assert!(!format!("{problem:?}").contains("wrong\""), "{problem:?}");
    }

    #[test]
    fn a_cluster_ends_when_the_pipe_closes_and_leaves_nothing() {
        let cluster = Cluster::start(&[]);
        let (dir, pid) = (cluster.dir.clone(), cluster.pid().unwrap());
        drop(cluster);
        assert!(!dir.exists());
        assert!(nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None).is_err());
    }
}
