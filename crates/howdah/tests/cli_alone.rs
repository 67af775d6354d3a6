//! Commands without a server: each does its work itself, with PostgreSQL for as long as it takes, and leaves nothing running.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::Child;

use common::{NOTES, Story, has_ended, signal, told, until};
use nix::sys::signal::Signal;

/// A story whose instance was made, filled and stopped.
fn stopped() -> Story {
    let story = Story::with_notes();
    story.ok(&["up", "--quiet"]);
    story.ok(&["down"]);
    assert!(!story.serves());
    story
}

const ONE_MORE: &str =
    "{\"source\": \"more\", \"content\": \"Elephants never forget.\", \"embedding\": [1, 0, 0]}\n";

#[test]
fn a_command_does_its_work_itself() {
    let story = stopped();
    let tell = |args: &[&str]| {
        let said = story.tell(args);
        assert!(!story.serves(), "{args:?} leaves PostgreSQL running: {said}");
        said
    };
    says!("search", tell(&["search", "elephants"]));
    says!("get", tell(&["get", "notes", "1", "--quiet"]));
    says!("delete", tell(&["delete", "notes", "--source", "backups", "--quiet"]));
    says!("collections", tell(&["collections", "--quiet"]));
    says!("plan", tell(&["plan", "--check", "--quiet"]));
    // A problem is told as it is with a server, and the server is stopped all the same.
    says!("wrong", tell(&["search", "x", "--limit", "0", "--quiet"]));
    let key = story.ok(&["keys", "create", "reader", "--quiet"]);
    assert!(key.starts_with("hdk_"), "{key}");
    let report = story.run(&["doctor", "-o", "json", "--quiet"]);
    assert!(String::from_utf8_lossy(&report.stdout).contains("\"findings\""), "{}", told(&report));
    // The reader of the output may go away before its end.
    let unread =
        format!("set -o pipefail; '{}' search elephants --quiet | head -c 0", env!("CARGO_BIN_EXE_howdah"));
    let mut shell = story.shell(&unread);
    assert!(shell.status().unwrap().success() && !story.serves());
    let full = format!("'{}' search elephants --quiet > /dev/full", env!("CARGO_BIN_EXE_howdah"));
    let output = story.shell(&full).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(!story.serves());
    // What can only be said of a running server is not said of one that was started for the question.
    says!("status", tell(&["status"]));
    says!("env", tell(&["env"]));
    assert_eq!(std::fs::read_to_string(story.instance().join("daemon.lock")).unwrap(), "");

    story.write(
        "howdah.toml",
        &NOTES.replace("year = \"integer\"", "year = \"integer\", pages = \"integer\""),
    );
    let applied = tell(&["apply", "--quiet"]);
    assert!(applied.contains("steps applied"), "{applied}");
    story.ok(&["up", "--quiet"]);
    assert_eq!(
        story.value("SELECT count(*) FROM notes WHERE pages IS NULL"),
        "3",
        "`up` loads `backups` again"
    );
    assert!(story.ok(&["keys", "list", "-o", "csv"]).contains("reader"));
}

#[test]
fn standard_input_is_taken_in_as_json_lines_or_as_it_is_called() {
    let story = stopped();
    let fed = story.feed(&["ingest", "notes", "-", "-o", "json"], ONE_MORE);
    assert!(fed.status.success(), "{}", told(&fed));
    let report: serde_json::Value = serde_json::from_slice(&fed.stdout).unwrap();
    assert_eq!((&report["new"], &report["rows_written"]), (&1.into(), &1.into()), "{report}");
    let table = "source,content,year,embedding\nsheet,A row of a sheet.,1999,\"[0,1,0]\"\n";
    let fed = story.feed(&["ingest", "notes", "-", "--format", "csv"], table);
    assert!(fed.status.success(), "{}", told(&fed));
    assert!(story.ok(&["search", "forget", "-o", "csv", "--quiet"]).contains("never forget"));
    assert!(story.ok(&["search", "--where", "year=1999", "sheet", "-o", "csv"]).contains("A row of a sheet"));
    // What is bad is told with its line.
    let bad = story.feed(&["ingest", "notes", "-", "--quiet"], &format!("{ONE_MORE}{{\"content\": \n"));
    assert_eq!(bad.status.code(), Some(1), "{}", told(&bad));
    assert!(told(&bad).contains("`stdin:2`"), "{}", told(&bad));
    // Whoever exports nothing new has done nothing wrong.
    let empty = story.feed(&["ingest", "notes", "-", "--quiet"], "");
    assert!(told(&empty).starts_with("exit 0\n--- out\n0 documents"), "{}", told(&empty));
    let vectors = story.feed(&["ingest", "notes", "-", "--format", "npy", "--quiet"], "x");
    assert_eq!(vectors.status.code(), Some(2), "{}", told(&vectors));
    assert!(!story.serves());
}

/// Reads what a child says until it says `words`.
fn hear(child: &mut Child, words: &str) -> String {
    let mut said = String::new();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    while lines.read_line(&mut said).unwrap() > 0 {
        if said.contains(words) {
            // Whoever does not listen any more must not stop who speaks.
            std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
            return said;
        }
    }
    panic!("`{words}` was not said: {said}");
}

/// A command that has PostgreSQL started for it and waits for its input.
fn waiting_ingest(story: &Story) -> Child {
    let mut ingest = story.begin(&["ingest", "notes", "-"]);
    hear(&mut ingest, "PostgreSQL is started for this command");
    until("PostgreSQL runs", || story.serves());
    ingest
}

