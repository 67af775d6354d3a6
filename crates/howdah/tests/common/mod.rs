//! A place for one story: a directory with a declaration, Howdah's directory, the real program.

#![allow(dead_code, clippy::unwrap_used, missing_docs)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use howdah_postgres::instance::Layout;
use howdah_postgres::{Home, connect};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A declaration without a model: callers bring vectors of three dimensions.
pub const NOTES: &str = r#"name = "story"

[databases.app]
extensions = { vector = "*" }

[collections.notes]
dimensions = 3
fields = { year = "integer" }
documents = ["notes.jsonl"]
"#;

/// Three notes.
pub const RECORDS: &str = r#"{"source": "elephants", "content": "Elephants carry howdahs on their backs.", "year": 1850, "embedding": [1, 0, 0]}
{"source": "backups", "content": "A backup that was never restored is a hope.", "year": 2020, "embedding": [0, 1, 0]}
{"source": "filters", "content": "A filtered search may return too few rows.", "year": 2024, "embedding": [0, 0.6, 0.8]}
"#;

/// Everything a story needs. The server, if one runs, ends with it.
pub struct Story {
    root: tempfile::TempDir,
    pub project: PathBuf,
    pub home: PathBuf,
}

impl Story {
    /// A story in a directory with a space in its name.
    pub fn new() -> Self {
        let root = tempfile::Builder::new().prefix("hwd").tempdir_in("/tmp").unwrap();
        // The server runs as another user, who has to pass through.
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let project = root.path().join("my app");
        fs::create_dir(&project).unwrap();
        let home = root.path().join("home");
        Story { root, project, home }
    }

    /// A story with the three notes declared.
    pub fn with_notes() -> Self {
        let story = Story::new();
        story.write("howdah.toml", NOTES);
        story.write("notes.jsonl", RECORDS);
        story
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.project.join(name), text).unwrap();
    }

    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// The program, in the project, with nothing of the caller's environment that could change what it says.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_howdah"));
        command.args(args);
        self.clear(command)
    }

    /// A line of a shell, in the same surroundings.
    pub fn shell(&self, line: &str) -> Command {
        let mut command = Command::new("bash");
        command.args(["-c", line]);
        self.clear(command)
    }

    fn clear(&self, mut command: Command) -> Command {
        command.current_dir(&self.project).stdin(Stdio::null());
        for name in ["DATABASE_URL", "HOWDAH_FILE", "HOWDAH_URL", "HOWDAH_API_KEY", "HOWDAH_LOG", "RUST_LOG"]
        {
            command.env_remove(name);
        }
        command.env("HOWDAH_HOME", &self.home).env("NO_COLOR", "1").env("COLUMNS", "100");
        if std::env::var_os("HOWDAH_DOWNLOADS").is_none() {
            command.env("HOWDAH_DOWNLOADS", downloads());
        }
        command
    }

    /// Runs a command.
    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs a command that has to succeed, and gives its standard output.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}\n{}", told(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command and gives exit code, standard output and standard error as one text, with what changes from run to
    /// run taken out.
    pub fn tell(&self, args: &[&str]) -> String {
        self.clean(&told(&self.run(args)))
    }

    /// Takes out what changes from run to run.
    pub fn clean(&self, text: &str) -> String {
        let text = text.replace(&self.project.display().to_string(), "[project]");
        text.replace(&self.home.display().to_string(), "[home]")
    }

    /// What the running server wrote of itself.
    pub fn running(&self) -> serde_json::Value {
        self.written().unwrap()
    }

    /// The same, where there may be none yet.
    pub fn written(&self) -> Option<serde_json::Value> {
        let instance = fs::read_dir(self.home.join("instances")).ok()?.next()?.ok()?.path();
        serde_json::from_str(&fs::read_to_string(instance.join("daemon.json")).ok()?).ok()
    }

    pub fn rest(&self) -> String {
        self.running()["rest"].as_str().unwrap().to_owned()
    }

    pub fn instance(&self) -> PathBuf {
        fs::read_dir(self.home.join("instances")).unwrap().next().unwrap().unwrap().path()
    }

    /// Starts a command whose standard input stays open, with its output caught.
    pub fn begin(&self, args: &[&str]) -> Child {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Runs a command with this standard input.
    pub fn feed(&self, args: &[&str], text: &str) -> Output {
        let mut child = self.begin(args);
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Where its own PostgreSQL lies.
    pub fn layout(&self) -> Layout {
        let id = self.instance().file_name().unwrap().to_str().unwrap().to_owned();
        Layout::new(&Home::at(&self.home), &id, &Default::default())
    }

    /// Whether its own PostgreSQL runs, or has not ended in order.
    pub fn serves(&self) -> bool {
        self.instance().join("data/postmaster.pid").exists()
    }

    /// What the database `app` answers to a query with one value, as its administrator.
    pub fn value(&self, sql: &str) -> String {
        let target = self.layout().target().unwrap().with_database("app");
        let ask = async {
            let client = connect::connect(&target).await.unwrap();
            let row = client.query_one(&format!("SELECT ({sql})::text"), &[]).await.unwrap();
            row.get::<_, Option<String>>(0).unwrap_or_default()
        };
        tokio::runtime::Runtime::new().unwrap().block_on(ask)
    }

    /// Runs statements in the database `app`, as its administrator.
    pub fn sql(&self, statements: &str) {
        let target = self.layout().target().unwrap().with_database("app");
        let run = async { connect::connect(&target).await.unwrap().batch_execute(statements).await.unwrap() };
        tokio::runtime::Runtime::new().unwrap().block_on(run);
    }

    /// Process id of the postmaster.
    pub fn postmaster(&self) -> i32 {
        let file = fs::read_to_string(self.instance().join("data/postmaster.pid")).unwrap();
        file.lines().next().unwrap().parse().unwrap()
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        if self.home.exists() {
            let _ = self.run(&["down"]);
        }
    }
}

/// Sends a signal to a child.
pub fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

/// Gone, or only waiting to be collected by a parent that is slow.
pub fn has_ended(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
}

/// Waits up to a minute.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(60) {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("not within a minute: {what}");
}

