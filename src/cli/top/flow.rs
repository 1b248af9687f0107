//! Tokens per minute of the last half hour, from the stream alone.

use crate::model::Millis;

/// Length of a slot, in milliseconds.
const SLOT_MS: Millis = 10_000;
/// Slots of a minute.
const MINUTE_SLOTS: usize = 6;
/// Minutes that are kept.
pub const FLOW_MINUTES: usize = 30;
const SLOTS: usize = MINUTE_SLOTS * FLOW_MINUTES;

/// Counted tokens by the time of their commit. What was counted before the first event is unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenFlow {
    /// The latest last.
    slots: std::collections::VecDeque<u64>,
    /// The number of the last slot since 1970.
    last: Millis,
}

impl TokenFlow {
    /// Adds tokens that were committed at `at`. A correction downwards is no flow.
    pub fn add(&mut self, at: Millis, tokens: i64) {
        let slot = at.div_euclid(SLOT_MS);
        if self.slots.is_empty() {
            self.last = slot;
            self.slots.push_back(0);
        }
        self.advance(slot);
        let back = usize::try_from(self.last - slot).unwrap_or(0);
        let tokens = u64::try_from(tokens).unwrap_or(0);
        if let Some(at) = self.slots.len().checked_sub(back + 1) {
            self.slots[at] = self.slots[at].saturating_add(tokens);
        }
    }

    fn advance(&mut self, to: Millis) {
        let steps = usize::try_from(to - self.last).unwrap_or(0);
        for _ in 0..steps.min(SLOTS) {
            self.slots.push_back(0);
        }
        self.last = self.last.max(to);
        while self.slots.len() > SLOTS {
            self.slots.pop_front();
        }
    }

    /// Tokens of the last minute; `None` if nothing was ever seen.
    #[must_use]
    pub fn per_minute(&self, now: Millis) -> Option<u64> {
        (!self.slots.is_empty()).then(|| self.minutes(now)[FLOW_MINUTES - 1])
    }

    /// Tokens of each of the last minutes, the present one last.
    #[must_use]
    pub fn minutes(&self, now: Millis) -> [u64; FLOW_MINUTES] {
        let mut minutes = [0_u64; FLOW_MINUTES];
        let end = now.div_euclid(SLOT_MS).max(self.last);
        let ahead = usize::try_from(end - self.last).unwrap_or(0);
        for (back, tokens) in self.slots.iter().rev().enumerate() {
            let minute = (back.saturating_add(ahead)) / MINUTE_SLOTS;
            if minute >= FLOW_MINUTES {
                break;
            }
            let place = &mut minutes[FLOW_MINUTES - 1 - minute];
            *place = place.saturating_add(*tokens);
        }
        minutes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Millis = 1_790_000_000_000;

    #[test]
    fn a_minute_holds_what_came_in_its_sixty_seconds() {
        let mut flow = TokenFlow::default();
        assert_eq!(flow.per_minute(START), None);
        for second in 0..120 {
            flow.add(START + second * 1_000, 10);
        }
        let now = START + 119_000;
        assert_eq!(flow.per_minute(now), Some(600));
        assert_eq!(flow.minutes(now)[FLOW_MINUTES - 2], 600);
        assert_eq!(flow.per_minute(now + 60_000), Some(0));
        assert_eq!(flow.minutes(now + 60_000)[FLOW_MINUTES - 2], 600);
        assert_eq!(flow.minutes(now + 3_600_000), [0; FLOW_MINUTES]);
    }

    #[test]
    fn late_and_negative_tokens_change_no_other_minute() {
        let mut flow = TokenFlow::default();
        flow.add(START, 5);
        flow.add(START + 60_000, 7);
        flow.add(START, 1);
        flow.add(START - 3_600_000, 100);
        flow.add(START + 60_000, -50);
        let minutes = flow.minutes(START + 60_000);
        assert_eq!(minutes[FLOW_MINUTES - 2..], [6, 7]);
        flow.add(START + 100 * 3_600_000, 3);
        assert_eq!(flow.minutes(START + 100 * 3_600_000).iter().sum::<u64>(), 3);
    }
}
