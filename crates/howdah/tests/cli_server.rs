//! Whole commands against a real server: from nothing to an answer, and what goes wrong on the way.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{NOTES, Story, has_ended, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[test]
fn a_first_hour() {
    let story = Story::with_notes();
    says!("up", story.tell(&["up"]));
    let begun = Instant::now();
    says!("up_again", story.tell(&["up"]));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    says!("status", story.tell(&["status"]));
    searches(&story);
    batches(&story);
    rows(&story);
    keys(&story);
    files(&story);
    drift(&story);
    says!("env", story.tell(&["env"]));
    programs(&story);
    says!("down", story.tell(&["down"]));
    says!("down_again", story.tell(&["down"]));
    says!("after", story.tell(&["search", "elephants"]));
}

fn searches(story: &Story) {
    says!("search", story.tell(&["search", "elephants"]));
    says!("search_vector", story.tell(&["search", "--vector", "[0,1,0]", "-o", "csv"]));
    says!("search_like", story.tell(&["search", "--like", "2", "-n", "1", "-o", "json"]));
    says!(
        "search_where",
        story.tell(&["search", "rows backup howdahs", "--where", "year=2020", "-o", "jsonl"])
    );
    says!(
        "search_filter",
        story.tell(&["search", "rows", "--filter", "{\"year\": {\"gte\": 2024}}", "--sql"])
    );
    says!("search_curl", story.tell(&["search", "it's", "--curl"]));
    says!("search_limit_0", story.tell(&["search", "x", "--limit", "0"]));
    says!("search_limit_huge", story.tell(&["search", "x", "--limit", "1000000000"]));
    says!("search_dimensions", story.tell(&["search", "--vector", "[1,2]"]));
    says!("search_key", story.tell(&["search", "x", "--filter", "{\"yaer\": 2020}"]));
    says!("search_collection", story.tell(&["search", "x", "-c", "noets"]));
    says!("search_not_json", story.tell(&["search", "x", "--filter", "{year: 2020}"]));
    let spliced = story.tell(&["search", "rows", "--where", "source='; DROP TABLE notes; --", "-o", "json"]);
    assert!(spliced.contains("\"results\": []"), "{spliced}");
    assert!(story.ok(&["search", "elephants", "--explain"]).contains("execution"));
    let fastest = (0..5)
        .map(|_| {
            let begun = Instant::now();
            story.ok(&["search", "elephants"]);
            begun.elapsed()
        })
        .min()
        .unwrap();
    assert!(fastest < Duration::from_millis(100), "{fastest:?}");
}

/// Several searches in one request: each has its answer or its reason.
fn batches(story: &Story) {
    let lines = "{\"text\": \"elephants\"}\n\n{\"vector\": [1, 2]}\n{\"text\": \"backup\", \"limit\": 1, \"collection\": \"notes\"}\n";
    let output = story.feed(&["search-batch", "-o", "jsonl"], lines);
    assert_eq!(output.status.code(), Some(2), "{}", common::told(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), 3, "{text}");
    assert_eq!(answers[0]["answer"]["results"][0]["source"], "elephants");
    assert_eq!(answers[1]["error"]["kind"], "usage");
    assert_eq!(answers[2]["answer"]["results"][0]["source"], "backups");
    says!("batch", story.clean(&common::told(&story.feed(&["search-batch", "-c", "notes"], lines))));
    let wrong =
        story.feed(&["search-batch", "-c", "notes"], "{\"text\": \"x\", \"collection\": \"other\"}\n");
    says!("batch_other", story.clean(&common::told(&wrong)));
    says!("batch_empty", story.clean(&common::told(&story.feed(&["search-batch", "-c", "notes"], ""))));
    says!("batch_not_json", story.clean(&common::told(&story.feed(&["search-batch", "-c", "notes"], "x\n"))));
    let many = "{\"text\": \"x\"}\n".repeat(101);
    says!("batch_many", story.clean(&common::told(&story.feed(&["search-batch", "-c", "notes"], &many))));
    says!("update", story.tell(&["update", "notes", "1", "--metadata", "{\"lang\": \"en\"}"]));
    says!("jobs_none", story.tell(&["jobs"]));
}

