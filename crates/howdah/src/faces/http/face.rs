//! All that is served over HTTP, as the daemon opens it.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::router::router;
use super::server::{self, Bounds};
use super::service::Service;
use crate::daemon::serving::Serving;
use crate::runtime::Context;
use crate::skills::SKILLS;

struct Face {
    service: Arc<Service<Context>>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// Opens the face on `listener`.
pub fn open(context: Arc<Context>, listener: TcpListener) -> Box<dyn Serving> {
    let service = Arc::new(Service::new(SKILLS, context));
    let (stop, stopped) = oneshot::channel();
    let serving = server::serve(router(service.clone()), listener, Bounds::default(), async {
        // A sender that is gone asks for it too.
        let _ = stopped.await;
    });
    let task = tokio::spawn(serving);
    Box::new(Face { service, stop, task })
}

impl Serving for Face {
    fn ready(&self) {
        self.service.set_ready(true);
    }

    fn watch(&self) -> Box<dyn Fn() -> Arc<Context> + Send + Sync> {
        let service = Arc::clone(&self.service);
        Box::new(move || service.context())
    }

    fn replace(&self, context: Arc<Context>) {
        self.service.replace(context);
    }

    fn stop(self: Box<Self>) -> BoxFuture<'static, ()> {
        self.service.set_ready(false);
        let Face { stop, task, .. } = *self;
        // A face that ended by itself needs no telling.
        let _ = stop.send(());
        Box::pin(async move {
            if let Err(error) = task.await {
                tracing::error!(%error, "the HTTP face broke off");
            }
        })
    }
}
