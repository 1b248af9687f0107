//! One look over all runs that rest, on one thread: only tailers with something to see wake.
//!
//! A mount may hang. The round that hangs in it keeps its thread and its permit, its run is out of reach until the mount
//! answers, and the next round goes on with the others.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use tokio::task::JoinSet;

use super::rest::Bed;
use super::tree::Depth;
use super::{LOOKS_MAX, Shared, Waker};

/// Looks over the runs, round by round.
#[derive(Debug, Default)]
pub struct Patrol {
    rounds: JoinSet<()>,
    last: Option<Round>,
}

/// How far a round came.
#[derive(Debug)]
struct Round {
    visited: Arc<AtomicUsize>,
    /// As of the last tick.
    visited_before: usize,
    all: usize,
    /// Another goes on in its place, or the whole thing stops.
    ends: Arc<AtomicBool>,
}

impl Patrol {
    /// Has all runs looked at, unless the last round is still under way.
    pub fn go(&mut self, runs: Vec<Waker>, asked: Depth, shared: &Arc<Shared>) {
        while self.rounds.try_join_next().is_some() {}
        if let Some(last) = &mut self.last {
            let visited = last.visited.load(Ordering::Relaxed);
            if visited < last.all && visited != last.visited_before {
                last.visited_before = visited;
                return;
            }
            // It is done, or hangs.
            last.ends.store(true, Ordering::Relaxed);
        }
        if self.rounds.len() >= LOOKS_MAX {
            // Nothing answers; each tailer waits for its own turn to find out.
            return runs.iter().for_each(|waker| waker.tick(asked));
        }
        let round = Round {
            visited: Arc::default(),
            visited_before: 0,
            all: runs.len(),
            ends: Arc::default(),
        };
        let (visited, ends) = (Arc::clone(&round.visited), Arc::clone(&round.ends));
        let shared = Arc::clone(shared);
        self.rounds.spawn_blocking(move || {
            let mut permit = None;
            for waker in runs {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                // Where so many hang that there is no permit, each tailer asks for one by itself.
                permit = permit.or_else(|| shared.readers.looks.try_acquire().ok());
                // One that panics must not keep the others from being looked at.
                let look = || permit.is_some() && is_passed(&waker.bed, asked, &waker, &shared);
                if !catch_unwind(AssertUnwindSafe(look)).unwrap_or(false) {
                    waker.tick(asked);
                }
                visited.fetch_add(1, Ordering::Relaxed);
            }
        });
        self.last = Some(round);
    }
}

impl Drop for Patrol {
    fn drop(&mut self) {
        if let Some(last) = &self.last {
            last.ends.store(true, Ordering::Relaxed);
        }
    }
}

/// Looks at a run if its tailer rests; `false` if it does not, and has to look by itself.
fn is_passed(bed: &Bed, asked: Depth, waker: &Waker, shared: &Shared) -> bool {
    let Some(mut visit) = bed.visit() else {
        return false;
    };
    let Some(resting) = visit.resting() else {
        return false;
    };
    let settings = Arc::clone(&shared.settings.borrow());
    let rhythm = &mut resting.rhythm;
    rhythm.hinted = rhythm.hinted || shared.heard.has_all(resting.tree.devices());
    if let Some(depth) = rhythm.next(asked, resting.tree.partly_watched) {
        resting
            .tree
            .close_idle(settings.limits.idle_close, Instant::now());
        let is_over = !rhythm.retired && rhythm.last_news.elapsed() > settings.runs.idle_stop;
        if is_over || !resting.tree.stands(depth) {
            waker.scan(depth);
        }
    }
    true
}
