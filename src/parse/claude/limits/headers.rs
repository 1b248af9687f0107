//! Response headers as a map: from a proxy's log, an error of the CLI, or `rateLimits` of a line.
//!
//! `anthropic-ratelimit-unified-<window>-<field>` are the windows of a subscription,
//! `anthropic-ratelimit-<what>-<field>` those of an API key. `unified-status` is the verdict on the request;
//! it belongs to the window named by `representative-claim` only. `x-<limit>-<slot>-<field>` are those of
//! Codex. A 429 without a refused window pauses the account, until `retry-after` if there is one.

use super::values::{self, Entries};
use super::{Answer, OVERAGE, SourceWindows, WINDOW_UNKNOWN, codex, storable_name, time};
use crate::json::Raw;
use crate::model::{LimitStatus, Millis};

const PREFIX: &str = "anthropic-ratelimit-";

/// The field of a window's header.
#[derive(Clone, Copy, Debug)]
enum Field {
    Status,
    Utilization,
    Surpassed,
    Reset,
    Remaining(Unit),
    Limit(Unit),
}

/// The counted unit; index of its [`Pair`].
#[derive(Clone, Copy, Debug)]
enum Unit {
    Tokens = 0,
    Requests = 1,
}

/// Suffixes of unified headers; of two that fit, the first counts.
const UNIFIED: [(&str, Field); 8] = [
    ("-status", Field::Status),
    ("-utilization", Field::Utilization),
    ("-surpassed-threshold", Field::Surpassed),
    ("-tokens-remaining", Field::Remaining(Unit::Tokens)),
    ("-tokens-limit", Field::Limit(Unit::Tokens)),
    ("-requests-remaining", Field::Remaining(Unit::Requests)),
    ("-requests-limit", Field::Limit(Unit::Requests)),
    ("-reset", Field::Reset),
];

/// Suffixes of the other headers.
const CLASSIC: [(&str, Field); 3] = [
    ("-remaining", Field::Remaining(Unit::Tokens)),
    ("-limit", Field::Limit(Unit::Tokens)),
    ("-reset", Field::Reset),
];

/// The windows of an API key: the header's word and the window's name.
const CLASSIC_WINDOWS: [(&str, &str); 4] = [
    ("requests", "requests"),
    ("tokens", "tokens"),
    ("input-tokens", "input_tokens"),
    ("output-tokens", "output_tokens"),
];

/// The content of a map of headers.
#[derive(Debug, Default)]
pub struct HeaderLimits {
    pub windows: SourceWindows,
    /// The time for a retry.
    pub retry_at: Option<Millis>,
    /// True if any header is about limits.
    pub any: bool,
}

