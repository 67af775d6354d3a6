//! A server under locks, load, signals and kills: what other callers notice of it.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::{Story, has_ended, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::{Client, Response};
use serde_json::{Value, json};

/// Two collections, and a table that is nobody's business.
const TWO: &str = r#"name = "story"

[server]
max_connections = 25

[api]
requests_per_second = 0

[databases.app]
extensions = { vector = "*" }

[collections.vecs]
dimensions = 3
documents = ["notes.jsonl"]

[collections.other]
dimensions = 3
documents = ["notes.jsonl"]

[tables.secrets]
database = "app"
columns = [{ name = "id", type = "bigint" }]
"#;

const RECORDS: &str = r#"{"source": "elephants", "content": "Elephants carry howdahs on their backs.", "embedding": [1, 0, 0]}
{"source": "backups", "content": "A backup that was never restored is a hope.", "embedding": [0, 1, 0]}
"#;

struct World {
    story: Story,
    client: Client,
    base: String,
    key: String,
}

impl World {
    fn up(declaration: &str) -> World {
        let story = Story::new();
        story.write("howdah.toml", declaration);
        story.write("notes.jsonl", RECORDS);
        story.ok(&["up"]);
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap();
        let key = story.ok(&["keys", "create", "admin", "--scope", "admin"]).trim().to_owned();
        World { base: story.rest(), story, client, key }
    }

    async fn post(&self, path: &str, body: Value) -> Response {
        self.client
            .post(format!("{}{path}", self.base))
            .bearer_auth(&self.key)
            .json(&body)
            .send()
            .await
            .unwrap_or_else(|error| panic!("{path}: {error:?}"))
    }

    async fn get(&self, path: &str) -> Value {
        let request = self.client.get(format!("{}{path}", self.base)).bearer_auth(&self.key);
        request.send().await.unwrap().json().await.unwrap()
    }

    async fn search(&self, collection: &str, timeout_ms: u32) -> (u16, Duration) {
        let begun = Instant::now();
        let body = json!({"vector": [1, 0, 0], "limit": 2, "timeout_ms": timeout_ms});
        let answer = self.post(&format!("/v1/collections/{collection}/search"), body).await;
        (answer.status().as_u16(), begun.elapsed())
    }

    async fn administrator(&self) -> tokio_postgres::Client {
        let target = self.story.layout().target().unwrap().with_database("app");
        howdah_postgres::connect::connect(&target).await.unwrap()
    }

    /// Who was connected beside the administrator while `work` ran, and whether as a superuser.
    async fn roles_beside(&self, work: impl Future<Output = ()>) -> BTreeMap<String, bool> {
        let administrator = self.administrator().await;
        let sql = "SELECT DISTINCT usename::text, usesuper FROM pg_stat_activity JOIN pg_user USING (usename)
                   WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'";
        let mut seen = BTreeMap::new();
        tokio::pin!(work);
        loop {
            let rows = administrator.query(sql, &[]).await.unwrap();
            seen.extend(rows.iter().map(|row| (row.get::<_, String>(0), row.get::<_, bool>(1))));
            tokio::select! {
                () = &mut work => return seen,
                () = tokio::time::sleep(Duration::from_millis(2)) => {}
            }
        }
    }

    fn server(&self) -> i32 {
        i32::try_from(self.story.running()["process"]["pid"].as_i64().unwrap()).unwrap()
    }

