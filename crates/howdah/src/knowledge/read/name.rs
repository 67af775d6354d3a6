//! What is a file's document called?
//!
//! The name of a document must not depend on where somebody stood when it was loaded, or the same file would be two
//! documents. So a file is its path from the *base*, the directory of the declaration, and a file elsewhere its absolute
//! path. Links to directories are resolved first, and so are `.` and `..`: whichever way leads to a file, its name is one.
//! The file itself may be a link: each entry of a directory is a document of its own, whatever it leads to.
//!
//! A declared path inside the base that is a link to a directory outside keeps its declared name, from wherever it is
//! loaded: what it is called is then the declaration's business, not the machine's.

use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

/// Gives files their names.
#[derive(Debug, Clone)]
pub struct Naming {
    base: PathBuf,
    /// Directories elsewhere, and how what is in them is called.
    links: Vec<(PathBuf, String)>,
    /// The directory asked for last, and what it is without links.
    last: Option<(PathBuf, PathBuf)>,
}

impl Naming {
    /// Names from `base`. `declared` are the paths that the declaration names, as it names them.
    pub fn new(base: &Path, declared: &[String]) -> Self {
        let real = resolved(base);
        let mut links = Vec::new();
        for path in declared {
            let wanted = Path::new(path);
            let inside =
                wanted.components().all(|part| matches!(part, Component::CurDir | Component::Normal(_)));
            let there = resolved(&base.join(wanted));
            if inside && there.is_dir() && !there.starts_with(&real) {
                links.extend(joined(wanted).map(|name| (there, name)));
            }
        }
        Naming { base: real, links, last: None }
    }

    /// The name of a file; none when it is not valid UTF-8.
    pub fn file(&mut self, path: &Path) -> Option<String> {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
            return self.name(&absolute);
        };
        let directory = match &self.last {
            Some((asked, real)) if asked == parent => real.clone(),
            _ => {
                let real = resolved(parent);
                self.last = Some((parent.to_owned(), real.clone()));
                real
            }
        };
        self.name(&directory.join(name))
    }

    /// The name of a file that somebody typed, whose case the file system may have overlooked.
    pub fn typed(&mut self, path: &Path) -> Option<String> {
        let Some((parent, name)) = path.parent().zip(path.file_name()) else { return self.file(path) };
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        self.file(&parent.join(as_listed(parent, name)))
    }

    /// The name of a directory: empty for the base itself.
    pub fn directory(&self, path: &Path) -> Option<String> {
        self.name(&resolved(path))
    }

    fn name(&self, real: &Path) -> Option<String> {
        if let Ok(rest) = real.strip_prefix(&self.base) {
            return joined(rest);
        }
        for (there, name) in &self.links {
            if let Ok(rest) = real.strip_prefix(there) {
                let rest = joined(rest)?;
                return Some(if rest.is_empty() { name.clone() } else { format!("{name}/{rest}") });
            }
        }
        joined(real)
    }
}

/// A path without links, `.` and `..`, each part as the directory lists it; what is not there is left as it is.
fn resolved(path: &Path) -> PathBuf {
    let Ok(real) = path.canonicalize() else {
        return std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    };
    // Where file systems tell case apart, this is what it was.
    let mut listed = PathBuf::new();
    for part in real.components() {
        match part {
            Component::Normal(name) => {
                let name = as_listed(&listed, name);
                listed.push(name);
            }
            other => listed.push(other),
        }
    }
    listed
}

/// How a directory lists an entry that was found under `name`.
fn as_listed(directory: &Path, name: &OsStr) -> OsString {
    if !may_overlook_case(directory, name) {
        return name.to_owned();
    }
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.file_name());
    choose(entries, name)
}

/// Whether the same entry is found under a name in other case: only then a listing is worth its time.
fn may_overlook_case(directory: &Path, name: &OsStr) -> bool {
    let Some(text) = name.to_str() else { return false };
    let swapped: String = text
        .chars()
        .map(|c| if c.is_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() })
        .collect();
    swapped != text && std::fs::symlink_metadata(directory.join(swapped)).is_ok()
}

