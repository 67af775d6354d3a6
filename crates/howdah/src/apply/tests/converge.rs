//! Applied, nothing is left to do.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use howdah_plan::preset::PRESETS;
use howdah_plan::spec::arbitrary;
use howdah_plan::tune;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, TestRunner};

use super::{SHOP, Server, destroying, portrait, spec};
use howdah_postgres::Secret;
use howdah_postgres::testing::{PASSWORD, major};

#[tokio::test]
async fn after_apply_the_plan_is_empty() {
    let server = Server::start();
    let shop = spec(SHOP);
    let before = server.plan(&shop).await;
    assert!(!before.is_empty() && before.blocked.is_empty() && before.problems.is_empty(), "{before}");
    let outcome = server.apply(&shop).await;
    let planned: Vec<&str> = before.steps.iter().map(|step| step.id.as_str()).collect();
    assert_eq!(outcome.done, planned, "one pass did it, as planned");
    assert_eq!(outcome.restart, ["max_wal_senders"]);
    let after = server.plan(&shop).await;
    assert!(after.is_empty(), "{after}");
    let again = server.apply(&shop).await;
    assert!(again.done.is_empty());
    assert_eq!(server.value("shop", "current_setting('log_min_duration_statement')").await, "250ms");
}

#[tokio::test]
async fn every_preset_is_applied_and_nothing_is_left() {
    let server = Server::start();
    for preset in PRESETS {
        let file = format!("{}/../../examples/{}/howdah.toml", env!("CARGO_MANIFEST_DIR"), preset.name);
        let declared = spec(&std::fs::read_to_string(file).expect("the preset's example"));
        let mut options = destroying();
        for role in declared.roles.values() {
            let name = role.password_env.clone().unwrap_or_default();
            options.environment.insert(name, Secret::new("a password"));
        }
        options.plan.tuned = tune::for_spec(&tune::Machine::default(), major(), &declared).unwrap();
        let outcome = server.try_apply(&declared, &options).await;
        let outcome = outcome.unwrap_or_else(|problem| panic!("{}: {problem:#?}", preset.name));
        assert!(outcome.left.is_empty(), "{}: {}", preset.name, outcome.left);
        let plan = crate::apply::plan(&server.pools, &declared, &options.plan).await.unwrap();
        assert!(plan.is_empty(), "{}: {plan}", preset.name);
    }
}

/// Whoever may not let Howdah change a server hands the plan to an administrator.
#[tokio::test]
async fn the_plan_is_a_script_that_psql_runs() {
    let server = Server::start();
    let shop = spec(SHOP);
    let script = server.plan(&shop).await.to_string();
    let target = &server.cluster.target;
    let mut child = Command::new(server.cluster.programs.program("psql"))
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-h"])
        .arg(&server.cluster.dir)
        .args(["-p", &target.port.to_string(), "-U", "postgres", "-d", "postgres"])
        .env("PGPASSWORD", PASSWORD)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("psql");
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{script}");
    let plan = server.plan(&shop).await;
    let ids: Vec<&str> = plan.steps.iter().map(|step| step.id.as_str()).collect();
    let without =
        ["shop_app", "howdah_shop_read", "howdah_shop_write", "howdah_shop_control", "howdah_shop_inspect"];
    assert_eq!(ids, without.map(|role| format!("role:{role}:password")), "no script holds a password");
}

/// What a server becomes does not depend on what it was: a declaration applied upon another leaves the same catalogues as
/// on a server that has nothing. The plan is not asked.
#[tokio::test]
async fn the_way_does_not_show() {
    let asked: Option<u32> = std::env::var("HOWDAH_TEST_CASES").ok().and_then(|text| text.parse().ok());
    let mut runner = match asked {
        Some(_) => TestRunner::new(Config::default()),
        None => TestRunner::deterministic(),
    };
    let begin = Instant::now();
    let cases = asked.unwrap_or(8);
    for case in 0..cases {
        if begin.elapsed() > Duration::from_secs(45) {
            eprintln!("skipped: {} of {cases} pairs, for time", cases - case);
            break;
        }
        let (changed, fresh) = (Server::start(), Server::start());
        let howdah = fresh.cluster.has_extension();
        let (before, mut after) = arbitrary::pair(howdah).new_tree(&mut runner).expect("a pair").current();
        // Who says nothing of an owner leaves what there is.
        for (name, database) in &mut after.databases {
            let was = before.databases.get(name).and_then(|before| before.owner.clone());
            database.owner = database.owner.take().or(was.filter(|owner| after.roles.contains_key(owner)));
        }
        changed.destroy(&before).await;
        changed.destroy(&after).await;
        fresh.destroy(&after).await;
        let wanted = portrait::of(&fresh, after.databases.keys()).await;
        let there = portrait::of(&changed, after.databases.keys()).await;
        let differences = portrait::differences(&wanted, &there);
        let texts = [before, after].map(|spec| toml::to_string(&spec).unwrap());
        assert!(differences.is_empty(), "case {case}: {differences:#?}\n{}\n---\n{}", texts[0], texts[1]);
    }
}

/// Declarations follow each other on one server, each carried out upon what the one before left.
#[tokio::test]
async fn random_declarations_converge_one_after_the_other() {
    let server = Server::start();
    // The same pairs every time; others, as many as are asked for, where a number is given.
    let asked: Option<u32> = std::env::var("HOWDAH_TEST_CASES").ok().and_then(|text| text.parse().ok());
    let cases = asked.unwrap_or(30);
    let mut runner = match asked {
        Some(_) => TestRunner::new(Config::default()),
        None => TestRunner::deterministic(),
    };
    let howdah = server.cluster.has_extension();
    let begin = Instant::now();
    for case in 0..cases {
        if begin.elapsed() > Duration::from_secs(45) {
            eprintln!("skipped: {} of {cases} pairs, for time", cases - case);
            break;
        }
        let (before, after) = arbitrary::pair(howdah).new_tree(&mut runner).expect("a pair").current();
        for declared in [before, after] {
            let text = toml::to_string(&declared).unwrap();
            let outcome = server.try_apply(&declared, &destroying()).await;
            let outcome = outcome.unwrap_or_else(|problem| panic!("case {case}: {problem:#?}\n{text}"));
            assert!(outcome.left.is_empty(), "case {case}: {}\n{text}", outcome.left);
            let plan = server.plan(&declared).await;
            assert!(plan.is_empty(), "case {case}: {plan}\n{text}");
        }
    }
}
