//! Response headers as a map, whoever wrote it: a proxy's log, an error of the CLI, or `rateLimits` of a line.
//!
//! `anthropic-ratelimit-unified-<window>-<field>` are the windows of a subscription,
//! `anthropic-ratelimit-<what>-<field>` those of an API key. `unified-status` is the verdict on the request; it belongs
//! to the window that `representative-claim` names, and to no other.

use super::values::{self, Entries};
use super::{Answer, BUCKET_UNKNOWN, OVERAGE, Windows, bucket_name, time};
use crate::parse::json::Raw;
use crate::record::{LimitStatus, Millis};

const PREFIX: &str = "anthropic-ratelimit-";
/// The HTTP status that `retry-after` belongs to.
const TOO_MANY_REQUESTS: u64 = 429;

/// What a header says of its window.
#[derive(Clone, Copy, Debug)]
enum Field {
    Status,
    Utilization,
    Reset,
    Remaining(Unit),
    Limit(Unit),
}

/// What is counted; the index of its [`Pair`].
#[derive(Clone, Copy, Debug)]
enum Unit {
    Tokens = 0,
    Requests = 1,
}

/// The ends of the names of unified headers; of two that fit, the first.
const UNIFIED: [(&str, Field); 7] = [
    ("-status", Field::Status),
    ("-utilization", Field::Utilization),
    ("-tokens-remaining", Field::Remaining(Unit::Tokens)),
    ("-tokens-limit", Field::Limit(Unit::Tokens)),
    ("-requests-remaining", Field::Remaining(Unit::Requests)),
    ("-requests-limit", Field::Limit(Unit::Requests)),
    ("-reset", Field::Reset),
];

/// Those of the others.
const CLASSIC: [(&str, Field); 3] = [
    ("-remaining", Field::Remaining(Unit::Tokens)),
    ("-limit", Field::Limit(Unit::Tokens)),
    ("-reset", Field::Reset),
];

/// The windows of an API key: the header's word and the name.
const CLASSIC_WINDOWS: [(&str, &str); 4] = [
    ("requests", "requests"),
    ("tokens", "tokens"),
    ("input-tokens", "input_tokens"),
    ("output-tokens", "output_tokens"),
];

/// The windows a map of headers speaks of; none if it is no map or has no such headers.
pub fn windows(value: Raw<'_>, answer: Answer) -> Windows {
    let mut headers = Headers::default();
    for (name, value) in Entries::of(value).0 {
        headers.take(&name.to_ascii_lowercase(), values::single(value));
    }
    headers.judge(answer)
}

#[derive(Clone, Copy, Debug, Default)]
struct Pair {
    remaining: Option<u64>,
    limit: Option<u64>,
}

impl Pair {
    fn is_whole(self) -> bool {
        self.remaining.is_some() && self.limit.is_some()
    }

    /// The share used: nothing if more is left than there was.
    fn share(self) -> Option<f64> {
        let (remaining, limit) = (self.remaining?, self.limit.filter(|limit| *limit > 0)?);
        #[expect(
            clippy::cast_precision_loss,
            reason = "a share needs no more digits than a float has"
        )]
        let share = limit.saturating_sub(remaining) as f64 / limit as f64;
        Some(share)
    }
}

#[derive(Debug, Default)]
struct Headers {
    windows: Windows,
    /// Tokens and requests of each window.
    pairs: Vec<[Pair; 2]>,
    status: LimitStatus,
    reset: Option<Millis>,
    claim: Option<Box<str>>,
    retry_after: Option<f64>,
}

impl Headers {
    fn take(&mut self, name: &str, value: Raw<'_>) {
        let Some(name) = name.strip_prefix(PREFIX) else {
            if name == "retry-after" {
                self.retry_after = values::number(value);
            }
            return;
        };
        match name.strip_prefix("unified-") {
            Some("status") => self.status = values::status(value),
            Some("reset") => self.reset = time::reset(value),
            Some("representative-claim") => {
                self.claim = values::text(value).map(|name| bucket_name(&name));
            }
            Some(name) => {
                if let Some((window, field)) = split(name, &UNIFIED) {
                    self.set(bucket_name(window), field, value);
                }
            }
            None => {
                let found = split(name, &CLASSIC).and_then(|(window, field)| {
                    let (_, bucket) = CLASSIC_WINDOWS.iter().find(|(word, _)| *word == window)?;
                    Some((bucket_name(bucket), field))
                });
                if let Some((bucket, field)) = found {
                    self.set(bucket, field, value);
                }
            }
        }
    }

    fn set(&mut self, bucket: Box<str>, field: Field, value: Raw<'_>) {
        let place = self.windows.place(bucket);
        self.pairs.resize(self.windows.0.len(), <[Pair; 2]>::default());
        let (window, pairs) = (&mut self.windows.0[place], &mut self.pairs[place]);
        match field {
            Field::Status => window.status = values::status(value),
            Field::Utilization => window.utilization = values::share(value),
            Field::Reset => window.reset_at = time::reset(value),
            Field::Remaining(unit) => pairs[unit as usize].remaining = value.count(),
            Field::Limit(unit) => pairs[unit as usize].limit = value.count(),
        }
    }

    fn judge(mut self, answer: Answer) -> Windows {
        for (window, [tokens, requests]) in self.windows.0.iter_mut().zip(self.pairs) {
            let pair = if tokens.is_whole() || !requests.is_whole() {
                tokens
            } else {
                requests
            };
            window.remaining = pair.remaining;
            window.limit = pair.limit;
            window.utilization = window.utilization.or(pair.share());
            // An account that may not buy more is no window that is used up.
            if &*window.bucket == OVERAGE && window.status == LimitStatus::Rejected {
                window.status = LimitStatus::Unknown;
            }
        }
        let is_rejected = self.status == LimitStatus::Rejected;
        let claim = self.claim.or_else(|| is_rejected.then(|| BUCKET_UNKNOWN.into()));
        if let Some(claim) = claim.filter(|_| self.status != LimitStatus::Unknown) {
            let window = self.windows.at(claim);
            if is_rejected || window.status == LimitStatus::Unknown {
                window.status = self.status;
            }
            window.reset_at = window.reset_at.or(self.reset);
        }
        let retry_at = answer
            .time
            .filter(|_| answer.status == Some(TOO_MANY_REQUESTS))
            .zip(self.retry_after)
            .and_then(|(time, seconds)| time::after(time, seconds));
        for window in &mut self.windows.0 {
            answer.doubt(window);
            if window.status == LimitStatus::Rejected {
                window.reset_at = window.reset_at.or(retry_at);
            }
        }
        self.windows
    }
}

/// The window and the field of a header's name.
fn split<'n>(name: &'n str, ends: &[(&str, Field)]) -> Option<(&'n str, Field)> {
    ends.iter()
        .find_map(|(end, field)| Some((name.strip_suffix(end)?, *field)))
        .filter(|(window, _)| !window.is_empty())
}