/// The entry of exactly this name, else the only one that differs from it in case alone.
fn choose(entries: impl Iterator<Item = OsString>, name: &OsStr) -> OsString {
    let lower = |name: &OsStr| name.to_string_lossy().to_lowercase();
    let alike: Vec<OsString> = entries.filter(|entry| lower(entry) == lower(name)).collect();
    match alike.as_slice() {
        [only] => only.clone(),
        _ => name.to_owned(),
    }
}

/// The parts of a path with `/` between them, without `.`.
fn joined(path: &Path) -> Option<String> {
    let mut name = String::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::RootDir => name.push('/'),
            other => {
                if !name.is_empty() && !name.ends_with('/') {
                    name.push('/');
                }
                name.push_str(other.as_os_str().to_str()?);
            }
        }
    }
    Some(name)
}

/// Names that a file may have had by older rules: from any directory above it, which is each end of its absolute path.
/// Leading `../` are to be left out of a name before it is looked for among these.
pub fn older_names(absolute: &Path) -> Vec<String> {
    let parts: Vec<&str> = absolute.iter().filter_map(OsStr::to_str).filter(|part| *part != "/").collect();
    let mut names: Vec<String> = (0..parts.len()).map(|from| parts[from..].join("/")).collect();
    names.extend(joined(absolute));
    names
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn whichever_way_leads_to_a_file_its_name_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let (base, elsewhere) = (dir.path().join("project"), dir.path().join("elsewhere"));
        fs::create_dir_all(base.join("docs/deep")).unwrap();
        fs::create_dir_all(&elsewhere).unwrap();
        for file in ["docs/a.md", "docs/deep/b.md"] {
            fs::write(base.join(file), "x").unwrap();
        }
        fs::write(elsewhere.join("c.md"), "x").unwrap();
        symlink(&base, dir.path().join("link")).unwrap();
        symlink(base.join("docs/deep"), base.join("short")).unwrap();
        symlink(&elsewhere, base.join("shared")).unwrap();
        symlink(base.join("docs/a.md"), base.join("docs/same.md")).unwrap();
        for seen_from in [&base, &dir.path().join("link")] {
            let mut naming = Naming::new(seen_from, &["shared".into(), "../elsewhere".into()]);
            let mut name = |path: &str| naming.file(&dir.path().join(path)).unwrap();
            for (path, expected) in [
                ("project/docs/a.md", "docs/a.md"),
                ("project/./docs//a.md", "docs/a.md"),
                ("project/docs/deep/../a.md", "docs/a.md"),
                ("link/docs/a.md", "docs/a.md"),
                ("project/short/b.md", "docs/deep/b.md"),
                ("project/docs/same.md", "docs/same.md"),
                ("project/shared/c.md", "shared/c.md"),
                ("elsewhere/c.md", "shared/c.md"),
            ] {
                assert_eq!(name(path), expected, "{path}");
            }
            assert_eq!(naming.directory(&base).unwrap(), "");
            assert_eq!(naming.directory(&elsewhere).unwrap(), "shared");
        }
        let real = elsewhere.canonicalize().unwrap().join("c.md");
        let undeclared = Naming::new(&base, &[]).file(&base.join("shared/c.md"));
        assert_eq!(undeclared.as_deref(), real.to_str(), "a file elsewhere has its absolute path");
    }

    #[test]
    fn case_is_as_the_directory_lists_it() {
        let entries = |names: &[&str]| names.iter().map(OsString::from).collect::<Vec<_>>().into_iter();
        assert_eq!(choose(entries(&["a.md", "b.md"]), OsStr::new("A.MD")), "a.md");
        assert_eq!(choose(entries(&["a.md", "A.md"]), OsStr::new("A.md")), "A.md");
        assert_eq!(choose(entries(&["b.md"]), OsStr::new("a.md")), "a.md");
    }

    #[test]
    fn older_names_are_the_ends_of_the_path() {
        let names = older_names(Path::new("/home/me/docs/a.md"));
        assert_eq!(names, ["home/me/docs/a.md", "me/docs/a.md", "docs/a.md", "a.md", "/home/me/docs/a.md"]);
    }
}
