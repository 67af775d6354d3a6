//! How do the files of Howdah's own extension get into a portable server?
//!
//! They are built apart (`scripts/extension.sh`) and come as a folder or as a packed archive in the binary. Installed, they
//! stand where PostgreSQL looks: the library in `$libdir`, control file and scripts in `extension/` of its data. Each file
//! takes its name only when it is whole, since a server may be running, and a note of what was installed is written last:
//! whoever finds the note with the right hash has nothing to do. Only folders that Howdah unpacked itself are written to.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use howdah_plan::hex;
use howdah_plan::problem::{Kind, Problem};
use sha2::{Digest, Sha256};

use crate::archive;
use crate::fetch::{cannot_read, cannot_write};

/// Name of the extension, of its library and of its access method.
pub const NAME: &str = "howdah";
/// Most bytes of one file that are believed.
const MOST: u64 = 256 << 20;
/// The note of what is installed, beside the control file.
const NOTE: &str = ".howdah.installed";

/// File name of the packed extension for a major and a platform.
pub fn file_name(major: u32, os: &str, arch: &str) -> String {
    format!("howdah-extension-{major}-{os}-{arch}.tar.zst")
}

/// The extension's files, whole and in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// Name and bytes, sorted by name.
    files: Vec<(String, Vec<u8>)>,
    /// The version that `CREATE EXTENSION` installs.
    pub version: String,
    /// SHA-256 over names and bytes, in lower case hexadecimal.
    pub hash: String,
}

impl Files {
    /// Reads them from a folder; `None` when it has no control file of the extension.
    ///
    /// # Errors
    /// `machine` when a file cannot be read; `failed` when one is missing.
    pub fn in_directory(dir: &Path) -> Result<Option<Files>, Problem> {
        if !dir.join(format!("{NAME}.control")).is_file() {
            return Ok(None);
        }
        let mut files = Vec::new();
        for entry in fs::read_dir(dir).map_err(|e| cannot_read(dir, &e))? {
            let path = entry.map_err(|e| cannot_read(dir, &e))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if Part::of(&name).is_some() {
                files.push((name, fs::read(&path).map_err(|e| cannot_read(&path, &e))?));
            }
        }
        Files::whole(files, &dir.display().to_string()).map(Some)
    }

    /// Reads them from what [`Files::pack`] wrote.
    ///
    /// # Errors
    /// `failed` when the archive is damaged or a file is missing.
    pub fn in_archive(bytes: &[u8]) -> Result<Files, Problem> {
        let damaged = |e: io::Error| {
            Problem::new(Kind::Failed, "the packed extension is damaged").detail(e.to_string())
        };
        let mut tar = tar::Archive::new(zstd::Decoder::new(bytes).map_err(damaged)?);
        let mut files = Vec::new();
        for entry in tar.entries().map_err(damaged)? {
            let entry = entry.map_err(damaged)?;
            let name = entry.path().map_err(damaged)?.to_string_lossy().into_owned();
            if Part::of(&name).is_some() {
                let mut bytes = Vec::new();
                entry.take(MOST).read_to_end(&mut bytes).map_err(damaged)?;
                files.push((name, bytes));
            }
        }
        Files::whole(files, "the packed extension")
    }