    /// Lets the server read its declaration again, and waits for what that changes.
    async fn comes(&self, what: &str, mut is: impl AsyncFnMut() -> bool) {
        self.hang_up();
        let begun = Instant::now();
        while !is().await {
            assert!(begun.elapsed() < Duration::from_secs(20), "{what}: not in force");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Brings the database to the declaration in the file, by a program of its own.
    async fn applies(&self) {
        let mut command = self.story.command(&["apply"]);
        tokio::task::spawn_blocking(move || assert!(command.status().unwrap().success())).await.unwrap();
    }

    fn hang_up(&self) {
        kill(Pid::from_raw(self.server()), Signal::SIGHUP).unwrap();
    }
}

fn run<F: Future>(story: F) -> F::Output {
    tokio::runtime::Runtime::new().unwrap().block_on(story)
}

/// Statements of the service that are running or waiting, by what they wait for.
const AT_WORK: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE application_name LIKE 'howdah%' AND state = 'active' AND pid <> pg_backend_pid()";

/// Searches of the other collection between looks at the health, all of which have to be well: the time of the slow ones.
async fn p95(world: &World) -> Duration {
    let mut times = Vec::new();
    for _ in 0..40 {
        let (status, took) = world.search("other", 5000).await;
        assert_eq!(status, 200);
        times.push(took);
        let health = world.get("/health").await;
        assert_eq!(health["status"], "healthy", "{health}");
    }
    times.sort();
    times[times.len() * 95 / 100]
}

#[test]
fn a_locked_table_is_nobody_elses_trouble() {
    let world = World::up(TWO);
    run(async {
        assert_eq!(world.search("vecs", 5000).await.0, 200);
        eprintln!("searches of the other collection, p95 without a lock: {:?}", p95(&world).await);
        let administrator = world.administrator().await;
        administrator.batch_execute("BEGIN; LOCK TABLE vecs IN ACCESS EXCLUSIVE MODE").await.unwrap();
        let looking = world.administrator().await;
        let locked = futures_util::future::join_all((0..45).map(|_| world.search("vecs", 1000)));
        let beside = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            eprintln!(
                "searches of the other collection, p95 while the lock is held: {:?}",
                p95(&world).await
            );
        };
        let (locked, ()) = tokio::join!(locked, beside);
        let mut statuses = BTreeMap::new();
        for (status, took) in locked {
            *statuses.entry(status).or_insert(0) += 1;
            assert!(took < Duration::from_secs(10), "a second was asked for, it took {took:?}");
        }
        assert!(statuses.keys().all(|status| [503, 504].contains(status)), "{statuses:?}");
        // Nobody waits for them any more, so nothing of them is left in the server.
        let begun = Instant::now();
        loop {
            let left: i64 = looking.query_one(AT_WORK, &[]).await.unwrap().get(0);
            if left == 0 {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "{left} statements are left");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        administrator.batch_execute("ROLLBACK").await.unwrap();
        assert_eq!(world.search("vecs", 5000).await.0, 200);
    });
}

#[test]
fn who_waits_for_a_connection_when_the_server_stops_hears_that_it_stops() {
    let world = World::up(TWO);
    run(async {
        assert_eq!(world.search("vecs", 5000).await.0, 200);
        let administrator = world.administrator().await;
        administrator.batch_execute("BEGIN; LOCK TABLE vecs IN ACCESS EXCLUSIVE MODE").await.unwrap();
        let search = async || {
            let body = json!({"vector": [1, 0, 0], "limit": 2, "timeout_ms": 25_000});
            let answer = world.post("/v1/collections/vecs/search", body).await;
            let (status, retry) = (answer.status().as_u16(), answer.headers().contains_key("retry-after"));
            let body: Value = answer.json().await.unwrap();
            (status, retry, body["error"]["message"].as_str().unwrap_or_default().to_owned())
        };
        let waiting = futures_util::future::join_all((0..40).map(|_| search()));
        let ending = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            kill(Pid::from_raw(world.server()), Signal::SIGTERM).unwrap();
            tokio::time::sleep(Duration::from_secs(6)).await;
            administrator.batch_execute("ROLLBACK").await.unwrap();
        };
        let (answers, ()) = tokio::join!(waiting, ending);
        let told = answers.iter().filter(|(status, _, _)| *status == 503).count();
        assert!(told > 10 && told < 40, "some wait for a connection and some have one: {told}");
        for (status, retry, message) in answers {
            match status {
                200 => {}
                503 => assert!(retry && message == "this server of howdah is stopping", "{message}"),
                _ => panic!("{status}: {message}"),
            }
        }
    });
}

#[test]
fn a_request_that_is_dropped_ends_in_the_server() {
    let world = World::up(TWO);
    run(async {
        let administrator = world.administrator().await;
        administrator.batch_execute("BEGIN; LOCK TABLE vecs IN ACCESS EXCLUSIVE MODE").await.unwrap();
        let looking = world.administrator().await;
        let search = world.search("vecs", 60_000);
        assert!(tokio::time::timeout(Duration::from_millis(500), search).await.is_err());
        let begun = Instant::now();
        while looking.query_one(AT_WORK, &[]).await.unwrap().get::<_, i64>(0) > 0 {
            assert!(begun.elapsed() < Duration::from_secs(10), "the statement is still there");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        eprintln!("the statement of a dropped request was gone after {:?}", begun.elapsed());
    });
}

#[test]
fn many_clients_get_answers_or_hear_honestly_that_all_is_busy() {
    let world = World::up(TWO);
    run(async {
        let mut statuses: BTreeMap<u16, u32> = BTreeMap::new();
        let world = &world;
        let one = async |number: usize| {
            let mut seen = Vec::new();
            for turn in 0..4 {
                let answer = if (number + turn).is_multiple_of(2) {
                    let source = format!("{number}-{turn}");
                    let document =
                        json!({"source": source, "content": "One of many.", "embedding": [0, 0, 1]});
                    world.post("/v1/collections/vecs/documents", json!({"documents": [document]})).await
                } else {
                    world.post("/v1/collections/other/search", json!({"vector": [1, 0, 0]})).await
                };
                let status = answer.status().as_u16();
                let retry = answer.headers().contains_key("retry-after");
                assert!(
                    status == 200 || ([429, 503].contains(&status) && retry),
                    "{status}: {:?}",
                    answer.text().await
                );
                seen.push(status);
            }
            seen
        };
        for seen in futures_util::future::join_all((0..60).map(one)).await {
            seen.into_iter().for_each(|status| *statuses.entry(status).or_default() += 1);
        }
        eprintln!("60 clients on 25 connections: {statuses:?}");
        assert!(statuses[&200] >= 200, "{statuses:?}");
    });
}

#[test]
fn the_service_is_no_superuser_and_reads_nothing_but_its_collections() {
    let world = World::up(TWO);
    run(async {
        for _ in 0..5 {
            assert_eq!(world.search("vecs", 5000).await.0, 200);
            let document = json!({"source": "x", "content": "Written.", "embedding": [0, 0, 1]});
            let written =
                world.post("/v1/collections/vecs/documents", json!({"documents": [document]})).await;
            assert_eq!(written.status(), 200);
            world.get("/health").await;
        }
        // Plans and checks of the server's health too, while they run.
        let seen = world.roles_beside(async {
            for _ in 0..3 {
                let plan = world.get("/v1/plan").await;
                assert_eq!(plan["empty"], true, "{plan}");
                let report = world.post("/v1/doctor", json!({})).await;
                assert_eq!(report.status(), 200);
                let report: Value = report.json().await.unwrap();
                let denied: Vec<&Value> = report["not_run"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter(|one| {
                        let reason = one["reason"].as_str().unwrap();
                        reason.contains("missing right") || reason.contains("permission denied")
                    })
                    .collect();
                assert!(denied.is_empty(), "{denied:?}");
            }
        });
        let seen = seen.await;
        assert!(seen.contains_key("howdah_story_inspect"), "{seen:?}");
        assert!(seen.values().all(|superuser| !superuser), "{seen:?}");
        // What a search could be talked into, said as the role that searches.
        for statement in [
            "SELECT * FROM secrets",
            "SELECT * FROM howdah.api_keys",
            "SELECT * FROM pg_authid",
            "DELETE FROM vecs",
            "COPY vecs TO PROGRAM 'true'",
            "SET ROLE postgres",
        ] {
            let sql = format!("SET SESSION AUTHORIZATION howdah_story_read; {statement}");
            let error = world.administrator().await.batch_execute(&sql).await.unwrap_err();
            assert_eq!(error.code().map(|code| code.code()), Some("42501"), "{statement}: {error:?}");
        }
    });
}

#[test]
fn a_hang_up_changes_each_key_that_can_change() {
    let world = World::up(TWO);
    let write = |text: &str| world.story.write("howdah.toml", text);
    let api = |more: &str| TWO.replace("[api]\nrequests_per_second = 0\n", &format!("[api]\n{more}\n"));
    run(async {
        let search = |key: Option<&str>| {
            let request = world.client.post(format!("{}/v1/collections/other/search", world.base));
            let request = match key {
                Some(key) => request.bearer_auth(key),
                None => request,
            };
            request.json(&json!({"vector": [1, 0, 0]})).send()
        };
        assert_eq!(search(None).await.unwrap().status(), 401);
        write(&api("require_key = false\nrequests_per_second = 0"));
        world.comes("require_key off", async || search(None).await.unwrap().status() == 200).await;
        write(&api("require_key = true\nrequests_per_second = 0"));
        world.comes("require_key on", async || search(None).await.unwrap().status() == 401).await;
        write(&api("requests_per_second = 1"));
        world
            .comes("requests_per_second", async || search(Some(&world.key)).await.unwrap().status() == 429)
            .await;
        write(&api("requests_per_second = 0\nmax_body_bytes = 1024"));
        let large = json!({"vector": vec![0.5; 2000]});
        let too_large =
            async || world.post("/v1/collections/other/search", large.clone()).await.status() == 413;
        world.comes("max_body_bytes", too_large).await;
        write(&api("requests_per_second = 0\ncors = [\"https://app.example.com\"]"));
        let asks = async || {
            let request = world.client.request(reqwest::Method::OPTIONS, format!("{}/v1/status", world.base));
            let request = request.header("origin", "https://app.example.com");
            request.header("access-control-request-method", "GET").send().await.unwrap().status() == 200
        };
        world.comes("cors", asks).await;
        write(&api("requests_per_second = 0\nmax_pool = 9"));
        let log = world.story.instance().join("howdah.log");
        let divided = async || std::fs::read_to_string(&log).unwrap().contains("`api.max_pool` is 9");
        world.comes("max_pool", divided).await;
        write(&TWO.replace("[collections.other]\ndimensions = 3\ndocuments = [\"notes.jsonl\"]\n", ""));
        world.comes("collections", async || search(Some(&world.key)).await.unwrap().status() == 404).await;
        let administrator = world.administrator().await;
        administrator.batch_execute("BEGIN; LOCK TABLE vecs IN ACCESS EXCLUSIVE MODE").await.unwrap();
        write(&api("requests_per_second = 0\ntimeout_seconds = 1"));
        let slow = async || {
            let begun = Instant::now();
            let answer = world.post("/v1/collections/vecs/search", json!({"vector": [1, 0, 0]})).await;
            [503, 504].contains(&answer.status().as_u16()) && begun.elapsed() < Duration::from_secs(5)
        };
        world.comes("timeout_seconds", slow).await;
        administrator.batch_execute("ROLLBACK").await.unwrap();
        // A mistake changes nothing.
        write("name = ");
        world.hang_up();
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(search(Some(&world.key)).await.unwrap().status(), 200);
    });
    // What needs a new start is not called current: `up` starts anew.
    let before = world.server();
    write(&TWO.replace("max_connections = 25", "max_connections = 30"));
    world.hang_up();
    std::thread::sleep(Duration::from_secs(1));
    world.story.ok(&["up"]);
    assert_ne!(world.server(), before, "`up` saw that the server is not what is declared");
    assert_eq!(world.story.value("current_setting('max_connections')"), "30");
}

#[test]
fn a_hang_up_changes_as_whom_the_service_works() {
    let world = World::up(TWO);
    let as_superuser = async || {
        let searches = async {
            for _ in 0..10 {
                assert_eq!(world.search("vecs", 5000).await.0, 200);
            }
        };
        world.roles_beside(searches).await.values().any(|superuser| *superuser)
    };
    run(async {
        assert!(!as_superuser().await);
        world.story.write("howdah.toml", &TWO.replace("[api]\n", "[api]\nroles = \"off\"\n"));
        world.comes("api.roles off", &as_superuser).await;
        world.story.write("howdah.toml", TWO);
        world.comes("api.roles auto", async || !as_superuser().await).await;
    });
}

#[test]
fn a_hang_up_changes_where_keys_are_kept() {
    let declared = |keys: &str| {
        let placed = TWO.replace("dimensions = 3\n", "dimensions = 3\ndatabase = \"app\"\n");
        placed.replace("[api]\n", &format!("[databases.second]\n\n[api]\ndatabase = \"{keys}\"\n"))
    };
    let world = World::up(&declared("app"));
    run(async {
        assert_eq!(world.search("vecs", 5000).await.0, 200);
        world.story.write("howdah.toml", &declared("second"));
        world.applies().await;
        world.comes("api.database", async || world.search("vecs", 5000).await.0 == 401).await;
        world.story.write("howdah.toml", &declared("app"));
        world.applies().await;
        world.comes("api.database back", async || world.search("vecs", 5000).await.0 == 200).await;
    });
}

/// A service of the kind `tei` that answers every text with the same vector.
async fn embedding(vector: Value) -> wiremock::MockServer {
    let server = wiremock::MockServer::start().await;
    let answer = wiremock::ResponseTemplate::new(200).set_body_json(json!([vector]));
    wiremock::Mock::given(wiremock::matchers::path("/embed")).respond_with(answer).mount(&server).await;
    server
}

#[test]
fn a_hang_up_changes_the_embedder() {
    run(async {
        let (one, other) = (embedding(json!([1, 0, 0])).await, embedding(json!([0, 1, 0])).await);
        let declared = |url: &str| {
            let embedder = format!(
                "[embedders.ours]\nkind = \"tei\"\nmodel = \"any\"\nurl = \"{url}\"\ndimensions = 3\n"
            );
            let with = TWO.replace("dimensions = 3\n", "embedder = \"ours\"\n");
            format!("{with}\n{embedder}")
        };
        let text = declared(&one.uri());
        let world = tokio::task::spawn_blocking(move || World::up(&text)).await.unwrap();
        let nearest = async || {
            let body = json!({"text": "whatever", "mode": "vector", "limit": 1});
            let answer = world.post("/v1/collections/vecs/search", body).await;
            let answer: Value = answer.json().await.unwrap();
            answer["results"][0]["source"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
        };
        assert_eq!(nearest().await, "elephants");
        world.story.write("howdah.toml", &declared(&other.uri()));
        world.comes("the embedder", async || nearest().await == "backups").await;
    });
}

#[test]
fn a_reload_that_goes_wrong_changes_no_role() {
    let world = World::up(TWO);
    run(async {
        assert_eq!(world.search("vecs", 5000).await.0, 200);
        // A database that is declared and not there: the roles cannot be logged in as there.
        let broken = TWO.replace("[api]\n", "[api]\ndatabase = \"nowhere\"\n");
        world.story.write("howdah.toml", &format!("{broken}\n[databases.nowhere]\n"));
        world.hang_up();
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(world.search("vecs", 5000).await.0, 200);
        assert_eq!(world.search("other", 5000).await.0, 200);
        let administrator = world.administrator().await;
        let sql = "SELECT count(*) FROM pg_stat_activity JOIN pg_user USING (usename)
                   WHERE usesuper AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
        assert_eq!(administrator.query_one(sql, &[]).await.unwrap().get::<_, i64>(0), 0);
    });
}

#[test]
fn jobs_that_cannot_be_read_are_nobody_elses_trouble() {
    let world = World::up(TWO);
    run(async {
        let administrator = world.administrator().await;
        administrator.batch_execute("BEGIN; LOCK TABLE howdah.jobs IN ACCESS EXCLUSIVE MODE").await.unwrap();
        let looks = futures_util::future::join_all((0..6).map(|_| world.get("/v1/jobs")));
        let beside = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            for _ in 0..10 {
                assert_eq!(world.search("other", 5000).await.0, 200);
                assert_eq!(world.get("/health").await["status"], "healthy");
                // Longer than a verdict on a key is remembered.
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        };
        tokio::join!(looks, beside);
        administrator.batch_execute("ROLLBACK").await.unwrap();
    });
}

#[test]
fn a_job_survives_the_kill_of_its_server_and_is_done_once() {
    let world = World::up(TWO);
    let server = world.server();
    let id = run(async {
        // Rows that wait for a lock keep the job from its end until the server is killed.
        let administrator = world.administrator().await;
        administrator.batch_execute("BEGIN; LOCK TABLE vecs IN SHARE MODE").await.unwrap();
        let documents: Vec<Value> = (0..50)
            .map(|number| json!({"source": format!("job-{number}"), "content": "Of a job.", "embedding": [0, 1, 1]}))
            .collect();
        let answer = world
            .client
            .post(format!("{}/v1/collections/vecs/documents", world.base))
            .bearer_auth(&world.key)
            .header("prefer", "respond-async")
            .header("idempotency-key", "load-1")
            .json(&json!({"documents": documents}))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 202);
        let place = answer.headers()["location"].to_str().unwrap().to_owned();
        let job: Value = answer.json().await.unwrap();
        assert_eq!(place, format!("/v1/jobs/{}", job["id"].as_str().unwrap()));
        let begun = Instant::now();
        while world.get(&place).await["state"] != "running" {
            assert!(begun.elapsed() < Duration::from_secs(20));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        kill(Pid::from_raw(server), Signal::SIGKILL).unwrap();
        administrator.batch_execute("ROLLBACK").await.unwrap();
        place
    });
    until("the server is gone", || has_ended(server));
    world.story.ok(&["up"]);
    let world = World { base: world.story.rest(), ..world };
    run(async {
        let begun = Instant::now();
        let job = loop {
            let job = world.get(&id).await;
            if !["queued", "running"].contains(&job["state"].as_str().unwrap_or_default()) {
                break job;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "{job}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        assert_eq!((job["state"].as_str(), job["attempt"].as_i64()), (Some("succeeded"), Some(2)), "{job}");
    });
    assert_eq!(world.story.value("SELECT count(*) FROM vecs WHERE source LIKE 'job-%'"), "50");
}

/// A collection with declared fields, and a directory with an empty file.
const RECORDED: &str = r#"name = "story"

[databases.app]
extensions = { vector = "*" }

[collections.items]
dimensions = 3
fields = { kind = "text", price = "numeric" }
documents = ["items.jsonl", "empty.jsonl"]
"#;

const ITEM: &str = "{\"source\": \"a\", \"content\": \"x\", \"kind\": \"note\", \"price\": 1.50, \"embedding\": [1, 0, 0]}\n";

#[test]
fn the_records_of_a_file_come_in_over_rest_and_a_filter_that_tests_nothing_deletes_none() {
    let story = Story::new();
    story.write("howdah.toml", RECORDED);
    story.write("items.jsonl", ITEM);
    story.write("empty.jsonl", "");
    let up = story.run(&["up"]);
    assert!(up.status.success(), "an empty file is no trouble: {}", common::told(&up));
    assert!(
        common::told(&up).contains("`empty.jsonl` is left out: the file is empty"),
        "{}",
        common::told(&up)
    );
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap();
    let key = story.ok(&["keys", "create", "admin", "--scope", "admin"]).trim().to_owned();
    let world = World { base: story.rest(), story, client, key };
    run(async {
        let documents = "/v1/collections/items/documents";
        let record: Value = serde_json::from_str(ITEM).unwrap();
        let answer = world.post(documents, json!({"documents": [record]})).await;
        let report: Value = answer.json().await.unwrap();
        assert_eq!((&report["bad"], &report["documents"]), (&json!(0), &json!(1)), "{report}");
        let several = json!([
            {"source": "b", "content": "y", "kind": "task", "extra": {"deep": true}, "embedding": [0, 1, 0]},
            {"source": "c", "content": "z"},
            {"id": 7, "text": "w", "price": "12345678901234567890.5", "embedding": [0, 0, 1]},
            {"source": "e", "content": "z", "price": "dear", "embedding": [0, 0, 1]},
        ]);
        let refused = world.post(documents, json!({"documents": several})).await;
        assert_eq!(refused.status(), 422);
        let problem: Value = refused.json().await.unwrap();
        assert!(problem["error"]["message"].as_str().unwrap().contains("`documents[1]`"), "{problem}");
        assert!(problem["error"]["hint"].as_str().unwrap().contains("\"skip_bad\": true"), "{problem}");
        let answer = world.post(documents, json!({"documents": several, "skip_bad": true})).await;
        let report: Value = answer.json().await.unwrap();
        let bad: Vec<&Value> =
            report["bad_records"].as_array().unwrap().iter().map(|bad| &bad["index"]).collect();
        assert_eq!((bad, &report["new"]), (vec![&json!(1), &json!(3)], &json!(2)), "{report}");
        let twice = r#"{"documents": [{"content": "x", "k": 1, "k": 2}]}"#;
        let request = world.client.post(format!("{}{documents}", world.base)).bearer_auth(&world.key);
        let refused = request.header("content-type", "application/json").body(twice).send().await.unwrap();
        let problem: Value = refused.json().await.unwrap();
        assert_eq!(problem["error"]["detail"], "`documents[0].k` stands twice", "{problem}");
        for filter in [json!({"and": []}), json!({"or": [{}]}), json!({"not": {"not": {}}})] {
            let answer = world.post(&format!("{documents}/delete"), json!({"filter": filter})).await;
            assert_eq!(answer.status(), 400, "{filter}");
            let text = filter.to_string();
            assert_eq!(
                world.story.run(&["delete", "items", "--filter", &text]).status.code(),
                Some(2),
                "{filter}"
            );
        }
        let gone = world.post(&format!("{documents}/delete"), json!({"source": "nope"})).await;
        assert_eq!(gone.status(), 404);
        assert_eq!(world.story.run(&["delete", "items", "--source", "nope"]).status.code(), Some(1));
    });
    assert_eq!(world.story.value("SELECT count(*) FROM items"), "3");
}
