//! Replicas.

use super::super::answer::{Found, Row};
use super::super::contract::{Area, Check, CheckFacts, FixKind, FixTemplate, Need, Severity};
use super::figure::size;

const MONITOR: &[Need] = &[Need::Monitor];

pub static CHECKS: &[Check] = &[
    Check::new(
        "rep.lag",
        Area::Replication,
        Severity::Critical,
        "a replica is behind",
        "A failover now would lose what it has not replayed. An HNSW build writes log faster than a slow link takes it.",
        "SELECT coalesce(nullif(application_name, ''), 'pid ' || pid) AS object, state, pg_wal_lsn_diff(CASE WHEN \
         pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END, replay_lsn)::bigint AS bytes, \
         coalesce(extract(epoch FROM replay_lag), 0)::float8 AS seconds FROM pg_stat_replication \
         WHERE state <> 'backup'",
    )
    .server()
    .needs(MONITOR)
    .each(|_, row| {
        let (bytes, seconds) = (row.int("bytes").unwrap_or(i64::MAX), row.float("seconds")?);
        let state = row.text("state");
        (bytes > 64 << 20 || seconds > 30.0 || state != "streaming")
            .then(|| Found::new(format!("`{state}`, {} and {seconds:.0} s behind", size(bytes))))
    })
    .advice("Look at the link and at the replica's disk; let index builds wait until it has caught up."),
    Check::new(
        "rep.standby_age",
        Area::Replication,
        Severity::Critical,
        "this replica answers with old data",
        "Searches here miss what was written since.",
        "SELECT pg_is_in_recovery() AS standby, extract(epoch FROM now() - pg_last_xact_replay_timestamp())::bigint AS \
         seconds, coalesce(pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn(), false) AS caught_up",
    )
    .server()
    .each(|_, row| {
        let seconds = row.int("seconds").unwrap_or(0);
        (row.is("standby") && !row.is("caught_up") && seconds > 300)
            .then(|| Found::new(format!("the last replayed commit is {seconds} s old")))
    })
    .advice("Look at `pg_stat_wal_receiver` and at the primary."),
    Check::new(
        "rep.sync_degraded",
        Area::Replication,
        Severity::Critical,
        "writes wait for a replica that is not there",
        "`synchronous_standby_names` names replicas and none is synchronous: every commit hangs.",
        "SELECT current_setting('synchronous_standby_names') AS names, (SELECT count(*) FROM pg_stat_replication \
         WHERE sync_state IN ('sync', 'quorum')) AS n",
    )
    .server()
    .needs(&[Need::Monitor, Need::Primary])
    .each(|_, row| {
        (!row.text("names").is_empty() && row.int("n")? == 0)
            .then(|| Found::new(format!("`synchronous_standby_names` is `{}`", row.text("names"))))
    })
    .sql_fix("ALTER SYSTEM SET synchronous_standby_names = ''; -- or bring the replica back\nSELECT pg_reload_conf()"),
    Check::new(
        "rep.slot_inactive",
        Area::Replication,
        Severity::High,
        "a replication slot without a reader",
        "The log since its last reading is kept for it until the disk is full.",
        "SELECT quote_literal(slot_name) AS object, pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN \
         pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END, restart_lsn)::bigint AS bytes, wal_status AS status \
         FROM pg_replication_slots WHERE NOT active",
    )
    .server()
    .needs(MONITOR)
    .each(slot)
    .sql_fix("SELECT pg_drop_replication_slot({object})"),
    Check::new(
        "rep.slot_limit",
        Area::Replication,
        Severity::High,
        "slots may keep log without bound",
        "A replica that dies fills the primary's disk.",
        "SELECT count(*) AS slots FROM pg_replication_slots WHERE current_setting('max_slot_wal_keep_size') = '-1'",
    )
    .server()
    .each(|facts, row| {
        let slots = row.int("slots")?;
        let found = || Found::new(format!("`max_slot_wal_keep_size` is -1, with {slots} slot(s)"));
        (slots > 0).then(|| match facts.machine.and_then(|machine| machine.disk_free_bytes) {
            Some(free) => found().fix(HALF_OF_FREE).value("half", format!("{}MB", free / 2 / (1 << 20))),
            None => found(),
        })
    })
    .sql_fix(
        "ALTER SYSTEM SET max_slot_wal_keep_size = '<half of what is free on the disk>';\nSELECT pg_reload_conf()",
    ),
    Check::new(
        "rep.conflicts",
        Area::Replication,
        Severity::Medium,
        "searches on this replica were cancelled",
        "Replay removed rows that they still needed.",
        "SELECT quote_ident(datname) AS object, confl_tablespace + confl_lock + confl_snapshot + confl_bufferpin + \
         confl_deadlock AS n FROM pg_stat_database_conflicts WHERE pg_is_in_recovery()",
    )
    .server()
    .each(|_, row| {
        let n = row.int("n")?;
        (n > 0).then(|| Found::new(format!("{n} cancelled")))
    })
    .safe_fix("ALTER SYSTEM SET hot_standby_feedback = on;\nSELECT pg_reload_conf()"),
];

fn slot(_: &CheckFacts<'_>, row: &Row) -> Option<Found> {
    let bytes = row.int("bytes").unwrap_or(0);
    let status = row.text("status");
    let found = Found::new(format!("{} kept, `{status}`", size(bytes)));
    match status {
        "unreserved" | "lost" => Some(found.severity(Severity::Critical)),
        _ => (bytes > 64 << 20).then_some(found),
    }
}

/// The disk is known: a replica that stays away may take half of what is free on it.
const HALF_OF_FREE: FixTemplate = FixTemplate {
    kind: FixKind::Sql,
    text: "ALTER SYSTEM SET max_slot_wal_keep_size = '{half}';\nSELECT pg_reload_conf()",
    safe: true,
};
