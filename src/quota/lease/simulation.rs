//! Ten thousand random schedules: accounts at a provider that serves, refuses and throttles; orchestrators that take
//! leases, start runs, release, renew or die at any step; a collector that restarts; a clock that is set back.
//!
//! What was granted is counted beside the book, and at every step compared with it:
//!
//! - at every grant the leases and the live runs without one are within `concurrency`;
//! - while an account is tried, one lease is under way; while it is blocked, none is granted;
//! - a lease is there until its end and not longer: its time, or that of its run;
//! - an attempt at a recovery ends within [`HALF_OPEN_MAX_MS`];
//! - where nothing is in the way, each request gets a lease;
//! - once the provider serves again, a run starts in each account within [`STARTS_WITHIN_MS`] of the end of its
//!   block, and as many as it may have soon after.
//!
//! To repeat one: `TOKENTAIL_SEED=<seed> cargo test --lib lease::simulation -- --nocapture`.

mod calm;
mod ledger;
mod provider;

use std::collections::BTreeMap;

use super::grant::{Grant, LeaseRequest};
use super::harness::{LeaseHarness, ObservedAccount, reading};
use super::{LeaseEnd, LeaseNumber};
use crate::model::{HOUR_MS, LimitSource, LimitStatus, MINUTE_MS, Millis, RunId};
use crate::quota::account::{Minimum, OnUnknown, RampRules};
use crate::quota::simulator::{MODELS, News, histories};
use crate::quota::window_name::{COOL_DOWN, FIVE_HOUR, SEVEN_DAY_OPUS, UNKNOWN};
use ledger::{AccountBefore, LeaseLedger, LedgerEntry};
use provider::SimulatedProvider;

/// Schedules in one run of the tests.
const SCHEDULES: u64 = 10_000;
/// Events of one schedule, before the provider serves everything.
const EVENTS: u32 = 70;
/// 2026-11-20T00:00:00Z
const START: Millis = 1_795_132_800_000;
const ORCHESTRATORS_MAX: usize = 4;
const TTL_MAX: Millis = 2 * MINUTE_MS;
/// Renewals of one lease.
const RENEWALS_MAX: u32 = 2;
/// A lease with its renewals, its binding, three minutes without evidence, a restart, and the clock set back.
const HALF_OPEN_MAX_MS: Millis = (2 + RENEWALS_MAX as Millis) * TTL_MAX + 9 * MINUTE_MS;
/// The longest pause, should a probe that is under way be the third without evidence; leases of the dead, and spread.
const STARTS_WITHIN_MS: Millis = HOUR_MS + TTL_MAX + 5 * MINUTE_MS;

/// A rule that the schedule breaks, to see that this is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BrokenRule {
    /// Leases do not expire.
    Expiry,
    /// The account has room for more.
    Concurrency,
    /// Probes are forgotten.
    Probe,
}

/// A live run.
struct SimulatedRun {
    id: RunId,
    account: usize,
    model: usize,
    /// `None` for one that asked nobody.
    lease: Option<LeaseNumber>,
    requests: u32,
}

#[derive(Clone, Debug)]
enum ScheduleEvent {
    /// An orchestrator takes leases.
    Ask(usize),
    Renew(LeaseNumber, u32),
    Release(LeaseNumber),
    Appear(LeaseNumber),
    /// The run of a lease writes something.
    Write(LeaseNumber),
    Foreign(usize),
    Request(u64),
    EndRun(u64),
    /// A line reaches the collector.
    Line(usize, News, Millis),
    /// Something happens at the provider.
    Provider(usize),
    Down,
    Up,
    ClockBack,
}

struct LeaseSchedule {
    random: fastrand::Rng,
    broken: Option<BrokenRule>,
    /// True time; the clock of the machine is this and an offset.
    time: Millis,
    offset: Millis,
    queue: BTreeMap<(Millis, u64), ScheduleEvent>,
    /// Number of the last event and of the last run.
    last: u64,
    harness: LeaseHarness,
    ledger: LeaseLedger,
    providers: Vec<SimulatedProvider>,
    runs: BTreeMap<u64, SimulatedRun>,
    is_down: bool,
    /// The end of the last down time.
    up_at: Millis,
    log: Vec<String>,
}

