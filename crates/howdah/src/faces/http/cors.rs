//! Which pages of other origins may ask from a browser?
//!
//! Those of `api.cors`, and without it none. A browser asks first (`OPTIONS`, without a key); whether it may is answered
//! here, before the router. Credentials of a browser (cookies) are never asked for: a key stands in `Authorization`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, CONTENT_TYPE, LOCATION, ORIGIN, RETRY_AFTER,
};
use axum::http::{HeaderName, HeaderValue, Method, Response};
use axum::middleware::Next;
use howdah_plan::problem::{Kind, Problem};
use tower::{Layer, ServiceExt};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::answer::Failure;
use super::service::Service;
use crate::runtime::host::Host;

/// How long a browser may remember that it may ask.
const REMEMBERED: Duration = Duration::from_secs(600);
/// Longest origin that is repeated in an answer.
const LONGEST: usize = 200;

/// Says to browsers whether the page's origin may read the answer.
pub async fn layer<C: Host>(
    State(service): State<Arc<Service<C>>>,
    request: Request,
    next: Next,
) -> Response<Body> {
    let Some(origin) = request.headers().get(ORIGIN).cloned() else { return next.run(request).await };
    let host = service.context();
    let Some(allowed) = allowed(host.cors(), &origin) else {
        let asks = request.method() == Method::OPTIONS
            && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        // What is no such question goes on: the browser keeps the answer from the page, other programs do not care.
        return if asks { refused(&origin).response() } else { next.run(request).await };
    };
    let headers = ["idempotency-key", "prefer", "x-request-id"].map(HeaderName::from_static);
    let cors = CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
        .allow_headers(headers.into_iter().chain([AUTHORIZATION, CONTENT_TYPE]).collect::<Vec<_>>())
        .expose_headers([HeaderName::from_static("x-request-id"), LOCATION, RETRY_AFTER])
        .max_age(REMEMBERED);
    cors.layer(next).oneshot(request).await.unwrap_or_else(|never| match never {})
}

fn allowed(declared: &[String], origin: &HeaderValue) -> Option<AllowOrigin> {
    if declared.iter().any(|one| one == "*") {
        return Some(AllowOrigin::any());
    }
    declared.iter().any(|one| one.as_bytes() == origin.as_bytes()).then(|| AllowOrigin::exact(origin.clone()))
}

fn refused(origin: &HeaderValue) -> Failure {
    let origin = origin.to_str().ok().filter(|origin| origin.len() <= LONGEST).unwrap_or("the origin");
    let origin = origin.replace(['`', '"', '\\'], "");
    Problem::new(Kind::Forbidden, format!("pages of `{origin}` may not ask from a browser"))
        .hint(format!("Add it to `cors = [\"{origin}\"]` under `[api]` in howdah.toml."))
        .into()
}
