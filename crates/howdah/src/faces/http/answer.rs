//! How does a request end?
//!
//! A success is as its mount says it. Every failure, whoever noticed it, has one shape:
//! `{"error":{kind,message,detail,hint,do_now,request_id}}`, with the status of the problem's kind.

use axum::body::Body;
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use howdah_plan::problem::{DoNow, Kind, Problem};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

tokio::task_local! {
    /// The id of the request being answered.
    pub static REQUEST_ID: String;
}

/// All that a caller without a key of scope `admin` is told when PostgreSQL does not answer.
pub const NO_ANSWER: &str = "PostgreSQL does not answer";

/// The body of every failure.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Error")]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorDetail,
}

/// What went wrong: what, why, what next.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ErrorDetail {
    /// What kind of problem it is.
    pub kind: Kind,
    /// What happened.
    pub message: String,
    /// The facts behind it.
    pub detail: Option<String>,
    /// What to do, with the command.
    pub hint: Option<String>,
    /// Who has to move.
    pub do_now: DoNow,
    /// The id of the request, also in the header `x-request-id` and in the log.
    pub request_id: String,
}

/// A problem on its way out, with what HTTP wants to say besides.
#[derive(Debug)]
pub struct Failure {
    /// The problem.
    pub problem: Problem,
    /// Another status than the kind's.
    pub status: Option<StatusCode>,
    /// Headers that belong to the status.
    pub headers: HeaderMap,
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Failure { problem, status: None, headers: HeaderMap::new() }
    }
}

impl Failure {
    /// Answers with `status` instead of the kind's.
    pub fn status(mut self, status: StatusCode) -> Self {
        self.status = Some(status);
        self
    }

    /// Says when to come back.
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        self
    }

    /// Says which methods there are.
    pub fn allow(mut self, methods: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(methods) {
            self.headers.insert(ALLOW, value);
        }
        self
    }

    /// The answer.
    pub fn response(self) -> Response<Body> {
        let Failure { problem, status, headers } = self;
        let status = status
            .or_else(|| StatusCode::from_u16(problem.kind.row().http).ok())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let request_id = REQUEST_ID.try_with(Clone::clone).unwrap_or_default();
        if status.is_server_error() {
            tracing::error!(request_id, kind = problem.kind.row().name, detail = problem.detail, "{problem}");
        }
        let mut response = json(status, &shape(problem, request_id));
        response.headers_mut().extend(headers);
        if status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"howdah\""));
        }
        let later = matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS);
        if later && !response.headers().contains_key(RETRY_AFTER) {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// The body of a failure.
pub fn shape(problem: Problem, request_id: String) -> Value {
    let Problem { kind, message, detail, hint, do_now } = problem;
    let error = ErrorDetail { kind, message, detail, hint, do_now, request_id };
    serde_json::to_value(ErrorBody { error }).unwrap_or_default()
}

/// A JSON answer; nobody on the way may keep it.
pub fn json(status: StatusCode, value: &Value) -> Response<Body> {
    typed(status, "application/json", value.to_string())
}

/// An answer of any kind.
pub fn typed(status: StatusCode, kind: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}
