//! Thresholds in this contract and in the stream of events.

use serde_json::json;

use super::{Client, runtime, share};
use crate::harness::{Place, append};
use crate::quota_live::{HOUR, now, second, share_line};
use crate::stream;

#[test]
fn of_one_reading_the_socket_has_the_highest_threshold_and_the_events_have_all() {
    let place = Place::new();
    let collector =
        place.serve_with("[[account]]\nname = \"default\"\nthresholds = [50, 60, 75, 90, 95, 120]\n");
    let (_, mut events) = stream::Client::connect(&collector, "?kinds=threshold", "");
    let (at, reset) = (second(now()) - 60_000, second(now() + HOUR));
    let log = place.log("r", "a.jsonl");
    let crossed = |bucket: &str, threshold: u8| json!({"type": "threshold_crossed", "bucket_id": bucket, "threshold": threshold, "reset_at": reset});
    runtime().block_on(async {
        let mut client = Client::unix(&collector, "/api/ws/usage").await.unwrap();
        client.state(|_| true).await;
        let mut next = async |bucket: &str, line: String, used: f64| {
            append(&log, line);
            client.state(|state| share(state, bucket) == Some(used)).await;
            client.next().await
        };
        // Past 50 only: the next frame is the next state.
        append(&log, share_line(at, "five_hour", 0.5, reset));
        let frame = next("five_hour", share_line(at + 1000, "five_hour", 0.95, reset), 0.95).await;
        assert_eq!(frame, crossed("five_hour", 90));
        // A higher share fires nothing of the contract again; another window does, each threshold by itself.
        append(&log, share_line(at + 2000, "five_hour", 1.3, reset));
        let frame = next("weekly", share_line(at + 3000, "seven_day", 0.75, reset), 0.75).await;
        assert_eq!(frame, crossed("weekly", 75));
        let frame = next("weekly", share_line(at + 4000, "seven_day", 0.9, reset), 0.9).await;
        assert_eq!(frame, crossed("weekly", 90));
    });
    for (bucket, percent) in [
        ("five_hour", 50),
        ("five_hour", 60),
        ("five_hour", 75),
        ("five_hour", 90),
        ("five_hour", 95),
        ("five_hour", 120),
        ("seven_day", 50),
        ("seven_day", 60),
        ("seven_day", 75),
        ("seven_day", 90),
    ] {
        let event = events.find(|kind, _| kind == "threshold");
        assert_eq!(
            (&event["window"], &event["threshold"]),
            (&json!(bucket), &json!(percent)),
            "{event}"
        );
    }
    collector.stop_cleanly();
}
