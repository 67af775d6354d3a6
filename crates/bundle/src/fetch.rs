//! How does a pinned wheel get onto this machine?
//!
//! Through `pip download`, the package index's ordinary client, so that mirrors, proxies and credentials configured
//! there hold here too. A directory named by `HOWDAH_DOWNLOADS` is looked into first. The file is checked against its
//! pin before it gets its name: what stands in the downloads directory is whole and right.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use howdah_plan::hex;
use howdah_plan::problem::{Kind, Problem};
use sha2::{Digest, Sha256};

use crate::pins::WheelPin;

/// Directory with wheels that are there already; its subdirectories are looked into as well.
pub const DOWNLOADS_VARIABLE: &str = "HOWDAH_DOWNLOADS";

/// Ways to call pip, in order.
const PIPS: [&[&str]; 4] = [&["python3", "-m", "pip"], &["python", "-m", "pip"], &["pip3"], &["pip"]];

/// Returns the path of the pinned wheel in `downloads`, fetching it when it is not there.
///
/// # Errors
/// `machine` when python3 or pip is missing, the disk is full or the directory cannot be written; `unreachable` when the
/// package index does not answer; `failed` when the hash differs or pip fails otherwise.
pub fn wheel(downloads: &Path, pin: &WheelPin) -> Result<PathBuf, Problem> {
    wheel_with(downloads, pin, std::env::var_os(DOWNLOADS_VARIABLE).as_deref(), &PIPS)
}

fn wheel_with(
    downloads: &Path,
    pin: &WheelPin,
    cache: Option<&OsStr>,
    pips: &[&[&str]],
) -> Result<PathBuf, Problem> {
    fs::create_dir_all(downloads).map_err(|e| cannot_write(downloads, &e))?;
    let _lock = lock(&downloads.join(".lock"))?;
    let target = downloads.join(pin.file);
    if target.is_file() && sha256(&target).map_err(|e| cannot_read(&target, &e))? == pin.sha256 {
        return Ok(target);
    }
    if let Some(found) = cache.and_then(|dir| in_cache(Path::new(dir), pin)) {
        return Ok(found);
    }
    let partial = downloads.join(format!(".partial-{}", pin.package));
    let _ = fs::remove_dir_all(&partial);
    fs::create_dir_all(&partial).map_err(|e| cannot_write(&partial, &e))?;
    let fetched = download(&partial, pin, pips).and_then(|()| check(&partial.join(pin.file), pin));
    let moved = fetched
        .and_then(|()| fs::rename(partial.join(pin.file), &target).map_err(|e| cannot_write(&target, &e)));
    let _ = fs::remove_dir_all(&partial);
    moved.map(|()| target)
}

/// Waits for the lock file at `path`; it is released when the returned file is dropped.
///
/// # Errors
/// `machine` when the file cannot be made or locked.
pub fn lock(path: &Path) -> Result<File, Problem> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(|e| cannot_write(path, &e))?;
    file.lock().map_err(|e| cannot_write(path, &e))?;
    Ok(file)
}

/// SHA-256 of a file, in lower case hexadecimal.
///
/// # Errors
/// When the file cannot be read.
pub fn sha256(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0_u8; 1 << 16];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(hex::encode(&hasher.finalize()));
        }
        hasher.update(&buffer[..read]);
    }
}

fn in_cache(dir: &Path, pin: &WheelPin) -> Option<PathBuf> {
    let below = fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path()).filter(|path| path.is_dir());
    std::iter::once(dir.to_owned())
        .chain(below)
        .map(|dir| dir.join(pin.file))
        .find(|path| path.is_file() && sha256(path).is_ok_and(|hash| hash == pin.sha256))
}

