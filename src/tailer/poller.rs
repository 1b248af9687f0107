//! Poller: visits all idle runs in rounds, and wakes only the tailers of runs that changed.
//!
//! A mount may hang. The visitor that hangs in it keeps its thread, its run is out of reach until the mount
//! responds, and another visitor continues the round.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::handle::TailerHandle;
use super::roster::Roster;
use super::shared::{DevicesWithEvents, LOOKS_MAX, TailerContext};
use super::suspects::Suspects;
use super::tree::Depth;
use crate::config::Settings;
use crate::logfile::pool::STALLED_AFTER;

/// Another visitor is started when one has not moved for this long.
pub const PASSED_AFTER: Duration = Duration::from_millis(100);
/// The position of a visitor that has ended.
const DONE: usize = usize::MAX;
/// The position of a visitor that has not begun.
const NOWHERE: usize = usize::MAX - 1;

/// The poller: the present round, and the visitors of all rounds that have not ended.
#[derive(Debug, Default)]
pub struct Poller {
    /// Rounds so far.
    scans: u32,
    round: Option<Arc<Round>>,
    /// The visitors of this round, and those of earlier rounds that hang.
    visitors: Vec<Visitor>,
}

/// One pass over all runs that are due.
#[derive(Debug)]
struct Round {
    roster: Arc<Roster>,
    /// The next group to be visited; beyond the last one the round is done.
    next: AtomicUsize,
    context: RoundContext,
}

impl Round {
    fn is_taken(&self) -> bool {
        self.next.load(Ordering::Relaxed) >= self.roster.groups()
    }

    fn end(&self) {
        self.next.store(self.roster.groups(), Ordering::Relaxed);
    }

    /// Ends a round in which too many visitors hang: each tailer that was not visited scans by itself.
    fn leave_to_tailers(&self) {
        let left = self.next.swap(self.roster.groups(), Ordering::Relaxed);
        for handle in self.roster.from(left) {
            handle.tick(self.context.scan, self.context.depth);
        }
    }

    /// Visits runs to the end of the round; `at` is the position of the visitor.
    fn visit(&self, at: &AtomicUsize) {
        let scan = self.context.scan;
        loop {
            let group = self.next.fetch_add(1, Ordering::Relaxed);
            if group >= self.roster.groups() {
                return at.store(DONE, Ordering::Relaxed);
            }
            let are_all_due = self.context.depth != Depth::Changed;
            let mut until = u32::MAX;
            for number in self.roster.take_due(group, scan, are_all_due) {
                let Some(handle) = self.roster.run(number) else {
                    continue;
                };
                at.store(number, Ordering::Relaxed);
                // A panic in one visit must not end the others.
                let visit = || self.context.visit(handle);
                let due = catch_unwind(AssertUnwindSafe(visit)).ok().flatten();
                if due.is_none() {
                    handle.tick(scan, self.context.depth);
                }
                until = until.min(due.unwrap_or(0));
            }
            if until != u32::MAX {
                self.roster.delay(group, scan, until);
            }
        }
    }
}

/// A job that visits runs, and its position as of the last check.
#[derive(Debug)]
struct Visitor {
    round: Arc<Round>,
    at: Arc<AtomicUsize>,
    /// The position at the last check, and the time since when it has been there.
    at_before: usize,
    since: Instant,
    /// It has not moved for [`PASSED_AFTER`].
    is_slow: bool,
    /// Its run was reported as stalled.
    is_reported: bool,
}

/// The runs of visitors that hang, as far as that changed since the last check.
#[derive(Debug, Default)]
pub struct Stalls {
    /// Their visit has become slow.
    pub slow: Vec<TailerHandle>,
    /// Their slow visit has ended.
    pub moved: Vec<TailerHandle>,
    /// Their visit has stalled.
    pub new: Vec<TailerHandle>,
    /// Their stalled visit has ended.
    pub over: Vec<TailerHandle>,
}

