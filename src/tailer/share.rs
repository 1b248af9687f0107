//! Shares of reading: the files with news are read until the share is full, then its batches are committed.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::shared::JobKind;
use super::{Tailer, TailerError};
use crate::globs::layout::Layout;
use crate::model::Batch;
use crate::reader::ReadOptions;
use crate::store::Outcome;

/// The batches of one share, and their room until they are committed.
pub(super) struct CommitShare {
    pub(super) batches: Vec<Batch>,
    _room: Option<OwnedSemaphorePermit>,
}

impl Tailer {
    /// Reads a share; with `count_partial` last lines without a line end too.
    pub(super) async fn read_share(&mut self, count_partial: bool) -> Result<CommitShare, TailerError> {
        let shared = Arc::clone(&self.shared);
        let (access, mut permits) = self.admitted(JobKind::Read).await?;
        let mut buffer = shared.permits.take_buffer();
        let settings = Arc::clone(&shared.settings.borrow());
        let (accounts, clock) = (Arc::clone(&self.accounts), shared.clock);
        let ((batches, buffer), tree) = self
            .blocking(access, &mut permits, move |mut tree| {
                let reading = ReadOptions {
                    line_bytes_max: settings.limits.line_bytes_max,
                    turn_bytes_max: settings.limits.turn_bytes_max as u64,
                    count_partial,
                    until: u64::MAX,
                    lines_until: None,
                    accounts,
                    now: clock.now(),
                    waits_for_holes: true,
                    is_project: settings.runs.layout == Layout::Projects && !tree.has_own_directory(),
                };
                let batches = tree.read_share(&reading, &mut buffer);
                ((batches, buffer), tree)
            })
            .await?;
        shared.permits.give_back(buffer);
        self.tree = Some(tree);
        permits.common = None;
        // There is none after a read on a slow device, or one that stalled.
        let mut room = permits.room.take();
        let records: usize = batches.iter().map(|batch| batch.records.len()).sum();
        if let Some(room) = &mut room {
            // The room that is not needed is free for others.
            drop(room.split(room.num_permits().saturating_sub(records)));
        } else if let Ok(records) = u32::try_from(records) {
            room = shared.permits.room(records).await;
        }
        drop(permits);
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
