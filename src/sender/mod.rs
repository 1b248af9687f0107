//! Notifications: delivers the events of the outbox, each target in order.
//!
//! One actor outside of the counting path. It never waits itself: each try, with its reads and writes of the store, is
//! a thread of its own, so a receiver that hangs stops nothing but its target. **Invariant**: a row is removed after
//! its event was sent, so a crash between the two sends it again, under the same id.

pub mod board;
pub mod body;
pub mod delivery;
pub mod ending;
mod exec;
mod lane;
pub mod schedule;
#[cfg(feature = "outbound")]
mod signature;
pub mod trial;

use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::committer::handle::WeakCommitterHandle;
use crate::config::Settings;
use crate::live::{Event, Listener};
use crate::model::Millis;
use crate::quota::notice::target::NoticeTarget;
use crate::quota::notice::{NoticePhase, NumberedNotice};
use crate::store::Reader;
use board::{NotifyBoard, SendOutcome};
use delivery::DeliveryContext;
use ending::HookEnding;
use lane::{EarlyIds, FAILING_FROM, LaneEnd, LaneParts, LaneReport};
use schedule::pause;

/// Events from memory that wait for the actor, and for one target.
pub const EARLY_WAITING_MAX: usize = 16;
/// Reports of threads that wait for the actor.
const REPORTS_WAITING_MAX: usize = 128;
/// Pause after an error of the store, and while an earlier thread of the target sends the event.
const STORE_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// Longest sleep: a clock that is set goes unnoticed no longer.
const SLEEP_MAX: Duration = Duration::from_mins(1);
/// A new event ends a pause after failures within this time: the pause may be longer than the event is wanted.
const FRESH_WITHIN: Duration = Duration::from_secs(30);

/// The parts that the sender needs.
#[derive(Debug)]
pub struct SendersSetup {
    pub settings: watch::Receiver<Arc<Settings>>,
    pub clock: Clock,
    pub store: Reader,
    /// Weak: a receiver that hangs must not keep the committer from ending.
    pub writes: WeakCommitterHandle,
    pub board: Arc<NotifyBoard>,
    pub listener: Listener,
    /// Events that cannot be committed at present.
    pub early: mpsc::Receiver<NumberedNotice>,
    pub stop: CancellationToken,
    pub ending: Arc<HookEnding>,
}

/// One target, or its events from memory: at most one thread at a time.
#[derive(Default)]
struct Lane {
    is_busy: bool,
    /// Something came while it was busy.
    again: bool,
    /// The time of the next try that the receiver named.
    not_before: Option<Instant>,
    tries: u32,
    /// The other lane sends the event that is first in this one.
    waits_for_other: bool,
    /// The next try; `None` with nothing to do.
    due: Option<Instant>,
}

impl Lane {
    /// Something waits: tried now, in a pause after failures soon, so that it is not over before the pause is.
    fn wake(&mut self) {
        if self.is_busy {
            self.again = true;
            return;
        }
        if self.not_before.is_some() {
            return;
        }
        let soon = match self.tries {
            0 => Instant::now(),
            _ => Instant::now() + FRESH_WITHIN,
        };
        self.due = Some(self.due.map_or(soon, |due| due.min(soon)));
    }
}

/// A configured target with its two lanes.
struct Addressed {
    target: NoticeTarget,
    /// The outbox.
    stored: Lane,
    /// Events from memory.
    early: Lane,
    memory: VecDeque<NumberedNotice>,
}

impl Addressed {
    /// What waits is tried at once, whatever failed before.
    fn make_due(&mut self) {
        for lane in [&mut self.stored, &mut self.early] {
            lane.tries = 0;
            lane.not_before = None;
            lane.wake();
        }
    }
}

/// The actor.
pub struct Senders {
    setup: SendersSetup,
    targets: BTreeMap<Box<str>, Addressed>,
    delivered_early: Arc<Mutex<EarlyIds>>,
    sender: mpsc::Sender<LaneReport>,
    reports: mpsc::Receiver<LaneReport>,
    random: RandomState,
    drawn: u64,
}

impl Senders {
    #[must_use]
    pub fn new(setup: SendersSetup) -> Self {
        let (sender, reports) = mpsc::channel(REPORTS_WAITING_MAX);
        Self {
            setup,
            targets: BTreeMap::new(),
            delivered_early: Arc::default(),
            sender,
            reports,
            random: RandomState::new(),
            drawn: 0,
        }
    }

    /// Sends until it is stopped. Requests that hang end with the process, programs by [`HookEnding`].
    pub async fn run(mut self) {
        let stop = self.setup.stop.clone();
        stop.run_until_cancelled(self.work()).await;
    }

