//! Where does the log of a server in the background lie, and how is it read?
//!
//! The server writes its own log file and puts it aside when it is large, so that it never grows without bound: `NAME`,
//! then `NAME.1`, `NAME.2`, `NAME.3`, the oldest last. Readers look from the end backwards, across files, and follow the
//! name when the file behind it changes. Standard error is not meant: whoever started the process owns that.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A file that has reached this many bytes is put aside.
pub const LARGE: u64 = 16 << 20;
/// How many files that were put aside are kept.
const KEPT: u32 = 3;
/// How much is read at a time from the end backwards.
const BLOCK: u64 = 64 << 10;

/// A log that puts itself aside.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: File,
    size: u64,
    large: u64,
}

impl LogFile {
    /// Goes on with the log at `path`, or begins it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn open(path: &Path, large: u64) -> io::Result<Self> {
        let file = append(path)?;
        Ok(LogFile { path: path.to_owned(), size: file.metadata()?.len(), file, large })
    }

    fn put_aside(&mut self) -> io::Result<()> {
        for number in (1..KEPT).rev() {
            // A number that is not there yet has nothing to move.
            let _ = fs::rename(aside(&self.path, number), aside(&self.path, number + 1));
        }
        fs::rename(&self.path, aside(&self.path, 1))?;
        self.file = append(&self.path)?;
        self.size = 0;
        Ok(())
    }
}

impl Write for LogFile {
    /// Takes whole lines, so that none is split between two files.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.size > 0 && self.size + bytes.len() as u64 > self.large {
            // A log that cannot be put aside grows on: lines matter more than the bound.
            let _ = self.put_aside();
        }
        self.file.write_all(bytes)?;
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

fn aside(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// The last `count` lines of the log at `path`, those that were put aside included, and a reader of what comes next.
///
/// # Errors
/// When a file that is there cannot be read.
pub fn last_lines(path: &Path, count: usize) -> io::Result<(Vec<u8>, Tail)> {
    let tail = Tail::at_end_of(path)?;
    let mut blocks = VecDeque::new();
    let mut left = count;
    let mut files = vec![(tail.file.as_ref().map(File::try_clone).transpose()?, tail.read)];
    files.extend((1..=KEPT).map(|number| (File::open(aside(path, number)).ok(), u64::MAX)));
    for (file, end) in files {
        let Some(mut file) = file else { continue };
        let end = end.min(file.metadata()?.len());
        if left == 0 || read_backwards(&mut file, end, &mut left, &mut blocks)? {
            break;
        }
    }
    Ok((blocks.into_iter().flatten().collect(), tail))
}

/// Puts the last `left` lines before `end` in front of `blocks`. Says whether that is all that was asked for; else `left`
/// is what is missing.
fn read_backwards(
    file: &mut File,
    end: u64,
    left: &mut usize,
    blocks: &mut VecDeque<Vec<u8>>,
) -> io::Result<bool> {
    let mut from = end;
    let mut first = true;
    while from > 0 {
        let length = from.min(BLOCK);
        from -= length;
        file.seek(SeekFrom::Start(from))?;
        let mut block = vec![0; usize::try_from(length).unwrap_or_default()];
        file.read_exact(&mut block)?;
        // The break at the very end ends the last line; it does not begin another.
        let searched = if std::mem::take(&mut first) && block.last() == Some(&b'\n') {
            block.len() - 1
        } else {
            block.len()
        };
        for at in (0..searched).rev().filter(|at| block[*at] == b'\n') {
            *left -= 1;
            if *left == 0 {
                block.drain(..=at);
                blocks.push_front(block);
                return Ok(true);
            }
        }
        blocks.push_front(block);
    }
    // The file's first line has no break before it.
    *left = left.saturating_sub(usize::from(end > 0));
    Ok(*left == 0)
}

/// Reads what a log gets, whichever file its name leads to.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    file: Option<File>,
    read: u64,
}

impl Tail {
    fn at_end_of(path: &Path) -> io::Result<Self> {
        let file = match File::open(path) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let read = file.as_ref().map_or(Ok(0), |file| file.metadata().map(|meta| meta.len()))?;
        Ok(Tail { path: path.to_owned(), file, read })
    }

