//! Vacuum and statistics.

use super::super::answer::Found;
use super::super::contract::{Area, Check, Need, Severity};

pub static CHECKS: &[Check] = &[
    Check::new(
        "vac.autovacuum_off",
        Area::Maintenance,
        Severity::Critical,
        "autovacuum is off",
        "Dead rows stay for ever, in tables and in the graphs of vector indexes, until transaction numbers run out.",
        "SELECT current_setting('autovacuum') AS value, (SELECT json_agg(format('%I.%I', n.nspname, c.relname)) \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.reloptions::text ~* \
         'autovacuum_enabled=(false|off|0|no)') AS tables",
    )
    .all(|_, rows| {
        let Some(row) = rows.first() else { return vec![] };
        let off = (row.text("value") == "off").then(|| {
            Found::new("`autovacuum` is off")
                .value("mend", "ALTER SYSTEM SET autovacuum = on;\nSELECT pg_reload_conf()")
        });
        let tables = row.list("tables").into_iter().map(|table| {
            Found::new("`autovacuum_enabled` is off for it")
                .about(table)
                .severity(Severity::High)
                .value("mend", format!("ALTER TABLE {table} RESET (autovacuum_enabled)"))
        });
        off.into_iter().chain(tables).collect()
    })
    .safe_fix("{mend}"),
    Check::new(
        "vac.never_analyzed",
        Area::Maintenance,
        Severity::Medium,
        "a table was never analysed",
        "Without statistics the planner guesses; it is so right after a restore.",
        "SELECT format('%I.%I', schemaname, relname) AS object, n_live_tup AS rows FROM pg_stat_user_tables \
         WHERE n_live_tup > 1000 AND last_analyze IS NULL AND last_autoanalyze IS NULL",
    )
    .each(|_, row| Some(Found::new(format!("{} rows and no statistics", row.int("rows")?))))
    .safe_fix("ANALYZE {object}"),
    Check::new(
        "vac.dead",
        Area::Maintenance,
        Severity::Medium,
        "a table has many dead rows",
        "They take room and time in every scan.",
        "SELECT format('%I.%I', schemaname, relname) AS object, n_dead_tup AS dead, n_live_tup AS live \
         FROM pg_stat_user_tables WHERE n_dead_tup > 10000 AND n_dead_tup > 0.2 * n_live_tup",
    )
    .each(|_, row| Some(Found::new(format!("{} dead beside {} live", row.int("dead")?, row.int("live")?))))
    .safe_fix("VACUUM {object}"),
    Check::new(
        "vac.wraparound",
        Area::Maintenance,
        Severity::High,
        "transaction numbers are running out",
        "At two thousand million the server takes no more writes.",
        "SELECT quote_ident(datname) AS object, age(datfrozenxid)::bigint AS age, \
         current_setting('autovacuum_freeze_max_age')::bigint AS freeze FROM pg_database",
    )
    .server()
    .each(|_, row| {
        let (age, freeze) = (row.int("age")?, row.int("freeze")?);
        let found = Found::new(format!("{age} of 2147483648"));
        if age > 1_500_000_000 {
            return Some(found.severity(Severity::Critical));
        }
        (age > freeze * 3 / 2).then_some(found)
    })
    .command("vacuumdb --freeze {object}  # after ending what holds back vacuum: see vac.xmin_holders"),
    Check::new(
        "vac.mxid",
        Area::Maintenance,
        Severity::Critical,
        "multixact numbers are running out",
        "At two thousand million the server takes no more row locks.",
        "SELECT quote_ident(datname) AS object, mxid_age(datminmxid)::bigint AS age FROM pg_database",
    )
    .server()
    .each(|_, row| {
        let age = row.int("age")?;
        (age > 1_500_000_000).then(|| Found::new(format!("{age} of 2147483648")))
    })
    .command("vacuumdb --freeze {object}"),
    Check::new(
        "vac.xmin_holders",
        Area::Maintenance,
        Severity::High,
        "something holds back vacuum",
        "No row that died since can be removed, from tables or from graphs.",
        "SELECT 'slot ' || slot_name AS object, greatest(age(xmin), age(catalog_xmin))::bigint AS age \
         FROM pg_replication_slots WHERE xmin IS NOT NULL OR catalog_xmin IS NOT NULL \
         UNION ALL SELECT 'session ' || pid, age(backend_xmin)::bigint FROM pg_stat_activity \
         WHERE backend_xmin IS NOT NULL \
         UNION ALL SELECT 'prepared ' || gid, age(transaction)::bigint FROM pg_prepared_xacts",
    )
    .server()
    .needs(&[Need::Monitor])
    .each(|_, row| {
        let age = row.int("age")?;
        (age > 100_000_000).then(|| Found::new(format!("{age} transactions old")))
    })
    .advice("End the session, finish the prepared transaction, or drop the slot: {object}."),
];
