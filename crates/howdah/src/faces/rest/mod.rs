//! Skills over HTTP: one route a skill, all from the table.
//!
//! [`layers`] is what happens to every request, [`input`] reads it, [`answer`] writes it, [`openapi`] describes it,
//! [`probes`] says how the server is. The order of refusal is fixed: unknown path 404, unknown method 405, no key 401, too
//! many requests 429, lacking scope 403, and only then a look at the input.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{ConnectInfo, RawPathParams, Request, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, Response, StatusCode};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodFilter, MethodRouter};
use howdah_plan::problem::{Kind, Problem};
use serde_json::{Map, Value};
use tokio::net::TcpListener;

use self::answer::Failure;
use self::service::Service;
use crate::access::caller::Caller;
use crate::access::gate::{self, Verdict};
use crate::access::key::Key;
use crate::access::scope::Scope;
use crate::runtime::declared::Limits;
use crate::runtime::host::Host;
use crate::skills::{Call, Deadline, Reply, Skill};

pub mod answer;
pub mod face;
pub mod input;
pub mod layers;
pub mod openapi;
pub mod page;
pub mod probes;
pub mod service;

/// Longest `Idempotency-Key`.
const LONGEST_KEY: usize = 200;
/// Longest time given to requests under way when the server is told to stop.
const LAST_REQUESTS: Duration = Duration::from_secs(20);

