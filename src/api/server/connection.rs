//! Connections: how many an endpoint takes, and what bounds each of them.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use hyper::body::Body as _;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;

use super::access::{self, AccessEntry, StreamBody};
use super::answer::Routes;
use super::guard::Guard;
use super::traffic::{EndpointKind, EndpointStats, Traffic};
use crate::api::wire;

/// The head of a request has arrived within this time after the answer before it, or the connection ends.
const HEADER_WITHIN: Duration = Duration::from_secs(10);
/// Request line and headers.
const HEADER_BYTES_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 64;
/// What is kept of one connection until it is taken, in each direction.
const BUFFER_BYTES_MAX: usize = 64 << 10;
/// A client that takes nothing for so long is cut off.
const WRITE_STALLS_FOR: Duration = Duration::from_secs(30);

/// Clients that are being told that there is no room, at most as many as have room; more are cut off.
const REFUSALS_MAX: usize = 64;
const REFUSAL_WITHIN: Duration = Duration::from_secs(1);
/// How often the log says that there is no room.
const REFUSALS_LOGGED_EVERY: Duration = Duration::from_mins(1);
/// After an error that is the system's, such as no free descriptor: doubled with each further one, up to the longest.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(50);
const ACCEPT_AGAIN_AFTER_MAX: Duration = Duration::from_secs(1);
/// How often the log says so.
const ACCEPT_ERRORS_LOGGED_EVERY: Duration = Duration::from_secs(30);
/// How long a client is waited for that is refused for want of a descriptor: others wait behind it.
const SPARE_WITHIN: Duration = Duration::from_millis(100);

/// One endpoint: what all its connections share.
#[derive(Debug)]
pub struct Endpoint {
    pub kind: EndpointKind,
    /// `None` lets everybody do everything.
    pub guard: Option<Guard>,
    pub routes: Routes,
    pub stop: CancellationToken,
    traffic: Arc<Traffic>,
    slots: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
}

impl Endpoint {
    pub fn new(
        kind: EndpointKind,
        guard: Option<Guard>,
        router: Router,
        traffic: Arc<Traffic>,
        connections_max: usize,
        stop: CancellationToken,
    ) -> Self {
        Self {
            kind,
            guard,
            routes: Routes::new(router),
            stop,
            traffic,
            slots: Arc::new(Semaphore::new(connections_max)),
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX.min(connections_max))),
        }
    }

    pub fn stats(&self) -> &EndpointStats {
        self.traffic.of(self.kind)
    }
}

/// One connection. It lasts until nobody uses its stream any more, a WebSocket included.
#[derive(Debug)]
pub struct Connection {
    pub endpoint: Arc<Endpoint>,
    pub peer: Option<SocketAddr>,
    /// The request that made a WebSocket of it.
    pub upgraded: OnceLock<AccessEntry>,
    _slot: OwnedSemaphorePermit,
}

impl Connection {
    /// `None` when the endpoint is full.
    fn enter(endpoint: &Arc<Endpoint>, peer: Option<SocketAddr>) -> Option<Arc<Self>> {
        let slot = Arc::clone(&endpoint.slots).try_acquire_owned().ok()?;
        endpoint.stats().came();
        Some(Arc::new(Self {
            endpoint: Arc::clone(endpoint),
            peer,
            upgraded: OnceLock::new(),
            _slot: slot,
        }))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.endpoint.stats().went();
        if let Some(entry) = self.upgraded.get() {
            entry.stream_ends(None);
        }
    }
}

/// Where connections come in.
pub trait Accept {
    type Stream: AsyncRead + AsyncWrite + Send + 'static;

    /// The next one, and where it comes from if that has an address.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Option<SocketAddr>)>> + Send;
}

/// Accepts and answers until the endpoint is closed, then waits for what is being answered.
pub async fn serve(listener: impl Accept, endpoint: Endpoint) {
    let endpoint = Arc::new(endpoint);
    let mut tasks = JoinSet::new();
    let mut logged_at: Option<Instant> = None;
    let mut accept_errors = AcceptErrors::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(ended) = tasks.join_next() => {
                report(ended);
                continue;
            }
            () = endpoint.stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                accept_errors.over();
                if let Some(connection) = Connection::enter(&endpoint, peer) {
                    tasks.spawn(serve_connection(stream, connection));
                    continue;
                }
                endpoint.stats().refuse();
                if logged_at.is_none_or(|logged_at| logged_at.elapsed() >= REFUSALS_LOGGED_EVERY) {
                    logged_at = Some(Instant::now());
                    tracing::warn!(
                        listener = endpoint.kind.into_str(),
                        "all connections are taken, more are refused; see http.connections_max"
                    );
                }
                // Without a permit it is cut off without a word.
                if let Ok(permit) = Arc::clone(&endpoint.refusals).try_acquire_owned() {
                    tasks.spawn(refuse(stream, permit));
                }
            }
            Err(error) if of_one_client(&error) => {}
            Err(error) => {
                if let Some(errors) = accept_errors.note(Instant::now()) {
                    let listener = endpoint.kind.into_str();
                    tracing::warn!(listener, %error, errors, "cannot accept connections; tries again");
                }
                if is_out_of_descriptors(&error) {
                    let refused = accept_errors.refuse_one(&listener, &endpoint);
                    if endpoint.stop.run_until_cancelled(refused).await.unwrap_or(true) {
                        continue;
                    }
                }
                let pause = tokio::time::sleep(accept_errors.pause());
                endpoint.stop.run_until_cancelled(pause).await;
            }
        }
    }
    // From here on nobody connects to someone who does not answer.
    drop(listener);
    while let Some(ended) = tasks.join_next().await {
        report(ended);
    }
}

