//! How is the server?
//!
//! What load balancers, monitors and people ask without a key: it is alive, it is ready, it is healthy, what it counted,
//! which version it is, how it is spoken to.

use axum::body::Body;
use axum::http::{Response, StatusCode};
use howdah_plan::problem::{Kind, Problem};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer::{self, Failure};
use super::page;
use super::service::Service;
use crate::observe::measure;
use crate::runtime::host::{Health, Host};

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
    /// The OpenAPI document.
    OpenApi,
    /// The page for people.
    Page,
}

/// A path that needs no key.
#[derive(Debug, Clone, Copy)]
pub struct Probe {
    /// Where.
    pub path: &'static str,
    /// Operation id in the OpenAPI document.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// Content type of the answer.
    pub kind: &'static str,
    /// What it answers.
    pub what: What,
}

const JSON: &str = "application/json";

/// All of them.
pub const ALL: [Probe; 8] = [
    Probe { path: "/health", name: "health", summary: "How things are.", kind: JSON, what: What::Health },
    Probe {
        path: "/livez",
        name: "live",
        summary: "Whether the process answers.",
        kind: JSON,
        what: What::Live,
    },
    Probe {
        path: "/readyz",
        name: "ready",
        summary: "Whether requests are welcome.",
        kind: JSON,
        what: What::Ready,
    },
    Probe {
        path: "/metrics",
        name: "metrics",
        summary: "Counts and times, for Prometheus.",
        kind: "text/plain; version=0.0.4; charset=utf-8",
        what: What::Metrics,
    },
    Probe {
        path: "/version",
        name: "version",
        summary: "Which Howdah this is.",
        kind: JSON,
        what: What::Version,
    },
    Probe {
        path: "/openapi.json",
        name: "openapi",
        summary: "This document.",
        kind: JSON,
        what: What::OpenApi,
    },
    Probe { path: "/", name: "home", summary: "A page for people.", kind: page::KIND, what: What::Page },
    Probe { path: "/docs", name: "docs", summary: "The same page.", kind: page::KIND, what: What::Page },
];

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

/// Answers a probe.
pub async fn answer<C: Host>(probe: Probe, service: &Service<C>) -> Response<Body> {
    match probe.what {
        What::Health => health(service).await,
        What::Live => said(&Alive { status: "live".into() }, StatusCode::OK),
        What::Ready => ready(service).await,
        What::Metrics => {
            service.context().gauge();
            answer::typed(StatusCode::OK, probe.kind, measure::recorder().render())
        }
        What::Version => {
            let version = env!("CARGO_PKG_VERSION").to_owned();
            said(&Version { name: "howdah".into(), version }, StatusCode::OK)
        }
        What::OpenApi => answer::typed(StatusCode::OK, JSON, service.document().to_string()),
        What::Page => page::response(service.skills),
    }
}

async fn health<C: Host>(service: &Service<C>) -> Response<Body> {
    let mut health: Health = service.context().health().await;
    if health.status == "healthy" && !service.is_ready() {
        health.status = "starting".into();
    }
    let status = if health.status == "healthy" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    said(&health, status)
}

async fn ready<C: Host>(service: &Service<C>) -> Response<Body> {
    if !service.is_ready() {
        let problem = Problem::new(Kind::Unreachable, "the server is starting or stopping");
        return Failure::from(problem).response();
    }
    let health = service.context().health().await;
    if health.status == "healthy" {
        return said(&Alive { status: "ready".into() }, StatusCode::OK);
    }
    let mut problem = Problem::new(Kind::Unreachable, "PostgreSQL does not serve");
    if let Some(why) = health.problem {
        problem = problem.detail(why);
    }
    Failure::from(problem).response()
}

fn said(value: &impl Serialize, status: StatusCode) -> Response<Body> {
    answer::json(status, &serde_json::to_value(value).unwrap_or_default())
}