/// Serves until `stop` comes, then lets requests under way finish.
///
/// # Errors
/// `unreachable` when the listener breaks.
pub async fn serve<C: Host>(
    service: Arc<Service<C>>,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Problem> {
    let (told, was_told) = tokio::sync::oneshot::channel();
    let graceful = async move {
        stop.await;
        // Nobody listens when the server has ended by itself.
        let _ = told.send(());
    };
    let app = router(service).into_make_service_with_connect_info::<SocketAddr>();
    let serving =
        std::future::IntoFuture::into_future(axum::serve(listener, app).with_graceful_shutdown(graceful));
    let deadline = async {
        if was_told.await.is_err() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(LAST_REQUESTS).await;
    };
    tokio::select! {
        ended = serving => ended.map_err(|error| {
            Problem::new(Kind::Unreachable, "the REST face stopped listening").detail(error.to_string())
        }),
        () = deadline => {
            tracing::warn!("requests under way were cut off after {} s", LAST_REQUESTS.as_secs());
            Ok(())
        }
    }
}

/// The routes: those of the table, the probes, the description.
pub fn router<C: Host>(service: Arc<Service<C>>) -> Router {
    let mut by_path: BTreeMap<&'static str, Vec<&'static Skill<C>>> = BTreeMap::new();
    for skill in service.skills {
        by_path.entry(skill.route.path).or_default().push(skill);
    }
    let mut router = Router::new();
    for (path, skills) in by_path {
        router = router.route(path, method_router(&skills));
    }
    for probe in probes::ALL {
        let one = axum::routing::get(move |State(service): State<Arc<Service<C>>>| async move {
            probes::answer(probe, &service).await
        });
        router = router.route(probe.path, one.fallback(not_allowed("GET, HEAD")));
    }
    router
        .fallback(not_found)
        .layer(from_fn_with_state(service.clone(), layers::hurry::<C>))
        .layer(from_fn(layers::survive))
        .layer(from_fn(layers::account))
        .layer(from_fn(layers::identify))
        .with_state(service)
}

fn method_router<C: Host>(skills: &[&'static Skill<C>]) -> MethodRouter<Arc<Service<C>>> {
    let mut methods = MethodRouter::new();
    let mut allow = Vec::new();
    for &skill in skills {
        let filter = match skill.route.method {
            "GET" => {
                allow.extend(["GET", "HEAD"]);
                MethodFilter::GET
            }
            "DELETE" => {
                allow.push("DELETE");
                MethodFilter::DELETE
            }
            _ => {
                allow.push("POST");
                MethodFilter::POST
            }
        };
        methods = methods.on(
            filter,
            move |State(service): State<Arc<Service<C>>>,
                  path: Result<RawPathParams, RawPathParamsRejection>,
                  request: Request| async move {
                run(&service, skill, path, request).await.unwrap_or_else(Failure::response)
            },
        );
    }
    methods.fallback(not_allowed(allow.join(", ")))
}

async fn run<C: Host>(
    service: &Service<C>,
    skill: &'static Skill<C>,
    path: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Result<Response<Body>, Failure> {
    let context = service.context();
    let presented = presented(request.headers())?;
    let caller = admit(&*context, presented, from_here(&request)).await?;
    caller.may(skill.scope)?;
    let path: Vec<(String, String)> = path
        .map_err(|error| Problem::new(Kind::Usage, "the path is not valid").detail(error.body_text()))?
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let headers = request.headers().clone();
    let idempotency_key = idempotency_key(&headers)?;
    let limits = context.limits();
    let deadline = Deadline::after(limits.timeout);
    let input = read_input(service, skill, &path, request, limits).await?;
    let call = Call { idempotency_key, deadline, ..Call::new(caller, input) };
    let call = Call { detached: wants_no_wait(&headers), ..call };
    let output = match context.ask(skill, call).await? {
        Reply::Ended(output) => output,
        Reply::UnderWay(job) => return Ok(under_way(&job)),
    };
    let status = StatusCode::from_u16(skill.route.success).unwrap_or(StatusCode::OK);
    Ok(answer::json(status, &output))
}

async fn read_input<C: Host>(
    service: &Service<C>,
    skill: &'static Skill<C>,
    path: &[(String, String)],
    request: Request,
    limits: Limits,
) -> Result<Value, Failure> {
    let properties = service.fields(skill);
    let (parts, body) = request.into_parts();
    let mut fields = Map::new();
    if matches!(skill.route.method, "GET" | "DELETE") {
        input::add_query(&mut fields, parts.uri.query(), properties, path)?;
    } else {
        if parts.uri.query().is_some_and(|query| !query.is_empty()) {
            input::add_query(&mut Map::new(), parts.uri.query(), &Map::new(), path)?;
        }
        fields = input::body(&parts.headers, body, limits.body).await?;
        if let Some((taken, _)) = path.iter().find(|(name, _)| fields.contains_key(name)) {
            return Err(
                Problem::new(Kind::Usage, format!("`{taken}` belongs in the path, not in the body")).into()
            );
        }
    }
    input::add_path(&mut fields, path, properties)?;
    Ok(Value::Object(fields))
}

/// Who asks, if they may ask at all now.
async fn admit<C: Host>(host: &C, presented: Option<String>, from_here: bool) -> Result<Caller, Failure> {
    let Some(presented) = presented else {
        if host.limits().require_key {
            return Err(gate::no_key().into());
        }
        return Ok(Caller::anybody());
    };
    let key = Key::parse(&presented).ok_or_else(gate::wrong_key)?;
    if host.gate().is_owner(&key) && from_here {
        return Ok(Caller::owner());
    }
    let verdict = match host.gate().remembered(&key) {
        Some(verdict) => verdict,
        None => host.look_up(key).await,
    };
    let caller = match verdict {
        Verdict::Good(caller, _) => caller,
        Verdict::Bad(problem) => return Err(problem.into()),
    };
    host.gate().count(&caller).map_err(|wait| {
        let problem = Problem::new(Kind::RateLimited, "this key asks too often")
            .hint("Wait as long as `Retry-After` says, or raise `requests_per_second` under `[api]`.");
        Failure::from(problem).retry_after(wait.as_secs_f64().ceil() as u64)
    })?;
    Ok(caller)
}

/// The instance's own token is for this machine only.
fn from_here(request: &Request) -> bool {
    request.extensions().get::<ConnectInfo<SocketAddr>>().is_none_or(|peer| peer.0.ip().is_loopback())
}

/// The key in `Authorization: Bearer …` or `X-Api-Key: …`.
fn presented(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().map(str::trim).unwrap_or_default());
    if let Some(authorization) = text("authorization") {
        return match authorization.split_once(' ') {
            Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(key.trim().to_owned())),
            _ => Err(gate::no_key().detail("the header `Authorization` is not `Bearer …`")),
        };
    }
    Ok(text("x-api-key").map(str::to_owned))
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
    match value.to_str().map(str::trim) {
        Ok(key) if (1..=LONGEST_KEY).contains(&key.len()) => Ok(Some(key.to_owned())),
        _ => Err(Problem::new(Kind::Usage, "the header `Idempotency-Key` does not fit")
            .detail(format!("1 to {LONGEST_KEY} visible ASCII characters are allowed"))),
    }
}

async fn not_found(request: Request) -> Response<Body> {
    let problem = Problem::new(Kind::NotFound, format!("there is nothing at `{}`", request.uri().path()))
        .hint("See `/openapi.json` for what there is.");
    Failure::from(problem).response()
}

fn not_allowed(
    allow: impl Into<String>,
) -> impl Fn(Request) -> std::future::Ready<Response<Body>> + Clone + Send + Sync + 'static {
    let allow: String = allow.into();
    move |request: Request| {
        let problem =
            Problem::new(Kind::Usage, format!("`{}` is not a method of this path", request.method()))
                .hint(format!("Use {allow}."));
        let failure = Failure::from(problem).status(StatusCode::METHOD_NOT_ALLOWED).allow(&allow);
        std::future::ready(failure.response())
    }
}

/// The scope a route needs, for the description.
pub fn scope_words(scope: Scope) -> &'static str {
    match scope {
        Scope::Read => "Needs a key with the scope `read`, `write` or `admin`.",
        Scope::Write => "Needs a key with the scope `write` or `admin`.",
        Scope::Admin => "Needs a key with the scope `admin`.",
    }
}

#[cfg(test)]
mod tests;
