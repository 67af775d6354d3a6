//! What does Howdah say of itself?
//!
//! The OpenAPI document and the page for people. Both are open; the names of the collections are in the document only for
//! callers with a key.

use std::sync::{Arc, PoisonError, RwLock, Weak};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use axum::routing::get;

use super::paths::{DOCUMENTS, What};
use super::{openapi, page};
use crate::faces::http::service::Service;
use crate::faces::http::{answer, auth};
use crate::runtime::host::Host;

/// The documents.
pub fn routes<C: Host>(service: Arc<Service<C>>) -> Router {
    let mut router = Router::new();
    for document in DOCUMENTS {
        router = match document.what {
            What::OpenApi => router.route(document.path, get(description::<C>)),
            What::Page => router.route(document.path, get(people::<C>)),
        };
    }
    router.with_state(Arc::new(Documents { service, made: RwLock::default() }))
}

struct Documents<C: 'static> {
    service: Arc<Service<C>>,
    made: RwLock<Option<Made<C>>>,
}

/// The document as it was made of one context: too dear to be made for every request, made anew when the context is another.
struct Made<C> {
    of: Weak<C>,
    /// For callers without a key.
    open: Arc<str>,
    /// With the names of the collections.
    whole: Arc<str>,
}

impl<C: Host> Documents<C> {
    fn text(&self, of: &Arc<C>, whole: bool) -> Arc<str> {
        let made = self.made.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = made.as_ref().filter(|made| Weak::as_ptr(&made.of) == Arc::as_ptr(of)) {
            return if whole { made.whole.clone() } else { made.open.clone() };
        }
        drop(made);
        let (skills, require_key) = (self.service.skills, of.limits().require_key);
        let made = Made {
            of: Arc::downgrade(of),
            open: openapi::text(skills, &[], require_key).into(),
            whole: openapi::text(skills, &of.collections(), require_key).into(),
        };
        let text = if whole { made.whole.clone() } else { made.open.clone() };
        *self.made.write().unwrap_or_else(PoisonError::into_inner) = Some(made);
        text
    }
}

async fn description<C: Host>(
    State(documents): State<Arc<Documents<C>>>,
    request: Request,
) -> Response<Body> {
    let host = documents.service.context();
    let known = auth::known(&*host, request.headers(), request.extensions()).await.is_some();
    answer::typed(StatusCode::OK, "application/json", documents.text(&host, known).to_string())
}

async fn people<C: Host>(State(documents): State<Arc<Documents<C>>>) -> Response<Body> {
    page::response(documents.service.skills)
}
