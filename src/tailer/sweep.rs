//! The last sweep of a run: everything is read, unfinished last lines too, then the run is stopped.

use std::time::{Duration, Instant};

use super::handle::Pending;
use super::tree::{Depth, Tree};
use super::{Tailer, TailerError};
use crate::model::StopReason;

/// Longest time a last sweep follows files that still grow.
const SWEEP_FOR_MAX: Duration = Duration::from_secs(10);

/// The result of a last sweep.
pub(super) enum Sweep {
    /// The tailer has to end before the sweep is done.
    CutShort,
    /// All that can be read is read; `unread` is the reason if that is not everything.
    Done { unread: Option<String> },
}

impl Tailer {
    /// Reads everything, stops the run, and gives its watches and files back. If something cannot be read,
    /// the run is stopped only if it is `incomplete`.
    pub(super) async fn stop_run(
        &mut self,
        reason: StopReason,
        incomplete: bool,
    ) -> Result<Sweep, TailerError> {
        self.read_to_end().await?;
        if self.stop.is_cancelled() && self.tree.as_deref().is_some_and(Tree::has_news) {
            return Ok(Sweep::CutShort);
        }
        self.report(false);
        let unread = self.tree.as_deref().and_then(Tree::unread);
        if unread.is_some() && !incomplete {
            return Ok(Sweep::Done { unread });
        }
        self.shared.committer.stop(self.run.clone(), reason).await?;
        self.schedule.retire();
        self.give_back(Tree::retire).await?;
        Ok(Sweep::Done { unread })
    }

    /// Reads the lines that exist now, however long that takes, and lines that are added meanwhile for a
    /// limited time.
    async fn read_to_end(&mut self) -> Result<(), TailerError> {
        let deadline = Instant::now() + SWEEP_FOR_MAX;
        let everything = Pending {
            scan: Some(Depth::Everything),
            ends: true,
            ..Pending::default()
        };
        // If the directory is gone, files that are still open are read; the next look ends the tailer.
        self.look(everything).await?;
        if let Some(tree) = &mut self.tree {
            tree.enqueue_unfinished();
        }
        let targets = self.tree.as_deref().map(Tree::read_targets).unwrap_or_default();
        let is_due =
            |tree: &Tree| tree.has_news() && (Instant::now() < deadline || !tree.has_read_to(&targets));
        while self.tree.as_deref().is_some_and(is_due) && !self.stop.is_cancelled() {
            let share = self.read_share(true).await?;
            self.commit(share).await?;
        }
        self.report_lag();
        let last_change = self.tree.as_deref().and_then(Tree::last_change);
        self.shared.statuses.swept(&self.run, last_change);
        Ok(())
    }
}
