//! Starting, watching and stopping.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use howdah_plan::problem::{DoNow, Kind, Problem};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::time::sleep;

use super::{Instance, Layout, Phase, State, log, process};
use crate::user::cannot_write;
use crate::{Target, connect};

/// How long a server may say nothing at all while it starts.
const SILENCE: Duration = Duration::from_secs(60);
/// How long it may say that it is starting up, which it does while it recovers.
const RECOVERY: Duration = Duration::from_secs(3600);
/// How long processes of a killed server may take to notice.
const ORPHANS: Duration = Duration::from_secs(15);
/// How long the end of an abandoned server is waited for.
const ABANDONED: Duration = Duration::from_secs(5);
/// Log files larger than this many bytes are put aside at a start.
const LARGE_LOG: u64 = 16 << 20;

/// How long to wait for each way of stopping before the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Smart: no new connections, the ones that are there may finish.
    pub smart: Duration,
    /// Fast: transactions are rolled back, a checkpoint is written.
    pub fast: Duration,
    /// Immediate: as if the power failed; the next start recovers.
    pub immediate: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            smart: Duration::from_secs(1),
            fast: Duration::from_secs(60),
            immediate: Duration::from_secs(10),
        }
    }
}

impl Patience {
    /// For a server that has not finished its start: nobody is connected, and no checkpoint is written. What it has
    /// recovered so far is in the write-ahead log still, so the next start does the same work again and nothing is lost.
    pub const STARTING: Patience =
        Patience { smart: Duration::ZERO, fast: Duration::from_secs(10), immediate: Duration::from_secs(15) };
}

/// What came of a start that somebody could break off.
#[derive(Debug)]
pub enum Begun {
    /// It answers.
    Ready(Box<RunningServer>),
    /// It was broken off, and the server was stopped in this way.
    BrokenOff(Stopped),
}

/// How a server was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// It did not run.
    WasNotRunning,
    /// All clients had left.
    Smart,
    /// Clients were cut off.
    Fast,
    /// It did not obey in time; the next start recovers.
    Immediate,
}

impl Stopped {
    /// How, as people say it.
    pub fn words(self) -> &'static str {
        match self {
            Stopped::WasNotRunning => "did not run",
            Stopped::Smart => "was stopped",
            Stopped::Fast => "was stopped (fast shutdown)",
            Stopped::Immediate => "was stopped (immediate shutdown); the next start recovers",
        }
    }
}

/// A server that runs, and this process watches it.
#[derive(Debug)]
pub struct RunningServer {
    /// Process id of the postmaster.
    pub pid: i32,
    /// Address of its database `postgres` over the unix socket, as the superuser.
    pub target: Target,
    /// Whether it ran already, left by a supervisor that was killed.
    pub adopted: bool,
    /// What a person should know about this start, in words.
    pub notes: Vec<String>,
    /// When it was ready.
    pub since: Instant,
    layout: Layout,
    child: Option<Child>,
    log_offset: u64,
    /// Not ready yet: whoever gives up waiting gives up the server too.
    starting: bool,
    _lock: File,
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        if self.starting && self.child.is_some() && self.is_alive() {
            // Before it has written its pid file it has touched nothing, and nobody could see that it is still going.
            let took_data =
                process::PidFile::read(&self.layout.data).is_some_and(|file| file.pid == self.pid);
            let signal = if took_data { Signal::SIGINT } else { Signal::SIGKILL };
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
    }
}

impl Instance {
    /// Starts the server and waits until it answers, through crash recovery where there is some. A server of this
    /// instance that runs already, because its supervisor was killed, is taken over.
    ///
    /// # Errors
    /// `conflict` when another process supervises the instance or the declared port is taken; `machine` and others with
    /// what the server's log says when it does not start.
    pub async fn start(&self) -> Result<RunningServer, Problem> {
        let (mut running, notes) = self.launch().await?;
        running.get_ready(notes).await?;
        Ok(running)
    }

    /// The same, until `told` says otherwise: then the server is stopped, however far it has got.
    ///
    /// # Errors
    /// As [`Instance::start`]; `timeout` when the server that was to be stopped does not end.
    pub async fn start_unless(&self, told: impl Future<Output = ()>) -> Result<Begun, Problem> {
        tokio::pin!(told);
        let (mut running, notes) = tokio::select! {
            launched = self.launch() => launched?,
            () = &mut told => return Ok(Begun::BrokenOff(Stopped::WasNotRunning)),
        };
        let ready = tokio::select! {
            ready = running.get_ready(notes) => ready,
            () = told => {
                let phase = running.layout.phase();
                tracing::info!(pid = running.pid, ?phase, "told to stop before PostgreSQL is ready: stopping it");
                return running.stop(Patience::STARTING).await.map(Begun::BrokenOff);
            }
        };
        ready.map(|()| Begun::Ready(Box::new(running)))
    }

