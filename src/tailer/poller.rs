//! One look over all runs that rest: only tailers with something to see wake.
//!
//! A mount may hang. The visitor that hangs in it keeps its thread, its run is out of reach until the mount answers, and
//! another visitor goes on with the round.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::roster::Roster;
use super::suspects::Suspect;
use super::tree::Depth;
use super::{DevicesWithEvents, LOOKS_MAX, Suspects, TailerContext, TailerHandle};
use crate::config::Settings;
use crate::logfile::pool::STALLED_AFTER;

/// A visitor that does not move for so long is passed by another one.
pub const PASSED_AFTER: Duration = Duration::from_millis(100);
/// Where a visitor is that has nothing more to visit.
const DONE: usize = usize::MAX;
/// Where a visitor is that has not begun.
const NOWHERE: usize = usize::MAX - 1;

/// Looks over the runs, round by round.
#[derive(Debug, Default)]
pub struct Poller {
    /// Rounds so far.
    scans: u32,
    round: Option<Arc<Round>>,
    /// Of this round, and those of earlier ones that hang.
    visitors: Vec<Visitor>,
}

/// Runs that are visited one after the other.
#[derive(Debug)]
struct Round {
    roster: Arc<Roster>,
    /// The next group to be visited; beyond the last, there is nothing more to do.
    next: AtomicUsize,
    visit: RoundContext,
}

impl Round {
    fn is_taken(&self) -> bool {
        self.next.load(Ordering::Relaxed) >= self.roster.groups()
    }

    fn end(&self) {
        self.next.store(self.roster.groups(), Ordering::Relaxed);
    }

    /// Nothing answers: each tailer of what nobody has visited waits for its own turn to find out.
    fn leave_to_tailers(&self) {
        let left = self.next.swap(self.roster.groups(), Ordering::Relaxed);
        for waker in self.roster.from(left) {
            waker.tick(self.visit.scan, self.visit.asked);
        }
    }

    /// Visits runs until there are no more, and notes where it is.
    fn visit(&self, at: &AtomicUsize) {
        let scan = self.visit.scan;
        loop {
            let group = self.next.fetch_add(1, Ordering::Relaxed);
            if group >= self.roster.groups() {
                return at.store(DONE, Ordering::Relaxed);
            }
            let is_wanted = self.visit.asked != Depth::Changed;
            let mut until = u32::MAX;
            for number in self.roster.take_due(group, scan, is_wanted) {
                let Some(waker) = self.roster.run(number) else {
                    continue;
                };
                at.store(number, Ordering::Relaxed);
                // One that panics must not keep the others from being looked at.
                let look = || self.visit.pass(waker);
                let due = catch_unwind(AssertUnwindSafe(look)).ok().flatten();
                if due.is_none() {
                    waker.tick(scan, self.visit.asked);
                }
                until = until.min(due.unwrap_or(0));
            }
            if until != u32::MAX {
                self.roster.put_off(group, scan, until);
            }
        }
    }
}

/// A thread that visits, and where it was seen last.
#[derive(Debug)]
struct Visitor {
    round: Arc<Round>,
    at: Arc<AtomicUsize>,
    /// As of the last look at it, and since when.
    at_before: usize,
    since: Instant,
    /// It was passed by another.
    is_slow: bool,
    /// It was said that the run it visits does not answer.
    is_said: bool,
}

/// What is said of runs that are out of reach.
#[derive(Debug, Default)]
pub struct Stalls {
    /// A visit to them takes long, or took long and is over.
    pub slow: Vec<TailerHandle>,
    pub moved: Vec<TailerHandle>,
    /// A visit to them does not end.
    pub new: Vec<TailerHandle>,
    /// It ended.
    pub over: Vec<TailerHandle>,
}

impl Poller {
    /// Has all runs looked at, unless the last round is still under way.
    pub fn go(&mut self, roster: Arc<Roster>, asked: Depth, shared: &Arc<TailerContext>) {
        if let Some(round) = &self.round {
            let moves = |visitor: &Visitor| {
                Arc::ptr_eq(&visitor.round, round) && visitor.since.elapsed() < PASSED_AFTER
            };
            if !round.is_taken() && self.visitors.iter().any(moves) {
                return;
            }
            round.end();
        }
        self.scans = self.scans.saturating_add(1);
        let visit = RoundContext {
            scan: self.scans,
            asked,
            settings: Arc::clone(&shared.settings.borrow()),
            heard: Arc::clone(&shared.heard),
            suspects: Arc::clone(&shared.suspects),
        };
        let round = Arc::new(Round {
            roster,
            next: AtomicUsize::new(0),
            visit,
        });
        if self.visitors.len() < LOOKS_MAX {
            self.send(&round, shared);
        } else {
            round.leave_to_tailers();
        }
        self.round = Some(round);
    }

