//! Where the server is that carries the extension, and where its files go.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use howdah_plan::problem::{Kind, Problem};
use howdah_postgres::find::{self, Programs};
use howdah_postgres::{Home, testing};
use tokio::runtime::{Builder, Runtime};

/// How long anything may take that has to happen; beyond, the story fails.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A server's programs with the extension installed, and a temporary directory for everything that is started from them.
#[derive(Debug)]
pub struct Kit {
    /// The server's programs.
    pub programs: Programs,
    /// A directory of the user that runs the servers. It goes, and they with it, when this process ends.
    pub root: PathBuf,
    runtime: Runtime,
}

impl Kit {
    /// The kit that the environment names; `None` where it names none.
    pub fn find() -> Option<&'static Self> {
        static KIT: OnceLock<Option<Kit>> = OnceLock::new();
        KIT.get_or_init(|| std::env::var_os("HOWDAH_STORIES_SERVER").map(|at| Self::new(Path::new(&at))))
            .as_ref()
    }

    fn new(installed: &Path) -> Self {
        let programs = find::inspect(&installed.join("bin")).unwrap_or_else(|why| panic!("{why}"));
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Self { programs, root: testing::directory(), runtime: runtime.expect("a thread can be started") }
    }

    /// Where the servers are instances of.
    pub fn home(&self) -> Home {
        Home::at(self.root.join("home"))
    }

    /// Waits for what `howdah_postgres` does, but not for ever.
    ///
    /// # Errors
    /// What it says itself; `timeout` when it says nothing.
    pub fn wait<T>(&self, done: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
        self.runtime.block_on(async {
            let late = |_| Err(Problem::new(Kind::Timeout, format!("not done within {PATIENCE:?}")));
            tokio::time::timeout(PATIENCE, done).await.unwrap_or_else(late)
        })
    }

    /// Runs a program of the server's to its end, as the server's user; panics with what it said when it fails.
    pub fn run(&self, name: &str, arguments: &[&str]) -> String {
        let mut command = testing::user().command(&self.programs.program(name));
        let done = command.args(arguments).output().unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(done.status.success(), "{name}: {}\n{}", done.status, String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).into_owned()
    }
}