    /// A server that is on its way, with notes on how it went so far.
    async fn launch(&self) -> Result<(RunningServer, Vec<String>), Problem> {
        let lock = self.supervise_lock()?;
        if let State::Running { pid, .. } = self.layout.state() {
            return self.adopt(pid, lock).map(|running| (running, Vec::new()));
        }
        self.check_data()?;
        self.clear_leftovers().await?;
        let (port, notes) = self.choose_port()?;
        let sockets = self.ensure_sockets()?;
        remove_stale_socket(&sockets, port);
        fs::write(self.layout.root.join("port"), port.to_string())
            .map_err(|e| cannot_write(&self.layout.root, &e))?;
        let (log_file, log_offset) = self.open_log()?;
        let mut command = self.user.command(&self.programs.program("postgres"));
        command
            .arg("-D")
            .arg(&self.layout.data)
            .args(["-c", "listen_addresses=127.0.0.1", "-c", &format!("port={port}")])
            .args(["-c", &format!("unix_socket_directories=\"{}\"", sockets.display())])
            .stdin(Stdio::null())
            .stdout(log_file.try_clone().map_err(|e| cannot_write(&self.layout.log_file(), &e))?)
            .stderr(log_file);
        // The password is read first: nothing may fail between the server's start and its being watched.
        let target = Target { port, ..self.layout.target()? };
        let child =
            tokio::process::Command::from(command).spawn().map_err(|e| self.cannot_run("postgres", &e))?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
        let running = RunningServer {
            pid,
            target,
            adopted: false,
            notes: Vec::new(),
            since: Instant::now(),
            layout: self.layout.clone(),
            child: Some(child),
            log_offset,
            starting: true,
            _lock: lock,
        };
        Ok((running, notes))
    }

    fn supervise_lock(&self) -> Result<File, Problem> {
        let path = self.layout.root.join("supervisor.lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| cannot_write(&path, &e))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(fs::TryLockError::WouldBlock) => Err(Problem::new(
                Kind::Conflict,
                format!("instance `{}` is started already", self.layout.name),
            )
            .detail("another process supervises it")
            .hint("Run `howdah status` to see it, `howdah down` to stop it.")
            .do_now(DoNow::FixInput)),
            Err(fs::TryLockError::Error(e)) => Err(cannot_write(&path, &e)),
        }
    }

    fn adopt(&self, pid: i32, lock: File) -> Result<RunningServer, Problem> {
        let target = self.layout.target()?;
        let mut notes = vec![format!("took over the server that was running already (process {pid})")];
        if self.port.is_some_and(|declared| declared != target.port) {
            notes.push(format!(
                "it listens on port {}, not on the declared one, until it is started anew",
                target.port
            ));
        }
        Ok(RunningServer {
            pid,
            target,
            adopted: true,
            notes,
            since: Instant::now(),
            layout: self.layout.clone(),
            child: None,
            log_offset: file_size(&self.layout.log_file()),
            starting: true,
            _lock: lock,
        })
    }

    /// Waits for what a killed postmaster left behind, and removes a pid file whose number is somebody else's by now.
    async fn clear_leftovers(&self) -> Result<(), Problem> {
        let data = &self.layout.data;
        let begin = Instant::now();
        loop {
            let left = process::servers_of(data);
            if left.is_empty() {
                break;
            }
            if begin.elapsed() > ORPHANS {
                let list = left.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
                return Err(Problem::new(Kind::Conflict, "processes of the server before still run")
                    .detail(format!("processes {list} work in `{}`", data.display()))
                    .hint(format!("Stop them (`kill {list}`), then start again.")));
            }
            sleep(Duration::from_millis(50)).await;
        }
        // PostgreSQL itself removes a pid file whose process is gone. It cannot when the number is in use again.
        if let Some(file) = process::PidFile::read(data).filter(|file| pid_in_use(file.pid)) {
            tracing::warn!(
                pid = file.pid,
                "removing the pid file of a server that is gone; its number is in use again"
            );
            let path = data.join("postmaster.pid");
            fs::remove_file(&path).map_err(|e| cannot_write(&path, &e))?;
        }
        Ok(())
    }

    fn choose_port(&self) -> Result<(u16, Vec<String>), Problem> {
        if let Some(port) = self.port {
            return if process::is_free(port) { Ok((port, Vec::new())) } else { Err(port_taken(port)) };
        }
        let before = self.layout.remembered_port();
        if let Some(port) = before.filter(|port| process::is_free(*port)) {
            return Ok((port, Vec::new()));
        }
        let port =
            process::free_port().ok_or_else(|| Problem::new(Kind::Machine, "there is no free port"))?;
        let note = before.map(|before| {
            let who = process::listener_on(before).unwrap_or("somebody else".into());
            format!("port {before} is taken by {who} now; the server listens on {port}")
        });
        Ok((port, note.into_iter().collect()))
    }

    fn open_log(&self) -> Result<(File, u64), Problem> {
        let path = self.layout.log_file();
        if file_size(&path) > LARGE_LOG {
            let _ = fs::rename(&path, path.with_extension("log.1"));
        }
        let file = File::options()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| cannot_write(&path, &e))?;
        Ok((file, file_size(&path)))
    }
}

