use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::*;
use crate::platform::{Id, Platform};
use crate::spec::Spec;
use crate::tune::{self, Machine};
use crate::version;

struct World {
    version_num: u32,
    today: &'static str,
    database: Option<&'static str>,
    extensions: BTreeMap<String, String>,
    machine: Option<Machine>,
    platform: Platform,
    spec: Option<Spec>,
}

impl Default for World {
    fn default() -> Self {
        World {
            version_num: 180_004,
            today: "2026-11-20",
            database: Some("app"),
            extensions: BTreeMap::from([("vector".to_owned(), "0.8.5".to_owned())]),
            machine: None,
            platform: Platform { id: Id::Source, reason: String::new() },
            spec: None,
        }
    }
}

impl World {
    fn facts(&self) -> CheckFacts<'_> {
        CheckFacts {
            version_num: self.version_num,
            today: self.today,
            database: self.database,
            extensions: &self.extensions,
            superuser: true,
            monitor: true,
            config_files: true,
            recovery: false,
            local: true,
            platform: &self.platform,
            machine: self.machine.as_ref(),
            spec: self.spec.as_ref(),
            requested: true,
        }
    }

    fn judge(&self, id: &str, rows: serde_json::Value) -> Vec<Finding> {
        let rows: Vec<Row> = serde_json::from_value(rows).unwrap();
        findings(find(id).unwrap(), &self.facts(), &rows)
    }

    fn measured(&self, id: &str, rows: serde_json::Value) -> Vec<(Severity, String)> {
        self.judge(id, rows).into_iter().map(|finding| (finding.severity, finding.measured)).collect()
    }
}

/// The verdict of a check that a story cannot bring about: hours have to pass, a replica has to lag, an extension is not in
/// the bundle. Bad rows are found, good rows are not.
fn verdict(id: &str, bad: serde_json::Value, good: serde_json::Value) -> Finding {
    let world = World::default();
    let found = world.judge(id, json!([bad]));
    assert_eq!(found.len(), 1, "{id}");
    assert_eq!(world.judge(id, json!([good])), [], "{id}");
    found.into_iter().next().unwrap()
}

#[test]
fn every_row_of_the_table_is_whole() {
    let mut ids = BTreeSet::new();
    for check in all() {
        assert!(ids.insert(check.id), "{} twice", check.id);
        assert!(check.why.ends_with('.') && check.why.len() > 20, "{}", check.id);
        assert!(!check.title.ends_with('.') && !check.title.is_empty(), "{}", check.id);
        assert!(!check.fix.text.is_empty(), "{}", check.id);
        assert!(check.sql.trim_start().to_uppercase().starts_with("SELECT"), "{}", check.id);
        assert!(!check.sql.contains("--") && !check.sql.contains(';'), "{}", check.id);
        assert!(Area::ALL.contains(&check.area));
        if check.fix.safe {
            let text = check.fix.text.to_uppercase();
            assert!(!text.contains("DROP ") && !text.contains("RESTART"), "{}: {}", check.id, check.fix.text);
        }
    }
    assert!(ids.len() >= 95, "{}", ids.len());
}

#[test]
fn versions_are_judged_by_their_last_day_and_newest_minor() {
    let world = |version_num, today| World { version_num, today, ..World::default() };
    let judge = |world: World| world.measured("pg.version.eol", json!([{"version": "v"}]));
    assert_eq!(judge(world(180_004, "2026-11-20")), []);
    assert_eq!(judge(world(180_001, "2026-11-20")), [(Severity::Medium, "`v`, behind 18.4".into())]);
    assert_eq!(judge(world(140_023, "2026-11-12")), []);
    assert_eq!(
        judge(world(140_023, "2026-11-20")),
        [(Severity::Critical, "`v`: 14 had its last release on 2026-11-12".into())]
    );
    assert_eq!(judge(world(120_001, "2026-11-20")), [(Severity::Critical, "`v` is older than 13".into())]);
    assert_eq!(judge(world(190_000, "2026-11-20")), [], "a major from after this program");
}

