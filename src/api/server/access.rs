//! The access log: one line for each request, two for a stream.
//!
//! Reads are logged at `debug`, changes and refusals at `info`, server errors at `warn`. Queries and headers
//! are left out: they may contain secrets.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::BoxError;
use axum::body::{Body, Bytes};
use axum::http::{Method, Request, StatusCode};
use hyper::body::{Frame, SizeHint};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tracing::Level;

use super::traffic::EndpointKind;

const TARGET: &str = "tokentail::access";

/// Longest part of a method or a path in the log, in characters.
const SHOWN_CHARS_MAX: usize = 256;

/// The log entry of one request.
#[derive(Debug)]
pub struct AccessEntry {
    endpoint: EndpointKind,
    peer: Option<SocketAddr>,
    method: String,
    path: String,
    reads: bool,
    began: Instant,
}

impl AccessEntry {
    pub fn new(endpoint: EndpointKind, peer: Option<SocketAddr>, request: &Request<Body>) -> Self {
        Self {
            endpoint,
            peer,
            method: shown(request.method().as_str()),
            path: shown(request.uri().path()),
            reads: matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS),
            began: Instant::now(),
        }
    }

    pub fn answered(&self, status: StatusCode, bytes: Option<u64>) {
        self.say("answered", self.level(status), Some(status), bytes);
    }

    pub fn stream_begins(&self, status: StatusCode) {
        self.say("stream begins", self.level(status), Some(status), None);
    }

    pub fn stream_ends(&self, bytes: Option<u64>) {
        self.say("stream ends", Level::DEBUG, None, bytes);
    }

    fn level(&self, status: StatusCode) -> Level {
        if status.is_server_error() {
            Level::WARN
        } else if status.is_client_error() || !self.reads {
            Level::INFO
        } else {
            Level::DEBUG
        }
    }

    fn say(&self, what: &str, level: Level, status: Option<StatusCode>, bytes: Option<u64>) {
        // The level of an event is a constant.
        macro_rules! say {
            ($level:expr) => {
                tracing::event!(
                    target: TARGET,
                    $level,
                    listener = self.endpoint.into_str(),
                    peer = self.peer.map(tracing::field::display),
                    method = self.method,
                    path = self.path,
                    status = status.map(|status| status.as_u16()),
                    ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
                    bytes,
                    "{what}"
                )
            };
        }
        match level {
            Level::WARN => say!(Level::WARN),
            Level::INFO => say!(Level::INFO),
            _ => say!(Level::DEBUG),
        }
    }
}

/// A connection that ended with an error: the input was no HTTP, or came too slowly.
pub fn broke(endpoint: EndpointKind, peer: Option<SocketAddr>, error: &hyper::Error) {
    let peer = peer.map(tracing::field::display);
    if error.is_parse() {
        tracing::info!(target: TARGET, listener = endpoint.into_str(), peer, %error, "no request");
    } else {
        tracing::debug!(target: TARGET, listener = endpoint.into_str(), peer, %error, "the connection broke");
    }
}

/// The text without control characters, cut to [`SHOWN_CHARS_MAX`].
fn shown(text: &str) -> String {
    let escaped = text.chars().flat_map(char::escape_debug);
    escaped.take(SHOWN_CHARS_MAX).collect()
}

/// The body of a stream. It ends when the endpoint is closed, and the end is logged.
pub struct StreamBody {
    body: Body,
    entry: AccessEntry,
    bytes: u64,
    closed: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl StreamBody {
    pub fn new(body: Body, entry: AccessEntry, stop: CancellationToken) -> Self {
        Self {
            body,
            entry,
            bytes: 0,
            closed: Box::pin(stop.cancelled_owned()),
        }
    }
}

impl hyper::body::Body for StreamBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.closed.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            self.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        self.entry.stream_ends(Some(self.bytes));
    }
}
