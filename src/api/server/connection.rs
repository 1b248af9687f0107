//! Connections of an endpoint and the bounds of each.

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

/// Longest time from the previous answer to the complete head of a request.
const HEADER_WITHIN: Duration = Duration::from_secs(10);
/// Bounds of request line and headers.
const HEADER_BYTES_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 64;
/// Largest buffer of one connection, in each direction.
const BUFFER_BYTES_MAX: usize = 64 << 10;
/// A client that accepts no data for this time is disconnected.
const WRITE_STALLS_FOR: Duration = Duration::from_secs(30);

/// Most clients that are being answered 503 at once; more are disconnected without an answer.
const REFUSALS_MAX: usize = 64;
const REFUSAL_WITHIN: Duration = Duration::from_secs(1);
/// Shortest time between two log lines about refused connections.
const REFUSALS_LOGGED_EVERY: Duration = Duration::from_mins(1);
/// Pause after an error of the system, such as no free descriptor; doubled with each further error, up to the
/// maximum.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(50);
const ACCEPT_AGAIN_AFTER_MAX: Duration = Duration::from_secs(1);
/// Shortest time between two log lines about such errors.
const ACCEPT_ERRORS_LOGGED_EVERY: Duration = Duration::from_secs(30);
/// Longest wait for a client that is refused for want of a descriptor: other clients wait behind it.
const SPARE_WITHIN: Duration = Duration::from_millis(100);

/// The state shared by all connections of one endpoint.
#[derive(Debug)]
pub struct Endpoint {
    pub kind: EndpointKind,
    /// `None` allows everything.
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

    fn stats(&self) -> &EndpointStats {
        self.traffic.of(self.kind)
    }
}

/// One connection. It lives as long as its stream is used, also as a WebSocket.
#[derive(Debug)]
struct Connection {
    pub endpoint: Arc<Endpoint>,
    pub peer: Option<SocketAddr>,
    /// The request that upgraded the connection to a WebSocket.
    pub upgraded: OnceLock<AccessEntry>,
    _slot: OwnedSemaphorePermit,
}

impl Connection {
    /// `None` if all slots are taken.
    fn enter(endpoint: &Arc<Endpoint>, peer: Option<SocketAddr>) -> Option<Arc<Self>> {
        let slot = Arc::clone(&endpoint.slots).try_acquire_owned().ok()?;
        endpoint.stats().opened();
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
        self.endpoint.stats().closed();
        if let Some(entry) = self.upgraded.get() {
            entry.stream_ends(None);
        }
    }
}

/// A listener.
pub trait Accept {
    type Stream: AsyncRead + AsyncWrite + Send + 'static;

    /// The next connection, with the peer's address if it has one.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Option<SocketAddr>)>> + Send;
}

/// Accepts and answers until the endpoint is closed, then waits for running answers.
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
                // Without a permit the connection is dropped without an answer.
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
    // From here on clients get a connection error instead of waiting.
    drop(listener);
    while let Some(ended) = tasks.join_next().await {
        report(ended);
    }
}

/// Consecutive accept errors, and a spare descriptor that is released to refuse a client with an answer.
struct AcceptErrors {
    pause: Duration,
    logged_at: Option<Instant>,
    /// Errors since the last log line.
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

    /// Resets the pause after a successful accept.
    fn over(&mut self) {
        self.pause = ACCEPT_AGAIN_AFTER;
        if self.spare.is_none() {
            self.spare = spare();
        }
    }

    /// Counts an error; returns the count if it is time for a log line.
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

    /// The pause after this error.
    fn pause(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (2 * pause).min(ACCEPT_AGAIN_AFTER_MAX);
        pause
    }

    /// Accepts one client with the spare descriptor and answers 503; returns true if there was one.
    async fn refuse_one(&mut self, listener: &impl Accept, endpoint: &Endpoint) -> bool {
        drop(self.spare.take());
        let accepted = tokio::time::timeout(SPARE_WITHIN, listener.accept()).await;
        let refused = if let (Ok(Ok((stream, _))), Ok(permit)) =
            (accepted, Arc::clone(&endpoint.refusals).try_acquire_owned())
        {
            endpoint.stats().refuse();
            // A client that does not take the answer is disconnected.
            let _ = tokio::time::timeout(SPARE_WITHIN, refuse(stream, permit)).await;
            true
        } else {
            false
        };
        self.spare = spare();
        refused
    }
}

/// `None` if no descriptor is free; accepting continues without a spare.
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
        tracing::error!(%error, "an answer failed");
    }
}

/// Answers, with the headers of every answer, and writes the access log.
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
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    let status = response.status();
    endpoint.stats().answered(status.as_u16());
    if status == StatusCode::SWITCHING_PROTOCOLS {
        entry.stream_begins(status);
        // A connection is upgraded at most once, so the cell is empty.
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

/// Serves HTTP until the client leaves, a bound is broken, or the endpoint is closed.
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

/// Answers 503, and reads what the client sends so that it can read the answer.
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
    // Clients that do not read the answer in time are disconnected.
    let _ = tokio::time::timeout(REFUSAL_WITHIN, answer).await;
}

/// A stream that holds the slot of its connection, also as a WebSocket.
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
