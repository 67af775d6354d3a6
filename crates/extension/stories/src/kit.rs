//! Where the server is that carries the extension, who runs it, and where its files go.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};

/// A server's programs with the extension installed, and a temporary directory for everything that is started from them.
#[derive(Debug)]
pub struct Kit {
    /// The folder of `postgres`, `initdb`, `pg_dump`.
    pub bin: PathBuf,
    /// Major version.
    pub major: u32,
    /// The servers' files.
    pub root: PathBuf,
    /// User and group the server runs as, where this process is root.
    user: Option<(u32, u32)>,
    spawner: Sender<(Command, Sender<std::io::Result<Child>>)>,
}

impl Kit {
    /// The kit that the environment names; `None` where it names none.
    pub fn find() -> Option<&'static Self> {
        static KIT: OnceLock<Option<Kit>> = OnceLock::new();
        KIT.get_or_init(|| std::env::var_os("HOWDAH_STORIES_SERVER").map(|at| Self::new(Path::new(&at))))
            .as_ref()
    }

    fn new(installed: &Path) -> Self {
        let bin = installed.join("bin");
        let version = output(Command::new(bin.join("postgres")).arg("--version"));
        let major = version
            .split_whitespace()
            .find_map(|word| word.split('.').next()?.parse().ok())
            .unwrap_or_else(|| panic!("no version in {version:?}"));
        let root = std::env::temp_dir().join(format!("howdah-stories-{}", std::process::id()));
        let kit = Self { bin, major, root, user: unprivileged(), spawner: spawner() };
        kit.make_dir(&kit.root);
        kit
    }

    /// Makes a directory that belongs to the server's user.
    pub fn make_dir(&self, path: &Path) {
        std::fs::create_dir_all(path).expect("a temporary directory can be made");
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o700)).expect("it is ours");
        if let Some((uid, gid)) = self.user {
            chown(path, Some(uid), Some(gid)).expect("root may give files away");
        }
    }

    /// A program of the server, as the server's user, in a clean environment. It is killed when this process ends.
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if let Some((uid, gid)) = self.user {
            command.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}")).arg("--clear-groups");
        }
        command.arg(self.bin.join(name)).env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C.UTF-8");
        command.env("TZ", "UTC").current_dir(&self.root).stdin(Stdio::null());
        command
    }

    /// Runs a program to its end; panics with what it said when it fails.
    pub fn run(&self, name: &str, arguments: &[&str]) -> String {
        output(self.program(name).args(arguments))
    }

    /// Starts a program from a thread that lives as long as this process: its death is the signal that ends the program.
    pub fn spawn(&self, command: Command) -> Child {
        let (answer, answered) = channel();
        self.spawner.send((command, answer)).expect("the spawning thread lives");
        answered.recv().expect("it answers").expect("the server can be started")
    }
}

fn spawner() -> Sender<(Command, Sender<std::io::Result<Child>>)> {
    let (sender, requests) = channel::<(Command, Sender<std::io::Result<Child>>)>();
    std::thread::spawn(move || {
        for (mut command, answer) in requests {
            // Whoever asked may have panicked meanwhile.
            drop(answer.send(command.spawn()));
        }
    });
    sender
}

/// PostgreSQL refuses root: somebody else with an entry in the password file.
fn unprivileged() -> Option<(u32, u32)> {
    let me = output(Command::new("id").arg("-u"));
    if me.trim() != "0" {
        return None;
    }
    let entries = std::fs::read_to_string("/etc/passwd").expect("/etc/passwd can be read");
    let find = |wanted: &str| {
        entries.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            (fields.first() == Some(&wanted))
                .then(|| Some((fields[2].parse().ok()?, fields[3].parse().ok()?)))?
        })
    };
    Some(find("postgres").or_else(|| find("nobody")).expect("root needs a user to give the server to"))
}

fn output(command: &mut Command) -> String {
    let done = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(done.status.success(), "{command:?}: {}\n{}", done.status, String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}
