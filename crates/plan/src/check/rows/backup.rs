//! Archive and backups.

use super::super::answer::Found;
use super::super::contract::{Area, Check, FixKind, FixTemplate, Need, Severity};
use super::figure::size;
use crate::settings;

/// What to do about a server that Howdah runs.
const OWN_ARCHIVE: FixTemplate = FixTemplate {
    kind: FixKind::Advice,
    text: "Howdah makes no archive by itself. Declare one below `[settings]` in howdah.toml: `archive_mode = \"on\"` and an \
           `archive_command` that neither overwrites nor loses; then `howdah up`, which restarts the server, and take a base \
           backup. Where losing what came after the last `pg_dump` is bearable, dump regularly instead, and leave this \
           finding as it is.",
    safe: false,
};

pub static CHECKS: &[Check] = &[
    Check::new(
        "bak.archive_mode",
        Area::Backup,
        Severity::Medium,
        "there is no archive of the log",
        "Without it there is no point-in-time recovery: a crash of the disk or a mistaken DELETE costs everything since \
         the last dump. Where the declaration asks for an archive, its absence is a failure.",
        "SELECT current_setting('archive_mode') AS mode, current_setting('archive_command') AS command, \
         coalesce(current_setting('archive_library', true), '') AS library, current_setting('wal_level') AS level",
    )
    .server()
    .each(|facts, row| {
        let (mode, level) = (row.text("mode"), row.text("level"));
        // The server shows `(disabled)` for a command that archive_mode = off keeps from running.
        let empty = matches!(row.text("command"), "" | "(disabled)") && row.text("library").is_empty();
        let measured = match () {
            () if level == "minimal" => "`wal_level` is `minimal`".to_owned(),
            () if mode == "off" => "`archive_mode` is off".to_owned(),
            () if empty => format!("`archive_mode` is {mode} and nothing archives"),
            () => return None,
        };
        let wanted = facts.spec.and_then(|spec| spec.settings.get("archive_mode"));
        let wanted = wanted.is_some_and(|value| !settings::same("archive_mode", &settings::text(value), "off"));
        let found = Found::new(measured);
        let found = if facts.own() { found.fix(OWN_ARCHIVE) } else { found };
        Some(if wanted || mode != "off" { found.severity(Severity::Critical) } else { found })
    })
    .advice(
        "Give the server an archive (pgBackRest, WAL-G, Barman, or a command that neither overwrites nor loses), set \
         `archive_mode = on`, restart, and take a base backup.",
    ),
    Check::new(
        "bak.archiver_failing",
        Area::Backup,
        Severity::Critical,
        "the archive does not take the log",
        "There is a hole in the recoverable past, and the log grows until the disk is full.",
        "SELECT archived_count AS archived, failed_count AS failed, coalesce(last_failed_wal, '') AS wal, \
         last_failed_time::text AS at FROM pg_stat_archiver WHERE last_failed_time > \
         coalesce(last_archived_time, '-infinity')",
    )
    .server()
    .each(|_, row| {
        let failed = row.int("failed")?;
        Some(Found::new(format!("`{}` failed at {}, {failed} failures so far", row.text("wal"), row.text("at"))))
    })
    .advice("The server's log has the command's own words; mend the command or its target. It is tried again by itself."),
    Check::new(
        "bak.archive_overwrite",
        Area::Backup,
        Severity::High,
        "the archive command may overwrite or lose log",
        "Plain `cp` overwrites what is there, does not sync, and reports success before the disk has it.",
        "SELECT current_setting('archive_command') AS command",
    )
    .server()
    .each(|_, row| {
        let command = row.text("command");
        let copies = command.split(['&', ';', '|']).any(|part| part.trim_start().starts_with("cp "));
        (copies && !command.contains("test ! -") && !command.contains("cp -n") && !command.contains("--no-clobber"))
            .then(|| Found::new(format!("`{command}`")))
    })
    .sql_fix(
        "ALTER SYSTEM SET archive_command = 'test ! -f /archive/%f && cp %p /archive/%f.part && sync /archive/%f.part && \
         mv /archive/%f.part /archive/%f';\nSELECT pg_reload_conf()",
    ),
    Check::new(
        "bak.ready_files",
        Area::Backup,
        Severity::High,
        "log files wait for the archive",
        "Each is 16 MB that exist on this machine only.",
        "SELECT count(*) AS n FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'",
    )
    .server()
    .needs(&[Need::Monitor])
    .each(|_, row| {
        let n = row.int("n")?;
        (n > 10).then(|| Found::new(format!("{n} files")))
    })
    .advice("See bak.archiver_failing; where it does not fail, the archive is too slow."),
    Check::new(
        "bak.wal_size",
        Area::Backup,
        Severity::High,
        "much more log is kept than `max_wal_size`",
        "The archive or a slot holds it; the disk fills.",
        "SELECT sum(size)::bigint AS bytes, (SELECT setting::bigint * 1048576 FROM pg_settings \
         WHERE name = 'max_wal_size') AS most, (SELECT setting::bigint * 1048576 FROM pg_settings \
         WHERE name = 'wal_keep_size') AS kept FROM pg_ls_waldir()",
    )
    .server()
    .needs(&[Need::Monitor])
    .each(|_, row| {
        let (bytes, most, kept) = (row.int("bytes")?, row.int("most")?, row.int("kept")?);
        (bytes > 2 * most + kept && bytes > 256 << 20)
            .then(|| Found::new(format!("{} of log, `max_wal_size` is {}", size(bytes), size(most))))
    })
    .advice("See bak.archiver_failing and rep.slot_inactive."),
    Check::new(
        "bak.archive_timeout",
        Area::Backup,
        Severity::Medium,
        "a quiet database archives nothing",
        "A log file goes to the archive when it is full. Without a timeout the last commits may wait for days.",
        "SELECT (SELECT setting::bigint FROM pg_settings WHERE name = 'archive_timeout') AS seconds, \
         current_setting('archive_mode') AS mode",
    )
    .server()
    .each(|_, row| {
        (row.text("mode") != "off" && row.int("seconds")? == 0).then(|| Found::new("`archive_timeout` is 0"))
    })
    .safe_fix("ALTER SYSTEM SET archive_timeout = '5min';\nSELECT pg_reload_conf()"),
    Check::new(
        "bak.backup_in_progress",
        Area::Backup,
        Severity::Info,
        "a base backup is running",
        "It reads the whole cluster.",
        "SELECT pid::text AS object, phase, round(100.0 * backup_streamed / nullif(backup_total, 0), 1) AS percent \
         FROM pg_stat_progress_basebackup",
    )
    .server()
    .needs(&[Need::Monitor])
    .each(|_, row| {
        let percent = row.float("percent").map(|percent| format!(", {percent} %")).unwrap_or_default();
        Some(Found::new(format!("`{}`{percent}", row.text("phase"))))
    })
    .advice("Wait for it."),
];
