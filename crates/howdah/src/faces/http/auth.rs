//! Who asks over HTTP?
//!
//! A layer before the mounts that want a key: it reads the key, asks the gate and the host, and puts the [`Caller`] into the
//! request's extensions, or answers 401, 429, or 503 where a key cannot be checked. It runs after the router, so that an
//! unknown path stays 404 and an unknown method 405. [`known`] is for what stands outside and only says more to callers it
//! knows.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{Extensions, HeaderMap, Response};
use axum::middleware::Next;
use howdah_plan::problem::{DoNow, Kind, Problem};

use super::answer::Failure;
use super::service::Service;
use crate::access::caller::Caller;
use crate::access::gate::{self, Verdict};
use crate::access::key::Key;
use crate::access::scope::Scope;
use crate::runtime::host::Host;

/// Longest time to ask about a key. A server that was stopped answers nothing, not even that its time is over, and a caller
/// who waits for leave must not take the whole time of his request.
const CHECK: Duration = Duration::from_secs(4);

/// Lets through whoever has a good key and does not ask too often.
pub async fn keyed<C: Host>(
    State(service): State<Arc<Service<C>>>,
    request: Request,
    next: Next,
) -> Response<Body> {
    let admitted = admit(&*service.context(), request.headers(), request.extensions()).await;
    match admitted {
        Ok(caller) => let_in(caller, request, next).await,
        Err(failure) => failure.response(),
    }
}

async fn let_in(caller: Caller, mut request: Request, next: Next) -> Response<Body> {
    request.extensions_mut().insert(caller);
    next.run(request).await
}

/// As [`keyed`], for what only tells how the server is: while PostgreSQL does not answer, a key that was good lately is
/// good enough, because that is when people have to look.
pub async fn watched<C: Host>(
    State(service): State<Arc<Service<C>>>,
    request: Request,
    next: Next,
) -> Response<Body> {
    let host = service.context();
    let admitted = match admit(&*host, request.headers(), request.extensions()).await {
        Err(failure) if failure.problem.kind.row().http == 503 => {
            was_good(&*host, request.headers()).ok_or(failure)
        }
        admitted => admitted,
    };
    match admitted {
        Ok(caller) => match caller.may(Scope::Read) {
            Ok(()) => let_in(caller, request, next).await,
            Err(problem) => Failure::from(problem).response(),
        },
        Err(failure) => failure.response(),
    }
}

/// The caller, where a good key was shown or none is needed. Nobody is turned away and nothing is counted.
pub async fn known<C: Host>(host: &C, headers: &HeaderMap, extensions: &Extensions) -> Option<Caller> {
    if !host.limits().require_key {
        return Some(Caller::anybody());
    }
    let presented = presented(headers).ok().flatten()?;
    match verdict(host, &presented, from_here(extensions)).await {
        Ok(Verdict::Good(caller, _)) => Some(caller),
        Ok(Verdict::Bad(problem)) if problem.kind.row().http == 503 => was_good(host, headers),
        _ => None,
    }
}

/// Who asks, if they may ask at all now.
async fn admit<C: Host>(host: &C, headers: &HeaderMap, extensions: &Extensions) -> Result<Caller, Failure> {
    let Some(presented) = presented(headers)? else {
        if host.limits().require_key {
            return Err(gate::no_key().into());
        }
        return Ok(Caller::anybody());
    };
    let caller = match verdict(host, &presented, from_here(extensions)).await? {
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

async fn verdict<C: Host>(host: &C, presented: &str, from_here: bool) -> Result<Verdict, Problem> {
    let key = Key::parse(presented).ok_or_else(gate::wrong_key)?;
    if host.gate().is_owner(&key) && from_here {
        return Ok(Verdict::Good(Caller::owner(), None));
    }
    match host.gate().remembered(&key) {
        Some(verdict) => Ok(verdict),
        None => Ok(tokio::time::timeout(CHECK, host.look_up(key)).await.unwrap_or_else(|_| {
            tracing::error!("a key was not looked up within {} s", CHECK.as_secs());
            let problem = Problem::new(Kind::Unreachable, "the key cannot be checked now");
            Verdict::Bad(
                problem.hint("Try again in a moment; the server's log says why.").do_now(DoNow::Retry),
            )
        })),
    }
}

fn was_good<C: Host>(host: &C, headers: &HeaderMap) -> Option<Caller> {
    let key = Key::parse(&presented(headers).ok().flatten()?)?;
    host.gate().was_good(&key)
}

/// The instance's own token is for this machine only.
fn from_here(extensions: &Extensions) -> bool {
    extensions.get::<ConnectInfo<SocketAddr>>().is_some_and(|peer| peer.0.ip().is_loopback())
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
