//! Random bytes as a line: the result, its repetition, and the usage found by a strict JSON parser.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

use super::claude::limits::{self, OBSERVATIONS_MAX, ReportSource, WINDOW_NAME_BYTES_MAX, reported};
use super::claude::prefilter;
use super::{LineContext, LineKind, Parsed, SHORT_LINE_BYTES_MAX, claude, line};
use crate::fuzz::{self, Target, dice};
use crate::model::{Kind, Millis, Observation, Record, Usage};
use crate::quota::exhaustion::blocked;
use crate::quota::pace::{pace, projected_exhaustion_at};
use crate::quota::window::{NamedWindow, Track, merge, view};

/// A response, the calls of other models in it, and the keys of its captured copies.
const RECORDS_MAX: usize = 1 + 256 + 2;
/// A time beyond any clock: the year 9999.
const LATEST: Millis = 253_402_300_800_000;
/// 2026-10-05T09:00:00Z.
const NOW: Millis = 1_791_190_800_000;

static PARSE: Target = Target {
    name: "parse",
    test: "parse::fuzz::any_line",
    inputs: 6_000,
    tokens: &[
        b"\"type\":\"assistant\"",
        b"\"type\":\"progress\"",
        b"\"message\":{",
        b"\"usage\":{",
        b"\"usage\":null",
        b"\"us\\u0061ge\"",
        b"\"input_tokens\":",
        b"\"output_tokens\":1.0",
        b"\"cache_creation\":{\"ephemeral_5m_input_tokens\":3}",
        b"\"cache_creation_input_tokens\":",
        b"\"server_tool_use\":{\"web_search_requests\":\"2\"}",
        b"\"iterations\":[{\"type\":\"advisor_message\",\"model\":\"m\",\"output_tokens\":9}]",
        b"{\"type\":\"advisor_message\",\"model\":\"m\"},",
        b"\"id\":\"msg_1\",",
        b"\"model\":\"<synthetic>\"",
        b"\"timestamp\":\"2026-10-05T09:00:00.000Z\"",
        b"\"isSidechain\":true,",
        b"\"data\":{\"message\":{\"message\":{\"usage\":{}}}}",
        b"\"speed\":\"fast\"",
        b"\"role\":\"assistant\"",
        b"\"total_tokens\":",
        b"\"requestRef\":\"r\",",
        b"\"requestId\":\"q\",",
        b"\"uuid\":\"u\",",
        b"\"timestamp\":1791190800,",
        b"\"_audit_timestamp\":\"2026-10-05T09:00:00.000Z\",",
        b"\"parent_tool_use_id\":\"t\",",
        b"{\"type\":\"compaction\",\"output_tokens\":9},",
        b"{\"type\":\"fallback_message\"},",
    ],
    lines_of: &["cases", "runs"],
    giant_bytes: 1 << 20,
};

static LIMITS: Target = Target {
    name: "limits",
    test: "parse::fuzz::any_limits",
    inputs: 6_000,
    tokens: &[
        b"\"type\":\"assistant\"",
        b"\"type\":\"system\",\"subtype\":\"api_error\"",
        b"\"type\":\"rate_limit_event\"",
        b"\"rateLimits\":{",
        b"\"quotaLimits\":{",
        b"\"rate_limit_info\":{",
        b"\"rate_limits\":{\"five_hour\":{\"used_percentage\":",
        b"\"headers\":{",
        b"\"unifiedWindows\":{",
        b"\"resetsAt\":",
        b"\"utilization\":",
        b"\"status\":\"rejected\"",
        b"\"status\":429",
        b"anthropic-ratelimit-unified-5h-reset",
        b"anthropic-ratelimit-unified-representative-claim",
        b"anthropic-ratelimit-tokens-remaining",
        b"retry-after",
        b"You've hit your session limit \xc2\xb7 resets ",
        b"Oct 7 at 3pm (Europe/Berlin)",
        b"Feb 29, 3pm",
        b"12am (Pacific/Kiritimati)",
        b"Claude AI usage limit reached|",
        b"\"isApiErrorMessage\":true",
        b"\"timestamp\":\"9999-12-30T22:00:00.999Z\"",
        b"\"timestamp\":\"1970-01-01T00:00:00Z\"",
        b"five_hour",
        b"seven_day",
        b"1791213600",
        b"253402207200",
        b"0.99",
    ],
    lines_of: &["cases", "limits"],
    giant_bytes: 1 << 20,
};

