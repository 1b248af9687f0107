//! The handles of the committer: commands wait in a bounded queue, and each is answered on a channel of its
//! own.

use std::fs::File;
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::live::Update;
use crate::model::{AccountId, Batch, PostedRecord, RunId, StopReason};
use crate::quota::exhaustion::Cause;
use crate::quota::lease::{LeaseBook, LeaseChange};
use crate::quota::notice::LatchChange;
use crate::quota::poll::Backoff;
use crate::store::prune::{PruneStep, Pruned};
use crate::store::{
    AccountObservations, DecideLeases, ForgetRun, LeaseDesk, OutboxChange, Outcome, PostOutcome, Start,
    Started, StoreError,
};
use crate::sync::lock;

/// Commands in the queue of the committer; at this bound the senders wait.
const SUBMISSIONS_WAITING_MAX: usize = 256;

/// Posted records in the queue, those of the commit that is running included; beyond it a post is refused.
pub const RECORDS_WAITING_MAX: usize = 8192;

/// Reason for which records were not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostRefused {
    Gone,
    /// [`RECORDS_WAITING_MAX`] records are in the queue.
    Full,
}

impl From<CommitterGone> for PostRefused {
    fn from(_: CommitterGone) -> Self {
        Self::Gone
    }
}

/// A command was refused because the committer is shutting down or has given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the committer has stopped")]
pub struct CommitterGone;

/// A command in the queue, with the channel for its answer.
pub(super) enum CommitterCommand {
    Commit {
        batches: Vec<Batch>,
        done: oneshot::Sender<Vec<Outcome>>,
    },
    /// Records that clients post: they share the transaction of the batches.
    Post {
        records: Vec<PostedRecord>,
        done: oneshot::Sender<Vec<PostOutcome>>,
        /// Their room in the queue, until they are committed.
        room: OwnedSemaphorePermit,
    },
    Run(RunCommand),
    Side(SideCommand),
    /// A request about leases: requests in the queue share a transaction.
    Lease {
        decide: DecideLeases,
        done: oneshot::Sender<()>,
    },
    EndBacklog {
        done: oneshot::Sender<()>,
    },
    /// A heartbeat for the service manager's watchdog.
    Beat,
    /// A check that the database file is still at its path.
    Look,
}

/// A change of runs. They are executed in the order in which they were sent.
pub(super) enum RunCommand {
    Start {
        runs: Vec<Start>,
        backlog: bool,
        done: oneshot::Sender<Vec<Started>>,
    },
    /// The answer is `false` if nothing changed.
    Stop {
        run: RunId,
        reason: StopReason,
        done: oneshot::Sender<bool>,
    },
    /// The answer is `false` for runs that are unknown.
    Forget {
        runs: Vec<ForgetRun>,
        done: oneshot::Sender<Vec<bool>>,
    },
    Release {
        runs: Vec<RunId>,
        done: oneshot::Sender<()>,
    },
}

/// A command that does not come from logs. They are executed in the order in which they were sent.
pub(super) enum SideCommand {
    Mark {
        account: AccountId,
        cause: Option<Cause>,
        done: oneshot::Sender<()>,
    },
    Backoff {
        account: AccountId,
        backoff: Option<Backoff>,
        done: oneshot::Sender<()>,
    },
    Observe {
        observations: Vec<AccountObservations>,
        done: oneshot::Sender<()>,
    },
    Outbox {
        change: OutboxChange,
        done: oneshot::Sender<()>,
    },
    Copy {
        done: oneshot::Sender<Result<File, StoreError>>,
    },
    /// One step of a prune. The answer is `None` while lines of its age are read.
    Prune {
        step: PruneStep,
        done: oneshot::Sender<Option<Pruned>>,
    },
    /// A change that is in no table, and latches with their events: it gets a sequence number and is published.
    Note {
        update: Box<Update>,
        latches: Vec<LatchChange>,
        done: oneshot::Sender<()>,
    },
}

/// The sending end of the committer's queue. After the last one is dropped the committer finishes and ends.
#[derive(Clone, Debug)]
pub struct CommitterHandle {
    commands: mpsc::Sender<CommitterCommand>,
    room: Arc<Semaphore>,
}

/// A new queue: the handle for senders, and the receiver for the committer.
pub(super) fn channel() -> (CommitterHandle, mpsc::Receiver<CommitterCommand>) {
    let (commands, queue) = mpsc::channel(SUBMISSIONS_WAITING_MAX);
    let room = Arc::new(Semaphore::new(RECORDS_WAITING_MAX));
    (CommitterHandle { commands, room }, queue)
}

