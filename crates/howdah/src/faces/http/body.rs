//! What becomes of a body that nobody read?
//!
//! An answer given before the body was read (a missing key, a body too large) leaves the body on the connection, where the
//! next request would have to follow it. [`spare`] keeps hold of the body: of what is left it reads a little, so that the
//! connection stays usable, and where that is not enough the answer says `Connection: close`.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header::{CONNECTION, EXPECT};
use axum::http::{HeaderValue, Response, Version};
use axum::middleware::Next;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};

use super::connection::Lingers;

/// Most that is read of a body nobody wanted, in bytes.
const MOST: u64 = 256 << 10;
/// Longest time that takes.
const PATIENCE: Duration = Duration::from_secs(1);

/// Leaves a connection behind that can be used again, or says that it cannot.
pub async fn spare(request: Request, next: Next) -> Response<Body> {
    // A stream of HTTP/2 ends by itself; the connection goes on.
    if request.version() >= Version::HTTP_2 || request.body().is_end_stream() {
        return next.run(request).await;
    }
    let lingers = request.extensions().get::<Lingers>().cloned();
    // Whoever waits for `100 Continue` has sent nothing yet, and asks for it only when the body is read.
    let waits = request.headers().contains_key(EXPECT);
    let (parts, body) = request.into_parts();
    let kept = HeldBody::new(body);
    let mut response = next.run(Request::from_parts(parts, Body::new(kept.clone()))).await;
    if !kept.spent(waits).await {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        if let Some(lingers) = lingers {
            lingers.set();
        }
    }
    response
}

/// A body that stays here when the handler lets go of it.
#[derive(Clone)]
struct HeldBody(Arc<Mutex<State>>);

struct State {
    body: Body,
    touched: bool,
    broken: bool,
}

impl HeldBody {
    fn new(body: Body) -> Self {
        HeldBody(Arc::new(Mutex::new(State { body, touched: false, broken: false })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the body was read to its end, here at the latest.
    async fn spent(&self, waits: bool) -> bool {
        // Taken out: a handler that goes on reading behind its answer finds the end.
        let State { mut body, touched, broken } = {
            let mut state = self.lock();
            let body = std::mem::take(&mut state.body);
            State { body, touched: state.touched, broken: state.broken }
        };
        if broken {
            return false;
        }
        if body.is_end_stream() {
            return true;
        }
        if (waits && !touched) || body.size_hint().lower() > MOST {
            return false;
        }
        let draining = async {
            let mut left = MOST;
            while let Some(frame) = body.frame().await {
                let Ok(frame) = frame else { return false };
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                let Some(rest) = left.checked_sub(length) else { return false };
                left = rest;
            }
            true
        };
        tokio::time::timeout(PATIENCE, draining).await.unwrap_or(false)
    }
}

impl HttpBody for HeldBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut state = self.lock();
        state.touched = true;
        let polled = Pin::new(&mut state.body).poll_frame(context);
        if matches!(polled, Poll::Ready(Some(Err(_)))) {
            state.broken = true;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.lock().body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.lock().body.size_hint()
    }
}
