//! Chaos: 200 runs write on several filesystems while mounts hang, disks fill, paths vanish, the clock steps,
//! limits fall and the collector is stopped and killed. After each quiet period it agrees with the writers'
//! books, its health is right at every step, and no line of a run without a fault waits too long.
//!
//! A test program of its own: its lines are timed, so nothing else may run beside it. `TOKENTAIL_CHAOS=3600
//! cargo test --release --test chaos -- --nocapture` goes on for an hour. `TOKENTAIL_CHAOS_SEED=7` is another
//! schedule, or the one of a failure; `TOKENTAIL_CHAOS_ONLY=CoveredState,Kill` has no other troubles than
//! these.
#![allow(clippy::unwrap_used, reason = "a test's panic is its report")]

mod books;
#[path = "../collector/harness.rs"]
#[allow(dead_code, reason = "shared with the other tests, which use the rest")]
mod harness;
mod judge;
#[path = "../collector/machine.rs"]
#[allow(dead_code, reason = "shared with the other tests, which use the rest")]
mod machine;
mod process;
mod scene;
#[path = "../collector/dead_mount/server.rs"]
#[allow(dead_code, reason = "shared with the other tests, which use the rest")]
mod server;
mod trouble;

use std::time::{Duration, Instant};

use harness::{number_setting, setting};
use scene::{Scene, name_of};
use trouble::{Trouble, deck};

/// Most faults at a time.
const TROUBLES_AT_ONCE: usize = 6;
/// A fault begins within this time of its round.
const BEGINS_WITHIN_MS: u64 = 1_500;
/// The seed of the short form, which is the same each time.
const SHORT_SEED: u64 = 1;
/// Longest fault: longer than health may take to name it.
const LASTS_MS_MAX: u64 = 13_000;

/// The faults, each once.
fn troubles(scene: &Scene) -> Vec<Trouble> {
    let mut troubles = deck(scene);
    if let Some(only) = setting("TOKENTAIL_CHAOS_ONLY") {
        let only: Vec<&str> = only.split(',').collect();
        troubles.retain(|trouble| only.contains(&name_of(trouble).as_str()));
    }
    assert!(!troubles.is_empty(), "there is no such trouble");
    troubles
}

#[test]
fn whatever_happens_around_it_the_others_are_counted_and_health_is_true() {
    let goes_on = number_setting("TOKENTAIL_CHAOS").map(Duration::from_secs);
    let other = || match goes_on {
        Some(_) => fastrand::u32(..).into(),
        None => SHORT_SEED,
    };
    let seed = number_setting("TOKENTAIL_CHAOS_SEED").unwrap_or_else(other);
    let began = Instant::now();
    let Some(mut scene) = Scene::or_skip(seed) else {
        return;
    };
    let mut random = fastrand::Rng::with_seed(seed);
    let mut left = Vec::new();
    let mut rounds = 0;
    // The short form has each fault once, the long one repeats the deck.
    while rounds == 0 || !left.is_empty() || goes_on.is_some_and(|limit| began.elapsed() < limit) {
        if left.is_empty() {
            left = troubles(&scene);
            random.shuffle(&mut left);
        }
        let at_once = match goes_on {
            Some(_) => random.usize(1..=TROUBLES_AT_ONCE),
            None => TROUBLES_AT_ONCE,
        };
        round(&mut scene, &mut left, at_once, &mut random);
        rounds += 1;
    }
    scene.finish(rounds, began.elapsed());
}

/// Some compatible faults, one quiet period, and the comparison with the books.
fn round(scene: &mut Scene, troubles: &mut Vec<Trouble>, at_once: usize, random: &mut fastrand::Rng) {
    let mut chosen: Vec<Trouble> = Vec::new();
    while chosen.len() < at_once {
        let fits = |trouble: &Trouble| chosen.iter().all(|other| trouble.goes_with(other));
        let Some(next) = troubles.iter().rposition(fits) else {
            break;
        };
        chosen.push(troubles.remove(next));
    }
    let now = Instant::now();
    let mut due: Vec<(Instant, bool, Trouble)> = Vec::new();
    for trouble in chosen {
        let begin = now + Duration::from_millis(random.u64(0..BEGINS_WITHIN_MS));
        let (least, most) = trouble.lasts_ms().unwrap_or((0, 0));
        let lasts = random.u64(least..=most.min(LASTS_MS_MAX));
        due.push((begin + Duration::from_millis(lasts), false, trouble.clone()));
        due.push((begin, true, trouble));
    }
    due.sort_by_key(|(at, begins, _)| (*at, !begins));
    for (at, begins, trouble) in due {
        scene.go_on_until(at);
        if begins {
            scene.begin(&trouble, random);
        } else {
            scene.end(&trouble);
        }
    }
    scene.be_quiet();
}
