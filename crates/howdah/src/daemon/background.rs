//! Starting and stopping the process that keeps an instance up, from the command line.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use howdah_plan::problem::{Kind, Problem};
use nix::sys::signal::Signal;

use super::declaration::Declaration;
use super::place::{Place, Running};
use super::run::STOPPING;
use super::steps::Follower;
use crate::observe::progress::Event;

/// A log larger than this is put aside at the next start.
const LARGE_LOG: u64 = 16 << 20;
/// How often the steps of a start are looked at.
const GLANCE: Duration = Duration::from_millis(25);

/// Starts the process in the background and shows its steps to `show`, until it is ready. Says how many declared documents
/// could not be read.
///
/// # Errors
/// Why it did not start.
pub fn start(
    declaration: &Declaration,
    place: &Place,
    mut show: impl FnMut(&Event),
) -> Result<u64, Vec<Problem>> {
    let one = |problem| vec![problem];
    // The steps of an earlier start are not this one's.
    let _ = std::fs::remove_file(place.steps_file());
    let mut child = spawn(declaration, place).map_err(one)?;
    let mut follower = Follower::new(&place.steps_file());
    loop {
        let ended = child.try_wait().ok().flatten();
        for event in follower.read() {
            show(&event);
            match event {
                Event::Ready { left_out } => return Ok(left_out),
                Event::Failed { problems } => {
                    // It ends by itself; its exit status says no more than its problems.
                    let _ = child.wait();
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
            .detail(last_lines(&place.log_file(), 5))
            .hint("Look at the log with `howdah logs`, or run it here with `howdah up --foreground`.")));
        }
        std::thread::sleep(GLANCE);
    }
}

fn spawn(declaration: &Declaration, place: &Place) -> Result<Child, Problem> {
    let cannot = |error: std::io::Error| {
        Problem::new(Kind::Machine, "cannot start the server in the background").detail(error.to_string())
    };
    let path = place.log_file();
    if std::fs::metadata(&path).is_ok_and(|meta| meta.len() > LARGE_LOG) {
        // Worst case the log grows on.
        let _ = std::fs::rename(&path, path.with_extension("log.1"));
    }
    let log = OpenOptions::new().create(true).append(true).mode(0o600).open(&path).map_err(cannot)?;
    let program = std::env::current_exe().map_err(cannot)?;
    Command::new(program)
        .arg("up")
        .args(["--foreground", "--detached", "--file"])
        .arg(&declaration.path)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(cannot)?)
        .stderr(log)
        .spawn()
        .map_err(cannot)
}

/// Asks the process to stop and waits for it.
///
/// # Errors
/// `timeout` when it does not end.
pub fn stop(place: &Place, running: &Running) -> Result<(), Problem> {
    if running.process.stop(Signal::SIGTERM, STOPPING) {
        place.clear_running();
        return Ok(());
    }
    Err(Problem::new(Kind::Timeout, format!("howdah (process {}) does not stop", running.process.pid))
        .hint("See what it does with `howdah logs`."))
}

/// The last lines of a file.
pub fn last_lines(path: &Path, count: usize) -> String {
    let text =
        std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
