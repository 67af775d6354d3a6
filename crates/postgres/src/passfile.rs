//! Which password does libpq's password file have for a server?
//!
//! `PGPASSFILE`, or `passfile` of an address, or `~/.pgpass`: lines of `host:port:database:user:password`.

use std::path::{Path, PathBuf};

use super::address::Environment;
use super::{Host, Secret, Target};

/// Where servers have their sockets unless told otherwise; the password file calls them `localhost`.
pub(super) const SOCKET_DIRECTORIES: [&str; 3] = ["/var/run/postgresql", "/run/postgresql", "/tmp"];

/// Looks into the password file, which counts only when nobody else may read it.
pub(super) fn password(target: &Target, named: Option<&str>, environment: Environment<'_>) -> Option<Secret> {
    use std::os::unix::fs::MetadataExt;
    let path = named
        .map(PathBuf::from)
        .or_else(|| environment("HOME").map(|home| Path::new(&home).join(".pgpass")))?;
    let meta = std::fs::metadata(&path).ok()?;
    if meta.mode() & 0o077 != 0 {
        tracing::warn!("`{}` is ignored: others may read it; run `chmod 600` on it", path.display());
        return None;
    }
    password_in(&std::fs::read_to_string(&path).ok()?, target)
}

fn password_in(file: &str, target: &Target) -> Option<Secret> {
    let host = match &target.host {
        Host::Tcp(host) => host.clone(),
        Host::Socket(path) if SOCKET_DIRECTORIES.iter().any(|usual| path == Path::new(usual)) => {
            "localhost".into()
        }
        Host::Socket(path) => path.display().to_string(),
    };
    let wanted = [host, target.port.to_string(), target.database.clone(), target.user.clone()];
    file.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let fields = fields_of(line);
        let (password, keys) = fields.split_last()?;
        let fits = keys.len() == 4 && keys.iter().zip(&wanted).all(|(key, want)| key == "*" || key == want);
        fits.then(|| Secret::new(password.clone()))
    })
}

/// Splits at colons; a backslash takes the meaning from what follows.
fn fields_of(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c == ':' && fields.len() < 5 {
            fields.push(String::new());
            continue;
        }
        let taken = if c == '\\' { chars.next() } else { Some(c) };
        if let Some(field) = fields.last_mut() {
            field.extend(taken);
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_file_is_matched_field_by_field() {
        let target = Target::new(Host::Tcp("h".into()), 5432, "me", "d");
        let file = "# comment\nother:*:*:*:no\nh:5432:*:me:a\\:b:c\\\\d\n*:*:*:*:last\n";
        assert_eq!(password_in(file, &target).unwrap().expose(), "a:b:c\\d");
        assert!(password_in("h:1:d:me:x", &target).is_none());
        let socket = |path: &str| Target { host: Host::Socket(path.into()), ..target.clone() };
        let file = "localhost:*:*:*:usual\n/srv/run:*:*:*:own\n";
        assert_eq!(password_in(file, &socket("/tmp")).unwrap().expose(), "usual");
        assert_eq!(password_in(file, &socket("/srv/run")).unwrap().expose(), "own");
    }
}
