//! As whom does the server run?
//!
//! PostgreSQL refuses to run as root. Started by an ordinary user, the server runs as that user. Started by root, it
//! runs as the owner of the data where there is any, else as the declared user, else as `postgres` where that exists,
//! else as a system user `howdah` that is made, else as `nobody`. Whoever it is must be able to reach the programs and
//! the data, which is checked here before anything is started.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use howdah_plan::problem::{Kind, Problem};
use nix::unistd::{Gid, Group, Uid, User};

/// The system user that is made for the server when there is none.
pub const OWN_USER: &str = "howdah";

/// The user that runs the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunAs {
    /// Name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Whether it is another user than the one who starts it.
    pub switch: bool,
    /// Why this one, in words.
    pub reason: String,
}

impl RunAs {
    /// Chooses the user. `declared` is `server.user`, `owner` the user id that owns the data directory already.
    ///
    /// # Errors
    /// `usage` when the declared user does not exist or cannot be switched to; `machine` when root finds nobody to run
    /// the server as.
    pub fn choose(declared: Option<&str>, owner: Option<u32>) -> Result<RunAs, Problem> {
        let me = nix::unistd::geteuid();
        if !me.is_root() {
            return RunAs::myself(me, declared);
        }
        if let Some(name) = declared {
            let user = lookup(name).ok_or_else(|| {
                Problem::new(Kind::Usage, format!("the declared `server.user` `{name}` does not exist")).hint(
                    format!(
                        "Make it: `useradd --system --shell /usr/sbin/nologin {name}`, or declare another."
                    ),
                )
            })?;
            if user.uid.is_root() {
                return Err(Problem::new(Kind::Usage, "PostgreSQL does not run as root")
                    .hint("Declare another `server.user`, or none."));
            }
            return Ok(RunAs::other(user, "declared as `server.user`".into()));
        }
        let of_data =
            owner.filter(|uid| *uid != 0).and_then(|uid| User::from_uid(Uid::from_raw(uid)).ok()?);
        if let Some(user) = of_data {
            return Ok(RunAs::other(user, "owns the data directory".into()));
        }
        if let Some(user) = lookup("postgres") {
            return Ok(RunAs::other(user, "PostgreSQL does not run as root".into()));
        }
        if let Some(user) = lookup(OWN_USER) {
            return Ok(RunAs::other(user, "PostgreSQL does not run as root".into()));
        }
        if let Some(user) = make_own_user() {
            return Ok(RunAs::other(user, "made for it: PostgreSQL does not run as root".into()));
        }
        lookup("nobody")
            .map(|user| {
                RunAs::other(user, "PostgreSQL does not run as root, and no user could be made".into())
            })
            .ok_or_else(|| {
                Problem::new(Kind::Machine, "PostgreSQL does not run as root, and there is no other user")
                    .hint("Make one: `useradd --system --shell /usr/sbin/nologin howdah`.")
            })
    }

    fn myself(me: Uid, declared: Option<&str>) -> Result<RunAs, Problem> {
        let user = User::from_uid(me).ok().flatten().ok_or_else(|| {
            Problem::new(Kind::Machine, format!("user id {me} has no name on this machine"))
                .detail("PostgreSQL does not run as a user without an entry in the user table")
                .hint("In a container, add the user to /etc/passwd, or start as root.")
        })?;
        if let Some(name) = declared.filter(|name| *name != user.name) {
            return Err(Problem::new(
                Kind::Usage,
                format!("only root can run the server as the declared `server.user` `{name}`"),
            )
            .detail(format!("this is `{}`", user.name))
            .hint("Start Howdah as root or as that user, or remove `server.user`."));
        }
        Ok(RunAs {
            name: user.name,
            uid: me.as_raw(),
            gid: user.gid.as_raw(),
            switch: false,
            reason: "the user who started it".into(),
        })
    }

    fn other(user: User, reason: String) -> RunAs {
        RunAs { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw(), switch: true, reason }
    }