impl LeaseSchedule {
    fn new(seed: u64, broken: Option<BrokenRule>) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut schedule = Self {
            broken,
            time: START,
            offset: 0,
            queue: BTreeMap::new(),
            last: 0,
            harness: LeaseHarness::default(),
            ledger: LeaseLedger::default(),
            providers: Vec::new(),
            runs: BTreeMap::new(),
            is_down: false,
            up_at: START,
            log: Vec::new(),
            random: random.fork(),
        };
        for name in ["a", "b"].into_iter().take(random.usize(1..=2)) {
            schedule.add_account(name);
        }
        for orchestrator in 0..random.usize(2..=ORCHESTRATORS_MAX) {
            let after = random.i64(0..MINUTE_MS);
            schedule.after(after, ScheduleEvent::Ask(orchestrator));
        }
        for event in [ScheduleEvent::Down, ScheduleEvent::ClockBack] {
            schedule.after(random.i64(MINUTE_MS..15 * MINUTE_MS), event);
        }
        schedule
    }

    fn add_account(&mut self, name: &str) {
        let random = &mut self.random;
        let mut observed = ObservedAccount::new(name);
        let account = &mut observed.account;
        let concurrency = random.u32(0..=4);
        account.start.concurrency = concurrency;
        account.start.ramp = RampRules {
            start: random.u32(1..=3),
            step: random.u32(1..=2),
            every_ms: random.i64(10_000..=60_000),
        };
        account.on_unknown = if random.bool() {
            OnUnknown::Say
        } else {
            OnUnknown::Allow
        };
        if random.u8(..4) == 0 {
            account.minimum_left.push(Minimum {
                window: FIVE_HOUR.into(),
                percent: 10,
            });
        }
        if random.u8(..4) == 0 {
            account.start.cost.insert(FIVE_HOUR.into(), 0.05);
            account.start.reserve.insert("high".into(), 0.1);
        }
        if self.broken == Some(BrokenRule::Concurrency) {
            account.start.concurrency = 0;
        }
        let number = self.providers.len();
        self.ledger.add_account(concurrency);
        self.providers.push(SimulatedProvider {
            used: 0.3,
            capacity: 1.0,
            ends: Some(self.time + random.i64(2 * MINUTE_MS..40 * MINUTE_MS)),
            opus_used: random.f64() * 0.9,
            throttled_until: 0,
        });
        let (foreign, weather) = (random.i64(0..20 * MINUTE_MS), random.i64(0..3 * MINUTE_MS));
        self.harness.accounts.push(observed);
        let first = self.reading(number, LimitSource::Headers);
        self.harness.accounts[number].engine.take(&first, self.time);
        self.after(foreign, ScheduleEvent::Foreign(number));
        self.after(weather, ScheduleEvent::Provider(number));
    }

    fn after(&mut self, ms: Millis, event: ScheduleEvent) {
        self.last += 1;
        self.queue.insert((self.time + ms, self.last), event);
    }

    fn clock(&self) -> Millis {
        self.time + self.offset
    }

    /// One event, after the sweeps that are due before it.
    fn step(&mut self) -> Result<(), String> {
        let Some(((at, _), _)) = self.queue.first_key_value() else {
            return Ok(());
        };
        let at = *at;
        while !self.is_down
            && let Some(next) = self.harness.book.next_change(self.clock())
            && next.saturating_sub(self.offset) < at
        {
            self.time = self.time.max(next.saturating_sub(self.offset));
            self.sweep()?;
        }
        let Some(((at, _), event)) = self.queue.pop_first() else {
            return Ok(());
        };
        self.time = self.time.max(at);
        self.log.push(format!("{} {event:?}", self.time - START));
        self.happen(event)?;
        if self.is_down {
            return Ok(());
        }
        self.sweep()
    }

    fn sweep(&mut self) -> Result<(), String> {
        let now = self.clock();
        self.harness.sweep(now);
        if self.broken == Some(BrokenRule::Expiry) {
            for lease in self.harness.book.leases.values_mut() {
                lease.expires_at = Millis::MAX;
            }
        }
        if self.broken == Some(BrokenRule::Probe) {
            self.harness.book.probes.clear();
        }
        self.ledger.sweep(now);
        self.ledger.check(&self.harness, self.time)
    }

    fn happen(&mut self, event: ScheduleEvent) -> Result<(), String> {
        let is_for_collector = matches!(
            event,
            ScheduleEvent::Ask(_)
                | ScheduleEvent::Renew(..)
                | ScheduleEvent::Release(_)
                | ScheduleEvent::Appear(_)
                | ScheduleEvent::EndRun(_)
                | ScheduleEvent::Line(..)
        );
        if self.is_down && is_for_collector {
            self.after(self.up_at - self.time + 1, event);
            return Ok(());
        }
        match event {
            ScheduleEvent::Ask(orchestrator) => return self.ask(orchestrator),
            ScheduleEvent::Renew(lease, left) => self.renew(lease, left),
            ScheduleEvent::Release(lease) => {
                self.harness.end(lease, LeaseEnd::Released);
                self.ledger.ended(lease);
            }
            ScheduleEvent::Appear(lease) => self.appear(lease),
            ScheduleEvent::Write(lease) => self.write(lease),
            ScheduleEvent::Foreign(account) => {
                self.harness.accounts[account].live += 1;
                self.start_run(account, None);
                let next = self.random.i64(10 * MINUTE_MS..2 * HOUR_MS);
                self.after(next, ScheduleEvent::Foreign(account));
            }
            ScheduleEvent::Request(run) => self.request(run),
            ScheduleEvent::EndRun(run) => self.end_run(run),
            ScheduleEvent::Line(account, news, at) => {
                self.harness.accounts[account].engine.take(&news, at);
                self.ledger.showed(account, at);
            }
            ScheduleEvent::Provider(account) => self.change_provider(account),
            ScheduleEvent::Down => {
                self.is_down = true;
                let up = self.random.i64(1_000..3 * MINUTE_MS);
                self.up_at = self.time + up;
                self.after(up, ScheduleEvent::Up);
            }
            ScheduleEvent::Up => {
                self.is_down = false;
                let now = self.clock();
                self.harness.start(now);
                self.ledger.started(now);
                let down = self.random.i64(10 * MINUTE_MS..2 * HOUR_MS);
                self.after(down, ScheduleEvent::Down);
            }
            ScheduleEvent::ClockBack => {
                let most = if self.random.u8(..4) == 0 { 90_000 } else { 8_000 };
                self.offset -= self.random.i64(500..most);
                let next = self.random.i64(5 * MINUTE_MS..HOUR_MS);
                self.after(next, ScheduleEvent::ClockBack);
                // Before it is where it was.
                self.after(1, ScheduleEvent::Ask(ORCHESTRATORS_MAX));
            }
        }
        Ok(())
    }

    fn ask(&mut self, orchestrator: usize) -> Result<(), String> {
        let model = [Some(MODELS[0]), Some(MODELS[1]), None][self.random.usize(..3)];
        let count = self.random.u32(1..=4);
        let request = LeaseRequest {
            key: format!("{orchestrator}-{}", self.last).into(),
            count,
            min: if self.random.u8(..5) == 0 { count } else { 1 },
            class: (self.random.u8(..4) == 0).then(|| "high".into()),
            ttl: self.random.i64(10_000..=TTL_MAX),
            ..LeaseRequest::default()
        };
        // A recovery that succeeded may be over at once.
        self.sweep()?;
        self.sweep()?;
        let now = self.clock();
        let before = AccountBefore::of_all(&self.harness, model, now);
        let grant = self.harness.acquire(&request, model, now);
        let numbers: Vec<LeaseNumber> = grant.leases.iter().map(|lease| lease.number).collect();
        self.log
            .push(format!("  {request:?} {model:?} gets {numbers:?} {:?}", grant.by));
        for lease in &grant.leases {
            let account = self
                .harness
                .accounts
                .iter()
                .position(|one| one.account.id == lease.account);
            let account = account.ok_or("a lease of no account")?;
            let entry = LedgerEntry::new(account, model, request.ttl, now);
            self.ledger.granted(lease.number, entry);
            self.plan(lease.number, request.ttl);
        }
        self.ledger
            .check_grant(&self.harness, (0, &before), &grant, &request)?;
        // It wants more soon, or much later; now and then it died and begins again.
        let next = match self.random.u8(..10) {
            0 => self.random.i64(10 * MINUTE_MS..5 * HOUR_MS),
            1 => self.random.i64(MINUTE_MS..5 * MINUTE_MS),
            _ => self.random.i64(2_000..2 * MINUTE_MS),
        };
        let next = match grant.retry_at {
            Some(at) if at <= now => return Err(format!("{} is to be repeated at {at}", request.key)),
            Some(at) => next.min(at.saturating_sub(now)),
            None => next,
        };
        // The last one asks once.
        if orchestrator < ORCHESTRATORS_MAX {
            self.after(next, ScheduleEvent::Ask(orchestrator));
        }
        Ok(())
    }

    /// What becomes of a lease.
    fn plan(&mut self, lease: LeaseNumber, ttl: Millis) {
        let (soon, late) = (self.random.i64(0..ttl / 2), self.random.i64(ttl / 2..ttl * 5 / 4));
        match self.random.u8(..10) {
            // Its holder dies.
            0 => {}
            1 => self.after(soon, ScheduleEvent::Release(lease)),
            2 => self.after(soon, ScheduleEvent::Renew(lease, RENEWALS_MAX)),
            3..5 => self.after(late, ScheduleEvent::Appear(lease)),
            _ => self.after(soon, ScheduleEvent::Appear(lease)),
        }
    }

    fn renew(&mut self, number: LeaseNumber, left: u32) {
        let now = self.clock();
        let lease = self.harness.book.leases.get_mut(&number);
        let Some(lease) = lease.filter(|lease| !lease.is_expired(now)) else {
            return;
        };
        lease.renew(None, now);
        let after = self.random.i64(0..lease.ttl);
        self.ledger.renewed(number, now);
        if left > 1 {
            self.after(after, ScheduleEvent::Renew(number, left - 1));
        } else {
            self.after(after, ScheduleEvent::Appear(number));
        }
    }

    fn appear(&mut self, lease: LeaseNumber) {
        let now = self.clock();
        let id = RunId::new(&format!("r{lease}")).expect("a run id");
        if !self.harness.start_run(lease, &id, now) {
            // It is refused, so the run does not start.
            self.ledger.ended(lease);
            return;
        }
        self.ledger.bound(lease, now);
        let account = self.ledger.account_of(lease);
        self.start_run(account, Some(lease));
    }

    fn start_run(&mut self, account: usize, lease: Option<LeaseNumber>) {
        let model = lease.and_then(|lease| self.ledger.model_of(lease));
        let model = MODELS.iter().position(|name| Some(*name) == model).unwrap_or(1);
        self.last += 1;
        let number = self.last;
        let run = SimulatedRun {
            id: RunId::new(&format!("r{number}")).expect("a run id"),
            account,
            model,
            lease,
            requests: self.random.u32(1..=5),
        };
        let (soon, late) = (
            self.random.i64(500..9_000),
            self.random.i64(5 * MINUTE_MS..30 * MINUTE_MS),
        );
        let (first, next) = match (lease, self.random.u8(..12)) {
            // It writes nothing.
            (Some(_), 0) => (late, ScheduleEvent::EndRun(number)),
            // It writes at once, and its first response is slow.
            (Some(lease), 1..3) => {
                self.after(soon, ScheduleEvent::Write(lease));
                (late, ScheduleEvent::Request(number))
            }
            _ => (soon, ScheduleEvent::Request(number)),
        };
        self.runs.insert(number, run);
        self.after(first, next);
    }

    fn write(&mut self, lease: LeaseNumber) {
        self.harness.wrote(lease);
        self.ledger.wrote(lease);
    }

    fn end_run(&mut self, number: u64) {
        let Some(run) = self.runs.remove(&number) else {
            return;
        };
        match run.lease {
            Some(lease) => {
                self.harness.end(lease, LeaseEnd::RunEnded);
                self.ledger.ended(lease);
            }
            None => self.harness.accounts[run.account].live -= 1,
        }
        self.log.push(format!("  {} ends", run.id));
    }
}

