//! `kill -9` while a history of limits is written: the final state equals that of a replay.
//!
//! Both documents are made for the same time, that of the live one, so they are equal in everything,
//! including states and forecasts; only the numbers of fired thresholds may differ.
//!
//! Live, lines are merged as they arrive, and lines in two logs may arrive in either order. So the logs with
//! an account's limits change only while everything is read, or while the collector is down.

use fastrand::Rng;
use serde_json::Value;

use super::story::{Step, Story};
use super::{BACKLOG_READ, fired, now};
use crate::harness::{Collector, Place, append};

const CONFIG: &str = r#"
[quota]
zone = "Europe/Berlin"

[[account]]
name = "max-1"
runs = ["a-*"]
calls_quota = 40
daily_tokens = 200000
thresholds = [50, 75, 90]
minimum_left = { five_hour = 10 }

[[account]]
name = "max-2"
runs = ["b-*"]
"#;
const HOURS: i64 = 60;
const ENDS: usize = 24;
/// Approximate number of lines between two ends.
const STEPS_PER_END: usize = 40;
/// Each time this many ends, one is a clean stop instead.
const STOP_EVERY: usize = 5;
/// Repeats a failure: `TOKENTAIL_QUOTA_SEED=7 cargo test quota_live`.
const SEED: Option<&str> = option_env!("TOKENTAIL_QUOTA_SEED");

struct Writer<'p> {
    place: &'p Place,
    story: Story,
    lines: u64,
}

impl Writer<'_> {
    fn write(&mut self, steps: &[Step]) {
        for step in steps {
            append(&self.place.log(step.run, &step.log), &step.line);
            self.lines += 1;
        }
    }

    /// Appends some lines of the history; returns true if there are more.
    fn go_on(&mut self, times: usize) -> bool {
        for _ in 0..times {
            let Some(steps) = self.story.next() else {
                return false;
            };
            self.write(&steps);
        }
        true
    }

    fn change_logs(&mut self) {
        let copied = self.story.change_logs();
        self.write(&copied);
    }

    fn wait_until_read(&self, collector: &mut Collector) {
        collector.wait_until("all lines", |summary| summary["lines"]["read"] == self.lines);
    }
}

#[test]
fn kills_leave_the_limits_of_a_replay() {
    let seed = SEED.map_or_else(|| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("the seed is {seed}");
    let mut rng = Rng::with_seed(seed);
    let place = Place::new();
    place.configure(CONFIG);
    let mut writer = Writer {
        place: &place,
        story: Story::new(seed, now(), HOURS),
        lines: 0,
    };
    // A backlog for the first start.
    writer.go_on(STEPS_PER_END);
    for end in 1..=ENDS {
        let mut collector = Collector::spawn(place.command_with_config(&["serve"]), place.socket());
        let mut left = STEPS_PER_END;
        match rng.u8(..4) {
            // Killed during its start, or with the backlog half read.
            0 => {
                for _ in 0..rng.usize(..6) {
                    collector.next_line("a line of the start");
                }
            }
            // In the backlog, while more is written.
            1 => {
                let steps = rng.usize(1..STEPS_PER_END);
                writer.go_on(steps);
                left -= steps;
                collector.wait_for_next("\"committed\"");
            }
            // Live; sometimes it has read everything, and other logs continue.
            _ => {
                collector.wait_for_log(BACKLOG_READ);
                for _ in 0..rng.usize(1..5) {
                    let steps = rng.usize(1..=STEPS_PER_END / 5);
                    writer.go_on(steps);
                    left -= steps;
                    if rng.bool() {
                        collector.wait_for_next("\"committed\"");
                    } else {
                        writer.wait_until_read(&mut collector);
                        writer.change_logs();
                        // The lines of a copied session are older than the lines after them in another log.
                        writer.wait_until_read(&mut collector);
                    }
                }
            }
        }
        let dying = rng.usize(..=left);
        writer.go_on(dying);
        if end % STOP_EVERY == 0 {
            collector.wait_for_log("tokentail");
            collector.stop_cleanly();
        } else {
            collector.kill();
        }
        // While it is down.
        for _ in 0..rng.usize(1..3) {
            writer.change_logs();
            writer.go_on((left - dying) / 2);
        }
    }
    let mut collector = place.resume();
    while writer.go_on(STEPS_PER_END) {
        writer.wait_until_read(&mut collector);
        writer.change_logs();
    }
    writer.wait_until_read(&mut collector);
    let live = collector.settle(&place, "a-1");
    let runs = place.runs();
    let at = live["now"].as_str().unwrap();
    let replayed = place.document(0, &["replay", runs.to_str().unwrap(), "--now", at]);
    assert_it_is_a_story(&live["quota"]);
    for part in [
        "messages", "totals", "by_model", "by_day", "lines", "files", "bytes",
    ] {
        assert_eq!(live[part], replayed[part], "{part}");
    }
    assert_same_limits(&live["quota"], &replayed["quota"]);
    collector.stop_cleanly();
    // The database without a collector, at another time.
    let stored = place.document(0, &["quota"]);
    assert_eq!(fired(&stored), fired(&live["quota"]));
    assert_eq!(stored["limit_events"], live["quota"]["limit_events"]);
    let (code, stdout, stderr) = place.ask(&["verify"]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
}

/// Checks that everything to be compared occurs.
fn assert_it_is_a_story(quota: &Value) {
    let windows = quota["windows"].as_array().unwrap();
    for account in ["max-1", "max-2"] {
        for name in ["five_hour", "seven_day"] {
            let is_it = |window: &&Value| window["account"] == account && window["window"] == name;
            assert_eq!(windows.iter().filter(is_it).count(), 1, "{quota}");
        }
        let calls = &super::account(quota, account)["calls_5h"];
        assert!(calls.as_u64().unwrap() > 0, "{quota}");
    }
    let fired = fired(quota);
    assert!(fired.len() > 10, "{fired:?}");
    let resets: std::collections::BTreeSet<_> = fired.iter().map(|one| &one.3).collect();
    assert!(resets.len() > 5, "{fired:?}");
    let events = quota["limit_events"].as_array().unwrap();
    for source in ["rate_limit_event", "quota_limits", "prose", "api_error"] {
        assert!(events.iter().any(|event| event["source"] == source), "{source}");
    }
}

fn assert_same_limits(live: &Value, replayed: &Value) {
    for part in ["windows", "accounts", "limit_events", "may_start"] {
        let (live, replayed) = (&live[part], &replayed[part]);
        if let (Some(live), Some(replayed)) = (live.as_array(), replayed.as_array()) {
            for (live, replayed) in live.iter().zip(replayed) {
                assert_eq!(live, replayed, "{part}");
            }
        }
        assert_eq!(live, replayed, "{part}");
    }
    let (mut once, mut again) = (fired(live), fired(replayed));
    once.sort_unstable();
    again.sort_unstable();
    assert_eq!(once, again, "thresholds fired");
}
