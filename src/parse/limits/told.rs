//! What others tell of limits that stands in no log: the input of a status line, response headers, an event.

use super::values::{self, Entries};
use super::{Answer, List, OBSERVATIONS_MAX, Windows, bucket_name, events, headers, time};
use crate::parse::json::{self, Members, Raw};
use crate::parse::scan::{NotJson, Scanner};
use crate::record::{LimitSource, Millis, Observation};

/// What is told, each raw JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told<'a> {
    /// What a status line is given: shares are 0 to 100 in it.
    Statusline(&'a str),
    /// A map of the headers of an answer with this HTTP status.
    Headers { map: &'a str, status: Option<u64> },
    /// A line of type `rate_limit_event`, or its `rate_limit_info`.
    Event(&'a str),
}

/// The observations in it, made at `at`; none if it is not of the shape it is said to be.
#[must_use]
pub fn told(told: Told<'_>, at: Millis) -> Vec<Observation> {
    let mut observations = Vec::new();
    let mut list = List {
        observations: &mut observations,
        time: Some(at),
        room: OBSERVATIONS_MAX,
    };
    match told {
        Told::Statusline(raw) => list.add(statusline(raw), LimitSource::Statusline),
        Told::Headers { map, status } => {
            let answer = Answer::new(Some(at), status, false);
            list.add(headers::windows(Raw(Some(map)), answer), LimitSource::Headers);
        }
        Told::Event(raw) => {
            let mut event = Event::default();
            let _ = json::object(raw.as_bytes(), &mut event);
            let info = if event.info.0.is_some() {
                event.info
            } else {
                Raw(Some(raw))
            };
            let answer = Answer::new(Some(at), None, false);
            list.add(events::windows(info, answer), LimitSource::RateLimitEvent);
        }
    }
    observations
}

fn statusline(raw: &str) -> Windows {
    let mut windows = Windows::default();
    let mut input = Statusline::default();
    let _ = json::object(raw.as_bytes(), &mut input);
    for (name, value) in Entries::of(input.rate_limits).0 {
        let mut share = Percentage::default();
        if json::object(value.0.unwrap_or_default().as_bytes(), &mut share).unwrap_or(false) {
            let window = windows.at(bucket_name(&name));
            window.utilization = values::share(share.used).map(|percent| percent / 100.0);
            window.reset_at = time::reset(share.resets_at);
        }
    }
    windows
}

#[derive(Debug, Default)]
struct Event<'de> {
    info: Raw<'de>,
}

impl<'de> Members<'de> for Event<'de> {
    fn member(&mut self, key: &[u8], value: &mut Scanner<'de>) -> Result<(), NotJson> {
        match key {
            b"rate_limit_info" => self.info.0 = Some(value.raw()?),
            _ => value.skip()?,
        }
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Statusline<'de> {
    rate_limits: Raw<'de>,
}

impl<'de> Members<'de> for Statusline<'de> {
    fn member(&mut self, key: &[u8], value: &mut Scanner<'de>) -> Result<(), NotJson> {
        match key {
            b"rate_limits" => self.rate_limits.0 = Some(value.raw()?),
            _ => value.skip()?,
        }
        Ok(())
    }
}

/// One of `rate_limits`.
#[derive(Debug, Default)]
struct Percentage<'de> {
    used: Raw<'de>,
    resets_at: Raw<'de>,
}

impl<'de> Members<'de> for Percentage<'de> {
    fn member(&mut self, key: &[u8], value: &mut Scanner<'de>) -> Result<(), NotJson> {
        match key {
            b"used_percentage" => self.used.0 = Some(value.raw()?),
            b"resets_at" => self.resets_at.0 = Some(value.raw()?),
            _ => value.skip()?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::LimitStatus;

    const NOW: Millis = 1_791_190_000_000;

    fn shares(of: Told<'_>) -> Vec<(String, Option<f64>, Option<Millis>)> {
        let seen = told(of, NOW).into_iter();
        seen.map(|one| {
            assert_eq!(one.observed_at, Some(NOW));
            (one.bucket.into(), one.utilization, one.reset_at)
        })
        .collect()
    }

    #[test]
    fn a_status_line_tells_percentages() {
        let input = r#"{"model":{"id":"m"},"rate_limits":{"seven_day":{"used_percentage":100,"resets_at":1791213600},
            "five_hour":{"used_percentage":"23.5","resets_at":1791213600},"odd":7,"none":{"used_percentage":-1}}}"#;
        let reset = Some(1_791_213_600_000);
        assert_eq!(
            shares(Told::Statusline(input)),
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
            assert_eq!(shares(Told::Statusline(nothing)), [], "{nothing}");
        }
    }

    #[test]
    fn headers_and_events_tell_fractions() {
        let map = r#"{"Anthropic-RateLimit-Unified-5h-Utilization":"0.5","anthropic-ratelimit-unified-5h-reset":"1791213600"}"#;
        let reset = Some(1_791_213_600_000);
        let headers = |status| Told::Headers { map, status };
        assert_eq!(shares(headers(None)), [("five_hour".into(), Some(0.5), reset)]);
        let info =
            r#"{"status":"rejected","rateLimitType":"five_hour","resetsAt":1791213600,"utilization":1}"#;
        let line = format!(r#"{{"type":"rate_limit_event","rate_limit_info":{info}}}"#);
        for raw in [info, &line] {
            let seen = told(Told::Event(raw), NOW);
            assert_eq!((seen.len(), seen[0].status), (1, LimitStatus::Rejected), "{raw}");
            assert_eq!((seen[0].utilization, seen[0].reset_at), (Some(1.0), reset));
        }
        // A server that fails rejects nobody.
        let rejected = r#"{"anthropic-ratelimit-unified-status":"rejected","anthropic-ratelimit-unified-representative-claim":"five_hour"}"#;
        for (status, count) in [(None, 1), (Some(429), 1), (Some(529), 0)] {
            let rejections = told(
                Told::Headers {
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