    /// What was written since the last call.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn more(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.read_on(&mut bytes)?;
        let now = fs::metadata(&self.path).ok();
        let before = self.file.as_ref().map(File::metadata).transpose()?;
        let same = |now: &fs::Metadata, before: &fs::Metadata| {
            (now.dev(), now.ino()) == (before.dev(), before.ino())
        };
        match (&now, &before) {
            (Some(now), Some(before)) if same(now, before) && now.len() >= self.read => {}
            (Some(now), before) => {
                // The old file may have got a last line between the read and the look at the name.
                let replaced = before.as_ref().is_none_or(|before| !same(now, before));
                if replaced {
                    self.read_on(&mut bytes)?;
                }
                self.file = File::open(&self.path).ok();
                self.read = 0;
                self.read_on(&mut bytes)?;
            }
            (None, _) => {}
        }
        Ok(bytes)
    }

    fn read_on(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.seek(SeekFrom::Start(self.read))?;
        self.read += file.read_to_end(bytes)? as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(path: &Path, count: usize) -> String {
        String::from_utf8(last_lines(path, count).unwrap().0).unwrap()
    }

    #[test]
    fn a_large_log_is_put_aside_between_lines_and_the_oldest_goes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.log");
        let mut log = LogFile::open(&path, 30).unwrap();
        for number in 0..20 {
            log.write_all(format!("line {number:02}\n").as_bytes()).unwrap();
        }
        // Three lines of eight bytes fit a file.
        assert_eq!(fs::read_to_string(&path).unwrap(), "line 18\nline 19\n");
        assert_eq!(fs::read_to_string(aside(&path, 1)).unwrap(), "line 15\nline 16\nline 17\n");
        assert_eq!(fs::read_to_string(aside(&path, 3)).unwrap(), "line 09\nline 10\nline 11\n");
        assert!(!aside(&path, 4).exists());
        drop(log);
        let mut log = LogFile::open(&path, 30).unwrap();
        log.write_all(b"line 20\nline 21\n").unwrap();
        assert_eq!(said(&path, 1), "line 20\nline 21\n".split_inclusive('\n').next_back().unwrap());
        assert_eq!(said(&path, 4), "line 18\nline 19\nline 20\nline 21\n");
        assert_eq!(said(&path, 5).lines().next(), Some("line 17"));
    }

    #[test]
    fn the_last_lines_are_read_from_the_end_across_blocks() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.log");
        let lines: Vec<String> = (0..40_000).map(|number| format!("line {number}")).collect();
        fs::write(&path, lines.join("\n") + "\n").unwrap();
        for count in [1, 2, 100, 9_999, 39_999, 40_000] {
            assert_eq!(said(&path, count), lines[40_000 - count..].join("\n") + "\n", "{count}");
        }
        assert_eq!(said(&path, 50_000).lines().count(), 40_000);
        assert_eq!(said(&path, 0), "");
        // A line under way counts.
        fs::write(&path, "one\ntwo\nthr").unwrap();
        assert_eq!(said(&path, 2), "two\nthr");
        assert_eq!(said(&directory.path().join("none"), 3), "");
    }

    #[test]
    fn a_follower_loses_no_line_when_the_log_is_put_aside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.log");
        let mut log = LogFile::open(&path, 50).unwrap();
        log.write_all(b"before\n").unwrap();
        let (_, mut tail) = last_lines(&path, 1).unwrap();
        let (mut heard, mut told) = (String::new(), String::new());
        for number in 0..30 {
            let line = format!("line {number}\n");
            told.push_str(&line);
            log.write_all(line.as_bytes()).unwrap();
            if number % 3 == 0 {
                heard.push_str(&String::from_utf8(tail.more().unwrap()).unwrap());
            }
        }
        heard.push_str(&String::from_utf8(tail.more().unwrap()).unwrap());
        assert_eq!(heard, told);
        // Emptied by somebody: begun again.
        fs::write(&path, "new\n").unwrap();
        assert_eq!(tail.more().unwrap(), b"new\n");
    }
}
