//! How is the server?
//!
//! What load balancers and monitors ask: it is alive, it is ready, it is healthy, which version it is, what it counted. All
//! but the last are open to everybody and name nothing; the counts name collections, so they want a key.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use axum::routing::get;
use howdah_plan::problem::{Kind, Problem};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer::{self, Failure};
use super::auth;
use super::service::Service;
use crate::observe::measure;
use crate::runtime::host::{Health, Host};

/// A probe, as the description has it.
#[derive(Debug, Clone, Copy)]
pub struct Probe {
    /// Where.
    pub path: &'static str,
    /// Operation id in the OpenAPI document.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// What it answers.
    pub what: What,
}

/// What a probe answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// [`Health`].
    Health,
    /// Whether the process answers.
    Live,
    /// Whether requests are welcome.
    Ready,
    /// Text for Prometheus.
    Metrics,
    /// [`Version`].
    Version,
}

/// All of them.
pub const ALL: [Probe; 5] = [
    Probe { path: "/health", name: "health", summary: "How things are.", what: What::Health },
    Probe { path: "/livez", name: "live", summary: "Whether the process answers.", what: What::Live },
    Probe { path: "/readyz", name: "ready", summary: "Whether requests are welcome.", what: What::Ready },
    Probe {
        path: "/metrics",
        name: "metrics",
        summary: "Counts and times, for Prometheus.",
        what: What::Metrics,
    },
    Probe { path: "/version", name: "version", summary: "Which Howdah this is.", what: What::Version },
];

/// Content type of the metrics.
pub const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Which Howdah this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Version {
    /// Always `howdah`.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// Answer of `/livez` and `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Alive {
    /// `live` or `ready`.
    pub status: String,
}

/// The probes that are open to everybody.
pub fn routes<C: Host>(service: Arc<Service<C>>) -> Router {
    let mut router = Router::new();
    for Probe { path, what, .. } in ALL {
        router = match what {
            What::Health => router.route(path, get(health::<C>)),
            What::Live => {
                router.route(path, get(async || said(&Alive { status: "live".into() }, StatusCode::OK)))
            }
            What::Ready => router.route(path, get(ready::<C>)),
            What::Version => router.route(path, get(version)),
            What::Metrics => router,
        };
    }
    router.with_state(service)
}

/// The counts.
pub fn metrics<C: Host>(service: Arc<Service<C>>) -> Router {
    let render = async |State(service): State<Arc<Service<C>>>| {
        service.context().gauge();
        answer::typed(StatusCode::OK, METRICS, measure::recorder().render())
    };
    let all = ALL.iter().filter(|probe| probe.what == What::Metrics);
    all.fold(Router::new(), |router, probe| router.route(probe.path, get(render))).with_state(service)
}

/// How things are; what exactly is wrong is for callers with a key, and for the log.
async fn health<C: Host>(State(service): State<Arc<Service<C>>>, request: Request) -> Response<Body> {
    let host = service.context();
    let (mut health, known): (Health, _) =
        tokio::join!(host.health(), auth::known(&*host, request.headers(), request.extensions()));
    if health.status == "healthy" && !service.is_ready() {
        health.status = "starting".into();
    }
    if known.is_none() {
        health.problem = health.problem.map(|_| answer::NO_ANSWER.to_owned());
    }
    let status = if health.status == "healthy" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    said(&health, status)
}

async fn ready<C: Host>(State(service): State<Arc<Service<C>>>) -> Response<Body> {
    if !service.is_ready() {
        let problem = Problem::new(Kind::Unreachable, "the server is starting or stopping");
        return Failure::from(problem).response();
    }
    if service.context().health().await.status == "healthy" {
        return said(&Alive { status: "ready".into() }, StatusCode::OK);
    }
    let problem = Problem::new(Kind::Unreachable, "PostgreSQL does not serve")
        .hint("Ask `/health` with a key, or look into the server's log, for the reason.");
    Failure::from(problem).response()
}

async fn version() -> Response<Body> {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    said(&Version { name: "howdah".into(), version }, StatusCode::OK)
}

fn said(value: &impl Serialize, status: StatusCode) -> Response<Body> {
    answer::json(status, &serde_json::to_value(value).unwrap_or_default())
}
