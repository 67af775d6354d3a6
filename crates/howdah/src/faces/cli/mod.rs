//! The command line.

use std::process::ExitCode;

use clap::Parser;

pub mod args;

/// Parses the command line and runs it.
pub fn main() -> ExitCode {
    let _arguments = args::Arguments::parse();
    ExitCode::SUCCESS
}