#[test]
fn any_line_has_one_answer_and_the_usage_a_strict_reader_finds() {
    fuzz::run(&PARSE, || judge_parse);
}

#[test]
fn any_limits_are_within_bounds() {
    fuzz::run(&LIMITS, || judge_limits);
}

type ParsedLine = (Parsed, Vec<Record>, Vec<Observation>);

fn parsed(bytes: &[u8], place: LineContext) -> ParsedLine {
    let (mut records, mut observations) = (Vec::new(), Vec::new());
    let parsed = line(bytes, place, &mut records, &mut observations);
    (parsed, records, observations)
}

/// The counted part of records, independent of the line.
fn counted(records: &[Record]) -> Vec<(Kind, &str, Usage)> {
    records
        .iter()
        .map(|record| (record.kind, &*record.model, record.usage))
        .collect()
}

fn judge_parse(input: &[u8]) {
    let input: Vec<u8> = input.iter().copied().filter(|byte| *byte != b'\n').collect();
    let answer = parsed(&input, LineContext::default());
    let (said, records, observations) = &answer;
    assert_eq!(parsed(&input, LineContext::default()), answer, "another answer");
    assert_eq!(said.class == LineKind::Usage, !records.is_empty());
    assert!(records.len() <= RECORDS_MAX, "{} records", records.len());
    assert!(observations.len() <= OBSERVATIONS_MAX);
    assert!(said.time.is_none_or(|time| (0..LATEST).contains(&time)));
    for record in records {
        let Usage {
            input,
            output,
            cache_read,
            cache_creation,
            cache_creation_5m,
            cache_creation_1h,
            web_search,
            thinking,
        } = record.usage;
        for count in [
            input,
            output,
            cache_read,
            cache_creation_5m,
            cache_creation_1h,
            web_search,
            thinking,
        ] {
            assert!(i64::try_from(count).is_ok(), "{count}");
        }
        assert!(cache_creation < u64::MAX, "the sum of two counts");
        assert!(!record.model.is_empty() && record.model.len() <= claude::model_name::MODEL_BYTES_MAX);
        assert!(!record.model.contains(char::is_control));
        assert_eq!(record.time, said.time);
        assert!(record.dating.is_own() == said.time.is_some());
    }
    // Existing list entries are kept, and the position of a line changes only keys.
    let elsewhere = LineContext {
        scope: 7,
        origin: 8,
        offset: 9,
    };
    let (mut more, mut seen) = (records.clone(), observations.clone());
    let other = line(&input, elsewhere, &mut more, &mut seen);
    // With another account it is another session.
    let reported = |parsed: &Parsed| parsed.report.map(|report| report.reported);
    assert_eq!((other.class, other.time), (said.class, said.time));
    assert_eq!(reported(&other), reported(said));
    assert_eq!(more[..records.len()], records[..]);
    assert_eq!(counted(&more[records.len()..]), counted(records));
    assert_eq!(seen.len(), 2 * observations.len());

    let Some(expected) = strictly(&input) else { return };
    assert_eq!(said.class, expected.class);
    if let Some(usage) = expected.usage {
        assert_eq!(records[0].usage, usage);
        for (what, other) in other_paths(&input, &mut dice(&input)) {
            let (other_said, other_records, _) = parsed(&other, LineContext::default());
            assert_eq!(other_said.class, LineKind::Usage, "{what}");
            assert_eq!(counted(&other_records), counted(records), "{what}");
        }
    }
}

