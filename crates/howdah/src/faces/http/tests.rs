//! What becomes of connections: over plain sockets, because a client would hide it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::server::Bounds;
use super::testing::{Bench, PLACE, TestServer, WAIT, is, quick, refusal};

/// Longer than anything here may take; what is waited for comes or the test fails.
const LONG: Duration = Duration::from_secs(20);

/// An answer as it stood on the socket.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn closes(&self) -> bool {
        self.head.contains("\r\nconnection: close\r\n")
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Reads one answer with a `content-length`; `None` where the connection ended first.
async fn answer(socket: &mut TcpStream) -> Option<Answer> {
    let reading = async {
        let mut bytes = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&bytes).to_lowercase();
            if let Some(end) = text.find("\r\n\r\n") {
                let head = text[..end + 2].to_owned();
                let length = head
                    .split("content-length: ")
                    .nth(1)
                    .map_or("0", |rest| rest.split('\r').next().unwrap());
                let whole = end + 4 + length.parse::<usize>().unwrap();
                if bytes.len() >= whole {
                    let body = String::from_utf8_lossy(&bytes[end + 4..whole]).into_owned();
                    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
                    return Some(Answer { status, head, body });
                }
            }
            if socket.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    };
    tokio::time::timeout(LONG, reading).await.expect("neither an answer nor an end")
}

async fn ask(socket: &mut TcpStream, request: &str) -> Option<Answer> {
    // A server that closes early is met again by reading.
    let _ = socket.write_all(request.as_bytes()).await;
    answer(socket).await
}

/// Until the server ends the connection, whatever it says before.
async fn end(socket: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let ended = tokio::time::timeout(LONG, socket.read_to_end(&mut bytes)).await;
    ended.expect("the connection stays open").unwrap_or(0);
    bytes
}

const LIVE: &str = "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n";

