//! The configuration files that Howdah writes.
//!
//! `postgresql.conf` stays initdb's, with one line added that includes `howdah.conf`; that file is Howdah's alone and is
//! written anew from the declaration. `ALTER SYSTEM` still wins over both.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use howdah_plan::problem::Problem;

use super::Instance;
use crate::user::cannot_write;

/// File name of the managed settings, in the data directory.
pub(super) const MANAGED: &str = "howdah.conf";

impl Instance {
    /// Writes the managed settings (name and value). Returns whether they differ from those before; a running server
    /// takes them with a reload, or a restart where a setting needs one.
    ///
    /// # Errors
    /// `machine` when the file cannot be written.
    pub fn configure<'a>(
        &self,
        settings: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<bool, Problem> {
        let path = self.layout.data.join(MANAGED);
        let text = render(settings);
        if fs::read_to_string(&path).is_ok_and(|before| before == text) {
            return Ok(false);
        }
        self.write_as_server(&path, &text)?;
        Ok(true)
    }

    /// Writes a file of the data directory, whole or not at all, owned by the server's user.
    pub(super) fn write_as_server(&self, path: &Path, text: &str) -> Result<(), Problem> {
        let partial = path.with_extension("partial");
        let _ = fs::remove_file(&partial);
        let write = || {
            use std::os::unix::fs::OpenOptionsExt;
            let mut file: File =
                fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        };
        write().map_err(|e| cannot_write(path, &e))?;
        self.user.own(&partial)?;
        fs::rename(&partial, path).map_err(|e| cannot_write(path, &e))
    }
}

fn render<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut text =
        String::from("# Written by Howdah from the declaration. Change `howdah.toml`, not this file.\n");
    for (name, value) in settings {
        text.push_str(&format!("{name} = {}\n", quote(value)));
    }
    text
}

/// A value of a configuration file, always quoted.
fn quote(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "''").replace('\n', " "))
}

/// The line that makes `postgresql.conf` read the managed file.
pub(super) fn include_line() -> String {
    format!("\n# Howdah's settings, after all of the above.\ninclude_if_exists = '{MANAGED}'\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_break_out_of_its_quotes() {
        assert_eq!(quote("on"), "'on'");
        assert_eq!(quote("it's \\ here\nport = 1"), "'it''s \\\\ here port = 1'");
    }
}
