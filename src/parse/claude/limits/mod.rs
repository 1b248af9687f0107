//! Observations of the provider's limits in a line, beside its usage.
//!
//! Each shape is accepted in its own place only, since people and tools quote all of them: `rateLimits`,
//! `quotaLimits`, `apiErrorParams` and the CLI's own sentences on assistant lines, `error` on `system` lines
//! of subtype `api_error`, `rate_limit_info` on `rate_limit_event` lines, `headers` on lines without a type.
//! Unreadable parts of an observation are left out; nothing here changes the counts of a line.
//!
//! A refusal is recognised by structure: a line written by the CLI itself with `error:"rate_limit"`, the HTTP
//! status 429 or `apiError:"usage_limit_reached"`, a status `rejected`. Prose only adds the window and its
//! end. A 429 without a named window is a pause of the account ([`COOL_DOWN`]), and the retries of one
//! request are one refusal ([`Retries`]).

mod codex;
mod events;
mod headers;
mod prose;
mod reported;
mod retries;
pub mod rollout;
mod time;
mod usage_api;
mod values;

pub use retries::Retries;

pub use reported::{ReportSource, reported};

use xxhash_rust::xxh3::xxh3_64;

use crate::json::scanner::{NotJson, Scanner};
use crate::json::{self, Members, Raw, RawBytes, members};
use crate::model::window_name::{
    self, COOL_DOWN, FIVE_HOUR, OVERAGE, OVERAGE_IN_USE, SEVEN_DAY, SEVEN_DAY_OPUS,
    SEVEN_DAY_OVERAGE_INCLUDED, SEVEN_DAY_SONNET,
};
use crate::model::{LimitSource, LimitStatus, Millis, Observation};

/// Longest stored name of a window, in bytes; the rest is cut off.
pub const WINDOW_NAME_BYTES_MAX: usize = 64;
/// The window of a rejection that names none.
pub const WINDOW_UNKNOWN: &str = window_name::UNKNOWN;
/// Most observations of one line; a real one has a few.
pub const OBSERVATIONS_MAX: usize = 32;

const MONTHLY_SPEND: &str = "monthly_spend";
/// Prefix of a model family's week, in window names and in headers.
const SEVEN_DAY_FAMILY: &str = "seven_day_";
const SEVEN_DAY_FAMILY_HEADER: &str = "7d_";

/// Known windows in the order of a line's observations; others follow by name.
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

/// Found in the message of a 429 that does not concern the account's limits.
const NOT_YOUR_LIMIT: &str = "not your usage limit";
/// The HTTP status of a refusal.
const TOO_MANY_REQUESTS: u64 = 429;
/// HTTP statuses from here on are server errors, not limits.
const SERVER_ERROR: u64 = 500;

/// The canonical name of a window; an unknown name is made fit to be stored and shown.
#[must_use]
pub fn storable_name(name: &str) -> Box<str> {
    let name = match name.trim() {
        "" => WINDOW_UNKNOWN,
        name => window_name::canonical(name),
    };
    // Cut first, so that a name of megabytes is not copied.
    let cut = name[..name.floor_char_boundary(WINDOW_NAME_BYTES_MAX)].trim_end();
    let (start, cut) = match cut.strip_prefix(SEVEN_DAY_FAMILY_HEADER) {
        Some(family) if !family.is_empty() => (SEVEN_DAY_FAMILY, family),
        _ => ("", cut),
    };
    let mut clean: String = (start.chars().chain(cut.chars()))
        .map(|c| {
            if c.is_ascii_alphanumeric() || "_-.:/ ".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    clean.truncate(clean.floor_char_boundary(WINDOW_NAME_BYTES_MAX));
    clean.into()
}

/// Raw members of a line that may contain limits.
#[derive(Debug, Default)]
pub(super) struct LimitFields<'de> {
    /// True if the line has any of them.
    any: bool,
    rate_limits: Raw<'de>,
    quota_limits: Raw<'de>,
    rate_limit_info: Raw<'de>,
    headers: Raw<'de>,
    error: Raw<'de>,
    subtype: Raw<'de>,
    status: Raw<'de>,
    is_api_error: Raw<'de>,
    api_error: Raw<'de>,
    api_error_params: Raw<'de>,
    api_error_status: Raw<'de>,
    api_error_is_transient: Raw<'de>,
    attempt: Raw<'de>,
    parent_uuid: RawBytes<'de>,
}

impl<'de> Members<'de> for LimitFields<'de> {
    fn member(&mut self, key: &[u8], value: &mut Scanner<'de>) -> Result<(), NotJson> {
        let place = match key {
            // Every line has it, so it does not set `any`.
            b"parentUuid" => {
                self.parent_uuid.0 = Some(value.raw_bytes()?);
                return Ok(());
            }
            b"rateLimits" => &mut self.rate_limits,
            b"quotaLimits" => &mut self.quota_limits,
            b"rate_limit_info" => &mut self.rate_limit_info,
            b"headers" => &mut self.headers,
            b"error" => &mut self.error,
            b"subtype" => &mut self.subtype,
            b"status" => &mut self.status,
            b"isApiErrorMessage" | b"is_api_error_message" => &mut self.is_api_error,
            b"apiError" | b"api_error" => &mut self.api_error,
            b"apiErrorParams" | b"api_error_params" => &mut self.api_error_params,
            b"apiErrorStatus" | b"api_error_status" | b"error_status" => &mut self.api_error_status,
            b"apiErrorIsTransient" | b"api_error_is_transient" => &mut self.api_error_is_transient,
            b"retryAttempt" | b"attempt" => &mut self.attempt,
            _ => return value.skip(),
        };
        place.0 = Some(value.raw()?);
        self.any = true;
        Ok(())
    }
}

