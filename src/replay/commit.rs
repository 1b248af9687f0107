//! Commit of a replay: batches in large groups, one transaction each, and the end of the replay with the last.

use std::iter::Peekable;
use std::sync::mpsc::Receiver;

use super::{ReplayError, ReplayOptions, ReplayProgress};
use crate::model::{Batch, RelativePath};
use crate::store::{Outcome, ReplayEnd, Writer};

/// Rows of a transaction, as a multiple of the collector's: nobody waits for a replay's commits.
const COMMIT_GROUPS_MAX: usize = 4;

/// Commits batches as they come: they are merged while the readers read on. The last transaction ends the replay if
/// `is_whole` then returns true: everything was read.
///
/// Takes the receiver, so that the readers notice an early end.
pub fn commit_all(
    options: &ReplayOptions,
    writer: &mut Writer,
    chunks: Receiver<Vec<Batch>>,
    is_whole: impl Fn() -> bool,
    progress: &mut impl FnMut(ReplayProgress),
) -> Result<(), ReplayError> {
    let mut undated = Vec::new();
    let mut so_far = ReplayProgress::default();
    let mut batches = chunks.into_iter().flatten().peekable();
    loop {
        let mut group = ReplayGroup {
            batches: &mut batches,
            rows_left: options.commit_rows_max.saturating_mul(COMMIT_GROUPS_MAX),
            paths: Vec::new(),
            so_far: &mut so_far,
            progress,
        };
        let mut is_last = false;
        let committed = writer.commit_then(&mut group, |group| {
            is_last = group.batches.peek().is_none();
            (is_last && is_whole()).then(|| ReplayEnd {
                undated: undated.clone(),
                now: options.now_given.then_some(options.now),
                clock: options.now,
            })
        })?;
        let refused = |outcome: &Outcome| *outcome != Outcome::Committed;
        if let Some(at) = committed.outcomes.iter().position(refused) {
            return Err(ReplayError::Stale {
                path: group.paths[at].to_path_buf(),
            });
        }
        undated.extend(committed.undated);
        so_far.responses += committed
            .changes
            .values()
            .map(|change| change.responses)
            .sum::<u64>();
        progress(so_far);
        if is_last {
            return Ok(());
        }
    }
}

/// The batches of one transaction, as they come.
struct ReplayGroup<'g, B: Iterator<Item = Batch>, P> {
    batches: &'g mut Peekable<B>,
    rows_left: usize,
    /// The files of the batches, for the message about a refused one.
    paths: Vec<RelativePath>,
    so_far: &'g mut ReplayProgress,
    progress: &'g mut P,
}

impl<B: Iterator<Item = Batch>, P: FnMut(ReplayProgress)> Iterator for ReplayGroup<'_, B, P> {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        if self.rows_left == 0 {
            return None;
        }
        let batch = self.batches.next()?;
        self.rows_left = self.rows_left.saturating_sub(batch.records.len() + 1);
        self.paths.push(batch.path.clone());
        self.so_far.bytes += batch.bytes;
        self.so_far.files += u64::from(batch.expect.is_none());
        (self.progress)(*self.so_far);
        Some(batch)
    }
}
