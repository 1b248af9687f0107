//! The pause before the database is opened again, by the kind of the failure.

use std::time::Duration;

use crate::store::StoreError;

/// First pause before the database is opened again, doubled each time.
const REOPEN_AFTER: Duration = Duration::from_millis(100);
/// Longest pause before the database is opened again.
const REOPEN_AFTER_MAX: Duration = Duration::from_secs(5);
/// Longest pause before the path of a database that was moved or replaced is checked again.
const LOOK_AGAIN_AFTER_MAX: Duration = Duration::from_secs(1);

/// The pause between two attempts to write.
#[derive(Debug)]
pub(super) struct ReopenPause {
    next: Duration,
    /// The database could be opened after the last failure.
    was_open: bool,
}

impl Default for ReopenPause {
    fn default() -> Self {
        Self {
            next: REOPEN_AFTER,
            was_open: true,
        }
    }
}

impl ReopenPause {
    /// The pause after a failure to write, given the result of opening the database again.
    pub(super) fn after(&mut self, error: &StoreError, reopened: &Result<(), StoreError>) -> Duration {
        let is_displaced = |error: &StoreError| matches!(error, StoreError::Displaced { .. });
        let was_open = std::mem::replace(&mut self.was_open, reopened.is_ok());
        if reopened.is_ok() && (!was_open || is_displaced(error)) {
            // The cause of the failure is gone, so the pauses begin at the shortest.
            self.next = REOPEN_AFTER;
        }
        let max = if is_displaced(reopened.as_ref().err().unwrap_or(error)) {
            LOOK_AGAIN_AFTER_MAX
        } else {
            REOPEN_AFTER_MAX
        };
        let pause = self.next.min(max);
        self.next = (pause * 2).min(max);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(failures: impl IntoIterator<Item = (StoreError, Result<(), StoreError>)>) -> Vec<u128> {
        let mut pause = ReopenPause::default();
        let failures = failures.into_iter();
        failures
            .map(|(error, reopened)| pause.after(&error, &reopened).as_millis())
            .collect()
    }

    fn closed() -> StoreError {
        StoreError::Closed {
            path: "t.redb".into(),
        }
    }

    fn full() -> StoreError {
        StoreError::Full {
            path: "t.redb".into(),
            source: std::io::ErrorKind::StorageFull.into(),
        }
    }

    #[test]
    fn a_full_disk_is_tried_ever_more_rarely() {
        let failures = (0..8).map(|_| (full(), Ok(())));
        assert_eq!(pauses(failures), [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
    }

    #[test]
    fn a_database_that_can_be_opened_again_is_written_at_once() {
        let io = || StoreError::Io {
            path: "t.redb".into(),
            source: std::io::ErrorKind::NotFound.into(),
        };
        let mut failures: Vec<(StoreError, Result<(), StoreError>)> = vec![(io(), Err(io()))];
        failures.extend((0..6).map(|_| (closed(), Err(io()))));
        failures.push((closed(), Ok(())));
        assert_eq!(pauses(failures), [100, 200, 400, 800, 1_600, 3_200, 5_000, 100]);
    }
}