/// Runs one schedule; returns what went wrong, if anything.
fn schedule(seed: u64, broken: Option<BrokenRule>) -> Result<(), String> {
    let mut schedule = LeaseSchedule::new(seed, broken);
    let mut run = || {
        for _ in 0..EVENTS {
            schedule.step()?;
        }
        schedule.calm_down()
    };
    let result = run();
    result.map_err(|what| format!("{what}\n{}", schedule.log.join("\n")))
}

#[test]
fn no_schedule_breaks_a_rule_even_seeds() {
    histories((0..SCHEDULES).filter(|seed| seed % 2 == 0), |seed| {
        schedule(seed, None)
    });
}

#[test]
fn no_schedule_breaks_a_rule_odd_seeds() {
    histories((0..SCHEDULES).filter(|seed| seed % 2 == 1), |seed| {
        schedule(seed, None)
    });
}

#[test]
fn a_broken_rule_is_found() {
    for (broken, sign) in [
        (BrokenRule::Expiry, "is there after its end"),
        (BrokenRule::Concurrency, "where there is room for"),
        (BrokenRule::Probe, "while lease"),
    ] {
        let found = (0..100).filter_map(|seed| schedule(seed, Some(broken)).err());
        let found = found.filter(|what| what.contains(sign)).count();
        assert!(found >= 20, "{broken:?} is found in {found} of 100");
    }
}
