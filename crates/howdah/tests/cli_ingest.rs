//! Loading files, as somebody at a terminal meets it: folders that are emptied, files named from two directories, files that
//! cannot be read, a server that is told to stop.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::fs;
use std::io::Write;
use std::time::Duration;

use common::{Story, told};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

/// A collection whose texts are embedded by `server`.
fn declaration(server: &MockServer) -> String {
    format!(
        r#"name = "story"

[databases.app]
extensions = {{ vector = "*" }}

[embedders.slow]
kind = "tei"
model = "test"
url = "{}"
dimensions = 3

[collections.lib]
embedder = "slow"
documents = ["docs"]
"#,
        server.uri()
    )
}

/// An embedder that takes so long for a request.
async fn embedder(pause: Duration) -> MockServer {
    let server = MockServer::start().await;
    let answer = move |request: &Request| {
        let body: Value = request.body_json().unwrap();
        let texts = body["inputs"].as_array().unwrap();
        let slow = texts.iter().any(|text| text.as_str().unwrap().contains("slow"));
        let pause = if slow { pause } else { Duration::ZERO };
        ResponseTemplate::new(200).set_body_json(vec![[1.0, 0.0, 0.0]; texts.len()]).set_delay(pause)
    };
    Mock::given(wiremock::matchers::path("/embed")).respond_with(answer).mount(&server).await;
    server
}

/// A story whose server runs, with three files in `docs`, and the embedder, which lives as long as its runtime.
fn up() -> (Story, tokio::runtime::Runtime, MockServer) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let server = runtime.block_on(embedder(Duration::from_secs(30)));
    let story = Story::new();
    story.write("howdah.toml", &declaration(&server));
    fs::create_dir(story.project.join("docs")).unwrap();
    for name in ["a", "b", "c"] {
        story.write(&format!("docs/{name}.md"), &format!("Text of {name}."));
    }
    story.ok(&["up", "--quiet"]);
    (story, runtime, server)
}

fn json(text: &[u8]) -> Value {
    serde_json::from_slice(text).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(text)))
}

#[test]
fn files_and_folders_are_loaded_as_they_are() {
    let (story, _runtime, _server) = up();
    from_two_directories(&story);
    what_is_not_read(&story);
    a_stream_that_stands_still(&story);
    emptied(&story);
}

fn a_stream_that_stands_still(story: &Story) {
    let mut ingest = story.begin(&["ingest", "lib", "-"]);
    let mut input = ingest.stdin.take().unwrap();
    input.write_all(b"{\"id\": \"stream\", \"content\": \"One line.\"}\n").unwrap();
    input.flush().unwrap();
    let there = "SELECT count(*) FROM lib WHERE source = 'stream'";
    common::until("what came is written, though no more comes", || story.value(there) == "1");
    drop(input);
    let ended = ingest.wait_with_output().unwrap();
    assert!(ended.status.success(), "{}", told(&ended));
}

fn from_two_directories(story: &Story) {
    let txt = story.project.join("corpus/txt");
    fs::create_dir_all(&txt).unwrap();
    story.write("corpus/txt/one.txt", "One file.");
    let first = json(&story.run(&["ingest", "lib", "corpus/txt", "-o", "json"]).stdout);
    assert_eq!(first["new"], 1, "{first}");
    for (directory, path) in [(&txt, "."), (&txt, "../txt/one.txt"), (&story.project, "corpus/txt/one.txt")] {
        let output = story.command(&["ingest", "lib", path, "-o", "json"]).current_dir(directory).output();
        let report = json(&output.unwrap().stdout);
        assert_eq!((&report["new"], &report["unchanged"]), (&json!(0), &json!(1)), "{path}: {report}");
    }
    assert_eq!(
        story.value("SELECT string_agg(source, ' ') FROM lib WHERE source LIKE '%one%'"),
        "corpus/txt/one.txt"
    );
}