    /// Packs them into the file `out`, unless it is what would be written. Returns whether it was written.
    ///
    /// # Errors
    /// `machine` when it cannot be written.
    pub fn pack(&self, out: &Path) -> Result<bool, Problem> {
        if fs::read(out).is_ok_and(|bytes| Files::in_archive(&bytes).is_ok_and(|packed| packed == *self)) {
            return Ok(false);
        }
        let folder = out.with_extension("files");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).map_err(|e| cannot_write(&folder, &e))?;
        for (name, bytes) in &self.files {
            let path = folder.join(name);
            fs::write(&path, bytes).map_err(|e| cannot_write(&path, &e))?;
        }
        let packed = archive::pack(&folder, out);
        let _ = fs::remove_dir_all(&folder);
        packed.map(|_| true)
    }

    /// Installs them into an unpacked server with these folders (`$libdir` and its data). Returns `false` when they are
    /// there already. The caller sees to it that nobody else installs into the same folders meanwhile.
    ///
    /// # Errors
    /// `machine` when something cannot be written.
    pub fn install(&self, libdir: &Path, sharedir: &Path) -> Result<bool, Problem> {
        if self.installed(libdir, sharedir) {
            return Ok(false);
        }
        let (scripts, note) = (sharedir.join("extension"), sharedir.join("extension").join(NOTE));
        // Whatever happens from here on, nobody takes what is there for whole.
        match fs::remove_file(&note) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(cannot_write(&note, &e)),
            _ => {}
        }
        let mut in_order: Vec<&(String, Vec<u8>)> = self.files.iter().collect();
        in_order.sort_by_key(|(name, _)| Part::of(name));
        for (name, bytes) in in_order {
            let path = place(name, libdir, &scripts);
            put(&path, bytes, if Part::of(name) == Some(Part::Library) { 0o755 } else { 0o644 })?;
        }
        self.remove_old_scripts(&scripts)?;
        put(&note, self.hash.as_bytes(), 0o644)?;
        Ok(true)
    }

    /// Whether exactly these files are installed.
    pub fn installed(&self, libdir: &Path, sharedir: &Path) -> bool {
        let scripts = sharedir.join("extension");
        fs::read_to_string(scripts.join(NOTE)).is_ok_and(|hash| hash == self.hash)
            && self.files.iter().all(|(name, bytes)| {
                let there = fs::metadata(place(name, libdir, &scripts));
                there.is_ok_and(|meta| meta.is_file() && meta.len() == bytes.len() as u64)
            })
    }

    fn whole(mut files: Vec<(String, Vec<u8>)>, place: &str) -> Result<Files, Problem> {
        files.sort();
        let version = files
            .iter()
            .find(|(name, _)| Part::of(name) == Some(Part::Control))
            .and_then(|(_, bytes)| version_in(&String::from_utf8_lossy(bytes)));
        let script = format!("{NAME}--{}.sql", version.as_deref().unwrap_or("<version>"));
        let library = files.iter().any(|(name, _)| Part::of(name) == Some(Part::Library));
        let scripted = files.iter().any(|(name, _)| *name == script);
        let (Some(version), true, true) = (version, library, scripted) else {
            return Err(Problem::new(Kind::Failed, format!("the extension in `{place}` is not whole"))
                .detail(format!("it takes a library, `{NAME}.control` and `{script}`"))
                .hint("Build it again: `scripts/extension.sh`."));
        };
        let mut hasher = Sha256::new();
        for (name, bytes) in &files {
            hasher.update((name.len() as u64).to_le_bytes());
            hasher.update(name);
            hasher.update((bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        }
        let hash = hex::encode(&hasher.finalize());
        Ok(Files { files, version, hash })
    }

    /// Scripts of versions that these files no longer have.
    fn remove_old_scripts(&self, scripts: &Path) -> Result<(), Problem> {
        for entry in fs::read_dir(scripts).map_err(|e| cannot_read(scripts, &e))? {
            let path = entry.map_err(|e| cannot_read(scripts, &e))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let ours = self.files.iter().any(|(known, _)| *known == name);
            if Part::of(&name) == Some(Part::Script) && !ours {
                fs::remove_file(&path).map_err(|e| cannot_write(&path, &e))?;
            }
        }
        Ok(())
    }
}

/// What a file of the extension is, in the order of installing: the control file, which makes the rest be seen, last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Library,
    Script,
    Control,
}

impl Part {
    fn of(name: &str) -> Option<Part> {
        let rest = name.strip_prefix(NAME)?;
        match rest {
            ".so" | ".dylib" => Some(Part::Library),
            ".control" => Some(Part::Control),
            _ if rest.starts_with("--") && rest.ends_with(".sql") && !rest.contains('/') => {
                Some(Part::Script)
            }
            _ => None,
        }
    }
}

fn place(name: &str, libdir: &Path, scripts: &Path) -> PathBuf {
    if Part::of(name) == Some(Part::Library) { libdir.join(name) } else { scripts.join(name) }
}

/// `default_version` of a control file.
pub fn version_in(control: &str) -> Option<String> {
    control.lines().find_map(|line| {
        let value = line.trim().strip_prefix("default_version")?.trim_start().strip_prefix('=')?;
        Some(value.trim().trim_matches('\'').to_owned())
    })
}

