//! What all routes share.

use std::sync::{Arc, Mutex};

use axum::extract::State;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::api::feed::hub::Hub;
use crate::api::metrics::counters::Counters;
use crate::api::server::{Subscribers, Traffic};
use crate::committer::CommitterHealth;
use crate::committer::handle::WeakCommitterHandle;
use crate::config::Settings;
use crate::live::Live;
use crate::model::Millis;
use crate::store::Store;
use crate::supervisor::handle::SupervisorHandle;
use crate::tailer::status::RunStatuses;
use crate::watch::Watch;

/// What the routes read from.
#[derive(Debug)]
pub struct ApiState {
    pub store: Arc<Store>,
    pub settings: watch::Receiver<Arc<Settings>>,
    /// Goes away when the collector shuts down, so that the committer can end.
    pub writes: WeakCommitterHandle,
    /// What is committed, as it is.
    pub live: Arc<Live>,
    /// Tells subscribers.
    pub hub: Arc<Hub>,
    /// Starts, stops and forgets runs.
    pub supervisor: SupervisorHandle,
    pub statuses: Arc<RunStatuses>,
    pub watch: Arc<Watch>,
    pub committer: Arc<Mutex<CommitterHealth>>,
    /// What the last reload did not take over.
    pub refused: watch::Receiver<Option<String>>,
    /// What of the collector's own files is not where it was.
    pub missing: watch::Receiver<Vec<String>>,
    pub ready: CancellationToken,
    pub backlog_done: CancellationToken,
    pub since: Millis,
    /// What went through the endpoints.
    pub traffic: Arc<Traffic>,
    /// What scrapes were told.
    pub counters: Counters,
    /// Places of those who listen to streams.
    pub subscribers: Subscribers,
}

/// The state as a handler takes it.
pub type Shared = State<Arc<ApiState>>;

/// The host's clock.
#[must_use]
pub fn now() -> Millis {
    jiff::Timestamp::now().as_millisecond()
}
