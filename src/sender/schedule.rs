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

/// Exit codes by which a shell says that HUP, INT, KILL or TERM ended its command.
const SIGNALLED: [i32; 4] = [129, 130, 137, 143];

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

/// The meaning of a status. `retry_after` is in milliseconds from now on. The body of an answer is not shown: receivers
/// repeat the address in it, whose path may be the secret.
#[must_use]
pub fn of_status(status: u16, retry_after: Option<Millis>) -> TryResult {
    let said = format!("it answered {status}: {}", meaning(status));
    match status {
        200..=299 => TryResult::Sent,
        408 | 425 | 429 => TryResult::Retry {
            why: said,
            after: retry_after.map(|after| after.clamp(0, RETRY_AFTER_MAX_MS)),
        },
        300..=499 => TryResult::Failed { why: said },
        _ => TryResult::Retry {
            why: said,
            after: retry_after.map(|after| after.clamp(0, RETRY_AFTER_MAX_MS)),
        },
    }
}

/// A status in words.
const fn meaning(status: u16) -> &'static str {
    match status {
        300..=399 => "a redirect, which is not followed; write the address that answers",
        400 | 422 => "it cannot read the event; is `format` the one that it takes?",
        401 | 403 => "it does not let the collector in; check its secret or token, and the address",
        404 => "it has nothing at this address",
        405 => "this address takes no POST",
        408 => "the request took it too long",
        410 => "this address takes no events any more",
        413 => "the event is too long for it",
        425 | 429 => "it wants fewer requests",
        400..=499 => "it refuses the event",
        502..=504 => "the receiver behind it is not reachable",
        500..=599 => "it has an error of its own",
        _ => "this is no answer to an event",
    }
}

/// The meaning of the end of a program. A shell whose command was ended by a signal ends with 128 and its number.
#[must_use]
pub fn of_exit(code: Option<i32>) -> TryResult {
    match code {
        Some(0) => TryResult::Sent,
        Some(75) => TryResult::Retry {
            why: "it ended with 75, to be tried again".to_owned(),
            after: None,
        },
        Some(code) if SIGNALLED.contains(&code) => TryResult::Retry {
            why: format!("it ended with {code}: a command in it was ended by a signal"),
            after: None,
        },
        Some(code) => TryResult::Failed {
            why: format!("it ended with {code}"),
        },
        // By the end of the service, by the kernel without memory, or by a person: not by the event.
        None => TryResult::Retry {
            why: "it was ended by a signal".to_owned(),
            after: None,
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
        let is_retry = |status| matches!(of_status(status, None), TryResult::Retry { .. });
        let is_failed = |status| matches!(of_status(status, None), TryResult::Failed { .. });
        for status in [200, 202, 204, 299] {
            assert_eq!(of_status(status, None), TryResult::Sent);
        }
        for status in [408, 425, 429, 500, 502, 503, 599] {
            assert!(is_retry(status), "{status}");
        }
        for status in [301, 302, 307, 400, 401, 403, 404, 410, 422] {
            assert!(is_failed(status), "{status}");
        }
        for (asked, after) in [(7_000, 7_000), (-1, 0), (90 * HOUR_MS, HOUR_MS)] {
            let said = of_status(429, Some(asked));
            let why = "it answered 429: it wants fewer requests".to_owned();
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
        for code in [Some(75), Some(137), Some(143), None] {
            assert!(matches!(of_exit(code), TryResult::Retry { .. }));
        }
        for code in [Some(1), Some(127), Some(128)] {
            assert!(matches!(of_exit(code), TryResult::Failed { .. }));
        }
    }
}
