//! The command line.

use std::process::ExitCode;

pub mod args;
pub mod print;

/// Parses the command line and runs it.
pub fn main() -> ExitCode {
    let _matches = args::command().get_matches();
    ExitCode::SUCCESS
}
