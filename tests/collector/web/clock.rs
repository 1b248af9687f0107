//! Changes by the clock are sent when they happen, without a write or a request.

use serde_json::json;

use super::{Client, runtime, share};
use crate::harness::{Place, append};
use crate::quota_live::{HOUR, Millis, now, refused, second, share_line};
use crate::stream;

/// Largest delay of a frame, in milliseconds.
const LATE_MS_MAX: Millis = 1000;

fn assert_in_time(reset: Millis, what: &str) {
    let late = now() - reset;
    assert!(
        (0..LATE_MS_MAX).contains(&late),
        "{what}: {late} ms after the reset"
    );
}

#[test]
fn the_end_of_a_window_is_sent_within_a_second() {
    let place = Place::new();
    let mut collector = place.serve();
    collector.wait_until("the backlog", |_| true);
    let (_, mut events) = stream::Client::connect(&collector, "?kinds=window", "");
    // Two windows that end one after the other, one of them refused, and one that continues.
    let first = second(now()) + 2000;
    let then = first + 1000;
    runtime().block_on(async {
        let mut client = Client::unix(&collector, "/api/ws/usage").await.unwrap();
        append(
            &place.log("r", "a.jsonl"),
            share_line(now(), "five_hour", 0.5, first)
                + &refused(now(), "seven_day_opus", then)
                + &share_line(now(), "seven_day", 0.25, first + HOUR),
        );
        client
            .state(|state| state["buckets"].as_array().unwrap().len() == 3)
            .await;
        let state = client.state(|state| share(state, "five_hour").is_none()).await;
        assert_in_time(first, "five_hour on the socket");
        assert_eq!(share(&state, "seven_day_opus"), Some(1.0), "{state}");
        let state = client
            .state(|state| share(state, "seven_day_opus").is_none())
            .await;
        assert_in_time(then, "seven_day_opus on the socket");
        assert_eq!(share(&state, "weekly"), Some(0.25), "{state}");
        assert_eq!(collector.get("/api/usage").1["buckets"], state["buckets"]);
    });
    for (window, reset) in [("five_hour", first), ("seven_day_opus", then)] {
        let event = events.find(|kind, event| {
            kind == "window" && event["window"]["window"] == window && event["window"]["state"] == "expired"
        });
        let at: jiff::Timestamp = event["at"].as_str().unwrap().parse().unwrap();
        let late = at.as_millisecond() - reset;
        assert!(
            (0..LATE_MS_MAX).contains(&late),
            "{late} ms after the reset: {event}"
        );
        assert_eq!(event["rolled_over"], json!(false), "{event}");
    }
    collector.stop_cleanly();
}
