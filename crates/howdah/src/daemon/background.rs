//! Starting and stopping the process that keeps an instance up, from the command line.
//!
//! Any number of commands may do this at once. Each attempt to start is a process of its own with a file of its own for its
//! steps; the instance's lock lets one of them win, the others say that they were beaten, and their commands follow the
//! winner. If the winner fails, one other tries, and its failure is everybody's. Every wait here ends: with what was waited
//! for, with the end of the process that was waited for, or with a deadline and a sentence.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use howdah_plan::problem::{DoNow, Kind, Problem};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::declaration::Declaration;
use super::directory::{InstanceDirectory, ServerRecord, cannot};
use super::instance_lock::Holder;
use super::run::STOPPING;
use super::steps::{Follower, Line};
use crate::observe::log_file;
use crate::observe::progress::{Event, Progress};
use crate::runtime::process::Identity;
use howdah_postgres::instance::{Layout, Phase};

/// What a server says outside its log is begun anew when it is larger than this.
const LARGE_ERRORS: u64 = 1 << 20;
/// How often the steps of a start are looked at.
const GLANCE: Duration = Duration::from_millis(25);
/// How long a start may tell nothing new: as long as PostgreSQL may recover from a crash, and a little more.
const SILENCE: Duration = Duration::from_secs(3600 + 300);
/// How often it is decided anew what to do, while others start and stop the instance.
const ROUNDS: u32 = 8;
/// Failed starts of others that end one's own.
const FAILURES: u32 = 2;
/// When a wait first says what it waits for, and how often from then on.
const FIRST_WORD: Duration = Duration::from_secs(2);
const NEXT_WORD: Duration = Duration::from_secs(5);

/// A server that is ready.
#[derive(Debug)]
pub struct Reached {
    /// What it says of itself.
    pub record: ServerRecord,
    /// Whether it was started just now, by this command or by one beside it. Else it ran already.
    pub started: bool,
}

/// Sees to it that a server of this declaration and of this program is there and ready: starts it, follows another command
/// that starts it, or finds that it runs. Tells the steps.
///
/// # Errors
/// Why it did not start; `timeout` when a start or a stop that is waited for does not come to an end.
pub async fn reach(
    declaration: &Declaration,
    directory: &InstanceDirectory,
    layout: &Layout,
    report: &dyn Progress,
) -> Result<Reached, Vec<Problem>> {
    let mut failures = 0;
    for _ in 0..ROUNDS {
        let record = directory.record();
        let starting = match record {
            Some(record) if record.stopping => {
                wait_for_end(layout, &record.process, note(report)).await.map_err(one)?;
                continue;
            }
            Some(record) if !is_current(&record, declaration) => {
                note(report)("the declaration or the program changed: starting anew".into());
                stop(layout, &record.process, note(report)).await.map_err(one)?;
                continue;
            }
            Some(record) if record.ready => return Ok(Reached { record, started: false }),
            _ => directory.holder().filter(|holder| !holder.is_command()),
        };
        let winner = match starting {
            Some(winner) => Some(winner),
            None => match attempt(declaration, directory, report).await? {
                Attempt::Ready => return started(directory).map_err(one),
                Attempt::Beaten(winner) => winner,
            },
        };
        // One that has not written its name yet, or has ended by now, is found at the next look.
        let Some(winner) = winner else { continue };
        match follow(directory, &winner, report).await.map_err(one)? {
            Followed::Ready => {}
            Followed::Ended(problems) => {
                failures += 1;
                if failures == FAILURES {
                    return Err(problems);
                }
                note(report)("the other start failed: trying it here".into());
                continue;
            }
            Followed::Stopped => continue,
        }
        let reached = started(directory).map_err(one)?;
        if is_current(&reached.record, declaration) {
            return Ok(reached);
        }
    }
    Err(one(Problem::new(Kind::Conflict, "others start and stop this instance all the time")
        .detail(format!("looked {ROUNDS} times and it was never up for long"))
        .hint("See who does it with `howdah logs`, then run `howdah up` again.")
        .do_now(DoNow::Retry)))
}

fn one(problem: Problem) -> Vec<Problem> {
    vec![problem]
}

fn note(report: &dyn Progress) -> impl FnMut(String) {
    |text| report.tell(Event::Note { text })
}

