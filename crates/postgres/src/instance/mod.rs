//! A PostgreSQL server that Howdah runs.
//!
//! [`Layout`] is where everything of an instance lies and what can be known without its programs: whether it runs, where
//! it listens, how to stop it. [`Instance`] adds the programs and the user, and can make, configure and start it.
//!
//! Who owns what: the process that starts the server is its parent, waits for it, and holds a lock on the instance for as
//! long as it does, so that there is one supervisor at a time. When the supervisor is killed the server lives on (it
//! loses no connection and no data); the next start finds it by its pid file, takes it over and watches it from then on.
//! [`supervise`] starts a server again that died.
//!
//! ```text
//! <home>/instances/<name>/       0755 when root runs it, else 0700
//!     data/                      0700, the server's user
//!     run/                       unix socket (below /tmp when this path is too long for one)
//!     password                   0600, the superuser's, random
//!     port                       the port it had last
//!     server.log, server.log.1   what the server says
//!     supervisor.lock
//! ```

mod conf;
mod init;
mod log;
mod process;
mod run;
mod supervise;
#[cfg(test)]
mod tests;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use howdah_plan::hex;
use howdah_plan::problem::{Kind, Problem};
use howdah_plan::spec::Server;
use sha2::{Digest, Sha256};

use super::find::Programs;
use super::user::{RunAs, cannot_write};
use super::{Home, Host, Secret, Target};

pub use process::{Phase, is_alive};
pub use run::{Begun, Patience, RunningServer, Stopped};
pub use supervise::{ServerEvent, supervise};

/// The superuser of an instance.
pub const SUPERUSER: &str = "postgres";
/// Longest path of a socket directory that leaves room for the socket's name on every system.
const LONGEST_SOCKET_DIRECTORY: usize = 82;

/// Whether an instance is there and runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// There is no data yet.
    Absent,
    /// There is data and no server.
    Stopped,
    /// A server runs (it may still be starting or stopping).
    Running {
        /// Process id of the postmaster.
        pid: i32,
        /// Port of TCP and of the socket.
        port: u16,
    },
}

/// Where everything of an instance lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Its directory.
    pub root: PathBuf,
    /// The data directory.
    pub data: PathBuf,
    /// Name, for messages.
    pub name: String,
}

impl Layout {
    /// The layout of the instance `name`, with `server.data_directory` where it is declared.
    pub fn new(home: &Home, name: &str, server: &Server) -> Layout {
        let root = home.instance(name);
        let data = match &server.data_directory {
            Some(declared) => std::path::absolute(declared).unwrap_or_else(|_| declared.into()),
            None => root.join("data"),
        };
        Layout { root, data, name: name.to_owned() }
    }

    /// Directory of the unix socket.
    pub fn sockets(&self) -> PathBuf {
        let near = self.root.join("run");
        if near.as_os_str().len() <= LONGEST_SOCKET_DIRECTORY {
            return near;
        }
        let hash = Sha256::digest(self.root.as_os_str().as_encoded_bytes());
        let short = hex::encode(&hash[..6]);
        Path::new("/tmp").join(format!("howdah-{short}"))
    }

    /// The file that the server's log goes to.
    pub fn log_file(&self) -> PathBuf {
        self.root.join("server.log")
    }

    /// The file with the superuser's password.
    pub fn password_file(&self) -> PathBuf {
        self.root.join("password")
    }

    /// Whether it is there and runs. A pid file left by a dead server counts as stopped, whoever has its number now.
    pub fn state(&self) -> State {
        if !self.data.join("PG_VERSION").is_file() {
            return State::Absent;
        }
        match process::PidFile::read(&self.data) {
            Some(file) if process::is_server_of(file.pid, &self.data) => {
                State::Running { pid: file.pid, port: file.port }
            }
            _ => State::Stopped,
        }
    }

    /// What the server does right now, as it says itself; none when it does not run or has not said it yet.
    pub fn phase(&self) -> Option<Phase> {
        let file = process::PidFile::read(&self.data)?;
        process::is_server_of(file.pid, &self.data).then_some(file.phase).flatten()
    }

    /// Address of the database `postgres` over the unix socket, as the superuser.
    ///
    /// # Errors
    /// `not_found` when the instance was never started; `forbidden` when this user may not read its password.
    pub fn target(&self) -> Result<Target, Problem> {
        let mut target = Target::new(Host::Socket(self.sockets()), self.port()?, SUPERUSER, "postgres");
        target.password = Some(self.password()?);
        Ok(target)
    }

