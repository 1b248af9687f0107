//! What a line says about the provider's limits: observations, beside whatever the line counts.
//!
//! Each shape is believed in its own place only, since people and tools quote all of them: `rateLimits`, `quotaLimits`
//! and the CLI's own sentences on assistant lines, `error` on `system` lines of subtype `api_error`,
//! `rate_limit_info` on `rate_limit_event` lines, `headers` on lines without a type. What cannot be read of an
//! observation is left out of it; nothing here changes what the line counts.

mod events;
mod headers;
mod prose;
mod time;
mod told;
mod values;

pub use told::{Told, told};

use super::json::{self, Members, Raw};
use super::scan::{NotJson, Scanner};
use crate::record::bucket::{
    self, FIVE_HOUR, OVERAGE, SEVEN_DAY, SEVEN_DAY_OPUS, SEVEN_DAY_OVERAGE_INCLUDED, SEVEN_DAY_SONNET,
};
use crate::record::{LimitSource, LimitStatus, Millis, Observation};

/// Longest name of a window kept, in bytes; the rest is cut off.
pub const BUCKET_BYTES_MAX: usize = 64;
/// The window of a rejection that names none.
pub const BUCKET_UNKNOWN: &str = "unknown";
/// Observations taken from one line; a real one has a few.
pub const OBSERVATIONS_MAX: usize = 32;

const MONTHLY_SPEND: &str = "monthly_spend";

/// The windows that are known, in the order in which a line's observations are given; others follow by name.
const ORDER: [&str; 11] = [
    FIVE_HOUR,
    SEVEN_DAY,
    SEVEN_DAY_OPUS,
    SEVEN_DAY_SONNET,
    SEVEN_DAY_OVERAGE_INCLUDED,
    MONTHLY_SPEND,
    OVERAGE,
    "requests",
    "tokens",
    "input_tokens",
    "output_tokens",
];

/// What the server says of a 429 that has nothing to do with the account's limits.
const NOT_YOUR_LIMIT: &str = "not your usage limit";
/// From this HTTP status on, the server failed: it is no word about limits.
const SERVER_ERROR: u64 = 500;

/// A window's name in its one spelling; an unknown name is kept, fit to be stored and shown.
#[must_use]
pub fn bucket_name(name: &str) -> Box<str> {
    let name = match name.trim() {
        "" => BUCKET_UNKNOWN,
        name => bucket::canonical(name),
    };
    // Cut first: a name of megabytes is not worth a copy.
    let cut = name[..name.floor_char_boundary(BUCKET_BYTES_MAX)].trim_end();
    let mut clean: String = cut
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "_-.:/ ".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    clean.truncate(clean.floor_char_boundary(BUCKET_BYTES_MAX));
    clean.into()
}

/// The members of a line that may speak of limits, raw: looked at only when there are any.
#[derive(Debug, Default)]
pub(super) struct LimitFields<'de> {
    /// Whether the line has any of them.
    any: bool,
    rate_limits: Raw<'de>,
    quota_limits: Raw<'de>,
    rate_limit_info: Raw<'de>,
    headers: Raw<'de>,
    error: Raw<'de>,
    subtype: Raw<'de>,
    status: Raw<'de>,
    is_api_error: Raw<'de>,
    api_error_status: Raw<'de>,
    api_error_is_transient: Raw<'de>,
}

impl<'de> Members<'de> for LimitFields<'de> {
    fn member(&mut self, key: &[u8], value: &mut Scanner<'de>) -> Result<(), NotJson> {
        let place = match key {
            b"rateLimits" => &mut self.rate_limits,
            b"quotaLimits" => &mut self.quota_limits,
            b"rate_limit_info" => &mut self.rate_limit_info,
            b"headers" => &mut self.headers,
            b"error" => &mut self.error,
            b"subtype" => &mut self.subtype,
            b"status" => &mut self.status,
            b"isApiErrorMessage" => &mut self.is_api_error,
            b"apiErrorStatus" => &mut self.api_error_status,
            b"apiErrorIsTransient" => &mut self.api_error_is_transient,
            _ => return value.skip(),
        };
        place.0 = Some(value.raw()?);
        self.any = true;
        Ok(())
    }
}

