//! What does the daemon need of the face it opens?
//!
//! The face stands above the daemon, which knows of it only what is written here.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::net::TcpListener;

use crate::runtime::Context;

/// Opens the face on a listener. It answers at once, and says that it is not ready yet.
pub type Serve = fn(Arc<Context>, TcpListener) -> Box<dyn Serving>;

/// A face that answers.
pub trait Serving: Send + Sync {
    /// Everything is loaded: requests are welcome.
    fn ready(&self);
    /// What skills run on now.
    fn context(&self) -> Arc<Context> {
        (self.watch())()
    }
    /// What tells at any later time what skills run on then.
    fn watch(&self) -> Box<dyn Fn() -> Arc<Context> + Send + Sync>;
    /// Replaces what skills run on; requests under way keep what they have.
    fn replace(&self, context: Arc<Context>);
    /// Takes no new requests and waits for those under way.
    fn stop(self: Box<Self>) -> BoxFuture<'static, ()>;
}
