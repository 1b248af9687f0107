//! One look over all runs that rest, on one thread: only tailers with something to see wake.
//!
//! A mount may hang. The round that hangs in it keeps its thread, its run is out of reach until the mount answers, and the
//! next round goes on with the others.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use super::tree::Depth;
use super::{Heard, LOOKS_MAX, Shared, Suspects, Waker};
use crate::config::Settings;
use crate::logfile::pool::STALLED_AFTER;

/// Looks over the runs, round by round.
#[derive(Debug, Default)]
pub struct Patrol {
    last: Option<Round>,
    /// Rounds that hang.
    hanging: Vec<Round>,
}

/// How far a round came.
#[derive(Debug)]
struct Round {
    runs: Arc<[Waker]>,
    visited: Arc<AtomicUsize>,
    /// As of the last tick, and since when it is so many.
    visited_before: usize,
    moved: Instant,
    /// Another goes on in its place, or the whole thing stops.
    ends: Arc<AtomicBool>,
    /// It was said that the run it visits does not answer.
    is_said: bool,
}

impl Round {
    fn is_done(&self) -> bool {
        self.visited.load(Ordering::Relaxed) >= self.runs.len()
    }

    /// Whether it visited any since it was last asked.
    fn moves(&mut self) -> bool {
        let visited = self.visited.load(Ordering::Relaxed);
        let moves = visited != self.visited_before;
        if moves {
            (self.visited_before, self.moved) = (visited, Instant::now());
        }
        moves
    }
}

/// What is said of runs that are out of reach.
#[derive(Debug, Default)]
pub struct Stalls {
    /// A visit to them does not end.
    pub new: Vec<Waker>,
    /// It ended.
    pub over: Vec<Waker>,
}

impl Patrol {
    /// Has all runs looked at, unless the last round is still under way.
    pub fn go(&mut self, runs: Vec<Waker>, asked: Depth, shared: &Arc<Shared>) -> Stalls {
        let mut stalls = Stalls::default();
        self.hanging.retain_mut(|round| {
            let at = round.runs.get(round.visited_before).cloned();
            if round.moves() || round.is_done() {
                stalls.over.extend(at.filter(|_| round.is_said));
                return false;
            }
            if !round.is_said && round.moved.elapsed() >= STALLED_AFTER {
                round.is_said = true;
                stalls.new.extend(at);
            }
            true
        });
        if let Some(mut last) = self.last.take()
            && !last.is_done()
        {
            if last.moves() {
                self.last = Some(last);
                return stalls;
            }
            last.ends.store(true, Ordering::Relaxed);
            self.hanging.push(last);
        }
        if self.hanging.len() >= LOOKS_MAX {
            // Nothing answers; each tailer waits for its own turn to find out.
            for waker in &runs {
                waker.tick(asked);
            }
            return stalls;
        }
        let round = Round {
            runs: runs.into(),
            visited: Arc::default(),
            visited_before: 0,
            moved: Instant::now(),
            ends: Arc::default(),
            is_said: false,
        };
        let (runs, visited, ends) = (
            Arc::clone(&round.runs),
            Arc::clone(&round.visited),
            Arc::clone(&round.ends),
        );
        let visit = Visit {
            asked,
            settings: Arc::clone(&shared.settings.borrow()),
            heard: Arc::clone(&shared.heard),
            suspects: Arc::clone(&shared.suspects),
        };
        // Nobody waits for it: how far it came says everything.
        shared.pool.start(move || visit.all(&runs, &visited, &ends));
        self.last = Some(round);
        stalls
    }
}

impl Drop for Patrol {
    fn drop(&mut self) {
        if let Some(last) = &self.last {
            last.ends.store(true, Ordering::Relaxed);
        }
    }
}

/// What a round needs.
struct Visit {
    asked: Depth,
    settings: Arc<Settings>,
    heard: Arc<Heard>,
    suspects: Arc<Suspects>,
}

impl Visit {
    fn all(&self, runs: &[Waker], visited: &AtomicUsize, ends: &AtomicBool) {
        for waker in runs {
            if ends.load(Ordering::Relaxed) {
                return;
            }
            // One that panics must not keep the others from being looked at.
            let look = || self.is_passed(waker);
            if !catch_unwind(AssertUnwindSafe(look)).unwrap_or(false) {
                waker.tick(self.asked);
            }
            visited.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Looks at a run if its tailer rests; `false` if it does not, and has to look by itself.
    fn is_passed(&self, waker: &Waker) -> bool {
        let Some(mut visit) = waker.bed.visit() else {
            return false;
        };
        let Some(resting) = visit.resting() else {
            return false;
        };
        // Its tailer waits for its turn to try a device that does not answer.
        if !self.suspects.is_empty() && !self.suspects.among(&resting.tree.all_devices()).is_empty() {
            return false;
        }
        let rhythm = &mut resting.rhythm;
        rhythm.hinted = rhythm.hinted || self.heard.has_all(resting.tree.devices());
        if !rhythm.retired && rhythm.last_news.elapsed() > self.settings.runs.idle_stop {
            waker.scan(Depth::Changed);
        } else if let Some(depth) = rhythm.next(self.asked, resting.tree.partly_watched) {
            resting
                .tree
                .close_idle(self.settings.limits.idle_close, Instant::now());
            if !resting.tree.stands(depth) {
                rhythm.stir();
                waker.scan(depth);
            }
        }
        true
    }
}
