//! The thread of a rollout, and the turn that its lines are of.
//!
//! A fork of older versions begins with a copy of its parent's whole history: the copied lines have new times,
//! but keep the ids and the start of their turns.

use std::num::NonZeroU64;

use crate::json::{self, RawBytes};
use crate::model::Millis;

/// Characters of a UUID.
const UUID_BYTES: usize = 36;
/// `started_at` is in whole seconds: the turn began at most this much later, in milliseconds.
const STARTED_ROUNDING_MS: Millis = 999;

/// The thread that a file is of, by its first `session_meta`; those after it are copies of its ancestors'.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CodexThread {
    /// A hash of its id.
    pub id: Option<u128>,
    /// A hash of the session that it belongs to: a sub-agent's is its parent's.
    pub session: Option<NonZeroU64>,
    /// A hash of the thread that it was forked from.
    pub parent: Option<NonZeroU64>,
    /// When it began.
    pub began: Option<Millis>,
    /// True if it goes on from another thread's history: totals before its first turn are that thread's.
    pub is_continued: bool,
}

/// The turn of the lines that follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CodexTurn {
    /// True once any turn has begun in the file.
    pub is_begun: bool,
    /// A hash of its id.
    pub id: Option<u128>,
    /// For a turn copied from the parent: about when it was, at the latest.
    pub copied_from: Option<Millis>,
}

impl CodexThread {
    /// The time of a turn that began before this thread did, and so is copied from its parent; `None` for a
    /// turn of its own.
    #[must_use]
    pub fn time_of_copied(&self, turn_id: Option<&[u8]>, started_at: RawBytes<'_>) -> Option<Millis> {
        let began = self.began.filter(|_| self.parent.is_some())?;
        let started = started_at.0.and_then(json::time_of);
        let claims = [
            started.map(|at| at.saturating_add(STARTED_ROUNDING_MS)),
            turn_id.and_then(uuid_time),
        ];
        claims.into_iter().flatten().min().filter(|at| *at < began)
    }
}

/// The time in a UUID of version 7.
#[must_use]
pub fn uuid_time(id: &[u8]) -> Option<Millis> {
    let is_shaped = id.len() == UUID_BYTES && id[8] == b'-' && id[13] == b'-' && id[14] == b'7';
    is_shaped.then_some(())?;
    id[..8].iter().chain(&id[9..13]).try_fold(0, |time, byte| {
        let digit = char::from(*byte).to_digit(16)?;
        Some(time << 4 | Millis::from(digit))
    })
}
