//! Howdah: PostgreSQL as a production vector database, in one binary.
//!
//! Modules import downward only, from the top: faces (command line, REST) read the skill table; skills call `apply`,
//! `doctor`, `collections`, `knowledge` and `bench`; those call the crates `howdah-postgres` and `howdah-embed`; `observe`
//! is used by all and uses none of them. Decisions are in the crate `howdah-plan`.

fn main() -> std::process::ExitCode {
    howdah::run()
}