/// Exit code, standard output and standard error.
pub fn told(output: &Output) -> String {
    format!(
        "exit {}\n--- out\n{}--- err\n{}",
        output.status.code().map_or("by signal".to_owned(), |code| code.to_string()),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Where test runs share what they fetch.
fn downloads() -> PathBuf {
    if let Some(home) = std::env::var_os("HOWDAH_TEST_HOME").filter(|home| !home.is_empty()) {
        return PathBuf::from(home).join("downloads");
    }
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-home/downloads")
}

/// Compares with a snapshot, with what changes from run to run filtered out.
#[macro_export]
macro_rules! says {
    ($name:literal, $text:expr) => {{
        let mut settings = insta::Settings::clone_current();
        settings.set_prepend_module_to_snapshot(true);
        settings.add_filter(r"127\.0\.0\.1:\d+", "127.0.0.1:[port]");
        settings.add_filter(r"on port \d+", "on port [port]");
        settings.add_filter(r"hdk_[A-Za-z0-9_-]{43}", "hdk_[key]");
        settings.add_filter(r"hdk_[A-Za-z0-9_-]{8}", "hdk_[prefix]");
        settings.add_filter(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "[uuid]");
        settings.add_filter(r"\d{4}-\d\d-\d\d[T ][0-9:.]+Z?", "[time]");
        settings.add_filter(r"\d+\.\d s\b", "[time]");
        settings.add_filter(r"\d+\.\d ms\b", "[time]");
        settings.add_filter(r"[\d,]+ a second", "[rate] a second");
        settings.add_filter(r#""(took|embed)_ms":\s*[0-9.e-]+"#, "\"${1}_ms\": [time]");
        settings.add_filter(r"postgres:[0-9a-f]{64}@", "postgres:[password]@");
        settings.add_filter(r"_(read|write|control):[A-Za-z0-9_%-]{43}@", "_$1:[password]@");
        settings.add_filter(r"PostgreSQL \d+\.\d+", "PostgreSQL [version]");
        settings.add_filter(r"portable PostgreSQL.*", "[where PostgreSQL comes from]");
        settings.add_filter(r"with \d+ settings", "with [n] settings");
        settings.add_filter(r"│ (PostgreSQL|pgvector) +[\d.]+", "│ $1 [version]");
        settings.add_filter(r"story-[0-9a-f]{8}", "story-[id]");
        settings.add_filter(r"\d+\.\d [KM]iB", "[size]");
        settings.add_filter(r#""score":[0-9.e-]+"#, "\"score\":[score]");
        settings.add_filter(r"score \d+\.\d+", "score [score]");
        // A table is as wide as its longest line, which may hold a port.
        settings.add_filter(r"([─═]){2,}", "$1");
        settings.add_filter(r"(\S) {2,}", "$1 ");
        settings.add_filter(r" +\n", "\n");
        settings.bind(|| insta::assert_snapshot!($name, $text));
    }};
}