fn what_is_not_read(story: &Story) {
    fs::create_dir(story.project.join("mixed")).unwrap();
    fs::create_dir(story.project.join("packed")).unwrap();
    fs::create_dir(story.project.join("nothing")).unwrap();
    for name in ["packed/a.gz", "packed/b.gz", "mixed/fine.md", "mixed/other.md"] {
        story.write(name, "Some text.");
    }
    story.write("mixed/empty.md", "");
    fs::write(story.project.join("mixed/latin.txt"), b"caf\xe9").unwrap();
    let mixed = story.run(&["ingest", "lib", "mixed"]);
    assert_eq!(mixed.status.code(), Some(7), "{}", told(&mixed));
    assert!(told(&mixed).contains("2 documents, 2 new, 1 bad"), "{}", told(&mixed));
    assert!(told(&mixed).contains("mixed/latin.txt:1: invalid UTF-8"), "{}", told(&mixed));
    assert!(told(&mixed).contains("`mixed/empty.md` is left out: the file is empty"), "{}", told(&mixed));
    assert_eq!(story.run(&["ingest", "lib", "mixed", "--skip-bad"]).status.code(), Some(0));
    let packed = story.run(&["ingest", "lib", "packed", "--verbose"]);
    assert_eq!(packed.status.code(), Some(7), "{}", told(&packed));
    let said = told(&packed);
    assert!(said.contains("there is no document in `packed`") && said.contains("2 .gz"), "{said}");
    assert!(said.contains("passed over packed/a.gz: no format is known for the suffix `.gz`"), "{said}");
    let nothing = story.run(&["ingest", "lib", "nothing"]);
    assert_eq!(nothing.status.code(), Some(7), "{}", told(&nothing));
    assert!(told(&nothing).contains("there is no document in `nothing`"), "{}", told(&nothing));
    let only = ["ingest", "lib", "mixed", "--include", "other.*", "--dry-run", "-o", "json"];
    let report = json(&story.run(&only).stdout);
    assert_eq!(
        (&report["documents"], &report["dry_run"], &report["ignored_files"]),
        (&json!(1), &json!(true), &json!(3)),
        "{report}"
    );
    let wrong = story.run(&["ingest", "lib", "docs", "--prune", "--max-removed", "some"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", told(&wrong));
}

fn emptied(story: &Story) {
    let of_docs = "SELECT count(*) FROM lib WHERE source LIKE 'docs/%'";
    fs::remove_file(story.project.join("docs/c.md")).unwrap();
    let one = story.run(&["up"]);
    assert_eq!(one.status.code(), Some(0), "{}", told(&one));
    assert!(told(&one).contains("1 removed"), "{}", told(&one));
    for name in ["a", "b"] {
        fs::remove_file(story.project.join(format!("docs/{name}.md"))).unwrap();
    }
    let all = story.run(&["up"]);
    assert_eq!(all.status.code(), Some(7), "{}", told(&all));
    let sentence = "none of the 2 documents of collection `lib` that came from `docs` is there any more";
    assert!(told(&all).contains(sentence), "{}", told(&all));
    assert!(told(&all).contains("--prune --allow-empty"), "{}", told(&all));
    assert_eq!(story.value(of_docs), "2");
    // A start of the server says the same.
    story.ok(&["down", "--quiet"]);
    let start = story.run(&["up"]);
    assert!(start.status.code() == Some(7) && told(&start).contains(sentence), "{}", told(&start));
    // By hand it is the same, until it is asked for.
    let by_hand = story.run(&["ingest", "lib", "docs", "--prune", "-o", "json"]);
    assert_eq!(by_hand.status.code(), Some(7), "{}", told(&by_hand));
    let report: Value = json(&by_hand.stdout);
    assert_eq!((&report["removed"], &report["kept"]), (&json!(0), &json!(2)), "{report}");
    assert_eq!(report["kept_places"][0]["place"], "docs", "{report}");
    let asked = story.run(&["ingest", "lib", "docs", "--prune", "--allow-empty", "-o", "json"]);
    assert_eq!(asked.status.code(), Some(0), "{}", told(&asked));
    assert_eq!(json(&asked.stdout)["removed"], 2, "{}", told(&asked));
    assert_eq!(story.value(of_docs), "0");
}

#[test]
fn a_server_told_to_stop_says_what_is_kept_and_lets_end_what_can() {
    let (story, runtime, _server) = up();
    let key = story.ok(&["keys", "create", "admin", "--scope", "admin"]).trim().to_owned();
    let base = story.rest();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap();
    let answers = runtime.block_on(async {
        let post = async |number: usize, text: &str| {
            let document = |part: usize| json!({"source": format!("{number}-{part}"), "content": format!("{text} {part}")});
            let url = format!("{base}/v1/collections/lib/documents");
            let body = json!({"documents": (0..3).map(document).collect::<Vec<_>>()});
            let answer = client.post(url).bearer_auth(&key).json(&body).send().await.unwrap();
            (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
        };
        let stop = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let pid = story.running()["process"]["pid"].as_i64().unwrap();
            kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGTERM).unwrap();
        };
        let slow = futures_util::future::join_all((0..3).map(|number| post(number, "slow")));
        tokio::join!(slow, stop).0
    });
    for (status, answer) in answers {
        assert_eq!(status, 503, "{answer}");
        let said = answer["error"]["detail"].as_str().unwrap_or_default().to_owned();
        assert!(said.contains("0 of the 3 documents are in collection `lib`"), "{answer}");
    }
}