impl CommitterHandle {
    /// Commits batches; returns the outcome of each once it is durable.
    ///
    /// # Errors
    /// When the committer has stopped.
    pub async fn commit(&self, batches: Vec<Batch>) -> Result<Vec<Outcome>, CommitterGone> {
        self.request(|done| CommitterCommand::Commit { batches, done })
            .await
    }

    /// Registers runs in this order; returns the outcome of each once it is durable.
    ///
    /// # Errors
    /// When the committer has stopped.
    pub async fn start(&self, runs: Vec<Start>, backlog: bool) -> Result<Vec<Started>, CommitterGone> {
        self.request(|done| CommitterCommand::Run(RunCommand::Start { runs, backlog, done }))
            .await
    }

    /// Stops a run; `false` if it is unknown or stopped already.
    ///
    /// # Errors
    /// When the committer has stopped.
    pub async fn stop(&self, run: RunId, reason: StopReason) -> Result<bool, CommitterGone> {
        self.request(|done| CommitterCommand::Run(RunCommand::Stop { run, reason, done }))
            .await
    }

    /// Forgets runs whose tailers have ended; `false` for those that are unknown. As long as its directory
    /// exists, a run is not discovered again.
    ///
    /// # Errors
    /// When the committer has stopped.
    pub async fn forget(&self, runs: Vec<ForgetRun>) -> Result<Vec<bool>, CommitterGone> {
        self.request(|done| CommitterCommand::Run(RunCommand::Forget { runs, done }))
            .await
    }

    /// Frees the names of forgotten runs whose directories are gone.
    ///
    /// # Errors
    /// When the committer has stopped.
    pub async fn release(&self, runs: Vec<RunId>) -> Result<(), CommitterGone> {
        self.request(|done| CommitterCommand::Run(RunCommand::Release { runs, done }))
            .await
    }

    /// Ends the first backlog; returns once the observations that were deferred during it are merged.
    ///
    /// # Errors
    /// When the committer has stopped.
    pub async fn end_backlog(&self) -> Result<(), CommitterGone> {
        self.request(|done| CommitterCommand::EndBacklog { done }).await
    }

    /// Sends a heartbeat; the committer calls `alive` after it.
    ///
    /// # Errors
    /// When the committer has stopped.
    pub async fn send_heartbeat(&self) -> Result<(), CommitterGone> {
        let sent = self.commands.send(CommitterCommand::Beat).await;
        sent.map_err(|_| CommitterGone)
    }

    /// A handle that does not keep the committer from ending.
    #[must_use]
    pub fn downgrade(&self) -> WeakCommitterHandle {
        WeakCommitterHandle {
            commands: self.commands.downgrade(),
            room: Arc::clone(&self.room),
        }
    }

    async fn request<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> CommitterCommand,
    ) -> Result<T, CommitterGone> {
        let (done, answer) = oneshot::channel();
        let sent = self.commands.send(command(done)).await;
        sent.map_err(|_| CommitterGone)?;
        answer.await.map_err(|_| CommitterGone)
    }
}

/// A handle for commands that do not come from logs: overrides, observations, records, notes. It does not keep the
/// committer from ending.
#[derive(Clone, Debug)]
pub struct WeakCommitterHandle {
    commands: mpsc::WeakSender<CommitterCommand>,
    room: Arc<Semaphore>,
}

impl WeakCommitterHandle {
    /// Sets an operator's override for an account, `None` removes it; returns once that is durable.
    ///
    /// # Errors
    /// When the committer has stopped.
    pub async fn mark(&self, account: AccountId, cause: Option<Cause>) -> Result<(), CommitterGone> {
        self.request(|done| SideCommand::Mark { account, cause, done })
            .await
    }

    /// Commits posted records in one transaction; returns the outcome of each once it is durable. A caller that
    /// stops waiting does not stop the commit.
    ///
    /// # Errors
    /// When the queue has no room, or the committer has stopped.
    pub async fn post(&self, records: Vec<PostedRecord>) -> Result<Vec<PostOutcome>, PostRefused> {
        let count = u32::try_from(records.len()).map_err(|_| PostRefused::Full)?;
        let room = Arc::clone(&self.room).try_acquire_many_owned(count);
        let room = room.map_err(|_| PostRefused::Full)?;
        let (done, answer) = oneshot::channel();
        let command = CommitterCommand::Post { records, done, room };
        self.send(command).await?;
        Ok(answer.await.map_err(|_| CommitterGone)?)
    }

