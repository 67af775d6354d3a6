//! Where does the instance of a declaration live?
//!
//! Beside the declaration stands `.howdah/instance.toml` with an id; the data are under Howdah's own directory. A clone of
//! the project elsewhere has no such file (it is never committed), so two clones are two instances. The file remembers
//! where the declaration stood: a copied directory whose original is still there gets an id of its own, a moved one keeps
//! the old. Where the directory cannot be written to, the id is a hash of the path.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use howdah_plan::hex;
use howdah_plan::problem::{Kind, Problem};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::declaration::{Declaration, FILE};
use crate::access::key::Key;
use crate::runtime::process::Identity;
use howdah_postgres::Secret;

/// How the name of a file with the steps of a start begins and ends.
const STEPS: &str = "start-";
const STEPS_END: &str = ".jsonl";

/// The directory of one instance, and its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceDirectory {
    /// The instance's id.
    pub id: String,
    /// The directory itself.
    pub path: PathBuf,
}

/// What a running server says of itself, in `daemon.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerRecord {
    /// The process.
    pub process: Identity,
    /// Version of Howdah it runs.
    pub version: String,
    /// SHA-256 of the program, so that a rebuilt one of the same version is another.
    pub program: String,
    /// SHA-256 of the declaration it was started with.
    pub declaration: String,
    /// Address of the REST face, `http://127.0.0.1:…`.
    pub rest: String,
    /// Address of the database without its password.
    pub database: String,
    /// Whether everything was loaded.
    pub ready: bool,
    /// Declared documents and records that could not be read.
    #[serde(default)]
    pub left_out: u64,
    /// Whether it was told to stop: it takes nothing new, and ends.
    #[serde(default)]
    pub stopping: bool,
}

/// The pointer beside the declaration.
#[derive(Debug, Serialize, Deserialize)]
struct Pointer {
    id: String,
    declaration: PathBuf,
}

impl InstanceDirectory {
    /// The directory of `declaration` among `instances`, without making anything.
    pub fn existing(declaration: &Declaration, instances: &Path) -> Option<Self> {
        let id = match read_pointer(&beside(declaration, INSTANCE.file)) {
            Some(pointer) if belongs(&pointer, declaration, INSTANCE.file) => pointer.id,
            Some(_) => return None,
            None => fallback_id(declaration),
        };
        let directory = instances.join(&id);
        directory.is_dir().then_some(InstanceDirectory { id, path: directory })
    }

    /// The directory of `declaration` among `instances`, made where it is missing.
    ///
    /// # Errors
    /// `machine` when the directory cannot be made.
    pub fn of(declaration: &Declaration, instances: &Path) -> Result<Self, Problem> {
        let id = remembered_id(declaration, &INSTANCE).unwrap_or_else(|| fallback_id(declaration));
        let directory = instances.join(&id);
        make_directory(&directory)?;
        Ok(InstanceDirectory { id, path: directory })
    }

    /// What the server wrote of itself, if it still runs.
    pub fn record(&self) -> Option<ServerRecord> {
        let text = fs::read_to_string(self.record_file()).ok()?;
        let running: ServerRecord = serde_json::from_str(&text).ok()?;
        running.process.is_alive().then_some(running)
    }

    /// Writes down what runs here.
    ///
    /// # Errors
    /// `machine` when it cannot be written.
    pub fn write_record(&self, running: &ServerRecord) -> Result<(), Problem> {
        let text = serde_json::to_string_pretty(running).unwrap_or_default();
        write_atomically(&self.record_file(), text.as_bytes(), 0o644)
    }

    /// Forgets what ran here.
    pub fn clear_record(&self) {
        // Already gone is as good.
        let _ = fs::remove_file(self.record_file());
        let _ = fs::remove_file(self.token_file());
    }

    /// Makes the token that only the owner of the files can read, anew for each start.
    ///
    /// # Errors
    /// `machine` when it cannot be written.
    pub fn make_token(&self) -> Result<Key, Problem> {
        let key = Key::random();
        write_atomically(&self.token_file(), key.reveal().as_bytes(), 0o600)?;
        Ok(key)
    }

    /// The token of the running server, if this user may read it.
    pub fn token(&self) -> Option<Key> {
        Key::parse(fs::read_to_string(self.token_file()).ok()?.trim())
    }

