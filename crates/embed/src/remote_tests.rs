//! Providers that misbehave, made for real on a local port.

use std::time::{Duration, Instant};

use howdah_plan::problem::{Kind, Problem};
use howdah_plan::spec::{Embedder, EmbedderKind};
use serde_json::{Value, json};
use wiremock::matchers::{body_partial_json, header, method, path};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use super::remote::Remote;
use super::retry::Policy;

fn declared(kind: EmbedderKind, server: &MockServer) -> Embedder {
    Embedder {
        kind,
        model: "some-model".into(),
        path: None,
        url: Some(server.uri()),
        api_key_env: None,
        dimensions: Some(3),
        batch: Some(2),
        timeout_seconds: Some(1),
        max_characters: None,
    }
}

fn client(declared: &Embedder) -> Remote {
    let policy = Policy { attempts: 3, first_pause: Duration::from_millis(5), ..Policy::default() };
    Remote::new("e", declared).unwrap().unwrap().with_policy(policy)
}

fn texts(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("text {i}")).collect()
}

/// Answers every text `text N` with the vector `[N, 1, 0]`, in TEI's shape.
fn tei(request: &Request) -> ResponseTemplate {
    let body: Value = request.body_json().unwrap();
    let rows: Vec<Value> = body["inputs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|text| {
            json!([text.as_str().unwrap().trim_start_matches("text ").parse::<f32>().unwrap(), 1.0, 0.0])
        })
        .collect();
    ResponseTemplate::new(200).set_body_json(rows)
}

async fn tei_after(template: ResponseTemplate, times: u64) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("POST")).respond_with(template).up_to_n_times(times).mount(&server).await;
    Mock::given(method("POST")).and(path("/embed")).respond_with(tei).mount(&server).await;
    server
}

async fn always(kind: EmbedderKind, template: ResponseTemplate) -> Problem {
    let server = MockServer::start().await;
    Mock::given(method("POST")).respond_with(template).mount(&server).await;
    client(&declared(kind, &server)).embed(&texts(2)).await.unwrap_err()
}

#[tokio::test]
async fn vectors_come_back_in_order_over_several_requests() {
    let server = MockServer::start().await;
    Mock::given(path("/embed")).respond_with(tei).mount(&server).await;
    let vectors = client(&declared(EmbedderKind::Tei, &server)).embed(&texts(7)).await.unwrap();
    let firsts: Vec<f32> = vectors.iter().map(|vector| vector[0]).collect();
    assert_eq!(firsts, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(server.received_requests().await.unwrap().len(), 4);
}

#[tokio::test]
async fn openai_and_ollama_are_spoken_to_in_their_own_shape() {
    let server = MockServer::start().await;
    Mock::given(path("/v1/embeddings"))
        .and(body_partial_json(json!({"model": "some-model", "input": ["text 0"]})))
        .respond_with(
            ResponseTemplate::new(200).set_body_json(json!({"data": [{"index": 0, "embedding": [1, 2, 3]}]})),
        )
        .mount(&server)
        .await;
    Mock::given(path("/api/embed"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"embeddings": [[4, 5, 6]]})))
        .mount(&server)
        .await;
    let openai = client(&declared(EmbedderKind::Openai, &server)).embed(&texts(1)).await.unwrap();
    assert_eq!(openai, [[1.0, 2.0, 3.0]]);
    let ollama = client(&declared(EmbedderKind::Ollama, &server)).embed(&texts(1)).await.unwrap();
    assert_eq!(ollama, [[4.0, 5.0, 6.0]]);
}