    /// Has a request about leases decided between two commits; returns what it decided once that is durable.
    /// `decide` may be called again after an error of the database.
    ///
    /// # Errors
    /// When the committer has stopped.
    pub async fn lease<T: Send + 'static>(
        &self,
        mut decide: impl FnMut(&LeaseDesk<'_>, &LeaseBook) -> Result<(LeaseChange, T), StoreError>
        + Send
        + 'static,
    ) -> Result<T, CommitterGone> {
        let decided = Arc::new(Mutex::new(None));
        let slot = Arc::clone(&decided);
        let decide: DecideLeases = Box::new(move |desk, book| {
            let (change, value) = decide(desk, book)?;
            *lock(&slot) = Some(value);
            Ok(change)
        });
        let (done, answer) = oneshot::channel();
        self.send(CommitterCommand::Lease { decide, done }).await?;
        answer.await.map_err(|_| CommitterGone)?;
        lock(&decided).take().ok_or(CommitterGone)
    }

    /// Stores the back-off of an account's poll, `None` removes it; returns once that is durable.
    ///
    /// # Errors
    /// When the committer has stopped.
    pub async fn set_backoff(
        &self,
        account: AccountId,
        backoff: Option<Backoff>,
    ) -> Result<(), CommitterGone> {
        self.request(|done| SideCommand::Backoff {
            account,
            backoff,
            done,
        })
        .await
    }

    /// Merges observations of limits; returns once that is durable.
    ///
    /// # Errors
    /// When the committer has stopped.
    pub async fn observe(&self, observations: Vec<AccountObservations>) -> Result<(), CommitterGone> {
        self.request(|done| SideCommand::Observe { observations, done })
            .await
    }

    /// Gives a change without a commit of its own a sequence number, sets latches and writes their events, and
    /// publishes it to the listeners.
    ///
    /// # Errors
    /// When the committer has stopped.
    pub async fn note(&self, update: Update, latches: Vec<LatchChange>) -> Result<(), CommitterGone> {
        self.request(|done| SideCommand::Note {
            update: Box::new(update),
            latches,
            done,
        })
        .await
    }

    /// Changes the outbox; returns once that is durable.
    ///
    /// # Errors
    /// When the committer has stopped.
    pub async fn change_outbox(&self, change: OutboxChange) -> Result<(), CommitterGone> {
        self.request(|done| SideCommand::Outbox { change, done }).await
    }

    /// Requests a check that the database file is still at its path. Skipped if the queue is full: a commit
    /// makes the same check.
    pub fn look(&self) {
        if let Some(commands) = self.commands.upgrade() {
            let _ = commands.try_send(CommitterCommand::Look);
        }
    }

    /// Executes a step of a prune between two commits; `None` if lines of its age were read a moment ago, so that it
    /// has to wait.
    ///
    /// # Errors
    /// When the committer has stopped.
    pub async fn prune(&self, step: PruneStep) -> Result<Option<Pruned>, CommitterGone> {
        self.request(|done| SideCommand::Prune { step, done }).await
    }

    /// Copies the database between two commits.
    ///
    /// # Errors
    /// When the committer has stopped; within, when the copy could not be made.
    pub async fn copy(&self) -> Result<Result<File, StoreError>, CommitterGone> {
        self.request(|done| SideCommand::Copy { done }).await
    }

    async fn request<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> SideCommand,
    ) -> Result<T, CommitterGone> {
        let (done, answer) = oneshot::channel();
        self.send(CommitterCommand::Side(command(done))).await?;
        answer.await.map_err(|_| CommitterGone)
    }

    /// A strong handle must not be held while waiting for an answer: the committer could not end.
    async fn send(&self, command: CommitterCommand) -> Result<(), CommitterGone> {
        let commands = self.commands.upgrade().ok_or(CommitterGone)?;
        commands.send(command).await.map_err(|_| CommitterGone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::records::posted;

    #[tokio::test]
    async fn posts_beyond_the_room_are_refused_until_others_are_committed() {
        let (handle, mut queue) = channel();
        let posts = handle.downgrade();
        let records = |count| vec![posted("1", None); count];
        let (outcomes, ()) = tokio::join!(posts.post(records(RECORDS_WAITING_MAX)), async {
            let Some(CommitterCommand::Post {
                records: taken,
                done,
                room,
            }) = queue.recv().await
            else {
                panic!("no post")
            };
            assert_eq!(posts.post(records(1)).await, Err(PostRefused::Full));
            drop(room);
            done.send(vec![PostOutcome::Counted; taken.len()]).unwrap();
        });
        assert_eq!(outcomes.unwrap().len(), RECORDS_WAITING_MAX);
        drop((handle, queue));
        assert_eq!(posts.post(records(1)).await, Err(PostRefused::Gone));
    }
}
