//! Stories of sessions, replicas and the archive.

use super::*;
use howdah_plan::check::Severity;
use std::time::Duration;

#[tokio::test]
async fn a_sound_server_of_a_known_version() {
    let (_cluster, pools) = cluster(&[]);
    let look = Look::server(&pools);
    for id in [
        "pg.version.eol",
        "pgv.available",
        "pgv.cve.2026-3172",
        "pgv.corruption.hnsw_vacuum",
        "pgv.cve.2026-18022",
        "rep.lag",
        "rep.standby_age",
        "rep.conflicts",
        "vac.wraparound",
        "vac.mxid",
        "vac.xmin_holders",
        "wl.temp_files",
        "wl.cache_hit",
        "bak.wal_size",
        "bak.backup_in_progress",
        "conn.idle_in_txn",
        "conn.long_txn",
        "conn.prepared_xacts",
    ] {
        look.healthy(id).await;
    }
}

#[tokio::test]
async fn connections_that_run_out_and_a_pool_in_front() {
    let (_cluster, pools) = cluster(&["max_connections=12"]);
    let look = Look::server(&pools);
    look.healthy("conn.saturation").await;
    look.healthy("conn.pooler_mode").await;
    let mut target = pools.target().clone();
    target.application_name = "pgbouncer".into();
    let mut open = Vec::new();
    for _ in 0..7 {
        open.push(connect::connect(&target).await.expect("a connection"));
    }
    let finding = look.one("conn.saturation").await;
    assert!(finding.measured.ends_with(" of 9"), "{}", finding.measured);
    assert!(look.one("conn.pooler_mode").await.measured.starts_with("7 of "));
}

#[tokio::test]
async fn a_session_that_waits_for_another() {
    let (_cluster, pools) = cluster(&[]);
    let look = Look::server(&pools);
    execute(&pools, "CREATE TABLE t (id int)").await;
    look.healthy("conn.blocked").await;
    let holder = connect::connect(&pools.target()).await.expect("a connection");
    holder.batch_execute("BEGIN; LOCK TABLE t").await.expect("a lock");
    let waiter = connect::connect(&pools.target()).await.expect("a connection");
    let waiting = tokio::spawn(async move { waiter.batch_execute("SELECT * FROM t").await });
    tokio::time::sleep(Duration::from_millis(5_300)).await;
    let finding = look.one("conn.blocked").await;
    assert!(finding.measured.ends_with(": `SELECT * FROM t`"), "{}", finding.measured);
    holder.batch_execute("ROLLBACK").await.expect("a rollback");
    waiting.await.expect("a task").expect("a select");
    look.healthy("conn.blocked").await;
}

#[tokio::test]
async fn a_slot_that_nobody_reads() {
    let (_cluster, pools) = cluster(&[]);
    let look = Look::server(&pools);
    look.healthy("rep.slot_limit").await;
    look.healthy("rep.slot_inactive").await;
    execute(&pools, "SELECT pg_create_physical_replication_slot('gone', true)").await;
    let limit = look.one("rep.slot_limit").await;
    assert_eq!(limit.measured, "`max_slot_wal_keep_size` is -1, with 1 slot(s)");
    execute(
        &pools,
        "CREATE TABLE t AS SELECT repeat(md5(g::text), 30) AS x FROM generate_series(1, 90000) g",
    )
    .await;
    let slot = look.one("rep.slot_inactive").await;
    assert_eq!(slot.fix.text, "SELECT pg_drop_replication_slot('gone')");
    execute(&pools, &slot.fix.text).await;
    look.healthy("rep.slot_inactive").await;
    look.healthy("rep.slot_limit").await;
}

#[tokio::test]
async fn writes_that_wait_for_a_replica_that_is_not_there() {
    let (_cluster, pools) = cluster(&[]);
    let look = Look::server(&pools);
    look.healthy("rep.sync_degraded").await;
    execute(&pools, "ALTER SYSTEM SET synchronous_standby_names = 'replica';\nSELECT pg_reload_conf()").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(look.one("rep.sync_degraded").await.severity, Severity::Critical);
}

