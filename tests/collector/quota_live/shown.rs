//! Output of `tokentail quota`: unknown, ended and refused windows are words, never a share.

use serde_json::json;

use super::{HOUR, MINUTE, ONE_ACCOUNT, line, now, refused, second, share_line, time};
use crate::harness::Place;

/// The line of the table about a window.
fn row<'h>(human: &'h str, name: &str) -> &'h str {
    let found = human
        .lines()
        .find(|line| line.split_whitespace().nth(1) == Some(name));
    found.unwrap_or_else(|| panic!("no {name} in {human}"))
}

#[test]
fn each_state_of_a_window_has_its_own_words() {
    let place = Place::new();
    let mut collector = place.live_with(ONE_ACCOUNT);
    let (_, human, _) = place.ask(&["quota"]);
    assert!(
        human.contains("no limit was observed yet: the use of the windows is unknown"),
        "{human}"
    );
    assert!(
        human.contains("claude/max-1 unknown") && human.contains("may start: unknown"),
        "{human}"
    );
    assert!(!human.contains("0.0 %"), "{human}");

    let at = now() - 10 * MINUTE;
    let reset = second(now() + HOUR);
    let unknown = line(&json!({
        "timestamp": time(at),
        "headers": { "anthropic-ratelimit-unified-unseen-reset": (reset / 1000).to_string() },
    }));
    for told in [
        share_line(at, "fresh", 0.0, reset),
        share_line(at, "half", 0.5, reset),
        share_line(at, "passed", 0.7, second(now() - MINUTE)),
        refused(at, "refused", reset),
        share_line(at, "full", 1.02, reset),
        share_line(at, "both", 0.5, reset),
        refused(at + MINUTE, "both", reset),
        unknown,
    ] {
        collector.commit_line(&place, "one", &told);
    }
    let (code, human, stderr) = place.ask(&["quota"]);
    assert_eq!(code, Some(0), "{stderr}");
    let empty = "░".repeat(20);
    let full = "█".repeat(20);
    for (name, has, has_not) in [
        (
            "fresh",
            &[empty.as_str(), " 0.0 %", "rate_limit_event"][..],
            &["EXHAUSTED", "?"][..],
        ),
        ("half", &["50.0 %"], &["EXHAUSTED", "?"]),
        ("passed", &["expired", "ago"], &["%", "EXHAUSTED"]),
        ("refused", &["REFUSED"], &["%", "░", "█", "EXHAUSTED"]),
        ("full", &[full.as_str(), "102.0 %, EXHAUSTED"], &["?"]),
        // The last share is not what is left of it.
        ("both", &["REFUSED"], &["%", "░", "EXHAUSTED"]),
        ("unseen", &["unknown", "headers"], &["%", "░", "EXHAUSTED"]),
    ] {
        let row = row(&human, name);
        assert!(row.starts_with("claude/max-1"), "{row}");
        for words in has {
            assert!(row.contains(words), "{words} is not in {row}");
        }
        for words in has_not {
            assert!(!row.contains(words), "{words} is in {row}");
        }
    }
    assert!(human.contains("claude/max-1 exhausted"), "{human}");
    assert!(human.contains("may start: wait"), "{human}");
    let live = human.lines().count();
    // No colours without a terminal.
    assert!(!human.contains('\u{1b}'), "{human:?}");
    collector.kill();
    let (code, human, stderr) = place.ask(&["quota"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(
        human.starts_with("no collector is running; these are the contents of "),
        "{human}"
    );
    assert_eq!(human.lines().count(), live + 2);
    assert!(row(&human, "refused").contains("REFUSED"), "{human}");
}

#[test]
fn without_a_collector_and_a_database_there_is_nothing_to_show() {
    let place = Place::new();
    place.configure(ONE_ACCOUNT);
    let (code, stdout, stderr) = place.ask(&["quota"]);
    assert_eq!((code, stdout.as_str()), (Some(69), ""), "{stderr}");
    assert!(stderr.contains("there is no database"), "{stderr}");
    assert!(!place.db().exists(), "looking makes nothing");
}
