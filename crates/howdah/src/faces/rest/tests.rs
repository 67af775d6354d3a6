//! What a caller is answered when something is wrong: over a real socket, with skills that misbehave on purpose.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use super::openapi;
use crate::access::key::Key;
use crate::faces::http::testing::{PLACE, SKILLS, TestServer, WAIT, is, refusal};

#[tokio::test]
async fn a_caller_without_a_good_key_is_refused() {
    let server = TestServer::start(0).await;
    let url = format!("{}{WAIT}", server.base);
    let expired = server.service.context().expired.reveal().to_owned();
    is(&refusal(server.client.post(&url)).await, 401, "unauthenticated", "no key was given");
    is(
        &refusal(server.client.post(&url).basic_auth("a", Some("b"))).await,
        401,
        "unauthenticated",
        "no key was given",
    );
    for wrong in ["nonsense", Key::random().reveal()] {
        let request = server.client.post(&url).header("x-api-key", wrong);
        is(&refusal(request).await, 401, "unauthenticated", "the key is not known");
    }
    is(
        &refusal(server.client.post(&url).bearer_auth(expired)).await,
        401,
        "unauthenticated",
        "the key has expired",
    );
}

#[tokio::test]
async fn a_verdict_is_asked_for_once_in_two_seconds() {
    let server = TestServer::start(0).await;
    for _ in 0..5 {
        assert_eq!(server.post(WAIT, "{}").send().await.unwrap().status(), 200);
    }
    assert_eq!(server.service.context().asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_reader_may_not_write() {
    let server = TestServer::start(0).await;
    let answer = refusal(server.post("/v1/collections/manual/write", "{}")).await;
    is(&answer, 403, "forbidden", "this key lacks the scope `write`");
}

#[tokio::test]
async fn a_key_that_asks_too_often_hears_when_to_come_back() {
    let server = TestServer::start(3).await;
    let mut refused = 0;
    for _ in 0..6 {
        let response = server.post(WAIT, "{}").send().await.unwrap();
        if response.status() == 429 {
            assert_eq!(response.headers()["retry-after"], "1");
            refused += 1;
        }
    }
    assert!(refused >= 2, "{refused}");
}

#[tokio::test]
async fn input_that_does_not_fit_is_refused_with_its_reason() {
    let server = TestServer::start(0).await;
    is(&refusal(server.post(WAIT, "{\"millis\":")).await, 400, "usage", "the body is not valid JSON");
    is(&refusal(server.post(WAIT, "[]")).await, 400, "usage", "the body is not a JSON object");
    is(&refusal(server.post(WAIT, r#"{"milis":1}"#)).await, 400, "usage", "the input does not fit");
    is(&refusal(server.post(WAIT, r#"{"millis":-1}"#)).await, 400, "usage", "the input does not fit");
    let twice = r#"{"collection":"other"}"#;
    is(
        &refusal(server.post(WAIT, twice)).await,
        400,
        "usage",
        "`collection` belongs in the path, not in the body",
    );
    is(
        &refusal(server.post(WAIT, "x".repeat(1_001))).await,
        413,
        "too_large",
        "the body is larger than 1000 bytes",
    );
    let form = server.client.post(format!("{}{WAIT}", server.base)).bearer_auth(server.reader());
    let form = form.header("content-type", "application/x-www-form-urlencoded").body("a=b");
    let answer = refusal(form).await;
    assert_eq!(answer.0, 415, "{answer:?}");
    is(
        &refusal(server.get(&format!("{WAIT}?milis=1"))).await,
        400,
        "usage",
        "unknown query parameter `milis`",
    );
    assert_eq!(refusal(server.get("/v1/collections/%ff/wait")).await.0, 400);
    assert_eq!(refusal(server.get("/v1/collections/%00/wait")).await.0, 400);
}

#[tokio::test]
async fn an_unknown_path_or_method_has_the_same_shape() {
    let server = TestServer::start(0).await;
    is(&refusal(server.get("/v2")).await, 404, "not_found", "there is nothing at `/v2`");
    is(&refusal(server.stranger("/v2")).await, 404, "not_found", "there is nothing at `/v2`");
    let response = server.client.patch(format!("{}{WAIT}", server.base)).send().await.unwrap();
    assert_eq!(response.status(), 405);
    let allow = response.headers()["allow"].to_str().unwrap();
    assert_eq!(allow, "POST, GET, HEAD");
    is(
        &refusal(server.client.delete(format!("{}/health", server.base))).await,
        405,
        "usage",
        "`DELETE` is not a method of this path",
    );
}

#[tokio::test]
async fn a_slow_request_ends_and_a_panic_is_an_answer() {
    let server = TestServer::start(0).await;
    is(
        &refusal(server.post(WAIT, r#"{"millis":5000}"#)).await,
        504,
        "timeout",
        "the request took longer than 0.4 s",
    );
    // What the skill began is told behind the answer.
    let heard = async {
        while server.cancelled() != [5_000] {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), heard).await.unwrap();
    let answer = refusal(server.post(WAIT, r#"{"panic":true}"#)).await;
    is(&answer, 500, "internal", "the request met a fault of howdah");
    assert_eq!(server.post(WAIT, "{}").send().await.unwrap().status(), 200, "it lives on");
}

#[tokio::test]
async fn a_request_id_comes_back_as_it_was_sent() {
    let server = TestServer::start(0).await;
    let sent = server.get("/livez").header("x-request-id", "trace-7").send().await.unwrap();
    assert_eq!(sent.headers()["x-request-id"], "trace-7");
    let made = server.get("/livez").header("x-request-id", "not decent").send().await.unwrap();
    assert_ne!(made.headers()["x-request-id"], "not decent");
}

#[tokio::test]
async fn requests_under_way_finish_when_the_server_stops() {
    let mut server = TestServer::start(0).await;
    let mut under_way = Vec::new();
    for _ in 0..20 {
        under_way.push(tokio::spawn(server.post(WAIT, r#"{"millis":250}"#).send()));
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.stop.take().unwrap().send(()).unwrap();
    for one in under_way {
        assert_eq!(one.await.unwrap().unwrap().status(), 200);
    }
    tokio::time::timeout(Duration::from_secs(5), server.ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn the_probes_need_no_key() {
    let server = TestServer::start(0).await;
    for path in ["/health", "/livez", "/readyz", "/version", "/openapi.json", "/", "/docs"] {
        let response = server.stranger(path).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
    }
    server.service.set_ready(false);
    is(&refusal(server.get("/readyz")).await, 503, "unreachable", "the server is starting or stopping");
    let health: Value = server.get("/health").send().await.unwrap().json().await.unwrap();
    assert_eq!(health["status"], "starting");
}

#[tokio::test]
async fn where_postgresql_is_and_as_whom_it_is_asked_is_for_admins() {
    let server = TestServer::start(0).await;
    let owner = server.service.context().owner.reveal().to_owned();
    for kind in ["unreachable", "unauthenticated", "machine", "not_found"] {
        let body = json!({"fail": kind}).to_string();
        is(&refusal(server.post(WAIT, body.clone())).await, 503, "unreachable", "PostgreSQL does not answer");
        let said = server.post(WAIT, body.clone()).send().await.unwrap().text().await.unwrap();
        assert!(!said.contains("postgres`") && !said.contains(PLACE), "{said}");
        let admin = server.client.post(format!("{}{WAIT}", server.base)).bearer_auth(&owner);
        let (status, of, message) =
            refusal(admin.header("content-type", "application/json").body(body)).await;
        assert_eq!(message, format!("nothing listens at `{PLACE}`"));
        assert_eq!((of.as_str(), status), (kind, if kind == "not_found" { 404 } else { 503 }));
    }
    for (kind, words) in
        [("unreachable", "the embedder at `http://e` does not answer"), ("machine", "the disk is full")]
    {
        let body = json!({"fail": kind, "words": words}).to_string();
        is(&refusal(server.post(WAIT, body)).await, 503, kind, words);
    }
}

#[tokio::test]
async fn a_busy_server_says_when_to_come_back() {
    let server = TestServer::start(0).await;
    for (kind, status) in [("busy", 503), ("rate_limited", 429)] {
        let body = json!({"fail": kind, "words": "later"}).to_string();
        let response = server.post(WAIT, body).send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["retry-after"]),
            (status, &"1".parse().unwrap())
        );
    }
}

#[test]
fn the_document_says_where_each_field_goes() {
    let document = openapi::document(&SKILLS, &["manual".into()], true);
    let path = &document["paths"]["/v1/collections/{collection}/wait"];
    assert_eq!(path["post"]["operationId"], "wait");
    assert_eq!(
        path["post"]["parameters"],
        json!([{"name": "collection", "in": "path", "required": true,
                "schema": {"type": "string", "enum": ["manual"]}}])
    );
    let body = &path["post"]["requestBody"]["content"]["application/json"];
    assert_eq!(body["schema"]["additionalProperties"], false);
    assert!(body["schema"]["properties"].get("collection").is_none());
    assert_eq!(body["examples"]["example1"]["value"], json!({"millis": 1000}));
    let names: Vec<&str> = path["get"]["parameters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["collection", "millis", "panic", "fail", "words"]);
    assert!(document["components"]["schemas"].get("Error").is_some());
}