/// Errors of accepting in a row, and a descriptor to be given up for a client that would otherwise wait in vain.
struct AcceptErrors {
    pause: Duration,
    logged_at: Option<Instant>,
    /// Since the log told of them.
    errors: u64,
    spare: Option<OwnedFd>,
}

impl AcceptErrors {
    fn new() -> Self {
        Self {
            pause: ACCEPT_AGAIN_AFTER,
            logged_at: None,
            errors: 0,
            spare: spare(),
        }
    }

    /// A connection was accepted.
    fn over(&mut self) {
        self.pause = ACCEPT_AGAIN_AFTER;
        if self.spare.is_none() {
            self.spare = spare();
        }
    }

    /// Notes an error: how many there were if it is time to tell.
    fn note(&mut self, now: Instant) -> Option<u64> {
        self.errors += 1;
        let is_time = self
            .logged_at
            .is_none_or(|logged_at| now.saturating_duration_since(logged_at) >= ACCEPT_ERRORS_LOGGED_EVERY);
        is_time.then(|| {
            self.logged_at = Some(now);
            std::mem::take(&mut self.errors)
        })
    }

    /// How long to wait after this error.
    fn pause(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (2 * pause).min(ACCEPT_AGAIN_AFTER_MAX);
        pause
    }

    /// Takes one client in the place of the spare descriptor and tells it that there is no room; whether there was one.
    async fn refuse_one(&mut self, listener: &impl Accept, endpoint: &Endpoint) -> bool {
        drop(self.spare.take());
        let accepted = tokio::time::timeout(SPARE_WITHIN, listener.accept()).await;
        let refused = if let (Ok(Ok((stream, _))), Ok(permit)) =
            (accepted, Arc::clone(&endpoint.refusals).try_acquire_owned())
        {
            endpoint.stats().refuse();
            // Whoever does not take the answer is cut off.
            let _ = tokio::time::timeout(SPARE_WITHIN, refuse(stream, permit)).await;
            true
        } else {
            false
        };
        self.spare = spare();
        refused
    }
}

/// `None` if there is none; accepting goes on without it.
fn spare() -> Option<OwnedFd> {
    io::stderr().as_fd().try_clone_to_owned().ok()
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let number = error.raw_os_error();
    [Errno::MFILE, Errno::NFILE]
        .iter()
        .any(|errno| number == Some(errno.raw_os_error()))
}

fn of_one_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "an answer was not made");
    }
}

/// Answers, with the headers that every answer has, and says so in the log.
async fn answer(connection: Arc<Connection>, mut request: Request<Body>) -> Result<Response, Infallible> {
    let endpoint = &connection.endpoint;
    let entry = AccessEntry::new(endpoint.kind, connection.peer, &request);
    let guarded = endpoint.guard.as_ref().map(|guard| guard.admit(&mut request));
    let (cors, refused) = guarded.unwrap_or_default();
    let mut response = match refused {
        Some(refused) => refused,
        None => endpoint.routes.answer(request).await.into_response(),
    };
    cors.apply_headers(&mut response);
    let headers = response.headers_mut();
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let status = response.status();
    endpoint.stats().answered(status.as_u16());
    if status == StatusCode::SWITCHING_PROTOCOLS {
        entry.stream_begins(status);
        // A connection changes its protocol once, so it is empty.
        let _ = connection.upgraded.set(entry);
        return Ok(response);
    }
    if let Some(bytes) = response.body().size_hint().exact() {
        entry.answered(status, Some(bytes));
        return Ok(response);
    }
    entry.stream_begins(status);
    Ok(response.map(|body| Body::new(StreamBody::new(body, entry, endpoint.stop.clone()))))
}

/// Speaks HTTP until the client goes, breaks a bound, or the endpoint is closed.
async fn serve_connection<S>(stream: S, connection: Arc<Connection>)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_STALLS_FOR));
    let held = HeldStream {
        stream: Box::pin(stream),
        _connection: Arc::clone(&connection),
    };
    let of_requests = Arc::clone(&connection);
    let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        answer(Arc::clone(&of_requests), request.map(Body::new))
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_WITHIN)
        .max_headers(HEADERS_MAX)
        .max_header_size(HEADER_BYTES_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(held), service)
        .with_upgrades();
    tokio::pin!(served);
    let ended = tokio::select! {
        ended = &mut served => ended,
        () = connection.endpoint.stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        access::broke(connection.endpoint.kind, connection.peer, &error);
    }
}

/// Says that there is no room, and takes what the client says so that it can read the answer.
async fn refuse<S: AsyncRead + AsyncWrite>(stream: S, _permit: OwnedSemaphorePermit) {
    let body = serde_json::json!(wire::Problem {
        status: 503,
        title: "too many connections".to_owned(),
        detail: "all connections of this listener are taken; try again later".to_owned(),
        field: None,
    })
    .to_string();
    let text = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\nconnection: close\r\nretry-after: 1\r\ncache-control: no-store\r\nx-content-type-options: nosniff\r\n\r\n{body}",
        body.len()
    );
    tokio::pin!(stream);
    let answer = async {
        stream.write_all(text.as_bytes()).await?;
        stream.shutdown().await?;
        let mut rest = [0; 1024];
        while stream.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    // Whoever does not listen has been told enough.
    let _ = tokio::time::timeout(REFUSAL_WITHIN, answer).await;
}

/// A stream that keeps the place of its connection, also when it has become a WebSocket.
struct HeldStream<S> {
    stream: Pin<Box<TimeoutStream<S>>>,
    _connection: Arc<Connection>,
}

impl<S: AsyncRead + AsyncWrite> AsyncRead for HeldStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite> AsyncWrite for HeldStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_shutdown(cx)
    }
}