/// Reads a map of headers; empty if it is no map or has no such headers.
pub fn read(value: Raw<'_>, answer: Answer) -> HeaderLimits {
    let mut headers = RateLimitHeaders::default();
    for (name, value) in Entries::of(value).0 {
        headers.take(&name.to_ascii_lowercase(), values::single(value), answer.time);
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

    /// The share used; `None` if more is left than the limit.
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
struct RateLimitHeaders {
    windows: SourceWindows,
    /// Tokens and requests of each window.
    pairs: Vec<[Pair; 2]>,
    status: LimitStatus,
    reset: Option<Millis>,
    claim: Option<Box<str>>,
    /// Surpassed thresholds by window.
    surpassed: Vec<(Box<str>, Option<f64>)>,
    codex: codex::Headers,
    retry_at: Option<Millis>,
    is_using_overage: Option<bool>,
    any: bool,
}

impl RateLimitHeaders {
    fn take(&mut self, name: &str, value: Raw<'_>, time: Option<Millis>) {
        let Some(name) = name.strip_prefix(PREFIX) else {
            let retry_at = match name {
                "retry-after-ms" => time.and_then(|time| time::after(time, values::number(value)? / 1000.0)),
                "retry-after" => time::retry_after(value, time),
                _ => {
                    self.any |= self.codex.take(name, value, time);
                    return;
                }
            };
            self.any = true;
            // Both headers mean the same, one more exactly; the later time is the safer.
            self.retry_at = self.retry_at.max(retry_at);
            return;
        };
        self.any = true;
        match name.strip_prefix("unified-") {
            Some("status") => self.status = values::status(value),
            Some("reset") => self.reset = time::reset(value),
            Some("overage-in-use") => self.is_using_overage = values::flag(value),
            Some("representative-claim") => {
                self.claim = values::text(value).map(|name| storable_name(&name));
            }
            Some(name) => {
                if let Some((window, field)) = split(name, &UNIFIED) {
                    self.set(storable_name(window), field, value);
                }
            }
            None => {
                let found = split(name, &CLASSIC).and_then(|(window, field)| {
                    let (_, name) = CLASSIC_WINDOWS.iter().find(|(word, _)| *word == window)?;
                    Some((storable_name(name), field))
                });
                if let Some((name, field)) = found {
                    self.set(name, field, value);
                }
            }
        }
    }

    fn set(&mut self, name: Box<str>, field: Field, value: Raw<'_>) {
        let place = self.windows.place(name);
        self.pairs.resize(self.windows.0.len(), <[Pair; 2]>::default());
        let (window, pairs) = (&mut self.windows.0[place], &mut self.pairs[place]);
        match field {
            Field::Status => window.status = values::status(value),
            Field::Utilization => window.utilization = values::share(value),
            Field::Surpassed => {
                let name = window.name.clone();
                self.surpassed.push((name, values::share(value)));
            }
            Field::Reset => window.reset_at = time::reset(value),
            Field::Remaining(unit) => pairs[unit as usize].remaining = value.count(),
            Field::Limit(unit) => pairs[unit as usize].limit = value.count(),
        }
    }

    fn judge(mut self, answer: Answer) -> HeaderLimits {
        for (window, [tokens, requests]) in self.windows.0.iter_mut().zip(self.pairs) {
            let pair = if tokens.is_whole() || !requests.is_whole() {
                tokens
            } else {
                requests
            };
            window.remaining = pair.remaining;
            window.limit = pair.limit;
            let surpassed = self.surpassed.iter().find(|(name, _)| *name == window.name);
            window.utilization = (window.utilization)
                .or(pair.share())
                .or(surpassed.and_then(|(_, share)| *share));
            // A refusal of overage means that no more can be bought, not that a window is used up.
            if &*window.name == OVERAGE && window.status == LimitStatus::Rejected {
                window.status = LimitStatus::Unknown;
            }
        }
        let is_rejected = self.status == LimitStatus::Rejected;
        let claim = self.claim.or_else(|| is_rejected.then(|| WINDOW_UNKNOWN.into()));
        if let Some(claim) = claim.filter(|_| self.status != LimitStatus::Unknown) {
            let window = self.windows.at(claim);
            window.take_verdict(super::verdict(
                self.status,
                self.is_using_overage,
                window.utilization,
            ));
            window.reset_at = window.reset_at.or(self.reset);
        }
        self.windows.0.extend(self.codex.windows(answer));
        for window in &mut self.windows.0 {
            answer.clear_transient_refusal(window);
            if window.status == LimitStatus::Rejected && answer.is_refusal() {
                window.reset_at = window.reset_at.or(self.retry_at);
            }
        }
        self.windows.0.extend(self.is_using_overage.map(super::overage));
        HeaderLimits {
            windows: self.windows,
            retry_at: self.retry_at,
            any: self.any,
        }
    }
}

/// The window and the field in a header's name.
fn split<'n>(name: &'n str, ends: &[(&str, Field)]) -> Option<(&'n str, Field)> {
    ends.iter()
        .find_map(|(end, field)| Some((name.strip_suffix(end)?, *field)))
        .filter(|(window, _)| !window.is_empty())
}
