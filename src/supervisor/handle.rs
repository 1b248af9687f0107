//! The handle of the supervisor: requests to start, stop and forget runs.
//!
//! Requests wait in a bounded queue, and each is answered on a channel of its own. The handle does not keep
//! the collector from stopping: after the supervisor has ended, every request is refused.

use std::path::PathBuf;

use tokio::sync::{mpsc, oneshot};

use crate::config::UnknownAccount;
use crate::logfile::run_dir::MountError;
use crate::model::{AccountId, Labels, RunId};
use crate::quota::lease::LeaseNumber;
use crate::store::NotBound;

/// Requests in the queue of the supervisor; at this bound the senders wait.
const REQUESTS_WAITING_MAX: usize = 256;

/// A request was refused because the collector is shutting down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the collector is shutting down")]
pub struct ShuttingDown;

/// A run to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartRequest {
    pub run: RunId,
    /// Labels that replace the present ones.
    pub labels: Labels,
    /// The directory with its logs, if the request names one.
    pub mount: Option<PathBuf>,
    /// The lease that it is bound to.
    pub lease: Option<LeaseNumber>,
}

/// The answer to a start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartAnswer {
    New,
    /// The run continues, or continues again after a stop.
    Known,
    /// The run is counted by this account already and cannot move.
    Elsewhere(AccountId),
    /// The labels name an account that is not configured.
    NoSuchAccount(UnknownAccount),
    /// The run cannot be bound to the lease.
    NotBound(NotBound),
    /// Lines of the run were already read from this directory, so its logs cannot be elsewhere; `None` is the
    /// runs directory.
    MountedElsewhere(Option<PathBuf>),
    /// The directory is not allowed.
    Mount(MountError),
    /// The directory overlaps with that of this run.
    MountTaken(RunId),
    /// The filesystem of this directory does not respond.
    MountStalled(PathBuf),
}

/// A run to be stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopRequest {
    pub run: RunId,
    /// Stop the run even if some of its logs cannot be read.
    pub incomplete: bool,
}

/// The answer to a stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopAnswer {
    /// All log lines that existed are read and committed; with `incomplete`, all that can be read.
    Stopped,
    /// Some logs could not be read, for this reason, and the run is not stopped.
    Unread(String),
    Unknown,
}

/// The answer to a request to forget a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForgetAnswer {
    Forgotten,
    /// The run is not stopped yet.
    Running,
    Unknown,
}

/// A request in the queue, with the channel for its answer.
#[derive(Debug)]
pub enum Request {
    Start {
        start: StartRequest,
        done: oneshot::Sender<StartAnswer>,
    },
    Stop {
        stop: StopRequest,
        done: oneshot::Sender<StopAnswer>,
    },
    Forget {
        run: RunId,
        done: oneshot::Sender<ForgetAnswer>,
    },
}

impl Request {
    /// The run that the request names.
    #[must_use]
    pub fn run(&self) -> &RunId {
        match self {
            Self::Start { start, .. } => &start.run,
            Self::Stop { stop, .. } => &stop.run,
            Self::Forget { run, .. } => run,
        }
    }
}

/// The sending end of the supervisor's queue.
#[derive(Clone, Debug)]
pub struct SupervisorHandle {
    requests: mpsc::Sender<Request>,
}

/// A new queue: the handle for senders, and the receiver for the supervisor.
#[must_use]
pub fn channel() -> (SupervisorHandle, mpsc::Receiver<Request>) {
    let (requests, queue) = mpsc::channel(REQUESTS_WAITING_MAX);
    (SupervisorHandle { requests }, queue)
}

impl SupervisorHandle {
    /// Starts a run, or changes its labels, account or directory.
    ///
    /// # Errors
    /// When the collector is shutting down; the same holds for the other methods.
    pub async fn start(&self, start: StartRequest) -> Result<StartAnswer, ShuttingDown> {
        self.request(|done| Request::Start { start, done }).await
    }

    /// Begins to stop a run; the returned future is ready when the last lines of the run are committed.
    ///
    /// # Errors
    /// As [`SupervisorHandle::start`].
    pub async fn begin_stop(
        &self,
        stop: StopRequest,
    ) -> Result<impl Future<Output = Result<StopAnswer, ShuttingDown>> + Send + 'static, ShuttingDown> {
        let (done, answer) = oneshot::channel();
        let sent = self.requests.send(Request::Stop { stop, done }).await;
        sent.map_err(|_| ShuttingDown)?;
        Ok(async move { answer.await.map_err(|_| ShuttingDown) })
    }

    /// Forgets a stopped run.
    ///
    /// # Errors
    /// As [`SupervisorHandle::start`].
    pub async fn forget(&self, run: RunId) -> Result<ForgetAnswer, ShuttingDown> {
        self.request(|done| Request::Forget { run, done }).await
    }

    async fn request<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, ShuttingDown> {
        let (done, answer) = oneshot::channel();
        let sent = self.requests.send(request(done)).await;
        sent.map_err(|_| ShuttingDown)?;
        answer.await.map_err(|_| ShuttingDown)
    }
}
