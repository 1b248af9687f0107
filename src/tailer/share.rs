//! Shares of reading: the files with news are read until the share is full, then its batches are committed.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::tree::SHARE_RECORDS_MAX;
use super::{Tailer, TailerError};
use crate::model::Batch;
use crate::reader::ReadOptions;
use crate::store::Outcome;

/// The batches of one share, and their room until they are committed.
pub(super) struct CommitShare {
    pub(super) batches: Vec<Batch>,
    _room: Option<OwnedSemaphorePermit>,
}

impl Tailer {
    /// Reads a share; with `settle` last lines without a line end too.
    pub(super) async fn read_share(&mut self, settle: bool) -> Result<CommitShare, TailerError> {
        let shared = Arc::clone(&self.shared);
        let permits = &shared.permits;
        // Both are fair: runs get them in the order of their requests.
        let (devices, mut held) = loop {
            let devices = self.device_permits().await?;
            let room = Arc::clone(&permits.room);
            let room = room.acquire_many_owned(SHARE_RECORDS_MAX).await.ok();
            let permit = permits.reads.acquire().await;
            if !self.is_outdated(&devices) {
                break (devices, (Some(permit), Some(room)));
            }
        };
        let mut buffer = permits.take_buffer();
        let settings = Arc::clone(&shared.settings.borrow());
        let (accounts, clock) = (Arc::clone(&self.accounts), shared.clock);
        let ((batches, buffer), tree) = self
            .blocking(devices, &mut held.0, &mut held.1, move |mut tree| {
                let reading = ReadOptions {
                    line_bytes_max: settings.limits.line_bytes_max,
                    turn_bytes_max: settings.limits.turn_bytes_max as u64,
                    settle,
                    until: u64::MAX,
                    lines_until: None,
                    accounts,
                    now: clock.now(),
                    waits_for_holes: true,
                };
                let batches = tree.read_share(&reading, &mut buffer);
                ((batches, buffer), tree)
            })
            .await?;
        permits.give_back(buffer);
        self.tree = Some(tree);
        // Both are `None` after a read that stalled.
        let (permit, room) = held;
        drop(permit);
        let mut room = room.flatten();
        let records: usize = batches.iter().map(|batch| batch.records.len()).sum();
        if let Some(room) = &mut room {
            // The room that is not needed is free for others.
            drop(room.split(room.num_permits().saturating_sub(records)));
        }
        Ok(CommitShare { batches, _room: room })
    }

    /// Commits a share. A file whose batch is refused is read again from the position in the store.
    pub(super) async fn commit(&mut self, share: CommitShare) -> Result<(), TailerError> {
        let CommitShare { batches, _room } = share;
        if batches.is_empty() {
            return Ok(());
        }
        let paths: Vec<_> = batches.iter().map(|batch| batch.path.clone()).collect();
        let outcomes = self.shared.committer.commit(batches).await?;
        for (path, outcome) in paths.iter().zip(outcomes) {
            if let Outcome::Stale(stored) = outcome
                && let Some(tree) = &mut self.tree
            {
                tracing::debug!(run = %self.run, path = %path.display(), "the store holds another position; reading from there");
                tree.rewind_to(path, stored);
            }
        }
        Ok(())
    }
}
