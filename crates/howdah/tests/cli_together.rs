//! Commands that meet: several at once, one that ends what another begins, and a server that is held where it is.
//!
//! `HOWDAH_ROUNDS` says how often commands are set against each other (5 unless said otherwise).

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use common::{NOTES, Story, has_ended, signal, told, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn rounds() -> u32 {
    std::env::var("HOWDAH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5)
}

/// Starts commands side by side, each with a deadline, and gives what they said.
fn together(story: &Story, commands: &[&[&str]]) -> Vec<Output> {
    let program = env!("CARGO_BIN_EXE_howdah");
    let begun: Vec<Child> = commands
        .iter()
        .map(|args| {
            let mut command = story.shell(&format!("exec timeout 120 '{program}' {}", args.join(" ")));
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    begun.into_iter().map(|child| child.wait_with_output().unwrap()).collect()
}

/// Processes of `howdah` that stay for this story.
fn servers(story: &Story) -> Vec<String> {
    let declaration = story.project.join("howdah.toml");
    let declaration = declaration.to_str().unwrap();
    let is_server = |entry: &fs::DirEntry| {
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        (command.contains("--detached") && command.contains(declaration)).then_some(command)
    };
    fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| is_server(&entry)).collect()
}

fn steps_files(story: &Story) -> Vec<String> {
    let names = fs::read_dir(story.instance()).unwrap().flatten();
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("start")).collect()
}

fn all_are_up(story: &Story, outputs: &[Output]) {
    for output in outputs {
        assert!(output.status.success(), "{}", told(output));
        assert!(told(output).contains("story is up"), "{}", told(output));
    }
    assert_eq!(servers(story).len(), 1, "{:?}", servers(story));
    assert_eq!(steps_files(story), Vec::<String>::new());
    story.ok(&["search", "elephants"]);
}

#[test]
fn any_number_of_ups_at_once_end_in_one_server() {
    let story = Story::with_notes();
    let outputs = together(&story, &[&["up"], &["up"]]);
    all_are_up(&story, &outputs);
    let key = |output: &&Output| String::from_utf8_lossy(&output.stdout).contains("hdk_");
    assert_eq!(outputs.iter().filter(key).count(), 1, "the first key is made once, and shown");
    for round in 0..rounds() {
        story.ok(&["down"]);
        assert!(servers(&story).is_empty() && !story.serves(), "round {round}");
        all_are_up(&story, &together(&story, &[&["up"], &["up"]]));
    }
    story.ok(&["down"]);
    all_are_up(&story, &together(&story, &[&["up"] as &[&str]; 10]));
    // And against one that runs.
    all_are_up(&story, &together(&story, &[&["up"] as &[&str]; 4]));
}

#[test]
fn up_and_down_at_once_leave_all_or_nothing() {
    let story = Story::with_notes();
    story.ok(&["up"]);
    for round in 0..rounds() {
        let outputs = together(&story, &[&["up"], &["down"], &["up"]]);
        assert!(outputs[1].status.success(), "round {round}: {}", told(&outputs[1]));
        for up in [&outputs[0], &outputs[2]] {
            let said = told(up);
            // Ended by `down`, and said so; everything else is up.
            let ended = said.contains("told to stop while starting")
                || said.contains("the server ended right after it was ready");
            assert!(up.status.success() || ended, "round {round}: {said}");
        }
        assert!(servers(&story).len() <= 1, "{:?}", servers(&story));
        assert_eq!(story.serves(), servers(&story).len() == 1, "round {round}");
        all_are_up(&story, &together(&story, &[&["up"]]));
    }
    // A server that is told to stop is waited for, and started anew.
    let server = story.running()["process"]["pid"].as_i64().unwrap();
    kill(Pid::from_raw(i32::try_from(server).unwrap()), Signal::SIGTERM).unwrap();
    all_are_up(&story, &together(&story, &[&["up"]]));
    assert_ne!(story.running()["process"]["pid"].as_i64().unwrap(), server);
}

#[test]
fn one_other_tries_when_a_start_fails() {
    let story = Story::with_notes();
    story.write("howdah.toml", &NOTES.replace("notes.jsonl", "gone.jsonl"));
    let outputs = together(&story, &[&["up"] as &[&str]; 5]);
    for output in &outputs {
        assert_eq!(output.status.code(), Some(1), "{}", told(output));
        assert!(told(output).contains("no declared document could be read"), "{}", told(output));
    }
    let log = fs::read_to_string(story.instance().join("howdah.log")).unwrap();
    let starts = log.matches("\"message\":\"finding PostgreSQL\"").count();
    assert!(
        (1..=2).contains(&starts) || outputs.iter().all(|one| !told(one).contains("following")),
        "{starts}"
    );
    assert!(!story.serves());
    story.write("howdah.toml", NOTES);
    all_are_up(&story, &together(&story, &[&["up"], &["up"]]));
}

/// Makes PostgreSQL wait in its recovery at the next start, for a file that does not come.
fn hold_recovery(story: &Story) {
    let data = story.instance().join("data");
    let settings = data.join("postgresql.auto.conf");
    let before = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, format!("{before}restore_command = 'sleep 1000'\n")).unwrap();
    fs::write(data.join("recovery.signal"), "").unwrap();
}

fn release_recovery(story: &Story) {
    let data = story.instance().join("data");
    let settings = data.join("postgresql.auto.conf");
    let before = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, before.replace("restore_command = 'sleep 1000'\n", "")).unwrap();
    fs::remove_file(data.join("recovery.signal")).unwrap();
}

