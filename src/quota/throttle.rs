//! Cool-downs: a 429 without a named window pauses the whole account, for longer each time nothing is served
//! in between.
//!
//! A set of refusals is kept, and the result is computed for a time. So their order of arrival does not
//! matter.

use super::exhaustion::Cause;
use super::window::SERVED_AFTER_MS;
use crate::model::{DAY_MS, HOUR_MS, LimitSource, MINUTE_MS, Millis, Observation};

/// Lengths of cool-downs without a `retry-after`: the first, the second in a row and so on, in seconds.
const STEPS_S: [Millis; 5] = [60, 120, 240, 480, 900];
/// After this time without a refusal the next one counts as the first, in milliseconds.
const FORGOTTEN_AFTER_MS: Millis = HOUR_MS;
/// Longest accepted `retry-after`, in milliseconds: no window is longer than a week.
const RETRY_AFTER_MAX_MS: Millis = 7 * DAY_MS;
/// Shortest duration of a pause with a given end, whatever is served meanwhile, in milliseconds.
const SAID_HOLDS_MS: Millis = 10 * MINUTE_MS;
/// Refusals kept for one account: more than there are steps, including retries.
const THROTTLES_MAX: usize = 16;

/// One refusal without a named window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttle {
    /// The time of the refusal; of several tries of one request, that of the last.
    pub at: Millis,
    /// The end given by the provider.
    pub until: Option<Millis>,
    pub request: Option<u64>,
    pub source: LimitSource,
}

/// The refusals without a named window of one account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Throttles(pub(crate) Vec<Throttle>);

impl Throttles {
    /// Adds a refusal; the tries of one request count once. Returns true if that changes anything.
    pub fn take(&mut self, observation: &Observation, at: Millis) -> bool {
        let new = Throttle {
            at,
            until: (observation.reset_at).filter(|until| *until <= at.saturating_add(RETRY_AFTER_MAX_MS)),
            request: observation.request,
            source: observation.source,
        };
        let is_copy = |there: &&mut Throttle| match (there.request, new.request) {
            (Some(there), Some(new)) => there == new,
            _ => there.at == at && (there.request.is_none() || new.request.is_none()),
        };
        let before = self.clone();
        match self.0.iter_mut().find(is_copy) {
            Some(there) => {
                there.at = there.at.max(at);
                there.until = there.until.max(new.until);
                there.request = there.request.max(new.request);
                there.source = there.source.min(new.source);
            }
            None => self.0.push(new),
        }
        self.0
            .sort_by_key(|one| (one.at, one.request, one.until, one.source));
        let surplus = self.0.len().saturating_sub(THROTTLES_MAX);
        self.0.drain(..surplus);
        *self != before
    }

    /// The time of the last refusal.
    #[must_use]
    pub fn last_at(&self) -> Option<Millis> {
        self.0.last().map(|last| last.at)
    }

