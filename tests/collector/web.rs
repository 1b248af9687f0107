//! The contract of an existing web client: its documents, and its WebSockets over both endpoints.

mod blocked;
mod clock;
mod queries;
mod thresholds;

use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::harness::{Collector, Place, WAIT_MAX, append, response};
use crate::quota_live::{HOUR, now, refused, second, share_line};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// A WebSocket client, over the socket or over TCP.
struct Client {
    socket: WebSocketStream<Box<dyn Stream>>,
}

impl Client {
    async fn over(
        stream: Box<dyn Stream>,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, Error> {
        let mut request = format!("ws://localhost{path}").into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let (socket, _) = tokio_tungstenite::client_async(request, stream).await?;
        Ok(Self { socket })
    }

    async fn unix(collector: &Collector, path: &str) -> Result<Self, Error> {
        let stream = UnixStream::connect(collector.socket_path()).unwrap();
        stream.set_nonblocking(true).unwrap();
        let stream = tokio::net::UnixStream::from_std(stream).unwrap();
        Self::over(Box::new(stream), path, &[]).await
    }

    /// The next state of the windows for which this holds; earlier states are skipped, and nothing else may
    /// come.
    async fn state(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let find = async {
            loop {
                let mut frame = self.next().await;
                assert_eq!(frame["type"], "snapshot", "{frame}");
                last = frame["state"].take();
                if wanted(&last) {
                    return;
                }
            }
        };
        // Pings come all the time, so a message alone is no progress.
        let found = tokio::time::timeout(WAIT_MAX, find).await;
        assert!(found.is_ok(), "the last state is {last}");
        last
    }

    /// The next text, as a document.
    async fn next(&mut self) -> Value {
        loop {
            match self.message().await {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn message(&mut self) -> Message {
        let message = tokio::time::timeout(WAIT_MAX, self.socket.next()).await;
        message
            .expect("a message in time")
            .expect("the socket is open")
            .unwrap()
    }

    /// Adds up a run's deltas until its output tokens are `output`.
    async fn sum_until(&mut self, mut sum: i64, output: i64) -> i64 {
        while sum != output {
            let frame = self.next().await;
            assert_eq!(frame["type"], "usage", "{frame}");
            sum += frame["snapshot"]["output_tokens"].as_i64().unwrap();
        }
        sum
    }
}

fn status(result: Result<Client, Error>) -> u16 {
    match result {
        Err(Error::Http(response)) => response.status().as_u16(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it is let in"),
    }
}

/// The utilization of a window; `None` if the document does not have it.
fn share(state: &Value, bucket: &str) -> Option<f64> {
    let mut buckets = state["buckets"].as_array()?.iter();
    let bucket = buckets.find(|one| one["id"] == bucket)?;
    Some(bucket["utilization"].as_f64().unwrap())
}

fn keys(object: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn nothing_observed_is_an_empty_document() {
    let place = Place::new();
    let collector = place.serve();
    assert_eq!(
        collector.get("/api/usage"),
        (
            200,
            json!({"plan": null, "observed_at": null, "last_error": null, "last_error_at": null, "buckets": [],
                "pacing": {}})
        )
    );
    assert_eq!(collector.get("/api/usage/runs/nobody"), (200, json!([])));
    assert_eq!(collector.get("/api/runs"), (200, json!([])));
    assert_eq!(
        collector.get("/api/runs?limit=5"),
        (200, json!({"items": [], "total": 0}))
    );
    for path in [
        "/api/usage",
        "/api/usage/daily",
        "/api/usage/runs/1",
        "/api/runs",
        "/api/ws/usage",
    ] {
        for method in ["POST", "PUT", "DELETE"] {
            let (status, head, _) = collector.exchange(method, path, "", "");
            assert_eq!(status, 405, "{method} {path}");
            assert!(head.contains("allow: get"), "{method} {path}: {head}");
        }
    }
    for (path, status, field) in [
        ("/api/usage?account=nobody", 404, "account"),
        ("/api/usage/runs/a%20b", 400, "id"),
        ("/api/runs?limit=0", 400, "limit"),
        ("/api/runs?limit=1001", 400, "limit"),
        ("/api/runs?limit=5&offset=-1", 400, "offset"),
        ("/api/ws/runs/a%20b", 400, "id"),
    ] {
        let (answered, problem) = collector.get(path);
        assert_eq!(
            (answered, &problem["field"]),
            (status, &json!(field)),
            "{path}: {problem}"
        );
    }
    // A WebSocket requested as a document.
    let (answered, problem) = collector.get("/api/ws/usage");
    assert!((400..500).contains(&answered), "{problem}");
    assert_eq!(problem["field"], "upgrade");
    collector.stop_cleanly();
}

#[test]
fn documents_have_the_names_and_units_of_the_client() {
    let place = Place::new();
    let mut collector = place.serve();
    assert_eq!(
        collector
            .request("PUT", "/v1/runs/7", r#"{"labels":{"project":"3"}}"#)
            .0,
        201
    );
    assert_eq!(collector.request("PUT", "/v1/runs/b", "").0, 201);
    let at = second(now()) - 60_000;
    let (five, week) = (at + HOUR, at + 24 * HOUR);
    append(
        &place.log("7", "a.jsonl"),
        response("1", 5, 1)
            + "{\n"
            + &share_line(at, "seven_day", 0.25, week)
            + &share_line(at, "five_hour", 0.5, five)
            + &share_line(at, "seven_day_sonnet", 0.75, week),
    );
    collector.wait_until("the lines", |summary| summary["lines"]["read"] == 5);
    let (_, usage) = collector.get("/api/usage");
    assert_eq!(
        keys(&usage),
        [
            "buckets",
            "last_error",
            "last_error_at",
            "observed_at",
            "pacing",
            "plan"
        ]
    );
    assert_eq!(usage["observed_at"], at);
    let buckets = usage["buckets"].as_array().unwrap();
    let named: Vec<(&str, f64, i64)> = buckets
        .iter()
        .map(|bucket| {
            assert_eq!(
                keys(bucket),
                ["id", "reset_at", "utilization", "window_started_at"]
            );
            (
                bucket["id"].as_str().unwrap(),
                bucket["utilization"].as_f64().unwrap(),
                bucket["reset_at"].as_i64().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        named,
        [
            ("five_hour", 0.5, five),
            ("sonnet_weekly", 0.75, week),
            ("weekly", 0.25, week)
        ]
    );
    assert_eq!(keys(&usage["pacing"]), ["five_hour", "sonnet_weekly", "weekly"]);
    assert_eq!(keys(&usage["pacing"]["weekly"]), ["delta", "zone"]);
    assert_eq!(
        collector.get("/api/usage/runs/7").1,
        json!([{"model": "claude-opus-5", "input": 10, "output": 5, "cache_read": 0, "cache_create": 0}])
    );
    let (_, all) = collector.get("/api/runs");
    let (_, runs) = collector.get("/api/runs?limit=20");
    assert_eq!((&runs["items"], &runs["total"]), (&all, &json!(2)));
    assert_eq!(runs["items"][0]["id"], "b", "the newest first");
    let seven = &runs["items"][1];
    assert_eq!(
        (
            &seven["id"],
            &seven["project_id"],
            &seven["tokens_total"],
            &seven["usage_parse_errors"]
        ),
        (&json!(7), &json!(3), &json!(15), &json!(1))
    );
    for key in [
        "tokens_input",
        "tokens_output",
        "tokens_cache_read",
        "tokens_cache_create",
    ] {
        assert!(seven[key].is_u64(), "{seven}");
    }
    let (_, page) = collector.get("/api/runs?limit=1&offset=1");
    assert_eq!((&page["items"][0]["id"], &page["total"]), (&json!(7), &json!(2)));
    assert_eq!(collector.get("/api/runs?limit=5&offset=9").1["items"], json!([]));
    collector.stop_cleanly();
}

#[test]
fn windows_are_sent_at_first_and_as_they_change_and_thresholds_after_them() {
    let place = Place::new();
    let mut collector = place.serve();
    collector.wait_until("the backlog", |_| true);
    runtime().block_on(async {
        let mut client = Client::unix(&collector, "/api/ws/usage").await.unwrap();
        let frame = client.next().await;
        assert_eq!(frame["type"], "snapshot");
        assert_eq!(frame["state"], collector.get("/api/usage").1);
        let (at, reset) = (second(now()), second(now()) + HOUR);
        append(
            &place.log("r", "a.jsonl"),
            share_line(at, "seven_day", 0.5, reset),
        );
        let frame = client.next().await;
        assert_eq!(frame["state"]["buckets"][0]["utilization"], 0.5, "{frame}");
        append(
            &place.log("r", "a.jsonl"),
            share_line(at + 1000, "seven_day", 0.8, reset),
        );
        let frame = client.next().await;
        assert_eq!(frame["state"]["buckets"][0]["utilization"], 0.8, "{frame}");
        assert_eq!(
            client.next().await,
            json!({"type": "threshold_crossed", "bucket_id": "weekly", "threshold": 75, "reset_at": reset})
        );
        append(&place.log("r", "a.jsonl"), refused(at + 2000, "five_hour", reset));
        let frame = client.next().await;
        assert_eq!(frame["state"]["buckets"][0]["id"], "five_hour");
        assert_eq!(frame["state"]["buckets"][0]["utilization"], 1.0);
    });
    collector.stop_cleanly();
}

#[test]
fn deltas_of_a_run_add_up_whenever_one_begins_to_listen() {
    let place = Place::new();
    let log = place.log("7", "a.jsonl");
    append(&log, response("1", 100, 1));
    let mut collector = place.serve();
    collector.wait_for_messages(1);
    runtime().block_on(async {
        let mut first = Client::unix(&collector, "/api/ws/runs/7").await.unwrap();
        let mut early = Client::unix(&collector, "/api/runs/later/shell").await.unwrap();
        let mut sum = 100;
        for round in 0..20_i64 {
            append(&log, response(&format!("a{round}"), 10, 2));
            // A first copy and a better one: the difference is sent.
            append(&log, response(&format!("b{round}"), 1, 2));
            append(&log, response(&format!("b{round}"), 5, 2));
            sum = first.sum_until(sum, sum + 15).await;
            let before = collector.get("/api/usage/runs/7").1[0]["output"].as_i64().unwrap();
            assert_eq!(before, sum);
            if round % 5 == 0 {
                let mut late = Client::unix(&collector, "/api/runs/7/shell").await.unwrap();
                append(&log, response(&format!("c{round}"), 7, 2));
                late.sum_until(before, before + 7).await;
                sum = first.sum_until(sum, sum + 7).await;
            }
        }
        append(&place.log("later", "a.jsonl"), response("x", 3, 1));
        let frame = early.next().await;
        assert_eq!(
            frame,
            json!({"type": "usage", "snapshot": {"model": "claude-opus-5", "input_tokens": 10, "output_tokens": 3,
                "cache_read_tokens": 0, "cache_create_tokens": 0}})
        );
    });
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn sockets_end_when_the_collector_stops_and_what_clients_say_is_bounded() {
    let place = Place::new();
    let collector = place.serve();
    runtime().block_on(async {
        let mut client = Client::unix(&collector, "/api/ws/usage").await.unwrap();
        client.next().await;
        client.socket.send(Message::text("hello")).await.unwrap();
        client.socket.send(Message::Ping("x".into())).await.unwrap();
        assert!(matches!(client.message().await, Message::Pong(_)));
        let mut loud = Client::unix(&collector, "/api/ws/usage").await.unwrap();
        loud.next().await;
        loud.socket.send(Message::text("x".repeat(1 << 20))).await.ok();
        loop {
            match tokio::time::timeout(WAIT_MAX, loud.socket.next())
                .await
                .expect("an end")
            {
                None | Some(Err(_) | Ok(Message::Close(_))) => break,
                Some(Ok(_)) => {}
            }
        }
        let mut polite = Client::unix(&collector, "/api/ws/usage").await.unwrap();
        polite.next().await;
        polite.socket.close(None).await.unwrap();
        while !matches!(polite.message().await, Message::Close(_)) {}
        let metrics = collector.exchange("GET", "/metrics", "", "").2;
        assert!(metrics.contains("\ntokentail_subscribers 1\n"), "{metrics}");
        collector.signal("TERM");
        loop {
            match client.message().await {
                Message::Close(Some(frame)) => break assert_eq!(frame.code, CloseCode::Away),
                Message::Close(None) => panic!("no reason"),
                _ => {}
            }
        }
    });
    let (code, _) = collector.wait_for_end();
    assert_eq!(code, Some(0));
}

#[test]
fn over_tcp_a_page_of_another_origin_is_kept_out() {
    let place = Place::new();
    let mut command = place.command(&["serve"]);
    command
        .env("TOKENTAIL__HTTP__LISTEN", "127.0.0.1:0")
        .env("TOKENTAIL__HTTP__ORIGINS", "https://board.example")
        .env("TOKENTAIL__HTTP__SUBSCRIBERS_MAX", "2");
    let mut collector = Collector::start(command, place.socket());
    let address = collector.tcp();
    let host = address.to_string();
    runtime().block_on(async {
        let connect = async |headers: &[(&'static str, &str)]| {
            let stream = TcpStream::connect(address).unwrap();
            stream.set_nonblocking(true).unwrap();
            let stream = tokio::net::TcpStream::from_std(stream).unwrap();
            Client::over(Box::new(stream), "/api/ws/usage", headers).await
        };
        let of = |origin: &'static str| [("host", host.clone()), ("origin", origin.to_owned())];
        let evil = of("https://evil.example");
        let evil: Vec<(&'static str, &str)> =
            evil.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(status(connect(&evil).await), 403);
        let board = of("https://board.example");
        let board: Vec<(&'static str, &str)> = board
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let mut client = connect(&board).await.unwrap();
        assert_eq!(client.next().await["type"], "snapshot");
        assert_eq!(status(connect(&[("host", "evil.example")]).await), 421);
        // All places taken: refused at once.
        let _second = connect(&[("host", &host)]).await.unwrap();
        assert_eq!(status(connect(&[("host", &host)]).await), 503);
    });
    collector.stop_cleanly();
}