#[tokio::test]
async fn an_archive_that_fails_overwrites_or_is_not_there() {
    let (_cluster, pools) = cluster(&[]);
    let look = Look::server(&pools);
    let missing = look.one("bak.archive_mode").await;
    assert_eq!(missing.severity, Severity::Medium);
    assert!(missing.fix.text.starts_with("Give the server an archive"), "{}", missing.fix.text);
    // Where Howdah runs the server, the declaration is the place to say it.
    let own =
        Look::server(&pools).declared("name = 'x'").on(Default::default()).one("bak.archive_mode").await;
    assert_eq!(own.severity, Severity::Medium);
    assert!(own.fix.text.contains("`[settings]` in howdah.toml"), "{}", own.fix.text);
    let declared = Look::server(&pools).declared("name = 'x'\n[settings]\narchive_mode = 'on'");
    assert_eq!(declared.one("bak.archive_mode").await.severity, Severity::Critical);
    look.healthy("bak.archive_timeout").await;
    look.healthy("bak.archive_overwrite").await;
    drop(declared);

    let (_cluster, pools) =
        cluster(&["archive_mode=on", "archive_command=cp %p /nowhere/%f", "archive_timeout=0"]);
    let look = Look::server(&pools);
    look.healthy("bak.archive_mode").await;
    look.healthy("bak.ready_files").await;
    let overwrite = look.one("bak.archive_overwrite").await;
    assert_eq!(overwrite.measured, "`cp %p /nowhere/%f`");
    look.one("bak.archive_timeout").await;
    execute(&pools, "CREATE TABLE t (id int)").await;
    for _ in 0..12 {
        execute(&pools, "INSERT INTO t VALUES (1);\nSELECT pg_switch_wal()").await;
    }
    look.one("bak.ready_files").await;
    let mut failing = look.finds("bak.archiver_failing").await;
    for _ in 0..40 {
        if !failing.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
        failing = look.finds("bak.archiver_failing").await;
    }
    assert_eq!(failing.len(), 1, "the archiver gives up after three tries");
    assert_eq!(failing[0].severity, Severity::Critical);
}

#[tokio::test]
async fn checkpoints_forced_by_hand_after_hand() {
    let (_cluster, pools) = cluster(&[]);
    let look = Look::server(&pools);
    look.healthy("wl.checkpoints_req").await;
    execute(&pools, "CREATE TABLE t (id int)").await;
    for _ in 0..25 {
        execute(&pools, "INSERT INTO t VALUES (1);\nCHECKPOINT").await;
    }
    let finding = look.one("wl.checkpoints_req").await;
    assert!(finding.fix.safe && finding.measured.contains("forced"), "{finding:?}");
}

#[tokio::test]
async fn the_fixes_are_a_script_that_psql_runs_and_nothing_runs_it() {
    let (_cluster, pools) = cluster(&["password_encryption=md5"]);
    execute(&pools, "CREATE EXTENSION vector;\nCREATE TABLE t (e vector(3));\nCREATE INDEX ON t USING hnsw (e vector_l2_ops)")
        .await;
    let options = Options { databases: vec!["postgres".into()], ..Options::default() };
    let report = run(&pools, None, None, &options).await.expect("a report");
    let script = report.fixes(false);
    assert!(
        script
            .contains("ALTER SYSTEM SET password_encryption = 'scram-sha-256';\nSELECT pg_reload_conf();\n"),
        "{script}"
    );
    assert!(script.contains("\\connect \"postgres\"\n"), "{script}");
    assert!(
        script.contains("ALTER DATABASE postgres SET hnsw.iterative_scan = 'strict_order';\n"),
        "{script}"
    );
    assert!(!script.contains("DROP"), "{script}");
    let again = run(&pools, None, None, &options).await.expect("a report");
    assert_eq!(again.fixes(false), script, "nothing was changed");
}