/// What else is known of a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    /// Its `type`.
    pub kind: Option<&'a [u8]>,
    pub time: Option<Millis>,
    /// Whether the model is one that the CLI made up for a line of its own.
    pub is_synthetic: bool,
    /// All of it.
    pub text: &'a [u8],
}

/// The answer that a limit came with.
#[derive(Clone, Copy, Debug)]
struct Answer {
    time: Option<Millis>,
    /// Its HTTP status.
    status: Option<u64>,
    /// Whether a rejection in it can be one by the account's limits.
    may_reject: bool,
}

impl Answer {
    fn new(time: Option<Millis>, status: Option<u64>, is_transient: bool) -> Self {
        Self {
            time,
            status,
            may_reject: !is_transient && status.is_none_or(|status| status < SERVER_ERROR),
        }
    }

    /// A refusal that is none by the account's limits says nothing of them, not even with its reset.
    fn doubt(self, window: &mut Window) {
        if window.status == LimitStatus::Rejected && !self.may_reject {
            *window = Window {
                utilization: window.utilization,
                reset_at: window.reset_at.filter(|_| window.utilization.is_some()),
                ..Window::new(std::mem::take(&mut window.bucket))
            };
        }
    }
}

impl LimitFields<'_> {
    /// Whether there is anything to look at. `is_synthetic` lines speak in prose, without a member for it.
    pub fn any(&self, is_synthetic: bool) -> bool {
        self.any || is_synthetic
    }

    /// Appends what the line says, at most [`OBSERVATIONS_MAX`].
    pub fn observe(&self, line: &Line<'_>, observations: &mut Vec<Observation>) {
        let mut list = List {
            observations,
            time: line.time,
            room: OBSERVATIONS_MAX,
        };
        match line.kind {
            Some(b"assistant") => self.assistant(line, &mut list),
            Some(b"system") if self.subtype.text().as_deref() == Some(b"api_error") => {
                self.api_error(line, &mut list);
            }
            Some(b"rate_limit_event") => {
                let answer = Answer::new(line.time, None, false);
                list.add(
                    events::windows(self.rate_limit_info, answer),
                    LimitSource::RateLimitEvent,
                );
            }
            None => {
                let answer = Answer::new(line.time, self.status.count(), false);
                list.add(headers::windows(self.headers, answer), LimitSource::Headers);
            }
            Some(_) => {}
        }
    }

    fn assistant(&self, line: &Line<'_>, list: &mut List<'_>) {
        // The CLI's own words, and nobody else's.
        let opening = (line.is_synthetic || self.is_api_error.is("true"))
            .then(|| prose::opening(line.text))
            .flatten();
        let is_transient = self.api_error_is_transient.is("true")
            || opening
                .as_deref()
                .is_some_and(|text| text.contains(NOT_YOUR_LIMIT));
        let answer = Answer::new(line.time, self.api_error_status.count(), is_transient);
        list.add(
            headers::windows(self.rate_limits, answer),
            LimitSource::RateLimits,
        );
        let before = list.room;
        list.add(
            events::windows(self.quota_limits, answer),
            LimitSource::QuotaLimits,
        );
        // The sentence says again what the object says, less exactly.
        if list.room == before && answer.may_reject {
            let said = opening.and_then(|text| prose::window(&text, line.time));
            list.add(Windows(said.into_iter().collect()), LimitSource::Prose);
        }
    }

    fn api_error(&self, line: &Line<'_>, list: &mut List<'_>) {
        let mut error = ApiError::default();
        let Some(raw) = self.error.0 else { return };
        if !json::object(raw.as_bytes(), &mut error).unwrap_or(false) {
            return;
        }
        // The sentence stands in `message`, `formatted` or the body of the answer.
        let is_transient = self.api_error_is_transient.is("true")
            || error.is_transient.is("true")
            || raw.contains(NOT_YOUR_LIMIT);
        let answer = Answer::new(line.time, error.status.count(), is_transient);
        list.add(events::windows(error.rate_limits, answer), LimitSource::ApiError);
        list.add(headers::windows(error.headers, answer), LimitSource::Headers);
    }
}