    /// A command that runs `program` as this user, with a clean environment, in a place it may read, out of reach of the
    /// terminal's Ctrl-C. The process keeps its id, so the caller is its parent.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C.UTF-8")
            .env("PGSYSCONFDIR", "/nonexistent")
            .current_dir("/")
            .process_group(0);
        if let Some(zone) = std::env::var_os("TZ") {
            command.env("TZ", zone);
        }
        if self.switch {
            command.uid(self.uid).gid(self.gid);
        }
        command
    }

    /// Gives a file or directory to this user.
    ///
    /// # Errors
    /// `machine` when that is not possible.
    pub fn own(&self, path: &Path) -> Result<(), Problem> {
        if !self.switch {
            return Ok(());
        }
        std::os::unix::fs::chown(path, Some(self.uid), Some(self.gid)).map_err(|e| cannot_write(path, &e))
    }

    /// Checks that this user can enter `path` and every directory above it.
    ///
    /// # Errors
    /// `machine`, naming the directory that shuts it out.
    pub fn check_reach(&self, path: &Path) -> Result<(), Problem> {
        if !self.switch {
            return Ok(());
        }
        let mut above: Vec<&Path> = path.ancestors().collect();
        above.reverse();
        for dir in above {
            let Ok(meta) = fs::metadata(dir) else { return Ok(()) };
            if meta.is_dir() && !self.enters(&meta) {
                return Err(Problem::new(
                    Kind::Machine,
                    format!("user `{}` cannot enter `{}`", self.name, dir.display()),
                )
                .detail(format!(
                    "the server runs as `{}` ({}) and needs `{}`",
                    self.name,
                    self.reason,
                    path.display()
                ))
                .hint(
                    "Set HOWDAH_HOME to a directory that everybody may enter, such as `/var/lib/howdah`.",
                ));
            }
        }
        Ok(())
    }

    fn enters(&self, meta: &fs::Metadata) -> bool {
        let mode = meta.mode();
        let bit = if meta.uid() == self.uid {
            0o100
        } else if meta.gid() == self.gid || self.in_group(meta.gid()) {
            0o010
        } else {
            0o001
        };
        mode & bit != 0
    }

    fn in_group(&self, gid: u32) -> bool {
        // Supplementary groups are dropped when the user is switched.
        !self.switch
            && Group::from_gid(Gid::from_raw(gid))
                .ok()
                .flatten()
                .is_some_and(|group| group.mem.contains(&self.name))
    }
}

fn lookup(name: &str) -> Option<User> {
    User::from_name(name).ok().flatten()
}

fn make_own_user() -> Option<User> {
    let made = Command::new("useradd")
        .args(["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"])
        .args(["--shell", "/usr/sbin/nologin", "--comment", "Howdah's PostgreSQL", OWN_USER])
        .output();
    match made {
        Ok(output) if output.status.success() => {
            tracing::info!("made the system user `{OWN_USER}` to run PostgreSQL");
            lookup(OWN_USER)
        }
        // Another Howdah may have been quicker.
        _ => lookup(OWN_USER),
    }
}

/// A file or directory that cannot be written, as a problem.
pub fn cannot_write(path: &Path, error: &io::Error) -> Problem {
    let shown = PathBuf::from(path);
    let problem = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Problem::new(Kind::Machine, format!("the disk is full at `{}`", shown.display()))
                .hint("Free some space, or set HOWDAH_HOME to a directory on a larger disk.")
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Problem::new(Kind::Machine, format!("cannot write `{}`", shown.display()))
                .hint("Set HOWDAH_HOME to a directory that you may write.")
        }
        _ => Problem::new(Kind::Machine, format!("cannot write `{}`", shown.display())),
    };
    problem.detail(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declared_user_that_does_not_exist_is_refused_by_name() {
        let problem = RunAs::choose(Some("no-such-user"), None).unwrap_err();
        assert_eq!(problem.kind, Kind::Usage);
        assert!(problem.message.contains("`no-such-user`"), "{problem}");
    }

    #[test]
    fn root_never_runs_the_server() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        assert_eq!(RunAs::choose(Some("root"), None).unwrap_err().kind, Kind::Usage);
        let chosen = RunAs::choose(None, None).unwrap();
        assert!(chosen.switch && chosen.uid != 0, "{chosen:?}");
        assert_eq!(RunAs::choose(None, Some(65534)).map(|user| user.uid), Ok(65534), "the data's owner wins");
    }

    #[test]
    fn a_directory_that_shuts_the_server_out_is_named() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let shut = dir.path().join("shut");
        fs::create_dir(&shut).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&shut, fs::Permissions::from_mode(0o700)).unwrap();
        let user =
            RunAs { name: "guest".into(), uid: 54_321, gid: 54_321, switch: true, reason: "a test".into() };
        let problem = user.check_reach(&shut.join("data")).unwrap_err();
        assert!(problem.message.contains("/shut`"), "{problem}");
        assert_eq!(user.check_reach(dir.path()), Ok(()));
    }
}
