//! Which declaration is meant?
//!
//! The file named on the command line or in `HOWDAH_FILE`, else `howdah.toml` here or in the nearest directory above.

use std::path::{Path, PathBuf};

use howdah_plan::hex;
use howdah_plan::problem::{Kind, Problem};
use howdah_plan::spec::{Spec, read};
use sha2::{Digest, Sha256};

/// Name of the file that is looked for.
pub const FILE: &str = "howdah.toml";

/// A declaration and where it stands.
#[derive(Debug, Clone)]
pub struct Declaration {
    /// The file, absolute and without symbolic links.
    pub path: PathBuf,
    /// What it declares.
    pub spec: Spec,
    /// SHA-256 of its text, in hexadecimal.
    pub hash: String,
}

impl Declaration {
    /// Reads the declaration meant by `named`, or the nearest one.
    ///
    /// # Errors
    /// `usage` when there is none, and every mistake in it otherwise.
    pub fn find(named: Option<&Path>) -> Result<Self, Vec<Problem>> {
        let path = match named {
            Some(named) => named.to_owned(),
            None => nearest().map_err(|problem| vec![problem])?,
        };
        Declaration::read(&path)
    }

    /// Reads a declaration.
    ///
    /// # Errors
    /// `usage` when it cannot be read, and every mistake in it.
    pub fn read(path: &Path) -> Result<Self, Vec<Problem>> {
        let shown = shown(path);
        let text = std::fs::read_to_string(path).map_err(|error| {
            vec![
                Problem::new(Kind::Usage, format!("cannot read the declaration `{shown}`"))
                    .detail(error.to_string())
                    .hint("Run `howdah init` to write one, or name another with `--file`."),
            ]
        })?;
        let spec = read::from_str(&text, &shown)?;
        let path = path.canonicalize().map_err(|error| {
            vec![Problem::new(Kind::Usage, format!("cannot find `{shown}`")).detail(error.to_string())]
        })?;
        let hash = hex::encode(&Sha256::digest(text.as_bytes()));
        Ok(Declaration { path, spec, hash })
    }

    /// The directory it stands in.
    pub fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }
}

fn nearest() -> Result<PathBuf, Problem> {
    let here = std::env::current_dir().map_err(|error| {
        Problem::new(Kind::Usage, "the current directory is gone").detail(error.to_string())
    })?;
    here.ancestors().map(|directory| directory.join(FILE)).find(|path| path.is_file()).ok_or_else(|| {
        Problem::new(Kind::Usage, format!("there is no `{FILE}` here or above"))
            .detail(format!("looked from `{}` upwards", here.display()))
            .hint("Run `howdah init` to write one, or name one with `--file`.")
    })
}

/// The path as messages call it: below the current directory without that.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path).display().to_string()
}