#[test]
fn each_pgvector_has_the_faults_of_its_version() {
    let world = World::default();
    let has = |version: &str, bits: u32| -> Vec<&str> {
        ["pgv.cve.2026-3172", "pgv.corruption.hnsw_vacuum", "pgv.cve.2026-18022"]
            .into_iter()
            .filter(|id| !world.judge(id, json!([{"default_version": version, "bits": bits}])).is_empty())
            .collect()
    };
    assert_eq!(has("0.5.1", 64), ["pgv.corruption.hnsw_vacuum"]);
    assert_eq!(has("0.6.1", 64), ["pgv.cve.2026-3172", "pgv.corruption.hnsw_vacuum"]);
    assert_eq!(has("0.8.0", 64), ["pgv.cve.2026-3172", "pgv.corruption.hnsw_vacuum"]);
    assert_eq!(has("0.8.2", 64), ["pgv.corruption.hnsw_vacuum"]);
    assert_eq!(has("0.8.3", 64), ["pgv.corruption.hnsw_vacuum"]);
    assert!(has("0.8.4", 64).is_empty());
    assert_eq!(has("0.8.5", 32), ["pgv.cve.2026-18022"]);
    assert!(has("0.8.6", 32).is_empty());
    assert!(has("1.0", 64).is_empty());
    assert_eq!(version::parse("0.8.6-dev"), Some([0, 8, 6]));
    assert_eq!(version::parse("neon"), None);
}

#[test]
fn a_server_without_pgvector() {
    let world = World::default();
    assert_eq!(world.judge("pgv.available", json!([])).len(), 1);
    let rds = World { platform: Platform { id: Id::Rds, reason: String::new() }, ..World::default() };
    let steps = &rds.judge("pgv.available", json!([]))[0].fix.text;
    assert!(steps.contains("aws rds modify-db-instance") && !steps.contains("{install}"), "{steps}");
    assert_eq!(world.judge("pgv.available", json!([{"default_version": "0.8.5"}])), []);
}

#[test]
fn statements_are_held_against_the_operator_classes_there_are() {
    let world = World::default();
    let row = |operator: &str, opclasses: &[&str]| json!([{"query": "SELECT …", "calls": 7, "operator": operator, "opclasses": opclasses}]);
    assert_eq!(world.judge("pgv.index.opclass_vs_query", row("<=>", &["halfvec_cosine_ops"])), []);
    let found = world.judge("pgv.index.opclass_vs_query", row("<->", &["vector_cosine_ops"]));
    assert_eq!(found[0].measured, "`<->` in 7 calls, no index has `vector_l2_ops`");
    assert!(found[0].fix.text.contains("(<column> vector_l2_ops)"), "{}", found[0].fix.text);
}

