//! The table against real servers: every question runs on every major, and every check has its story.

use super::*;
use crate::doctor::ask::Inquiry;
use crate::doctor::facts::Server;
use howdah_plan::check::{self, Need, Scope};
use howdah_plan::settings::{self, Context, Kind, SETTINGS};
use howdah_plan::spec::{Disk, Workload};
use howdah_plan::tune::{Wish, tune};

const STORIES: [&str; 10] = [
    include_str!("debian.rs"),
    include_str!("contrib.rs"),
    include_str!("indexes.rs"),
    include_str!("own.rs"),
    include_str!("pages.rs"),
    include_str!("running.rs"),
    include_str!("security.rs"),
    include_str!("server.rs"),
    include_str!("settings.rs"),
    include_str!("vectors.rs"),
];

#[test]
fn every_check_has_a_story_or_its_verdict_a_test() {
    let verdicts = include_str!("../../../../plan/src/check/tests.rs");
    for check in check::all() {
        let named = format!("\"{}\"", check.id);
        let told = STORIES.iter().any(|story| story.contains(&named)) || verdicts.contains(&named);
        assert!(told, "{} has neither", check.id);
    }
}

#[tokio::test]
async fn every_question_runs_on_16_and_18() {
    for major in [16, 18] {
        let cluster = Cluster::start_major(major, &[]);
        let pools = Pools::new(cluster.target.clone(), 4);
        execute(
            &pools,
            "CREATE EXTENSION vector;\nCREATE TABLE t (id bigint PRIMARY KEY, e vector(3), h halfvec(3), s sparsevec(3));\n\
             INSERT INTO t SELECT g, ARRAY[g, 1, 2]::vector, ARRAY[g, 1, 2]::vector, ARRAY[g, 1, 2]::vector::sparsevec \
             FROM generate_series(1, 200) g;\n\
             CREATE INDEX ON t USING hnsw (e vector_l2_ops);\nCREATE INDEX ON t USING hnsw (h halfvec_ip_ops);\n\
             CREATE INDEX ON t USING hnsw (s sparsevec_cosine_ops);\n\
             CREATE INDEX ON t USING hnsw ((binary_quantize(e)::bit(3)) bit_hamming_ops) WHERE id > 10;\n\
             CREATE INDEX ON t USING ivfflat (e vector_cosine_ops) WITH (lists = 5);\nANALYZE t",
        )
        .await;
        if cluster.has_extension() {
            execute(&pools, "CREATE EXTENSION howdah;\nCREATE INDEX ON t USING howdah (e vector_ip_ops)")
                .await;
        }
        let options = Options { recall: true, ..Options::default() };
        let machine = Machine::default();
        let spec: Spec = toml::from_str("name = 'x'\n[databases.postgres]").expect("a declaration");
        let report = run(&pools, Some(&spec), Some(&machine), &options).await.expect("a report");
        for missing in &report.not_run {
            let check = check::find(&missing.check).expect("a check");
            let absent = check.needs.iter().any(
                |need| matches!(need, Need::Extension(name) if matches!(*name, "amcheck" | "pg_stat_statements" | "howdah")),
            );
            assert!(absent, "{major}: {missing:?}");
        }
        let ran: usize = report.findings.len() + report.passed.len();
        assert!(ran > 90, "{major}: {ran} ran");
        let text = crate::doctor::render::text(&report, true);
        assert!(text.contains(&format!("PostgreSQL {major}.")), "{text}");
    }
}

/// Questions about extensions that the bundle does not have: only that they are refused for that reason.
#[tokio::test]
async fn questions_about_missing_extensions_are_not_run_and_say_so() {
    let (_cluster, pools) = cluster(&[]);
    let options = Options { checks: vec!["wl.slow_vector".into()], ..Options::default() };
    let report = run(&pools, None, None, &options).await.expect("a report");
    assert!(report.findings.is_empty() && report.passed.is_empty());
    assert!(report.not_run.iter().all(|it| it.reason.contains("is not installed in this database")));
    assert_eq!((report.exit_code, report.summary.not_run), (0, report.not_run.len()));
}

#[tokio::test]
async fn the_table_of_settings_is_what_the_server_says() {
    for major in [16, 18] {
        let cluster = Cluster::start_major(major, &[]);
        let pools = Pools::new(cluster.target.clone(), 4);
        let options = Options::default();
        let inquiry = Inquiry::open(&pools, "postgres", &options).await.expect("a session");
        let rows = inquiry
            .rows("SELECT name, context, boot_val, min_val, max_val, vartype FROM pg_settings", false)
            .await
            .expect("settings");
        for setting in SETTINGS.iter().filter(|setting| setting.library.is_none()) {
            let row = rows.iter().find(|row| row.text("name").eq_ignore_ascii_case(setting.name));
            assert_eq!(row.is_some(), setting.exists_in(major), "{} in {major}", setting.name);
            let Some(row) = row else { continue };
            let context = match row.text("context") {
                "internal" => Context::Fixed,
                "postmaster" => Context::Restart,
                "sighup" => Context::Reload,
                _ => Context::Session,
            };
            assert_eq!(setting.context_in(major), context, "{} in {major}", setting.name);
            // Where the build or the machine decides, there is no one default.
            if !matches!(
                setting.name,
                "data_checksums" | "unix_socket_directories" | "huge_pages_status" | "log_connections"
            ) {
                let (boot, ours) = (row.text("boot_val"), setting.default_in(major));
                assert!(
                    settings::same(setting.name, boot, ours),
                    "{} in {major}: {boot}, {ours}",
                    setting.name
                );
            }
            if let (Some((least, greatest)), Kind::Integer(_)) = (setting.range, setting.kind) {
                let (min, max) = (row.float("min_val").unwrap_or(0.0), row.float("max_val").unwrap_or(0.0));
                assert!(least <= min && greatest <= max, "{} in {major}: {min} to {max}", setting.name);
            }
        }
    }
}

