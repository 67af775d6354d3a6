//! The modules of the binary. It is a library only so that integration tests can call them; the product is the program.

pub mod access;
pub mod apply;
pub mod bench;
pub mod collections;
pub mod daemon;
pub mod doctor;
pub mod faces;
pub mod jobs;
pub mod knowledge;
pub mod observe;
pub mod runtime;
pub mod skills;

#[cfg(test)]
mod testing;

/// Runs the command line.
pub fn run() -> std::process::ExitCode {
    faces::cli::main()
}