    /// Sends a visitor to what nobody has visited yet. Nobody waits for it: where it is says everything.
    fn send(&mut self, round: &Arc<Round>, shared: &TailerContext) {
        let (its, at) = (Arc::clone(round), Arc::new(AtomicUsize::new(NOWHERE)));
        let seen = Arc::clone(&at);
        shared.pool.start(move || its.visit(&at));
        self.visitors.push(Visitor {
            round: Arc::clone(round),
            at_before: seen.load(Ordering::Relaxed),
            at: seen,
            since: Instant::now(),
            is_slow: false,
            is_said: false,
        });
    }

    /// Sees how far the visitors are, and sends another one if none of them moves.
    pub fn look(&mut self, shared: &TailerContext) -> Stalls {
        let mut stalls = Stalls::default();
        let now = Instant::now();
        self.visitors.retain_mut(|visitor| {
            let at = visitor.at.load(Ordering::Relaxed);
            let run = || visitor.round.roster.run(visitor.at_before).cloned();
            if at != visitor.at_before {
                if visitor.is_said {
                    stalls.over.extend(run());
                } else if visitor.is_slow {
                    stalls.moved.extend(run());
                }
                (visitor.at_before, visitor.since) = (at, now);
                (visitor.is_slow, visitor.is_said) = (false, false);
            } else if !visitor.is_slow && now - visitor.since >= PASSED_AFTER {
                stalls.slow.extend(run());
                visitor.is_slow = true;
            } else if !visitor.is_said && now - visitor.since >= STALLED_AFTER {
                stalls.new.extend(run());
                visitor.is_said = true;
            }
            at != DONE
        });
        if let Some(round) = self.round.take_if(|round| !round.is_taken()) {
            let moves =
                |visitor: &Visitor| Arc::ptr_eq(&visitor.round, &round) && now - visitor.since < PASSED_AFTER;
            if !self.visitors.iter().any(moves) {
                if self.visitors.len() < LOOKS_MAX {
                    self.send(&round, shared);
                } else {
                    round.leave_to_tailers();
                }
            }
            self.round = Some(round);
        }
        stalls
    }

    /// When to look at the visitors again; `None` if there are none, or if what hangs is known to.
    pub fn due(&self) -> Option<Instant> {
        let stalled = self
            .visitors
            .iter()
            .filter(|visitor| !visitor.is_said)
            .map(|visitor| visitor.since + STALLED_AFTER);
        let round = self.round.as_ref().filter(|round| !round.is_taken());
        let its = |visitor: &&Visitor| round.is_some_and(|round| Arc::ptr_eq(&visitor.round, round));
        let moved = self
            .visitors
            .iter()
            .filter(its)
            .map(|visitor| visitor.since)
            .max();
        stalled.chain(moved.map(|moved| moved + PASSED_AFTER)).min()
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        if let Some(round) = &self.round {
            round.end();
        }
    }
}

/// What a round needs.
#[derive(Debug)]
struct RoundContext {
    scan: u32,
    asked: Depth,
    settings: Arc<Settings>,
    heard: Arc<DevicesWithEvents>,
    suspects: Arc<Suspects>,
}

impl RoundContext {
    /// Looks at a run if its tailer rests, and says by which scan it is due again; `None` if its tailer has to look by
    /// itself.
    fn pass(&self, waker: &TailerHandle) -> Option<u32> {
        let mut visit = waker.idle.visit()?;
        let resting = visit.resting()?;
        if !self.suspects.is_empty() {
            let suspects = self.suspects.among(&resting.tree.all_devices());
            if !suspects.is_empty() {
                // Its tailer waits for its turn to try a device that does not answer; a slow one is for the next round.
                return (!suspects.iter().any(Suspect::is_stalled)).then_some(0);
            }
        }
        let schedule = &mut resting.schedule;
        schedule.hinted = schedule.hinted || self.heard.has_all(resting.tree.devices());
        if !schedule.retired && schedule.last_news.elapsed() > self.settings.runs.idle_stop {
            waker.scan(Depth::Changed);
        } else if let Some(depth) = schedule.next(self.scan, self.asked, resting.tree.partly_watched) {
            resting
                .tree
                .close_idle(self.settings.limits.idle_close, std::time::Instant::now());
            if !resting.tree.stands(depth) {
                schedule.stir();
                waker.scan(depth);
            }
        }
        if resting.tree.partly_watched {
            return Some(0);
        }
        // A run that has been idle for long is stopped at its time.
        let idle_in = self
            .settings
            .runs
            .idle_stop
            .saturating_sub(schedule.last_news.elapsed());
        let every = self.settings.watch.scan_interval.as_millis().max(1);
        let scans = u32::try_from(idle_in.as_millis() / every).unwrap_or(u32::MAX);
        let idle = self.scan.saturating_add(scans).saturating_add(1);
        let due = schedule.asks_next();
        Some(if schedule.retired { due } else { due.min(idle) })
    }
}
