//! Where does the server come from?

use std::path::PathBuf;

/// Where a server's programs come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Installed on this machine.
    System,
    /// Carried in this binary.
    Embedded,
    /// Fetched from the package index.
    Fetched,
}

/// The programs of a PostgreSQL server on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// Directory with `postgres`, `initdb` and the rest.
    pub bindir: PathBuf,
    /// Directory with the server's libraries (`$libdir`).
    pub libdir: PathBuf,
    /// Directory with the server's data (`extension/` is in it).
    pub sharedir: PathBuf,
    /// Major version.
    pub major: u32,
    /// Version, as PostgreSQL prints it.
    pub version: String,
    /// Version of pgvector that is available there.
    pub pgvector: Option<String>,
    /// Where they come from.
    pub source: Source,
    /// Why these were chosen, in words.
    pub reason: String,
}

impl Programs {
    /// Path of a program.
    pub fn program(&self, name: &str) -> PathBuf {
        self.bindir.join(name)
    }
}
