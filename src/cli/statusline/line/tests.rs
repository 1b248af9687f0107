//! Tests of the text of a status line.

use serde_json::json;

use super::*;
use crate::api::wire::Unpriced;
use crate::cli::args::STATUSLINE_FORMAT as DEFAULT_FORMAT;

const NOW: &str = "2026-10-05T10:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn input() -> Value {
    json!({
        "session_id": "s1",
        "model": {"id": "claude-opus-5", "display_name": "Opus 5"},
        "cost": {"total_cost_usd": 0.234},
        "context_window": {"used_percentage": 34},
        "rate_limits": {
            "five_hour": {"used_percentage": 42.4, "resets_at": now().as_second() + 4_320},
            "seven_day": {"used_percentage": 61, "resets_at": "2026-10-09T10:00:00Z"},
        },
    })
}

fn window(name: &str, share: f64) -> Window {
    Window {
        window: name.to_owned(),
        utilization: Some(share),
        reset_at: Some("2026-10-05T11:12:00.000Z".to_owned()),
        ..Window::default()
    }
}

fn answer() -> Statusline {
    Statusline {
        account: Some("default".to_owned()),
        session_tokens: Some(999),
        run_tokens: Some(138_800),
        today_tokens: 2_300_000,
        today_cost: Cost {
            estimated_cost_usd: Some(4.1),
            unpriced: None,
        },
        windows: vec![window(FIVE_HOUR, 0.43), window(SEVEN_DAY, 0.61)],
        health: "ok".to_owned(),
        ..Statusline::default()
    }
}

fn shown(input: &Value, answer: Option<&Statusline>, format: &str) -> String {
    LineFigures::new(input, answer, now()).line(format, false)
}

#[test]
fn the_line_has_everything_that_is_known() {
    let line = shown(&input(), Some(&answer()), DEFAULT_FORMAT);
    assert_eq!(
        line,
        "Opus 5 | run 138.8k today 2.3M $4.10 | 5h 43% resets 1h12m | wk 61% | ctx 34%"
    );
    let line = shown(&input(), None, DEFAULT_FORMAT);
    assert_eq!(
        line, "Opus 5 | 5h 42% resets 1h12m | wk 61% | ctx 34%",
        "without a collector"
    );
    assert_eq!(shown(&Value::Null, None, DEFAULT_FORMAT), "");
    assert_eq!(
        shown(&json!({"model": [1], "rate_limits": 3}), None, DEFAULT_FORMAT),
        ""
    );
}

#[test]
fn a_refusal_and_an_ended_window_are_no_shares() {
    let mut answer = answer();
    answer.windows[0].refused = true;
    answer.windows[0].exhausted_until = Some("2026-10-05T10:30:00.000Z".to_owned());
    answer.windows[1].reset_at = Some(NOW.to_owned());
    let line = shown(&input(), Some(&answer), "{five_hour} | {seven_day} | {health}");
    assert_eq!(line, "5h refused resets 30m");
    answer.health = "degraded".to_owned();
    let line = shown(&input(), Some(&answer), "{five_hour} | {health}");
    assert_eq!(line, "5h refused resets 30m | collector degraded");
}

#[test]
fn a_cost_is_never_zero_because_it_is_unknown() {
    let mut answer = answer();
    answer.today_cost.unpriced = Some(Unpriced::default());
    assert_eq!(shown(&input(), Some(&answer), "{today}"), "today 2.3M $4.10 +?");
    answer.today_cost.estimated_cost_usd = None;
    assert_eq!(
        shown(&input(), Some(&answer), "{today} {cost}"),
        "today 2.3M $0.23"
    );
}

#[test]
fn a_format_is_of_pieces_and_text() {
    let of = |format: &str| shown(&input(), Some(&answer()), format);
    assert_eq!(
        of("{model}: {session}, {account}"),
        "Opus 5: session 999, default"
    );
    assert_eq!(
        of("{modle} {"),
        "{modle} {",
        "a name that is none is shown as written"
    );
    assert_eq!(of("|| tokentail |"), "tokentail");
    assert_eq!(of(""), "");
    let hostile = json!({"model": {"id": "a\u{1b}[2Jb\nc"}});
    assert_eq!(shown(&hostile, None, "{model}"), "a\u{fffd}[2Jb\u{fffd}c");
}

#[test]
fn a_high_share_has_a_colour() {
    let input =
        json!({"rate_limits": {"five_hour": {"used_percentage": 95}, "seven_day": {"used_percentage": 80}}});
    let line = LineFigures::new(&input, None, now()).line("{five_hour} | {seven_day}", true);
    assert_eq!(line, "\u{1b}[31m5h 95%\u{1b}[0m | \u{1b}[33mwk 80%\u{1b}[0m");
}
