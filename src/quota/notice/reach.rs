//! The latch of a target: since when nothing reaches it, and the last success, so that a restart forgets neither.

use super::{Latch, LatchKey, NoticeKind};
use crate::model::Millis;
use crate::quota::notice::causes::Latches;

/// What a target's latch says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TargetReach {
    /// Since when nothing reaches it.
    pub failing_since: Option<Millis>,
    pub last_sent_at: Option<Millis>,
}

/// The latch of a target that something reached.
#[must_use]
pub const fn reached(now: Millis) -> Latch {
    Latch {
        stage: 0,
        mark: 0,
        seen: now,
        against: 0,
    }
}

/// The latch of a target that nothing reaches since a time; `None` if it says so already.
#[must_use]
pub fn unreached(there: Option<Latch>, since: Millis) -> Option<Latch> {
    let there = there.unwrap_or_else(|| reached(0));
    (there.stage == 0).then_some(Latch {
        stage: 1,
        mark: since,
        ..there
    })
}

/// What the latches say of a target.
#[must_use]
pub fn reach_of(latches: &Latches, target: &str) -> TargetReach {
    let key = LatchKey {
        kind: NoticeKind::NotifyDropped,
        subject: target.into(),
    };
    latches
        .get(&key)
        .map_or_else(TargetReach::default, |latch| TargetReach {
            failing_since: (latch.stage > 0).then_some(latch.mark),
            last_sent_at: (latch.seen > 0).then_some(latch.seen),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(latch: Option<Latch>) -> (Option<Millis>, Option<Millis>) {
        let key = LatchKey {
            kind: NoticeKind::NotifyDropped,
            subject: "a".into(),
        };
        let latches: Latches = latch.into_iter().map(|latch| (key.clone(), latch)).collect();
        let reach = reach_of(&latches, "a");
        (reach.failing_since, reach.last_sent_at)
    }

    #[test]
    fn the_first_failure_is_kept_and_so_is_the_last_success() {
        assert_eq!(of(None), (None, None));
        let never = unreached(None, 5).unwrap();
        assert_eq!(of(Some(never)), (Some(5), None));
        assert_eq!(unreached(Some(never), 9), None);
        let well = reached(10);
        assert_eq!(of(Some(well)), (None, Some(10)));
        assert_eq!(of(unreached(Some(well), 12)), (Some(12), Some(10)));
    }
}