fn download(into: &Path, pin: &WheelPin, pips: &[&[&str]]) -> Result<(), Problem> {
    let mut tried = Vec::new();
    for pip in pips {
        let Some((program, prefix)) = pip.split_first() else { continue };
        let mut command = Command::new(program);
        command.args(prefix).args([
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary=:all:",
            "--disable-pip-version-check",
            "--no-input",
            "--timeout=30",
            "--retries=2",
            "--python-version=3.11",
            "--implementation=cp",
        ]);
        if let Some(platform) = pin.platform {
            command.arg(format!("--platform={platform}"));
        }
        command.arg("--dest").arg(into).arg(format!("{}=={}", pin.package, pin.version));
        match command.stdin(Stdio::null()).output() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                tried.push(format!("`{program}` is not installed"))
            }
            Err(e) => tried.push(format!("`{program}` does not start: {e}")),
            Ok(output) if output.status.success() => return Ok(()),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                if said.contains("No module named pip") {
                    tried.push(format!("`{program}` has no module `pip`"));
                } else {
                    return Err(pip_failed(pin, &said));
                }
            }
        }
    }
    Err(Problem::new(Kind::Machine, format!("`pip` is needed to fetch `{}` and is not there", pin.package))
        .detail(tried.join("; "))
        .hint(format!(
            "Install it (`apt-get install python3-pip`, `dnf install python3-pip`, `brew install python`), or put \
             `{}` into a directory and name that in {DOWNLOADS_VARIABLE}.",
            pin.file
        )))
}

/// What pip said, as a problem.
fn pip_failed(pin: &WheelPin, said: &str) -> Problem {
    const NETWORK: [&str; 8] = [
        "Failed to establish a new connection",
        "Temporary failure in name resolution",
        "Name or service not known",
        "Connection refused",
        "Network is unreachable",
        "Read timed out",
        "ConnectTimeout",
        "ProxyError",
    ];
    const FULL: [&str; 2] = ["No space left on device", "[Errno 28]"];
    let what = format!("{} {}", pin.package, pin.version);
    let facts = last_lines(said, 3);
    if FULL.iter().any(|sign| said.contains(sign)) {
        return Problem::new(Kind::Machine, format!("the disk is full while fetching `{what}`"))
            .detail(facts)
            .hint(format!(
                "Free {} MB, or set HOWDAH_HOME to a directory on a larger disk.",
                pin.bytes.div_ceil(1_000_000) * 3
            ));
    }
    if NETWORK.iter().any(|sign| said.contains(sign)) {
        return Problem::new(Kind::Unreachable, format!("the package index does not answer for `{what}`"))
            .detail(facts)
            .hint(format!(
                "Check the network (`python3 -m pip download --no-deps {}`), or fetch `{}` elsewhere and name its \
                 directory in {DOWNLOADS_VARIABLE}.",
                pin.package, pin.file
            ));
    }
    Problem::new(Kind::Failed, format!("`pip` cannot fetch `{what}`"))
        .detail(facts)
        .hint(format!("Fetch `{}` elsewhere and name its directory in {DOWNLOADS_VARIABLE}.", pin.file))
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join(" | ")
}

fn check(path: &Path, pin: &WheelPin) -> Result<(), Problem> {
    if !path.is_file() {
        return Err(Problem::new(Kind::Failed, format!("`pip` fetched another file than `{}`", pin.file))
            .hint("Check which mirror pip is configured to use: `python3 -m pip config list`."));
    }
    let hash = sha256(path).map_err(|e| cannot_read(path, &e))?;
    if hash == pin.sha256 {
        return Ok(());
    }
    Err(Problem::new(Kind::Failed, format!("the fetched `{}` is not the pinned file", pin.file))
        .detail(format!("SHA-256 is {hash}, pinned is {}", pin.sha256))
        .hint("Nothing was kept. Check which mirror pip is configured to use (`python3 -m pip config list`) and try again."))
}

pub(crate) fn cannot_read(path: &Path, error: &io::Error) -> Problem {
    Problem::new(Kind::Machine, format!("cannot read `{}`", path.display())).detail(error.to_string())
}

