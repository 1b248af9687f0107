//! Tests of each source with invented lines, of similar lines without limits, and of random lines.

use proptest::prelude::*;

use super::LimitStatus::{Allowed, AllowedWarning, Rejected, Unknown};
use super::*;
use crate::model::Record;
use crate::parse::{LineContext, LineKind, Parsed, SHORT_LINE_BYTES_MAX};

/// 2026-10-05T12:00:00Z, the time of all lines here.
const NOW: Millis = 1_791_201_600_000;
const TIME: &str = r#""timestamp":"2026-10-05T12:00:00.000Z""#;
/// A reset in seconds, and in milliseconds.
const RESET: &str = "1791213600";
const RESET_MS: Millis = 1_791_213_600_000;

fn parsed(line: &[u8]) -> (Parsed, Vec<Record>, Vec<Observation>) {
    let (mut records, mut observations) = (Vec::new(), Vec::new());
    let parsed = crate::parse::line(line, LineContext::default(), &mut records, &mut observations);
    (parsed, records, observations)
}

fn observations(line: &str) -> Vec<Observation> {
    parsed(line.as_bytes()).2
}

/// Window, share, reset and status.
type Seen = (String, Option<f64>, Option<Millis>, LimitStatus);

fn seen(line: &str) -> Vec<Seen> {
    observations(line)
        .into_iter()
        .map(|found| {
            (
                found.window.into(),
                found.utilization,
                found.reset_at,
                found.status,
            )
        })
        .collect()
}

fn window(
    name: &str,
    utilization: impl Into<Option<f64>>,
    reset: impl Into<Option<Millis>>,
    status: LimitStatus,
) -> Seen {
    (name.to_owned(), utilization.into(), reset.into(), status)
}

fn assistant(members: &str) -> String {
    format!(
        r#"{{"type":"assistant",{TIME},"message":{{"id":"msg_1","model":"m","usage":{{"output_tokens":7}}}},{members}}}"#
    )
}

/// A line written by the CLI itself.
fn spoken(text: &str, members: &str) -> String {
    let text = serde_json::Value::from(text);
    format!(
        r#"{{"type":"assistant",{TIME},"isApiErrorMessage":true,"message":{{"id":"x","model":"<synthetic>","content":[{{"type":"text","text":{text}}}],"usage":{{"output_tokens":0}}}}{members}}}"#
    )
}

