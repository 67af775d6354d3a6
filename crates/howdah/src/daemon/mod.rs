//! Who keeps the instance running?
//!
//! `howdah up` starts one process for each instance: it is the direct parent of PostgreSQL, serves REST, and writes what
//! it is to `daemon.json`. The command that started it follows its steps and leaves. `howdah down` asks it to end, and
//! PostgreSQL ends with it. [`place`] knows the files, [`process`] who runs, [`steps`] what is going on.

pub mod client;
pub mod declaration;
pub mod notify;
pub mod place;
pub mod process;
pub mod steps;