    /// The cool-down that holds at `now`. A response that cannot have begun before the refusal ends it.
    #[must_use]
    pub fn cause(&self, served_at: Option<Millis>, now: Millis) -> Option<Cause> {
        let served_at = served_at.filter(|served| *served <= now);
        let mut current: Option<(usize, Cause)> = None;
        // A pause without a given end is a guess, which any later response disproves. A given end is
        // disproved only by a response to a request made after the refusal.
        let is_served = |last: &Throttle, said: Option<&Throttle>, cause: &Cause| {
            let margin = if said.is_some() { SERVED_AFTER_MS } else { 0 };
            served_at.is_some_and(|served| served >= cause.until || served > last.at.saturating_add(margin))
        };
        let mut last: Option<&Throttle> = None;
        // Of the current pause, the refusal with the latest given end.
        let mut said: Option<&Throttle> = None;
        for one in self.0.iter().filter(|one| one.at <= now) {
            let is_between = served_at.is_some_and(|served| served < one.at);
            current = current
                .filter(|(_, cause)| !(is_between && last.is_some_and(|last| is_served(last, said, cause))));
            let step = match &current {
                // During a pause, further requests get the same refusal.
                Some((step, cause)) if one.at < cause.until => *step,
                Some((step, cause)) if one.at < cause.until.saturating_add(FORGOTTEN_AFTER_MS) => step + 1,
                _ => 0,
            };
            let seconds = STEPS_S[step.min(STEPS_S.len() - 1)];
            let until = one.until.unwrap_or_else(|| one.at.saturating_add(seconds * 1000));
            let (since, before) = match &current {
                Some((last, cause)) if *last == step => (cause.since, Some(cause.until)),
                _ => {
                    said = None;
                    (one.at, None)
                }
            };
            if one.until > said.and_then(|said| said.until) {
                said = Some(one);
            }
            let cause = Cause {
                until: before.map_or(until, |before| before.max(until)),
                reason: "the provider is throttling (429 without a window)".into(),
                source: one.source.into_str().into(),
                since,
            };
            current = Some((step, cause));
            last = Some(one);
        }
        // A given end still holds for a while.
        let is_held = said.is_some_and(|said| {
            let until = said.at.saturating_add(SAID_HOLDS_MS);
            now < said.until.map_or(until, |said| said.min(until))
        });
        let is_over = |cause: &Cause| !is_held && last.is_some_and(|last| is_served(last, said, cause));
        current
            .map(|(_, cause)| cause)
            .filter(|cause| now < cause.until && !is_over(cause))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{LimitStatus, window_name};

    /// 2026-11-20T14:41:00Z
    const T: Millis = 1_795_185_660_000;

    fn refusal(until: Option<Millis>, request: Option<u64>) -> Observation {
        Observation {
            window: window_name::COOL_DOWN.into(),
            utilization: None,
            remaining: None,
            limit: None,
            reset_at: until,
            observed_at: None,
            status: LimitStatus::Rejected,
            source: LimitSource::ApiError,
            session: None,
            request,
        }
    }

    fn throttles(throttled: &[(Millis, Option<Millis>, Option<u64>)]) -> Throttles {
        let mut throttles = Throttles::default();
        for (at, until, request) in throttled {
            throttles.take(&refusal(*until, *request), *at);
        }
        throttles
    }

    fn until(throttles: &Throttles, served: Option<Millis>, now: Millis) -> Option<Millis> {
        throttles.cause(served, now).map(|cause| cause.until - T)
    }

    #[test]
    fn it_lasts_as_long_as_the_provider_says_or_a_minute() {
        let said = throttles(&[(T, Some(T + 30_000), None)]);
        assert_eq!(until(&said, None, T + 29_999), Some(30_000));
        assert_eq!(until(&said, None, T + 30_000), None);
        let silent = throttles(&[(T, None, None)]);
        assert_eq!(until(&silent, None, T), Some(60_000));
        assert_eq!(until(&silent, None, T - 1), None, "it is not said yet");
    }

    #[test]
    fn each_in_a_row_lasts_longer_until_something_is_served() {
        let mut throttled = Vec::new();
        let mut at = T;
        for seconds in [60, 120, 240, 480, 900, 900] {
            throttled.push((at, None, None));
            assert_eq!(
                until(&throttles(&throttled), None, at),
                Some(at - T + seconds * 1000)
            );
            at += seconds * 1000 + 1;
        }
        let served = throttled[3].0 + SERVED_AFTER_MS + 1;
        assert_eq!(
            until(&throttles(&throttled[..5]), Some(served), throttled[4].0),
            Some(throttled[4].0 - T + 60_000),
            "the first again"
        );
        assert_eq!(until(&throttles(&throttled), Some(at), at), None);
        let later = throttled[5].0 + 900_000 + FORGOTTEN_AFTER_MS;
        throttled.push((later, None, None));
        assert_eq!(
            until(&throttles(&throttled), None, later),
            Some(later - T + 60_000)
        );
    }

    #[test]
    fn what_was_asked_before_it_does_not_end_it() {
        let said = throttles(&[(T, Some(T + 300_000), None)]);
        let both = throttles(&[(T, Some(T + 300_000), None), (T + 1_000, None, None)]);
        let silent = throttles(&[(T, None, None)]);
        for served in [T, T + 2_000, T + SERVED_AFTER_MS] {
            assert_eq!(until(&said, Some(served), T + 200_000), Some(300_000));
            assert_eq!(until(&both, Some(served), T + 200_000), Some(300_000));
        }
        // Without a given end, a retry that is served ends the pause.
        assert_eq!(until(&silent, Some(T + 2_000), T + 3_000), None);
        // A given end holds, but not for hours if requests are served.
        let long = throttles(&[(T, Some(T + HOUR_MS), None)]);
        let served = Some(T + SERVED_AFTER_MS + 1);
        assert_eq!(until(&long, served, T + SAID_HOLDS_MS - 1), Some(HOUR_MS));
        assert_eq!(until(&long, served, T + SAID_HOLDS_MS), None);
        let steps = throttles(&[
            (T, None, None),
            (T + 61_000, None, None),
            (T + 182_000, None, None),
        ]);
        let served = T + 182_000 + SERVED_AFTER_MS + 1;
        assert_eq!(until(&steps, None, served), Some(422_000));
        assert_eq!(until(&steps, Some(served), served), None);
    }

    #[test]
    fn an_end_that_cannot_be_is_none() {
        let far = throttles(&[(T, Some(T + 999_999_999_000), None)]);
        assert_eq!(until(&far, None, T), Some(60_000));
    }

    #[test]
    fn the_tries_of_one_request_and_refusals_of_others_meanwhile_are_one() {
        let tries: Vec<_> = (0..10).map(|n| (T + n * 90_000, None, Some(5))).collect();
        assert_eq!(until(&throttles(&tries), None, T + 811_000), Some(870_000));
        let others = throttles(&[
            (T, None, Some(1)),
            (T + 30_000, None, Some(2)),
            (T + 50_000, None, None),
        ]);
        assert_eq!(until(&others, None, T + 61_000), Some(110_000));
    }

    proptest! {
        #[test]
        fn the_order_of_refusals_changes_nothing(
            throttled in proptest::collection::vec((0i64..40, proptest::option::of(0i64..100), 0u64..4), 1..12),
            seed in any::<u64>(), served in proptest::option::of(0i64..400), now in 0i64..600,
        ) {
            let throttled: Vec<_> = throttled
                .into_iter()
                .map(|(at, until, request)| (T + at * 10_000, until.map(|s| T + s * 10_000), Some(request)))
                .collect();
            let mut shuffled = throttled.clone();
            fastrand::Rng::with_seed(seed).shuffle(&mut shuffled);
            let at = |s: i64| T + s * 1000;
            let (one, other) = (throttles(&throttled), throttles(&shuffled));
            let served = served.map(at);
            prop_assert_eq!(one.cause(served, at(now)), other.cause(served, at(now)));
            prop_assert!(one.cause(served, at(now)).is_none_or(|cause| cause.until > at(now)));
        }
    }
}
