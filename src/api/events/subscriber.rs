//! The stream of one subscriber: event text at a limited rate, and a snapshot after a gap.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use super::snapshot::{self, SnapshotShape};
use crate::api::document;
use crate::api::feed::encode::{EventId, Filter};
use crate::api::feed::hub::{Message, Missed};
use crate::api::http::problem::blocking;
use crate::api::server::Permit;
use crate::api::state::ApiState;
use crate::api::wire;

/// Shortest time between two chunks for one subscriber; events in between are combined.
const FRAMES_EVERY: Duration = Duration::from_millis(5);
/// After this time without an event a comment keeps the connection alive and advances the last id.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);
/// A chunk is sent once it has this length, in bytes; the text of one commit is not split.
const CHUNK_BYTES_MAX: usize = 256 << 10;

struct Subscriber {
    api: Arc<ApiState>,
    filter: Arc<Filter>,
    shape: SnapshotShape,
    messages: broadcast::Receiver<Message>,
    /// Everything up to this position was sent to this subscriber or filtered out.
    sent_to: EventId,
    /// Sent before anything else.
    first: Option<First>,
    next_at: Instant,
    /// `None` if health events are filtered out.
    health: Option<watch::Receiver<Option<Arc<wire::HealthEvent>>>>,
    _permit: Permit,
}

enum First {
    Snapshot,
    Gap { reason: &'static str, after: EventId },
    Missed(String),
}

/// The stream of one subscriber.
pub fn stream(
    api: Arc<ApiState>,
    filter: Filter,
    shape: SnapshotShape,
    after: Option<(EventId, u64)>,
    permit: Permit,
) -> impl Stream<Item = Result<String, Infallible>> + Send {
    let (messages, first, sent_to) = match after {
        None => (api.hub.subscribe(), First::Snapshot, EventId::behind(0)),
        Some((after, newest)) => match api.hub.resume(after, newest) {
            (messages, Missed::Gap(reason)) => (messages, First::Gap { reason, after }, after),
            (messages, Missed::CommitEvents(commits)) => {
                let mut text = ": resumed\n\n".to_owned();
                let mut sent_to = after;
                for commit in &commits {
                    commit.write(&filter, sent_to, &mut text);
                    sent_to = EventId::behind(commit.sequence);
                }
                (messages, First::Missed(text), sent_to)
            }
        },
    };
    let health = filter.wants_health().then(|| api.hub.health());
    let subscriber = Subscriber {
        api,
        health,
        filter: Arc::new(filter),
        shape,
        messages,
        sent_to,
        first: Some(first),
        next_at: Instant::now(),
        _permit: permit,
    };
    unfold(subscriber, |mut subscriber| async move {
        let text = subscriber.next().await?;
        subscriber.next_at = Instant::now() + FRAMES_EVERY;
        Some((Ok(text), subscriber))
    })
}

/// The next change of health, as event text.
async fn changed(health: &mut Option<watch::Receiver<Option<Arc<wire::HealthEvent>>>>) -> Option<String> {
    let health = health.as_mut()?;
    health.changed().await.ok()?;
    let health = health.borrow_and_update();
    Some(text_of(health.as_ref()?))
}

fn text_of(health: &wire::HealthEvent) -> String {
    // Only strings: serialization cannot fail.
    let json = serde_json::to_string(health).unwrap_or_default();
    format!("event: health\ndata: {json}\n\n")
}

impl Subscriber {
    /// The next chunk; `None` when the collector stops or the store does not answer.
    async fn next(&mut self) -> Option<String> {
        if let Some(first) = self.first.take() {
            let mut text = match first {
                First::Missed(text) => text,
                First::Snapshot => self.snapshot(None).await?,
                First::Gap { reason, after } => self.snapshot(Some((reason, after))).await?,
            };
            if let Some(health) = &mut self.health {
                // The event gets the current time, so that the events of a stream are in order.
                if let Some(health) = &*health.borrow_and_update() {
                    let at = document::time(self.api.clock.now());
                    text.push_str(&text_of(&wire::HealthEvent {
                        at,
                        ..wire::HealthEvent::clone(health)
                    }));
                }
            }
            return Some(text);
        }
        let stop = self.api.hub.stopping();
        stop.run_until_cancelled(tokio::time::sleep_until(self.next_at))
            .await?;
        let mut text = String::new();
        loop {
            let received = tokio::select! {
                message = self.messages.recv() => Ok(message),
                Some(health) = changed(&mut self.health) => return Some(health),
                () = tokio::time::sleep(KEEP_ALIVE_EVERY) => Err(()),
                () = stop.cancelled() => return None,
            };
            match received {
                Err(()) => return Some(format!(": still here\nid: {}\n\n", self.sent_to.sequence)),
                Ok(Err(RecvError::Closed)) => return None,
                Ok(Err(RecvError::Lagged(_)) | Ok(Message::Lost)) => return self.start_over().await,
                Ok(Ok(Message::CommitEvents(commit))) => {
                    commit.write(&self.filter, self.sent_to, &mut text);
                    self.sent_to = EventId::behind(self.sent_to.sequence.max(commit.sequence));
                }
            }
            while text.len() < CHUNK_BYTES_MAX {
                match self.messages.try_recv() {
                    Ok(Message::CommitEvents(commit)) => {
                        commit.write(&self.filter, self.sent_to, &mut text);
                        self.sent_to = EventId::behind(self.sent_to.sequence.max(commit.sequence));
                    }
                    Ok(Message::Lost) | Err(TryRecvError::Lagged(_)) => return self.start_over().await,
                    Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                }
            }
            if !text.is_empty() {
                return Some(text);
            }
        }
    }

    /// Restarts the stream of a slow subscriber with a snapshot, which includes everything not yet sent.
    async fn start_over(&mut self) -> Option<String> {
        self.messages = self.api.hub.subscribe();
        self.snapshot(Some(("too_slow", self.sent_to))).await
    }

    async fn snapshot(&mut self, gap: Option<(&'static str, EventId)>) -> Option<String> {
        let (api, filter, shape) = (Arc::clone(&self.api), Arc::clone(&self.filter), self.shape);
        let read = blocking(move || snapshot::read(&api, &filter, shape));
        // If the store does not answer, the stream ends, and the client resumes.
        let (sequence, snapshot) = read.await.ok()?;
        self.sent_to = EventId::behind(sequence);
        let mut text = format!("id: {sequence}\n");
        let json = match gap {
            None => serde_json::to_string(&wire::SnapshotEvent { sequence, snapshot }),
            Some((reason, after)) => serde_json::to_string(&wire::GapEvent {
                sequence,
                reason: reason.to_owned(),
                missed_from: after.sequence,
                snapshot,
            }),
        };
        let kind = if gap.is_some() { "gap" } else { "snapshot" };
        let _ = write!(text, "event: {kind}\ndata: {}\n\n", json.ok()?);
        Some(text)
    }
}