/// Other paths of the parser for the same line.
fn other_paths(line: &[u8], random: &mut fastrand::Rng) -> Vec<(&'static str, Vec<u8>)> {
    let trimmed = line.trim_ascii();
    let padded = |line: &[u8]| {
        let pad = format!("{{\"pad\":\"{}\",", "x".repeat(SHORT_LINE_BYTES_MAX));
        [pad.as_bytes(), &line[1..]].concat()
    };
    let mut nul_within = trimmed.to_vec();
    // Between two tokens anything that is not JSON may be inserted; the first byte is a brace.
    nul_within.insert(1, [0, 1, b'\t'][random.usize(..3)]);
    let escaped = replaced(trimmed, b"\"usage\"", b"\"us\\u0061ge\"");
    let also_escaped = replaced(trimmed, b"\"usage\"", b"\"\\u0075\\u0073\\u0061\\u0067\\u0065\"");
    vec![
        ("with a BOM", [b"\xef\xbb\xbf", trimmed].concat()),
        ("with NULs around it", [b"\0\0", trimmed, b"\0"].concat()),
        ("with blanks around it", [b" \t", trimmed, b"\r"].concat()),
        ("with a control character in it", nul_within),
        ("as a long line", padded(trimmed)),
        ("as a long line with an escape in it", padded(&escaped)),
        ("as a long line that is all escapes", padded(&also_escaped)),
        ("with an escape in it", escaped),
    ]
}

fn replaced(text: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut from = 0;
    for at in memchr::memmem::find_iter(text, old) {
        out.extend_from_slice(&text[from..at]);
        out.extend_from_slice(new);
        from = at + old.len();
    }
    out.extend_from_slice(&text[from..]);
    out
}

struct Strict {
    class: LineKind,
    usage: Option<Usage>,
}

type Object<'a> = BTreeMap<String, &'a RawValue>;

fn object(raw: &RawValue) -> Option<Object<'_>> {
    serde_json::from_str(raw.get()).ok()
}

fn text(raw: Option<&&RawValue>) -> Option<String> {
    serde_json::from_str(raw?.get()).ok()
}

/// The kind of a line that serde_json accepts, computed independently: of duplicate keys the last counts.
/// `None` if serde_json refuses it, if a progress line quotes another line, or if a possible tool result has
/// usage in escapes.
fn strictly(line: &[u8]) -> Option<Strict> {
    let whole = serde_json::from_slice::<Value>(line).ok()?;
    let is = |class| Some(Strict { class, usage: None });
    if !whole.is_object() {
        // A long line is judged by its frame, but only an object has that frame.
        return is(LineKind::Malformed);
    }
    let trimmed = line.trim_ascii();
    if trimmed.len() > SHORT_LINE_BYTES_MAX
        && prefilter::is_result(trimmed)
        && prefilter::USAGE.find(trimmed).is_none()
    {
        return None;
    }
    let line: Object = serde_json::from_slice(line).ok()?;
    let kind = text(line.get("type"));
    match kind.as_deref() {
        Some("assistant") => {}
        Some("progress") => return None,
        None if !line.contains_key("type") => {}
        _ => return is(LineKind::Ignored),
    }
    let message = line.get("message").and_then(|message| object(message));
    let Some(message) = message else {
        return is(LineKind::Ignored);
    };
    let Some(raw) = message.get("usage") else {
        return is(LineKind::Ignored);
    };
    if kind.is_none() && text(message.get("role")).as_deref() != Some("assistant") {
        return is(LineKind::Ignored);
    }
    let Some(usage) = object(raw) else {
        return is(match kind {
            Some(_) => LineKind::Malformed,
            None => LineKind::Ignored,
        });
    };
    if text(message.get("model")).as_deref() == Some("<synthetic>") {
        return is(LineKind::Ignored);
    }
    let count = |key: &str| usage.get(key).and_then(|raw| count(raw));
    let below = |key: &str, inner: &str| {
        let object = usage.get(key).and_then(|raw| object(raw))?;
        object.get(inner).and_then(|raw| self::count(raw))
    };
    let five_minutes = below("cache_creation", "ephemeral_5m_input_tokens").unwrap_or(0);
    let one_hour = below("cache_creation", "ephemeral_1h_input_tokens").unwrap_or(0);
    let mut usage = Usage {
        input: count("input_tokens").unwrap_or(0),
        output: count("output_tokens").unwrap_or(0),
        cache_read: count("cache_read_input_tokens").unwrap_or(0),
        cache_creation: count("cache_creation_input_tokens")
            .unwrap_or(0)
            .max(five_minutes + one_hour),
        cache_creation_5m: five_minutes,
        cache_creation_1h: one_hour,
        web_search: below("server_tool_use", "web_search_requests").unwrap_or(0),
        thinking: below("output_tokens_details", "thinking_tokens").unwrap_or(0),
    };
    let cached = usage.cache_read.saturating_add(usage.cache_creation);
    if count("total_tokens") == Some(usage.input + usage.output) && cached <= usage.input {
        usage.input -= cached;
    }
    Some(Strict {
        class: LineKind::Usage,
        usage: Some(usage),
    })
}