#[tokio::test]
async fn a_429_waits_as_long_as_it_is_asked_to() {
    let server = tei_after(ResponseTemplate::new(429).insert_header("Retry-After", "0.3"), 1).await;
    let start = Instant::now();
    client(&declared(EmbedderKind::Tei, &server)).embed(&texts(1)).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(300), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_pause_of_an_hour_is_reported_and_not_waited_for() {
    let template = ResponseTemplate::new(429).insert_header("Retry-After", "3600");
    let problem = always(EmbedderKind::Tei, template).await;
    assert_eq!(problem.kind, Kind::RateLimited);
    assert!(problem.detail.unwrap().contains("3600 s"));
}

#[tokio::test]
async fn a_500_that_passes_is_not_noticed_and_one_that_stays_is_said() {
    let server = tei_after(ResponseTemplate::new(500), 2).await;
    client(&declared(EmbedderKind::Tei, &server)).embed(&texts(1)).await.unwrap();
    let problem = always(EmbedderKind::Tei, ResponseTemplate::new(503).set_body_string("warming up")).await;
    assert_eq!(problem.kind, Kind::Unreachable);
    let detail = problem.detail.unwrap();
    assert!(detail.contains("warming up") && detail.contains("tried 3 times"), "{detail}");
}

#[tokio::test]
async fn a_provider_that_hangs_ends_in_a_timeout() {
    let slow =
        ResponseTemplate::new(200).set_body_json(json!([[1, 2, 3]])).set_delay(Duration::from_secs(30));
    let problem = always(EmbedderKind::Tei, slow).await;
    assert_eq!(problem.kind, Kind::Timeout);
    assert_eq!(problem.kind.row().exit, 5);
}

#[tokio::test]
async fn nobody_listening_is_said_with_the_address_and_without_its_password() {
    let server = MockServer::start().await;
    let mut declared = declared(EmbedderKind::Ollama, &server);
    declared.url = Some("http://me:hunter2@127.0.0.1:1".into());
    let problem = client(&declared).embed(&texts(1)).await.unwrap_err();
    assert_eq!(problem.kind, Kind::Unreachable);
    let text = format!("{problem:?}");
    assert!(text.contains("127.0.0.1:1") && !text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn wrong_dimensions_short_answers_and_nonsense_are_refused() {
    let rows = |rows: Value| ResponseTemplate::new(200).set_body_json(rows);
    let wrong = always(EmbedderKind::Tei, rows(json!([[1, 2], [3, 4]]))).await;
    assert_eq!(wrong.kind, Kind::Conflict);
    assert!(wrong.message.contains("`2` dimensions, not `3`"), "{}", wrong.message);
    let short = always(EmbedderKind::Tei, rows(json!([[1, 2, 3]]))).await;
    assert!(short.detail.unwrap().contains("1 vectors for 2 texts"));
    let huge = always(EmbedderKind::Tei, rows(json!([[1, 2, 1e39], [1, 2, 3]]))).await;
    assert!(huge.detail.is_some(), "{huge:?}");
    for body in ["", "not json", "{\"data\": 3}", "[[null]]", "{}"] {
        for kind in [EmbedderKind::Openai, EmbedderKind::Ollama, EmbedderKind::Tei] {
            let problem = always(kind, ResponseTemplate::new(200).set_body_string(body)).await;
            assert_eq!(problem.kind, Kind::Failed, "{kind:?} {body}");
        }
    }
}

#[tokio::test]
async fn a_refused_key_is_said_at_once_and_never_shown() {
    let server = MockServer::start().await;
    // Cargo sets this one for every test; a test must not change the environment of its neighbours.
    let key = std::env::var("CARGO_PKG_NAME").unwrap();
    Mock::given(header("authorization", format!("Bearer {key}").as_str()))
        .respond_with(ResponseTemplate::new(401).set_body_string(format!("bad key: <{key}>")))
        .expect(1)
        .mount(&server)
        .await;
    let mut declared = declared(EmbedderKind::Openai, &server);
    declared.api_key_env = Some("CARGO_PKG_NAME".into());
    let problem = client(&declared).embed(&texts(1)).await.unwrap_err();
    assert_eq!(problem.kind, Kind::Unauthenticated);
    let detail = problem.detail.unwrap();
    assert!(detail.contains("bad key: <[key]>") && !detail.contains(&format!("<{key}>")), "{detail}");
}

#[tokio::test]
async fn a_missing_key_is_said_before_anything_is_sent() {
    let server = MockServer::start().await;
    let mut declared = declared(EmbedderKind::Openai, &server);
    declared.api_key_env = Some("HOWDAH_TEST_NO_SUCH_VARIABLE".into());
    let problem = client(&declared).embed(&texts(1)).await.unwrap_err();
    assert_eq!(problem.kind, Kind::Unauthenticated);
    assert!(problem.message.contains("HOWDAH_TEST_NO_SUCH_VARIABLE"));
    assert!(server.received_requests().await.unwrap().is_empty());
}

#[tokio::test]
async fn an_unknown_model_names_the_command_that_fetches_it() {
    let problem = always(EmbedderKind::Ollama, ResponseTemplate::new(404)).await;
    assert_eq!(problem.kind, Kind::NotFound);
    assert!(problem.hint.unwrap().contains("ollama pull some-model"));
}