    /// The secret that the passwords of the service's roles follow from, made when first asked for.
    ///
    /// # Errors
    /// `machine` when it cannot be written or read.
    pub fn service_secret(&self) -> Result<Secret, Problem> {
        let path = self.path.join("service.secret");
        if !path.exists() {
            // Whole before it has its name, and the name is for the first: of two that make it at once both read one.
            let making = self.path.join(format!("service.secret.{}", uuid::Uuid::new_v4().simple()));
            write_atomically(&making, Secret::random().expose().as_bytes(), 0o600)?;
            let linked = fs::hard_link(&making, &path);
            let _ = fs::remove_file(&making);
            match linked {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(cannot("write", &path, &error));
                }
                _ => {}
            }
        }
        let text = fs::read_to_string(&path).map_err(|error| cannot("read", &path, &error))?;
        Ok(Secret::new(text.trim().to_owned()))
    }

    /// Writes another file of the instance, whole or not at all.
    ///
    /// # Errors
    /// `machine` when it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> Result<(), Problem> {
        write_atomically(&self.path.join(name), text.as_bytes(), 0o644)
    }

    /// The log of a server in the background.
    pub fn log_file(&self) -> PathBuf {
        self.path.join("howdah.log")
    }

    /// The file that is locked by whoever works with the instance.
    pub fn lock_file(&self) -> PathBuf {
        self.path.join("daemon.lock")
    }

    /// What a server in the background says outside its log: a panic, or a mistake before the log is open.
    pub fn errors_file(&self) -> PathBuf {
        self.path.join("howdah.err")
    }

    /// A name for the steps of one attempt to start, one JSON object a line. No other attempt has it.
    pub fn new_steps_file(&self) -> PathBuf {
        let random = uuid::Uuid::new_v4().simple().to_string();
        self.path.join(format!("{STEPS}{}-{}{STEPS_END}", std::process::id(), &random[..8]))
    }

    /// Removes the steps of attempts whose command is gone.
    pub fn remove_stale_steps(&self) {
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if let Some(id) = name.strip_prefix(STEPS).and_then(|rest| rest.strip_suffix(STEPS_END)) {
                let pid = id.split('-').next().and_then(|pid| pid.parse().ok());
                if pid.and_then(Identity::of).is_none() {
                    // Somebody else may have removed it meanwhile.
                    let _ = fs::remove_file(entry.path());
                }
            }
        }
    }

    fn record_file(&self) -> PathBuf {
        self.path.join("daemon.json")
    }

    fn token_file(&self) -> PathBuf {
        self.path.join("token")
    }
}

/// The file `what` beside a declaration.
pub(super) fn beside(declaration: &Declaration, what: &str) -> PathBuf {
    let name = declaration.path.file_name().unwrap_or_default().to_string_lossy();
    let file = if name == FILE { what.to_owned() } else { format!("{name}.{what}") };
    declaration.directory().join(".howdah").join(file)
}

/// What points from a declaration to its instance.
const INSTANCE: Kept = Kept {
    file: "instance.toml",
    says: "Which of Howdah's instances belongs to this declaration, on this machine. Never committed.",
    new: new_id,
};

/// An id that is kept beside a declaration, and follows it when its directory is moved, but not when it is copied.
pub(super) struct Kept {
    /// Name of the file.
    pub(super) file: &'static str,
    /// What the file says of itself.
    pub(super) says: &'static str,
    /// Makes an id.
    pub(super) new: fn(&Declaration) -> String,
}

fn read_pointer(file: &Path) -> Option<Pointer> {
    let pointer: Pointer = toml::from_str(&fs::read_to_string(file).ok()?).ok()?;
    let safe = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (!pointer.id.is_empty() && pointer.id.bytes().all(safe)).then_some(pointer)
}

/// Whether the pointer is this declaration's own, or came along when its directory was moved.
fn belongs(pointer: &Pointer, declaration: &Declaration, file: &str) -> bool {
    if pointer.declaration == declaration.path {
        return true;
    }
    let original = Declaration { path: pointer.declaration.clone(), ..declaration.clone() };
    let there = read_pointer(&beside(&original, file));
    there.is_none_or(|there| there.id != pointer.id)
}

/// The id that is kept beside a declaration, made where there is none; nothing where it cannot be kept.
pub(super) fn remembered_id(declaration: &Declaration, kept: &Kept) -> Option<String> {
    let file = beside(declaration, kept.file);
    // Commands that meet on a new project agree on one id: each looks and writes while no other does. Where there is no
    // lock to be had, there is mostly nothing to be written either.
    let _turn = alone_beside(&file).ok();
    let known = read_pointer(&file).filter(|pointer| belongs(pointer, declaration, kept.file));
    if let Some(pointer) = &known
        && pointer.declaration == declaration.path
    {
        return Some(pointer.id.clone());
    }
    let id = known.map_or_else(|| (kept.new)(declaration), |pointer| pointer.id);
    let pointer = Pointer { id: id.clone(), declaration: declaration.path.clone() };
    write_pointer(&file, &pointer, kept.says).is_ok().then_some(id)
}

/// The directory of pointers, made where it is missing, to oneself for as long as the answer lives.
fn alone_beside(file: &Path) -> std::io::Result<Flock<File>> {
    let directory = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    Flock::lock(File::open(directory)?, FlockArg::LockExclusive).map_err(|(_, error)| error.into())
}

