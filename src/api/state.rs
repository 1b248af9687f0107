//! The state shared by all routes.

use std::sync::{Arc, Mutex};

use axum::extract::State;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::api::feed::hub::Hub;
use crate::api::metrics::counters::Counters;
use crate::api::server::{Subscribers, Traffic};
use crate::clock::Clock;
use crate::committer::CommitterHealth;
use crate::committer::handle::WeakCommitterHandle;
use crate::committer::retention::Retention;
use crate::config::Settings;
use crate::live::Live;
use crate::logfile::pool::PoolQueue;
use crate::model::Millis;
use crate::quota::notice::NumberedNotice;
use crate::sender::board::NotifyBoard;
use crate::sender::ending::HookEnding;
use crate::sources::board::PollBoard;
use crate::store::{Reader, Snapshot, StoreError};
use crate::supervisor::handle::SupervisorHandle;
use crate::tailer::status::RunStatuses;
use crate::watch::Watch;

/// Shared state of the routes.
#[derive(Debug)]
pub struct ApiState {
    /// For reading: no route writes, the committer does.
    pub store: Reader,
    pub settings: watch::Receiver<Arc<Settings>>,
    /// Read once for each answer.
    pub clock: Clock,
    /// Goes away when the collector shuts down, so that the committer can end.
    pub writes: WeakCommitterHandle,
    /// Committed updates.
    pub live: Arc<Live>,
    /// Event text for subscribers.
    pub hub: Arc<Hub>,
    /// Starts, stops and forgets runs.
    pub supervisor: SupervisorHandle,
    pub statuses: Arc<RunStatuses>,
    pub watch: Arc<Watch>,
    /// Jobs that wait for a thread.
    pub pool_queue: Arc<PoolQueue>,
    pub committer: Arc<Mutex<CommitterHealth>>,
    pub retention: Arc<Retention>,
    /// Settings that the last reload did not take over.
    pub refused: watch::Receiver<Option<String>>,
    /// The collector's own files that are missing or replaced.
    pub missing: watch::Receiver<Vec<String>>,
    pub ready: CancellationToken,
    pub backlog_done: CancellationToken,
    pub since: Millis,
    /// Traffic counters of the endpoints.
    pub traffic: Arc<Traffic>,
    /// Counters shown by scrapes.
    pub counters: Counters,
    /// The polls of accounts.
    pub polls: Arc<PollBoard>,
    /// What became of notifications.
    pub notices: Arc<NotifyBoard>,
    /// The end of the programs that notifications start.
    pub hooks: Arc<HookEnding>,
    /// Events that cannot be committed at present, for the sender.
    pub early: mpsc::Sender<NumberedNotice>,
    /// Places for subscribers of streams.
    pub subscribers: Subscribers,
}

/// The state as a handler takes it.
pub type Shared = State<Arc<ApiState>>;

/// The snapshot of one request, taken when it is first needed.
pub struct RequestSnapshot<'a> {
    store: &'a Reader,
    taken: Option<Snapshot<'a>>,
}

impl<'a> RequestSnapshot<'a> {
    #[must_use]
    pub fn of(api: &'a ApiState) -> Self {
        Self {
            store: &api.store,
            taken: None,
        }
    }

    /// The snapshot; the same one each time.
    ///
    /// # Errors
    /// The store does not answer.
    pub fn get(&mut self) -> Result<&Snapshot<'a>, StoreError> {
        let snapshot = match self.taken.take() {
            Some(taken) => taken,
            None => self.store.snapshot()?,
        };
        Ok(self.taken.insert(snapshot))
    }
}
