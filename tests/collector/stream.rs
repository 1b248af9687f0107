//! The stream of events, with a client that disconnects and resumes.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::harness::{Collector, Place, WAIT_MAX, append, response};

/// A client of server-sent events.
pub struct Client {
    stream: BufReader<UnixStream>,
    pub last_id: String,
}

impl Client {
    /// Connects; the status and the client.
    pub fn connect(collector: &Collector, query: &str, last_id: &str) -> (u16, Self) {
        let mut stream = UnixStream::connect(collector.socket_path()).unwrap();
        stream.set_read_timeout(Some(WAIT_MAX)).unwrap();
        let resume = match last_id {
            "" => String::new(),
            id => format!("Last-Event-ID: {id}\r\n"),
        };
        // HTTP/1.0: the body is not chunked.
        write!(
            stream,
            "GET /v1/events{query} HTTP/1.0\r\nHost: localhost\r\n{resume}\r\n"
        )
        .unwrap();
        let mut client = Self {
            stream: BufReader::new(stream),
            last_id: last_id.to_owned(),
        };
        let status = client.line().split(' ').nth(1).unwrap().parse().unwrap();
        while !client.line().is_empty() {}
        (status, client)
    }

    #[expect(clippy::disallowed_methods, reason = "bounded by `take`")]
    fn line(&mut self) -> String {
        let mut line = Vec::new();
        std::io::Read::take(&mut self.stream, 1 << 24)
            .read_until(b'\n', &mut line)
            .unwrap();
        assert!(line.ends_with(b"\n"), "the stream ended");
        String::from_utf8(line).unwrap().trim_end().to_owned()
    }

    /// The next event except those of health, which come at any time.
    fn next(&mut self) -> (String, Value) {
        loop {
            let (kind, event) = self.next_of_all();
            if kind != "health" {
                return (kind, event);
            }
        }
    }

    /// The next event for which this holds.
    pub fn find(&mut self, wanted: impl Fn(&str, &Value) -> bool) -> Value {
        loop {
            let (kind, event) = self.next_of_all();
            if wanted(&kind, &event) {
                return event;
            }
        }
    }

    /// The next event: its kind and document. The last id advances as in a browser.
    pub fn next_of_all(&mut self) -> (String, Value) {
        let (mut kind, mut data) = (String::new(), String::new());
        loop {
            let line = self.line();
            match line.split_once(": ") {
                Some(("id", id)) => id.clone_into(&mut self.last_id),
                Some(("event", event)) => event.clone_into(&mut kind),
                Some(("data", text)) => text.clone_into(&mut data),
                None if line.is_empty() && !data.is_empty() => {
                    return (kind, serde_json::from_str(&data).unwrap());
                }
                _ => {}
            }
        }
    }

    /// Reads until a run's totals have so many output tokens; returns the sum of the differences.
    fn until(&mut self, run: &str, output: u64) -> i64 {
        let mut added = 0;
        loop {
            let (kind, event) = self.next();
            if kind == "usage" && event["run"] == run {
                added += event["delta"]["output_tokens"].as_i64().unwrap();
                if event["totals"]["output_tokens"] == output {
                    return added;
                }
            }
        }
    }
}

