//! One subscriber's stream: what is told, at a pace, with a snapshot where something is missing.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use crate::api::document::{self, summary};
use crate::api::feed::encode::{EventId, Filter};
use crate::api::feed::hub::{Message, Missed};
use crate::api::health::{eval_context, unseen};
use crate::api::http::problem::blocking;
use crate::api::server::Permit;
use crate::api::state::{ApiState, now};
use crate::api::wire;

/// Between two chunks for one subscriber: what comes meanwhile goes together.
const FRAMES_EVERY: Duration = Duration::from_millis(5);
/// After so long without an event the connection is shown to live, and the last id moves on.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);
/// A chunk is handed over when it is as long as this, in bytes; one commit is not cut.
const CHUNK_BYTES_MAX: usize = 256 << 10;

struct Subscriber {
    api: Arc<ApiState>,
    filter: Filter,
    messages: broadcast::Receiver<Message>,
    /// Everything up to here was told to this one, or is no wish of it.
    sent_to: EventId,
    /// What is to be told before anything else.
    first: Option<First>,
    next_at: Instant,
    /// `None` if it is no wish of it.
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
        filter,
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

/// The next change of what is said of the collector's health.
async fn changed(health: &mut Option<watch::Receiver<Option<Arc<wire::HealthEvent>>>>) -> Option<String> {
    let health = health.as_mut()?;
    health.changed().await.ok()?;
    let health = health.borrow_and_update();
    Some(text_of(health.as_ref()?))
}

fn text_of(health: &wire::HealthEvent) -> String {
    // Strings only: there is nothing to fail.
    let json = serde_json::to_string(health).unwrap_or_default();
    format!("event: health\ndata: {json}\n\n")
}

impl Subscriber {
    /// The next chunk; `None` when the collector stops or cannot say more.
    async fn next(&mut self) -> Option<String> {
        if let Some(first) = self.first.take() {
            let mut text = match first {
                First::Missed(text) => text,
                First::Snapshot => self.snapshot(None).await?,
                First::Gap { reason, after } => self.snapshot(Some((reason, after))).await?,
            };
            if let Some(health) = &mut self.health {
                // It is so now, however long it has been: the events of a stream are in the order of their times.
                if let Some(health) = &*health.borrow_and_update() {
                    let at = document::time(now());
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

    /// Too slow: from a snapshot on again. What was not handed over yet is in it.
    async fn start_over(&mut self) -> Option<String> {
        self.messages = self.api.hub.subscribe();
        self.snapshot(Some(("too_slow", self.sent_to))).await
    }

    async fn snapshot(&mut self, gap: Option<(&'static str, EventId)>) -> Option<String> {
        let api = Arc::clone(&self.api);
        let read = blocking(move || {
            let settings = Arc::clone(&api.settings.borrow());
            let unseen = unseen(&api);
            let context = eval_context(&settings, unseen.as_ref());
            let (snapshot, view) = api.store.overview(context.since())?;
            Ok((snapshot.sequence, summary::summary(&snapshot, &view, &context)))
        });
        // Without an answer of the store the stream ends; whoever comes back resumes.
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
