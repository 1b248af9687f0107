//! When a try is repeated, and what an answer means. Pure.

use std::time::Duration;

use crate::model::{HOUR_MS, Millis};

/// Pauses after the first tries; after those it is tried hourly.
const PAUSES: [Duration; 5] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_mins(2),
    Duration::from_mins(10),
    Duration::from_mins(30),
];
const PAUSE_MAX: Duration = Duration::from_hours(1);
/// A pause is up to one part in so many shorter or longer, so that many collectors do not come back at once.
const JITTER_PART: u32 = 5;
/// Longest wait that a receiver can ask for, in milliseconds.
const RETRY_AFTER_MAX_MS: Millis = HOUR_MS;

/// The result of one try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TryResult {
    Sent,
    /// It may work later; `after` is the wait that the receiver asks for, in milliseconds.
    Retry {
        why: String,
        after: Option<Millis>,
    },
    /// It will not work by trying again.
    Failed {
        why: String,
    },
}

/// The pause after so many failed tries in a row; `random` is any number.
#[must_use]
pub fn pause(failed: u32, random: u64) -> Duration {
    let place = usize::try_from(failed.saturating_sub(1)).unwrap_or(usize::MAX);
    let pause = PAUSES.get(place).copied().unwrap_or(PAUSE_MAX);
    let span = u64::try_from((pause / JITTER_PART).as_millis()).unwrap_or(0);
    let shift = Duration::from_millis(random % (2 * span + 1));
    pause.saturating_sub(Duration::from_millis(span)) + shift
}

/// The meaning of a status. `retry_after` is in milliseconds from now on.
#[must_use]
pub fn of_status(status: u16, retry_after: Option<Millis>, body: &str) -> TryResult {
    let said = body.trim();
    let said = if said.is_empty() {
        String::new()
    } else {
        format!(": {said:?}")
    };
    match status {
        200..=299 => TryResult::Sent,
        300..=399 => TryResult::Failed {
            why: format!(
                "it answered {status}, a redirect, which is not followed; write the address that answers"
            ),
        },
        408 | 425 | 429 => TryResult::Retry {
            why: format!("it answered {status}{said}"),
            after: retry_after.map(|after| after.clamp(0, RETRY_AFTER_MAX_MS)),
        },
        410 => TryResult::Failed {
            why: "it answered 410: this address takes no events any more".to_owned(),
        },
        400..=499 => TryResult::Failed {
            why: format!("it answered {status}{said}"),
        },
        _ => TryResult::Retry {
            why: format!("it answered {status}{said}"),
            after: retry_after.map(|after| after.clamp(0, RETRY_AFTER_MAX_MS)),
        },
    }
}

/// The meaning of the end of a program.
#[must_use]
pub fn of_exit(code: Option<i32>) -> TryResult {
    match code {
        Some(0) => TryResult::Sent,
        Some(75) => TryResult::Retry {
            why: "it ended with 75, to be tried again".to_owned(),
            after: None,
        },
        Some(code) => TryResult::Failed {
            why: format!("it ended with {code}"),
        },
        None => TryResult::Failed {
            why: "it was ended by a signal".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_an_hour_and_differ_by_a_fifth() {
        for (failed, seconds) in [
            (1, 5),
            (2, 30),
            (3, 120),
            (4, 600),
            (5, 1800),
            (6, 3600),
            (99, 3600),
        ] {
            let middle = Duration::from_secs(seconds);
            let spans = [0, 1, 12_345, u64::MAX].map(|random| pause(failed, random));
            assert_eq!(spans[0], middle * 4 / 5, "{failed}");
            for span in spans {
                assert!(
                    span >= middle * 4 / 5 && span <= middle * 6 / 5,
                    "{failed}: {span:?}"
                );
            }
        }
    }

    #[test]
    fn a_status_decides_whether_it_is_tried_again() {
        let is_retry = |status| matches!(of_status(status, None, ""), TryResult::Retry { .. });
        let is_failed = |status| matches!(of_status(status, None, ""), TryResult::Failed { .. });
        for status in [200, 202, 204, 299] {
            assert_eq!(of_status(status, None, "x"), TryResult::Sent);
        }
        for status in [408, 425, 429, 500, 502, 503, 599] {
            assert!(is_retry(status), "{status}");
        }
        for status in [301, 302, 307, 400, 401, 403, 404, 410, 422] {
            assert!(is_failed(status), "{status}");
        }
        for (asked, after) in [(7_000, 7_000), (-1, 0), (90 * HOUR_MS, HOUR_MS)] {
            let said = of_status(429, Some(asked), "slow \"down\"\n");
            let why = "it answered 429: \"slow \\\"down\\\"\"".to_owned();
            assert_eq!(
                said,
                TryResult::Retry {
                    why,
                    after: Some(after)
                }
            );
        }
    }

    #[test]
    fn an_exit_code_decides_likewise() {
        assert_eq!(of_exit(Some(0)), TryResult::Sent);
        assert!(matches!(of_exit(Some(75)), TryResult::Retry { .. }));
        for code in [Some(1), Some(127), None] {
            assert!(matches!(of_exit(code), TryResult::Failed { .. }));
        }
    }
}
