//! Common parts of both WebSockets: opening, the session loop, and the end.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use serde::Serialize;
use tokio::time::{Instant, MissedTickBehavior};

use crate::api::http::problem::Problem;
use crate::api::server::Permit;
use crate::api::state::ApiState;
use crate::live::{Event, Listener};

/// A request for a WebSocket, as a handler takes it.
pub type UpgradeRequest = Result<WebSocketUpgrade, WebSocketUpgradeRejection>;

/// Largest client message, in bytes; its content is ignored.
const MESSAGE_BYTES_MAX: usize = 4096;
/// Interval of pings.
const PING_EVERY: Duration = Duration::from_secs(15);
/// A client without any message for this time is gone.
const SILENT_FOR_MAX: Duration = Duration::from_secs(45);
/// Longest time for sending a message.
const SEND_WITHIN: Duration = Duration::from_secs(30);
/// Longest time for the closing handshake.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// The content of a socket.
pub trait SocketFeed: Send + 'static {
    /// The first frames.
    fn first(&mut self) -> impl Future<Output = Result<Vec<String>, Problem>> + Send;
    /// The frames after a commit, or, without an event, after a ping interval.
    fn after(&mut self, event: Option<&Event>) -> impl Future<Output = Result<Vec<String>, Problem>> + Send;
}

/// The reason why a session ends.
enum SocketEnd {
    /// The client is gone, or does not accept data.
    Gone,
    /// The client closed the socket.
    Closed,
    Close(u16, &'static str),
}

/// Opens a socket that gets everything committed from now on.
///
/// # Errors
/// The request is no WebSocket upgrade, or all places are taken.
pub fn open<T: SocketFeed>(
    api: &Arc<ApiState>,
    upgrade: UpgradeRequest,
    make: impl FnOnce(Arc<ApiState>) -> T,
) -> Result<Response, Problem> {
    let upgrade = upgrade.map_err(|rejection| {
        let detail = format!("this route is a WebSocket: {}", rejection.body_text());
        Problem::new(rejection.status(), "no WebSocket", detail).field("upgrade")
    })?;
    let permit = (api.subscribers.try_enter()).ok_or_else(Problem::too_many_subscribers)?;
    let listener = api.live.subscribe();
    let feed = make(Arc::clone(api));
    let stop = api.hub.stopping();
    let upgrade = upgrade
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX);
    Ok(upgrade.on_upgrade(async move |socket| {
        let mut session = SocketSession {
            socket,
            listener,
            feed,
            _permit: permit,
        };
        let end = stop
            .run_until_cancelled(session.run())
            .await
            .unwrap_or(SocketEnd::Close(close_code::AWAY, "the collector stops"));
        let goodbye = async {
            match end {
                SocketEnd::Gone => {}
                // The closing frame is answered with the next read, which then finds the end.
                SocketEnd::Closed => while let Some(Ok(_)) = session.socket.recv().await {},
                SocketEnd::Close(code, reason) => {
                    let reason = reason.into();
                    let close = Message::Close(Some(CloseFrame { code, reason }));
                    let _ = session.socket.send(close).await;
                }
            }
        };
        // A client that does not answer the closing frame is dropped.
        let _ = tokio::time::timeout(CLOSE_WITHIN, goodbye).await;
    }))
}

struct SocketSession<T> {
    socket: WebSocket,
    listener: Listener,
    feed: T,
    _permit: Permit,
}

impl<T: SocketFeed> SocketSession<T> {
    async fn run(&mut self) -> SocketEnd {
        let first = self.feed.first().await;
        if let Some(end) = self.send_all(first).await {
            return end;
        }
        let mut ping = tokio::time::interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut received_at = Instant::now();
        loop {
            let texts = tokio::select! {
                event = self.listener.next() => match event {
                    Event::Closed => return SocketEnd::Close(close_code::AWAY, "the collector stops"),
                    event => self.feed.after(Some(&event)).await,
                },
                message = self.socket.recv() => match message {
                    None => return SocketEnd::Gone,
                    Some(Ok(Message::Close(_))) => return SocketEnd::Closed,
                    // A client that is gone never sees this.
                    Some(Err(_)) => return SocketEnd::Close(close_code::PROTOCOL, "not a valid message"),
                    Some(Ok(_)) => {
                        received_at = Instant::now();
                        continue;
                    }
                },
                _ = ping.tick() => {
                    if received_at.elapsed() > SILENT_FOR_MAX {
                        return SocketEnd::Gone;
                    }
                    if !self.send(Message::Ping(axum::body::Bytes::new())).await {
                        return SocketEnd::Gone;
                    }
                    self.feed.after(None).await
                }
            };
            if let Some(end) = self.send_all(texts).await {
                return end;
            }
        }
    }

    /// Sends the frames; `Some` if the session ends.
    async fn send_all(&mut self, texts: Result<Vec<String>, Problem>) -> Option<SocketEnd> {
        let Ok(texts) = texts else {
            return Some(SocketEnd::Close(close_code::AGAIN, "the store does not answer"));
        };
        for text in texts {
            if !self.send(Message::Text(text.into())).await {
                return Some(SocketEnd::Gone);
            }
        }
        None
    }

    async fn send(&mut self, message: Message) -> bool {
        let sent = tokio::time::timeout(SEND_WITHIN, self.socket.send(message)).await;
        matches!(sent, Ok(Ok(())))
    }
}

/// The text of a frame.
pub fn text(document: &impl Serialize) -> String {
    // Numbers, strings and maps with string keys: serialization cannot fail.
    serde_json::to_string(document).unwrap_or_default()
}