/// The process that recovers, of the server that runs now.
fn startup_process(story: &Story) -> Option<i32> {
    let postmaster =
        fs::read_to_string(story.instance().join("data/postmaster.pid")).ok()?.lines().next()?.to_owned();
    let children = fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children")).ok()?;
    children.split_whitespace().find_map(|pid| {
        let command = fs::read_to_string(Path::new("/proc").join(pid).join("cmdline")).ok()?;
        command.contains("startup").then(|| pid.parse().unwrap())
    })
}

#[test]
fn down_ends_a_start_that_hangs_in_recovery() {
    if !cfg!(target_os = "linux") {
        eprintln!("skipped: needs /proc");
        return;
    }
    let story = Story::with_notes();
    story.ok(&["up", "--quiet"]);
    story.ok(&["down"]);
    hold_recovery(&story);

    // A start that waits: the fast shutdown ends it.
    let up = story.begin(&["up"]);
    until("PostgreSQL recovers", || startup_process(&story).is_some());
    let second = story.begin(&["up"]);
    let postmaster = story.postmaster();
    let down = story.run(&["down"]);
    assert!(told(&down).starts_with("exit 0") && told(&down).contains("story stopped"), "{}", told(&down));
    assert!(has_ended(postmaster));
    let up = up.wait_with_output().unwrap();
    assert_eq!(up.status.code(), Some(1), "{}", told(&up));
    assert!(told(&up).contains("told to stop while starting"), "{}", told(&up));

    // The other one tries in its turn. Its PostgreSQL does not obey: the immediate shutdown ends it.
    until("PostgreSQL recovers again", || startup_process(&story).is_some());
    let startup = startup_process(&story).unwrap();
    kill(Pid::from_raw(startup), Signal::SIGSTOP).unwrap();
    let postmaster = story.postmaster();
    let down = story.run(&["down"]);
    let said = told(&down);
    assert!(said.starts_with("exit 0") && said.contains("story stopped"), "{said}");
    assert!(said.contains("waiting for PostgreSQL"), "{said}");
    assert!(has_ended(postmaster) && has_ended(startup));
    let second = second.wait_with_output().unwrap();
    assert_eq!(second.status.code(), Some(1), "{}", told(&second));
    let log = fs::read_to_string(story.instance().join("howdah.log")).unwrap();
    assert!(log.contains("SIGQUIT"), "{log}");

    // Nothing is lost by it.
    release_recovery(&story);
    story.ok(&["up", "--quiet"]);
    assert_eq!(story.value("SELECT count(*) FROM notes"), "3");
}

