//! What every command understands.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::stop::Stop;
use crate::daemon::standalone::Started;

/// What every command understands.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// The declaration; the nearest `howdah.toml` when absent
    #[arg(
        long,
        short = 'f',
        global = true,
        env = "HOWDAH_FILE",
        value_name = "PATH",
        help_heading = "Everywhere"
    )]
    pub file: Option<PathBuf>,
    /// Form of the answer
    #[arg(long, short, global = true, value_enum, default_value = "table", help_heading = "Everywhere")]
    pub output: Format,
    /// No progress and no remarks
    #[arg(long, short, global = true, help_heading = "Everywhere")]
    pub quiet: bool,
    /// Ask this Howdah instead of the one of the declaration
    #[arg(
        long,
        global = true,
        env = "HOWDAH_URL",
        value_name = "http://HOST:PORT",
        help_heading = "Everywhere"
    )]
    pub url: Option<String>,
    /// The key to show; on the instance's own machine its owner needs none
    #[arg(long, global = true, env = "HOWDAH_API_KEY", hide_env_values = true, value_name = "KEY")]
    #[arg(help_heading = "Everywhere")]
    pub key: Option<String>,
    /// What the command started for itself, to be stopped at its end.
    #[arg(skip)]
    pub started: Started,
    /// Ctrl-C.
    #[arg(skip)]
    pub stop: Stop,
}

/// Form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// One JSON document
    Json,
    /// One JSON object a line
    Jsonl,
    /// Comma-separated values
    Csv,
}
