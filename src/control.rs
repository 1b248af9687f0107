//! Control: the words by which others ask the supervisor to start, stop and forget runs.
//!
//! Requests wait in a bounded queue; each is answered on a channel of its own. The handle does not keep the collector
//! from stopping: when the supervisor has gone, every request is refused.

use std::path::PathBuf;

use tokio::sync::{mpsc, oneshot};

use crate::config::UnknownAccount;
use crate::logfile::run_dir::MountError;
use crate::model::{AccountId, Labels, RunId};

/// Requests that wait for the supervisor before those who ask wait.
const REQUESTS_WAITING_MAX: usize = 256;

/// The supervisor does not take this any more: the collector is shutting down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the collector is shutting down")]
pub struct ShuttingDown;

/// A run to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartRequest {
    pub run: RunId,
    /// They replace those there are.
    pub labels: Labels,
    /// The directory that holds its logs, if one is named.
    pub mount: Option<PathBuf>,
}

/// What became of a start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartAnswer {
    New,
    /// It goes on, or goes on again.
    Known,
    /// It is counted by this account already and cannot move.
    Elsewhere(AccountId),
    /// Its labels name an account that is not configured.
    NoSuchAccount(UnknownAccount),
    /// Something was read of it here already, so its logs cannot be elsewhere; `None` is the runs directory.
    MountedElsewhere(Option<PathBuf>),
    /// Its logs may not be there.
    Mount(MountError),
    /// They would be among those of this run.
    MountTaken(RunId),
    /// The filesystem of this directory does not answer.
    MountStalled(PathBuf),
}

/// A run to be stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopRequest {
    pub run: RunId,
    /// Stop it even if not everything can be read.
    pub incomplete: bool,
}

/// What became of a stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopAnswer {
    /// Everything that was there is read, counted and committed; or all that can be read, if that was accepted.
    Stopped,
    /// Not everything could be read, for this reason, and the run is not stopped.
    Unread(String),
    Unknown,
}

/// What became of the wish to forget a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForgetAnswer {
    Forgotten,
    /// It is not stopped.
    Running,
    Unknown,
}

/// What is asked.
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
    /// The run it is about.
    #[must_use]
    pub fn run(&self) -> &RunId {
        match self {
            Self::Start { start, .. } => &start.run,
            Self::Stop { stop, .. } => &stop.run,
            Self::Forget { run, .. } => run,
        }
    }
}

/// The end that asks.
#[derive(Clone, Debug)]
pub struct Control {
    requests: mpsc::Sender<Request>,
}

/// The two ends.
#[must_use]
pub fn channel() -> (Control, mpsc::Receiver<Request>) {
    let (requests, queue) = mpsc::channel(REQUESTS_WAITING_MAX);
    (Control { requests }, queue)
}

impl Control {
    /// Starts a run, or changes what is said about it.
    ///
    /// # Errors
    /// When the collector is shutting down, as for all of these.
    pub async fn start(&self, start: StartRequest) -> Result<StartAnswer, ShuttingDown> {
        self.ask(|done| Request::Start { start, done }).await
    }

    /// Begins to stop a run; the future that comes is done when its last sweep is committed.
    ///
    /// # Errors
    /// As [`Control::start`].
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
    /// As [`Control::start`].
    pub async fn forget(&self, run: RunId) -> Result<ForgetAnswer, ShuttingDown> {
        self.ask(|done| Request::Forget { run, done }).await
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, ShuttingDown> {
        let (done, answer) = oneshot::channel();
        let sent = self.requests.send(request(done)).await;
        sent.map_err(|_| ShuttingDown)?;
        answer.await.map_err(|_| ShuttingDown)
    }
}
