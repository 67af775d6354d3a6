//! Which files are in a directory?
//!
//! Depth first, by name within a directory, so that the order is the same everywhere and only one listing a level is in
//! memory. Hidden files and directories are left out. Links to directories are not followed, so a circle cannot arise;
//! they are found as passed over, like everything else that is not read.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use howdah_plan::problem::{Kind, Problem};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

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

/// Something in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A file to be read.
    File(FoundFile),
    /// Something that is not read, and why.
    Passed(PathBuf, Passed),
}

/// Why something in a directory is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passed {
    /// It was asked not to be.
    Unselected,
    /// It is a link to a directory.
    LinkToDirectory,
    /// It is neither a file nor a directory.
    NoFile,
    /// Its suffix says no format.
    NoFormat,
}

impl Passed {
    /// The reason, as people read it.
    pub fn reason(self, path: &Path) -> String {
        match self {
            Passed::Unselected => "left out by `--include` or `--exclude`".into(),
            Passed::LinkToDirectory => "a link to a directory, which is not followed".into(),
            Passed::NoFile => "neither a file nor a directory".into(),
            Passed::NoFormat => match path.extension().and_then(|suffix| suffix.to_str()) {
                Some(suffix) => format!("no format is known for the suffix `.{suffix}`"),
                None => "it has no suffix that says its format".into(),
            },
        }
    }
}

/// Which files of directories are read.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    include: Option<GlobSet>,
    exclude: GlobSet,
}

impl Selection {
    /// Files that match one of `include`, or all where there is none, and none of `exclude`. A pattern without `/` is for
    /// names in whatever directory, one with `/` for paths from the directory that is read.
    ///
    /// # Errors
    /// `usage` for what is no pattern.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self, Problem> {
        let include = if include.is_empty() { None } else { Some(globs("include", include)?) };
        Ok(Selection { include, exclude: globs("exclude", exclude)? })
    }

    fn takes(&self, below: &Path) -> bool {
        self.include.as_ref().is_none_or(|globs| globs.is_match(below)) && !self.exclude.is_match(below)
    }

    /// Whether a whole directory is left out.
    fn leaves_out(&self, below: &Path) -> bool {
        self.exclude.is_match(below)
    }
}

fn globs(flag: &str, patterns: &[String]) -> Result<GlobSet, Problem> {
    let wrong = |pattern: &str, error: globset::Error| {
        Problem::new(Kind::Usage, format!("`--{flag}` is no pattern: `{pattern}`"))
            .detail(error.kind().to_string())
            .hint("Write one as in `*.md`, `drafts/**` or `*.{md,txt}`.")
    };
    let mut all = GlobSetBuilder::new();
    for pattern in patterns {
        let trimmed = pattern.trim_end_matches('/');
        let anywhere = if trimmed.contains('/') { trimmed.to_owned() } else { format!("**/{trimmed}") };
        let glob = GlobBuilder::new(anywhere.trim_start_matches('/'))
            .literal_separator(true)
            .build()
            .map_err(|error| wrong(pattern, error))?;
        all.add(glob);
    }
    all.build().map_err(|error| wrong(&patterns.join(" "), error))
}

/// Walks a directory.
pub struct Walk {
    root: PathBuf,
    selection: Selection,
    levels: Vec<std::vec::IntoIter<PathBuf>>,
}

impl Walk {
    /// The files below `directory` that `selection` takes.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub fn new(directory: &Path, selection: Selection) -> io::Result<Self> {
        Ok(Walk { root: directory.to_owned(), selection, levels: vec![listing(directory)?] })
    }
}

impl Iterator for Walk {
    type Item = Result<Found, (PathBuf, io::Error)>;

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
    fn look(&mut self, path: PathBuf) -> Result<Option<Found>, (PathBuf, io::Error)> {
        let own = match fs::symlink_metadata(&path) {
            Ok(own) => own,
            Err(e) => return Err((path, e)),
        };
        let below = path.strip_prefix(&self.root).unwrap_or(&path);
        if own.is_dir() {
            if self.selection.leaves_out(below) {
                return Ok(Some(Found::Passed(path, Passed::Unselected)));
            }
            return match listing(&path) {
                Ok(level) => {
                    self.levels.push(level);
                    Ok(None)
                }
                Err(e) => Err((path, e)),
            };
        }
        let taken = self.selection.takes(below);
        let format = Format::of(&path);
        match fs::metadata(&path) {
            _ if !taken => Ok(Some(Found::Passed(path, Passed::Unselected))),
            Ok(facts) if facts.is_file() => {
                Ok(Some(Found::File(FoundFile { format, bytes: facts.len(), path })))
            }
            Ok(facts) if facts.is_dir() => Ok(Some(Found::Passed(path, Passed::LinkToDirectory))),
            Ok(_) => Ok(Some(Found::Passed(path, Passed::NoFile))),
            Err(e) if own.is_symlink() && e.kind() == io::ErrorKind::NotFound => {
                Err((path, io::Error::new(e.kind(), "it is a link to something that is not there")))
            }
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

    fn walked(dir: &Path, selection: Selection) -> (Vec<String>, Vec<(String, Passed)>) {
        let below = |path: &Path| path.strip_prefix(dir).unwrap().display().to_string();
        let (mut files, mut passed) = (Vec::new(), Vec::new());
        for found in Walk::new(dir, selection).unwrap() {
            match found.unwrap() {
                Found::File(found) => files.push(below(&found.path)),
                Found::Passed(path, why) => passed.push((below(&path), why)),
            }
        }
        (files, passed)
    }

    #[test]
    fn files_come_in_one_order_without_hidden_ones_and_circles() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b/2.md", "b/1.md", "a.txt", ".git/x.md", "z.bin", "v.npy", "v.jsonl", "w.jsonl"] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        std::os::unix::fs::symlink(dir.path(), dir.path().join("b/circle")).unwrap();
        let (files, passed) = walked(dir.path(), Selection::default());
        assert_eq!(files, ["a.txt", "b/1.md", "b/2.md", "v.npy", "w.jsonl", "z.bin"]);
        assert_eq!(passed, [("b/circle".to_owned(), Passed::LinkToDirectory)]);
    }

    #[test]
    fn patterns_choose_names_anywhere_and_paths_from_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.md", "a.txt", "drafts/b.md", "deep/drafts/c.md", "deep/d.md"] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        let files = |include: &[&str], exclude: &[&str]| {
            let owned = |patterns: &[&str]| patterns.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
            walked(dir.path(), Selection::new(&owned(include), &owned(exclude)).unwrap()).0
        };
        assert_eq!(files(&["*.md"], &[]), ["a.md", "deep/d.md", "deep/drafts/c.md", "drafts/b.md"]);
        assert_eq!(files(&["*.md"], &["drafts"]), ["a.md", "deep/d.md"]);
        assert_eq!(files(&[], &["drafts/**"]), ["a.md", "a.txt", "deep/d.md", "deep/drafts/c.md"]);
        assert_eq!(files(&["deep/*.md"], &[]), ["deep/d.md"]);
        assert_eq!(files(&["*.{txt,rst}"], &[]), ["a.txt"]);
        let wrong = Selection::new(&["[".into()], &[]).unwrap_err();
        assert!(wrong.message.contains("`--include`") && wrong.hint.is_some(), "{wrong}");
    }
}
