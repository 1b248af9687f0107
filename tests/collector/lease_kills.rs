//! `kill -9` while clients acquire and release leases: there are never more than the account has places, and a key has
//! one outcome.
//!
//! `TOKENTAIL_LEASE_KILLS=50 cargo test --test collector lease_kills` sets the number of kills.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use fastrand::Rng;
use serde_json::{Value, json};

use crate::harness::{Collector, Place, number_setting};
use crate::record_kills::send;

/// Default number of kills.
const KILLS: u64 = 20;
const CLIENTS: u64 = 100;
/// The places of the account.
const PLACES: usize = 20;
/// Most leases of one request.
const COUNT_MAX: u64 = 3;
/// Grants between two kills, at most.
const GRANTS_MAX: u64 = 60;

/// What the clients and the test see of each other.
#[derive(Default)]
struct Seen {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Grows with each start of a collector, each release, and the end: who has no place tries again then.
    changes: u64,
    is_over: bool,
    /// From an answer with them on, to the request for their release.
    held: BTreeSet<String>,
    most_held: usize,
    grants: u64,
    /// Requests that found no place.
    refused: u64,
    /// Grants whose key had an answer before, which was lost.
    repeated: u64,
}

impl Seen {
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap();
        let result = change(&mut state);
        self.changed.notify_all();
        result
    }

    fn changes(&self) -> u64 {
        self.state.lock().unwrap().changes
    }

    fn wait(&self, until: impl Fn(&State) -> bool) {
        let state = self.state.lock().unwrap();
        drop(self.changed.wait_while(state, |state| !until(state)).unwrap());
    }

    /// Sends a request until it is answered; returns also the number of attempts whose answer did not come.
    fn answered(&self, socket: &Path, method: &str, path: &str, body: &str) -> Option<(u16, Value, u64)> {
        let mut lost = 0;
        loop {
            let before = self.changes();
            match send(socket, method, path, body) {
                Ok((503, _)) | Err(_) => {
                    lost += 1;
                    self.wait(|state| state.changes > before);
                    if self.state.lock().unwrap().is_over {
                        return None;
                    }
                }
                Ok((status, answer)) => return Some((status, answer, lost)),
            }
        }
    }
}

fn ids(leases: &Value) -> Vec<String> {
    let leases = leases.as_array().unwrap().iter();
    leases
        .map(|lease| lease["id"].as_str().unwrap().to_owned())
        .collect()
}

fn assert_within(collector: &Collector) {
    let (_, leases) = collector.get("/v1/leases");
    assert!(ids(&leases).len() <= PLACES, "{leases}");
}

/// Acquires and releases until it is over; what it holds then stays.
fn client(number: u64, socket: &Path, seen: &Seen) {
    let mut random = Rng::with_seed(number);
    for round in 0.. {
        let body = json!({"key": format!("{number}-{round}"), "n": random.u64(1..=COUNT_MAX), "ttl": "10m"});
        let body = body.to_string();
        // A refusal is not kept: the key is taken again until it has leases.
        let (answer, lost) = loop {
            let before = seen.changes();
            let Some((status, answer, lost)) = seen.answered(socket, "POST", "/v1/leases", &body) else {
                return;
            };
            match status {
                201 => break (answer, lost),
                200 => {
                    seen.change(|state| state.refused += 1);
                    seen.wait(|state| state.changes > before);
                }
                _ => panic!("{status}: {answer}"),
            }
            if seen.state.lock().unwrap().is_over {
                return;
            }
        };
        let leases = ids(&answer["leases"]);
        seen.change(|state| {
            for lease in &leases {
                assert!(state.held.insert(lease.clone()), "{lease} is granted twice");
            }
            assert!(
                state.held.len() <= PLACES,
                "{} leases at a time",
                state.held.len()
            );
            state.most_held = state.most_held.max(state.held.len());
            state.grants += 1;
            state.repeated += u64::from(lost > 0);
        });
        // The key has this outcome for ever.
        if random.u8(..) < 64 {
            match seen.answered(socket, "POST", "/v1/leases", &body) {
                Some((status, again, _)) => assert_eq!((status, &again), (201, &answer)),
                None => return,
            }
        }
        for lease in leases {
            seen.change(|state| state.held.remove(&lease));
            match seen.answered(socket, "DELETE", &format!("/v1/leases/{lease}"), "") {
                Some((status, answer, _)) => assert_eq!(status, 204, "{answer}"),
                // Its place may be free or not.
                None => return,
            }
            seen.change(|state| state.changes += 1);
        }
    }
}

#[test]
fn kills_never_grant_more_than_there_is_and_a_key_has_one_outcome() {
    let kills = number_setting("TOKENTAIL_LEASE_KILLS").unwrap_or(KILLS);
    let mut random = Rng::with_seed(kills);
    let place = Place::new();
    place.configure(&format!(
        "[[account]]\nname = \"max-1\"\non_unknown = \"allow\"\nconcurrency = {PLACES}\n"
    ));
    let seen = Arc::new(Seen::default());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (seen, socket) = (Arc::clone(&seen), place.socket());
            std::thread::Builder::new()
                .name(format!("client {number}"))
                .spawn(move || client(number, &socket, &seen))
                .unwrap()
        })
        .collect();
    for _ in 0..kills {
        let mut collector = Collector::spawn(place.command_with_config(&["serve"]), place.socket());
        collector.wait_for_socket();
        seen.change(|state| state.changes += 1);
        // Some are killed while they start.
        if random.u8(..) < 200 {
            collector.wait_for_log("the backlog is read");
            assert_within(&collector);
            let wanted = random.u64(1..=GRANTS_MAX);
            let from = seen.change(|state| {
                state.changes += 1;
                state.grants
            });
            seen.wait(|state| state.grants >= from + wanted);
            assert_within(&collector);
        }
        collector.kill();
    }
    // At the end nobody releases any more: what is held is what there is.
    seen.change(|state| state.is_over = true);
    seen.change(|state| state.changes += 1);
    for client in clients {
        client.join().unwrap();
    }
    let collector = place.start(place.command_with_config(&["serve"]));
    let (_, leases) = collector.get("/v1/leases");
    let (there, state) = (ids(&leases), seen.state.lock().unwrap());
    assert!(there.len() <= PLACES, "{leases}");
    for held in &state.held {
        assert!(there.contains(held), "{held} is lost: {leases}");
    }
    println!(
        "{kills} kills, {} grants, {} refusals, at most {} of {PLACES} places held, {} keys asked again after a lost \
         answer",
        state.grants, state.refused, state.most_held, state.repeated
    );
    assert!(
        state.refused > 0 && state.most_held > PLACES / 2,
        "the places were never scarce"
    );
    drop(state);
    collector.stop_cleanly();
    place.assert_verified();
}