/// Other properties of a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct LimitLine<'a> {
    /// Its `type`.
    pub kind: Option<&'a [u8]>,
    pub time: Option<Millis>,
    /// True if the model is the CLI's placeholder for its own lines.
    pub is_synthetic: bool,
    pub session_id: RawBytes<'a>,
    pub request_id: RawBytes<'a>,
    pub uuid: RawBytes<'a>,
    /// The whole line.
    pub text: &'a [u8],
}

/// The response that a limit came with.
#[derive(Clone, Copy, Debug)]
struct Answer {
    time: Option<Millis>,
    /// Its HTTP status.
    status: Option<u64>,
    /// True if the server reports that it is busy, so that the account's limits are not the cause.
    is_transient: bool,
}

impl Answer {
    fn new(time: Option<Millis>, status: Option<u64>, is_transient: bool) -> Self {
        Self {
            time,
            status,
            is_transient,
        }
    }

    /// True if a rejection may be due to the account's limits.
    fn may_reject(self) -> bool {
        !self.is_transient && self.status.is_none_or(|status| status < SERVER_ERROR)
    }

    /// True if the HTTP status is that of a refusal.
    fn is_refusal(self) -> bool {
        self.status == Some(TOO_MANY_REQUESTS)
    }

    /// Clears a refusal that is not due to the account's limits, including its reset.
    fn clear_transient_refusal(self, window: &mut WindowFields) {
        if window.status == LimitStatus::Rejected && !self.may_reject() {
            *window = WindowFields {
                utilization: window.utilization,
                reset_at: window.reset_at.filter(|_| window.utilization.is_some()),
                ..WindowFields::new(std::mem::take(&mut window.name))
            };
        }
    }

    /// The pause after a refusal without a named window. A busy server pauses the account only if it gives an
    /// end.
    fn cool_down(self, retry_at: Option<Millis>) -> SourceWindows {
        let is_pause = self.is_refusal() && (!self.is_transient || retry_at.is_some());
        SourceWindows(Vec::from_iter(is_pause.then(|| WindowFields {
            status: LimitStatus::Rejected,
            reset_at: retry_at,
            ..WindowFields::new(COOL_DOWN.into())
        })))
    }
}

/// The observation of overage in use.
fn overage(in_use: bool) -> WindowFields {
    WindowFields {
        utilization: Some(if in_use { 1.0 } else { 0.0 }),
        ..WindowFields::new(OVERAGE_IN_USE.into())
    }
}

/// The status of the window named by a verdict: a request paid as overage was allowed whatever the window's
/// state is, so it counts only if the window has room.
fn verdict(status: LimitStatus, in_use: Option<bool>, share: Option<f64>) -> LimitStatus {
    let has_room = share.is_some_and(|share| share < 1.0);
    if in_use == Some(true) && status != LimitStatus::Rejected && !has_room {
        LimitStatus::Unknown
    } else {
        status
    }
}

/// The time named by the text of a `retry-after` header of a response at this time; zero means none.
#[must_use]
pub fn retry_after(text: &str, at: Millis) -> Option<Millis> {
    let text = text.trim();
    let raw = if text.parse::<f64>().is_ok() {
        text.to_owned()
    } else {
        serde_json::Value::from(text).to_string()
    };
    time::retry_after(Raw(Some(&raw)), Some(at))
}

/// A hash of an id.
fn id_hash(id: RawBytes<'_>) -> Option<u64> {
    id.text().map(|id| xxh3_64(&id))
}

