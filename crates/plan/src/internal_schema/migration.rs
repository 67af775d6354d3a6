//! What a migration and a domain are.

use sha2::{Digest, Sha256};

use crate::hex;

/// One change of Howdah's own tables.
#[derive(Debug, PartialEq, Eq)]
pub struct Migration {
    /// What it belongs to.
    pub domain: &'static str,
    /// Its place in the domain, from 1 without gaps.
    pub number: u32,
    /// What it does, in a few words.
    pub name: &'static str,
    /// The statements, without the last semicolon.
    pub sql: &'static str,
}

impl Migration {
    /// SHA-256 of domain, name and statements, in hexadecimal.
    pub fn checksum(&self) -> String {
        let mut hash = Sha256::new();
        for part in [self.domain, self.name, self.sql] {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        hex::encode(&hash.finalize())
    }
}

/// The migrations of one domain, and the tables that are there after them.
#[derive(Debug)]
pub struct Domain {
    /// Its name.
    pub name: &'static str,
    /// Its migrations, by number.
    pub migrations: &'static [Migration],
    /// Its tables, without the schema.
    pub tables: &'static [&'static str],
}