/// Whether the server is of this declaration and of this program; it need not be ready.
fn is_current(record: &ServerRecord, declaration: &Declaration) -> bool {
    record.declaration == declaration.hash
        && record.program == super::program()
        && record.version == env!("CARGO_PKG_VERSION")
}

fn started(directory: &InstanceDirectory) -> Result<Reached, Problem> {
    match directory.record() {
        Some(record) => Ok(Reached { record, started: true }),
        None => Err(stopped_at_once()),
    }
}

/// A server that was ready a moment ago and is gone.
pub fn stopped_at_once() -> Problem {
    Problem::new(Kind::Conflict, "the server ended right after it was ready")
        .hint("If nobody ran `howdah down`, look at the log with `howdah logs`. `howdah up` starts it again.")
}

/// What came of an attempt to start.
enum Attempt {
    Ready,
    /// Another process has the instance; none when it is not known which.
    Beaten(Option<Holder>),
}

/// The steps of one attempt. They go with whoever reads them.
struct StepsFile(PathBuf);

impl Drop for StepsFile {
    fn drop(&mut self) {
        // It is not there when the attempt did not get as far as writing it.
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn attempt(
    declaration: &Declaration,
    directory: &InstanceDirectory,
    report: &dyn Progress,
) -> Result<Attempt, Vec<Problem>> {
    directory.remove_stale_steps();
    let steps = StepsFile(directory.new_steps_file());
    let mut child = spawn(declaration, directory, &steps.0).map_err(one)?;
    let mut follower = Follower::new(&steps.0);
    let mut heard = Instant::now();
    loop {
        // Asked first, so that the last words of one that has ended are read.
        let ended = child.try_wait().ok().flatten();
        for line in follower.read() {
            heard = Instant::now();
            let event = match line {
                Line::Beaten { beaten_by } => {
                    collect(&mut child).await;
                    return Ok(Attempt::Beaten(beaten_by));
                }
                Line::Event(event) => event,
            };
            report.tell(event.clone());
            match event {
                Event::Ready { .. } => return Ok(Attempt::Ready),
                Event::Failed { problems } => {
                    collect(&mut child).await;
                    return Err(problems);
                }
                _ => {}
            }
        }
        if let Some(status) = ended {
            return Err(one(Problem::new(
                Kind::Failed,
                format!("the server in the background ended: {status}"),
            )
            .detail(last_words(directory))
            .hint("Look at the log with `howdah logs`, or run it here with `howdah up --foreground`.")));
        }
        if heard.elapsed() > SILENCE {
            return Err(one(silent(child.id())));
        }
        tokio::time::sleep(GLANCE).await;
    }
}

/// Waits for the end of a child that has said its last word. It ends by itself; its exit status says no more than it did.
async fn collect(child: &mut Child) {
    let begun = Instant::now();
    while matches!(child.try_wait(), Ok(None)) && begun.elapsed() < STOPPING {
        tokio::time::sleep(GLANCE).await;
    }
}

fn spawn(declaration: &Declaration, directory: &InstanceDirectory, steps: &Path) -> Result<Child, Problem> {
    let path = directory.errors_file();
    if std::fs::metadata(&path).is_ok_and(|meta| meta.len() > LARGE_ERRORS) {
        // Worst case it grows on.
        let _ = std::fs::remove_file(&path);
    }
    let errors = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| cannot("write", &path, &error))?;
    let cannot_start = |error: std::io::Error| {
        Problem::new(Kind::Machine, "cannot start the server in the background").detail(error.to_string())
    };
    Command::new(std::env::current_exe().map_err(cannot_start)?)
        .args(["up", "--foreground", "--detached"])
        .arg(steps)
        .arg("--file")
        .arg(&declaration.path)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(errors.try_clone().map_err(cannot_start)?)
        .stderr(errors)
        .spawn()
        .map_err(cannot_start)
}

/// The last lines of what a server said that ended without a word.
fn last_words(directory: &InstanceDirectory) -> String {
    let last = |path: &Path| {
        let lines = log_file::last_lines(path, 5).map(|(lines, _)| lines).unwrap_or_default();
        String::from_utf8_lossy(&lines).trim_end().to_owned()
    };
    let errors = last(&directory.errors_file());
    if errors.is_empty() { last(&directory.log_file()) } else { errors }
}

/// How the start of another process went.
enum Followed {
    Ready,
    /// It failed, or ended before it was ready.
    Ended(Vec<Problem>),
    /// It was ready, and was stopped.
    Stopped,
}

/// Follows the server of another process until it is ready or gone.
async fn follow(
    directory: &InstanceDirectory,
    winner: &Holder,
    report: &dyn Progress,
) -> Result<Followed, Problem> {
    let pid = winner.process.pid;
    note(report)(format!("another howdah (process {pid}) starts it: following that"));
    let mut follower = winner.steps.as_deref().map(Follower::new);
    let mut failed: Option<Vec<Problem>> = None;
    let mut stopping = false;
    let mut heard = Instant::now();
    loop {
        let alive = winner.process.is_alive();
        for line in follower.as_mut().map(Follower::read).unwrap_or_default() {
            heard = Instant::now();
            match line {
                Line::Event(Event::Failed { problems }) => failed = Some(problems),
                Line::Event(event) => report.tell(event),
                Line::Beaten { .. } => {}
            }
        }
        if let Some(record) = directory.record().filter(|record| record.process == winner.process) {
            if record.ready && !record.stopping {
                return Ok(Followed::Ready);
            }
            if record.stopping && !std::mem::replace(&mut stopping, true) {
                heard = Instant::now();
            }
        }
        if !alive {
            return Ok(match failed {
                Some(problems) => Followed::Ended(problems),
                None if stopping => Followed::Stopped,
                None => Followed::Ended(vec![
                    Problem::new(
                        Kind::Failed,
                        format!("the start by another howdah (process {pid}) ended too soon"),
                    )
                    .detail(last_words(directory))
                    .hint("Look at the log with `howdah logs`."),
                ]),
            });
        }
        let patience = if failed.is_some() || stopping { STOPPING } else { SILENCE };
        if heard.elapsed() > patience {
            return Err(silent(u32::try_from(pid).unwrap_or_default()));
        }
        tokio::time::sleep(GLANCE).await;
    }
}

/// A start that tells nothing new.
fn silent(pid: u32) -> Problem {
    let minutes = SILENCE.as_secs() / 60;
    Problem::new(
        Kind::Timeout,
        format!("the start (process {pid}) has told nothing new for {minutes} minutes"),
    )
    .hint("It goes on. See what it does with `howdah logs`, or end it with `howdah down`.")
}

/// Asks the process to stop and waits for its end. `tell` is called now and then with what is waited for.
///
/// # Errors
/// `forbidden` when it is another user's, `timeout` when it does not end.
pub async fn stop(layout: &Layout, process: &Identity, tell: impl FnMut(String)) -> Result<(), Problem> {
    if process.is_alive() && kill(Pid::from_raw(process.pid), Signal::SIGTERM) == Err(Errno::EPERM) {
        return Err(Problem::new(Kind::Forbidden, format!("cannot stop howdah (process {})", process.pid))
            .hint("Run the command as the user who started it, or as root."));
    }
    wait_for_end(layout, process, tell).await
}

/// Waits for the end of a process that was told to stop.
async fn wait_for_end(
    layout: &Layout,
    process: &Identity,
    mut tell: impl FnMut(String),
) -> Result<(), Problem> {
    let pid = process.pid;
    let say = |waited: Duration| {
        tell(format!("waiting for {} (process {pid}): {} s", under_way(layout), waited.as_secs()));
    };
    if saying(process.ended(STOPPING), say).await {
        return Ok(());
    }
    Err(Problem::new(
        Kind::Timeout,
        format!("howdah (process {pid}) has not ended within {} s", STOPPING.as_secs()),
    )
    .detail(format!("it was told to stop; waited for {}", under_way(layout)))
    .hint("See what it does with `howdah logs`. `howdah down` goes on waiting."))
}

/// What a stop waits for.
pub fn under_way(layout: &Layout) -> &'static str {
    match layout.phase() {
        Some(Phase::Starting) => "PostgreSQL, which is still starting, to break that off",
        Some(Phase::Ready) => "requests and jobs under way to end",
        Some(Phase::Stopping) => "PostgreSQL to end",
        None => "howdah to end",
    }
}

/// Does the work, and says now and then for how long.
pub async fn saying<T>(work: impl Future<Output = T>, mut say: impl FnMut(Duration)) -> T {
    tokio::pin!(work);
    let begun = Instant::now();
    let mut pause = FIRST_WORD;
    loop {
        tokio::select! {
            outcome = &mut work => return outcome,
            () = tokio::time::sleep(pause) => say(begun.elapsed()),
        }
        pause = NEXT_WORD;
    }
}
