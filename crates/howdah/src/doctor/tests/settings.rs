//! Stories of settings.

use super::*;
use howdah_plan::check::Severity;

fn machine(memory_bytes: u64) -> Machine {
    Machine { memory_bytes, ..Machine::default() }
}

#[tokio::test]
async fn a_server_that_trades_durability_for_speed() {
    let (_cluster, pools) = cluster(&[]);
    let findings = Look::server(&pools).finds("cfg.fsync").await;
    let severities: Vec<Severity> = findings.iter().map(|finding| finding.severity).collect();
    assert_eq!(severities, [Severity::Critical, Severity::Critical, Severity::High]);
    assert!(findings[0].fix.text.starts_with("ALTER SYSTEM SET fsync = on"));
    let (_cluster, pools) = cluster(&["fsync=on", "full_page_writes=on", "synchronous_commit=on"]);
    Look::server(&pools).healthy("cfg.fsync").await;
    Look::server(&pools).healthy("cfg.checksums").await;
}

#[tokio::test]
async fn a_setting_that_waits_for_a_restart() {
    let (cluster, pools) = cluster(&[]);
    let look = Look::server(&pools);
    look.healthy("cfg.pending_restart").await;
    let conf = cluster.dir.join("data/postgresql.conf");
    let text = std::fs::read_to_string(&conf).expect("the file");
    std::fs::write(&conf, format!("{text}\nmax_prepared_transactions = 7\n")).expect("a write");
    execute(&pools, "SELECT pg_reload_conf()").await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    // The harness's own settings stand on its command line, so the file's values for those wait as well.
    let findings = look.finds("cfg.pending_restart").await;
    let mut waiting = findings.iter().filter_map(|finding| finding.object.as_deref());
    assert!(waiting.any(|name| name == "max_prepared_transactions"), "{findings:#?}");
}

#[tokio::test]
async fn a_setting_changed_by_hand() {
    let (_cluster, pools) = cluster(&["work_mem=8MB"]);
    let spec =
        "name = 'x'\n[server]\nurl = 'postgres://localhost'\n[settings]\nwork_mem = '8192kB'\njit = false\n";
    let look = Look::server(&pools).declared(spec);
    look.healthy("cfg.drift").await;
    execute(&pools, "ALTER SYSTEM SET jit = on;\nSELECT pg_reload_conf()").await;
    // The harness starts with jit=off on its command line, which wins over ALTER SYSTEM.
    look.healthy("cfg.drift").await;
    let look = Look::server(&pools).declared(&spec.replace("8192kB", "16MB"));
    let finding = look.one("cfg.drift").await;
    assert_eq!(finding.measured, "`8MB` from command line, declared `16MB`");
    let look = Look::server(&pools).declared(&format!("{spec}shared_buffers = '1GB'\n"));
    assert!(look.one("cfg.drift").await.measured.ends_with("declared `1GB`, a restart away"));
}

#[tokio::test]
async fn more_memory_given_away_than_there_is() {
    let (_cluster, pools) = cluster(&["work_mem=16MB", "max_connections=100", "effective_cache_size=2GB"]);
    let pi = Look::server(&pools).on(machine(1 << 30));
    let finding = pi.one("mem.work_mem_worst").await;
    assert_eq!(finding.measured, "100 connections × 16 MB + 64 MB shared_buffers are more than 1 GB");
    let cache = pi.one("mem.cache_size").await;
    let buffers = pi.one("mem.shared_buffers").await;
    assert_eq!(buffers.fix.text, "ALTER SYSTEM SET shared_buffers = '256MB'; -- then restart");
    let (_cluster, pools) = cluster(&["shared_buffers=256MB", "max_connections=100"]);
    for fix in [&finding.fix.text, &cache.fix.text] {
        execute(&pools, fix).await;
    }
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let pi = Look::server(&pools).on(machine(1 << 30));
    for id in ["mem.work_mem_worst", "mem.cache_size", "mem.shared_buffers"] {
        pi.healthy(id).await;
    }
}

#[tokio::test]
async fn defaults_made_for_other_machines_and_no_guards() {
    let (_cluster, pools) = cluster(&[]);
    let look = Look::server(&pools);
    look.healthy("cfg.jit").await;
    let mut fixes = Vec::new();
    for id in ["io.random_page_cost", "timeout.guards"] {
        let finding = look.one(id).await;
        assert!(finding.fix.safe, "{id}");
        fixes.push(finding.fix.text);
    }
    for fix in fixes {
        execute(&pools, &fix).await;
    }
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    look.healthy("io.random_page_cost").await;
    look.healthy("timeout.guards").await;
    let hdd = Look::server(&pools).declared("name = 'x'\n[server]\ndisk = 'hdd'");
    execute(&pools, "ALTER SYSTEM RESET random_page_cost;\nSELECT pg_reload_conf()").await;
    hdd.healthy("io.random_page_cost").await;
}

#[tokio::test]
async fn a_parallel_build_without_room_for_its_graph() {
    let (_cluster, pools) = cluster(&["maintenance_work_mem=256MB"]);
    let small = Machine { shm_bytes: Some(64 << 20), ..Machine::default() };
    let finding = Look::server(&pools).on(small).one("pgv.build.shm").await;
    assert_eq!(finding.measured, "/dev/shm has 64 MB, `maintenance_work_mem` is 256 MB");
    let large = Machine { shm_bytes: Some(1 << 30), ..Machine::default() };
    Look::server(&pools).on(large).healthy("pgv.build.shm").await;
}

#[tokio::test]
async fn pgvector_preloaded_for_nothing() {
    let (_cluster, pools) = cluster(&["shared_preload_libraries=vector"]);
    let finding = Look::server(&pools).one("pgv.preload.unneeded").await;
    assert_eq!(finding.fix.text, "ALTER SYSTEM SET shared_preload_libraries = ''; -- then restart");
    let (_cluster, pools) = cluster(&[]);
    Look::server(&pools).healthy("pgv.preload.unneeded").await;
}

#[tokio::test]
async fn a_disk_that_is_nearly_full() {
    let (_cluster, pools) = cluster(&[]);
    let full = Machine { disk_free_bytes: Some(300 << 20), ..Machine::default() };
    let finding = Look::server(&pools).on(full).one("obj.db_size").await;
    assert!(finding.measured.starts_with("300 MB free beside "), "{}", finding.measured);
    let roomy = Machine { disk_free_bytes: Some(100 << 30), ..Machine::default() };
    Look::server(&pools).on(roomy).healthy("obj.db_size").await;
}
