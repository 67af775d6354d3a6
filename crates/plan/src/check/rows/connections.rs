//! Sessions and locks.

use super::super::answer::Found;
use super::super::contract::{Area, Check, Need, Severity};

const MONITOR: &[Need] = &[Need::Monitor];

pub static CHECKS: &[Check] = &[
    Check::new(
        "conn.saturation",
        Area::Connections,
        Severity::High,
        "almost all connections are taken",
        "The next client is refused with `sorry, too many clients already`.",
        "SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS used, \
         current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int AS usable",
    )
    .server()
    .needs(MONITOR)
    .each(|_, row| {
        let (used, usable) = (row.int("used")?, row.int("usable")?);
        (used * 10 > usable * 8).then(|| Found::new(format!("{used} of {usable}")))
    })
    .advice("Put a pool in front (Howdah's own keeps `api.max_pool` sessions), rather than raising `max_connections`."),
    Check::new(
        "conn.idle_in_txn",
        Area::Connections,
        Severity::High,
        "a transaction has been doing nothing",
        "It keeps its locks and holds back vacuum.",
        "SELECT pid::text AS object, coalesce(usename, '?') AS usename, \
         extract(epoch FROM now() - xact_start)::bigint AS seconds, \
         left(regexp_replace(query, '\\s+', ' ', 'g'), 60) AS query FROM pg_stat_activity \
         WHERE state LIKE 'idle in transaction%' AND now() - state_change > interval '5 min'",
    )
    .server()
    .needs(MONITOR)
    .each(|_, row| {
        Some(Found::new(format!("`{}` for {} s after `{}`", row.text("usename"), row.int("seconds")?, row.text("query"))))
    })
    .sql_fix("SELECT pg_terminate_backend({object})"),
    Check::new(
        "conn.long_txn",
        Area::Connections,
        Severity::High,
        "a transaction has been open for more than an hour",
        "Vacuum removes no row that it might still see.",
        "SELECT pid::text AS object, coalesce(usename, '?') AS usename, \
         extract(epoch FROM now() - xact_start)::bigint AS seconds, \
         left(regexp_replace(query, '\\s+', ' ', 'g'), 60) AS query FROM pg_stat_activity WHERE xact_start IS NOT NULL \
         AND now() - xact_start > interval '1 hour' AND pid <> pg_backend_pid() \
         AND backend_type IN ('client backend', 'walsender')",
    )
    .server()
    .needs(MONITOR)
    .each(|_, row| {
        Some(Found::new(format!("`{}` for {} s: `{}`", row.text("usename"), row.int("seconds")?, row.text("query"))))
    })
    .sql_fix("SELECT pg_cancel_backend({object})"),
    Check::new(
        "conn.blocked",
        Area::Connections,
        Severity::High,
        "a session waits for another's lock",
        "Whoever comes after it waits as well.",
        "SELECT pid::text AS object, json_agg(b)::text AS blockers, extract(epoch FROM now() - query_start)::bigint \
         AS seconds, left(regexp_replace(query, '\\s+', ' ', 'g'), 60) AS query FROM pg_stat_activity, \
         unnest(pg_blocking_pids(pid)) b WHERE now() - query_start > interval '5 s' \
         GROUP BY pid, query_start, query",
    )
    .server()
    .needs(MONITOR)
    .each(|_, row| {
        let by = row.text("blockers");
        Some(Found::new(format!("{} s behind {by}: `{}`", row.int("seconds")?, row.text("query"))))
    })
    .sql_fix("SELECT pid, state, query FROM pg_stat_activity WHERE pid = ANY (pg_blocking_pids({object}))"),
    Check::new(
        "conn.prepared_xacts",
        Area::Connections,
        Severity::High,
        "a prepared transaction was forgotten",
        "It survives restarts, keeps its locks and holds back vacuum for ever.",
        "SELECT quote_literal(gid) AS object, extract(epoch FROM now() - prepared)::bigint AS seconds, owner, database \
         FROM pg_prepared_xacts WHERE now() - prepared > interval '10 min'",
    )
    .server()
    .each(|_, row| {
        Some(Found::new(format!("{} s old, of `{}` in `{}`", row.int("seconds")?, row.text("owner"), row.text("database"))))
    })
    .sql_fix("ROLLBACK PREPARED {object}; -- or COMMIT PREPARED, in its own database"),
    Check::new(
        "conn.pooler_mode",
        Area::Connections,
        Severity::Medium,
        "sessions come through a pool",
        "A transaction pool hands one session to many clients: a `SET hnsw.ef_search` outside a transaction is lost for \
         who set it and found by who did not.",
        "SELECT count(*) FILTER (WHERE application_name ~* 'pgbouncer|pgdog|pgcat|odyssey|supavisor') AS pooled, \
         count(*) AS total FROM pg_stat_activity WHERE backend_type = 'client backend'",
    )
    .server()
    .needs(MONITOR)
    .each(|_, row| {
        let pooled = row.int("pooled")?;
        (pooled > 0).then(|| {
            Found::new(format!("{pooled} of {} sessions", row.int("total").unwrap_or(0))).severity(Severity::Info)
        })
    })
    .advice("Set search settings with `ALTER ROLE … SET`, or with `SET LOCAL` in the transaction that searches."),
];
