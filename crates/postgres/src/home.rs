//! Where does Howdah keep things on this machine?
//!
//! One directory: `HOWDAH_HOME`; without it `/var/lib/howdah` for root, and `$XDG_DATA_HOME/howdah` or
//! `~/.local/share/howdah` for everybody else.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use howdah_plan::problem::{Kind, Problem};

/// Environment variable that names the directory.
pub const HOME_VARIABLE: &str = "HOWDAH_HOME";

/// Howdah's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// The directory itself, absolute.
    pub root: PathBuf,
}

impl Home {
    /// The directory that the environment says. It need not exist yet.
    ///
    /// # Errors
    /// `usage` when neither HOWDAH_HOME nor HOME nor XDG_DATA_HOME is set.
    pub fn from_env() -> Result<Home, Problem> {
        Home::choose(|name| std::env::var_os(name), nix::unistd::geteuid().is_root())
    }

    /// Howdah's directory at `root`.
    pub fn at(root: impl Into<PathBuf>) -> Home {
        let root = root.into();
        Home { root: std::path::absolute(&root).unwrap_or(root) }
    }

    fn choose(variable: impl Fn(&str) -> Option<OsString>, root: bool) -> Result<Home, Problem> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(home) = set(HOME_VARIABLE) {
            return Ok(Home::at(home));
        }
        if root {
            return Ok(Home::at("/var/lib/howdah"));
        }
        let data = set("XDG_DATA_HOME")
            .filter(|path| path.is_absolute())
            .or_else(|| set("HOME").map(|home| home.join(".local/share")));
        data.map(|data| Home::at(data.join("howdah"))).ok_or_else(|| {
            Problem::new(Kind::Usage, "there is no place for Howdah's data")
                .detail("none of HOWDAH_HOME, XDG_DATA_HOME and HOME is set")
                .hint("Set HOWDAH_HOME to a directory that you may write.")
        })
    }

    /// Fetched files, whole and checked.
    pub fn downloads(&self) -> PathBuf {
        self.root.join("downloads")
    }

    /// Unpacked PostgreSQL servers.
    pub fn servers(&self) -> PathBuf {
        self.root.join("servers")
    }

    /// Unpacked models.
    pub fn models(&self) -> PathBuf {
        self.root.join("models")
    }

    /// All instances.
    pub fn instances(&self) -> PathBuf {
        self.root.join("instances")
    }

    /// Everything of the instance `name`. Characters that have no place in a file name become `_`.
    pub fn instance(&self, name: &str) -> PathBuf {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let name: String = name.chars().map(|c| if plain(c) { c } else { '_' }).collect();
        self.instances().join(if name.is_empty() { "_" } else { &name })
    }

    /// The path as text for messages.
    pub fn display(&self) -> std::path::Display<'_> {
        Path::display(&self.root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(variables: &[(&str, &str)], root: bool) -> Result<PathBuf, Problem> {
        let find = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v));
        Home::choose(find, root).map(|home| home.root)
    }

    #[test]
    fn the_environment_decides_and_root_has_a_place_of_its_own() {
        assert_eq!(choose(&[("HOWDAH_HOME", "/x"), ("HOME", "/h")], true).unwrap(), Path::new("/x"));
        assert_eq!(choose(&[("HOME", "/root")], true).unwrap(), Path::new("/var/lib/howdah"));
        assert_eq!(choose(&[("HOME", "/h")], false).unwrap(), Path::new("/h/.local/share/howdah"));
        assert_eq!(
            choose(&[("HOME", "/h"), ("XDG_DATA_HOME", "/d")], false).unwrap(),
            Path::new("/d/howdah")
        );
        assert_eq!(
            choose(&[("HOME", "/h"), ("XDG_DATA_HOME", "relative"), ("HOWDAH_HOME", "")], false).unwrap(),
            Path::new("/h/.local/share/howdah")
        );
        assert_eq!(choose(&[], false).unwrap_err().kind, Kind::Usage);
    }

    #[test]
    fn an_instance_name_cannot_leave_the_directory() {
        let home = Home::at("/x");
        assert_eq!(home.instance("../../etc"), Path::new("/x/instances/______etc"));
        assert_eq!(home.instance(""), Path::new("/x/instances/_"));
    }
}