#[test]
fn verdicts_that_no_story_can_bring_about() {
    let filtered = |rows: f64| json!({"query": "q", "rows_per_call": rows, "calls": 40, "iterative": "off", "database_name": "app"});
    let finding = verdict("pgv.hnsw.filtered_no_iterative", filtered(1.5), filtered(10.0));
    assert_eq!(finding.fix.text, "ALTER DATABASE app SET hnsw.iterative_scan = 'strict_order'");

    let index = |scans: u64, seconds: u64| json!({"object": "public.i", "scans": scans, "valid": true, "counted_seconds": seconds, "bytes": 9_000_000});
    assert_eq!(
        verdict("pgv.index.unused", index(0, 864_000), index(3, 864_000)).measured,
        "no scan in 10 days, 8.58 MB"
    );
    assert_eq!(World::default().judge("pgv.index.unused", json!([index(0, 60)])), [], "too early to tell");

    let idle = json!({"object": "42", "usename": "app", "seconds": 900, "query": "SELECT 1"});
    let finding = World::default().judge("conn.idle_in_txn", json!([idle]));
    assert_eq!(finding[0].fix.text, "SELECT pg_terminate_backend(42)");
    assert_eq!(
        World::default().judge("conn.long_txn", json!([idle]))[0].fix.text,
        "SELECT pg_cancel_backend(42)"
    );
    let prepared = json!({"object": "'x'", "seconds": 900, "owner": "app", "database": "app"});
    assert_eq!(World::default().judge("conn.prepared_xacts", json!([prepared])).len(), 1);

    let age = |age: u64| json!({"object": "app", "age": age, "freeze": 200_000_000});
    assert_eq!(verdict("vac.wraparound", age(400_000_000), age(200_000_000)).severity, Severity::High);
    assert_eq!(verdict("vac.wraparound", age(1_900_000_000), age(5)).severity, Severity::Critical);
    verdict("vac.mxid", age(1_900_000_000), age(400_000_000));
    let holder = verdict("vac.xmin_holders", age(200_000_000), age(5));
    assert!(holder.fix.text.ends_with("drop the slot: app."));

    let lag = |bytes: u64, state: &str| json!({"object": "replica", "state": state, "bytes": bytes, "seconds": 0.0});
    assert_eq!(
        verdict("rep.lag", lag(1 << 30, "streaming"), lag(5, "streaming")).measured,
        "`streaming`, 1 GB and 0 s behind"
    );
    verdict("rep.lag", lag(0, "catchup"), lag(0, "streaming"));
    let standby =
        |seconds: u64, caught_up: bool| json!({"standby": true, "seconds": seconds, "caught_up": caught_up});
    verdict("rep.standby_age", standby(900, false), standby(900, true));
    verdict("rep.conflicts", json!({"object": "app", "n": 3}), json!({"object": "app", "n": 0}));
    let slot = |status: &str| json!({"object": "'s'", "bytes": 5, "status": status});
    assert_eq!(verdict("rep.slot_inactive", slot("lost"), slot("reserved")).severity, Severity::Critical);

    let wal = |bytes: u64| json!({"bytes": bytes, "most": 1u64 << 30, "kept": 0});
    verdict("bak.wal_size", wal(3 << 30), wal(1 << 30));
    let backup = json!([{"object": "7", "phase": "streaming database files", "percent": 12.5}]);
    assert_eq!(
        World::default().judge("bak.backup_in_progress", backup)[0].measured,
        "`streaming database files`, 12.5 %"
    );

    let slow = |ms: f64| json!({"object": "q", "ms": ms, "calls": 9});
    verdict("wl.slow_vector", slow(412.0), slow(3.0));
    let cache = |hit: u64| json!({"object": "app", "hit": hit, "read": 200_000});
    verdict("wl.cache_hit", cache(200_000), cache(200_000_000));
    let spilled = json!([{"object": "app", "files": 3, "bytes": 2_147_483_648_u64}]);
    assert_eq!(World::default().judge("wl.temp_files", spilled)[0].measured, "2 GB in 3 files");
    let pgss = |n: u64| json!({"n": n, "available": 1});
    verdict("wl.pgss", pgss(0), pgss(1));
    verdict("cfg.jit", json!({"value": "on", "available": true}), json!({"value": "on", "available": false}));
    verdict("cfg.checksums", json!({"value": "off"}), json!({"value": "on"}));
    verdict("sec.ssl_on", json!({"ssl": "on", "least": "TLSv1.1"}), json!({"ssl": "on", "least": "TLSv1.2"}));
    assert_eq!(World::default().judge("sec.ssl_clients", json!([{"object": "app", "sessions": 2}])).len(), 1);

    // A damaged btree is an error of its question, like a damaged vector index.
    let check = find("integrity.amcheck_btree").unwrap();
    assert!(check.error_counts);
    let facts = World::default();
    let finding = error_finding(check, &facts.facts(), &Row::default(), "item order invariant violated");
    assert_eq!(
        (finding.severity, finding.measured.as_str()),
        (Severity::High, "item order invariant violated")
    );
}

#[test]
fn a_fix_has_the_values_of_what_was_found_and_nothing_else() {
    let known = |name: &str| (name == "object").then(|| "public.\"a {column} b\"".to_owned());
    assert_eq!(template("VACUUM {object}", known), "VACUUM public.\"a {column} b\"");
    assert_eq!(template("'{1,2}'::vector {missing} {object", known), "'{1,2}'::vector {missing} {object");
}

#[test]
fn a_managed_platform_is_not_told_to_alter_the_system() {
    let world = World { platform: Platform { id: Id::Rds, reason: String::new() }, ..World::default() };
    let finding = &world.judge("io.random_page_cost", json!([{"value": 4.0}]))[0];
    assert_eq!((finding.fix.kind, finding.fix.safe), (FixKind::Advice, false));
    assert!(finding.fix.text.starts_with("On Amazon RDS set it in the platform's own parameters"));
}

#[test]
fn what_a_check_needs_is_said_when_it_is_not_there() {
    let world = World { extensions: BTreeMap::new(), ..World::default() };
    let mut facts = world.facts();
    (facts.superuser, facts.monitor, facts.requested, facts.recovery) = (false, false, false, true);
    let why = |id: &str| cannot(find(id).unwrap(), &facts).unwrap_or_default();
    assert_eq!(why("pgv.so_loads"), "extension `vector` is not installed in this database");
    assert_eq!(why("sec.md5_roles"), "only a superuser sees it");
    assert!(why("conn.saturation").contains("pg_monitor"));
    assert_eq!(why("mem.shared_buffers"), "nothing is known about the server's machine");
    assert_eq!(why("cfg.drift"), "there is no declaration to compare with");
    assert_eq!(why("pg.version.eol"), "");
    let world = World { version_num: 140_001, ..World::default() };
    assert_eq!(
        cannot(find("schema.collation_mismatch").unwrap(), &world.facts()).unwrap(),
        "not for PostgreSQL 14"
    );
}

