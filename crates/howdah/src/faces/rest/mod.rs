//! Skills over HTTP: one route a skill, all from the table.
//!
//! [`input`] reads a request, [`openapi`] describes it, [`documents`] shows the description to programs and people. Keys,
//! limits and the shape of failures are [`super::http`]'s.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{Extension, RawPathParams, Request, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, Response, StatusCode};
use axum::routing::{MethodFilter, MethodRouter};
use howdah_plan::problem::{DoNow, Kind, Problem};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use self::input::Properties;
use super::http::answer::{self, Failure, NO_ANSWER, REQUEST_ID};
use super::http::service::Service;
use crate::access::caller::Caller;
use crate::access::scope::Scope;
use crate::runtime::host::Host;
use crate::skills::{Call, Deadline, Reply, Skill};

pub mod documents;
pub mod input;
pub mod openapi;
pub mod page;
pub mod paths;

/// Longest `Idempotency-Key`.
const LONGEST_KEY: usize = 200;

/// The routes of the table. They want a caller among the request's extensions.
pub fn routes<C: Host>(service: Arc<Service<C>>) -> Router {
    let mut by_path: BTreeMap<&'static str, Vec<&'static Skill<C>>> = BTreeMap::new();
    for skill in service.skills {
        by_path.entry(skill.route.path).or_default().push(skill);
    }
    let mut router = Router::new();
    for (path, skills) in by_path {
        router = router.route(path, method_router(&skills));
    }
    router.with_state(service)
}

fn method_router<C: Host>(skills: &[&'static Skill<C>]) -> MethodRouter<Arc<Service<C>>> {
    let mut methods = MethodRouter::new();
    for &skill in skills {
        let filter = match skill.route.method {
            "GET" => MethodFilter::GET,
            "DELETE" => MethodFilter::DELETE,
            "PATCH" => MethodFilter::PATCH,
            _ => MethodFilter::POST,
        };
        // Too dear to be made for every request.
        let fields = Arc::new(openapi::properties(skill));
        methods = methods.on(
            filter,
            move |State(service): State<Arc<Service<C>>>,
                  Extension(caller): Extension<Caller>,
                  Extension(deadline): Extension<Deadline>,
                  path: Result<RawPathParams, RawPathParamsRejection>,
                  request: Request| async move {
                let asked = (skill, &*fields);
                run(service.context(), asked, (caller, deadline), path, request)
                    .await
                    .unwrap_or_else(Failure::response)
            },
        );
    }
    methods
}

async fn run<C: Host>(
    context: Arc<C>,
    (skill, properties): (&'static Skill<C>, &Properties),
    (caller, deadline): (Caller, Deadline),
    path: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Result<Response<Body>, Failure> {
    caller.may(skill.scope)?;
    let path: Vec<(String, String)> = path
        .map_err(|error| Problem::new(Kind::Usage, "the path is not valid").detail(error.body_text()))?
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let idempotency_key = idempotency_key(request.headers())?;
    let detached = wants_no_wait(request.headers());
    let input = read_input(skill, properties, &path, request, context.limits().body).await?;
    // Dropped with the request, also when the caller is gone or its time is over, the guard tells what the skill began that
    // nobody waits. A statement that is waited for here needs no telling: dropping what waits cancels it.
    let cancel = CancellationToken::new();
    let _guard = cancel.clone().drop_guard();
    let scope = caller.scope;
    let call = Call { idempotency_key, detached, deadline, cancel, ..Call::new(caller, input) };
    let reply = context.clone().ask(skill, call).await;
    let output = match reply.map_err(|problem| told(problem, scope, &context.place()))? {
        Reply::Ended(output) => output,
        Reply::UnderWay(job) => return Ok(under_way(&job)),
    };
    let status = StatusCode::from_u16(skill.route.success).unwrap_or(StatusCode::OK);
    Ok(answer::json(status, &output))
}

/// What a caller is told of a problem. Where PostgreSQL is and as whom it is asked is for admins; and that it refuses Howdah
/// is no refusal of the caller's key.
fn told(problem: Problem, scope: Scope, place: &str) -> Failure {
    let own = matches!(problem.kind, Kind::Unreachable | Kind::Unauthenticated);
    let embedder = problem.message.starts_with("the embedder at `");
    let texts = [Some(&problem.message), problem.detail.as_ref(), problem.hint.as_ref()];
    let names = texts.into_iter().flatten().any(|text| text.contains(place));
    let refused = problem.kind == Kind::Unauthenticated;
    let failure = if (own && !embedder || names) && scope < Scope::Admin {
        let request_id = REQUEST_ID.try_with(Clone::clone).unwrap_or_default();
        tracing::error!(request_id, detail = problem.detail, "what was kept from a caller: {problem}");
        let kept = Problem::new(Kind::Unreachable, NO_ANSWER)
            .hint("Try again in a moment; the server's log says why under this request's id.");
        Failure::from(kept.do_now(if refused { DoNow::FixMachine } else { problem.do_now }))
    } else {
        Failure::from(problem)
    };
    if refused { failure.status(StatusCode::SERVICE_UNAVAILABLE) } else { failure }
}

async fn read_input<C: Host>(
    skill: &'static Skill<C>,
    properties: &Properties,
    path: &[(String, String)],
    request: Request,
    most: u64,
) -> Result<Value, Failure> {
    let (parts, body) = request.into_parts();
    let mut fields = Map::new();
    if matches!(skill.route.method, "GET" | "DELETE") {
        input::add_query(&mut fields, parts.uri.query(), properties, path)?;
    } else {
        if parts.uri.query().is_some_and(|query| !query.is_empty()) {
            input::add_query(&mut Map::new(), parts.uri.query(), &Map::new(), path)?;
        }
        fields = input::body(&parts.headers, body, most).await?;
        if let Some((taken, _)) = path.iter().find(|(name, _)| fields.contains_key(name)) {
            return Err(
                Problem::new(Kind::Usage, format!("`{taken}` belongs in the path, not in the body")).into()
            );
        }
    }
    input::add_path(&mut fields, path, properties)?;
    Ok(Value::Object(fields))
}

/// Whether the caller goes away at once (`Prefer: respond-async`, RFC 7240).
fn wants_no_wait(headers: &HeaderMap) -> bool {
    let preferred = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    preferred.flat_map(|value| value.split(',')).any(|one| one.trim().eq_ignore_ascii_case("respond-async"))
}

/// What runs on as a job: 202, the job, and where to look after it.
fn under_way(job: &Value) -> Response<Body> {
    let mut response = answer::json(StatusCode::ACCEPTED, job);
    let place = format!("/v1/jobs/{}", job["id"].as_str().unwrap_or_default());
    if let Ok(place) = place.parse() {
        response.headers_mut().insert(LOCATION, place);
    }
    response
}

/// The caller's own name for the call, in `Idempotency-Key`.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let fits =
        |key: &&str| (1..=LONGEST_KEY).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic());
    match value.to_str().ok().filter(fits) {
        Some(key) => Ok(Some(key.to_owned())),
        _ => Err(Problem::new(Kind::Usage, "the header `Idempotency-Key` does not fit")
            .detail(format!("1 to {LONGEST_KEY} visible ASCII characters are allowed"))),
    }
}

#[cfg(test)]
mod tests;