    /// The same over TCP, for programs that cannot use a socket and for showing to a person.
    ///
    /// # Errors
    /// As [`Layout::target`].
    pub fn tcp_target(&self) -> Result<Target, Problem> {
        Ok(Target { host: Host::Tcp("127.0.0.1".into()), ..self.target()? })
    }

    fn port(&self) -> Result<u16, Problem> {
        if let State::Running { port, .. } = self.state() {
            return Ok(port);
        }
        self.remembered_port().ok_or_else(|| {
            Problem::new(Kind::NotFound, format!("instance `{}` was never started", self.name))
                .hint("Run `howdah up`.")
        })
    }

    fn remembered_port(&self) -> Option<u16> {
        fs::read_to_string(self.root.join("port")).ok()?.trim().parse().ok()
    }

    fn password(&self) -> Result<Secret, Problem> {
        let path = self.password_file();
        let text = fs::read_to_string(&path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => {
                Problem::new(Kind::NotFound, format!("the password of instance `{}` is not there", self.name))
                    .detail(format!("`{}` does not exist", path.display()))
                    .hint("Run `howdah up` if the instance is new; else put the file back, with the superuser's password in it.")
            }
            _ => Problem::new(Kind::Forbidden, format!("cannot read the password of instance `{}`", self.name))
                .detail(format!("`{}`: {e}", path.display()))
                .hint("Run the command as the user who runs the instance."),
        })?;
        Ok(Secret::new(text.trim()))
    }
}

/// An instance with the programs and the user that run it.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Where everything lies.
    pub layout: Layout,
    /// The server's programs.
    pub programs: Programs,
    /// The user that runs it.
    pub user: RunAs,
    port: Option<u16>,
}

impl Instance {
    /// The instance `name` with `server` as declared. Makes its directory, and nothing else yet.
    ///
    /// # Errors
    /// `machine` when the directory cannot be made or the server's user cannot reach it or the programs; `usage` when the
    /// declared user does not exist.
    pub fn new(home: &Home, name: &str, server: &Server, programs: Programs) -> Result<Instance, Problem> {
        let layout = Layout::new(home, name, server);
        let owner = fs::metadata(&layout.data).ok().map(|meta| meta.uid());
        let user = RunAs::choose(server.user.as_deref(), owner)?;
        let open = if user.switch { 0o755 } else { 0o700 };
        for dir in [&home.root, &home.instances()] {
            ensure_directory(dir, 0o755)?;
        }
        ensure_directory(&layout.root, open)?;
        user.check_reach(&programs.bindir)?;
        user.check_reach(&layout.root)?;
        Ok(Instance { layout, programs, user, port: server.port })
    }

    /// Where the server listens: as [`Layout::target`].
    ///
    /// # Errors
    /// As [`Layout::target`].
    pub fn target(&self) -> Result<Target, Problem> {
        self.layout.target()
    }

    fn ensure_sockets(&self) -> Result<PathBuf, Problem> {
        let dir = self.layout.sockets();
        match fs::symlink_metadata(&dir) {
            Ok(meta) if meta.is_dir() && meta.uid() == self.user.uid => return Ok(dir),
            Ok(meta) if meta.is_dir() && dir.starts_with(&self.layout.root) => {}
            Ok(_) => {
                return Err(Problem::new(
                    Kind::Machine,
                    format!("`{}` belongs to somebody else", dir.display()),
                )
                .detail(format!("the server runs as `{}` and puts its socket there", self.user.name))
                .hint("Remove it, or set HOWDAH_HOME to a shorter path."));
            }
            Err(_) => fs::create_dir(&dir).map_err(|e| cannot_write(&dir, &e))?,
        }
        let mode = if self.user.switch { 0o755 } else { 0o700 };
        fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).map_err(|e| cannot_write(&dir, &e))?;
        self.user.own(&dir)?;
        Ok(dir)
    }
}

/// Makes a directory and those above it; only new ones get the mode.
fn ensure_directory(dir: &Path, mode: u32) -> Result<(), Problem> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dir)
        .and_then(|()| fs::set_permissions(dir, fs::Permissions::from_mode(mode)))
        .map_err(|e| cannot_write(dir, &e))
}
