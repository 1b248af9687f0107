//! What both sockets are alike in: how they open, how they live, how they end.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use tokio::time::{Instant, MissedTickBehavior};

use crate::api::http::problem::Problem;
use crate::api::server::Permit;
use crate::api::state::ApiState;
use crate::live::{Event, Listener};

/// What a client may say, in bytes; nothing of it is read.
const MESSAGE_BYTES_MAX: usize = 4096;
/// How often a client is asked whether it is there.
const PING_EVERY: Duration = Duration::from_secs(15);
/// One that says nothing for so long is gone.
const SILENT_FOR_MAX: Duration = Duration::from_secs(45);
/// Longest time for a message to be taken.
const SEND_WITHIN: Duration = Duration::from_secs(30);
/// Longest time for saying that this is the end.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);
/// Seconds after which one who found no place asks again.
const RETRY_AFTER_S: u64 = 5;

/// What a socket tells.
pub trait SocketFeed: Send + 'static {
    /// What to say at first.
    fn first(&mut self) -> impl Future<Output = Result<Vec<String>, Problem>> + Send;
    /// What to say after something was committed, or, without an event, after some time.
    fn after(&mut self, event: Option<&Event>) -> impl Future<Output = Result<Vec<String>, Problem>> + Send;
}

/// Why a socket ends.
enum SocketEnd {
    /// The client went, or does not take what it is sent.
    Gone,
    /// The client says that this is the end.
    Closed,
    Close(u16, &'static str),
}

/// Opens a socket that hears of everything committed from now on.
///
/// # Errors
/// The request is none for a WebSocket, or all places are taken.
pub fn open<T: SocketFeed>(
    api: &Arc<ApiState>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    make: impl FnOnce(Arc<ApiState>) -> T,
) -> Result<Response, Problem> {
    let upgrade = upgrade.map_err(|rejection| {
        let detail = format!("this route is a WebSocket: {}", rejection.body_text());
        Problem::new(rejection.status(), "no WebSocket", detail).field("upgrade")
    })?;
    let Some(permit) = api.subscribers.try_enter() else {
        return Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many subscribers",
            "http.subscribers_max are connected already",
        )
        .retry_after(RETRY_AFTER_S));
    };
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
                // The answer goes out with the next reading, which then finds the end.
                SocketEnd::Closed => while let Some(Ok(_)) = session.socket.recv().await {},
                SocketEnd::Close(code, reason) => {
                    let reason = reason.into();
                    let close = Message::Close(Some(CloseFrame { code, reason }));
                    let _ = session.socket.send(close).await;
                }
            }
        };
        // Whoever does not hear it is left all the same.
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
                    // Of a connection that is gone nobody hears this.
                    Some(Err(_)) => return SocketEnd::Close(close_code::PROTOCOL, "no message this end can take"),
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

    /// Sends what is to be said; `Some` if that is the end.
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

/// A frame's text.
pub fn text(document: &impl Serialize) -> String {
    // Numbers, strings and maps with names for keys: there is nothing to fail.
    serde_json::to_string(document).unwrap_or_default()
}
