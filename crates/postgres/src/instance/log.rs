//! Why does the server not start? Its log says it; this table says what it means.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use howdah_plan::problem::{DoNow, Kind, Problem};

/// How much of the log's end is read, in bytes.
const TAIL: u64 = 16 * 1024;

struct Sign {
    /// What stands in the log.
    text: &'static str,
    kind: Kind,
    do_now: Option<DoNow>,
    /// What it means.
    message: &'static str,
    hint: &'static str,
}

const fn sign(text: &'static str, kind: Kind, message: &'static str, hint: &'static str) -> Sign {
    Sign { text, kind, do_now: None, message, hint }
}

/// What may stand in the log, the surest first.
const SIGNS: &[Sign] = &[
    sign(
        "No space left on device",
        Kind::Machine,
        "the disk is full",
        "Free space on the disk of the data directory and start again. Never delete files in `pg_wal` by hand.",
    ),
    sign(
        "Disk quota exceeded",
        Kind::Machine,
        "the disk quota is used up",
        "Free space or raise the quota of the user who runs the server, then start again.",
    ),
    sign(
        "Read-only file system",
        Kind::Machine,
        "the disk is read-only",
        "Look into the kernel's log (`dmesg`): a disk that failed is mounted read-only. Mount it for writing and start again.",
    ),
    sign(
        "Address already in use",
        Kind::Conflict,
        "the port is taken",
        "Declare another `server.port`, or none for a free one.",
    ),
    sign(
        "pre-existing shared memory block",
        Kind::Conflict,
        "processes of the server before still run",
        "Wait until they have ended, or stop them, then start again.",
    ),
    sign(
        "lock file \"",
        Kind::Conflict,
        "another server holds the data directory or the socket",
        "Stop it (`howdah down`), then start again.",
    ),
    sign(
        "database files are incompatible with server",
        Kind::Machine,
        "the data directory was made by another PostgreSQL",
        "Declare the `server.version` that made it, or dump there and restore here.",
    ),
    sign(
        "could not map anonymous shared memory",
        Kind::Machine,
        "there is not enough memory",
        "Lower `shared_buffers` under `[settings]`, or `server.memory`.",
    ),
    sign(
        "could not create shared memory segment",
        Kind::Machine,
        "the kernel gives no shared memory",
        "Raise the kernel's limits (`kernel.shmmax`, `kernel.shmall`), or lower `shared_buffers` under `[settings]`.",
    ),
    sign(
        "Cannot allocate memory",
        Kind::Machine,
        "there is not enough memory",
        "Lower `shared_buffers` under `[settings]`, or `server.memory`.",
    ),
    sign(
        "could not resize shared memory segment",
        Kind::Machine,
        "`/dev/shm` is too small",
        "Give it more (`docker run --shm-size=1g`), or set `max_parallel_workers_per_gather = 0` under `[settings]`.",
    ),
    sign(
        "unrecognized configuration parameter",
        Kind::Usage,
        "a setting is not known to this server",
        "Correct it under `[settings]`; the log line names it.",
    ),
    sign(
        "invalid value for parameter",
        Kind::Usage,
        "a setting has a value that the server refuses",
        "Correct it under `[settings]`; the log line names it.",
    ),
    sign(
        "is outside the valid range for parameter",
        Kind::Usage,
        "a setting has a value that the server refuses",
        "Correct it under `[settings]`; the log line names it.",
    ),
    sign(
        "contains errors",
        Kind::Usage,
        "the configuration file has a mistake in it",
        "The log line names the file and the line.",
    ),
    sign(
        "could not access file",
        Kind::Machine,
        "a library that the settings name is not there",
        "Install it, or take it out of `shared_preload_libraries` under `[settings]`. pgvector does not need to be preloaded.",
    ),
    sign(
        "has wrong ownership",
        Kind::Machine,
        "the data directory belongs to another user",
        "Declare that user as `server.user`, or give the directory away with `chown -R`.",
    ),
    sign(
        "has invalid permissions",
        Kind::Machine,
        "others may enter the data directory",
        "Run `chmod 700` on it and start again.",
    ),
    Sign {
        text: "could not locate a valid checkpoint record",
        kind: Kind::Failed,
        do_now: Some(DoNow::Restore),
        message: "the write-ahead log is damaged or gone",
        hint: "Keep a copy of the data directory, then restore from a backup. `pg_resetwal` is the last resort and loses data.",
    },
    Sign {
        text: "invalid checkpoint record",
        kind: Kind::Failed,
        do_now: Some(DoNow::Restore),
        message: "the write-ahead log is damaged or gone",
        hint: "Keep a copy of the data directory, then restore from a backup. `pg_resetwal` is the last resort and loses data.",
    },
    sign(
        "cannot load such file",
        Kind::Machine,
        "a library of the server cannot be loaded",
        "The log line names it.",
    ),
    sign(
        "error while loading shared libraries",
        Kind::Machine,
        "the server's program lacks a library of the system",
        "Install the library that the log line names (`apt-get install zlib1g` for libz).",
    ),
    sign(
        "Permission denied",
        Kind::Machine,
        "the server may not use a file that it needs",
        "The log line names it. Give it to the user who runs the server.",
    ),
];

/// The problem in what the server or initdb said, where the table knows it; `doing` is a verb with its object.
pub(super) fn translate(text: &str, doing: &str) -> Option<Problem> {
    let sign = SIGNS.iter().find(|sign| text.contains(sign.text))?;
    let line = text.lines().find(|line| line.contains(sign.text)).unwrap_or_default().trim();
    let mut problem =
        Problem::new(sign.kind, format!("cannot {doing}: {}", sign.message)).detail(line).hint(sign.hint);
    if let Some(do_now) = sign.do_now {
        problem = problem.do_now(do_now);
    }
    Some(problem)
}

/// The end of a file from `offset` on, at the most 16 KiB.
pub(super) fn tail(path: &Path, offset: u64) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(offset.max(length.saturating_sub(TAIL)).min(length)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// The last lines that say something, for a problem that the table does not know.
pub(super) fn last_words(text: &str) -> String {
    let telling = |line: &&str| ["FATAL", "PANIC", "ERROR", "error:"].iter().any(|word| line.contains(word));
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let chosen: Vec<&str> = lines.iter().copied().filter(telling).collect();
    let chosen = if chosen.is_empty() { lines } else { chosen };
    chosen[chosen.len().saturating_sub(3)..].join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_line_becomes_the_detail() {
        let log = "LOG:  starting\nFATAL:  could not write to file \"pg_wal/x\": No space left on device\nLOG:  bye\n";
        let problem = translate(log, "start PostgreSQL").unwrap();
        assert_eq!(problem.kind, Kind::Machine);
        assert_eq!(problem.message, "cannot start PostgreSQL: the disk is full");
        assert_eq!(
            problem.detail.as_deref(),
            Some("FATAL:  could not write to file \"pg_wal/x\": No space left on device")
        );
        assert_eq!(translate("LOG: all is well", "start"), None);
    }

    #[test]
    fn last_words_prefer_what_is_fatal() {
        assert_eq!(last_words("a\nFATAL: b\nc\n"), "FATAL: b");
        assert_eq!(last_words("a\nb\nc\nd\n"), "b | c | d");
    }
}