#[test]
fn who_leaves_and_comes_back_hears_everything_once() {
    let place = Place::new();
    let log = place.log("r", "a.jsonl");
    append(&log, response("0", 100, 0));
    let mut collector = place.serve();
    collector.wait_for_messages(1);
    let (status, mut client) = Client::connect(&collector, "", "");
    assert_eq!(status, 200);
    let (kind, event) = client.next();
    assert_eq!(kind, "snapshot");
    assert_eq!(event["snapshot"]["by_run"]["r"]["output_tokens"], 100);
    assert_eq!(client.last_id, event["sequence"].to_string());
    let mut total = 100;
    for round in 1..=20u64 {
        append(&log, response(&format!("a{round}"), round, 1));
        total += round;
        // The first copy of a streamed response, and a better one: the difference is sent.
        append(&log, response(&format!("b{round}"), 1, 2));
        append(&log, response(&format!("b{round}"), 3, 2));
        total += 3;
        assert_eq!(
            client.until("r", total),
            i64::try_from(round + 3).unwrap(),
            "round {round}"
        );
        let last_id = client.last_id.clone();
        drop(client);
        // Disconnected: nothing is sent.
        append(&log, response(&format!("c{round}"), 7, 3));
        total += 7;
        collector.wait_until("all counted", |summary| {
            summary["totals"]["output_tokens"] == total
        });
        let (_, back) = Client::connect(&collector, "", &last_id);
        client = back;
        assert_eq!(client.until("r", total), 7, "round {round}");
    }
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn a_restart_is_a_gap_with_a_snapshot() {
    let place = Place::new();
    let log = place.log("r", "a.jsonl");
    append(&log, response("1", 5, 1));
    let mut collector = place.serve();
    collector.wait_for_messages(1);
    let (_, mut client) = Client::connect(&collector, "", "");
    client.next();
    collector.kill();
    append(&log, response("2", 6, 2));
    let mut collector = place.serve();
    collector.wait_for_messages(2);
    let (_, mut again) = Client::connect(&collector, "", &client.last_id);
    let (kind, event) = again.next();
    assert_eq!((kind.as_str(), &event["reason"]), ("gap", &json!("restarted")));
    assert_eq!(event["missed_from"].to_string(), client.last_id);
    assert_eq!(event["snapshot"]["totals"]["output_tokens"], 11);
    let (_, mut unknown) = Client::connect(&collector, "", "99999999999999");
    assert_eq!(unknown.next().1["reason"], "unknown");
    collector.stop_cleanly();
}

#[test]
fn a_filter_lets_through_what_is_asked_for_and_ids_still_resume() {
    let place = Place::new();
    let (one, two) = (place.log("one", "a.jsonl"), place.log("two", "a.jsonl"));
    append(&one, response("1", 5, 1));
    let mut collector = place.serve();
    collector.wait_for_messages(1);
    let (_, mut client) = Client::connect(&collector, "?run=two&kinds=usage,run", "");
    assert_eq!(client.next().0, "snapshot");
    append(&one, response("2", 6, 2));
    append(&two, response("3", 7, 3));
    let (kind, event) = client.next();
    assert_eq!(
        (kind.as_str(), &event["run"], &event["delta"]["output_tokens"]),
        ("usage", &json!("two"), &json!(7))
    );
    let (status, _) = collector.request("POST", "/v1/runs/two/stop?wait=true", "");
    assert_eq!(status, 200);
    let (kind, event) = client.next();
    assert_eq!(
        (kind.as_str(), &event["phase"], &event["reason"]),
        ("run", &json!("stopped"), &json!("asked"))
    );
    assert_eq!(event["totals"]["output_tokens"], 7);
    let (status, problem) = collector.get("/v1/events?account=default,nobody");
    assert_eq!((status, &problem["field"]), (404, &json!("account")), "{problem}");
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("there is claude/default"),
        "{problem}"
    );
    for known in ["default", "claude/default"] {
        assert_eq!(
            Client::connect(&collector, &format!("?account={known}"), "").0,
            200
        );
    }
    for (query, field) in [
        ("?kinds=noise", "kinds"),
        ("?run=a%20b", "run"),
        ("?run=", "run"),
        ("?colour=red", "colour"),
    ] {
        let (status, problem) = collector.get(&format!("/v1/events{query}"));
        assert_eq!((status, &problem["field"]), (400, &json!(field)), "{problem}");
    }
    for id in ["x", "-1", "1.x", "1..2"] {
        let (status, _) = Client::connect(&collector, "", id);
        assert_eq!(status, 400, "{id}");
    }
    let (status, problem) = collector.get("/v1/events?last_event_id=x");
    assert_eq!((status, &problem["field"]), (400, &json!("last_event_id")));
    collector.stop_cleanly();
}

#[test]
fn health_is_sent_at_first_as_of_then() {
    let place = Place::new();
    let collector = place.serve();
    // So that the state has not changed for some time.
    let (_, mut client) = Client::connect(&collector, "", "");
    client.find(|kind, event| kind == "health" && event["ready"] == true);
    let (_, mut later) = Client::connect(&collector, "", "");
    let (kind, first) = later.next_of_all();
    assert_eq!(kind, "snapshot");
    let (kind, health) = later.next_of_all();
    assert_eq!(kind, "health");
    // Times of one form sort as text.
    let (before, at) = (
        first["snapshot"]["now"].as_str().unwrap(),
        health["at"].as_str().unwrap(),
    );
    assert!(before <= at, "{before} is later than {at}");
    collector.stop_cleanly();
}

#[test]
fn who_never_reads_holds_nobody_back() {
    let place = Place::new();
    let log = place.log("r", "a.jsonl");
    append(&log, response("0", 1, 0));
    let mut collector = place.serve();
    collector.wait_for_messages(1);
    let stuck: Vec<_> = (0..20).map(|_| Client::connect(&collector, "", "").1).collect();
    let (_, mut client) = Client::connect(&collector, "", "");
    client.next();
    for number in 1..=2000u32 {
        append(&log, response(&number.to_string(), 1, number));
    }
    assert_eq!(client.until("r", 2001), 2000);
    drop(stuck);
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn there_are_as_many_places_as_are_set() {
    let place = Place::new();
    let mut command = place.command(&["serve"]);
    command.env("TOKENTAIL__HTTP__SUBSCRIBERS_MAX", "2");
    let collector = Collector::start(command, place.socket());
    let mut held: Vec<Client> = (0..2).map(|_| Client::connect(&collector, "", "").1).collect();
    for client in &mut held {
        client.next();
    }
    assert_eq!(collector.get("/v1/events").0, 503);
    collector.stop_cleanly();
}

#[test]
fn a_proxy_is_asked_to_pass_events_on_at_once() {
    let place = Place::new();
    let collector = place.serve();
    let stream = UnixStream::connect(collector.socket_path()).unwrap();
    stream.set_read_timeout(Some(WAIT_MAX)).unwrap();
    let mut client = Client {
        stream: BufReader::new(stream),
        last_id: String::new(),
    };
    write!(
        client.stream.get_mut(),
        "GET /v1/events HTTP/1.0\r\nHost: localhost\r\n\r\n"
    )
    .unwrap();
    let mut head = Vec::new();
    loop {
        let line = client.line().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        head.push(line);
    }
    assert!(head.contains(&"x-accel-buffering: no".to_owned()), "{head:?}");
    collector.stop_cleanly();
}
