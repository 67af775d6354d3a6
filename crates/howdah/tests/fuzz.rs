//! Requests that nobody means: right ones, changed at random, with every kind of key, many at once.
//!
//! The server may refuse each of them, and may say that it is busy (429 or 503 with `Retry-After`). It may not answer with
//! another 5xx, not panic, not stop, and its memory may not go on growing. `HOWDAH_FUZZ=100000` asks for more requests than
//! the few of every run, `HOWDAH_FUZZ_SEED` for those of another one.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::Story;
use howdah::skills::SKILLS;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use reqwest::{Client, Method};
use serde_json::{Map, Value, json};

const DECLARATION: &str = r#"name = "story"

[api]
requests_per_second = 0

[databases.app]
extensions = { vector = "*" }

[collections.notes]
dimensions = 3
fields = { year = "integer" }
documents = ["notes.jsonl"]

[collections.papers]
dimensions = 2
metric = "l2"
id_type = "uuid"
"#;

/// Requests at a time.
const CONCURRENCY: usize = 32;
/// Requests of an ordinary run.
const FEW: usize = 3_000;

struct World {
    story: Story,
    base: String,
    client: Client,
    keys: Vec<Option<String>>,
}

impl World {
    fn up() -> World {
        let story = Story::new();
        story.write("howdah.toml", DECLARATION);
        let notes: String = (1..=50)
            .map(|n| {
                let text = format!("Note number {n} about elephants.");
                let note = json!({"source": format!("n{n}"), "content": text, "year": 1970 + n, "embedding": [n, 1, 2]});
                format!("{note}\n")
            })
            .collect();
        story.write("notes.jsonl", &notes);
        story.ok(&["up"]);
        let key = |scope: &str| {
            let made = story.ok(&["keys", "create", scope, "--scope", scope]);
            Some(made.trim().to_owned())
        };
        let wrong = Some(format!("hdk_{}", "A".repeat(43)));
        let keys = vec![None, Some("nonsense".to_owned()), wrong, key("read"), key("write"), key("admin")];
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().no_proxy().timeout(Duration::from_secs(90)).build().unwrap();
        World { base: story.rest(), story, client, keys }
    }

