//! What happens to every request, from the outside in: it gets an id, is logged and counted, may not panic through, may
//! not take longer than declared.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Response};
use axum::middleware::Next;
use futures_util::FutureExt;
use howdah_plan::problem::{Kind, Problem};
use uuid::Uuid;

use super::answer::{Failure, REQUEST_ID};
use super::service::Service;
use crate::observe::measure;
use crate::runtime::host::Host;

/// Longest request id taken from a caller.
const LONGEST_ID: usize = 128;

/// Gives the request its id, the caller's own where it sent a decent one, and says it in the answer.
pub async fn identify(request: Request, next: Next) -> Response<Body> {
    let id = request
        .headers()
        .get("x-request-id")
        .and_then(|value| value.to_str().ok())
        .filter(|id| is_decent(id))
        .map_or_else(|| Uuid::now_v7().to_string(), str::to_owned);
    let mut response = REQUEST_ID.scope(id.clone(), next.run(request)).await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("x-request-id", value);
    }
    response
}

fn is_decent(id: &str) -> bool {
    (1..=LONGEST_ID).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'))
}

/// Logs and counts the request once it is answered.
pub async fn account(request: Request, next: Next) -> Response<Body> {
    let begun = Instant::now();
    let method = known_method(&request);
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let path = request.uri().path().to_owned();
    let flying = InFlight::new();
    let response = next.run(request).await;
    drop(flying);
    let took = begun.elapsed();
    let status = response.status().as_u16();
    metrics::counter!(measure::REQUESTS, "route" => route.clone(), "method" => method, "status" => status.to_string())
        .increment(1);
    metrics::histogram!(measure::REQUEST_SECONDS, "route" => route, "method" => method)
        .record(measure::seconds(took));
    let request_id = REQUEST_ID.try_with(Clone::clone).unwrap_or_default();
    // A busy server would fill the disk: what went well is told only to those who ask (`HOWDAH_LOG=debug`).
    tracing::debug!(request_id, method, path, status, took_ms = took.as_secs_f64() * 1e3, "request");
    response
}

/// Methods are made up by callers too: the metrics know only these.
fn known_method(request: &Request) -> &'static str {
    match request.method().as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

/// Counts a request as being answered for as long as it lives.
struct InFlight;

impl InFlight {
    fn new() -> Self {
        metrics::gauge!(measure::REQUESTS_IN_FLIGHT).increment(1.0);
        InFlight
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        metrics::gauge!(measure::REQUESTS_IN_FLIGHT).decrement(1.0);
    }
}

/// Turns a panic into a 500 that says no more than that.
pub async fn survive(request: Request, next: Next) -> Response<Body> {
    AssertUnwindSafe(next.run(request)).catch_unwind().await.unwrap_or_else(|panic| {
        let said = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        tracing::error!(said, "a request panicked");
        let problem = Problem::new(Kind::Internal, "the request met a fault of howdah")
            .hint("Report it with the request id; the log has the rest.");
        Failure::from(problem).response()
    })
}

/// Ends a request that takes longer than declared. What it began in the database is cancelled by being dropped.
pub async fn hurry<C: Host>(
    State(service): State<Arc<Service<C>>>,
    request: Request,
    next: Next,
) -> Response<Body> {
    let most = service.context().limits().timeout;
    match tokio::time::timeout(most, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Failure::from(too_slow(most)).response(),
    }
}

fn too_slow(most: Duration) -> Problem {
    Problem::new(Kind::Timeout, format!("the request took longer than {} s", most.as_secs_f64()))
        .hint("Ask for less, or raise `timeout_seconds` under `[api]` in howdah.toml.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_cannot_smuggle_lines_into_the_log() {
        assert!(is_decent("01997b-abc_1.2:3"));
        for id in ["", "a b", "a\nb", "ä", &"x".repeat(129)] {
            assert!(!is_decent(id), "{id:?}");
        }
    }
}
