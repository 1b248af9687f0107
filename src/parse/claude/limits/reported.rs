//! Reports of limits that no log contains: the input of a status line, response headers, an event, the body
//! of a usage API, limits of Codex.

use super::values::{self, Entries};
use super::{
    Answer, ObservationList, SourceWindows, codex, events, headers, id_hash, storable_name, time, usage_api,
};
use crate::json::{Raw, RawBytes};
use crate::model::{LimitSource, LimitStatus, Millis, Observation};

/// A reported source as raw JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportSource<'a> {
    /// The input of a status line; its shares are 0 to 100.
    Statusline(&'a str),
    /// A map of the headers of a response with this HTTP status.
    Headers { map: &'a str, status: Option<u64> },
    /// A line of type `rate_limit_event`, or its `rate_limit_info`.
    Event(&'a str),
    /// The body of a usage API, of Claude or of Codex, or Claude Code's kept copy of the former.
    Usage(&'a str),
    /// The copy alone, which contains the time of fetching.
    Kept(&'a str),
    /// `rate_limits` of Codex.
    Codex(&'a str),
}

/// The observations in a source, made at `at`; none if it does not have the expected shape.
#[must_use]
pub fn reported(source: ReportSource<'_>, at: Millis) -> Vec<Observation> {
    let mut observations = Vec::new();
    let mut list = ObservationList::new(&mut observations, Some(at));
    let answer = Answer::new(Some(at), None, false);
    match source {
        ReportSource::Statusline(raw) => {
            list.session = session(raw);
            list.add(statusline(raw), LimitSource::Statusline);
        }
        ReportSource::Headers { map, status } => {
            let answer = Answer::new(Some(at), status, false);
            let mut said = headers::read(Raw(Some(map)), answer);
            // A reported 429 without any such header is a plain 429.
            said.any |= map.starts_with('{');
            list.add_headers(said, answer, LimitSource::Headers);
        }
        ReportSource::Event(raw) => {
            list.session = session(raw);
            let info = Entries::of(Raw(Some(raw))).get(&["rate_limit_info"]);
            let info = if info.0.is_some() { info } else { Raw(Some(raw)) };
            list.add(events::windows(info, answer), LimitSource::RateLimitEvent);
        }
        ReportSource::Usage(raw) | ReportSource::Kept(raw) => {
            let value = Raw(Some(raw));
            if let Some((fetched_at, body)) = usage_api::kept(value) {
                list.time = Some(fetched_at);
                list.add(usage_api::windows(body), LimitSource::AgentCache);
            } else if matches!(source, ReportSource::Usage(_)) {
                let is_codex = Entries::of(value).get(&["rate_limit"]).0.is_some();
                if is_codex {
                    list.add(codex::windows(value, answer), LimitSource::WhamUsage);
                } else {
                    list.add(usage_api::windows(value), LimitSource::UsageApi);
                }
            }
        }
        ReportSource::Codex(raw) => {
            list.add(codex::windows(Raw(Some(raw)), answer), LimitSource::Codex);
        }
    }
    // An end alone is no reading: it must not make a known share unknown.
    observations.retain(|one| {
        one.utilization.is_some()
            || one.status != LimitStatus::Unknown
            || one.remaining.is_some()
            || one.limit.is_some()
    });
    observations
}

/// The session of a status line or an event.
fn session(raw: &str) -> Option<u64> {
    let id = Entries::of(Raw(Some(raw))).get(&["session_id"]);
    id_hash(RawBytes(id.0.map(str::as_bytes)))
}

fn statusline(raw: &str) -> SourceWindows {
    let mut windows = SourceWindows::default();
    for (name, value) in Entries::of(Entries::of(Raw(Some(raw))).get(&["rate_limits"])).0 {
        let window = Entries::of(value);
        let place = windows.at(storable_name(&name));
        place.utilization = values::percent(window.get(&["used_percentage"]));
        place.reset_at = time::reset(window.get(&["resets_at"]));
    }
    windows
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = 1_791_190_000_000;

    fn shares(of: ReportSource<'_>) -> Vec<(String, Option<f64>, Option<Millis>)> {
        let seen = reported(of, NOW).into_iter();
        seen.map(|one| {
            assert_eq!(one.observed_at, Some(NOW));
            (one.window.into(), one.utilization, one.reset_at)
        })
        .collect()
    }

    #[test]
    fn a_status_line_has_percentages() {
        let input = r#"{"model":{"id":"m"},"rate_limits":{"seven_day":{"used_percentage":100,"resets_at":1791213600},
            "five_hour":{"used_percentage":"23.5","resets_at":1791213600},"odd":7,"none":{"used_percentage":-1}}}"#;
        let reset = Some(1_791_213_600_000);
        assert_eq!(
            shares(ReportSource::Statusline(input)),
            [
                ("five_hour".into(), Some(0.235), reset),
                ("seven_day".into(), Some(1.0), reset)
            ]
        );
        for nothing in [
            "{}",
            "[]",
            "7",
            r#"{"rate_limits":null}"#,
            r#"{"rate_limits":{"five_hour":{}}}"#,
            "{",
        ] {
            assert_eq!(shares(ReportSource::Statusline(nothing)), [], "{nothing}");
        }
    }

    #[test]
    fn headers_and_events_have_fractions() {
        let map = r#"{"Anthropic-RateLimit-Unified-5h-Utilization":"0.5","anthropic-ratelimit-unified-5h-reset":"1791213600"}"#;
        let reset = Some(1_791_213_600_000);
        let headers = |status| ReportSource::Headers { map, status };
        assert_eq!(shares(headers(None)), [("five_hour".into(), Some(0.5), reset)]);
        let info =
            r#"{"status":"rejected","rateLimitType":"five_hour","resetsAt":1791213600,"utilization":1}"#;
        let line = format!(r#"{{"type":"rate_limit_event","rate_limit_info":{info}}}"#);
        for raw in [info, &line] {
            let seen = reported(ReportSource::Event(raw), NOW);
            assert_eq!((seen.len(), seen[0].status), (1, LimitStatus::Rejected), "{raw}");
            assert_eq!((seen[0].utilization, seen[0].reset_at), (Some(1.0), reset));
        }
        // A server error is no rejection.
        let rejected = r#"{"anthropic-ratelimit-unified-status":"rejected","anthropic-ratelimit-unified-representative-claim":"five_hour"}"#;
        for (status, count) in [(None, 1), (Some(429), 1), (Some(529), 0)] {
            let rejections = reported(
                ReportSource::Headers {
                    map: rejected,
                    status,
                },
                NOW,
            );
            let rejections = rejections
                .iter()
                .filter(|one| one.status == LimitStatus::Rejected);
            assert_eq!(rejections.count(), count, "{status:?}");
        }
    }
}