#[tokio::test]
async fn a_server_starts_with_what_tuning_says_and_has_it() {
    let machine = |memory_bytes: u64, cores: u32, disk: Disk| Machine {
        memory_bytes,
        cores,
        disk,
        ..Machine::default()
    };
    for (machine, workload) in [
        (machine(256 << 20, 1, Disk::SdCard), Workload::Edge),
        (machine(2 << 30, 4, Disk::Ssd), Workload::Edge),
        (machine(16 << 30, 8, Disk::Hdd), Workload::Dedicated),
    ] {
        for major in [16, 18] {
            let wish = Wish { major, workload, max_connections: None, declared: Default::default() };
            let tuned = tune(&machine, &wish);
            let arguments: Vec<String> =
                tuned.iter().map(|row| format!("{}={}", row.name, row.value)).collect();
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let cluster = Cluster::start_major(major, &arguments);
            let pools = Pools::new(cluster.target.clone(), 1);
            // pgvector's settings are there once its library is.
            let client = pools.get("postgres").await.expect("a connection");
            client.batch_execute("CREATE EXTENSION vector").await.expect("pgvector");
            drop(client);
            let inquiry = Inquiry::open(&pools, "postgres", &Options::default()).await.expect("a session");
            inquiry.rows("SELECT '[1]'::public.vector::text AS loaded", false).await.expect("its library");
            let live = inquiry.rows("SELECT name, setting FROM pg_settings", false).await.expect("settings");
            for row in &tuned {
                let live = live.iter().find(|it| it.text("name") == row.name).expect("the setting is live");
                assert!(settings::same(&row.name, &row.value, live.text("setting")), "{row:?}: {live:?}");
            }
            // With the machine and no declaration, drift is judged against the tuning itself.
            let spec: Spec = toml::from_str(&format!(
                "name = 'x'\n[server]\ndisk = '{}'\nworkload = '{}'",
                serde_json::to_value(machine.disk).unwrap().as_str().unwrap(),
                serde_json::to_value(workload).unwrap().as_str().unwrap()
            ))
            .expect("a declaration");
            let look = Look { spec: Some(spec), ..Look::server(&pools).on(machine.clone()) };
            look.healthy("cfg.drift").await;
            look.healthy("mem.work_mem_worst").await;
            look.healthy("mem.cache_size").await;
            look.healthy("mem.shared_buffers").await;
        }
    }
}

#[tokio::test]
async fn a_role_without_rights_gets_a_report_that_says_what_it_could_not_see() {
    let (_cluster, pools) = cluster(&[]);
    execute(&pools, "CREATE ROLE nobody_special LOGIN PASSWORD 'x'").await;
    let target = pools.target().as_role("nobody_special", Some(howdah_postgres::Secret::new("x")));
    let pools = Pools::new(target, 2);
    let report = run(&pools, None, None, &Options::default()).await.expect("a report");
    let reason = |id: &str| report.not_run.iter().find(|it| it.check == id).map(|it| it.reason.as_str());
    assert_eq!(reason("sec.md5_roles"), Some("only a superuser sees it"));
    assert!(reason("conn.saturation").is_some_and(|reason| reason.contains("pg_monitor")));
    assert_eq!(reason("mem.shared_buffers"), Some("nothing is known about the server's machine"));
    let ran = report.findings.iter().map(|it| &it.check).chain(report.passed.iter().map(|it| &it.check));
    let names: std::collections::BTreeSet<&String> =
        ran.chain(report.not_run.iter().map(|it| &it.check)).collect();
    assert_eq!(names.len(), check::all().count(), "every check is in the report, one way or another");
}

#[tokio::test]
async fn a_check_or_database_that_is_not_there_is_refused() {
    let (_cluster, pools) = cluster(&[]);
    let ask = |checks: &str, databases: &str| Options {
        checks: Some(checks.to_owned()).filter(|it| !it.is_empty()).into_iter().collect(),
        databases: Some(databases.to_owned()).filter(|it| !it.is_empty()).into_iter().collect(),
        ..Options::default()
    };
    let problem = run(&pools, None, None, &ask("pgv.availabel", "")).await.unwrap_err();
    assert_eq!(problem.hint.as_deref(), Some("Did you mean `pgv.available`?"));
    let problem = run(&pools, None, None, &ask("", "nope")).await.unwrap_err();
    assert_eq!(problem.message, "database `nope` is not there");
    let report = run(&pools, None, None, &ask("bak.", "postgres")).await.expect("a report");
    assert!(report.passed.iter().all(|it| it.check.starts_with("bak.")));
}

#[tokio::test]
async fn the_doctor_changes_nothing_and_leaves_no_session() {
    let (_cluster, pools) = cluster(&[]);
    run(&pools, None, None, &Options { recall: true, ..Options::default() }).await.expect("a report");
    let options = Options::default();
    let inquiry = Inquiry::open(&pools, "postgres", &options).await.expect("a session");
    let server = Server::read(&inquiry, &pools.target(), None, None, &options).await.expect("facts");
    assert!(
        server.superuser && server.local && !server.recovery && server.databases.contains(&"postgres".into())
    );
    let refused = inquiry.rows("SELECT lo_create(0)", false).await.unwrap_err();
    assert!(format!("{refused:?}").contains("read-only"), "{refused:?}");
    assert_eq!(check::all().filter(|check| check.scope == Scope::VectorIndex).count(), 2);
}
