//! The commands that are executed together, with the channels for their answers.

use tokio::sync::oneshot;

use super::handle::{CommitterCommand, RunCommand, SideCommand};
use crate::model::{Batch, RunId, StopReason};
use crate::store::Outcome;

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
    pub(super) runs: Vec<RunCommand>,
    pub(super) side: Vec<SideCommand>,
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
            CommitterCommand::Run(command) => self.runs.push(command),
            CommitterCommand::Side(command) => self.side.push(command),
            CommitterCommand::EndBacklog { done } => self.end_backlog.push(done),
            CommitterCommand::Look => self.looks = true,
            CommitterCommand::Beat => {}
        }
    }

    /// Rows of the database that the batches change, at most.
    pub(super) fn rows(&self) -> usize {
        self.batches.iter().map(|batch| batch.records.len() + 1).sum()
    }
}
