//! Two windows over a day, line by line: the result of a replay after each line.

use serde_json::{Value, json};

use crate::harness::{Place, append};

/// A line, and the expected state after it.
struct Step {
    time: &'static str,
    status: &'static str,
    /// Share and reset, in seconds, of five hours and of seven days.
    says: [(f64, i64); 2],
    /// Share, reset and start.
    known: [(f64, &'static str, &'static str); 2],
    why: &'static str,
}

const FIRST_RESET: i64 = 1_791_213_600;
const SECOND_RESET: i64 = FIRST_RESET + 18_000;
const NEXT_DAY_RESET: i64 = FIRST_RESET + 79_800;
const WEEK_RESET: i64 = 1_791_561_600;

const MORNING: (&str, &str) = ("2026-10-05T15:20:00.000Z", "2026-10-05T10:20:00.000Z");
const EVENING: (&str, &str) = ("2026-10-05T20:20:00.000Z", "2026-10-05T15:20:00.000Z");
const NEXT_DAY: (&str, &str) = ("2026-10-06T13:30:00.000Z", "2026-10-06T08:30:00.000Z");
const WEEK: (&str, &str) = ("2026-10-09T16:00:00.000Z", "2026-10-02T16:00:00.000Z");
/// After a line with a reset two seconds later.
const WEEK_LATER: (&str, &str) = ("2026-10-09T16:00:02.000Z", "2026-10-02T16:00:02.000Z");

const fn known(
    five: f64,
    five_span: (&'static str, &'static str),
    seven: f64,
    seven_span: (&'static str, &'static str),
) -> [(f64, &'static str, &'static str); 2] {
    [
        (five, five_span.0, five_span.1),
        (seven, seven_span.0, seven_span.1),
    ]
}

const STORY: [Step; 11] = [
    Step {
        time: "2026-10-05T10:30:00Z",
        status: "allowed",
        says: [(0.1, FIRST_RESET), (0.4, WEEK_RESET)],
        known: known(0.1, MORNING, 0.4, WEEK),
        why: "both windows are new",
    },
    Step {
        time: "2026-10-05T10:40:00Z",
        status: "allowed",
        says: [(0.18, FIRST_RESET), (0.41, WEEK_RESET)],
        known: known(0.18, MORNING, 0.41, WEEK),
        why: "both rise",
    },
    Step {
        time: "2026-10-05T10:41:00Z",
        status: "allowed",
        says: [(0.15, FIRST_RESET), (0.41, WEEK_RESET)],
        known: known(0.18, MORNING, 0.41, WEEK),
        why: "a small dip: another session knows less",
    },
    Step {
        time: "2026-10-05T10:35:00Z",
        status: "allowed",
        says: [(0.13, FIRST_RESET), (0.4, WEEK_RESET)],
        known: known(0.18, MORNING, 0.41, WEEK),
        why: "older than what is known",
    },
    Step {
        time: "2026-10-05T10:50:00Z",
        status: "allowed",
        says: [(0.2, FIRST_RESET - 1), (0.42, WEEK_RESET + 2)],
        known: known(0.2, MORNING, 0.42, WEEK_LATER),
        why: "resets that jitter are the same window; the later one stays",
    },
    Step {
        time: "2026-10-05T15:25:00Z",
        status: "allowed",
        says: [(0.02, SECOND_RESET), (0.44, WEEK_RESET)],
        known: known(0.02, EVENING, 0.44, WEEK_LATER),
        why: "the next five hours",
    },
    Step {
        time: "2026-10-05T15:26:00Z",
        status: "allowed",
        says: [(0.95, FIRST_RESET), (0.44, WEEK_RESET)],
        known: known(0.02, EVENING, 0.44, WEEK_LATER),
        why: "a late line of the window before",
    },
    Step {
        time: "2026-10-06T09:00:00Z",
        status: "allowed",
        says: [(0.01, NEXT_DAY_RESET), (0.02, WEEK_RESET)],
        known: known(0.01, NEXT_DAY, 0.44, WEEK_LATER),
        why: "seven days drop far with the reset ahead: not believed yet",
    },
    Step {
        time: "2026-10-06T09:05:00Z",
        status: "allowed",
        says: [(0.02, NEXT_DAY_RESET), (0.03, WEEK_RESET)],
        known: known(0.02, NEXT_DAY, 0.03, WEEK_LATER),
        why: "the drop is confirmed",
    },
    Step {
        time: "2026-10-06T10:00:00Z",
        status: "allowed",
        says: [(0.03, NEXT_DAY_RESET), (0.99, WEEK_RESET - 259_200)],
        known: known(0.03, NEXT_DAY, 0.03, WEEK_LATER),
        why: "the reset of seven days moves back by three: held",
    },
    Step {
        time: "2026-10-06T10:10:00Z",
        status: "rejected",
        says: [(1.02, NEXT_DAY_RESET), (0.05, WEEK_RESET)],
        known: known(1.02, NEXT_DAY, 0.05, WEEK_LATER),
        why: "beyond 100 % stays beyond 100 %",
    },
];

