//! The slim server as one file, for embedding in the binary.
//!
//! A tar archive compressed with zstd. Entries are sorted and carry neither time nor owner, so that the same wheel gives
//! the same bytes on every machine.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use howdah_plan::problem::{Kind, Problem};

use crate::fetch::{cannot_read, cannot_write};
use crate::unpack::make_parents;

const LEVEL: i32 = 19;

/// File name of the archive for a major and a platform.
pub fn file_name(major: u32, os: &str, arch: &str) -> String {
    format!("howdah-postgres-{major}-{os}-{arch}.tar.zst")
}

/// Packs the folder `from` into the file `out`; returns the size of `out` in bytes.
///
/// # Errors
/// `machine` when something cannot be read or written.
pub fn pack(from: &Path, out: &Path) -> Result<u64, Problem> {
    let partial = out.with_extension("partial");
    let write = |e: &io::Error| cannot_write(&partial, e);
    let file = File::create(&partial).map_err(|e| write(&e))?;
    let encoder = zstd::Encoder::new(file, LEVEL).map_err(|e| write(&e))?;
    let mut tar = tar::Builder::new(encoder);
    for name in files_below(from).map_err(|e| cannot_read(from, &e))? {
        let path = from.join(&name);
        let mut file = File::open(&path).map_err(|e| cannot_read(&path, &e))?;
        let meta = file.metadata().map_err(|e| cannot_read(&path, &e))?;
        let mut header = tar::Header::new_gnu();
        header.set_size(meta.len());
        header.set_mode(if meta.permissions().mode() & 0o111 == 0 { 0o644 } else { 0o755 });
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        tar.append_data(&mut header, &name, &mut file).map_err(|e| write(&e))?;
    }
    let file = tar.into_inner().and_then(zstd::Encoder::finish).map_err(|e| write(&e))?;
    file.sync_all().map_err(|e| write(&e))?;
    fs::rename(&partial, out).map_err(|e| cannot_write(out, &e))?;
    Ok(fs::metadata(out).map_err(|e| cannot_read(out, &e))?.len())
}

/// Unpacks an archive into the folder `into`. Everybody may read what is unpacked, whatever the umask.
///
/// # Errors
/// `machine` when it cannot be written; `failed` when the archive is damaged.
pub fn unpack(archive: &[u8], into: &Path) -> Result<(), Problem> {
    let damaged =
        |e: io::Error| Problem::new(Kind::Failed, "the embedded PostgreSQL is damaged").detail(e.to_string());
    let mut tar = tar::Archive::new(zstd::Decoder::new(archive).map_err(damaged)?);
    for entry in tar.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let name = entry.path().map_err(damaged)?.into_owned();
        let mode = entry.header().mode().unwrap_or(0o644);
        make_parents(into, &name)?;
        let path = into.join(&name);
        let mut out = File::create_new(&path).map_err(|e| cannot_write(&path, &e))?;
        io::copy(&mut entry, &mut out).map_err(|e| cannot_write(&path, &e))?;
        out.set_permissions(fs::Permissions::from_mode(mode & 0o755)).map_err(|e| cannot_write(&path, &e))?;
    }
    Ok(())
}

/// All files below `root`, relative to it, sorted.
fn files_below(root: &Path) -> io::Result<Vec<PathBuf>> {
    fn walk(root: &Path, dir: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.is_dir() {
                walk(root, &path, found)?;
            } else if let Ok(relative) = path.strip_prefix(root) {
                found.push(relative.to_owned());
            }
        }
        Ok(())
    }
    let mut found = Vec::new();
    walk(root, root, &mut found)?;
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_out_again_with_its_executable_bits_and_the_same_bytes_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("from");
        fs::create_dir_all(from.join("bin")).unwrap();
        fs::write(from.join("bin/postgres"), "program").unwrap();
        fs::set_permissions(from.join("bin/postgres"), fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(from.join("data"), "data").unwrap();
        let (one, two) = (dir.path().join("one.tar.zst"), dir.path().join("two.tar.zst"));
        pack(&from, &one).unwrap();
        pack(&from, &two).unwrap();
        assert_eq!(fs::read(&one).unwrap(), fs::read(&two).unwrap());

        let into = dir.path().join("into");
        fs::create_dir(&into).unwrap();
        unpack(&fs::read(&one).unwrap(), &into).unwrap();
        assert_eq!(fs::read(into.join("bin/postgres")).unwrap(), b"program");
        let mode = |name: &str| fs::metadata(into.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("bin/postgres"), mode("data")), (0o755, 0o644));
    }

    #[test]
    fn a_damaged_archive_is_one_clear_problem() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(unpack(b"not an archive", dir.path()).unwrap_err().kind, Kind::Failed);
    }
}