    /// Resident memory of the server, in KiB.
    fn memory(&self) -> u64 {
        let pid = self.story.running()["process"]["pid"].as_i64().unwrap();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

/// A request before it is sent.
#[derive(Debug)]
struct Request {
    method: Method,
    path: String,
    key: Option<String>,
    headers: Vec<(&'static str, String)>,
    body: Option<Vec<u8>>,
}

struct Maker {
    random: StdRng,
    templates: Vec<(Method, &'static str, Map<String, Value>)>,
}

impl Maker {
    fn new(seed: u64) -> Self {
        let mut templates = Vec::new();
        for skill in SKILLS {
            let method: Method = skill.route.method.parse().unwrap();
            let examples = skill.examples.iter().map(|example| serde_json::from_str(example.input).unwrap());
            let inputs: Vec<Map<String, Value>> = examples.chain([Map::new()]).collect();
            templates.extend(inputs.into_iter().map(|input| (method.clone(), skill.route.path, input)));
        }
        let search = "/v1/collections/{collection}/search";
        for input in [
            json!({"collection": "notes", "vector": [1, 2, 3], "filter": {"year": {"gte": 1990}}, "limit": 5}),
            json!({"collection": "notes", "text": "elephants", "mode": "text", "words": "all", "offset": 3}),
            json!({"collection": "notes", "vector": [1, 2, 3], "text": "number", "candidates": 40, "explain": true}),
            json!({"collection": "papers", "vector": [1, 2], "exact": true, "select": ["id"], "sql": true}),
            json!({"collection": "notes", "id": 7, "filter": {"or": [{"year": 1980}, {"not": {"source": "n1"}}]}}),
        ] {
            templates.push((Method::POST, search, input.as_object().cloned().unwrap()));
        }
        let documents = json!({"collection": "notes", "skip_bad": true,
            "documents": [{"source": "f", "content": "Fuzzed.", "embedding": [0, 1, 0], "metadata": {"a": [1]}}]});
        templates.push((
            Method::POST,
            "/v1/collections/{collection}/documents",
            documents.as_object().cloned().unwrap(),
        ));
        Maker { random: StdRng::seed_from_u64(seed), templates }
    }

    fn one_in(&mut self, many: u32) -> bool {
        self.random.random_range(0..many) == 0
    }

    fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        all.choose(&mut self.random).unwrap()
    }

    fn request(&mut self, keys: &[Option<String>]) -> Request {
        let (method, path, input) = self.templates.choose(&mut self.random).cloned().unwrap();
        let mut input = input;
        for _ in 0..self.random.random_range(0..4) {
            self.change_map(&mut input);
        }
        if self.one_in(3) {
            input.insert(
                "collection".into(),
                self.pick(&["notes", "papers", "manual", "no"]).to_string().into(),
            );
        }
        let mut filled = String::new();
        for part in path.split('/').skip(1) {
            filled.push('/');
            match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
                Some(name) => filled.push_str(&self.segment(input.shift_remove(name))),
                None => filled.push_str(part),
            }
        }
        let method = if self.one_in(20) {
            self.pick(&[Method::PUT, Method::PATCH, Method::HEAD, Method::OPTIONS, Method::DELETE]).clone()
        } else {
            method
        };
        let has_body = !matches!(method, Method::GET | Method::DELETE | Method::HEAD) || self.one_in(10);
        let (mut body, mut headers) = (None, Vec::new());
        if has_body {
            body = Some(self.body(Value::Object(input)));
            let kind = match self.random.random_range(0..20) {
                0 => "text/plain",
                1 => "application/x-www-form-urlencoded",
                _ => "application/json",
            };
            headers.push(("content-type", kind.to_owned()));
        } else if !input.is_empty() {
            let pairs: Vec<String> =
                input.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
            filled = format!("{filled}?{}", pairs.join("&"));
        }
        if self.one_in(10) {
            headers.push(("idempotency-key", self.pick(&["a", "b", "c d", "\u{7f}"]).to_string()));
        }
        if self.one_in(10) {
            headers.push(("prefer", self.pick(&["respond-async", "wait=1", ",,,"]).to_string()));
        }
        if self.one_in(20) {
            headers.push(("x-request-id", self.pick(&["r", "a b", "x".repeat(300).as_str()]).to_string()));
        }
        let key = self.pick(keys).clone();
        Request { method, path: filled, key, headers, body }
    }

    /// A value as a segment of a path, sometimes broken.
    fn segment(&mut self, value: Option<Value>) -> String {
        let value = value.unwrap_or_else(|| self.value(0));
        match self.random.random_range(0..12) {
            0 => "%ff".into(),
            1 => "%00".into(),
            2 => "..%2f..".into(),
            3 => encode(&self.value(0)),
            _ => encode(&value),
        }
    }

    /// A body, sometimes cut or no JSON at all.
    fn body(&mut self, value: Value) -> Vec<u8> {
        let mut bytes = value.to_string().into_bytes();
        match self.random.random_range(0..25) {
            0 => {
                let at = self.random.random_range(0..=bytes.len());
                bytes.truncate(at);
            }
            1 if !bytes.is_empty() => {
                let at = self.random.random_range(0..bytes.len());
                bytes[at] = self.random.random();
            }
            2 => bytes = "[".repeat(5_000).into_bytes(),
            3 => bytes = format!("{{\"text\": \"{}\"}}", "ä".repeat(60_000)).into_bytes(),
            _ => {}
        }
        bytes
    }

    fn change_map(&mut self, map: &mut Map<String, Value>) {
        let names: Vec<String> = map.keys().cloned().collect();
        match self.random.random_range(0..8) {
            0 if !names.is_empty() => {
                let name = self.pick(&names).clone();
                map.shift_remove(&name);
            }
            1 => {
                let fields = [
                    "limit",
                    "offset",
                    "text",
                    "vector",
                    "id",
                    "filter",
                    "mode",
                    "candidates",
                    "timeout_ms",
                    "select",
                    "weights",
                    "words",
                    "exact",
                    "explain",
                    "ef_search",
                    "max_distance",
                    "min_similarity",
                    "ids",
                    "source",
                    "dry_run",
                    "checks",
                    "name",
                    "scope",
                    "expires_in_days",
                    "nonsense",
                    "",
                ];
                let name = (*self.pick(&fields)).to_owned();
                let value = self.value(0);
                map.insert(name, value);
            }
            _ if !names.is_empty() => {
                let name = self.pick(&names).clone();
                let value = map.get_mut(&name).unwrap();
                let mut changed = std::mem::take(value);
                self.change(&mut changed);
                map.insert(name, changed);
            }
            _ => {}
        }
    }

    fn change(&mut self, value: &mut Value) {
        match value {
            Value::Object(map) if !self.one_in(4) => self.change_map(map),
            Value::Array(all) if !all.is_empty() && !self.one_in(3) => {
                let at = self.random.random_range(0..all.len());
                match self.random.random_range(0..4) {
                    0 => {
                        all.remove(at);
                    }
                    1 => {
                        let again = all[at].clone();
                        all.extend(std::iter::repeat_n(again, self.random.random_range(1..200)));
                    }
                    _ => self.change(&mut all[at]),
                }
            }
            _ => *value = self.value(0),
        }
    }

    fn value(&mut self, depth: u32) -> Value {
        match self.random.random_range(0..if depth < 3 { 16 } else { 12 }) {
            0 => Value::Null,
            1 => self.random.random::<bool>().into(),
            2 => 0.into(),
            3 => (-1).into(),
            4 => self.random.random::<i64>().into(),
            5 => self.random.random_range(0..2000_i64).into(),
            6 => json!(1e308),
            7 => json!(3.4e38),
            8 => "".into(),
            9 => self
                .pick(&["a", "\u{0}", "'; DROP TABLE notes; --", "💥", "\u{202e}x", "%", "\\", "[1,2]"])
                .to_string()
                .into(),
            10 => "x".repeat(self.random.random_range(1..3000)).into(),
            11 => self
                .pick(&["read", "write", "admin", "vector", "hybrid", "any", "year", "metadata.a"])
                .to_string()
                .into(),
            12 | 13 => {
                let many = self.random.random_range(0..5);
                (0..many).map(|_| self.value(depth + 1)).collect()
            }
            _ => {
                let mut map = Map::new();
                for _ in 0..self.random.random_range(0..3) {
                    let operators =
                        ["and", "or", "not", "gte", "in", "exists", "year", "metadata.x", "source", "like"];
                    let name = (*self.pick(&operators)).to_owned();
                    let value = self.value(depth + 1);
                    map.insert(name, value);
                }
                Value::Object(map)
            }
        }
    }
}

fn encode(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

#[test]
fn whatever_is_asked_the_server_answers_and_stays_as_it_is() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<usize>().ok());
    let total = number("HOWDAH_FUZZ").unwrap_or(FEW);
    let seed = number("HOWDAH_FUZZ_SEED").unwrap_or(1) as u64;
    let world = World::up();
    let maker = Mutex::new(Maker::new(seed));
    let (sent, statuses) = (AtomicUsize::new(0), Mutex::new(BTreeMap::<u16, usize>::new()));
    let memory = Mutex::new(Vec::new());
    let begun = Instant::now();
    let worker = async || {
        loop {
            let number = sent.fetch_add(1, Ordering::Relaxed);
            if number >= total {
                return;
            }
            if number.is_multiple_of((total / 20).max(1)) {
                memory.lock().unwrap().push((number, world.memory()));
            }
            let request = maker.lock().unwrap().request(&world.keys);
            let url = format!("{}{}", world.base, request.path);
            let mut sending = world.client.request(request.method.clone(), &url);
            for (name, value) in &request.headers {
                sending = sending.header(*name, value.as_bytes());
            }
            if let Some(key) = &request.key {
                sending = sending.bearer_auth(key);
            }
            if let Some(body) = &request.body {
                sending = sending.body(body.clone());
            }
            // What no client sends is no answer of the server's.
            let Ok(ready) = sending.build() else { continue };
            let answer = match world.client.execute(ready).await {
                Ok(answer) => answer,
                // An address too long for the client.
                Err(error) if error.is_builder() => continue,
                Err(error) => {
                    panic!("no answer: {error:?}, to {} bytes of path, {request:?}", request.path.len())
                }
            };
            let status = answer.status().as_u16();
            let announced = [429, 503].contains(&status) && answer.headers().contains_key("retry-after");
            let text = answer.text().await.unwrap_or_default();
            assert!(status < 500 || announced, "{status} {text}\n{request:?}");
            *statuses.lock().unwrap().entry(status).or_default() += 1;
        }
    };
    let workers = (0..CONCURRENCY).map(|_| worker());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(futures_util::future::join_all(workers));
    let statuses = statuses.into_inner().unwrap();
    let mut memory = memory.into_inner().unwrap();
    memory.push((total, world.memory()));
    let rate = total as f64 / begun.elapsed().as_secs_f64();
    eprintln!("{total} requests, seed {seed}, {rate:.0} a second: {statuses:?}");
    eprintln!("memory in KiB after so many requests: {memory:?}");
    let log: String = fs::read_dir(world.story.instance())
        .unwrap()
        .filter_map(|entry| fs::read_to_string(entry.unwrap().path()).ok())
        .collect();
    assert!(!log.contains("panicked"), "a panic is in the log");
    let found = world.story.ok(&["search", "elephants", "-c", "notes", "-o", "json"]);
    assert!(found.contains("\"complete\""), "{found}");
    // Over the second half; a run of a few requests is still warming up.
    if total >= 50_000 {
        let (half, end) = (memory[memory.len() / 2].1, memory.last().unwrap().1);
        assert!(end < half + half / 20 + 8_192, "memory grew from {half} to {end} KiB in the second half");
    }
}
