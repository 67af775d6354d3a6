//! What is served where?
//!
//! A part that speaks HTTP is a mount: one line in [`mounts`]. What no mount serves is answered here, in the one shape.
//!
//! The order of refusal is the same for every mount: unknown path 404, unknown method 405, no good key 401, too many
//! requests 429, lacking scope 403, and only then a look at the input.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{ALLOW, CONTENT_TYPE};
use axum::http::{Response, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state, map_request};
use howdah_plan::problem::{Kind, Problem};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::{PropagateRequestIdLayer, SetRequestIdLayer};

use super::answer::Failure;
use super::service::Service;
use super::{auth, body, cors, layers, probes};
use crate::faces::rest;
use crate::runtime::host::Host;

/// Whose requests a mount answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// All requests; the answers name nothing of the deployment.
    Open,
    /// Requests with a key: handlers find the [`Caller`](crate::access::caller::Caller) among the request's extensions.
    Keyed,
    /// Requests with a key; while PostgreSQL cannot check it, one that was good lately.
    Watched,
}

/// A part: who may ask, and its routes over the service.
type Mount<C> = (Access, fn(Arc<Service<C>>) -> Router);

/// All parts.
fn mounts<C: Host>() -> [Mount<C>; 4] {
    [
        (Access::Open, probes::routes),
        (Access::Watched, probes::metrics),
        (Access::Open, rest::documents::routes),
        (Access::Keyed, rest::routes),
    ]
}

/// The whole of it.
pub fn router<C: Host>(service: Arc<Service<C>>) -> Router {
    let mut all = Router::new();
    for (access, routes) in mounts::<C>() {
        let routes = routes(service.clone());
        all = all.merge(match access {
            Access::Open => routes,
            Access::Keyed => routes.route_layer(from_fn_with_state(service.clone(), auth::keyed::<C>)),
            Access::Watched => routes.route_layer(from_fn_with_state(service.clone(), auth::watched::<C>)),
        });
    }
    // What tells unknown methods comes after the checks of keys, so that it is answered without one.
    let all = all
        .method_not_allowed_fallback(async || StatusCode::METHOD_NOT_ALLOWED)
        .fallback(not_found)
        .layer(CatchPanicLayer::custom(layers::survived))
        .layer(from_fn_with_state(service.clone(), layers::hurry::<C>))
        .layer(from_fn(layers::account));
    // `Allow` is written around the layers of a route: what reads it stands outside of the router.
    Router::new()
        .fallback_service(all)
        .layer(from_fn(shape))
        .layer(from_fn_with_state(service, cors::layer::<C>))
        .layer(from_fn(body::spare))
        .layer(from_fn(layers::identify))
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(SetRequestIdLayer::x_request_id(layers::MakeId))
        .layer(map_request(layers::decent))
}

async fn not_found(request: Request) -> Response<Body> {
    let problem = Problem::new(Kind::NotFound, format!("there is nothing at `{}`", request.uri().path()))
        .hint("See `/openapi.json` for what there is.");
    Failure::from(problem).response()
}

/// Gives a bare 405 the one shape.
async fn shape(request: Request, next: Next) -> Response<Body> {
    let method = request.method().clone();
    let response = next.run(request).await;
    if response.status() != StatusCode::METHOD_NOT_ALLOWED || response.headers().contains_key(CONTENT_TYPE) {
        return response;
    }
    let allow = response.headers().get(ALLOW).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let allow = allow.split(',').map(str::trim).collect::<Vec<_>>().join(", ");
    let problem = Problem::new(Kind::Usage, format!("`{method}` is not a method of this path"))
        .hint(format!("Use {allow}."));
    Failure::from(problem).status(StatusCode::METHOD_NOT_ALLOWED).allow(&allow).response()
}
