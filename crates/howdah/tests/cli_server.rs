//! Whole commands against a real server: from nothing to an answer, and what goes wrong on the way.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{NOTES, Story};
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
    rows(&story);
    keys(&story);
    files(&story);
    drift(&story);
    says!("env", story.tell(&["env"]));
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
    assert!(story.ok(&["doctor", "-o", "json"]).contains("\"findings\""));
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

/// Gone, or only waiting to be collected by a parent that is slow.
fn has_ended(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(60) {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("not within a minute: {what}");
}