/// psql and addresses for programs: as a role with few rights, or as the one that is asked for.
fn programs(story: &Story) {
    let who = |role: &[&str]| {
        let words = ["psql", "-q"].iter().chain(role).chain(&["--", "-XAtc", "SELECT current_user"]);
        story.ok(&words.copied().collect::<Vec<_>>()).trim().to_owned()
    };
    assert_eq!(who(&[]), "howdah_story_write");
    assert_eq!(who(&["--role", "read"]), "howdah_story_read");
    assert_eq!(who(&["--role", "superuser"]), "postgres");
    let rows = story.ok(&["psql", "-q", "--", "-XAtc", "SELECT count(*) FROM notes"]);
    assert!(rows.trim().parse::<u32>().unwrap() > 0, "the role reads collections");
    let refused = story.run(&["psql", "-q", "--", "-Xc", "CREATE ROLE worse SUPERUSER"]);
    assert_eq!(refused.status.code(), Some(1), "psql's own exit code: {}", common::told(&refused));
    says!("env_superuser", story.tell(&["env", "--role", "superuser"]));
    says!("env_role", story.tell(&["env", "--role", "raed"]));
    // A declared role comes first once it can be logged in as.
    let declared = "[roles.shop]\nlogin = true\npassword_env = \"SHOP\"\n\
                    grants = [{ database = \"app\", privileges = [\"select\"] }]\n";
    story.write("howdah.toml", &format!("{NOTES}{declared}"));
    says!("env_unset", story.tell(&["env", "--role", "shop"]));
    let with = |words: &[&str]| {
        let output = story.command(words).env("SHOP", "it's a/secret").output().unwrap();
        assert!(output.status.success(), "{}", common::told(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    with(&["apply", "-q"]);
    assert!(with(&["env", "-q"]).contains("postgres://shop:it%27s%20a%2Fsecret@127.0.0.1:"));
    let user = with(&["psql", "-q", "--", "-XAtc", "SELECT current_user, current_setting('is_superuser')"]);
    assert_eq!(user.trim(), "shop|off");
    assert!(!with(&["logs", "--all"]).contains("a/secret"));
    let all = with(&["logs", "--all", "-n", "40"]);
    assert!(all.lines().count() <= 40 && all.lines().all(|line| line.contains(" | ")), "{all}");
    assert!(
        all.contains("howdah   | ") && with(&["logs", "--all", "-n", "4000"]).contains("postgres | "),
        "{all}"
    );
}

fn rows(story: &Story) {
    says!("collections", story.tell(&["collections"]));
    says!("collections_show", story.tell(&["collections", "show", "notes"]));
    says!("get", story.tell(&["get", "notes", "1", "--embedding"]));
    says!("get_nothing", story.tell(&["get", "notes", "999"]));
    says!(
        "delete_dry",
        story.tell(&["delete", "notes", "--filter", "{\"year\": {\"lt\": 1900}}", "--dry-run"])
    );
    says!("delete_nothing", story.tell(&["delete", "notes"]));
    says!("delete", story.tell(&["delete", "notes", "--source", "elephants"]));
}

fn keys(story: &Story) {
    let key = story.ok(&["keys", "create", "reader"]);
    let key = key.trim();
    let rest = story.rest();
    let as_reader = |args: &[&str], key: &str| {
        let mut all = vec!["--url", &rest, "--key", key];
        all.extend(args);
        story.tell(&all)
    };
    let found = as_reader(&["search", "backup", "-c", "notes", "-o", "csv"], key);
    assert!(found.contains("never restored"), "{found}");
    says!("key_scope", as_reader(&["delete", "notes", "1"], key));
    says!("key_wrong", as_reader(&["search", "x", "-c", "notes"], &format!("hdk_{}", "A".repeat(43))));
    says!("key_bad_name", story.tell(&["keys", "create", ""]));
    says!("keys_list", story.tell(&["keys", "list"]));
    says!("key_revoke", story.tell(&["keys", "revoke", &key[..12]]));
    says!("key_revoked", as_reader(&["search", "x", "-c", "notes"], key));
    says!("key_unknown", story.tell(&["keys", "revoke", "hdk_nobody"]));
}

fn files(story: &Story) {
    story.write(
        "more.jsonl",
        "{\"source\": \"new\", \"content\": \"A new note.\", \"embedding\": [1, 1, 0]}\n",
    );
    says!("ingest", story.tell(&["ingest", "notes", "more.jsonl"]));
    says!("ingest_again", story.tell(&["ingest", "notes", "more.jsonl"]));
    story.write("bad.jsonl", "{\"source\": \"b\", \"content\": \"Bad.\", \"embedding\": [1, 1]}\nnot json\n");
    says!("ingest_bad", story.tell(&["ingest", "notes", "bad.jsonl"]));
    says!("ingest_skip", story.tell(&["ingest", "notes", "bad.jsonl", "--skip-bad"]));
    says!("ingest_missing", story.tell(&["ingest", "notes", "nowhere.md"]));
    says!("ingest_collection", story.tell(&["ingest", "note", "more.jsonl"]));
    says!("ingest_format", story.tell(&["ingest", "notes", "more.jsonl", "--format", "docx"]));
}

fn drift(story: &Story) {
    says!("plan", story.tell(&["plan"]));
    story.write(
        "howdah.toml",
        &NOTES.replace("year = \"integer\"", "year = \"integer\", pages = \"integer\""),
    );
    says!("plan_drift", story.tell(&["plan", "--check"]));
    says!("search_older", story.tell(&["search", "nothing-like-it", "-o", "csv"]));
    says!("apply", story.tell(&["apply"]));
    says!("plan_check", story.tell(&["plan", "--check"]));
    doctor(story);
}

/// What Howdah set up itself is set up right; that there is no archive is true and said with the step to take here.
fn doctor(story: &Story) {
    let report: serde_json::Value = serde_json::from_str(&story.ok(&["doctor", "-o", "json"])).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let of = |area: &str| {
        findings.iter().filter(|one| one["check"].as_str().unwrap().starts_with(area)).collect::<Vec<_>>()
    };
    let vectors = of("pgv.hnsw.");
    assert!(vectors.is_empty(), "{vectors:#?}");
    let archive = of("bak.archive_mode");
    assert_eq!(archive.len(), 1, "{findings:#?}");
    assert!(archive[0]["fix"]["text"].as_str().unwrap().contains("howdah.toml"), "{archive:#?}");
    // Any program's search is whole, not only Howdah's own.
    let scan = "SELECT current_setting('hnsw.iterative_scan') FROM (SELECT '[1]'::vector) loaded";
    assert_eq!(story.value(scan), "strict_order");
}

#[test]
fn what_dies_comes_back() {
    let story = Story::with_notes();
    story.ok(&["up", "--quiet"]);
    let before = story.postmaster();
    kill(Pid::from_raw(before), Signal::SIGKILL).unwrap();
    until("PostgreSQL is up again", || {
        story.run(&["search", "elephants"]).status.success() && story.postmaster() != before
    });

    // The supervisor dies; PostgreSQL lives on and is taken over.
    let daemon = story.running()["process"]["pid"].as_i64().unwrap();
    kill(Pid::from_raw(i32::try_from(daemon).unwrap()), Signal::SIGKILL).unwrap();
    let postmaster = story.postmaster();
    let taken = story.tell(&["up"]);
    assert!(taken.contains("took over"), "{taken}");
    assert_eq!(story.postmaster(), postmaster);
    story.ok(&["search", "elephants"]);
    story.ok(&["down"]);
    assert!(has_ended(postmaster), "PostgreSQL outlived `down`");
}

#[test]
fn two_clones_are_two_instances_and_a_stale_file_ends_nobody() {
    let (one, two) = (Story::with_notes(), Story::with_notes());
    one.ok(&["up", "--quiet"]);
    two.ok(&["up", "--quiet"]);
    assert_ne!(one.rest(), two.rest());
    two.ok(&["down"]);
    one.ok(&["search", "elephants"]);

    // A file left behind whose number is somebody else's by now.
    let mut other = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
    let mut running = one.running();
    running["process"]["pid"] = other.id().into();
    two.write("unused", "");
    std::fs::write(two.instance().join("daemon.json"), running.to_string()).unwrap();
    let down = two.tell(&["down"]);
    assert!(down.contains("was not running"), "{down}");
    assert!(other.try_wait().unwrap().is_none(), "somebody else's process was ended");
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn in_the_foreground_it_logs_and_ends_on_sigterm() {
    let story = Story::with_notes();
    let child =
        story.command(&["up", "--foreground"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    until("it is ready", || {
        story.home.join("instances").exists()
            && story.written().is_some_and(|running| running["ready"] == true)
    });
    story.ok(&["search", "elephants"]);
    let second = story.run(&["up", "--foreground"]);
    assert_eq!(second.status.code(), Some(6), "{}", common::told(&second));
    kill(pid, Signal::SIGTERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", common::told(&output));
    assert!(output.stdout.is_empty());
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(log.lines().all(|line| line.starts_with('{')), "{log}");
    assert!(log.contains("\"message\":\"ready\""), "{log}");
}

#[test]
fn a_taken_port_is_one_clear_message() {
    let story = Story::with_notes();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    story.write("howdah.toml", &format!("{NOTES}\n[api]\nlisten = \"127.0.0.1:{port}\"\n"));
    says!("rest_port_taken", story.tell(&["up", "--quiet"]));
    story.write("howdah.toml", &format!("{NOTES}\n[server]\nport = {port}\n"));
    let told = story.tell(&["up", "--quiet"]);
    assert!(told.contains("exit 6") && told.contains("is taken"), "{told}");
}

#[test]
fn a_declared_server_that_is_not_there_fails_fast() {
    let story = Story::with_notes();
    let url = "postgres://app@127.0.0.1:9/app";
    let output = story.command(&["up"]).env("DATABASE_URL", url).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", common::told(&output));
}

#[test]
fn a_document_that_cannot_be_read_is_left_out_and_said() {
    let story = Story::with_notes();
    let declared = |documents: &str| NOTES.replace("[\"notes.jsonl\"]", documents);
    let record = |source: &str| {
        format!("{{\"source\": \"{source}\", \"content\": \"x\", \"embedding\": [1, 1, 0]}}\n")
    };
    let mut broken = record("first").into_bytes();
    broken.extend_from_slice(b"{\"source\": \"b\", \"content\": \"\xff\", \"embedding\": [1, 1, 0]}\n");
    broken.extend_from_slice(record("last").as_bytes());
    std::fs::write(story.project.join("broken.jsonl"), broken).unwrap();

    // Nothing at all that could be read: nothing is up.
    story.write("howdah.toml", &declared("[\"gone.jsonl\"]"));
    says!("up_nothing", story.tell(&["up"]));
    assert!(!story.serves());

    story.write("howdah.toml", &declared("[\"gone.jsonl\", \"broken.jsonl\", \"notes.jsonl\"]"));
    says!("up_left_out", story.tell(&["up"]));
    assert_eq!(
        story.value("SELECT string_agg(source, ' ' ORDER BY source) FROM notes"),
        "backups elephants filters first last"
    );
    says!("up_left_out_again", story.tell(&["up"]));
    let json: serde_json::Value = serde_json::from_slice(&story.run(&["up", "-o", "json"]).stdout).unwrap();
    assert_eq!(json["left_out"], 2, "{json}");

    story.write("broken.jsonl", &(record("first") + &record("b") + &record("last")));
    story.write("howdah.toml", &declared("[\"broken.jsonl\", \"notes.jsonl\"]"));
    story.ok(&["up", "--quiet"]);
    assert_eq!(story.value("SELECT count(*) FROM notes"), "6");
}

#[test]
fn ctrl_c_keeps_what_is_written_and_the_same_command_does_the_rest() {
    let story = Story::with_notes();
    story.ok(&["up", "--quiet"]);
    let record =
        |i: u32| format!("{{\"source\": \"r{i}\", \"content\": \"text {i}\", \"embedding\": [1, {i}, 0]}}\n");
    let records: String = (0..12_000).map(record).collect();
    story.write("records.jsonl", &records);
    // Standard input that does not end holds the ingest where it is: one batch written, the next begun.
    let mut ingest = story.begin(&["ingest", "notes", "-"]);
    let mut input = ingest.stdin.take().unwrap();
    input.write_all((0..7_000).map(record).collect::<String>().as_bytes()).unwrap();
    input.flush().unwrap();
    until("a batch is written", || story.value("SELECT count(*) FROM notes") != "3");
    common::signal(&ingest, Signal::SIGINT);
    let ingest = ingest.wait_with_output().unwrap();
    drop(input);
    assert_eq!(ingest.status.code(), Some(130), "{}", common::told(&ingest));
    assert!(common::told(&ingest).contains("the same command does the rest"), "{}", common::told(&ingest));
    let written: u32 = story.value("SELECT count(*) - 3 FROM notes").parse().unwrap();
    assert!((1..12_000).contains(&written), "{written}");
    assert_eq!(
        story.value("SELECT count(*) - 3 FROM howdah.sources"),
        written.to_string(),
        "half a document"
    );
    let report = story.ok(&["ingest", "notes", "records.jsonl", "-o", "json"]);
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(
        (report["unchanged"].as_u64(), report["new"].as_u64()),
        (Some(written.into()), Some((12_000 - written).into()))
    );
    assert_eq!(story.value("SELECT count(*) FROM notes"), "12003");
}

#[test]
fn who_may_not_in_hears_why() {
    let story = Story::with_notes();
    story.ok(&["up", "--quiet"]);
    let key = story.ok(&["keys", "create", "old", "--expires-in-days", "1", "--quiet"]);
    let (rest, key) = (story.rest(), key.trim());
    let search = ["search", "elephants", "-c", "notes", "--url", &rest, "--key", key];
    story.ok(&search);
    story.sql("UPDATE howdah.api_keys SET expires_at = now() - interval '1 second' WHERE name = 'old'");
    until("the server has forgotten that the key was good", || !story.run(&search).status.success());
    says!("key_expired", story.tell(&search));
    assert!(story.ok(&["keys", "list", "-o", "csv"]).contains("expired"));

    let url = story.layout().tcp_target().unwrap().with_database("app").url();
    let wrong = url.replace("postgres@", "postgres:hunter2@");
    assert_ne!(wrong, url);
    for command in ["plan", "up", "doctor"] {
        let output = story.command(&[command]).env("DATABASE_URL", &wrong).output().unwrap();
        let said = common::told(&output);
        assert_eq!(output.status.code(), Some(4), "{command}: {said}");
        assert!(said.contains("password") && !said.contains("hunter2"), "{command}: {said}");
    }
}