fn post(key: &str, body: &str) -> String {
    format!(
        "POST {WAIT} HTTP/1.1\r\nhost: x\r\n{key}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn a_connection_that_never_asks_is_closed() {
    let server = TestServer::with(Bench::new(0), quick()).await;
    for said in ["", "G", "PRI * HTTP/2.0\r\n", "GET /livez HTTP/1.1\r\nhost: x\r\nx-slow:"] {
        let mut socket = server.socket().await;
        socket.write_all(said.as_bytes()).await.unwrap();
        assert!(end(&mut socket).await.is_empty(), "{said:?}");
    }
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_is_given_up() {
    let server = TestServer::with(Bench::new(0), quick()).await;
    let mut socket = server.socket().await;
    assert_eq!(ask(&mut socket, LIVE).await.unwrap().status, 200);
    let (mut reads, mut writes) = socket.into_split();
    let trickle = tokio::spawn(async move {
        writes.write_all(b"GET /livez HTTP/1.1\r\nx-slow: ").await?;
        loop {
            writes.write_all(b"x").await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        #[allow(unreachable_code)] // Says the type of the block.
        Ok::<(), std::io::Error>(())
    });
    let mut bytes = Vec::new();
    let ended = tokio::time::timeout(LONG, reads.read_to_end(&mut bytes)).await;
    assert!(ended.is_ok(), "the connection stays open");
    trickle.abort();
}

#[tokio::test]
async fn a_connection_may_rest_between_requests_but_not_for_ever() {
    let server = TestServer::with(Bench::new(0), quick()).await;
    let mut socket = server.socket().await;
    assert_eq!(ask(&mut socket, LIVE).await.unwrap().status, 200);
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(ask(&mut socket, LIVE).await.unwrap().status, 200, "longer than a head may take");
    assert!(end(&mut socket).await.is_empty());
}

#[tokio::test]
async fn a_request_longer_than_any_wait_is_no_idle_connection() {
    let mut bench = Bench::new(0);
    bench.limits.timeout = Duration::from_secs(10);
    let server = TestServer::with(bench, quick()).await;
    let key = format!("x-api-key: {}\r\n", server.reader());
    let mut socket = server.socket().await;
    let answer = ask(&mut socket, &post(&key, r#"{"millis":1500}"#)).await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(ask(&mut socket, LIVE).await.unwrap().status, 200);
}

#[tokio::test]
async fn one_connection_too_many_hears_so_and_the_others_go_on() {
    let server = TestServer::with(Bench::new(0), Bounds { connections: 3, ..Bounds::default() }).await;
    let mut inside = Vec::new();
    for _ in 0..3 {
        let mut socket = server.socket().await;
        assert_eq!(ask(&mut socket, LIVE).await.unwrap().status, 200);
        inside.push(socket);
    }
    for request in [LIVE.to_owned(), post("", &"1".repeat(500_000))] {
        let mut outside = server.socket().await;
        let refused = ask(&mut outside, &request).await.expect("a refusal");
        assert_eq!(refused.status, 503);
        assert!(refused.closes() && refused.head.contains("\r\nretry-after: 1\r\n"), "{}", refused.head);
        let error = &refused.json()["error"];
        assert_eq!((&error["kind"], &error["do_now"]), (&Value::from("busy"), &Value::from("retry")));
        assert!(refused.head.contains(error["request_id"].as_str().unwrap()));
    }
    for socket in &mut inside {
        assert_eq!(ask(socket, LIVE).await.unwrap().status, 200);
    }
    inside.pop();
    let found = async {
        loop {
            let mut socket = server.socket().await;
            if ask(&mut socket, LIVE).await.is_some_and(|answer| answer.status == 200) {
                break;
            }
        }
    };
    tokio::time::timeout(LONG, found).await.expect("a place that was left is free again");
}

#[tokio::test]
async fn a_refusal_before_the_body_was_read_leaves_a_usable_connection_or_says_that_it_does_not() {
    let server = TestServer::start(0).await;
    let key = format!("x-api-key: {}\r\n", server.reader());
    let numbers = |count: usize| format!(r#"{{"vector":[{}1]}}"#, "0.1234567, ".repeat(count));
    for (key, count, status, stays) in [
        ("", 0, 401, true),
        ("", 5_000, 401, true),
        ("", 50_000, 401, false),
        (&*key, 5_000, 413, true),
        (&*key, 50_000, 413, false),
    ] {
        let mut socket = server.socket().await;
        let (mut reads, mut writes) = socket.split();
        let request = post(key, &numbers(count));
        let send = async {
            // The end of the connection is met by reading.
            let _ = writes.write_all(request.as_bytes()).await;
        };
        let mut bytes = vec![0; 64 << 10];
        let read = async { reads.read(&mut bytes).await.unwrap_or(0) };
        let ((), length) = tokio::time::timeout(LONG, async { tokio::join!(send, read) }).await.unwrap();
        let text = String::from_utf8_lossy(&bytes[..length]).to_lowercase();
        assert!(text.starts_with(&format!("http/1.1 {status} ")), "{count}: {text}");
        assert_eq!(!text.contains("\r\nconnection: close\r\n"), stays, "{count}: {text}");
        if stays {
            let next = ask(&mut socket, LIVE).await.unwrap();
            assert_eq!(next.status, 200, "{count}");
        }
    }
    // Of another method and another path, and one that waits to be asked for its body.
    for line in ["PUT /livez", "POST /nothing"] {
        let mut socket = server.socket().await;
        let request = post("", "{}").replace(&format!("POST {WAIT}"), line);
        assert!(ask(&mut socket, &request).await.unwrap().status >= 404);
        assert_eq!(ask(&mut socket, LIVE).await.unwrap().status, 200, "{line}");
    }
    let mut socket = server.socket().await;
    let head =
        format!("POST {WAIT} HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\nexpect: 100-continue\r\n\r\n");
    let refused = ask(&mut socket, &head).await.unwrap();
    assert_eq!((refused.status, refused.closes()), (401, true));
}

#[tokio::test]
async fn a_body_that_stalls_after_a_refusal_does_not_hold_the_connection() {
    let server = TestServer::start(0).await;
    let mut socket = server.socket().await;
    let head = format!("POST {WAIT} HTTP/1.1\r\nhost: x\r\ncontent-length: 900\r\n\r\n{{");
    let refused = ask(&mut socket, &head).await.unwrap();
    assert_eq!((refused.status, refused.closes()), (401, true));
    assert!(end(&mut socket).await.is_empty());
}

#[tokio::test]
async fn http_2_is_spoken_and_its_idle_connections_are_let_go() {
    let server = TestServer::with(Bench::new(0), quick()).await;
    let stream = TokioIo::new(server.socket().await);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    let connection = tokio::spawn(connection);
    for (method, path, body, status) in
        [("POST", WAIT, "1".repeat(400_000), 401), ("GET", "/livez", String::new(), 200)]
    {
        let request = hyper::Request::builder().method(method).uri(format!("{}{path}", server.base));
        let request = request.body(Full::new(bytes::Bytes::from(body))).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), status);
        response.into_body().collect().await.unwrap();
    }
    let ended = tokio::time::timeout(LONG, connection).await.expect("the connection stays open");
    ended.unwrap().expect("it ends in order");
}

#[tokio::test]
async fn idle_connections_do_not_hold_up_a_stop_and_endless_requests_are_cut_off() {
    let mut bench = Bench::new(0);
    bench.limits.timeout = Duration::from_secs(600);
    let mut server =
        TestServer::with(bench, Bounds { last: Duration::from_millis(500), ..Bounds::default() }).await;
    let mut idle = server.socket().await;
    assert_eq!(ask(&mut idle, LIVE).await.unwrap().status, 200);
    let mut silent = server.socket().await;
    let key = format!("x-api-key: {}\r\n", server.reader());
    let mut endless = server.socket().await;
    endless.write_all(post(&key, r#"{"millis":600000}"#).as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    server.stop.take().unwrap().send(()).unwrap();
    for socket in [&mut idle, &mut silent, &mut endless] {
        assert!(end(socket).await.is_empty());
    }
    tokio::time::timeout(LONG, server.ended).await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err(), "nothing listens any more");
}

#[tokio::test]
async fn a_caller_who_went_away_cancels_what_he_asked_for() {
    let mut bench = Bench::new(0);
    bench.limits.timeout = Duration::from_secs(600);
    let server = TestServer::with(bench, Bounds::default()).await;
    let key = format!("x-api-key: {}\r\n", server.reader());
    let mut socket = server.socket().await;
    socket.write_all(post(&key, r#"{"millis":600000}"#).as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(server.cancelled().is_empty());
    drop(socket);
    let heard = async {
        while server.cancelled() != [600_000] {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LONG, heard).await.expect("the skill hears that nobody waits");
}

#[tokio::test]
async fn a_stranger_hears_no_names() {
    let mut bench = Bench::new(0);
    bench.collections = vec!["ledger".into()];
    let server = TestServer::with(bench, Bounds::default()).await;
    let text = async |request: reqwest::RequestBuilder| request.send().await.unwrap().text().await.unwrap();
    let names = |text: &str| ["ledger", "postgres`", PLACE].iter().any(|name| text.contains(name));
    crate::observe::measure::recorder();
    metrics::counter!("howdah_test_total", "collection" => "ledger").increment(1);

    for path in ["/health", "/livez", "/readyz", "/version", "/openapi.json", "/", "/docs", "/metrics"] {
        let said = text(server.stranger(path)).await;
        assert!(!names(&said), "{path}: {said}");
        let wrong = text(server.stranger(path).bearer_auth("hdk_wrong")).await;
        assert!(!names(&wrong), "{path}: {wrong}");
    }
    is(&refusal(server.stranger("/metrics")).await, 401, "unauthenticated", "no key was given");
    let document: Value = serde_json::from_str(&text(server.get("/openapi.json")).await).unwrap();
    let operation = &document["paths"]["/v1/collections/{collection}/wait"]["get"];
    assert_eq!(operation["parameters"][0]["schema"]["enum"], serde_json::json!(["ledger"]));
    assert!(text(server.get("/metrics")).await.contains("ledger"));

    server.away(true);
    for path in ["/health", "/readyz", WAIT] {
        let response = server.stranger(path).send().await.unwrap();
        let said = response.text().await.unwrap();
        assert!(!names(&said), "{path}: {said}");
    }
    let health: Value = serde_json::from_str(&text(server.stranger("/health")).await).unwrap();
    assert_eq!(health["problem"], "PostgreSQL does not answer");
    let health: Value = serde_json::from_str(&text(server.get("/health")).await).unwrap();
    assert!(health["problem"].as_str().unwrap().contains(PLACE));
}

#[tokio::test]
async fn whoever_watches_sees_that_postgresql_is_away() {
    let server = TestServer::start(0).await;
    assert_eq!(server.get("/metrics").send().await.unwrap().status(), 200);
    server.away(true);
    tokio::time::sleep(crate::access::gate::REMEMBERED + Duration::from_millis(100)).await;
    assert_eq!(server.get("/metrics").send().await.unwrap().status(), 200, "the key was good lately");
    is(&refusal(server.post(WAIT, "{}")).await, 503, "unreachable", "the key cannot be checked now");
    let owner = server.service.context().owner.reveal().to_owned();
    assert_eq!(server.stranger("/metrics").bearer_auth(owner).send().await.unwrap().status(), 200);
    server.service.context().gate.forget();
    assert_eq!(server.get("/metrics").send().await.unwrap().status(), 503);
}

#[tokio::test]
async fn a_key_that_nobody_can_check_is_not_waited_for() {
    let mut bench = Bench::new(0);
    (bench.mute, bench.limits.timeout) = (true, Duration::from_secs(600));
    let server = TestServer::with(bench, Bounds::default()).await;
    let refused = tokio::time::timeout(LONG, refusal(server.post(WAIT, "{}"))).await.unwrap();
    is(&refused, 503, "unreachable", "the key cannot be checked now");
}

#[tokio::test]
async fn without_required_keys_nothing_is_hidden() {
    let mut bench = Bench::new(0);
    bench.limits.require_key = false;
    let server = TestServer::with(bench, Bounds::default()).await;
    assert_eq!(server.stranger("/metrics").send().await.unwrap().status(), 200);
    let document = server.stranger("/openapi.json").send().await.unwrap().text().await.unwrap();
    assert!(document.contains("manual"));
    server.away(true);
    let health = server.stranger("/health").send().await.unwrap().text().await.unwrap();
    assert!(health.contains(PLACE), "{health}");
}

#[tokio::test]
async fn a_declaration_read_again_counts_from_the_next_request_on() {
    let server = TestServer::start(0).await;
    let before = server.service.context();
    assert_eq!(refusal(server.post(WAIT, "x".repeat(1_500))).await.0, 413);
    assert!(!document(&server).await.contains("papers"));
    let mut bench = Bench::new(0);
    (bench.reader, bench.limits.body) = (before.reader.clone(), 2_000);
    bench.collections = vec!["papers".into()];
    server.service.replace(std::sync::Arc::new(bench));
    assert_eq!(refusal(server.post(WAIT, "x".repeat(1_500))).await.0, 400);
    let document = document(&server).await;
    assert!(document.contains("papers") && !document.contains("\"enum\":[\"manual\"]"));
    assert_eq!(before.asked.load(Ordering::Relaxed), 1);
}

async fn document(server: &TestServer) -> String {
    server.get("/openapi.json").send().await.unwrap().text().await.unwrap()
}

const PAGE: &str = "https://app.example.com";

fn preflight(server: &TestServer, path: &str, origin: &str) -> reqwest::RequestBuilder {
    server
        .client
        .request(reqwest::Method::OPTIONS, format!("{}{path}", server.base))
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type")
}

#[tokio::test]
async fn a_page_of_another_origin_may_ask_where_it_is_declared_and_nowhere_else() {
    let server = TestServer::start(0).await;
    let refused = preflight(&server, WAIT, PAGE).send().await.unwrap();
    assert!(refused.headers().get("access-control-allow-origin").is_none());
    let body: Value = refused.json().await.unwrap();
    assert_eq!(body["error"]["kind"], "forbidden");
    assert!(
        body["error"]["hint"].as_str().unwrap().contains("cors = [\"https://app.example.com\"]"),
        "{body}"
    );
    let answer = server.post(WAIT, "{\"millis\": 1}").header("origin", PAGE).send().await.unwrap();
    assert_eq!(answer.status(), 200, "other programs may send what they like");
    assert!(answer.headers().get("access-control-allow-origin").is_none());

    let declared = async |cors: &[&str]| {
        let mut bench = Bench::new(0);
        (bench.reader, bench.cors) =
            (server.service.context().reader.clone(), cors.iter().map(|one| (*one).to_owned()).collect());
        server.service.replace(std::sync::Arc::new(bench));
    };
    declared(&[PAGE, "http://localhost:5173"]).await;
    let said = preflight(&server, WAIT, PAGE).send().await.unwrap();
    assert_eq!(said.status(), 200);
    let header = |answer: &reqwest::Response, name: &str| {
        answer.headers().get(name).map(|value| value.to_str().unwrap().to_lowercase()).unwrap_or_default()
    };
    assert_eq!(header(&said, "access-control-allow-origin"), PAGE);
    assert!(header(&said, "access-control-allow-methods").contains("delete"));
    assert!(header(&said, "access-control-allow-headers").contains("authorization"));
    assert_eq!(header(&said, "access-control-allow-credentials"), "");
    // What is refused is readable by the page too, and carries its request id.
    for (request, status) in [
        (server.post(WAIT, "{\"millis\": 1}"), 200),
        (server.stranger(WAIT), 401),
        (server.stranger("/nothing"), 404),
    ] {
        let answer = request.header("origin", PAGE).send().await.unwrap();
        assert_eq!(answer.status(), status);
        assert_eq!(header(&answer, "access-control-allow-origin"), PAGE);
        assert!(header(&answer, "vary").contains("origin"), "caches tell origins apart");
        assert!(header(&answer, "access-control-expose-headers").contains("x-request-id"));
    }
    for other in
        ["https://app.example.com.evil.example", "null", "https://APP.example.com", "http://app.example.com"]
    {
        assert_eq!(preflight(&server, WAIT, other).send().await.unwrap().status(), 403, "{other}");
    }
    declared(&["*"]).await;
    let said = preflight(&server, WAIT, "https://anybody.example").send().await.unwrap();
    assert_eq!(header(&said, "access-control-allow-origin"), "*");
    assert_eq!(header(&said, "access-control-allow-credentials"), "");
}