impl LimitFields<'_> {
    /// True if there is anything to read. `is_synthetic` lines contain prose, without a member for it.
    pub fn any(&self, is_synthetic: bool) -> bool {
        self.any || is_synthetic
    }

    /// Appends the line's observations, at most [`OBSERVATIONS_MAX`].
    pub fn observe(&self, line: &LimitLine<'_>, retries: &mut Retries, observations: &mut Vec<Observation>) {
        let first = observations.len();
        let mut list = ObservationList::new(observations, line.time);
        list.session = id_hash(line.session_id);
        list.request = id_hash(line.request_id).or(id_hash(line.uuid));
        let subtype = self.subtype.text();
        match (line.kind, subtype.as_deref()) {
            (Some(b"assistant"), _) => self.assistant(line, &mut list),
            (Some(b"system"), Some(b"api_error")) => self.api_error(line, &mut list),
            (Some(b"system"), Some(b"api_retry")) => {
                let status = self.api_error_status.count();
                let status = status.or(self.is_rate_limit().then_some(TOO_MANY_REQUESTS));
                let answer = Answer::new(line.time, status, self.api_error_is_transient.is("true"));
                list.add(answer.cool_down(None), LimitSource::ApiError);
            }
            (Some(b"rate_limit_event"), _) => {
                let answer = Answer::new(line.time, None, false);
                // The event is about all requests of a session, so its uuid identifies none.
                list.request = None;
                list.add(
                    events::windows(self.rate_limit_info, answer),
                    LimitSource::RateLimitEvent,
                );
            }
            (None, _) => {
                let answer = Answer::new(line.time, self.status.count(), false);
                list.add_headers(headers::read(self.headers, answer), answer, LimitSource::Headers);
            }
            (Some(_), _) => {}
        }
        let refusals = &mut observations[first..];
        if refusals.iter().any(|one| one.status == LimitStatus::Rejected) {
            let step = retries::Step {
                uuid: id_hash(line.uuid),
                parent: id_hash(self.parent_uuid),
                session: id_hash(line.session_id),
                attempt: self.attempt.count(),
            };
            for refusal in refusals {
                refusal.request = refusal.request.map(|request| retries.first_of(step, request));
            }
        }
    }

    fn is_rate_limit(&self) -> bool {
        self.error.text().as_deref() == Some(b"rate_limit")
    }

    /// True if the members of a CLI line indicate a refused request, whatever its text is.
    fn is_refusal(&self, answer: Answer) -> bool {
        answer.is_refusal()
            || self.is_rate_limit()
            || self.api_error.text().as_deref() == Some(b"usage_limit_reached")
    }

    fn assistant(&self, line: &LimitLine<'_>, list: &mut ObservationList<'_>) {
        // Only text of the CLI itself counts.
        let is_own = line.is_synthetic || self.is_api_error.is("true");
        let opening = is_own.then(|| prose::opening(line.text)).flatten();
        let is_transient = self.api_error_is_transient.is("true")
            || opening
                .as_deref()
                .is_some_and(|text| text.contains(NOT_YOUR_LIMIT));
        let answer = Answer::new(line.time, self.api_error_status.count(), is_transient);
        list.add_headers(
            headers::read(self.rate_limits, answer),
            Answer {
                status: None,
                ..answer
            },
            LimitSource::RateLimits,
        );
        let before = list.room;
        let mut is_refused = list.add(
            events::windows(self.quota_limits, answer),
            LimitSource::QuotaLimits,
        );
        if !is_refused {
            let mut params = Params::default();
            let _ = json::object(
                self.api_error_params.0.unwrap_or_default().as_bytes(),
                &mut params,
            );
            is_refused = list.add(events::windows(params.info, answer), LimitSource::QuotaLimits);
        }
        // The sentence repeats the objects, less exactly.
        if is_refused || !is_own || !answer.may_reject() {
            return;
        }
        let words = opening.as_deref().unwrap_or_default();
        let said = if self.is_refusal(answer) {
            Some(prose::refused(words, line.time))
        } else {
            prose::known(words, line.time).filter(|_| list.room == before)
        };
        list.add(SourceWindows(said.into_iter().collect()), LimitSource::Prose);
    }

    fn api_error(&self, line: &LimitLine<'_>, list: &mut ObservationList<'_>) {
        let mut error = ApiError::default();
        let Some(raw) = self.error.0 else { return };
        if !json::object(raw.as_bytes(), &mut error).unwrap_or(false) {
            return;
        }
        // The sentence is in `message`, `formatted` or the body of the response.
        let is_transient = self.api_error_is_transient.is("true")
            || error.is_transient.is("true")
            || raw.contains(NOT_YOUR_LIMIT);
        let answer = Answer::new(line.time, error.status.count(), is_transient);
        list.request = id_hash(RawBytes(error.request_id.0.map(str::as_bytes))).or(list.request);
        let is_refused = list.add(events::windows(error.rate_limits, answer), LimitSource::ApiError);
        let said = headers::read(error.headers, answer);
        let retry_at = said.retry_at;
        let is_refused = list.add(said.windows, LimitSource::Headers) || is_refused;
        if !is_refused {
            list.add(answer.cool_down(retry_at), LimitSource::ApiError);
        }
    }
}

