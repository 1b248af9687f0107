//! NUL bytes in a log: what belongs there may be written already and only not be seen yet.
//!
//! A network filesystem may show a later part of a file before an earlier one, and a writer may make a file long before
//! it fills it. Reading stops before the first NUL byte and goes on when something else stands there. What a crash left
//! is never filled: after a while, what follows the NUL bytes is read, and they with it. If they are filled after that,
//! the file is read again from its start, which counts nothing twice.

use std::io;
use std::time::{Duration, Instant};

use super::{FileState, Tree};
use crate::logfile::{LogFile, Stat};
use crate::model::Millis;
use crate::reader::{PASSED_HOLES_MAX, ReadChunk};

/// How long NUL bytes with something behind them are waited for. Short, as a line with NUL bytes may be all there is, and
/// what is filled later is read again anyway.
const HOLE_WAIT: Duration = Duration::from_secs(5);
const HOLE_WAIT_MS: Millis = 5_000;

/// The holes of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holes {
    stage: Stage,
    /// NUL bytes that were read over.
    passed: Vec<u64>,
}

/// What reading does about NUL bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// It met none.
    #[default]
    None,
    /// It stopped before this one.
    Waits { at: u64, since: Instant },
    /// It goes over them, and has more to read.
    ReadsOn,
    /// Nothing followed them when it was looked: there is nothing to wait for until the file changes.
    Tail,
}

impl FileState {
    /// Whether NUL bytes have been waited for long enough, or have been there for so long already.
    pub(super) fn reads_on(&self, stat: &Stat, now: Millis) -> bool {
        match self.holes.as_ref().map(|holes| holes.stage) {
            Some(Stage::Waits { since, .. }) => since.elapsed() >= HOLE_WAIT,
            Some(Stage::ReadsOn) => true,
            Some(Stage::Tail) => false,
            // Only the first time: other machines' clocks may be wrong.
            None | Some(Stage::None) => {
                let is_old = (HOLE_WAIT_MS..).contains(&now.saturating_sub(stat.modified_ms));
                self.active.is_none() && is_old
            }
        }
    }

    /// Whether the last turn was in the middle of NUL bytes that are read over.
    pub(super) fn is_reading_on(&self) -> bool {
        (self.holes.as_ref()).is_some_and(|holes| holes.stage == Stage::ReadsOn)
    }

    /// Takes what a turn said of NUL bytes. When to look again, if it is to wait for some.
    pub(super) fn take_holes(
        &mut self,
        turn: &ReadChunk,
        waited: bool,
        same_place: bool,
        now: Instant,
    ) -> Option<Instant> {
        let before = self.holes.as_ref().map(|holes| holes.stage).unwrap_or_default();
        let stage = match turn.hole {
            _ if turn.more && !waited => Stage::ReadsOn,
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
            turn.passed
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

    /// Whether NUL bytes were read over.
    pub(super) fn has_passed_holes(&self) -> bool {
        self.holes.as_ref().is_some_and(|holes| !holes.passed.is_empty())
    }

    /// Whether something else stands where NUL bytes were read over.
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
    /// As if all had been waited for long enough.
    pub(super) fn end_hole_wait(&mut self) {
        if let Some(Stage::Waits { since, .. }) = self.holes.as_mut().map(|holes| &mut holes.stage) {
            *since = since.checked_sub(HOLE_WAIT).unwrap();
        }
    }
}

impl Tree {
    /// When NUL bytes in a file have been waited for long enough, if any are waited for.
    #[must_use]
    pub fn hole_due(&self) -> Option<Instant> {
        self.hole_due
    }

    /// Queues the files whose NUL bytes have been waited for long enough.
    pub fn enqueue_due_holes(&mut self, now: Instant) {
        if self.hole_due.is_none_or(|due| now < due) {
            return;
        }
        self.hole_due = None;
        for (path, file) in &mut self.files {
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