impl RunningServer {
    /// Waits until the server answers, and keeps what a person should know of the start.
    async fn get_ready(&mut self, notes: Vec<String>) -> Result<(), Problem> {
        let recovered = self.until_ready().await?;
        self.notes.extend(notes);
        // A server that was taken over recovered, if it did, for whoever started it.
        self.notes.extend(recovered.filter(|_| !self.adopted));
        Ok(())
    }

    /// Waits until the server answers. Returns a note when it recovered from a crash.
    async fn until_ready(&mut self) -> Result<Option<String>, Problem> {
        let begin = Instant::now();
        let mut recovering = false;
        let target = Target { connect_timeout: Duration::from_secs(5), ..self.target.clone() };
        loop {
            if !self.is_alive() {
                return Err(self.last_problem("start PostgreSQL"));
            }
            match connect::connect(&target).await {
                Ok(_) => break,
                Err(problem) if problem.kind == Kind::Unreachable => {
                    recovering |= problem.detail.as_deref().is_some_and(|detail| detail.contains("57P03"));
                }
                Err(problem) => return Err(problem),
            }
            if begin.elapsed() > if recovering { RECOVERY } else { SILENCE } {
                return Err(Problem::new(Kind::Timeout, "PostgreSQL does not get ready")
                    .detail(log::last_words(&log::tail(&self.layout.log_file(), self.log_offset)))
                    .hint(format!("Look into `{}`.", self.layout.log_file().display())));
            }
            sleep(Duration::from_millis(25)).await;
        }
        self.since = Instant::now();
        self.starting = false;
        let said = log::tail(&self.layout.log_file(), self.log_offset);
        let recovered = said.contains("database system was not properly shut down")
            || said.contains("database system was interrupted");
        Ok(recovered.then(|| {
            format!(
                "the server was not shut down properly before; it recovered in {:.1} s",
                begin.elapsed().as_secs_f32()
            )
        }))
    }

    /// Whether the server still runs.
    pub fn is_alive(&mut self) -> bool {
        match &mut self.child {
            Some(child) => matches!(child.try_wait(), Ok(None)),
            None => process::is_server_of(self.pid, &self.layout.data),
        }
    }

    /// Waits until the server ends by itself and says why. Dropping the future changes nothing.
    pub async fn died(&mut self) -> Problem {
        match &mut self.child {
            Some(child) => {
                let _ = child.wait().await;
            }
            None => {
                while process::is_server_of(self.pid, &self.layout.data) {
                    sleep(Duration::from_millis(500)).await;
                }
            }
        }
        self.last_problem("keep PostgreSQL running")
    }

    /// Makes the server read its configuration again.
    ///
    /// # Errors
    /// `unreachable` when it is gone.
    pub fn reload(&self) -> Result<(), Problem> {
        kill(Pid::from_raw(self.pid), Signal::SIGHUP)
            .map_err(|e| Problem::new(Kind::Unreachable, "the server is gone").detail(e.to_string()))
    }

    /// Processor time of the server and all its processes, those that ended included; only Linux says.
    pub fn cpu(&self) -> Option<Duration> {
        process::tree_cpu(self.pid)
    }

    /// The server's processes at this moment, the postmaster first; only Linux says who the others are.
    pub fn processes(&self) -> Vec<i32> {
        [self.pid].into_iter().chain(process::children(self.pid)).collect()
    }

