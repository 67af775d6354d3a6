//! A small disk, to be filled.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{directory, user};

/// A file system of its own, as long as the value lives, owned by the user that runs test servers.
#[derive(Debug)]
pub struct SmallDisk {
    /// Where it is.
    pub path: PathBuf,
}

impl SmallDisk {
    /// One of `size` (`8m`) in a place of its own. None, said aloud, where this user or this machine cannot mount one.
    pub fn new(size: &str) -> Option<SmallDisk> {
        let path = directory().join("disk");
        fs::create_dir(&path).expect("a directory to mount on");
        SmallDisk::over(&path, size)
    }

    /// One over a directory that is there; what the directory holds is out of sight meanwhile.
    pub fn over(path: &Path, size: &str) -> Option<SmallDisk> {
        let user = user();
        let options = format!("size={size},mode=755,uid={},gid={}", user.uid, user.gid);
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(path).output();
        match mounted {
            Ok(output) if output.status.success() => Some(SmallDisk { path: path.to_owned() }),
            Ok(output) => {
                eprintln!("skipped: cannot mount a small disk: {}", String::from_utf8_lossy(&output.stderr));
                None
            }
            Err(error) => {
                eprintln!("skipped: cannot mount a small disk: {error}");
                None
            }
        }
    }

    /// Makes room.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn enlarge(&self, size: &str) {
        let options = format!("remount,size={size}");
        let status =
            Command::new("mount").args(["-o", &options]).arg(&self.path).status().expect("mount runs");
        assert!(status.success(), "the disk cannot be made larger");
    }

    /// Fills it to the last byte with a file `filler`.
    ///
    /// # Panics
    /// When not even the file can be made.
    pub fn fill(&self) {
        let mut file = fs::File::create(self.path.join("filler")).expect("a file");
        let block = vec![1_u8; 4096];
        while file.write_all(&block).is_ok() {}
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}