#[test]
fn a_build_and_an_index_take_what_was_measured() {
    let row = |bytes: u64, memory: u64| {
        json!([{"object": "public.i", "method": "hnsw", "rows": 10_000, "dimensions": 768, "type": "vector", "m": 16,
                "bytes": bytes, "maintenance_bytes": memory}])
    };
    let world = World::default();
    // 10,000 rows of 768 dimensions: 4,096 bytes a row in the index, 3,855 a row while building.
    assert_eq!(world.judge("pgv.index.bloat", row(10_000 * 4_096, 1 << 30)), []);
    assert_eq!(world.judge("pgv.index.bloat", row(10_000 * 8_000, 1 << 30)).len(), 1);
    assert_eq!(world.judge("pgv.index.mwm_fit", row(0, 39_000_000)), []);
    assert_eq!(world.judge("pgv.index.mwm_fit", row(0, 8 << 20)).len(), 1);
    // A figure beyond what the declared machine has is no advice.
    let declared = |memory: &str| World {
        spec: Some(toml::from_str(&format!("name = 'x'\n[server]\nmemory = '{memory}'\n")).unwrap()),
        machine: Some(Machine { memory_bytes: 24 << 30, ..Machine::default() }),
        ..World::default()
    };
    let fix = |memory: &str| declared(memory).judge("pgv.index.mwm_fit", row(0, 8 << 20))[0].fix.clone();
    assert_eq!(
        fix("2GiB").text,
        "SET maintenance_work_mem = '37MB'; -- in the session that builds, if the machine has it"
    );
    assert_eq!(fix("64MB").kind, FixKind::Advice);
    assert!(fix("64MB").text.starts_with("This machine has 64 MB"), "{}", fix("64MB").text);
}

#[test]
fn howdahs_own_index_is_judged_by_its_own_curve_and_setting() {
    let row = |rows: u64, calibrated: u64, reaches: Option<f64>| json!({"object": "public.i", "table_name": "public.t", "rows": rows, "calibrated": calibrated, "reaches": reaches, "target": 0.97});
    let grown = verdict(
        "howdah.index.calibration",
        row(100_000, 20_000, Some(0.9995)),
        row(100_000, 90_000, Some(0.9995)),
    );
    assert_eq!(grown.measured, "measured at 20000 rows, there are 100000");
    assert!(grown.fix.text.starts_with("VACUUM public.t;"), "{}", grown.fix.text);
    let without = verdict("howdah.index.calibration", row(100_000, 100_000, None), row(5_000, 0, None));
    assert!(without.measured.contains("ends at a recall of 0.0000"), "{}", without.measured);
    let probed = |method: &str, recall: f64| json!({"samples": 100, "recall": recall, "worst": 3, "wanted": 10, "ef_search": "40", "target_recall": "0.5", "method": method, "index": "public.i", "database_name": "app"});
    let own = verdict("pgv.recall.probe", probed("howdah", 0.6), probed("howdah", 0.96));
    assert!(own.measured.ends_with("`howdah.target_recall` is 0.5"), "{}", own.measured);
    assert!(own.fix.text.starts_with("ALTER DATABASE app SET howdah.target_recall"), "{}", own.fix.text);
    let graph = verdict("pgv.recall.probe", probed("hnsw", 0.6), probed("hnsw", 0.96));
    assert!(graph.measured.ends_with("`hnsw.ef_search` is 40"), "{}", graph.measured);
}

#[test]
fn what_holds_for_graphs_is_not_said_of_howdahs_own_index() {
    let index = |method: &str| {
        json!([{"object": "public.i", "method": method, "rows": 1_000_000, "bytes": 900_000_000_i64, "dimensions": 384,
            "type": "vector", "m": 16, "lists": 100, "probes": 1, "ivfflat_iterative": "off", "hnsw_iterative": "off",
            "ef_search": 40, "maintenance_bytes": 64 << 20, "buffers_bytes": 128 << 20, "valid": true, "scans": 7}])
    };
    let world = World::default();
    let found = |id: &str, method: &str| !world.judge(id, index(method)).is_empty();
    for (id, method) in [
        ("pgv.hnsw.ef_search_lt_limit", "hnsw"),
        ("pgv.index.mwm_fit", "hnsw"),
        ("pgv.index.size_vs_buffers", "hnsw"),
        ("pgv.ivfflat.probes", "ivfflat"),
        ("pgv.ivfflat.built_empty", "ivfflat"),
    ] {
        assert!(found(id, method) && !found(id, "howdah"), "{id}");
    }
    assert!(!found("pgv.index.bloat", "howdah"));
}