/// `error` of a `system` line of subtype `api_error`.
#[derive(Debug, Default)]
struct ApiError<'de> {
    status: Raw<'de>,
    rate_limits: Raw<'de>,
    headers: Raw<'de>,
    is_transient: Raw<'de>,
}

impl<'de> Members<'de> for ApiError<'de> {
    fn member(&mut self, key: &[u8], value: &mut Scanner<'de>) -> Result<(), NotJson> {
        match key {
            b"status" => self.status.0 = Some(value.raw()?),
            b"rateLimits" => self.rate_limits.0 = Some(value.raw()?),
            b"headers" => self.headers.0 = Some(value.raw()?),
            b"apiErrorIsTransient" => self.is_transient.0 = Some(value.raw()?),
            _ => value.skip()?,
        }
        Ok(())
    }
}

/// What one line says about one window.
#[derive(Clone, Debug, Default)]
struct Window {
    bucket: Box<str>,
    utilization: Option<f64>,
    remaining: Option<u64>,
    limit: Option<u64>,
    reset_at: Option<Millis>,
    status: LimitStatus,
}

impl Window {
    fn new(bucket: Box<str>) -> Self {
        Self {
            bucket,
            ..Self::default()
        }
    }

    /// Whether there is news in it: of a window without a name, only that something is used up.
    fn says_something(&self) -> bool {
        let is_used = self.utilization.is_some() || self.status == LimitStatus::Rejected;
        let is_named = &*self.bucket != BUCKET_UNKNOWN;
        is_used
            || is_named
                && (self.status != LimitStatus::Unknown
                    || self.reset_at.is_some()
                    || self.remaining.is_some()
                    || self.limit.is_some())
    }
}

/// The windows of one source, each once.
#[derive(Debug, Default)]
struct Windows(Vec<Window>);

impl Windows {
    /// The place of a window, a new one at the end if it was not named before.
    fn place(&mut self, bucket: Box<str>) -> usize {
        let known = self.0.iter().position(|window| window.bucket == bucket);
        known.unwrap_or_else(|| {
            self.0.push(Window::new(bucket));
            self.0.len() - 1
        })
    }

    fn at(&mut self, bucket: Box<str>) -> &mut Window {
        let place = self.place(bucket);
        &mut self.0[place]
    }
}

/// Where a line's observations go.
struct List<'o> {
    observations: &'o mut Vec<Observation>,
    time: Option<Millis>,
    /// How many more this line may have.
    room: usize,
}

impl List<'_> {
    /// Adds windows in an order that does not depend on the one they were written in.
    fn add(&mut self, windows: Windows, source: LimitSource) {
        let mut windows = windows.0;
        windows.retain(Window::says_something);
        let rank = |bucket: &str| ORDER.iter().position(|known| *known == bucket);
        windows.sort_by_cached_key(|window| {
            (rank(&window.bucket).unwrap_or(ORDER.len()), window.bucket.clone())
        });
        windows.truncate(self.room);
        self.room -= windows.len();
        self.observations
            .extend(windows.into_iter().map(|window| Observation {
                bucket: window.bucket,
                utilization: window.utilization,
                remaining: window.remaining,
                limit: window.limit,
                reset_at: window.reset_at,
                observed_at: self.time,
                status: window.status,
                source,
                session: None,
                request: None,
            }));
    }
}

#[cfg(test)]
mod tests;