fn api_error(error: &str) -> String {
    format!(r#"{{"type":"system","subtype":"api_error",{TIME},"error":{error}}}"#)
}

fn event(info: &str) -> String {
    format!(r#"{{"type":"rate_limit_event",{TIME},"rate_limit_info":{info}}}"#)
}

#[test]
fn names() {
    for (name, want) in [
        ("5h", "five_hour"),
        ("five_hour", "five_hour"),
        ("7d", "seven_day"),
        ("weekly", "seven_day"),
        ("7d_opus", "seven_day_opus"),
        ("7d_sonnet", "seven_day_sonnet"),
        ("sonnet_weekly", "seven_day_sonnet"),
        ("7d_oi", "seven_day_overage_included"),
        ("overage", "overage"),
        (" a new one ", "a new one"),
        ("a\nb", "a_b"),
        ("sk<x@y.z>\u{202e}", "sk_x_y.z__"),
        ("", WINDOW_UNKNOWN),
        (" ", WINDOW_UNKNOWN),
    ] {
        assert_eq!(&*storable_name(name), want, "{name}");
    }
    for long in [
        "ä".repeat(99),
        "\u{1}".repeat(99),
        format!("x{}", "日".repeat(99)),
    ] {
        let name = storable_name(&long);
        assert!((1..=WINDOW_NAME_BYTES_MAX).contains(&name.len()), "{name}");
    }
}

#[test]
fn remaining_and_limit_on_an_assistant_line() {
    let five = "anthropic-ratelimit-unified-5h";
    let line = assistant(&format!(
        r#""rateLimits":{{"{five}-requests-remaining":"87","{five}-requests-limit":"200","{five}-tokens-remaining":850000,"{five}-tokens-limit":1000000,"{five}-reset":"2026-10-05T18:00:00Z","anthropic-ratelimit-unified-7d-requests-limit":"100","anthropic-ratelimit-unified-7d-requests-remaining":"25"}}"#
    ));
    let wanted = |name: &str, utilization, remaining, limit, reset_at| Observation {
        window: name.into(),
        utilization: Some(utilization),
        remaining: Some(remaining),
        limit: Some(limit),
        reset_at,
        observed_at: Some(NOW),
        status: Unknown,
        source: LimitSource::RateLimits,
        session: None,
        request: None,
    };
    assert_eq!(
        observations(&line),
        [
            wanted("five_hour", 0.15, 850_000, 1_000_000, Some(1_791_223_200_000)),
            wanted("seven_day", 0.75, 25, 100, None),
        ]
    );
    for (members, utilization, reset) in [
        (r#""5h-tokens-remaining":0,"5h-tokens-limit":9"#, Some(1.0), None),
        (
            r#""5h-tokens-remaining":9,"5h-tokens-limit":0,"5h-reset":1791213600"#,
            None,
            Some(RESET_MS),
        ),
        (
            r#""5h-tokens-remaining":"x","5h-tokens-limit":null,"5h-requests-remaining":12,"5h-requests-limit":10"#,
            Some(0.0),
            None,
        ),
        (r#""5h-tokens-remaining":5"#, None, None),
        (r#""5h-utilization":"0.42","5h-reset":"soon""#, Some(0.42), None),
    ] {
        let members = members.replace("\"5h-", "\"Anthropic-RateLimit-Unified-5h-");
        let line = assistant(&format!(r#""rateLimits":{{{members}}}"#));
        assert_eq!(
            seen(&line),
            [window("five_hour", utilization, reset, Unknown)],
            "{line}"
        );
        assert_eq!(parsed(line.as_bytes()).0.class, LineKind::Usage);
    }
}

#[test]
fn a_limit_line_has_one_observation() {
    let object = format!(
        r#"{{"status":"rejected","resetsAt":{RESET},"rateLimitType":"five_hour","overageStatus":"rejected"}}"#
    );
    let sentence = "You've hit your session limit · resets 3:40pm (UTC)";
    let line = spoken(sentence, &format!(r#","quotaLimits":{object}"#));
    assert_eq!(
        observations(&line),
        [Observation {
            window: "five_hour".into(),
            utilization: None,
            remaining: None,
            limit: None,
            reset_at: Some(RESET_MS),
            observed_at: Some(NOW),
            status: Rejected,
            source: LimitSource::QuotaLimits,
            session: None,
            request: None,
        }]
    );
    // The object alone is enough; with an empty one the sentence is used.
    let bare = format!(r#"{{"type":"assistant","quotaLimits":{object}}}"#);
    assert_eq!(seen(&bare), [window("five_hour", None, RESET_MS, Rejected)]);
    assert_eq!(observations(&bare)[0].observed_at, None);
    for empty in ["{}", "null", "[]", "7"] {
        let line = spoken(sentence, &format!(r#","quotaLimits":{empty}"#));
        assert_eq!(observations(&line)[0].source, LimitSource::Prose, "{empty}");
    }
    // Without a reset or a name it is still a rejection.
    for (object, want) in [
        (
            r#"{"status":"rejected","rateLimitType":"7d","resetsAt":"x"}"#,
            "seven_day",
        ),
        (r#"{"status":"rejected","rateLimitType":7}"#, WINDOW_UNKNOWN),
    ] {
        let line = assistant(&format!(r#""quotaLimits":{object}"#));
        assert_eq!(seen(&line), [window(want, None, None, Rejected)], "{object}");
    }
}

#[test]
fn errors_of_the_api() {
    let limits = format!(r#"{{"status":"rejected","resetsAt":{RESET},"rateLimitType":"five_hour"}}"#);
    let line = api_error(&format!(r#"{{"status":429,"rateLimits":{limits}}}"#));
    assert_eq!(seen(&line), [window("five_hour", None, RESET_MS, Rejected)]);
    assert_eq!(observations(&line)[0].source, LimitSource::ApiError);
    // If the account's limits are not the cause, at most the window's end is used.
    for error in [
        format!(r#"{{"status":529,"rateLimits":{limits}}}"#),
        format!(r#"{{"status":"503","rateLimits":{limits}}}"#),
        format!(r#"{{"status":429,"apiErrorIsTransient":true,"rateLimits":{limits}}}"#),
        format!(
            r#"{{"status":429,"error":{{"message":"busy (not your usage limit)"}},"rateLimits":{limits}}}"#
        ),
    ] {
        assert_eq!(seen(&api_error(&error)), [], "{error}");
    }
    for error in [
        r#"{"status":529,"rateLimits":null}"#,
        r#"{"status":529,"rateLimits":{}}"#,
        r#"{"status":529,"rateLimits":{"status":"rejected"}}"#,
        r#"{"status":503,"headers":{"retry-after":"7","anthropic-ratelimit-unified-status":"allowed"}}"#,
        r#"{"isNetworkDown":true,"rateLimits":null}"#,
        r#""rate_limit""#,
        "null",
        "[]",
    ] {
        assert_eq!(seen(&api_error(error)), [], "{error}");
    }
    // Older lines have the headers of the response.
    let line = api_error(
        r#"{"status":429,"headers":{"anthropic-ratelimit-unified-status":"rejected","anthropic-ratelimit-unified-representative-claim":"seven_day","retry-after":"60"}}"#,
    );
    assert_eq!(seen(&line), [window("seven_day", None, NOW + 60_000, Rejected)]);
    assert_eq!(observations(&line)[0].source, LimitSource::Headers);
}

#[test]
fn headers_in_the_log_of_a_proxy() {
    let unified = "anthropic-ratelimit-unified";
    let log = |status: u16, headers: &str| format!(r#"{{{TIME},"status":{status},"headers":{{{headers}}}}}"#);
    // Names in any case, values as numbers, strings and lists of one; the order is fixed.
    let line = log(
        200,
        &format!(
            r#""x-other":"1","{unified}-zz-utilization":0.5,"{unified}-aa-utilization":0.5,"Anthropic-RateLimit-Unified-Status":"allowed_warning","{unified}-representative-claim":"seven_day","{unified}-7d_oi-utilization":"0.31","{unified}-7d_opus-utilization":["0.10"],"{unified}-7d_sonnet-utilization":["1","2"],"{unified}-7d-utilization":0.85,"{unified}-reset":{RESET},"{unified}-overage-utilization":"0.2","{unified}-overage-status":"rejected","{unified}-overage-disabled-reason":"x","{unified}-fallback-percentage":"0.5","{unified}-5h-status":"allowed","{unified}-5h-reset":"{RESET}","{unified}-7d-surpassed-threshold":"0.75","{unified}-5h-utilization":"nan""#
        ),
    );
    assert_eq!(
        seen(&line),
        [
            window("five_hour", None, RESET_MS, Allowed),
            window("seven_day", 0.85, RESET_MS, AllowedWarning),
            window("seven_day_opus", 0.10, None, Unknown),
            window("seven_day_overage_included", 0.31, None, Unknown),
            window("overage", 0.2, None, Unknown),
            window("aa", 0.5, None, Unknown),
            window("zz", 0.5, None, Unknown),
        ]
    );
    // A rejection applies to the claimed window.
    let rejected = format!(
        r#""{unified}-status":"rejected","{unified}-representative-claim":"five_hour","{unified}-5h-utilization":"1.02","{unified}-7d-utilization":"0.5","{unified}-overage-status":"rejected","retry-after":"90""#
    );
    let five = |reset: Option<Millis>, status| window("five_hour", 1.02, reset, status);
    let seven = window("seven_day", 0.5, None, Unknown);
    for (status, want) in [
        (429, five(Some(NOW + 90_000), Rejected)),
        (200, five(None, Rejected)),
        (529, five(None, Unknown)),
    ] {
        assert_eq!(seen(&log(status, &rejected)), [want, seven.clone()], "{status}");
    }
    // It overrides the window's own status; any other verdict does not.
    for (verdict, own, want) in [
        ("rejected", "allowed", Rejected),
        ("allowed", "allowed_warning", AllowedWarning),
        ("allowed", "rejected", Rejected),
    ] {
        let headers = format!(
            r#""{unified}-status":"{verdict}","{unified}-representative-claim":"five_hour","{unified}-5h-status":"{own}""#
        );
        assert_eq!(
            seen(&log(200, &headers)),
            [window("five_hour", None, None, want)],
            "{headers}"
        );
    }
    // Without a claim it applies to an unknown window; `retry-after` is bounded.
    let unnamed = format!(r#""{unified}-status":"rejected""#);
    assert_eq!(
        seen(&log(429, &unnamed)),
        [window(WINDOW_UNKNOWN, None, None, Rejected)]
    );
    for none in ["0", "-1", "\"Mon\"", "1e300", "null"] {
        let headers = format!(r#"{unnamed},"retry-after":{none}"#);
        assert_eq!(
            seen(&log(429, &headers)),
            [window(WINDOW_UNKNOWN, None, None, Rejected)],
            "{none}"
        );
    }
    assert_eq!(seen(&log(200, &unnamed.replace("rejected", "allowed"))), []);
    // A line of another kind may quote headers.
    assert_eq!(
        seen(&log(429, &rejected).replacen('{', r#"{"type":"user","#, 1)),
        []
    );
}

#[test]
fn headers_of_an_api_key() {
    let line = format!(
        r#"{{{TIME},"headers":{{"anthropic-ratelimit-tokens-remaining":"75","anthropic-ratelimit-tokens-limit":"100","anthropic-ratelimit-requests-remaining":"999","anthropic-ratelimit-requests-limit":"1000","anthropic-ratelimit-requests-reset":"2026-10-05T12:30:01Z","anthropic-ratelimit-input-tokens-limit":"5","anthropic-ratelimit-output-tokens-limit":"5","anthropic-ratelimit-output-tokens-remaining":"5","anthropic-ratelimit-other-limit":"5"}}}}"#
    );
    assert_eq!(
        seen(&line),
        [
            window("requests", 0.001, 1_791_203_401_000, Unknown),
            window("tokens", 0.25, None, Unknown),
            window("input_tokens", None, None, Unknown),
            window("output_tokens", 0.0, None, Unknown),
        ]
    );
}

#[test]
fn events_with_and_without_windows() {
    for (info, want) in [
        (
            format!(
                r#"{{"status":"allowed","resetsAt":{RESET},"rateLimitType":"five_hour","overageStatus":"rejected","overageResetsAt":1793491200}}"#
            ),
            vec![window("five_hour", None, RESET_MS, Allowed)],
        ),
        (
            format!(
                r#"{{"status":"rejected","resetsAt":1,"rateLimitType":"five_hour","utilization":0.9,"unifiedWindows":{{"seven_day":{{"utilization":"0.77","resetsAt":"{RESET}000"}},"five_hour":{{"utilization":1.02,"resetsAt":{RESET}}},"seven_day_opus":null}}}}"#
            ),
            vec![
                window("five_hour", 1.02, RESET_MS, Rejected),
                window("seven_day", 0.77, RESET_MS, Unknown),
            ],
        ),
        (
            format!(
                r#"{{"status":"allowed_warning","resetsAt":{RESET}000,"utilization":0.85,"rateLimitType":"weekly","unifiedWindows":{{"five_hour":{{}}}}}}"#
            ),
            vec![window("seven_day", 0.85, RESET_MS, AllowedWarning)],
        ),
        (
            format!(
                r#"{{"status":"rejected","resetsAt":{RESET},"rateLimitType":"five_hour","unifiedWindows":{{"five_hour":{{"utilization":1,"resetsAt":{RESET},"status":"rejected"}},"seven_day":{{"resetsAt":{RESET},"status":"allowed_warning","surpassedThreshold":0.9}},"seven_day_opus":{{"utilization":1,"status":"rejected"}}}}}}"#
            ),
            vec![
                window("five_hour", 1.0, RESET_MS, Rejected),
                window("seven_day", 0.9, RESET_MS, AllowedWarning),
                window("seven_day_opus", 1.0, None, Rejected),
            ],
        ),
        (
            format!(
                r#"{{"status":"allowed","resetsAt":{RESET},"rateLimitType":"five_hour","surpassedThreshold":0.75,"unifiedWindows":{{"five_hour":{{"status":"allowed_warning"}}}}}}"#
            ),
            vec![window("five_hour", 0.75, RESET_MS, AllowedWarning)],
        ),
        (
            r#"{"status":"rejected"}"#.to_owned(),
            vec![window(WINDOW_UNKNOWN, None, None, Rejected)],
        ),
        (
            r#"{"status":"paused","rateLimitType":"five_hour","utilization":-1}"#.to_owned(),
            vec![],
        ),
        (r#"{"status":"allowed"}"#.to_owned(), vec![]),
        ("{}".to_owned(), vec![]),
        ("null".to_owned(), vec![]),
        ("[]".to_owned(), vec![]),
    ] {
        let line = event(&info);
        assert_eq!(seen(&line), want, "{info}");
        assert_eq!(parsed(line.as_bytes()).0.class, LineKind::Ignored);
    }
}

#[test]
fn sentences_of_the_cli() {
    let noon_of = |day: Millis| NOW + day * crate::model::DAY_MS;
    let hour = crate::model::HOUR_MS;
    for (text, name, reset) in [
        (
            "Claude AI usage limit reached|1791213600",
            "five_hour",
            Some(RESET_MS),
        ),
        ("Claude AI usage limit reached", "five_hour", None),
        (
            "Claude usage limit reached. Your limit will reset at 3pm (UTC).",
            "five_hour",
            Some(NOW + 3 * hour),
        ),
        (
            "You've hit your session limit · resets 3:20pm (UTC)",
            "five_hour",
            Some(NOW + 200 * 60_000),
        ),
        (
            "\n You\u{2019}ve hit your weekly limit · resets 11am (America/Chicago)",
            "seven_day",
            Some(NOW + 4 * hour),
        ),
        (
            "You've hit your Opus limit · resets Oct 7 at 3pm (Europe/Berlin)",
            "seven_day_opus",
            Some(noon_of(2) + hour),
        ),
        (
            "You've hit your Sonnet limit · resets Oct 7, 3pm",
            "seven_day_sonnet",
            Some(noon_of(2) + 3 * hour),
        ),
        (
            // A session ends within five hours, so this hour has already passed.
            "You've hit your session limit · resets 9am (UTC)",
            "five_hour",
            None,
        ),
        (
            "You've hit your session limit · resets 5pm (UTC)",
            "five_hour",
            Some(NOW + 5 * hour),
        ),
        (
            "You've hit your session limit · resets 5:01pm (UTC)",
            "five_hour",
            None,
        ),
        (
            "You've hit your session limit · resets 3:20 p.m. (UTC)",
            "five_hour",
            Some(NOW + 200 * 60_000),
        ),
        (
            "You've hit your 5-hour limit · resets 3pm (UTC)",
            "five_hour",
            Some(NOW + 3 * hour),
        ),
        (
            "5-hour limit reached ∙ resets 3pm (UTC)",
            "five_hour",
            Some(NOW + 3 * hour),
        ),
        (
            "Weekly limit reached ∙ resets Oct 7, 3pm (UTC)",
            "seven_day",
            Some(noon_of(2) + 3 * hour),
        ),
        (
            "Opus weekly limit reached ∙ resets Oct 7, 3pm (UTC)",
            "seven_day_opus",
            Some(noon_of(2) + 3 * hour),
        ),
        (
            "You've hit your weekly limit · resets Jan 2, 2027, 9am (Europe/Berlin)",
            "seven_day",
            Some(1_798_876_800_000),
        ),
        (
            // On this very day, and in the past.
            "You've hit your weekly limit · resets Oct 5, 11am (UTC)",
            "seven_day",
            None,
        ),
        (
            "You've hit your Fable 5 limit · resets Oct 7, 3pm (UTC)",
            "seven_day_overage_included",
            Some(noon_of(2) + 3 * hour),
        ),
        (
            "You've hit your Haiku limit · resets Oct 7, 3pm (UTC)",
            "seven_day_haiku",
            Some(noon_of(2) + 3 * hour),
        ),
        ("You've reached your Nova 2.5 limit", "seven_day_nova", None),
        (
            "You're out of extra usage · resets 9pm (America/Cordoba)",
            "overage",
            Some(noon_of(0) + 12 * hour),
        ),
        (
            "You\u{2019}re out of usage credits · resets Oct 7, 9am (UTC)",
            "overage",
            Some(noon_of(2) - 3 * hour),
        ),
        (
            "You've hit your session limit · resets 3pm (Mars/Olympus)",
            "five_hour",
            None,
        ),
        (
            "You've reached your Fable limit. Run /usage-credits to continue.",
            "seven_day_overage_included",
            None,
        ),
        (
            "You've hit your monthly spend limit · raise it in the settings",
            "monthly_spend",
            None,
        ),
        (
            "You've hit your limit · resets 3pm",
            WINDOW_UNKNOWN,
            Some(NOW + 3 * hour),
        ),
    ] {
        let want = [window(name, None, reset, Rejected)];
        assert_eq!(seen(&spoken(text, "")), want, "{text}");
        let flag_alone = spoken(text, "").replace("<synthetic>", "m");
        assert_eq!(seen(&flag_alone), want, "{text}");
        let model_alone = spoken(text, "").replace(r#""isApiErrorMessage":true,"#, "");
        assert_eq!(seen(&model_alone), want, "{text}");
    }
    // A text may be the whole content, and contain invalid bytes.
    let line = format!(
        r#"{{"type":"assistant",{TIME},"isApiErrorMessage":true,"message":{{"content":"You've hit your session limit \ud83d"}}}}"#
    );
    assert_eq!(seen(&line), [window("five_hour", None, None, Rejected)]);
    let bytes = line.replace(r"\ud83d", "#").into_bytes();
    let broken: Vec<u8> = bytes
        .iter()
        .map(|byte| if *byte == b'#' { 0xFF } else { *byte })
        .collect();
    assert_eq!(parsed(&broken).2.len(), 1);
    // A time of day without a time to count from.
    let undated = spoken("You've hit your session limit · resets 3pm", "").replace(TIME, r#""x":1"#);
    assert_eq!(seen(&undated), [window("five_hour", None, None, Rejected)]);
}

/// Structures that are a refusal, and those that prevent one.
#[test]
fn a_refusal_is_recognised_by_structure() {
    let hour = crate::model::HOUR_MS;
    let rate = r#","error":"rate_limit""#;
    let words = "You've used all of your plan's allowance for now";
    for members in [
        rate,
        r#","apiErrorStatus":429"#,
        r#","apiErrorStatus":"429""#,
        r#","error":"rate_limit","apiErrorStatus":429,"apiErrorIsTransient":false"#,
        r#","apiError":"usage_limit_reached""#,
        r#","error":"rate_limit","quotaLimits":{}"#,
        r#","error":"rate_limit","quotaLimits":null,"apiErrorParams":{}"#,
    ] {
        assert_eq!(
            seen(&spoken(words, members)),
            [window(WINDOW_UNKNOWN, None, None, Rejected)],
            "{members}"
        );
    }
    // The sentence adds a window and an end.
    for (text, name, reset) in [
        ("", WINDOW_UNKNOWN, None),
        (
            "You've used it all · back at 5pm (UTC)",
            WINDOW_UNKNOWN,
            Some(NOW + 5 * hour),
        ),
        (
            "Nothing left, try again in 2h 5m",
            WINDOW_UNKNOWN,
            Some(NOW + 125 * 60_000),
        ),
        (
            "Your weekly limit is used up · available again at 3pm",
            "seven_day",
            Some(NOW + 3 * hour),
        ),
        ("The Opus 5 limit of your plan is reached", "seven_day_opus", None),
        // A server's message is passed on: no window of this provider.
        (
            "API Error: 429 Too many tokens, please wait before trying again.",
            "cool_down",
            None,
        ),
        (
            "API Error: Request rejected (429) · [1308][Usage limit reached for 5 hour. Your limit will reset at 2026-10-05 14:37:39][x]",
            "cool_down",
            None,
        ),
    ] {
        let line = spoken(text, rate);
        assert_eq!(seen(&line), [window(name, None, reset, Rejected)], "{text}");
        let line = line.replace(r#""isApiErrorMessage":true,"#, "");
        assert_eq!(seen(&line), [window(name, None, reset, Rejected)], "{text}");
    }
    // Spelled as in a stream.
    let line = spoken(words, r#","error":"rate_limit","api_error_status":429"#)
        .replace("isApiErrorMessage", "is_api_error_message");
    assert_eq!(seen(&line), [window(WINDOW_UNKNOWN, None, None, Rejected)]);
    // A busy server, a failed one, a line of somebody else.
    for line in [
        spoken(
            words,
            r#","error":"rate_limit","apiErrorStatus":429,"apiErrorIsTransient":true"#,
        ),
        spoken(words, r#","error":"rate_limit","apiErrorStatus":529"#),
        spoken(words, r#","error":"server_error","apiErrorStatus":500"#),
        spoken(words, r#","error":"invalid_request""#),
        spoken("API Error: Server is busy (not your usage limit)", rate),
        assistant(r#""error":"rate_limit","apiErrorStatus":429"#),
    ] {
        assert_eq!(seen(&line), [], "{line}");
    }
}

#[test]
fn the_parameters_of_an_error_are_read_like_its_limits() {
    let info = format!(
        r#"{{"status":"rejected","resetsAt":{RESET},"rateLimitType":"seven_day","overageStatus":"rejected"}}"#
    );
    for (flag, name) in [
        ("isApiErrorMessage", "apiErrorParams"),
        ("is_api_error_message", "api_error_params"),
    ] {
        let line = spoken(
            "You've hit your 5-hour limit",
            &format!(r#","error":"rate_limit","{name}":{{"rate_limit_info":{info}}}"#),
        )
        .replace("isApiErrorMessage", flag);
        assert_eq!(
            seen(&line),
            [window("seven_day", None, RESET_MS, Rejected)],
            "{name}"
        );
    }
    // Once, if both are there.
    let both = format!(
        r#","error":"rate_limit","apiErrorParams":{{"rate_limit_info":{info}}},"quotaLimits":{info}"#
    );
    assert_eq!(observations(&spoken("x", &both)).len(), 1);
}

#[test]
fn an_end_before_the_refusal_is_none() {
    for (reset, want) in [
        (1_791_201_599, None),
        (1_791_201_600, None),
        (1_791_201_601, Some(NOW + 1000)),
    ] {
        let line = assistant(&format!(
            r#""quotaLimits":{{"status":"rejected","resetsAt":{reset},"rateLimitType":"five_hour"}}"#
        ));
        assert_eq!(seen(&line), [window("five_hour", None, want, Rejected)]);
        let line = event(&format!(
            r#"{{"status":"allowed","resetsAt":{reset},"rateLimitType":"five_hour"}}"#
        ));
        assert_eq!(
            seen(&line),
            [window("five_hour", None, Some(reset * 1000), Allowed)]
        );
    }
}

#[test]
fn a_429_without_a_window_is_a_pause() {
    let pause = |reset: Option<Millis>| [window("cool_down", None, reset, Rejected)];
    for (error, want) in [
        (
            r#"{"status":429,"rateLimits":null,"message":"429 Too many tokens"}"#,
            None,
        ),
        (r#"{"status":"429","rateLimits":{}}"#, None),
        (
            r#"{"status":429,"headers":{"retry-after":"30"}}"#,
            Some(NOW + 30_000),
        ),
        (
            r#"{"status":429,"headers":{"Retry-After":30,"retry-after-ms":"30500"}}"#,
            Some(NOW + 30_500),
        ),
        (
            r#"{"status":429,"headers":{"retry-after":"Mon, 05 Oct 2026 12:05:00 GMT"}}"#,
            Some(NOW + 300_000),
        ),
        (
            r#"{"status":429,"headers":{"retry-after":"Mon, 05 Oct 2026 11:05:00 GMT"}}"#,
            None,
        ),
        (r#"{"status":429,"headers":{"retry-after":"0"}}"#, None),
        // A busy server that gives a time for a retry.
        (
            r#"{"status":429,"apiErrorIsTransient":true,"headers":{"retry-after":"7"}}"#,
            Some(NOW + 7000),
        ),
    ] {
        assert_eq!(seen(&api_error(error)), pause(want), "{error}");
    }
    let log = |status: u16, headers: &str| format!(r#"{{{TIME},"status":{status},"headers":{{{headers}}}}}"#);
    assert_eq!(
        seen(&log(429, r#""retry-after":"30""#)),
        pause(Some(NOW + 30_000))
    );
    for none in [
        log(429, r#""x-other":"1""#),
        log(200, r#""retry-after":"30""#),
        log(503, r#""retry-after":"30""#),
        log(529, r#""retry-after":"30""#),
        api_error(r#"{"status":429,"apiErrorIsTransient":true}"#),
        api_error(r#"{"status":529,"headers":{"retry-after":"30"}}"#),
        format!(r#"{{{TIME},"status":429}}"#),
    ] {
        assert_eq!(seen(&none), [], "{none}");
    }
    let retry = |members: &str| {
        format!(r#"{{"type":"system","subtype":"api_retry","session_id":"s","uuid":"u",{members}}}"#)
    };
    assert_eq!(
        seen(&retry(r#""attempt":1,"error_status":429,"error":"rate_limit""#)),
        pause(None)
    );
    assert_eq!(
        seen(&retry(r#""attempt":1,"error_status":null,"error":"rate_limit""#)),
        pause(None)
    );
    assert_eq!(
        seen(&retry(r#""attempt":1,"error_status":529,"error":"overloaded""#)),
        []
    );
    // Beside windows without a refusal.
    let line = log(
        429,
        r#""retry-after":"50","anthropic-ratelimit-tokens-remaining":"0","anthropic-ratelimit-tokens-limit":"9""#,
    );
    assert_eq!(
        seen(&line),
        [
            window("tokens", 1.0, None, Unknown),
            window("cool_down", None, NOW + 50_000, Rejected),
        ]
    );
}

#[test]
fn side_counters_keep_their_names() {
    let unified = "anthropic-ratelimit-unified";
    let line = format!(
        r#"{{{TIME},"status":200,"headers":{{"{unified}-status":"allowed","{unified}-representative-claim":"five_hour","{unified}-5h-utilization":"0.2","{unified}-7d_haiku-utilization":"1","{unified}-7d-surpassed-threshold":"0.75","{unified}-slow-status":"not_needed","{unified}-slow-budget-utilization":"1.0","{unified}-grace-5h-utilization":"0.95","{unified}-grace-5h-status":"rejected","{unified}-overage-period-monthly-utilization":"1.0","{unified}-overage-in-use":"true","{unified}-upgrade-paths":"max,team"}}}}"#
    );
    assert_eq!(
        seen(&line),
        [
            window("five_hour", 0.2, None, Allowed),
            window("seven_day", 0.75, None, Unknown),
            window("grace-5h", 0.95, None, Rejected),
            window("overage-period-monthly", 1.0, None, Unknown),
            window("overage_in_use", 1.0, None, Unknown),
            window("seven_day_haiku", 1.0, None, Unknown),
            window("slow-budget", 1.0, None, Unknown),
        ]
    );
}

#[test]
fn headers_of_codex() {
    let log = |status: u16, headers: &str| format!(r#"{{{TIME},"status":{status},"headers":{{{headers}}}}}"#);
    let headers = format!(
        r#""X-Codex-Primary-Used-Percent":"12","x-codex-primary-window-minutes":"300","x-codex-primary-reset-at":"{RESET}","x-codex-secondary-used-percent":"40.5","x-codex-secondary-window-minutes":"10080","x-codex-secondary-reset-after-seconds":"60","x-codex-bengalfox-primary-used-percent":"77","x-codex-bengalfox-primary-window-minutes":"300","x-codex-primary-over-secondary-limit-percent":"9","x-codex-credits-balance":"3""#
    );
    let others = [
        window("seven_day", 0.405, NOW + 60_000, Unknown),
        window("codex:codex_bengalfox:five_hour", 0.77, None, Unknown),
    ];
    let five = window("five_hour", 0.12, RESET_MS, Unknown);
    assert_eq!(seen(&log(200, &headers)), [&[five][..], &others].concat());
    let full = headers.replace(r#""12""#, r#""100""#);
    let five = window("five_hour", 1.0, RESET_MS, Rejected);
    assert_eq!(seen(&log(429, &full)), [&[five][..], &others].concat());
}

#[test]
fn retries_and_copies_name_one_request() {
    let mut parser = crate::parse::Parser::default();
    let mut found = Vec::new();
    let limits = format!(r#"{{"status":"rejected","resetsAt":{RESET},"rateLimitType":"five_hour"}}"#);
    let mut read = |line: &str| {
        parser.line(
            line.as_bytes(),
            LineContext::default(),
            &mut Vec::new(),
            &mut found,
        );
        // As after a restart.
        parser = crate::parse::Parser::new(&parser.state(), Millis::MAX);
        found.pop().and_then(|one| one.request.zip(one.session))
    };
    let retry = |n: usize| {
        format!(
            r#"{{"type":"system","subtype":"api_error",{TIME},"sessionId":"s","uuid":"u{n}","parentUuid":"u{}","retryAttempt":{n},"error":{{"status":429,"requestId":"r{n}","rateLimits":{limits}}}}}"#,
            n - 1
        )
    };
    let first = read(&retry(1)).unwrap();
    for n in 2..=10 {
        assert_eq!(read(&retry(n)), Some(first), "{n}");
    }
    let members = |uuid: &str, parent: &str| {
        format!(
            r#","error":"rate_limit","sessionId":"s","requestId":"r11","uuid":"{uuid}","parentUuid":"{parent}""#
        )
    };
    assert_eq!(
        read(&spoken("You've hit your session limit", &members("u11", "u10"))),
        Some(first)
    );
    // The next request, in the transcript and in the stream.
    let next = read(&spoken("You've hit your session limit", &members("u13", "u12"))).unwrap();
    assert!(next.0 != first.0 && next.1 == first.1);
    let stream = spoken(
        "You've hit your session limit",
        r#","error":"rate_limit","session_id":"s","request_id":"r11","uuid":"u13","parent_tool_use_id":null"#,
    )
    .replace("isApiErrorMessage", "is_api_error_message");
    assert_eq!(read(&stream), Some(next));
    // Without a request id the line's own id is used, which copies share.
    let bare = spoken("You've hit your limit", r#","uuid":"u20","sessionId":"s""#);
    assert_eq!(read(&bare), read(&bare));
    assert!(read(&bare).is_some());
}

#[test]
fn what_looks_like_a_limit_is_none() {
    let sentence = "You've hit your session limit · resets 3pm";
    let limits = r#""rateLimits":{"anthropic-ratelimit-unified-5h-utilization":"0.9"},"quotaLimits":{"status":"rejected","rateLimitType":"five_hour"},"rate_limit_info":{"status":"rejected","rateLimitType":"five_hour"},"headers":{"anthropic-ratelimit-unified-status":"rejected"},"error":{"status":429,"rateLimits":{"status":"rejected","rateLimitType":"five_hour"}}"#;
    for line in [
        // Written by the model, a person or a tool; quoted by the CLI.
        spoken(sentence, "")
            .replace("<synthetic>", "m")
            .replace(r#""isApiErrorMessage":true"#, r#""isApiErrorMessage":"true""#),
        format!(
            r#"{{"type":"user",{TIME},"isApiErrorMessage":true,"message":{{"model":"<synthetic>","content":"{sentence}"}}}}"#
        ),
        format!(r#"{{"type":"user",{TIME},"toolUseResult":{{{limits}}}}}"#),
        spoken(&format!("The CLI prints: {sentence}"), ""),
        spoken("No response requested.", ""),
        // Not about the account's limits.
        spoken(
            "API Error: Server is temporarily limiting requests (not your usage limit) · Rate limited",
            r#","apiErrorStatus":429"#,
        ),
        spoken(sentence, r#","apiErrorIsTransient":true"#),
        spoken(sentence, r#","apiErrorStatus":529"#),
        spoken(sentence, r#","apiErrorStatus":"529""#),
        // Other sentences.
        spoken("You've hit your head. The speed limit", ""),
        spoken("You've hit your session limits", ""),
        spoken("You've hit your delimit", ""),
        spoken("Claude AI usage limit reachedly", ""),
        // The right object in the wrong line.
        format!(r#"{{"type":"user",{TIME},{limits}}}"#),
        format!(r#"{{"type":"system","subtype":"informational",{TIME},{limits}}}"#),
        format!(r#"{{"type":"result",{TIME},"result":"{sentence}",{limits}}}"#),
        format!(r#"{{"type":"progress",{TIME},"data":{{"message":{{{limits}}}}}}}"#),
        // Other documents.
        r#"{"rate_limits":{"five_hour":{"used_percentage":42,"resets_at":1791213600}}}"#.to_owned(),
        r#"{"five_hour":{"utilization":16.0,"resets_at":"2026-10-05T15:19:59+00:00"}}"#.to_owned(),
        format!(
            r#"{{{TIME},"type":"event_msg","payload":{{"rate_limits":{{"primary":{{"used_percent":10.0}}}}}}}}"#
        ),
        format!(r#"{{{TIME},"type":"assistant","content":"{sentence}"}}"#),
        // Torn.
        assistant(r#""quotaLimits":{"status":"rejected","rateLimitType":"five_hour"}"#)
            .trim_end_matches('}')
            .to_owned(),
    ] {
        assert_eq!(seen(&line), [], "{line}");
    }
    let line = spoken(
        "x",
        r#","apiErrorStatus":529,"quotaLimits":{"status":"rejected","rateLimitType":"five_hour","utilization":1}"#,
    );
    assert_eq!(seen(&line), [window("five_hour", 1.0, None, Unknown)]);
}

#[test]
fn a_long_line_is_looked_at_if_its_ends_speak_of_limits() {
    let body = "x".repeat(SHORT_LINE_BYTES_MAX);
    let limits = r#""quotaLimits":{"status":"rejected","rateLimitType":"five_hour"}"#;
    let want = [window("five_hour", None, None, Rejected)];
    for line in [
        format!(r#"{{"type":"assistant",{TIME},"body":"{body}",{limits}}}"#),
        format!(r#"{{"type":"assistant",{TIME},{limits},"body":"{body}"}}"#),
        format!(
            r#"{{"type":"rate_limit_event",{TIME},"body":"{body}","rate_limit_info":{{"status":"rejected","rateLimitType":"five_hour"}}}}"#
        ),
        format!(
            r#"{{"type":"system","subtype":"api_error",{TIME},"error":{{"stack":"{body}","rateLimits":{{"status":"rejected","rateLimitType":"five_hour"}}}}}}"#
        ),
        format!(
            r#"{{"type":"assistant",{TIME},"message":{{"content":"You've hit your session limit {body}"}},"isApiErrorMessage":true}}"#
        ),
    ] {
        let (judged, records, _) = parsed(line.as_bytes());
        assert_eq!(seen(&line), want);
        assert_eq!(
            (judged.class, judged.time, records.len()),
            (LineKind::Ignored, Some(NOW), 0)
        );
        // Invalid content is irrelevant: the frame decides, as without limits.
        let broken = line.replacen("xxx", "x\"x", 1);
        let (judged, _, found) = parsed(broken.as_bytes());
        assert_eq!((judged.class, found.len()), (LineKind::Ignored, 0));
    }
    let between = format!(r#"{{"type":"assistant","a":"{body}",{limits},"b":"{body}"}}"#);
    assert_eq!(seen(&between), []);
}

#[test]
fn a_line_has_so_many_observations_and_the_known_windows_are_among_them() {
    let windows: Vec<String> = (0..99)
        .map(|n| format!(r#""window{n:02}":{{"utilization":0.1}}"#))
        .chain([r#""five_hour":{"utilization":0.2}"#.to_owned()])
        .collect();
    let line = event(&format!(
        r#"{{"status":"allowed","unifiedWindows":{{{}}}}}"#,
        windows.join(",")
    ));
    let found = seen(&line);
    assert_eq!(found.len(), OBSERVATIONS_MAX);
    assert_eq!(found[0], window("five_hour", 0.2, None, Unknown));
    assert_eq!(found[31].0, "window30");
}

/// JSON values for the places of limits, right and wrong.
fn any_value() -> impl Strategy<Value = String> {
    let atoms = proptest::sample::select(vec![
        "null",
        "true",
        "0",
        "-1",
        "0.5",
        "1e999",
        "1791213600",
        "1791213600000",
        "99999999999999999999999",
        r#""""#,
        r#""0.42""#,
        r#""rejected""#,
        r#""allowed""#,
        r#""five_hour""#,
        r#""2026-10-05T18:00:00Z""#,
        r#""\ud83d""#,
        r#""\u0000""#,
    ])
    .prop_map(str::to_owned);
    let names = proptest::sample::select(vec![
        "status",
        "resetsAt",
        "rateLimitType",
        "utilization",
        "unifiedWindows",
        "five_hour",
        "weekly",
        "headers",
        "rateLimits",
        "retry-after",
        "anthropic-ratelimit-unified-status",
        "anthropic-ratelimit-unified-representative-claim",
        "anthropic-ratelimit-unified-5h-utilization",
        "anthropic-ratelimit-unified-5h-reset",
        "anthropic-ratelimit-unified-5h-tokens-limit",
        "anthropic-ratelimit-unified-5h-tokens-remaining",
        "anthropic-ratelimit-tokens-limit",
        "anthropic-ratelimit-unified--status",
        "\\ud83d",
    ]);
    atoms.prop_recursive(4, 40, 8, move |inner| {
        prop_oneof![
            1 => proptest::collection::vec(inner.clone(), 0..3)
                .prop_map(|items| format!("[{}]", items.join(","))),
            4 => proptest::collection::vec((names.clone(), inner), 0..8).prop_map(|members| {
                let members: Vec<_> = members
                    .iter()
                    .map(|(name, value)| format!("\"{name}\":{value}"))
                    .collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

fn any_member() -> impl Strategy<Value = String> {
    let names = proptest::sample::select(vec![
        "rateLimits",
        "quotaLimits",
        "rate_limit_info",
        "headers",
        "error",
        "status",
        "isApiErrorMessage",
        "apiErrorStatus",
        "apiErrorIsTransient",
    ]);
    (names, any_value()).prop_map(|(name, value)| format!(",\"{name}\":{value}"))
}

fn any_line() -> impl Strategy<Value = String> {
    let body = "x".repeat(SHORT_LINE_BYTES_MAX);
    proptest::sample::select(vec![
        format!(
            r#"{{"type":"assistant",{TIME},"message":{{"id":"msg_1","model":"m","usage":{{"output_tokens":7}}}}"#
        ),
        format!(
            r#"{{"type":"assistant",{TIME},"message":{{"model":"<synthetic>","content":"You've hit your session limit","usage":{{}}}}"#
        ),
        r#"{"type":"assistant","message":{"usage":null}"#.to_owned(),
        r#"{"type":"rate_limit_event""#.to_owned(),
        format!(r#"{{"type":"system","subtype":"api_error",{TIME}"#),
        format!(r#"{{"type":"assistant",{TIME},"body":"{body}""#),
        format!(r#"{{"type":"assistant",{TIME},"body":"{body}" broken"#),
        format!("{{{TIME}"),
        r#"{"type":"user""#.to_owned(),
    ])
}

proptest! {
    /// Limits do not change the counts of a line; their values are in range.
    #[test]
    fn limits_change_nothing_else(line in any_line(), members in proptest::collection::vec(any_member(), 0..4)) {
        let (bare, bare_records, _) = parsed(format!("{line}}}").as_bytes());
        let (with, records, found) = parsed(format!("{line}{}}}", members.concat()).as_bytes());
        prop_assert_eq!((with, records), (bare, bare_records));
        prop_assert!(found.len() <= OBSERVATIONS_MAX);
        for observation in found {
            prop_assert!(observation.utilization.is_none_or(|share| share.is_finite() && share >= 0.0));
            prop_assert!(observation.reset_at.is_none_or(|at| at > 0 && jiff::Timestamp::from_millisecond(at).is_ok()));
            prop_assert!(!observation.window.is_empty() && observation.window.len() <= WINDOW_NAME_BYTES_MAX);
            prop_assert!(!observation.window.contains(char::is_control));
            prop_assert!(observation.observed_at.is_none_or(|at| at == NOW));
        }
    }

    /// Any text of the CLI gives a result.
    #[test]
    fn any_sentence_gets_an_answer(
        start in proptest::sample::select(vec!["You've hit your ", "You've hit your session limit · resets ", "Claude AI usage limit reached|", ""]),
        words in proptest::collection::vec(prop_oneof![
            proptest::sample::select(vec!["session", "limit", "resets", "Oct", "Feb", "29", "31,", "3pm", "3:20", "at", "(UTC)", "(Europe/Berlin)", "(", ")", "·", "|", "1791213600"]).prop_map(str::to_owned),
            any::<String>(),
        ], 0..8),
        now in proptest::option::of(any::<Millis>()),
    ) {
        let text = format!("{start}{}", words.join(" "));
        let refused = prose::refused(&text, now);
        for found in prose::known(&text, now).into_iter().chain([refused]) {
            prop_assert_eq!(found.status, Rejected);
            prop_assert!(found.reset_at.is_none_or(|at| at > 0));
        }
    }

    /// No text revokes a refusal, and a truncated sentence is one too.
    #[test]
    fn no_words_take_a_refusal_back(
        words in any::<String>(),
        sentence in proptest::sample::select(vec![
            "You've hit your session limit · resets 3:20 p.m. (Europe/Berlin)",
            "You\u{2019}ve reached your Fable 5 limit · resets Jan 2, 2027, 9am (UTC+2)",
            "Opus weekly limit reached ∙ resets in 2h 5m",
            "Claude AI usage limit reached|1791213600",
            "API Error: 429 {\"type\":\"error\"}",
        ]),
        cut in any::<proptest::sample::Index>(),
        structure in proptest::sample::select(vec![
            r#","error":"rate_limit""#,
            r#","apiErrorStatus":429"#,
            r#","apiErrorStatus":"429","apiErrorIsTransient":false,"quotaLimits":7"#,
        ]),
    ) {
        let cuts: Vec<usize> = sentence.char_indices().map(|(at, _)| at).chain([sentence.len()]).collect();
        for text in [words, sentence[..*cut.get(&cuts)].to_owned()] {
            if text.contains(NOT_YOUR_LIMIT) {
                continue;
            }
            let found = seen(&spoken(&text, structure));
            prop_assert_eq!(found.len(), 1);
            prop_assert_eq!(found[0].3, Rejected);
            prop_assert!(found[0].2.is_none_or(|reset| reset > NOW));
        }
    }

    /// The order of windows in a line does not matter.
    #[test]
    fn the_order_of_windows_is_fixed(order in Just(vec!["five_hour", "7d", "overage", "zeta", "alpha", "7d_oi"]).prop_shuffle()) {
        let windows: Vec<_> = order.iter().map(|name| format!(r#""{name}":{{"utilization":0.5}}"#)).collect();
        let line = event(&format!(r#"{{"status":"allowed","unifiedWindows":{{{}}}}}"#, windows.join(",")));
        let names: Vec<String> = seen(&line).into_iter().map(|(name, ..)| name).collect();
        prop_assert_eq!(names, ["five_hour", "seven_day", "seven_day_overage_included", "overage", "alpha", "zeta"]);
    }
}