/// What `pg_settings` shows of the memory, in the row that the checks of memory ask for.
fn memory_row(buffers: u64, work_mem: u64, cache: u64, connections: u64) -> serde_json::Value {
    json!([{"buffers": buffers, "work_mem": work_mem, "cache": cache, "connections": connections}])
}

#[test]
fn an_advised_size_is_the_one_that_the_declaration_is_tuned_to() {
    const MB: u64 = 1 << 20;
    let declared = |text: &str| World {
        spec: Some(toml::from_str(text).unwrap()),
        machine: Some(Machine { memory_bytes: 24 << 30, ..Machine::default() }),
        ..World::default()
    };
    let fix = |world: &World, buffers: u64| -> Option<String> {
        let row = memory_row(buffers, 4 * MB, 1 << 30, 40);
        world.judge("mem.shared_buffers", row).pop().map(|finding| finding.fix.text)
    };
    // 2 GiB are declared, whatever the machine has: a quarter of them is right.
    let edge = "name = 'x'\n[server]\nmemory = '2GiB'\nworkload = 'edge'\n";
    assert_eq!(fix(&declared(edge), 512 * MB), None);
    assert_eq!(fix(&declared(edge), 64 * MB).unwrap(), "howdah apply  # brings `shared_buffers` to 512MB");
    let foreign = format!("{edge}url = 'postgres://localhost'\n");
    let advice = "ALTER SYSTEM SET shared_buffers = '512MB'; -- then restart";
    assert_eq!(fix(&declared(&foreign), 64 * MB).unwrap(), advice);
    let said = format!("{edge}[settings]\nshared_buffers = '1536MB'\n");
    let advice = fix(&declared(&said), 1_536 * MB).unwrap();
    assert!(
        advice.starts_with("`[settings]` in howdah.toml declares it") && advice.contains("`512MB`"),
        "{advice}"
    );
    assert_eq!(declared(edge).judge("mem.cache_size", memory_row(512 * MB, MB, 1_536 * MB, 40)), []);
    let disk = |disk: &str| {
        let world =
            declared(&format!("name = 'x'\n[server]\nurl = 'postgres://localhost'\ndisk = '{disk}'\n"));
        world.judge("io.random_page_cost", json!([{"value": 4.0}])).pop().map(|finding| finding.fix.text)
    };
    assert_eq!(disk("hdd"), None);
    assert!(disk("sd_card").unwrap().starts_with("ALTER SYSTEM SET random_page_cost = 1.5;"));
}

/// A server as Howdah tunes it, for every preset and many machines, is one that the doctor has nothing against.
#[test]
fn the_doctor_never_argues_with_what_was_tuned() {
    let bytes = |tuned: &[tune::Tuned], name: &str| {
        let value = &tuned.iter().find(|row| row.name == name).unwrap().value;
        crate::settings::value::in_bytes(name, value).or_else(|| value.parse().ok()).unwrap()
    };
    for preset in crate::preset::PRESETS {
        let spec: Spec = toml::from_str(&crate::preset::render(preset.name).unwrap()).unwrap();
        for (gigabytes, arch) in [(1, "x86_64"), (2, "arm"), (7, "aarch64"), (24, "x86"), (64, "x86_64")] {
            let machine = Machine { memory_bytes: gigabytes << 30, arch: arch.into(), ..Machine::default() };
            let tuned = tune::for_spec(&machine, 18, &spec).unwrap();
            let row = memory_row(
                bytes(&tuned, "shared_buffers"),
                bytes(&tuned, "work_mem"),
                bytes(&tuned, "effective_cache_size"),
                bytes(&tuned, "max_connections"),
            );
            let world = World { spec: Some(spec.clone()), machine: Some(machine), ..World::default() };
            for check in ["mem.shared_buffers", "mem.work_mem_worst", "mem.cache_size"] {
                assert_eq!(
                    world.judge(check, row.clone()),
                    [],
                    "{} with {gigabytes} GiB, {arch}",
                    preset.name
                );
            }
        }
    }
}
