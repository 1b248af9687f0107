//! `kill -9` while clients post records: none that was answered is lost, and none counts twice.
//!
//! `TOKENTAIL_RECORD_KILLS=200 cargo test --release --test collector record_kills` sets the number of kills.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex};

use fastrand::Rng;
use serde_json::{Value, json};

use crate::harness::{Collector, Place, append, number_setting, response};

/// Default number of kills.
const KILLS: u64 = 12;
const CLIENTS: u64 = 8;
/// Answers that are not looked at yet; clients wait beyond it.
const ANSWERS_MAX: usize = 1 << 12;
/// Each time this many ends, one is a clean stop instead, with a second signal after the first.
const STOP_EVERY: u64 = 5;
/// Most records of one request.
const RECORDS_MAX: u64 = 40;

/// How many collectors have started, and whether another will.
#[derive(Default)]
struct Starts {
    state: Mutex<(u64, bool)>,
    changed: Condvar,
}

impl Starts {
    fn next(&self, is_last: bool) {
        let mut state = self.state.lock().unwrap();
        *state = (state.0 + 1, is_last);
        self.changed.notify_all();
    }

    fn count(&self) -> u64 {
        self.state.lock().unwrap().0
    }

    /// Waits for a start after this one.
    fn wait_beyond(&self, start: u64) {
        let state = self.state.lock().unwrap();
        drop(
            self.changed
                .wait_while(state, |(starts, _)| *starts <= start)
                .unwrap(),
        );
    }

    fn is_last(&self) -> bool {
        self.state.lock().unwrap().1
    }
}

/// Posts once; any failure may be one of the connection.
pub fn post(socket: &Path, body: &str) -> io::Result<(u16, Value)> {
    send(socket, "POST", "/v1/records", body)
}

/// Sends a request once; any failure may be one of the connection.
pub fn send(socket: &Path, method: &str, path: &str, body: &str) -> io::Result<(u16, Value)> {
    let mut stream = UnixStream::connect(socket)?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let broken = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(broken)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    // 204 has no body.
    let body = if body.is_empty() { "null" } else { body };
    let document = serde_json::from_str(body).map_err(|_| broken())?;
    Ok((status.ok_or_else(broken)?, document))
}

/// Posts records until told to end, each request until it is answered; returns the tokens of each id.
fn client(number: u64, socket: &Path, starts: &Starts, answered: &SyncSender<u64>) -> BTreeMap<String, u64> {
    let mut random = Rng::with_seed(number);
    let mut sent = BTreeMap::new();
    while !starts.is_last() {
        let records: Vec<Value> = (0..random.u64(1..=RECORDS_MAX))
            .map(|_| {
                let (id, tokens) = (format!("{number}-{}", sent.len()), random.u64(1..1000));
                sent.insert(id.clone(), tokens);
                let run = random.bool().then_some("one");
                json!({
                    "id": id, "source": "kills", "run": run, "model": "m", "route": format!("/{}", tokens % 7),
                    "usage": {"output_tokens": tokens}, "fallbacks": 1,
                })
            })
            .collect();
        let count = records.len() as u64;
        let body = Value::from(records).to_string();
        loop {
            let start = starts.count();
            match post(socket, &body) {
                Ok((200, answer)) => {
                    let of = |name: &str| answer[name].as_u64().unwrap();
                    assert_eq!(
                        (of("counted") + of("duplicate"), of("rejected")),
                        (count, 0),
                        "{answer}"
                    );
                    break;
                }
                Ok((503, _)) | Err(_) => starts.wait_beyond(start),
                Ok((status, answer)) => panic!("{status}: {answer}"),
            }
        }
        // Nobody listens at the end.
        let _ = answered.send(count);
    }
    sent
}

#[test]
fn kills_lose_no_record_that_was_answered_and_count_none_twice() {
    let kills = number_setting("TOKENTAIL_RECORD_KILLS").unwrap_or(KILLS);
    let mut random = Rng::with_seed(kills);
    let place = Place::new();
    append(&place.log("one", "a.jsonl"), response("1", 5, 0));
    // The run is known before the first record of it.
    place.serve().stop_cleanly();
    let starts = Arc::new(Starts::default());
    let (answered, answers) = sync_channel(ANSWERS_MAX);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (starts, answered, socket): (_, _, PathBuf) =
                (Arc::clone(&starts), answered.clone(), place.socket());
            let posts = move || {
                starts.wait_beyond(0);
                client(number, &socket, &starts, &answered)
            };
            std::thread::Builder::new()
                .name(format!("client {number}"))
                .spawn(posts)
                .unwrap()
        })
        .collect();
    let (mut killed, mut ends) = (0, 0);
    while killed < kills {
        ends += 1;
        let mut collector = Collector::spawn(place.command(&["serve"]), place.socket());
        collector.wait_for_socket();
        starts.next(false);
        for _ in 0..random.u64(1..=30) {
            answers.recv().unwrap();
        }
        if ends % STOP_EVERY == 0 {
            collector.signal("TERM");
            collector.signal("TERM");
            drop(collector.wait());
        } else {
            collector.kill();
            killed += 1;
        }
    }
    let collector = place.serve();
    starts.next(true);
    drop(answers);
    let mut sent = BTreeMap::new();
    for client in clients {
        sent.extend(client.join().unwrap());
    }
    let (status, usage) = collector.get("/v1/usage?group_by=run");
    assert_eq!(status, 200);
    let totals = &usage["totals"];
    let of = |name: &str| totals[name].as_u64().unwrap();
    // The response of the transcript has 5 tokens of output.
    assert_eq!(of("messages"), sent.len() as u64 + 1);
    assert_eq!(of("output_tokens"), sent.values().sum::<u64>() + 5);
    assert_eq!(of("fallbacks"), sent.len() as u64);
    println!("{killed} kills, {} records", sent.len());
    collector.stop_cleanly();
    place.assert_verified();
}
