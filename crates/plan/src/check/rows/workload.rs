//! What can be seen of the work, and what is seen.

use super::super::answer::{Found, Row};
use super::super::contract::{Area, Check, CheckFacts, FixKind, FixTemplate, Need, Severity};
use super::advised;
use super::figure::size;
use crate::settings;

pub static CHECKS: &[Check] = &[
    Check::new(
        "wl.pgss",
        Area::Observability,
        Severity::Info,
        "nobody counts statements",
        "Without pg_stat_statements no one knows which statements are slow, nor which operators they use.",
        "SELECT (SELECT count(*) FROM pg_extension WHERE extname = 'pg_stat_statements') AS n, \
         (SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_stat_statements') AS available",
    )
    .each(|facts, row| {
        let wanted = facts.database != Some("postgres") && facts.extensions.contains_key("vector");
        (wanted && row.int("n")? == 0 && row.int("available")? > 0)
            .then(|| Found::new("pg_stat_statements is there and not created"))
    })
    .sql_fix(
        "ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'; -- beside others, then restart\n\
         CREATE EXTENSION pg_stat_statements",
    ),
    Check::new(
        "wl.slow_vector",
        Area::Observability,
        Severity::Medium,
        "vector searches are slow",
        "A search through an index in memory takes milliseconds. These take longer on average.",
        "SELECT left(query, 200) AS object, calls, mean_exec_time AS ms FROM pg_stat_statements WHERE dbid = \
         (SELECT oid FROM pg_database WHERE datname = current_database()) AND query ~ '<->|<=>|<#>|<[+]>' \
         AND query ~* 'order\\s+by' AND query !~* 'pg_stat_statements|tablesample' AND calls >= 5 \
         ORDER BY total_exec_time DESC LIMIT 10",
    )
    .needs(&[Need::Extension("vector"), Need::Extension("pg_stat_statements"), Need::Monitor])
    .each(|_, row| {
        let ms = row.float("ms")?;
        (ms > 100.0).then(|| Found::new(format!("{ms:.0} ms on average over {} calls", row.int("calls").unwrap_or(0))))
    })
    .advice("`howdah search --explain` says which index was used and what was read; see pgv.index.opclass_vs_query."),
    Check::new(
        "wl.seqscan_vector",
        Area::Observability,
        Severity::Medium,
        "a vector table is mostly read as a whole",
        "Searches do not use its index: another operator, DESC, or an expression around the distance.",
        concat!(
            "SELECT DISTINCT format('%I.%I', s.schemaname, s.relname) AS object, s.seq_scan AS whole, \
             coalesce(s.idx_scan, 0) AS indexed, s.n_live_tup AS rows FROM pg_stat_user_tables s, ",
            vector_columns!(),
            " AND c.oid = s.relid AND s.seq_scan > coalesce(s.idx_scan, 0) AND s.seq_scan > 10 AND s.n_live_tup > 50000"
        ),
    )
    .needs(&[Need::Extension("vector")])
    .each(|_, row| {
        Some(Found::new(format!(
            "{} scans of all {} rows, {} through indexes",
            row.int("whole")?,
            row.int("rows")?,
            row.int("indexed")?
        )))
    })
    .advice("`EXPLAIN` the search: it has to be `ORDER BY column <operator> value LIMIT n`, ascending and bare."),
    Check::new(
        "wl.temp_files",
        Area::Observability,
        Severity::Info,
        "queries spill to disk",
        "Sorts and hashes did not fit into `work_mem`.",
        "SELECT quote_ident(datname) AS object, temp_files AS files, temp_bytes AS bytes FROM pg_stat_database \
         WHERE datname IS NOT NULL AND temp_bytes > 1073741824",
    )
    .server()
    .each(|_, row| Some(Found::new(format!("{} in {} files", size(row.int("bytes")?), row.int("files")?))))
    .advice("Give `work_mem` to the role that needs it (`ALTER ROLE … SET work_mem`), not to all."),
    Check::new(
        "wl.deadlocks",
        Area::Observability,
        Severity::Info,
        "transactions deadlocked",
        "Each was ended with an error. Writers that take rows in the same order do not deadlock.",
        "SELECT quote_ident(datname) AS object, deadlocks AS n FROM pg_stat_database WHERE datname IS NOT NULL \
         AND deadlocks > 0",
    )
    .server()
    .each(|_, row| Some(Found::new(format!("{} since the statistics began", row.int("n")?))))
    .advice("The server's log names both sides of each."),
    Check::new(
        "wl.cache_hit",
        Area::Observability,
        Severity::Medium,
        "many pages are read from outside shared_buffers",
        "The part of the data that is used does not fit.",
        "SELECT quote_ident(datname) AS object, blks_hit AS hit, blks_read AS read FROM pg_stat_database \
         WHERE datname IS NOT NULL AND blks_read > 100000",
    )
    .server()
    .each(|_, row| {
        let (hit, read) = (row.float("hit")?, row.float("read")?);
        let percent = 100.0 * hit / (hit + read);
        (percent < 95.0).then(|| Found::new(format!("{percent:.1} % were in memory")))
    })
    .advice("More memory for `shared_buffers`, smaller vectors (`halfvec`), or fewer indexes."),
    Check::new(
        "wl.checkpoints_req",
        Area::Observability,
        Severity::Medium,
        "checkpoints are forced by the amount of log",
        "Each writes every changed page at once and logs whole pages after it; searches stall.",
        "SELECT checkpoints_req AS forced, checkpoints_timed AS timed, (SELECT setting::bigint * 1048576 FROM pg_settings \
         WHERE name = 'max_wal_size') AS most FROM pg_stat_bgwriter",
    )
    .server()
    .sql_from(
        17,
        "SELECT num_requested AS forced, num_timed AS timed, (SELECT setting::bigint * 1048576 FROM pg_settings \
         WHERE name = 'max_wal_size') AS most FROM pg_stat_checkpointer",
    )
    .each(checkpoints)
    .safe_fix("ALTER SYSTEM SET max_wal_size = '{better}';\nSELECT pg_reload_conf()"),
];

/// The advice is what the rules give. A server that has as much already needs more than they know of.
fn checkpoints(facts: &CheckFacts<'_>, row: &Row) -> Option<Found> {
    let (forced, timed, most) = (row.int("forced")?, row.int("timed")?, row.int("most")?);
    if forced <= timed || forced <= 20 {
        return None;
    }
    let found = || Found::new(format!("{forced} forced, {timed} by time, `max_wal_size` is {}", size(most)));
    let better = advised::value(facts, "max_wal_size", &[])?;
    let enough = settings::value::in_bytes("max_wal_size", &better)? > u64::try_from(most).ok()?;
    if !enough {
        return Some(found().fix(MORE_LOG));
    }
    advised::size(facts, "max_wal_size", most, &[], found())
}

/// The rules give no more than there is.
const MORE_LOG: FixTemplate = FixTemplate {
    kind: FixKind::Advice,
    text: "`max_wal_size` is as large as the rules make it. If the disk has the room, double it (below `[settings]` in \
           howdah.toml, or with `ALTER SYSTEM`), and look again after a day.",
    safe: false,
};