fn write_pointer(file: &Path, pointer: &Pointer, says: &str) -> Result<(), Problem> {
    let directory = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory).map_err(|error| cannot("make", directory, &error))?;
    let ignore = directory.join(".gitignore");
    if !ignore.exists() {
        write_atomically(&ignore, b"*\n", 0o644)?;
    }
    let body = toml::to_string(pointer).unwrap_or_default();
    let text = format!("# {says}\n{body}");
    write_atomically(file, text.as_bytes(), 0o644)
}

/// The name makes directories readable for people, the random part makes them unique.
fn new_id(declaration: &Declaration) -> String {
    let random = uuid::Uuid::new_v4().simple().to_string();
    format!("{}-{}", slug(&declaration.spec.name), &random[..8])
}

fn fallback_id(declaration: &Declaration) -> String {
    let digest = Sha256::digest(declaration.path.as_os_str().as_encoded_bytes());
    let short = hex::encode(&digest[..6]);
    format!("{}-{short}", slug(&declaration.spec.name))
}

fn slug(name: &str) -> String {
    let slug: String = name
        .chars()
        .take(24)
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .collect();
    if slug.is_empty() { "instance".to_owned() } else { slug }
}

fn make_directory(directory: &Path) -> Result<(), Problem> {
    fs::create_dir_all(directory).map_err(|error| cannot("make", directory, &error))?;
    // The server may run as another user, who has to pass through; what is secret has its own mode.
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))
        .map_err(|error| cannot("open", directory, &error))
}

/// Writes a file so that a reader sees the old or the new, never a part.
fn write_atomically(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Problem> {
    let beside = path.with_extension(format!("{}.tmp", std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(mode).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().map_err(|error| cannot("write", path, &error))
}

/// A file of the instance that cannot be used, as a problem.
pub fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Problem {
    Problem::new(Kind::Machine, format!("cannot {what} `{}`", path.display()))
        .detail(error.to_string())
        .hint("Check the rights and the free space there, or choose another directory with `HOWDAH_HOME`.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declare(directory: &Path) -> Declaration {
        fs::create_dir_all(directory).unwrap();
        let path = directory.join(FILE);
        fs::write(&path, "name = \"My-App\"\n[databases.app]\n").unwrap();
        Declaration::read(&path).unwrap()
    }

    #[test]
    fn a_second_look_finds_the_same_place_and_another_clone_has_its_own() {
        let root = tempfile::tempdir().unwrap();
        let instances = root.path().join("instances");
        let first = declare(&root.path().join("a clone"));
        let second = declare(&root.path().join("b"));
        assert_eq!(InstanceDirectory::existing(&first, &instances), None);
        let directory = InstanceDirectory::of(&first, &instances).unwrap();
        assert!(directory.id.starts_with("my-app-"), "{}", directory.id);
        assert_eq!(InstanceDirectory::of(&first, &instances).unwrap(), directory);
        assert_eq!(InstanceDirectory::existing(&first, &instances), Some(directory.clone()));
        assert_ne!(InstanceDirectory::of(&second, &instances).unwrap(), directory);
    }

    #[test]
    fn commands_that_meet_on_a_new_project_agree_on_its_directory() {
        let root = tempfile::tempdir().unwrap();
        let instances = root.path().join("instances");
        for round in 0..20 {
            let declaration = declare(&root.path().join(round.to_string()));
            let of = || InstanceDirectory::of(&declaration, &instances).unwrap().id;
            let ids: std::collections::HashSet<String> = std::thread::scope(|scope| {
                let asked: Vec<_> = (0..4).map(|_| scope.spawn(of)).collect();
                asked.into_iter().map(|one| one.join().unwrap()).collect()
            });
            assert_eq!(ids.len(), 1, "{ids:?}");
        }
    }

    #[test]
    fn a_moved_directory_keeps_its_data_and_a_copied_one_does_not_share_them() {
        let root = tempfile::tempdir().unwrap();
        let instances = root.path().join("instances");
        let directory = InstanceDirectory::of(&declare(&root.path().join("a")), &instances).unwrap();
        let copied = declare(&root.path().join("b"));
        fs::create_dir_all(root.path().join("b/.howdah")).unwrap();
        fs::copy(root.path().join("a/.howdah/instance.toml"), root.path().join("b/.howdah/instance.toml"))
            .unwrap();
        let other = InstanceDirectory::of(&copied, &instances).unwrap();
        assert_ne!(other, directory, "the original is still there");
        fs::rename(root.path().join("a"), root.path().join("c")).unwrap();
        assert_eq!(InstanceDirectory::of(&declare(&root.path().join("c")), &instances).unwrap(), directory);
    }

    #[test]
    fn the_token_is_for_its_owner() {
        let root = tempfile::tempdir().unwrap();
        let directory = InstanceDirectory::of(&declare(root.path()), &root.path().join("i")).unwrap();
        let token = directory.make_token().unwrap();
        assert_eq!(directory.token(), Some(token));
        assert_eq!(fs::metadata(directory.token_file()).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