members! {
    /// `apiErrorParams` of a limit line.
    struct Params<'de> {
        info: Raw<'de> = b"rate_limit_info",
    }
}

members! {
    /// `error` of a `system` line of subtype `api_error`.
    struct ApiError<'de> {
        status: Raw<'de> = b"status",
        rate_limits: Raw<'de> = b"rateLimits",
        headers: Raw<'de> = b"headers",
        is_transient: Raw<'de> = b"apiErrorIsTransient",
        request_id: Raw<'de> = b"requestId" | b"requestID" | b"request_id",
    }
}

/// The content of one line about one window.
#[derive(Clone, Debug, Default)]
struct WindowFields {
    name: Box<str>,
    utilization: Option<f64>,
    remaining: Option<u64>,
    limit: Option<u64>,
    reset_at: Option<Millis>,
    status: LimitStatus,
}

impl WindowFields {
    fn new(name: Box<str>) -> Self {
        Self {
            name,
            ..Self::default()
        }
    }

    /// Applies the verdict on the request, which names this window. It overrides the window's own status only
    /// if the request was refused.
    fn take_verdict(&mut self, verdict: LimitStatus) {
        if verdict == LimitStatus::Rejected || self.status == LimitStatus::Unknown {
            self.status = verdict;
        }
    }

    /// True if it has content; a window without a name must at least be used up.
    fn has_content(&self) -> bool {
        let is_used = self.utilization.is_some() || self.status == LimitStatus::Rejected;
        let is_named = &*self.name != WINDOW_UNKNOWN;
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
struct SourceWindows(Vec<WindowFields>);

impl SourceWindows {
    /// The index of a window, added at the end if it is new.
    fn place(&mut self, name: Box<str>) -> usize {
        let known = self.0.iter().position(|window| window.name == name);
        known.unwrap_or_else(|| {
            self.0.push(WindowFields::new(name));
            self.0.len() - 1
        })
    }

    fn at(&mut self, name: Box<str>) -> &mut WindowFields {
        let place = self.place(name);
        &mut self.0[place]
    }
}

/// The observations of a line.
struct ObservationList<'o> {
    observations: &'o mut Vec<Observation>,
    time: Option<Millis>,
    session: Option<u64>,
    request: Option<u64>,
    /// Remaining number of observations for this line.
    room: usize,
}

impl<'o> ObservationList<'o> {
    fn new(observations: &'o mut Vec<Observation>, time: Option<Millis>) -> Self {
        Self {
            observations,
            time,
            session: None,
            request: None,
            room: OBSERVATIONS_MAX,
        }
    }

    /// Adds windows in an order that does not depend on the source's. Returns true if one of them is refused.
    fn add(&mut self, windows: SourceWindows, source: LimitSource) -> bool {
        let mut windows = windows.0;
        windows.retain(WindowFields::has_content);
        let rank = |name: &str| ORDER.iter().position(|known| *known == name);
        windows.sort_by_cached_key(|window| (rank(&window.name).unwrap_or(ORDER.len()), window.name.clone()));
        windows.truncate(self.room);
        self.room -= windows.len();
        let is_refused = |window: &WindowFields| window.status == LimitStatus::Rejected;
        let any_refused = windows.iter().any(is_refused);
        let (session, request, time) = (self.session, self.request, self.time);
        self.observations.extend(windows.into_iter().map(|window| {
            // An end before the refusal is invalid.
            let is_over = |reset: &Millis| is_refused(&window) && time.is_some_and(|time| *reset <= time);
            Observation {
                reset_at: window.reset_at.filter(|reset| !is_over(reset)),
                request: request.filter(|_| is_refused(&window)),
                window: window.name,
                utilization: window.utilization,
                remaining: window.remaining,
                limit: window.limit,
                observed_at: time,
                status: window.status,
                source,
                session,
            }
        }));
        any_refused
    }

    /// Adds the windows of headers, and a pause if they refuse the request without a window.
    fn add_headers(&mut self, said: headers::HeaderLimits, answer: Answer, source: LimitSource) {
        if !self.add(said.windows, source) && said.any {
            self.add(answer.cool_down(said.retry_at), source);
        }
    }
}

#[cfg(test)]
mod tests;