impl Poller {
    /// Starts a round, unless the last one is still under way.
    pub fn go(&mut self, roster: Arc<Roster>, depth: Depth, shared: &Arc<TailerContext>) {
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
        let context = RoundContext {
            scan: self.scans,
            depth,
            settings: Arc::clone(&shared.settings.borrow()),
            devices_with_events: Arc::clone(&shared.devices_with_events),
            suspects: Arc::clone(&shared.suspects),
        };
        let round = Arc::new(Round {
            roster,
            next: AtomicUsize::new(0),
            context,
        });
        if self.visitors.len() < LOOKS_MAX {
            self.send(&round, shared);
        } else {
            round.leave_to_tailers();
        }
        self.round = Some(round);
    }

    /// Starts another visitor. Its job is not waited for: its position shows its progress.
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
            is_reported: false,
        });
    }

    /// Checks the progress of the visitors, and starts another one if none of them moves.
    pub fn look(&mut self, shared: &TailerContext) -> Stalls {
        let mut stalls = Stalls::default();
        let now = Instant::now();
        self.visitors.retain_mut(|visitor| {
            let at = visitor.at.load(Ordering::Relaxed);
            let run = || visitor.round.roster.run(visitor.at_before).cloned();
            if at != visitor.at_before {
                if visitor.is_reported {
                    stalls.over.extend(run());
                } else if visitor.is_slow {
                    stalls.moved.extend(run());
                }
                (visitor.at_before, visitor.since) = (at, now);
                (visitor.is_slow, visitor.is_reported) = (false, false);
            } else if !visitor.is_slow && now - visitor.since >= PASSED_AFTER {
                stalls.slow.extend(run());
                visitor.is_slow = true;
            } else if !visitor.is_reported && now - visitor.since >= STALLED_AFTER {
                stalls.new.extend(run());
                visitor.is_reported = true;
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

    /// The time of the next check; `None` if there are no visitors, or if all that hang are reported.
    pub fn due(&self) -> Option<Instant> {
        let stalled = self
            .visitors
            .iter()
            .filter(|visitor| !visitor.is_reported)
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

/// The parameters of a round.
#[derive(Debug)]
struct RoundContext {
    scan: u32,
    depth: Depth,
    settings: Arc<Settings>,
    devices_with_events: Arc<DevicesWithEvents>,
    suspects: Arc<Suspects>,
}

impl RoundContext {
    /// Visits a run if its tailer is idle; returns the number of the scan at which it is due again, `None` if
    /// its tailer has to scan by itself.
    fn visit(&self, handle: &TailerHandle) -> Option<u32> {
        let mut visit = handle.visit()?;
        let idle = visit.state()?;
        if !self.suspects.is_empty() && !self.suspects.among(&idle.tree.all_devices()).is_empty() {
            // The tailer waits for its turn there, a visitor would keep others waiting.
            return None;
        }
        let schedule = &mut idle.schedule;
        schedule.hinted = schedule.hinted || self.devices_with_events.has_all(idle.tree.devices());
        if !schedule.retired && schedule.last_news.elapsed() > self.settings.runs.idle_stop {
            handle.end_idle();
        } else if let Some(depth) = schedule.next(self.scan, self.depth, idle.tree.partly_watched) {
            idle.tree
                .close_idle(self.settings.limits.idle_close, std::time::Instant::now());
            if !idle.tree.is_unchanged(depth) {
                schedule.reset_interval();
                handle.scan(depth);
            }
        }
        if idle.tree.partly_watched {
            return Some(0);
        }
        // The scan at which the run has been without news for `runs.idle_stop`.
        let idle_in = self
            .settings
            .runs
            .idle_stop
            .saturating_sub(schedule.last_news.elapsed());
        let every = self.settings.watch.scan_interval.as_millis().max(1);
        let scans = u32::try_from(idle_in.as_millis() / every).unwrap_or(u32::MAX);
        let idle_stop = self.scan.saturating_add(scans).saturating_add(1);
        let due = schedule.next_due();
        Some(if schedule.retired { due } else { due.min(idle_stop) })
    }
}
