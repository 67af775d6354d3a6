//! What happens to every request, from the outside in: it gets an id, is logged and counted, may not take longer than
//! declared, may not panic through. All but the accounting is tower-http's, told in our words.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Response, StatusCode};
use axum::middleware::Next;
use howdah_plan::problem::{Kind, Problem};
use tower::{Layer, ServiceExt};
use tower_http::request_id::{MakeRequestId, RequestId};
use tower_http::timeout::TimeoutLayer;
use uuid::Uuid;

use super::answer::{Failure, REQUEST_ID};
use super::service::Service;
use crate::observe::measure;
use crate::runtime::host::Host;
use crate::skills::Deadline;

/// How much longer than its deadline a request may live: the time to say why it was missed.
const GRACE: Duration = Duration::from_millis(250);
/// Longest request id taken from a caller.
const LONGEST_ID: usize = 128;

/// Takes a request id away that is not fit for a log.
pub async fn decent(mut request: Request) -> Request {
    let id = request.headers().get("x-request-id");
    if id.is_some_and(|id| !id.to_str().is_ok_and(is_decent)) {
        request.headers_mut().remove("x-request-id");
    }
    request
}

/// Makes the id of a request that brought none.
#[derive(Debug, Clone, Copy)]
pub struct MakeId;

impl MakeRequestId for MakeId {
    fn make_request_id<B>(&mut self, _: &axum::http::Request<B>) -> Option<RequestId> {
        HeaderValue::from_str(&Uuid::now_v7().to_string()).ok().map(RequestId::new)
    }
}

/// Lets whatever answers the request know its id.
pub async fn identify(request: Request, next: Next) -> Response<Body> {
    let id = request.extensions().get::<RequestId>().and_then(|id| id.header_value().to_str().ok());
    let id = id.unwrap_or_default().to_owned();
    REQUEST_ID.scope(id, next.run(request)).await
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
pub fn survived(panic: Box<dyn Any + Send>) -> Response<Body> {
    let said = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    tracing::error!(said, "a request panicked");
    let problem = Problem::new(Kind::Internal, "the request met a fault of howdah")
        .hint("Report it with the request id; the log has the rest.");
    Failure::from(problem).response()
}

/// Ends a request that takes longer than declared. A skill keeps its deadline itself and usually answers first, which is what
/// [`GRACE`] is for; this is for whatever does not. The request is dropped: its call is cancelled, and so is the statement
/// it waits for, because a connection given back in the middle of one cancels it.
pub async fn hurry<C: Host>(
    State(service): State<Arc<Service<C>>>,
    mut request: Request,
    next: Next,
) -> Response<Body> {
    let most = service.context().limits().timeout;
    request.extensions_mut().insert(Deadline::after(most));
    let timed = TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, most + GRACE).layer(next);
    let response = timed.oneshot(request).await.unwrap_or_else(|never| match never {});
    // The layer answers with a status alone; what skills answer has a content type.
    if response.status() == StatusCode::GATEWAY_TIMEOUT && !response.headers().contains_key(CONTENT_TYPE) {
        return Failure::from(too_slow(most)).response();
    }
    response
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