fn line(step: &Step) -> String {
    let window = |(share, reset): (f64, i64)| json!({"utilization": share, "resetsAt": reset});
    let [five, seven] = step.says;
    let info = json!({"status": step.status, "resetsAt": five.1, "rateLimitType": "five_hour",
        "unifiedWindows": {"five_hour": window(five), "seven_day": window(seven)}});
    let line = json!({"timestamp": step.time, "type": "rate_limit_event", "rate_limit_info": info,
        "uuid": "u", "session_id": "c0ffee00-1111-4aaa-8aaa-00000000000a"});
    format!("{line}\n")
}

fn replayed(place: &Place, now: &str) -> Value {
    let runs = place.runs();
    place.json(&["replay", runs.to_str().unwrap(), "--now", now])["quota"].clone()
}

#[track_caller]
fn assert_known(quota: &Value, step: &Step, fired: &[u8]) {
    let windows = quota["windows"].as_array().unwrap();
    assert_eq!(windows.len(), 2);
    let crossed = [fired, &[]];
    for (index, (share, reset, start)) in step.known.into_iter().enumerate() {
        let window = &windows[index];
        let name = ["five_hour", "seven_day"][index];
        for (key, wanted) in [
            ("window", json!(name)),
            ("utilization", json!(share)),
            ("reset_at", json!(reset)),
            ("window_started_at", json!(start)),
            ("thresholds_crossed", json!(crossed[index])),
            ("state", json!("fresh")),
        ] {
            assert_eq!(window[key], wanted, "{name} {key}: {} {}", step.time, step.why);
        }
    }
    let told: Vec<&Value> = (quota["thresholds_fired"].as_array().unwrap().iter())
        .map(|fired| &fired["threshold"])
        .collect();
    assert_eq!(told, fired, "{}", step.time);
    assert_eq!(
        quota["limit_events"].as_array().unwrap().len(),
        usize::from(step.status == "rejected")
    );
    let decision = if step.status == "rejected" {
        "wait"
    } else {
        "allow"
    };
    assert_eq!(quota["may_start"]["decision"], decision);
}

#[test]
fn each_line_of_a_day_says_what_it_should() {
    let place = Place::new();
    let log = place.log("a", "session.jsonl");
    for step in &STORY {
        append(&log, line(step));
        let fired: &[u8] = if step.status == "rejected" { &[75, 90] } else { &[] };
        assert_known(&replayed(&place, step.time), step, fired);
    }
    let rejected = replayed(&place, "2026-10-06T10:10:00Z");
    assert_eq!(rejected["windows"][0]["exhausted_until"], NEXT_DAY.0);
    assert_eq!(rejected["may_start"]["retry_at"], NEXT_DAY.0);
    // Once its reset has passed, the window blocks nothing.
    let over = replayed(&place, "2026-10-06T13:30:00Z");
    assert_eq!(over["windows"][0]["state"], "expired");
    assert_eq!(over["windows"][0]["utilization"], Value::Null);
    assert_eq!(over["may_start"]["decision"], "allow");
}

#[test]
fn the_day_ends_the_same_however_its_lines_are_spread() {
    let last = &STORY[STORY.len() - 1];
    for runs in [1, 2, 3, STORY.len()] {
        let place = Place::new();
        for (index, step) in STORY.iter().enumerate() {
            let run = format!("run-{}", index % runs);
            append(&place.log(&run, "session.jsonl"), line(step));
        }
        assert_known(&replayed(&place, last.time), last, &[75, 90]);
    }
}
