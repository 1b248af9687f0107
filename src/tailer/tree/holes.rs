//! Holes: NUL bytes in a log, in whose place written data may become visible later.
//!
//! A network filesystem may show a later part of a file before an earlier one, and a writer may make a file
//! long before it fills it. Reading stops before the first NUL byte and continues when other data is there.
//! Holes that a crash left are never filled: after a while the data behind a hole is read, and the hole with
//! it. If it is filled after that, the file is read again from its start, which counts nothing twice.

use std::io;
use std::time::{Duration, Instant};

use super::{FileState, Tree};
use crate::logfile::{LogFile, Stat};
use crate::model::Millis;
use crate::reader::{PASSED_HOLES_MAX, ReadChunk};

/// Time to wait for a hole with data behind it. Short, as a line may really have NUL bytes, and a hole that
/// is filled later is read again anyway.
pub const HOLE_WAIT: Duration = Duration::from_secs(5);
const HOLE_WAIT_MS: Millis = 5_000;

/// The holes of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holes {
    stage: Stage,
    /// Holes that were read over.
    passed: Vec<u64>,
}

/// The state of reading at a hole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// There is no hole.
    #[default]
    None,
    /// Reading stopped before this one.
    Waits { at: u64, since: Instant },
    /// Reading continues over the hole, and has more to read.
    ReadsOn,
    /// No data followed the hole: there is nothing to wait for until the file changes.
    Tail,
}

impl FileState {
    /// True if the hole was waited for long enough, or has existed for that long already.
    pub(super) fn reads_on(&self, stat: &Stat, now: Millis) -> bool {
        match self.holes.as_ref().map(|holes| holes.stage) {
            Some(Stage::Waits { since, .. }) => since.elapsed() >= HOLE_WAIT,
            Some(Stage::ReadsOn) => true,
            Some(Stage::Tail) => false,
            // Only the first time, because clocks of other machines may be wrong.
            None | Some(Stage::None) => {
                let is_old = (HOLE_WAIT_MS..).contains(&now.saturating_sub(stat.modified_ms));
                self.active.is_none() && is_old
            }
        }
    }

    /// True if the last chunk ended in a hole that is read over.
    pub(super) fn is_reading_on(&self) -> bool {
        (self.holes.as_ref()).is_some_and(|holes| holes.stage == Stage::ReadsOn)
    }

    /// Takes over the holes of a chunk; returns the time of the next look if a hole is waited for.
    pub(super) fn take_holes(
        &mut self,
        chunk: &ReadChunk,
        waited: bool,
        same_place: bool,
        now: Instant,
    ) -> Option<Instant> {
        let before = self.holes.as_ref().map(|holes| holes.stage).unwrap_or_default();
        let stage = match chunk.hole {
            _ if chunk.more && !waited => Stage::ReadsOn,
            Some(_) if !waited => Stage::Tail,
            Some(hole) => match before {
                Stage::Waits { at, since } if at == hole => Stage::Waits { at, since },
                _ => Stage::Waits { at: hole, since: now },
            },
            None => Stage::None,
        };
        let mut passed = self.holes.take().map(|holes| holes.passed).unwrap_or_default();
        if !same_place {
            passed.clear();
        }
        passed.extend(
            chunk
                .passed
                .iter()
                .take(PASSED_HOLES_MAX.saturating_sub(passed.len())),
        );
        let holes = Holes { stage, passed };
        self.holes = (holes != Holes::default()).then(|| Box::new(holes));
        self.hole_due()
    }

    fn hole_due(&self) -> Option<Instant> {
        match self.holes.as_ref()?.stage {
            Stage::Waits { since, .. } if !self.gone => Some(since + HOLE_WAIT),
            _ => None,
        }
    }

    /// True if holes were read over.
    pub(super) fn has_passed_holes(&self) -> bool {
        self.holes.as_ref().is_some_and(|holes| !holes.passed.is_empty())
    }

    /// True if a hole that was read over has been filled.
    pub(super) fn is_filled(&self, log: &LogFile) -> io::Result<bool> {
        for hole in self.holes.iter().flat_map(|holes| &holes.passed) {
            let mut byte = [0];
            if log.read_at(&mut byte, *hole)? == 1 && byte != [0] {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
impl FileState {
    /// Treats all holes as if they had been waited for long enough.
    pub(super) fn end_hole_wait(&mut self) {
        if let Some(Stage::Waits { since, .. }) = self.holes.as_mut().map(|holes| &mut holes.stage) {
            *since = since.checked_sub(HOLE_WAIT).unwrap();
        }
    }
}

impl Tree {
    /// The time at which the first hole has been waited for long enough, if one is waited for.
    #[must_use]
    pub fn hole_due(&self) -> Option<Instant> {
        self.hole_due
    }

    /// True if data behind a hole is waited for.
    #[must_use]
    pub fn waits_at_hole(&self) -> bool {
        self.files_at_holes().next().is_some()
    }

    /// The files with a hole that is waited for.
    pub(super) fn files_at_holes(&self) -> impl Iterator<Item = &FileState> {
        let files = self.hole_due.map(|_| self.files.values());
        let files = files.into_iter().flatten().map(|file| &**file);
        files.filter(|file| file.hole_due().is_some())
    }

    /// Queues the files with a hole that was waited for long enough.
    pub fn enqueue_due_holes(&mut self, now: Instant) {
        if self.hole_due.is_none_or(|due| now < due) {
            return;
        }
        self.hole_due = None;
        for (path, file) in self.files.iter_mut() {
            let Some(due) = file.hole_due().filter(|_| !file.queued) else {
                continue;
            };
            if due > now {
                self.hole_due = [self.hole_due, Some(due)].into_iter().flatten().min();
            } else {
                file.queued = true;
                self.queue.push_back(path.clone());
            }
        }
    }
}
