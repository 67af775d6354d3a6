//! Where are the files of Howdah's own extension, and does the portable server have them?
//!
//! A release binary carries them. Others look for built ones: in the directory that `HOWDAH_EXTENSION_DIR` names, beside the
//! binary, and in the target directory that the binary was built in (`scripts/extension.sh` puts them there), each with one
//! folder a major, `pg18`. Found ones are installed into servers that Howdah unpacked itself, never into another. A server
//! without them works as well: `index = "auto"` then means pgvector's HNSW.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use howdah_bundle::extension::Files;
use howdah_bundle::fetch;
use howdah_plan::problem::Problem;

/// Environment variable that names a directory with built files, in folders such as `pg18`. It goes before all others.
pub const DIRECTORY_VARIABLE: &str = "HOWDAH_EXTENSION_DIR";

/// The packed extension in the binary, for the major it was built for.
#[cfg(embedded_extension)]
const EMBEDDED: Option<(u32, &[u8])> =
    Some((super::bundle::DEFAULT_MAJOR, include_bytes!(env!("HOWDAH_EXTENSION_ARCHIVE"))));
#[cfg(not(embedded_extension))]
const EMBEDDED: Option<(u32, &[u8])> = None;

/// Whether the binary itself carries the extension for PostgreSQL `major`.
pub fn is_embedded(major: u32) -> bool {
    EMBEDDED.is_some_and(|(embedded, _)| embedded == major)
}

/// Sees to it that the unpacked server of `major` with these folders has the extension, where files of it are found. Says
/// in words what came of it. `lock` is the file that those who write into `servers` lock.
pub(super) fn provide(major: u32, libdir: &Path, sharedir: &Path, lock: &Path) -> (Option<String>, String) {
    match found(major).and_then(|found| install(found, libdir, sharedir, lock)) {
        Ok(Some((files, whence))) => {
            let words = format!("with the extension howdah {}, {whence}", files.version);
            (Some(files.version), words)
        }
        Ok(None) => match super::find::extension_version(sharedir) {
            // Another binary brought it.
            Some(version) => {
                (Some(version.clone()), format!("with the extension howdah {version}, already there"))
            }
            None => (None, format!("without the extension howdah: none is built for {major}")),
        },
        Err(problem) => {
            let why =
                problem.detail.map_or(problem.message.clone(), |more| format!("{}: {more}", problem.message));
            (
                super::find::extension_version(sharedir),
                format!("the extension howdah could not be brought: {why}"),
            )
        }
    }
}

/// Files that were found, and where, in words.
type FoundFiles = Option<(Files, String)>;

fn install(found: FoundFiles, libdir: &Path, sharedir: &Path, lock: &Path) -> Result<FoundFiles, Problem> {
    if let Some((files, _)) = &found
        && !files.installed(libdir, sharedir)
    {
        let _lock = fetch::lock(lock)?;
        files.install(libdir, sharedir)?;
    }
    Ok(found)
}

/// The files for a major, and where they were found.
fn found(major: u32) -> Result<FoundFiles, Problem> {
    let named = std::env::var_os(DIRECTORY_VARIABLE).filter(|dir| !dir.is_empty());
    let embedded = EMBEDDED.filter(|(embedded, _)| *embedded == major).map(|(_, bytes)| bytes);
    first(major, named, embedded, std::env::current_exe().ok().as_deref())
}

fn first(
    major: u32,
    named: Option<OsString>,
    embedded: Option<&[u8]>,
    binary: Option<&Path>,
) -> Result<FoundFiles, Problem> {
    let folder = format!("pg{major}");
    if let Some(named) = named {
        let dir = PathBuf::from(named).join(&folder);
        if let Some(files) = Files::in_directory(&dir)? {
            return Ok(Some((files, format!("from {}", dir.display()))));
        }
    }
    if let Some(bytes) = embedded {
        return Ok(Some((Files::in_archive(bytes)?, "carried in this binary".to_owned())));
    }
    for dir in binary.into_iter().flat_map(beside) {
        let dir = dir.join(&folder);
        if let Some(files) = Files::in_directory(&dir)? {
            return Ok(Some((files, format!("from {}", dir.display()))));
        }
    }
    Ok(None)
}

/// Directories that go with a binary: `extension` beside it, and in the target directory that cargo built it in.
fn beside(binary: &Path) -> Vec<PathBuf> {
    let here = binary.parent().map(|dir| dir.join("extension"));
    // Cargo marks its directory so.
    let target = binary.ancestors().skip(1).find(|dir| dir.join("CACHEDIR.TAG").is_file());
    here.into_iter().chain(target.map(|dir| dir.join("extension"))).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn built(dir: &Path, version: &str) {
        fs::create_dir_all(dir).unwrap();
        fs::write(dir.join("howdah.control"), format!("default_version = '{version}'\n")).unwrap();
        fs::write(dir.join("howdah.so"), version).unwrap();
        fs::write(dir.join(format!("howdah--{version}.sql")), "").unwrap();
    }

    #[test]
    fn a_named_directory_goes_before_the_binary_and_that_before_what_lies_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("target");
        let binary = target.join("debug/deps/howdah");
        built(&target.join("extension/pg18"), "0.1.0");
        let version = |found: Result<FoundFiles, Problem>| found.unwrap().map(|(files, _)| files.version);
        assert_eq!(version(first(18, None, None, Some(&binary))), None, "no directory of cargo's");
        fs::write(target.join("CACHEDIR.TAG"), "").unwrap();
        assert_eq!(version(first(18, None, None, Some(&binary))).as_deref(), Some("0.1.0"));
        assert_eq!(version(first(16, None, None, Some(&binary))), None, "one folder a major");
        built(&target.join("debug/deps/extension/pg18"), "0.2.0");
        assert_eq!(version(first(18, None, None, Some(&binary))).as_deref(), Some("0.2.0"));
        let packed = dir.path().join("packed");
        Files::in_directory(&target.join("extension/pg18")).unwrap().unwrap().pack(&packed).unwrap();
        let packed = fs::read(packed).unwrap();
        let (files, whence) = first(18, None, Some(&packed), Some(&binary)).unwrap().unwrap();
        assert_eq!((files.version.as_str(), whence.as_str()), ("0.1.0", "carried in this binary"));
        built(&dir.path().join("named/pg18"), "0.3.0");
        let named = || Some(dir.path().join("named").into_os_string());
        assert_eq!(version(first(18, named(), Some(&packed), Some(&binary))).as_deref(), Some("0.3.0"));
        assert_eq!(version(first(16, named(), None, Some(&binary))), None);
    }

    #[test]
    fn what_cannot_be_installed_keeps_no_server_from_starting() {
        let dir = tempfile::tempdir().unwrap();
        let built_in = dir.path().join("built");
        built(&built_in, "0.1.0");
        let files = Files::in_directory(&built_in).unwrap().map(|files| (files, "from there".to_owned()));
        let nowhere = dir.path().join("nowhere");
        assert!(install(files, &nowhere, &nowhere, &dir.path().join("lock")).is_err());
        let (version, words) = provide(99, &nowhere, &nowhere, &dir.path().join("lock"));
        assert_eq!((version, words.as_str()), (None, "without the extension howdah: none is built for 99"));
    }
}
