//! A window that is blocked shows as full: this contract has no other field for it.

use serde_json::{Value, json};

use super::{Client, runtime, share};
use crate::harness::{Collector, Place, append};
use crate::quota_live::{HOUR, MINUTE, Millis, now, refused, second, share_line, time};

fn observe(collector: &Collector, body: &Value) {
    let (status, answer) = collector.request("POST", "/v1/observations", &body.to_string());
    assert_eq!(status, 200, "{answer}");
}

/// Headers with the window's status and without its share.
fn headers(at: Millis, status: &str, reset: Millis) -> Value {
    json!({"observed_at": time(at), "headers": {
        "anthropic-ratelimit-unified-status": status,
        "anthropic-ratelimit-unified-representative-claim": "five_hour",
        "anthropic-ratelimit-unified-5h-status": status,
        "anthropic-ratelimit-unified-5h-reset": (reset / 1000).to_string()}})
}

fn may_start(collector: &Collector) -> String {
    let answer = collector.get("/v1/may-start").1;
    answer["decision"].as_str().unwrap().to_owned()
}

/// Waits for a frame with these shares, and checks that the document has the same.
async fn both_show(collector: &Collector, client: &mut Client, shares: &[(&str, Option<f64>)]) {
    let has_them = |state: &Value| {
        shares
            .iter()
            .all(|(bucket, wanted)| share(state, bucket) == *wanted)
    };
    client.state(has_them).await;
    let document = collector.get("/api/usage").1;
    assert!(has_them(&document), "{shares:?}: {document}");
}

#[test]
fn a_refused_window_is_full_until_the_provider_serves_again() {
    let place = Place::new();
    let mut collector = place.serve();
    collector.wait_until("the backlog", |_| true);
    // One line per minute; lines while requests are in flight say little about earlier ones.
    let at = |minute: Millis| second(now()) - 30 * MINUTE + minute * MINUTE;
    let reset = second(now() + HOUR);
    let log = place.log("r", "a.jsonl");
    runtime().block_on(async {
        let mut client = Client::unix(&collector, "/api/ws/usage").await.unwrap();
        append(
            &log,
            share_line(at(0), "five_hour", 0.5, reset)
                + &share_line(at(0), "seven_day", 0.25, reset + 24 * HOUR),
        );
        let free = [("five_hour", Some(0.5)), ("weekly", Some(0.25))];
        both_show(&collector, &mut client, &free).await;
        let full = [("five_hour", Some(1.0)), ("weekly", Some(0.25))];
        // A line of a log first, then a report.
        append(&log, refused(at(5), "five_hour", reset));
        both_show(&collector, &mut client, &full).await;
        assert_eq!(may_start(&collector), "wait");
        append(&log, share_line(at(10), "five_hour", 0.55, reset));
        let served = [("five_hour", Some(0.55)), ("weekly", Some(0.25))];
        both_show(&collector, &mut client, &served).await;
        assert_eq!(may_start(&collector), "allow");
        observe(&collector, &headers(at(15), "rejected", reset));
        both_show(&collector, &mut client, &full).await;
        assert_eq!(may_start(&collector), "wait");
        // Served again without a share: the last known share is shown.
        observe(&collector, &headers(at(20), "allowed", reset));
        both_show(&collector, &mut client, &served).await;
        assert_eq!(may_start(&collector), "allow");
        // A new client gets the same.
        let mut late = Client::unix(&collector, "/api/ws/usage").await.unwrap();
        both_show(&collector, &mut late, &served).await;
    });
    collector.stop_cleanly();
}

#[test]
fn every_window_of_an_account_that_is_marked_is_full_until_the_mark_is_over() {
    let place = Place::new();
    let mut collector = place.serve_with("[[account]]\nname = \"default\"\nthresholds = []\n");
    collector.wait_until("the backlog", |_| true);
    let (at, reset) = (second(now()) - 60_000, second(now() + HOUR));
    let mark = |body: &Value| {
        let (status, answer) = collector.request("POST", "/v1/quota/default/mark", &body.to_string());
        assert_eq!(status, 200, "{answer}");
    };
    runtime().block_on(async {
        let mut client = Client::unix(&collector, "/api/ws/usage").await.unwrap();
        append(
            &place.log("r", "a.jsonl"),
            share_line(at, "five_hour", 0.5, reset)
                + &share_line(at, "seven_day", 0.0, reset)
                + &share_line(at, "overage", 1.3, reset),
        );
        let free = [
            ("five_hour", Some(0.5)),
            ("weekly", Some(0.0)),
            ("overage", Some(1.3)),
        ];
        both_show(&collector, &mut client, &free).await;
        let full = [
            ("five_hour", Some(1.0)),
            ("weekly", Some(1.0)),
            ("overage", Some(1.3)),
        ];
        mark(&json!({"state": "exhausted"}));
        both_show(&collector, &mut client, &full).await;
        assert_eq!(may_start(&collector), "deny");
        mark(&json!({"state": "available"}));
        both_show(&collector, &mut client, &free).await;
        // A mark that ends by the clock, without a write or a request.
        let until = second(now()) + 2000;
        mark(&json!({"state": "exhausted", "until": time(until)}));
        both_show(&collector, &mut client, &full).await;
        both_show(&collector, &mut client, &free).await;
        let late = now() - until;
        assert!((0..1000).contains(&late), "{late} ms after the end of the mark");
    });
    collector.stop_cleanly();
}

#[test]
fn a_window_of_which_no_share_is_known_shows_while_it_is_blocked() {
    let place = Place::new();
    let mut collector = place.serve();
    collector.wait_until("the backlog", |_| true);
    let reset = second(now() + HOUR);
    runtime().block_on(async {
        let mut client = Client::unix(&collector, "/api/ws/usage").await.unwrap();
        observe(&collector, &headers(now() - 10 * MINUTE, "rejected", reset));
        both_show(&collector, &mut client, &[("five_hour", Some(1.0))]).await;
        observe(&collector, &headers(now(), "allowed", reset));
        both_show(&collector, &mut client, &[("five_hour", None)]).await;
    });
    collector.stop_cleanly();
}