#[test]
fn a_server_that_recovers_for_long_is_unhealthy_with_a_reason_and_can_be_stopped() {
    if !cfg!(target_os = "linux") {
        eprintln!("skipped: needs /proc");
        return;
    }
    let story = Story::with_notes();
    story.ok(&["up", "--quiet"]);
    hold_recovery(&story);
    let before = story.postmaster();
    kill(Pid::from_raw(before), Signal::SIGKILL).unwrap();
    until("PostgreSQL recovers", || startup_process(&story).is_some() && story.postmaster() != before);
    let status = story.run(&["status"]);
    assert_eq!(status.status.code(), Some(7), "{}", told(&status));
    assert!(told(&status).contains("unhealthy") && told(&status).contains("Because"), "{}", told(&status));
    let status: serde_json::Value =
        serde_json::from_slice(&story.run(&["status", "-o", "json"]).stdout).unwrap();
    assert!(status["health"]["problem"].is_string(), "{status}");
    let postmaster = story.postmaster();
    let down = story.run(&["down"]);
    assert!(told(&down).starts_with("exit 0"), "{}", told(&down));
    assert!(has_ended(postmaster) && !story.serves());

    // What is left of a killed server is stopped too, while it recovers.
    let mut up = story.begin(&["up"]);
    until("PostgreSQL recovers", || startup_process(&story).is_some());
    let server = servers_pid(&story);
    kill(Pid::from_raw(server), Signal::SIGKILL).unwrap();
    assert!(!up.wait().unwrap().success());
    let postmaster = story.postmaster();
    let down = story.run(&["down"]);
    assert!(told(&down).contains("story stopped"), "{}", told(&down));
    assert!(has_ended(postmaster) && !story.serves());
    release_recovery(&story);
    story.ok(&["up", "--quiet"]);
    assert_eq!(story.value("SELECT count(*) FROM notes"), "3");

    // An extension that somebody took away is a reason too.
    story.sql("DROP EXTENSION vector CASCADE");
    let status = story.run(&["status"]);
    assert_eq!(status.status.code(), Some(7), "{}", told(&status));
    assert!(told(&status).contains("the extension `vector` is not in the database"), "{}", told(&status));
}

/// The process that holds the instance's lock.
fn servers_pid(story: &Story) -> i32 {
    let lock = fs::read_to_string(story.instance().join("daemon.lock")).unwrap();
    let holder: serde_json::Value = serde_json::from_str(&lock).unwrap();
    i32::try_from(holder["process"]["pid"].as_i64().unwrap()).unwrap()
}

#[test]
fn the_log_is_read_from_its_end_and_followed_where_it_goes() {
    let story = Story::with_notes();
    story.ok(&["up", "--quiet"]);
    let log = story.instance().join("howdah.log");
    let whole = fs::read_to_string(&log).unwrap();
    assert!(whole.lines().all(|line| line.starts_with('{')), "{whole}");
    let last = story.ok(&["logs", "-n", "2"]);
    assert_eq!(last.lines().count(), 2);
    assert!(whole.contains(last.trim_end()), "{last}");
    assert!(story.ok(&["logs", "--postgres"]).contains("database system is ready to accept connections"));
    assert_eq!(fs::read_to_string(story.instance().join("howdah.err")).unwrap(), "");

    let mut follow = story.begin(&["logs", "-F", "-n", "1"]);
    // Put aside while it is followed, before the server wrote anything more.
    std::thread::sleep(std::time::Duration::from_millis(500));
    story.ok(&["down"]);
    fs::rename(&log, story.instance().join("howdah.log.1")).unwrap();
    story.ok(&["up", "--quiet"]);
    assert_eq!(story.ok(&["logs", "-n", "1000"]).lines().next(), whole.lines().next());
    std::thread::sleep(std::time::Duration::from_secs(1));
    signal(&follow, Signal::SIGINT);
    assert_eq!(follow.wait().unwrap().code(), Some(130));
    let heard = std::io::read_to_string(follow.stdout.take().unwrap()).unwrap();
    assert!(heard.contains("\"message\":\"stopping\""), "{heard}");
    assert_eq!(
        heard.matches("\"message\":\"ready\"").count(),
        1 + whole.lines().last().map_or(0, |line| line.matches("\"message\":\"ready\"").count()),
        "{heard}"
    );
}

#[test]
fn systemd_hears_of_ready_reload_watchdog_and_stop() {
    let story = Story::with_notes();
    let socket = story.root().join("notify");
    let listening = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    listening.set_read_timeout(Some(std::time::Duration::from_secs(120))).unwrap();
    let hear = || {
        let mut bytes = [0; 512];
        let length = listening.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    let hear_until = |words: &str| while !hear().contains(words) {};
    let mut command: Command = story.command(&["up", "--foreground"]);
    command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "400000").env_remove("WATCHDOG_PID");
    let mut up = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    hear_until("READY=1");
    hear_until("WATCHDOG=1");
    hear_until("WATCHDOG=1");
    signal(&up, Signal::SIGHUP);
    let reloading = loop {
        let said = hear();
        if said.contains("RELOADING=1") {
            break said;
        }
    };
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    hear_until("READY=1");
    signal(&up, Signal::SIGTERM);
    hear_until("STOPPING=1");
    assert!(up.wait().unwrap().success());
}
