//! The hub: hears of every commit, makes its text once, keeps the last ones and hands them to all.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use super::encode::{CommitEvents, EventId};
use crate::api::wire;
use crate::live::{Event, Listener};
use crate::model::Millis;
use crate::store::{QuotaView, Store};

/// Commits kept for those who come back.
const HISTORY_COMMITS_MAX: usize = 4096;
/// The memory they take, in bytes.
const HISTORY_BYTES_MAX: usize = 8 << 20;
/// Commits that wait for the slowest subscriber.
const WAITING_COMMITS_MAX: usize = 512;

/// What subscribers are handed.
#[derive(Clone, Debug)]
pub enum Message {
    CommitEvents(Arc<CommitEvents>),
    /// The hub itself fell behind.
    Lost,
}

/// Where everything is told.
#[derive(Debug)]
pub struct Hub {
    history: Mutex<History>,
    messages: broadcast::Sender<Message>,
    /// How the collector is; `None` until that is known.
    health: watch::Sender<Option<Arc<wire::HealthEvent>>>,
    stop: CancellationToken,
}

#[derive(Debug)]
struct History {
    commits: VecDeque<Arc<CommitEvents>>,
    bytes: usize,
    /// Every commit after this one is in `told`; `None` until the next one after a loss.
    since: Option<u64>,
    /// The number with which this life of the collector began.
    began: u64,
}

/// What one who comes back has missed.
pub enum Missed {
    /// These, in their order.
    CommitEvents(Vec<Arc<CommitEvents>>),
    /// More than is kept, for this reason.
    Gap(&'static str),
}

impl Hub {
    /// A hub that has told nothing; every number after `began` is of this life of the collector.
    #[must_use]
    pub fn new(began: u64, stop: CancellationToken) -> Self {
        Self {
            history: Mutex::new(History {
                commits: VecDeque::new(),
                bytes: 0,
                since: Some(began),
                began,
            }),
            messages: broadcast::Sender::new(WAITING_COMMITS_MAX),
            health: watch::Sender::new(None),
            stop,
        }
    }

    /// Tells what is committed until there is nothing more to come.
    pub async fn run(self: Arc<Self>, mut listener: Listener, store: Arc<Store>) {
        loop {
            let event = tokio::select! {
                biased;
                event = listener.next() => event,
                () = self.stop.cancelled() => return,
            };
            match event {
                Event::Update(update) => {
                    let view = if update.windows.is_empty() {
                        QuotaView::default()
                    } else {
                        let store = Arc::clone(&store);
                        let read = tokio::task::spawn_blocking(move || store.quota(Millis::MAX));
                        // Without it the windows are told with their next change.
                        read.await.ok().and_then(Result::ok).unwrap_or_default()
                    };
                    let now = jiff::Timestamp::now().as_millisecond();
                    self.publish(CommitEvents::new(&update, &view, now));
                }
                Event::StartOver { .. } => self.lose(),
                Event::Closed => return,
            }
        }
    }

    fn publish(&self, commit: CommitEvents) {
        let commit = Arc::new(commit);
        let mut history = self.history();
        // Forgotten with a loss, or by a new database in the place of a damaged one.
        history.since.get_or_insert(commit.sequence.saturating_sub(1));
        history.bytes += commit.bytes;
        history.commits.push_back(Arc::clone(&commit));
        while (history.commits.len() > HISTORY_COMMITS_MAX || history.bytes > HISTORY_BYTES_MAX)
            && let Some(oldest) = history.commits.pop_front()
        {
            history.bytes -= oldest.bytes;
            history.since = Some(oldest.sequence);
        }
        // Under the lock, so that whoever subscribes hears it either way and not twice; an error says nobody does.
        let _ = self.messages.send(Message::CommitEvents(commit));
    }

    fn lose(&self) {
        let mut history = self.history();
        history.commits.clear();
        history.bytes = 0;
        history.since = None;
        let _ = self.messages.send(Message::Lost);
    }

    /// Says how the collector is from now on.
    pub fn publish_health(&self, health: wire::HealthEvent) {
        self.health.send_replace(Some(Arc::new(health)));
    }

    /// How the collector is; changed with that.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Option<Arc<wire::HealthEvent>>> {
        self.health.subscribe()
    }

    /// Cancelled when the collector stops.
    #[must_use]
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Hears from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Message> {
        self.messages.subscribe()
    }

    /// Hears from now on, with what was told after `after`; `newest` is the number of the last commit.
    #[must_use]
    pub fn resume(&self, after: EventId, newest: u64) -> (broadcast::Receiver<Message>, Missed) {
        let history = self.history();
        let receiver = self.messages.subscribe();
        let is_kept =
            |since: u64| after.sequence > since || (after.sequence == since && after.frames == usize::MAX);
        let missed = if after.sequence < history.began {
            Missed::Gap("restarted")
        } else if after.sequence > newest {
            Missed::Gap("unknown")
        } else if history.since.is_some_and(is_kept) {
            let later = history
                .commits
                .iter()
                .filter(|commit| commit.sequence >= after.sequence);
            Missed::CommitEvents(later.cloned().collect())
        } else {
            Missed::Gap("too_old")
        };
        (receiver, missed)
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
