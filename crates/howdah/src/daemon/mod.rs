//! Who keeps the instance running?
//!
//! `howdah up` starts one process for each instance ([`run`]): it is the direct parent of PostgreSQL, serves REST, and
//! writes what it is to `daemon.json`. The command that started it ([`background`]) follows its steps and leaves.
//! `howdah down` asks it to end, and PostgreSQL ends with it. [`directory`] knows the files, [`crate::runtime::process`] who runs,
//! [`instance_lock`] who has the instance to itself, [`steps`] what is going on, [`server`] which PostgreSQL is meant,
//! [`converge`] brings it to what is declared. Where nothing runs, a command starts PostgreSQL for itself ([`standalone`]).

pub mod as_role;
pub mod background;
pub mod client;
pub mod converge;
pub mod declaration;
pub mod deployment;
pub mod directory;
pub mod instance_lock;
pub mod local;
pub mod notify;
pub mod run;
pub mod server;
pub mod serving;
pub mod standalone;
pub mod steps;

/// What tells this program from another build of it: its size and when it was written.
pub fn program() -> String {
    let Ok(meta) = std::env::current_exe().and_then(std::fs::metadata) else { return String::new() };
    let written = meta
        .modified()
        .ok()
        .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
        .map_or(0, |since| since.as_nanos());
    format!("{}-{written}", meta.len())
}
