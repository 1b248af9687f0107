//! The commands that are executed together, with the channels for their answers.

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::handle::{CommitterCommand, RunCommand, SideCommand};
use crate::model::{Batch, PostedRecord, RunId, StopReason};
use crate::store::{DecideLeases, Outcome, PostOutcome};

/// Stops of runs for one transaction, with the channels for their answers.
#[derive(Default)]
pub(super) struct Stops {
    pub(super) runs: Vec<(RunId, StopReason)>,
    pub(super) done: Vec<oneshot::Sender<bool>>,
}

/// Commands taken from the queue together. The batches go into one transaction.
#[derive(Default)]
pub(super) struct CommitGroup {
    pub(super) batches: Vec<Batch>,
    /// The number of batches in each submission, and the channel for their outcomes.
    pub(super) waiting: Vec<(usize, oneshot::Sender<Vec<Outcome>>)>,
    /// Posted records, for the same transaction.
    pub(super) records: Vec<PostedRecord>,
    /// The number of records in each post, the channel for their outcomes, and their room in the queue.
    pub(super) posts: Vec<(usize, oneshot::Sender<Vec<PostOutcome>>, OwnedSemaphorePermit)>,
    pub(super) runs: Vec<RunCommand>,
    pub(super) side: Vec<SideCommand>,
    /// Requests about leases, for one transaction.
    pub(super) leases: Vec<DecideLeases>,
    pub(super) lease_answers: Vec<oneshot::Sender<()>>,
    pub(super) end_backlog: Vec<oneshot::Sender<()>>,
    pub(super) looks: bool,
}

impl CommitGroup {
    pub(super) fn add(&mut self, command: CommitterCommand) {
        match command {
            CommitterCommand::Commit { batches, done } => {
                self.waiting.push((batches.len(), done));
                self.batches.extend(batches);
            }
            CommitterCommand::Post { records, done, room } => {
                self.posts.push((records.len(), done, room));
                self.records.extend(records);
            }
            CommitterCommand::Run(command) => self.runs.push(command),
            CommitterCommand::Side(command) => self.side.push(command),
            CommitterCommand::Lease { decide, done } => {
                self.leases.push(decide);
                self.lease_answers.push(done);
            }
            CommitterCommand::EndBacklog { done } => self.end_backlog.push(done),
            CommitterCommand::Look => self.looks = true,
            CommitterCommand::Beat => {}
        }
    }

    /// Rows of the database that the batches change, at most.
    pub(super) fn rows(&self) -> usize {
        let of_batches: usize = self.batches.iter().map(|batch| batch.records.len() + 1).sum();
        // A record has a response and a row of its own.
        of_batches + 2 * self.records.len()
    }
}