/// The PostgreSQL that such a command leaves running when it is killed.
fn left_by_a_killed_command(story: &Story) -> i32 {
    let mut ingest = waiting_ingest(story);
    signal(&ingest, Signal::SIGKILL);
    ingest.wait().unwrap();
    story.postmaster()
}

#[test]
fn up_and_other_commands_wait_for_one_that_works_by_itself() {
    let story = stopped();
    let mut ingest = waiting_ingest(&story);
    let mut search = story.begin(&["search", "forget", "-o", "csv"]);
    hear(&mut search, "waiting for `howdah ingest`");
    let mut up = story.begin(&["up", "-o", "json"]);
    hear(&mut up, "waiting for `howdah");
    let mut input = ingest.stdin.take().unwrap();
    input.write_all(ONE_MORE.as_bytes()).unwrap();
    drop(input);
    let ingest = ingest.wait_with_output().unwrap();
    assert!(ingest.status.success(), "{}", told(&ingest));
    let search = search.wait_with_output().unwrap();
    assert!(search.status.success(), "{}", told(&search));
    assert!(String::from_utf8_lossy(&search.stdout).contains("never forget"), "{}", told(&search));
    let up = up.wait_with_output().unwrap();
    assert!(up.status.success(), "{}", told(&up));
    assert_eq!(story.value("SELECT count(*) FROM notes"), "4");
    let before = story.postmaster();
    story.ok(&["search", "elephants"]);
    assert_eq!(story.postmaster(), before, "a command leaves the server of `up` alone");
}

#[test]
fn what_a_killed_command_leaves_is_stopped_by_the_next() {
    let story = stopped();
    let left = left_by_a_killed_command(&story);
    assert!(!has_ended(left), "PostgreSQL survives whoever started it");
    assert!(story.ok(&["search", "elephants", "-o", "csv"]).contains("howdahs"));
    assert!(has_ended(left) && !story.serves());
    // Left behind again, and stopped by who is there for that.
    let left = left_by_a_killed_command(&story);
    let down = story.tell(&["down"]);
    assert!(down.contains("story stopped"), "{down}");
    assert!(has_ended(left) && !story.serves());
}

#[test]
fn ctrl_c_stops_the_server_too() {
    let story = stopped();
    // An embedder that takes the call and never answers.
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let embedder = format!(
        "embedder = \"slow\"\n[embedders.slow]\nkind = \"tei\"\nmodel = \"m\"\ndimensions = 3\nurl = \"http://{}\"\n",
        hanging.local_addr().unwrap()
    );
    story.write("howdah.toml", &format!("{NOTES}{embedder}"));
    for (sent, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let search = story.begin(&["search", "elephants"]);
        let (_connection, _) = hanging.accept().unwrap();
        let postmaster = story.postmaster();
        signal(&search, sent);
        let search = search.wait_with_output().unwrap();
        assert_eq!(search.status.code(), Some(code), "{}", told(&search));
        assert!(has_ended(postmaster) && !story.serves());
    }
}

#[test]
fn plan_before_the_first_up_says_what_will_be_made() {
    let story = Story::with_notes();
    let planned = story.run(&["plan"]);
    let text = String::from_utf8_lossy(&planned.stdout).into_owned();
    assert!(planned.status.success(), "{}", told(&planned));
    assert!(text.contains("CREATE TABLE \"public\".\"notes\""), "{text}");
    assert!(text.contains("planned from the declaration alone"), "{text}");
    assert_eq!(story.run(&["plan", "--check"]).status.code(), Some(7));
    assert!(!story.home.join("instances").exists(), "a plan makes no instance");
    // What was planned without a server is what is there with one.
    story.ok(&["up", "--quiet"]);
    let after = story.run(&["plan", "--check"]);
    assert_eq!(after.status.code(), Some(0), "{}", told(&after));
    assert!(!String::from_utf8_lossy(&after.stdout).contains("declaration alone"), "{}", told(&after));
    // What cannot be done has its own code, as it has for `apply`, and the rest is done.
    let declared = std::fs::read_to_string(story.project.join("howdah.toml")).unwrap();
    let missing = "\n[collections.missing]\ndimensions = 3\n[collections.missing.adopt]\nid = \"id\"\nembedding = \"e\"\n\
                   [tables.more]\ncolumns = [{ name = \"id\", type = \"bigint\" }]\n";
    story.write("howdah.toml", &(declared + missing));
    let impossible = story.run(&["plan"]);
    assert_eq!(impossible.status.code(), Some(1), "{}", told(&impossible));
    let applied = story.run(&["apply"]);
    assert_eq!(applied.status.code(), Some(1), "{}", told(&applied));
    assert!(told(&applied).contains("what does not depend on it is done: 2 steps"), "{}", told(&applied));
    assert_eq!(story.value("SELECT to_regclass('more')::text"), "more");
    // Over REST the server applies what it has read, and says that the file is another.
    let key = story.ok(&["keys", "create", "operator", "--scope", "admin", "--quiet"]);
    let asked = story.run(&["apply", "--url", &story.rest(), "--key", key.trim()]);
    let answer: serde_json::Value = serde_json::from_slice(&asked.stdout).unwrap();
    assert_eq!(answer["declaration"]["do_now"], "reload", "{answer}");
    story.ok(&["down"]);
}