    /// Stops the server at once and waits a moment for its end: for one whose data is worth nothing, where nobody can
    /// wait any more.
    pub fn abandon(mut self) {
        let _ = kill(Pid::from_raw(self.pid), Signal::SIGQUIT);
        let begin = Instant::now();
        while self.is_alive() && begin.elapsed() < ABANDONED {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Stops the server: smart, then fast, then immediate.
    ///
    /// # Errors
    /// `timeout` when even that does not help.
    pub async fn stop(mut self, patience: Patience) -> Result<Stopped, Problem> {
        if !self.is_alive() {
            return Ok(Stopped::WasNotRunning);
        }
        let pid = self.pid;
        stop(pid, patience, || !self.is_alive()).await
    }

    fn last_problem(&mut self, doing: &str) -> Problem {
        let said = log::tail(&self.layout.log_file(), self.log_offset);
        if let Some(mut problem) = log::translate(&said, doing) {
            if problem.message.ends_with("the port is taken") {
                problem = Problem { hint: problem.hint, ..port_taken(self.target.port) };
            }
            return problem;
        }
        let end = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
        let end = end.map_or_else(|| "it ended".to_owned(), |status| status.to_string());
        if let Some(full) = full_disk(&self.layout.data) {
            return Problem::new(Kind::Machine, format!("cannot {doing}: the disk is full"))
                .detail(format!("{full}; {end}"))
                .hint("Free space on the disk of the data directory and start again. Never delete files in `pg_wal` by hand.");
        }
        let words = log::last_words(&said);
        Problem::new(Kind::Machine, format!("cannot {doing}"))
            .detail(if words.is_empty() { end } else { format!("{end}; {words}") })
            .hint(format!("Look into `{}`.", self.layout.log_file().display()))
    }
}

impl Layout {
    /// Stops the server of this instance, whoever started it.
    ///
    /// # Errors
    /// `forbidden` when it is another user's; `timeout` when it does not end.
    pub async fn stop(&self, patience: Patience) -> Result<Stopped, Problem> {
        let State::Running { pid, .. } = self.state() else { return Ok(Stopped::WasNotRunning) };
        let patience = if self.phase() == Some(Phase::Starting) { Patience::STARTING } else { patience };
        stop(pid, patience, || !process::is_server_of(pid, &self.data)).await
    }
}

async fn stop(pid: i32, patience: Patience, mut gone: impl FnMut() -> bool) -> Result<Stopped, Problem> {
    let ways = [
        (
            Signal::SIGTERM,
            patience.smart,
            Stopped::Smart,
            "no new connections, those that are there may finish",
        ),
        (
            Signal::SIGINT,
            patience.fast,
            Stopped::Fast,
            "transactions are rolled back, a checkpoint is written",
        ),
        (
            Signal::SIGQUIT,
            patience.immediate,
            Stopped::Immediate,
            "as if the power failed; the next start recovers",
        ),
    ];
    // A server that may take no time to end smartly is not asked to.
    for (signal, wait, stopped, meaning) in
        ways.into_iter().filter(|(_, wait, stopped, _)| *stopped != Stopped::Smart || !wait.is_zero())
    {
        tracing::info!(pid, %signal, wait_s = wait.as_secs(), "stopping PostgreSQL: {meaning}");
        match kill(Pid::from_raw(pid), signal) {
            Ok(()) => {}
            Err(nix::errno::Errno::ESRCH) => return Ok(stopped),
            Err(e) => {
                return Err(Problem::new(Kind::Forbidden, format!("cannot stop the server (process {pid})"))
                    .detail(e.to_string())
                    .hint("Run the command as the user who started it, or as root."));
            }
        }
        let begin = Instant::now();
        loop {
            if gone() {
                return Ok(stopped);
            }
            if begin.elapsed() >= wait {
                break;
            }
            sleep(Duration::from_millis(10)).await;
        }
    }
    Err(Problem::new(Kind::Timeout, format!("the server (process {pid}) does not stop")).hint(format!(
        "It may hang in the kernel on a failed disk; see `cat /proc/{pid}/stack` and `dmesg`."
    )))
}

fn pid_in_use(pid: i32) -> bool {
    pid > 0 && kill(Pid::from_raw(pid), None) != Err(nix::errno::Errno::ESRCH)
}

/// The directory is this instance's alone and no server of it runs, so a lock left there is a dead server's.
fn remove_stale_socket(sockets: &Path, port: u16) {
    for name in [format!(".s.PGSQL.{port}"), format!(".s.PGSQL.{port}.lock")] {
        let _ = fs::remove_file(sockets.join(name));
    }
}

fn port_taken(port: u16) -> Problem {
    let who = process::listener_on(port).unwrap_or("a process that this user may not see".into());
    Problem::new(Kind::Conflict, format!("port `{port}` is taken"))
        .detail(format!("{who} listens there"))
        .hint("Declare another `server.port`, or none for a free one; or stop whoever has it.")
        .do_now(DoNow::FixInput)
}

fn file_size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |meta| meta.len())
}

/// Said when less is free than the server needs for a segment of its write-ahead log.
fn full_disk(data: &Path) -> Option<String> {
    let free = crate::machine::disk_free(data)?;
    (free < 16 << 20).then(|| format!("{free} bytes are free at `{}`", data.display()))
}
