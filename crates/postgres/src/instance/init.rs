//! Making the data directory.
//!
//! Checksums, UTF-8, `scram-sha-256` for socket and TCP, a random superuser password. The directory gets its name when it
//! is whole, so a start after a crash in the middle begins anew.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::Stdio;

use howdah_plan::problem::{Kind, Problem};

use super::{Instance, SUPERUSER, State, conf, log};
use crate::fetch::blocking;
use crate::user::cannot_write;
use crate::{Secret, find};

/// First major whose own `C.UTF-8` needs no locale of the system.
const BUILTIN_LOCALE: u32 = 17;

impl Instance {
    /// Makes the data directory where there is none. Returns whether it did.
    ///
    /// # Errors
    /// `machine` when the disk is full, the directory belongs to somebody else or was made by another major, or initdb
    /// fails otherwise.
    pub async fn init(&self) -> Result<bool, Problem> {
        let instance = self.clone();
        blocking(move || instance.init_now()).await
    }

    fn init_now(&self) -> Result<bool, Problem> {
        if self.layout.state() != State::Absent {
            self.check_data()?;
            return Ok(false);
        }
        let data = &self.layout.data;
        let in_place = data.is_dir();
        if in_place && fs::read_dir(data).map_err(|e| cannot_read(data, &e))?.next().is_some() {
            return Err(Problem::new(
                Kind::Machine,
                format!("`{}` is not empty and holds no PostgreSQL data", data.display()),
            )
            .hint("Declare another `server.data_directory`, or move away what is in it."));
        }
        let making = if in_place { data.clone() } else { data.with_extension("partial") };
        if !in_place {
            let _ = fs::remove_dir_all(&making);
            fs::create_dir_all(&making).map_err(|e| cannot_write(&making, &e))?;
        }
        fs::set_permissions(&making, fs::Permissions::from_mode(0o700))
            .map_err(|e| cannot_write(&making, &e))?;
        self.user.own(&making)?;
        self.user.check_reach(&making)?;
        let made = self.initdb(&making).and_then(|()| self.finish(&making));
        if let Err(problem) = made {
            if !in_place {
                let _ = fs::remove_dir_all(&making);
            }
            return Err(problem);
        }
        if !in_place {
            fs::rename(&making, data).map_err(|e| cannot_write(data, &e))?;
        }
        Ok(true)
    }

    fn initdb(&self, data: &Path) -> Result<(), Problem> {
        let password = self.ensure_password()?;
        let handed = self.layout.root.join(".password-for-initdb");
        write_private(&handed, password.expose())?;
        self.user.own(&handed)?;
        let made = self
            .run_initdb(data, &handed, "C.UTF-8")
            // Not every system has it.
            .or_else(|problem| match problem.detail.as_deref() {
                Some(detail) if detail.contains("locale") => {
                    empty(data)?;
                    self.run_initdb(data, &handed, "C")
                }
                _ => Err(problem),
            });
        let _ = fs::remove_file(&handed);
        made
    }

    fn run_initdb(&self, data: &Path, password: &Path, locale: &str) -> Result<(), Problem> {
        let mut command = self.user.command(&self.programs.program("initdb"));
        command
            .arg(format!("--username={SUPERUSER}"))
            .args(["--encoding=UTF8", "--auth=scram-sha-256", "--data-checksums", "--no-instructions"])
            .arg(format!("--locale={locale}"))
            .arg("--pwfile")
            .arg(password)
            .arg("--pgdata")
            .arg(data);
        if self.programs.major >= BUILTIN_LOCALE && locale == "C.UTF-8" {
            command.args(["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]);
        }
        let output = command.stdin(Stdio::null()).output().map_err(|e| self.cannot_run("initdb", &e))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let doing = format!("make the data directory `{}`", self.layout.data.display());
        Err(log::translate(&said, &doing).unwrap_or_else(|| {
            let said =
                if said.trim().is_empty() { output.status.to_string() } else { log::last_words(&said) };
            Problem::new(Kind::Machine, format!("cannot {doing}")).detail(said)
        }))
    }

    fn finish(&self, data: &Path) -> Result<(), Problem> {
        let path = data.join("postgresql.conf");
        let text = fs::read_to_string(&path).map_err(|e| cannot_read(&path, &e))?;
        self.write_as_server(&path, &(text + &conf::include_line()))?;
        self.write_as_server(&data.join(conf::MANAGED), "# Written by Howdah.\n")
    }

    /// The password that is there, or a new one.
    fn ensure_password(&self) -> Result<Secret, Problem> {
        let path = self.layout.password_file();
        if !path.exists() {
            write_private(&path, Secret::random().expose())?;
        }
        self.layout.password()
    }

    /// Checks that existing data fits the programs and the user.
    pub(super) fn check_data(&self) -> Result<(), Problem> {
        let data = &self.layout.data;
        let shown = data.display();
        let meta = fs::metadata(data).map_err(|e| cannot_read(data, &e))?;
        if meta.uid() != self.user.uid {
            let owner = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(meta.uid()))
                .ok()
                .flatten()
                .map_or_else(|| meta.uid().to_string(), |user| user.name);
            return Err(Problem::new(
                Kind::Machine,
                format!("the data directory `{shown}` belongs to `{owner}`"),
            )
            .detail(format!("the server would run as `{}` ({})", self.user.name, self.user.reason))
            .hint(format!(
                "Start Howdah as root with `server.user = \"{owner}\"`, or give it away: `chown -R {} {shown}`.",
                self.user.name
            )));
        }
        let path = data.join("PG_VERSION");
        let version = fs::read_to_string(&path).map_err(|e| cannot_read(&path, &e))?;
        let version = version.trim();
        if version != self.programs.major.to_string() {
            return Err(Problem::new(
                Kind::Machine,
                format!("the data directory `{shown}` was made by PostgreSQL `{version}`"),
            )
            .detail(format!("the server found is {} ({})", self.programs.version, self.programs.reason))
            .hint(format!(
                "Set `server.version = {version}`; to change the major, dump with the old server and restore with the new."
            )));
        }
        self.user.check_reach(data)
    }

    pub(super) fn cannot_run(&self, program: &str, error: &std::io::Error) -> Problem {
        let source = match self.programs.source {
            find::Source::System => "Reinstall PostgreSQL.".to_owned(),
            find::Source::Embedded | find::Source::Fetched => {
                "Delete Howdah's directory `servers`; it is made again.".to_owned()
            }
        };
        Problem::new(
            Kind::Machine,
            format!("cannot run `{}` as `{}`", self.programs.program(program).display(), self.user.name),
        )
        .detail(error.to_string())
        .hint(source)
    }
}

fn empty(dir: &Path) -> Result<(), Problem> {
    for entry in fs::read_dir(dir).map_err(|e| cannot_read(dir, &e))?.flatten() {
        let path = entry.path();
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(|e| cannot_write(&path, &e))?;
    }
    Ok(())
}

/// Writes a file that only its owner may read.
fn write_private(path: &Path, text: &str) -> Result<(), Problem> {
    let _ = fs::remove_file(path);
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .map_err(|e| cannot_write(path, &e))
}

pub(super) fn cannot_read(path: &Path, error: &std::io::Error) -> Problem {
    Problem::new(Kind::Machine, format!("cannot read `{}`", path.display()))
        .detail(error.to_string())
        .hint("Run the command as the user who runs the instance, or as root.")
}
