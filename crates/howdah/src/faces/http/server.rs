//! Which connections are accepted, and how long may they finish when the server stops?
//!
//! The accept loop: at most [`Bounds::connections`] at a time, each within its [`Patience`]. Told to stop it takes no more,
//! and those under way finish.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use howdah_plan::problem::{Kind, Problem};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::answer;
use super::connection::{self, Patience};
use super::places::{Full, Places};

/// How much is taken on at a time.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Connections at a time. 512 are many times what PostgreSQL answers at once, and with what else is open fit into the 1,024
    /// files that a process may have by default.
    pub connections: usize,
    /// Of these at most so many from one address other than this machine's own.
    pub each: usize,
    /// How long each may wait.
    pub patience: Patience,
    /// How long requests under way have to finish when the server stops.
    pub last: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        let patience = Patience { head: Duration::from_secs(10), idle: Duration::from_secs(75) };
        Bounds { connections: 512, each: 256, patience, last: Duration::from_secs(20) }
    }
}

/// Refusals at a time that are said politely; beyond them a connection is closed without a word.
const REFUSALS: usize = 64;
/// Pause when the machine cannot give a connection: no file is free, above all.
const BREATH: Duration = Duration::from_secs(1);

/// Serves until `stop` comes, then lets requests under way finish.
pub async fn serve(
    app: Router,
    listener: TcpListener,
    bounds: Bounds,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    let places = Places::new(bounds.connections, bounds.each);
    let refusals = Arc::new(Semaphore::new(REFUSALS));
    let builder = Arc::new(connection::builder());
    let (tell, told) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    // Said once each time: whoever fills the connections shall not fill the log.
    let mut full = false;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection met a fault");
                }
                continue;
            }
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_the_peers(&error) => continue,
            Err(error) => {
                tracing::error!(%error, "no connection can be taken on");
                tokio::time::sleep(BREATH).await;
                continue;
            }
        };
        let why = match places.take(peer.ip()) {
            Ok(place) => {
                full = false;
                connections.spawn(connection::serve(
                    builder.clone(),
                    app.clone(),
                    (stream, peer),
                    place,
                    bounds.patience,
                    told.clone(),
                ));
                continue;
            }
            Err(why) => why,
        };
        if !std::mem::replace(&mut full, true) {
            match why {
                Full::All => tracing::warn!(%peer, "all {} connections are taken", bounds.connections),
                Full::Address => {
                    tracing::warn!(%peer, "this address has {} connections already", bounds.each)
                }
            }
        }
        if let Ok(turn) = refusals.clone().try_acquire_owned() {
            tokio::spawn(async move {
                refuse(stream, why).await;
                drop(turn);
            });
        }
    }
    drop(listener);
    // Without a connection nobody listens.
    let _ = tell.send(true);
    let ending = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(bounds.last, ending).await.is_err() {
        tracing::warn!("requests under way were cut off after {} s", bounds.last.as_secs());
    }
}

/// Whether it is only this one connection that failed.
fn is_the_peers(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Answers 503 to whatever was going to be asked: there is no place for the connection.
async fn refuse(mut stream: TcpStream, why: Full) {
    let what = match why {
        Full::All => "all connections of this server are taken",
        Full::Address => "this address has as many connections as one may have",
    };
    let problem = Problem::new(Kind::Busy, what)
        .hint("Try again in a moment, and keep connections open for the next request.");
    let id = Uuid::now_v7().to_string();
    let body = answer::shape(problem, id.clone()).to_string();
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         cache-control: no-store\r\nretry-after: 1\r\nx-request-id: {id}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    // Whoever does not take it is gone.
    if stream.write_all((head + &body).as_bytes()).await.is_ok() {
        connection::linger(stream).await;
    }
}
