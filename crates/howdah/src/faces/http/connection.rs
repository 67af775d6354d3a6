//! How long may a connection do nothing?
//!
//! hyper's own limit for a request's head begins when it starts to wait for one, so it would be the limit of an idle
//! connection too, and nothing limits the wait for the first bytes, where HTTP/1 and HTTP/2 are told apart. So the connection
//! has a [`Pulse`]: what it waits for and since when, told by the socket ([`Wire`]) and by the requests, and looked at a few
//! times within the shortest limit. While a request is answered the request's own limit counts instead.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::ConnectInfo;
use axum::http::{Request, Version};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tower::ServiceExt;

use super::places::Place;

/// How long a connection may wait.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For the whole head of a request, from its first byte or, of the first request, from the connection on.
    pub head: Duration,
    /// Between an answer and the next request.
    pub idle: Duration,
}

/// Requests at once on one connection of HTTP/2: as many as a busy program asks, few enough that a connection is no way
/// around the limit of connections.
const STREAMS: u32 = 64;
/// How often a peer of HTTP/2 is asked whether it is still there.
const PING: Duration = Duration::from_secs(20);
/// How long it may take to say so.
const PONG: Duration = Duration::from_secs(10);
/// How long a closed connection still takes what its peer was sending: an answer is lost where a peer's bytes meet a closed
/// socket before it was read.
const LINGER: Duration = Duration::from_secs(2);

/// What is told apart and how, once for all connections.
pub fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG);
    builder
}

/// Serves one connection until it ends, is idle for too long, or `stop` says so and its requests are answered.
pub async fn serve(
    builder: Arc<Builder<TokioExecutor>>,
    app: Router,
    (stream, peer): (TcpStream, SocketAddr),
    place: Place,
    patience: Patience,
    mut stop: watch::Receiver<bool>,
) {
    // A lost optimisation, no failure.
    let _ = stream.set_nodelay(true);
    let pulse = Pulse::new(patience);
    let lingers = Lingers::default();
    let wire =
        Wire { stream: Some(stream), place: Some(place), pulse: pulse.clone(), lingers: lingers.clone() };
    let beat = pulse.clone();
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let under_way = beat.begin(request.version());
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(lingers.clone());
        let app = app.clone();
        async move {
            let response = app.oneshot(request).await?;
            Ok::<_, Infallible>(response.map(|body| Answering { body, _under_way: under_way }))
        }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(wire), service));
    let mut looks = tokio::time::interval(patience.head.min(patience.idle) / 4);
    let mut stopping = false;
    let mut let_go: Option<Instant> = None;
    loop {
        tokio::select! {
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!(%peer, %error, "a connection broke off");
                }
                return;
            }
            // A sender that is gone says so too.
            _ = stop.wait_for(|stop| *stop), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            _ = looks.tick() => match let_go {
                Some(since) if since.elapsed() > patience.idle => return,
                Some(_) => {}
                None => match pulse.overdue(Instant::now()) {
                    Overdue::No => {}
                    // Nothing is under way: nothing is lost.
                    Overdue::Close => return,
                    // A request may be on its way: HTTP/2 can tell its peer which ones are still answered.
                    Overdue::LetGo => {
                        let_go = Some(Instant::now());
                        connection.as_mut().graceful_shutdown();
                    }
                },
            },
        }
    }
}

/// What is to be done with a connection.
enum Overdue {
    No,
    LetGo,
    Close,
}

/// What a connection waits for, and since when.
#[derive(Clone)]
struct Pulse(Arc<Mutex<Beat>>);

struct Beat {
    patience: Patience,
    /// Requests that are being answered.
    under_way: usize,
    /// Whether there was a request already, and of which version.
    version: Option<Version>,
    /// Since when nothing is under way; what is written moves it, so that a slow reader has its time.
    since: Instant,
    /// Since when the head of a request is coming in.
    head: Option<Instant>,
}

impl Pulse {
    fn new(patience: Patience) -> Self {
        let beat = Beat { patience, under_way: 0, version: None, since: Instant::now(), head: None };
        Pulse(Arc::new(Mutex::new(beat)))
    }

    fn lock(&self) -> MutexGuard<'_, Beat> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, version: Version) -> UnderWay {
        let mut beat = self.lock();
        beat.under_way += 1;
        beat.version = Some(version);
        beat.head = None;
        UnderWay(self.clone())
    }

    /// Bytes came in. Those of HTTP/2 may be anything, an answer to a ping above all.
    fn heard(&self) {
        let mut beat = self.lock();
        if beat.under_way == 0 && beat.head.is_none() && beat.version.is_some_and(|v| v < Version::HTTP_2) {
            beat.head = Some(Instant::now());
        }
    }

    /// Bytes went out.
    fn said(&self) {
        let mut beat = self.lock();
        if beat.version.is_some_and(|version| version < Version::HTTP_2) {
            beat.since = Instant::now();
        }
    }

    fn overdue(&self, now: Instant) -> Overdue {
        let beat = self.lock();
        let past = |since: Instant, most: Duration| now.saturating_duration_since(since) >= most;
        match (beat.under_way, beat.version, beat.head) {
            (0, None, _) if past(beat.since, beat.patience.head) => Overdue::Close,
            (0, Some(_), Some(head)) if past(head, beat.patience.head) => Overdue::Close,
            (0, Some(version), None) if past(beat.since, beat.patience.idle) => {
                if version < Version::HTTP_2 {
                    Overdue::Close
                } else {
                    Overdue::LetGo
                }
            }
            _ => Overdue::No,
        }
    }
}

/// A request that is being answered.
struct UnderWay(Pulse);

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut beat = self.0.lock();
        beat.under_way -= 1;
        beat.since = Instant::now();
    }
}

/// The body of an answer: until it is written, its request is under way.
struct Answering {
    body: Body,
    _under_way: UnderWay,
}

impl HttpBody for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Whether the connection, once closed, still has to take what its peer is sending.
#[derive(Debug, Clone, Default)]
pub struct Lingers(Arc<AtomicBool>);

impl Lingers {
    /// It has to.
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// The socket, which tells the pulse and holds the connection's place until it is closed.
struct Wire {
    stream: Option<TcpStream>,
    place: Option<Place>,
    pulse: Pulse,
    lingers: Lingers,
}

impl Wire {
    fn stream(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        self.stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let (Some(stream), place) = (self.stream.take(), self.place.take()) else { return };
        if self.lingers.0.load(Ordering::Acquire)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move {
                linger(stream).await;
                drop(place);
            });
        }
    }
}

/// Says that nothing more comes, and takes what the peer is still sending, for a while.
pub async fn linger(mut stream: TcpStream) {
    let taking = async {
        let mut nowhere = vec![0; 64 << 10];
        if stream.shutdown().await.is_ok() {
            while stream.read(&mut nowhere).await.is_ok_and(|read| read > 0) {}
        }
    };
    // Whoever sends for longer has had his time.
    let _ = tokio::time::timeout(LINGER, taking).await;
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = self.stream()?.poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.pulse.heard();
        }
        polled
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = self.stream()?.poll_write(context, bytes);
        if matches!(polled, Poll::Ready(Ok(1..))) {
            self.pulse.said();
        }
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = self.stream()?.poll_write_vectored(context, parts);
        if matches!(polled, Poll::Ready(Ok(1..))) {
            self.pulse.said();
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(TcpStream::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(context)
    }
}