/// Writes a file beside its name and gives it the name when it is whole. A server that has the old one open keeps it.
fn put(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Problem> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let partial = path.with_file_name(format!(".{name}.partial"));
    let write = || {
        let mut file = File::create(&partial)?;
        file.write_all(bytes)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&partial, path)
    };
    write().map_err(|e| {
        let _ = fs::remove_file(&partial);
        cannot_write(path, &e)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Server {
        dir: tempfile::TempDir,
    }

    impl Server {
        fn new() -> Server {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir_all(dir.path().join("lib")).unwrap();
            fs::create_dir_all(dir.path().join("share/extension")).unwrap();
            fs::write(dir.path().join("share/extension/vector.control"), "not ours").unwrap();
            Server { dir }
        }

        fn install(&self, files: &Files) -> Result<bool, Problem> {
            files.install(&self.dir.path().join("lib"), &self.dir.path().join("share"))
        }

        fn names(&self) -> Vec<String> {
            let mut names = Vec::new();
            for below in ["lib", "share/extension"] {
                let entries = fs::read_dir(self.dir.path().join(below)).unwrap();
                names.extend(entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()));
            }
            names.sort();
            names
        }

        fn library(&self) -> String {
            fs::read_to_string(self.dir.path().join("lib/howdah.so")).unwrap()
        }
    }

    fn files(version: &str, library: &str) -> Files {
        let files = vec![
            ("howdah.so".to_owned(), library.into()),
            ("howdah.control".to_owned(), format!("default_version = '{version}'\n").into()),
            (format!("howdah--{version}.sql"), b"SELECT 1".to_vec()),
        ];
        Files::whole(files, "here").unwrap()
    }

    #[test]
    fn files_are_installed_once_and_newer_ones_take_their_place() {
        let server = Server::new();
        let old = files("0.1.0", "old");
        assert!(server.install(&old).unwrap());
        assert!(!server.install(&old).unwrap(), "nothing to do");
        assert!(server.install(&files("0.1.0", "new")).unwrap(), "same version, other bytes");
        assert_eq!(server.library(), "new");
        assert!(server.install(&files("0.2.0", "newer")).unwrap());
        let names =
            [".howdah.installed", "howdah--0.2.0.sql", "howdah.control", "howdah.so", "vector.control"];
        assert_eq!(server.names(), names);
        assert!(server.install(&old).unwrap(), "an older binary brings its own");
        assert_eq!(server.library(), "old");
    }

    #[test]
    fn what_is_open_keeps_its_bytes_and_what_is_missing_comes_back() {
        let server = Server::new();
        server.install(&files("0.1.0", "old")).unwrap();
        let path = server.dir.path().join("lib/howdah.so");
        let mut open = File::open(&path).unwrap();
        server.install(&files("0.1.0", "new")).unwrap();
        let mut seen = String::new();
        open.read_to_string(&mut seen).unwrap();
        assert_eq!(seen, "old", "a running server maps the file it opened");
        fs::remove_file(&path).unwrap();
        assert!(server.install(&files("0.1.0", "new")).unwrap());
        assert_eq!(server.library(), "new");
    }

    #[test]
    fn an_install_that_broke_off_is_never_taken_for_whole() {
        let server = Server::new();
        let (old, new) = (files("0.1.0", "old"), files("0.2.0", "new"));
        server.install(&old).unwrap();
        // A folder in the place of the control file: the last of the files cannot take its name.
        let control = server.dir.path().join("share/extension/howdah.control");
        fs::remove_file(&control).unwrap();
        fs::create_dir_all(control.join("in the way")).unwrap();
        assert_eq!(server.install(&new).unwrap_err().kind, Kind::Machine);
        assert_eq!(server.library(), "new");
        fs::remove_dir_all(&control).unwrap();
        assert!(server.install(&old).unwrap(), "the note of the old files is gone as well");
        assert_eq!(server.library(), "old");
        assert!(server.names().iter().all(|name| !name.ends_with(".partial")), "{:?}", server.names());
    }

    #[test]
    fn a_folder_and_its_archive_hold_the_same() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Files::in_directory(dir.path()).unwrap(), None);
        fs::write(dir.path().join("howdah.control"), "default_version = '0.1.0'").unwrap();
        fs::write(dir.path().join("howdah.so"), "library").unwrap();
        fs::write(dir.path().join("something.else"), "").unwrap();
        let problem = Files::in_directory(dir.path()).unwrap_err();
        assert!(problem.detail.unwrap().contains("`howdah--0.1.0.sql`"));
        fs::write(dir.path().join("howdah--0.1.0.sql"), "").unwrap();
        let files = Files::in_directory(dir.path()).unwrap().unwrap();
        let out = dir.path().join(file_name(18, "linux", "x86_64"));
        assert!(files.pack(&out).unwrap());
        assert!(!files.pack(&out).unwrap(), "the same bytes are not written again");
        assert_eq!(Files::in_archive(&fs::read(&out).unwrap()).unwrap(), files);
        assert_eq!(Files::in_archive(b"nonsense").unwrap_err().kind, Kind::Failed);
    }
}
