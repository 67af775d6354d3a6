//! Which files are in a directory?
//!
//! Depth first, by name within a directory, so that the order is the same everywhere and only one listing a level is in
//! memory. Hidden files and directories are left out; links to directories are not followed, so a circle cannot arise.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Format;

/// A file found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its format, where its suffix says one.
    pub format: Option<Format>,
    /// Its size in bytes.
    pub bytes: u64,
}

/// Walks a directory.
pub struct Walk {
    levels: Vec<std::vec::IntoIter<PathBuf>>,
}

impl Walk {
    /// The files below `directory`.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub fn new(directory: &Path) -> io::Result<Self> {
        Ok(Walk { levels: vec![listing(directory)?] })
    }
}

impl Iterator for Walk {
    type Item = Result<FoundFile, (PathBuf, io::Error)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some(path) = self.levels.last_mut()?.next() else {
                self.levels.pop();
                continue;
            };
            match self.look(path) {
                Ok(Some(found)) => return Some(Ok(found)),
                Ok(None) => {}
                Err(failure) => return Some(Err(failure)),
            }
        }
    }
}

impl Walk {
    fn look(&mut self, path: PathBuf) -> Result<Option<FoundFile>, (PathBuf, io::Error)> {
        let own = match fs::symlink_metadata(&path) {
            Ok(own) => own,
            Err(e) => return Err((path, e)),
        };
        if own.is_dir() {
            return match listing(&path) {
                Ok(level) => {
                    self.levels.push(level);
                    Ok(None)
                }
                Err(e) => Err((path, e)),
            };
        }
        match fs::metadata(&path) {
            Ok(facts) if facts.is_file() => {
                Ok(Some(FoundFile { format: Format::of(&path), bytes: facts.len(), path }))
            }
            Ok(_) => Ok(None),
            Err(e) => Err((path, e)),
        }
    }
}

fn listing(directory: &Path) -> io::Result<std::vec::IntoIter<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            paths.push(entry.path());
        }
    }
    paths.sort();
    // The lines that go with a file of vectors are read with it, not by themselves.
    let vectors: Vec<PathBuf> = paths
        .iter()
        .filter(|path| path.extension().is_some_and(|s| s == "npy"))
        .map(|path| path.with_extension("jsonl"))
        .collect();
    paths.retain(|path| !vectors.contains(path));
    Ok(paths.into_iter())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_in_one_order_without_hidden_ones_and_circles() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b/2.md", "b/1.md", "a.txt", ".git/x.md", "z.bin", "v.npy", "v.jsonl", "w.jsonl"] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        std::os::unix::fs::symlink(dir.path(), dir.path().join("b/circle")).unwrap();
        let names: Vec<String> = Walk::new(dir.path())
            .unwrap()
            .map(|found| found.unwrap().path.strip_prefix(dir.path()).unwrap().display().to_string())
            .collect();
        assert_eq!(names, ["a.txt", "b/1.md", "b/2.md", "v.npy", "w.jsonl", "z.bin"]);
    }
}