/// A whole number from 0 to `i64::MAX`, as a number or as text, possibly with a point or an exponent.
fn count(raw: &RawValue) -> Option<u64> {
    let text = serde_json::from_str::<String>(raw.get());
    let text = text.as_deref().unwrap_or(raw.get()).trim();
    let whole: Option<i128> = text.parse().ok();
    let value = match whole {
        Some(whole) => whole,
        None if text.starts_with(|c: char| c.is_ascii_digit()) => {
            let number: f64 = text.parse().ok().filter(|number: &f64| number.fract() == 0.0)?;
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a float that is too large is cut to a bound"
            )]
            let whole = number as i128;
            whole
        }
        None => return None,
    };
    let is_signed = text.starts_with(['-', '+']);
    i64::try_from(value)
        .ok()
        .filter(|_| !is_signed)
        .and_then(|value| u64::try_from(value).ok())
}

fn judge_limits(input: &[u8]) {
    let (_, _, observations) = parsed(input, LineContext::default());
    judge_observations(&observations, true);
    let mut seen = observations;
    if let Ok(text) = std::str::from_utf8(input) {
        let status = [None, Some(200), Some(429), Some(529)][dice(input).usize(..4)];
        for source in [
            ReportSource::Statusline(text),
            ReportSource::Headers { map: text, status },
            ReportSource::Event(text),
        ] {
            let observations = reported(source, NOW);
            assert_eq!(observations, reported(source, NOW));
            judge_observations(&observations, false);
            seen.extend(observations);
        }
    }
    // The derived window states, and their view now and at the ends of time.
    let mut states: BTreeMap<Box<str>, Track> = BTreeMap::new();
    for one in &seen {
        let at = one.observed_at.unwrap_or(NOW);
        let merged = merge(states.get(&one.window), one, at, &[75, 90]);
        assert!(merged.track.state.utilization.is_none_or(f64::is_finite));
        let again = merge(Some(&merged.track), one, at, &[75, 90]);
        assert_eq!(again.track, merged.track, "told twice");
        states.insert(one.window.clone(), merged.track);
    }
    let windows: Vec<NamedWindow> = states
        .iter()
        .map(|(name, track)| NamedWindow {
            name,
            state: &track.state,
        })
        .collect();
    for now in [0, NOW, LATEST, Millis::MAX] {
        for window in &windows {
            let view = view(window.state, now);
            assert!(view.left.is_none_or(|left| (0.0..=1.0).contains(&left)));
            assert!(view.blocked_until.is_none_or(|until| until > now));
            let pace = pace(window.state, now);
            assert!(pace.delta.is_none_or(f64::is_finite));
            let _ = projected_exhaustion_at(window.state, now);
        }
        let _ = blocked(&windows, None, now);
        let _ = blocked(&windows, Some("claude-opus-5"), now);
    }
}

fn judge_observations(observations: &[Observation], of_a_line: bool) {
    assert!(observations.len() <= OBSERVATIONS_MAX);
    for one in observations {
        assert!(
            one.utilization
                .is_none_or(|share| share.is_finite() && share >= 0.0)
        );
        for time in [one.reset_at, one.observed_at].into_iter().flatten() {
            assert!((0..LATEST).contains(&time), "{one:?}");
        }
        assert!(of_a_line || one.observed_at == Some(NOW));
        for count in [one.remaining, one.limit].into_iter().flatten() {
            assert!(i64::try_from(count).is_ok());
        }
        assert!((1..=WINDOW_NAME_BYTES_MAX).contains(&one.window.len()));
        assert_eq!(
            limits::storable_name(&one.window),
            one.window,
            "no name in its one spelling"
        );
    }
    for (number, one) in observations.iter().enumerate() {
        let before = &observations[..number];
        assert!(
            !before
                .iter()
                .any(|other| other.window == one.window && other.source == one.source),
            "a window twice from one source: {observations:?}"
        );
    }
}
