//! Howdah: PostgreSQL as a production vector database, in one binary.
//!
//! Floors, from the top: faces (command line, REST) read the skill table; skills call the rooms `apply`, `doctor`,
//! `collections`, `knowledge` and `bench`; those stand on `postgres` and `embed`; `observe` is the ground. Decisions are
//! in the crate `howdah-plan`.

fn main() -> std::process::ExitCode {
    howdah::run()
}