    async fn work(&mut self) {
        self.take_settings();
        loop {
            self.start_due();
            let next = self.next_due();
            tokio::select! {
                changed = self.setup.settings.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.take_settings();
                }
                event = self.setup.listener.next() => match event {
                    Event::Closed => return,
                    Event::StartOver { .. } => self.wake_all(),
                    Event::Update(update) => {
                        for notice in &update.notices {
                            match notice.phase {
                                NoticePhase::Waiting => self.wake(&notice.target),
                                NoticePhase::Dropped => {
                                    self.setup.board.count(&notice.target, SendOutcome::Dropped, notice.count);
                                }
                                NoticePhase::Sent | NoticePhase::Failed => {}
                            }
                        }
                    }
                },
                reached = self.setup.board.taken() => {
                    for name in &reached {
                        self.targets.get_mut(name).into_iter().for_each(Addressed::make_due);
                    }
                }
                Some(early) = self.setup.early.recv() => self.remember(&early),
                Some(report) = self.reports.recv() => self.take(report),
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    /// Takes over the configured targets. One whose settings changed starts anew. What waits is tried at once, as the reload
    /// may be the repair.
    fn take_settings(&mut self) {
        let settings = Arc::clone(&self.setup.settings.borrow_and_update());
        let targets = &settings.notify.targets;
        let is_known = |name: &str| targets.iter().any(|target| *target.name == *name);
        self.targets.retain(|name, _| is_known(name));
        self.setup.board.retain(is_known);
        for target in targets.iter() {
            let name = &target.name;
            let addressed = self.targets.entry(name.clone()).or_insert_with(|| Addressed {
                target: target.clone(),
                stored: Lane::default(),
                early: Lane::default(),
                memory: VecDeque::new(),
            });
            if addressed.target != *target {
                addressed.target = target.clone();
                self.setup.board.renew(name);
                lane::renew(name.clone(), self.setup.writes.clone());
            }
            addressed.make_due();
            self.setup.board.change(name, |_| {});
        }
        let names = targets.iter().map(|target| target.name.clone()).collect();
        lane::drop_unknown(names, self.setup.store.clone(), self.setup.writes.clone());
    }

    fn wake(&mut self, target: &str) {
        if let Some(addressed) = self.targets.get_mut(target) {
            addressed.stored.wake();
        }
    }

    fn wake_all(&mut self) {
        for addressed in self.targets.values_mut() {
            addressed.stored.wake();
        }
    }

    /// Keeps an event that cannot be committed for the targets that want it.
    fn remember(&mut self, numbered: &NumberedNotice) {
        for addressed in self.targets.values_mut() {
            if !addressed.target.wants(&numbered.notice) {
                continue;
            }
            if addressed.memory.len() >= EARLY_WAITING_MAX {
                addressed.memory.pop_front();
                let name = &addressed.target.name;
                self.setup.board.count(name, SendOutcome::Dropped, 1);
            }
            addressed.memory.push_back(numbered.clone());
            addressed.early.wake();
        }
    }

    fn next_due(&self) -> Instant {
        let latest = Instant::now() + SLEEP_MAX;
        let lanes = self.targets.values().flat_map(|it| [&it.stored, &it.early]);
        let dues = lanes.filter(|lane| !lane.is_busy).filter_map(|lane| lane.due);
        dues.min().map_or(latest, |due| due.min(latest))
    }

    /// Starts the threads of lanes that are due.
    fn start_due(&mut self) {
        let now = Instant::now();
        let settings = Arc::clone(&self.setup.settings.borrow());
        for addressed in self.targets.values_mut() {
            let tries = addressed.stored.tries;
            let since = self.setup.board.of(&addressed.target.name).troubled_since;
            let parts = |early| LaneParts {
                target: addressed.target.clone(),
                failed: (tries, since),
                early,
                delivered_early: Arc::clone(&self.delivered_early),
                context: DeliveryContext::new(
                    self.setup.clock,
                    settings.notify.variables.clone(),
                    Arc::clone(&self.setup.ending),
                ),
                store: self.setup.store.clone(),
                writes: self.setup.writes.clone(),
                reports: self.sender.clone(),
            };
            let is_due = |lane: &Lane| !lane.is_busy && lane.due.is_some_and(|due| due <= now);
            let front = addressed.memory.front().cloned();
            if is_due(&addressed.stored) && lane::start(parts(None)) {
                addressed.stored.is_busy = true;
                addressed.stored.again = false;
                addressed.stored.due = None;
            }
            if is_due(&addressed.early) {
                addressed.early.due = None;
                if front.is_some() && lane::start(parts(front)) {
                    addressed.early.is_busy = true;
                }
            }
        }
    }

    /// Takes what a thread reports.
    fn take(&mut self, report: LaneReport) {
        let now = self.setup.clock.now();
        self.drawn += 1;
        let mut hasher = self.random.build_hasher();
        hasher.write_u64(self.drawn);
        let random = hasher.finish();
        let board = Arc::clone(&self.setup.board);
        let Some(addressed) = self.targets.get_mut(&report.target.name) else {
            return;
        };
        let is_early = report.early.is_some();
        let (lane, other) = if is_early {
            (&mut addressed.early, &mut addressed.stored)
        } else {
            (&mut addressed.stored, &mut addressed.early)
        };
        lane.is_busy = false;
        if std::mem::take(&mut other.waits_for_other) {
            other.due = Some(Instant::now());
        }
        let name = &*report.target.name;
        match report.end {
            LaneEnd::Nothing => {
                lane.due = lane.again.then(Instant::now);
                return;
            }
            LaneEnd::Repeated => lane.due = Some(Instant::now()),
            LaneEnd::UnderWay => {
                // Else the report of the other lane was here already, or its target was configured anew.
                lane.waits_for_other = other.is_busy;
                lane.due = (!other.is_busy).then(|| Instant::now() + STORE_AGAIN_AFTER);
                return;
            }
            LaneEnd::Dropped => {
                lane.due = Some(Instant::now());
                if is_early {
                    // Of those in the outbox the commit says it.
                    board.count(name, SendOutcome::Dropped, 1);
                }
            }
            LaneEnd::Store(error) => {
                tracing::debug!(target = name, %error, "the outbox is not read");
                lane.due = Some(Instant::now() + STORE_AGAIN_AFTER);
                return;
            }
            LaneEnd::Sent => {
                lane.tries = 0;
                lane.not_before = None;
                lane.due = Some(Instant::now());
                board.count(name, SendOutcome::Sent, 1);
                sent(&board, name, now);
                tracing::debug!(target = name, id = &*report.id, "a notification is sent");
            }
            LaneEnd::Failed(why) => {
                lane.tries = 0;
                lane.not_before = None;
                lane.due = Some(Instant::now());
                board.count(name, SendOutcome::Failed, 1);
                tracing::warn!(
                    target = name,
                    id = &*report.id,
                    "a notification is given up: {why}"
                );
                if addressed.target == report.target {
                    failed(&board, name, (now, why), true);
                } else {
                    lane::renew(name.into(), self.setup.writes.clone());
                }
            }
            LaneEnd::Retry { why, after } => {
                board.count(name, SendOutcome::Retried, 1);
                if addressed.target != report.target {
                    // It tried what the target was before: that says nothing of what it is now.
                    lane.due = Some(Instant::now());
                    lane::renew(name.into(), self.setup.writes.clone());
                    return;
                }
                lane.tries = lane.tries.saturating_add(1);
                let span = after.map_or_else(
                    || pause(lane.tries, random),
                    |after| Duration::from_millis(u64::try_from(after).unwrap_or(0)),
                );
                let span = if lane.again && after.is_none() {
                    span.min(FRESH_WITHIN)
                } else {
                    span
                };
                let due = Instant::now() + span;
                lane.not_before = after.map(|_| due);
                lane.due = Some(due);
                let (seconds, tries) = (span.as_secs(), lane.tries);
                if tries <= FAILING_FROM {
                    tracing::warn!(
                        target = name,
                        id = &*report.id,
                        "a notification waits: {why}; tried again in {seconds} s"
                    );
                }
                failed(&board, name, (now, why), tries >= FAILING_FROM);
                let next_at = now.saturating_add(Millis::try_from(span.as_millis()).unwrap_or(Millis::MAX));
                board.change(name, |status| {
                    status.tries = tries;
                    status.next_at = Some(next_at);
                });
                return;
            }
        }
        if let Some(id) = report.early {
            addressed.memory.retain(|numbered| numbered.id != id);
        }
    }
}

fn sent(board: &NotifyBoard, target: &str, now: Millis) {
    board.change(target, |status| {
        status.tries = 0;
        status.next_at = None;
    });
    if board.reached(target, now) {
        tracing::info!(target, "notifications reach it again");
    }
}

fn failed(board: &NotifyBoard, target: &str, error: (Millis, String), is_failing: bool) {
    board.change(target, |status| {
        status.tries = 0;
        status.next_at = None;
        status.troubled_since.get_or_insert(error.0);
        status.error = Some(error);
        status.is_failing |= is_failing;
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_event_ends_a_pause_soon_unless_the_receiver_asked_for_it() {
        let (start, hour) = (Instant::now(), Duration::from_hours(1));
        let lane = |tries, is_asked: bool| Lane {
            tries,
            not_before: is_asked.then(|| start + hour),
            due: Some(start + hour),
            ..Lane::default()
        };
        for (mut lane, from, to) in [
            (lane(0, false), Duration::ZERO, hour / 2),
            (lane(5, false), FRESH_WITHIN, hour / 2),
            (lane(5, true), hour, hour),
        ] {
            lane.wake();
            let wait = lane.due.expect("it was due") - start;
            assert!(wait >= from && wait <= to, "{wait:?}");
        }
    }
}