pub(crate) fn cannot_write(path: &Path, error: &io::Error) -> Problem {
    let problem = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Problem::new(Kind::Machine, format!("the disk is full at `{}`", path.display()))
                .hint("Free some space, or set HOWDAH_HOME to a directory on a larger disk.")
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Problem::new(Kind::Machine, format!("cannot write `{}`", path.display()))
                .hint("Set HOWDAH_HOME to a directory that you may write.")
        }
        _ => Problem::new(Kind::Machine, format!("cannot write `{}`", path.display())),
    };
    problem.detail(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIN: WheelPin = WheelPin {
        package: "some-package",
        version: "1.0",
        file: "some_package-1.0-py3-none-any.whl",
        // of the four bytes "good"
        sha256: "770e607624d689265ca6c44884d0807d9b054d23c473c106c72be9de08b7376c",
        bytes: 4,
        platform: None,
    };

    fn fake_pip(dir: &Path, body: &str) -> String {
        use std::os::unix::fs::PermissionsExt;
        let path = dir.join("fake-pip");
        fs::write(&path, format!("#!/bin/sh\nwhile [ \"$1\" != --dest ]; do shift; done\ndest=$2\n{body}\n"))
            .unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn run(body: &str) -> (Result<PathBuf, Problem>, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let pip = fake_pip(dir.path(), body);
        let answer = wheel_with(&dir.path().join("downloads"), &PIN, None, &[&[pip.as_str()]]);
        (answer, dir)
    }

    #[test]
    fn a_right_file_is_kept_and_the_second_call_needs_no_pip() {
        let (answer, dir) = run(&format!("printf good > \"$dest/{}\"", PIN.file));
        let path = answer.unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"good");
        let again = wheel_with(&dir.path().join("downloads"), &PIN, None, &[]).unwrap();
        assert_eq!(again, path);
    }

    #[test]
    fn a_file_with_another_hash_is_refused_and_not_kept() {
        let (answer, dir) = run(&format!("printf evil > \"$dest/{}\"", PIN.file));
        let problem = answer.unwrap_err();
        assert_eq!(problem.kind, Kind::Failed);
        assert!(problem.detail.unwrap().contains("pinned is 770e60"));
        let left: Vec<_> = fs::read_dir(dir.path().join("downloads")).unwrap().flatten().collect();
        assert_eq!(left.len(), 1, "only the lock file: {left:?}");
    }

    #[test]
    fn a_damaged_file_in_the_downloads_is_fetched_again() {
        let dir = tempfile::tempdir().unwrap();
        let downloads = dir.path().join("downloads");
        fs::create_dir(&downloads).unwrap();
        fs::write(downloads.join(PIN.file), "half").unwrap();
        let pip = fake_pip(dir.path(), &format!("printf good > \"$dest/{}\"", PIN.file));
        let path = wheel_with(&downloads, &PIN, None, &[&[pip.as_str()]]).unwrap();
        assert_eq!(fs::read(path).unwrap(), b"good");
    }

    #[test]
    fn a_cache_is_looked_into_first_and_its_hash_is_checked_too() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("cache");
        fs::create_dir_all(cache.join("a")).unwrap();
        fs::create_dir_all(cache.join("b")).unwrap();
        fs::write(cache.join("a").join(PIN.file), "evil").unwrap();
        fs::write(cache.join("b").join(PIN.file), "good").unwrap();
        let path = wheel_with(&dir.path().join("downloads"), &PIN, Some(cache.as_os_str()), &[]).unwrap();
        assert_eq!(path, cache.join("b").join(PIN.file));
    }

    #[test]
    fn without_python_the_problem_names_what_to_install() {
        let dir = tempfile::tempdir().unwrap();
        let problem = wheel_with(dir.path(), &PIN, None, &[&["no-such-python3", "-m", "pip"]]).unwrap_err();
        assert_eq!(problem.kind, Kind::Machine);
        assert_eq!(problem.detail.as_deref(), Some("`no-such-python3` is not installed"));
        assert!(problem.hint.unwrap().contains("apt-get install python3-pip"));
    }

    #[test]
    fn python_without_pip_is_said_so() {
        let (answer, _dir) = run("echo '/usr/bin/python3: No module named pip' >&2; exit 1");
        let problem = answer.unwrap_err();
        assert_eq!(problem.kind, Kind::Machine);
        assert!(problem.detail.unwrap().ends_with("has no module `pip`"));
    }

    #[test]
    fn no_network_and_a_full_disk_are_told_apart() {
        let (answer, _dir) =
            run("echo 'Failed to establish a new connection: [Errno -3] Temporary failure' >&2; exit 1");
        assert_eq!(answer.unwrap_err().kind, Kind::Unreachable);
        let (answer, _dir) =
            run("echo 'ERROR: Could not install: [Errno 28] No space left on device' >&2; exit 1");
        let problem = answer.unwrap_err();
        assert_eq!(problem.kind, Kind::Machine);
        assert!(problem.message.contains("disk is full"), "{problem}");
    }
}
