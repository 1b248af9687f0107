//! How many further runs an account may start.

use std::collections::BTreeMap;

use strum::IntoStaticStr;

use super::cost::CostHistory;
use super::probe::{self, BlockKind, Gate, ProbeState, ScopeFacts};
use super::{Lease, LeaseBook, ProbeKey};
use crate::model::Millis;
use crate::quota::account::Account;
use crate::quota::admission::{AccountVerdict, Assessment, Reason, Verdict};
use crate::quota::exhaustion::{self, CauseKind};
use crate::quota::window::{Freshness, NamedWindow, SHARE_EPSILON, view};
use crate::quota::window_name;

/// Most leases at a time, of all accounts together.
pub const LEASES_MAX: usize = 10_000;

/// An account in which runs could start, with what is known of it.
#[derive(Clone, Debug)]
pub struct Place<'a> {
    pub account: &'a Account,
    pub assessment: &'a Assessment,
    pub windows: Vec<NamedWindow<'a>>,
    pub scopes: Vec<ScopeFacts>,
    /// Live runs without a lease.
    pub live: u32,
}

impl Place<'_> {
    /// True if its windows have no room, and runs may start all the same: they are billed beyond the windows.
    fn is_paid(&self, now: Millis) -> bool {
        let account = self.account;
        if !account.use_overage || self.assessment.verdict != Verdict::Allow {
            return false;
        }
        let model = self.assessment.model.as_deref();
        exhaustion::blocked(&self.windows, model, now).is_some()
            || exhaustion::minimum_block(&self.windows, &account.minimum_left, now).is_some()
    }
}

/// What bounds the number of further runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum CapacityLimit {
    /// The runs that the account may have at a time.
    Concurrency,
    /// The account recovers step by step.
    Ramp,
    /// What is left of a window, less what other leases are expected to use of it.
    Headroom,
    /// What is left is kept for another class.
    Reserve,
    /// One run tries the account.
    Probe,
    /// Tries of the account showed nothing.
    NoEvidence,
    /// The provider refused.
    Refused,
    /// The provider refused without naming a window.
    CoolDown,
    /// The verdict on the account: a mark, a budget, or nothing is known.
    Verdict,
    /// [`LEASES_MAX`]
    Leases,
}

impl CapacityLimit {
    /// The reason in an answer; `None` where that of the account's verdict says it.
    #[must_use]
    pub fn reason(self) -> Option<Reason> {
        match self {
            Self::Concurrency | Self::Leases => Some(Reason::AtConcurrency),
            Self::Ramp => Some(Reason::Ramping),
            Self::Headroom => Some(Reason::HeadroomHeld),
            Self::Reserve => Some(Reason::Reserved),
            Self::Probe | Self::NoEvidence => Some(Reason::Probing),
            Self::Refused => Some(Reason::WindowExhausted),
            Self::CoolDown => Some(Reason::Throttled),
            Self::Verdict => None,
        }
    }

    /// The same for people.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Concurrency => "it has as many runs as `concurrency` allows",
            Self::Ramp => "after a block runs are let in step by step (ramp)",
            Self::Headroom => "what is left of a window is held by other leases",
            Self::Reserve => "what is left of a window is kept for another class (reserve)",
            Self::Probe => "one run is trying it (probe)",
            Self::NoEvidence => "the runs that tried it showed nothing: no response of them was counted",
            Self::Refused => "it was refused by the provider",
            Self::CoolDown => "the provider is throttling",
            Self::Verdict => "the account is not free",
            Self::Leases => "there are as many leases as the collector keeps",
        }
    }
}

impl From<BlockKind> for CapacityLimit {
    fn from(kind: BlockKind) -> Self {
        match kind {
            BlockKind::Share => Self::Headroom,
            BlockKind::CoolDown => Self::CoolDown,
            BlockKind::Refusal => Self::Refused,
            BlockKind::NoEvidence => Self::NoEvidence,
        }
    }
}

/// The capacity of one account.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Capacity {
    /// Further runs; `None` if nothing bounds them.
    pub free: Option<u32>,
    /// What bounds them.
    pub by: Option<CapacityLimit>,
    /// The time at which that may change by the clock.
    pub retry_at: Option<Millis>,
    /// Leases and live runs without one.
    pub active: u32,
    /// The scopes that the next lease is the probe of.
    pub probes: Vec<Box<str>>,
    /// The share of each window that leases hold.
    pub held: BTreeMap<Box<str>, f64>,
}

impl Capacity {
    fn bound(&mut self, free: u32, by: CapacityLimit, retry_at: Option<Millis>) {
        if self.free.is_none_or(|bound| free < bound) {
            (self.free, self.by, self.retry_at) = (Some(free), Some(by), retry_at);
        } else if self.free == Some(free) && free == 0 {
            // Each of the limits has to pass.
            self.retry_at = self.retry_at.max(retry_at);
        }
    }
}

/// The shares of windows that a run is expected to use: those given, else the configured, else the learned ones.
#[must_use]
pub fn cost_of(
    account: &Account,
    book: &LeaseBook,
    class: Option<&str>,
    given: &BTreeMap<Box<str>, f64>,
) -> BTreeMap<Box<str>, f64> {
    let key = (account.id.clone(), class.unwrap_or_default().into());
    let mut cost = book.costs.get(&key).map(CostHistory::learned).unwrap_or_default();
    for (window, share) in account.start.cost.iter().chain(given) {
        cost.insert(window_name::canonical(window).into(), *share);
    }
    cost
}

/// The capacity of a place for a run of a class with an expected cost.
#[must_use]
pub fn capacity(
    place: &Place<'_>,
    book: &LeaseBook,
    class: Option<&str>,
    cost: &BTreeMap<Box<str>, f64>,
    now: Millis,
) -> Capacity {
    let rules = &place.account.start;
    let of_account: Vec<&Lease> = book.of_account(&place.account.id).collect();
    let active = u32::try_from(of_account.len())
        .unwrap_or(u32::MAX)
        .saturating_add(place.live);
    let mut capacity = Capacity {
        active,
        held: held(place.account, book, &of_account),
        ..Capacity::default()
    };
    by_probes(&mut capacity, place, book, &of_account, now);
    // The next run is a probe, whatever is left.
    let is_recovering =
        !capacity.probes.is_empty() || capacity.free == Some(0) && capacity.by != Some(CapacityLimit::Ramp);
    by_verdict(&mut capacity, place);
    if rules.concurrency > 0 {
        capacity.bound(
            rules.concurrency.saturating_sub(active),
            CapacityLimit::Concurrency,
            None,
        );
    }
    if !is_recovering && !place.is_paid(now) {
        by_windows(&mut capacity, place, class, cost, now);
    }
    if book.leases.len() >= LEASES_MAX {
        capacity.bound(0, CapacityLimit::Leases, None);
    }
    if capacity.free == Some(0) {
        capacity.probes.clear();
    }
    capacity
}

/// Bounds by blocks and recoveries.
fn by_probes(capacity: &mut Capacity, place: &Place<'_>, book: &LeaseBook, leases: &[&Lease], now: Millis) {
    // The window of a family binds no run without a model.
    let is_of_model = |facts: &&ScopeFacts| facts.scope.is_empty() || place.assessment.model.is_some();
    for facts in place.scopes.iter().filter(is_of_model) {
        let key = ProbeKey {
            account: place.account.id.clone(),
            scope: facts.scope.clone(),
        };
        let probe = book.probes.get(&key);
        match probe::state(probe, facts, &place.account.start, now) {
            ProbeState::Closed => {}
            // Its windows are used up, and what it serves is billed, as it may be.
            ProbeState::Open { kind, .. } if kind != BlockKind::CoolDown && place.is_paid(now) => {}
            ProbeState::Open { until, kind } => {
                capacity.bound(0, kind.into(), Some(until));
            }
            ProbeState::Due => {
                capacity.bound(1, CapacityLimit::Probe, None);
                capacity.probes.push(facts.scope.clone());
            }
            ProbeState::HalfOpen => {
                let lease = probe.and_then(|probe| book.leases.get(&probe.lease()?));
                let until = probe.and_then(|probe| probe.deadline(lease));
                capacity.bound(0, CapacityLimit::Probe, until);
            }
            ProbeState::Ramp { cap, probe, step_at } => {
                let is_of_scope = |lease: &&&Lease| {
                    let model = lease.model.as_deref();
                    facts.scope.is_empty()
                        || model.is_some_and(|model| window_name::is_of_family(&facts.scope, model))
                };
                let later = leases
                    .iter()
                    .filter(is_of_scope)
                    .filter(|lease| lease.number >= probe);
                let later = u32::try_from(later.count()).unwrap_or(u32::MAX);
                capacity.bound(cap.saturating_sub(later), CapacityLimit::Ramp, Some(step_at));
            }
        }
    }
}

/// Bounds by the verdict on the account. A block by a share alone may be old, and after a refusal without an end
/// nothing is known: then a probe may pass.
fn by_verdict(capacity: &mut Capacity, place: &Place<'_>) {
    let assessment = place.assessment;
    if assessment.verdict == Verdict::Allow {
        return;
    }
    let is_share = |scope: &str| {
        let facts = place.scopes.iter().find(|facts| *facts.scope == *scope);
        facts
            .is_some_and(|facts| matches!(facts.gate, Gate::Blocked(block) if block.kind == BlockKind::Share))
    };
    let is_observed = assessment.causes.iter().all(|cause| {
        cause.kind == CauseKind::Observed
            && matches!(cause.code, Reason::WindowExhausted | Reason::BelowMinimum)
    });
    let may_try = match assessment.state {
        AccountVerdict::Unknown => !capacity.probes.is_empty(),
        _ => is_observed && capacity.probes.iter().any(|scope| is_share(scope)),
    };
    // Then its own interval is the time of the next attempt, not the end of the block.
    let is_tried = is_observed && place.scopes.iter().any(|facts| is_share(&facts.scope));
    if !(may_try || is_tried && capacity.free == Some(0)) {
        capacity.bound(0, CapacityLimit::Verdict, assessment.until);
    }
}

/// Bounds by what is left of each window.
fn by_windows(
    capacity: &mut Capacity,
    place: &Place<'_>,
    class: Option<&str>,
    cost: &BTreeMap<Box<str>, f64>,
    now: Millis,
) {
    let rules = &place.account.start;
    let others = rules.reserve.iter().filter(|(name, _)| class != Some(name));
    let reserved: f64 = others.map(|(_, share)| share).sum();
    let model = place.assessment.model.as_deref();
    for window in place.windows.iter().filter(|window| window.binds(model, now)) {
        let seen = view(window.state, now);
        let Some(used) = seen.utilization.filter(|_| seen.freshness != Freshness::Expired) else {
            continue;
        };
        let name = window_name::canonical(window.name);
        let minimums = place.account.minimum_left.iter();
        let minimum = minimums.filter(|minimum| window_name::canonical(&minimum.window) == name);
        let minimum = minimum
            .map(|minimum| f64::from(minimum.percent) / 100.0)
            .fold(0.0, f64::max);
        let held = capacity.held.get(name).copied().unwrap_or(0.0);
        let left = 1.0 - used - minimum - held;
        // What leases hold comes back with them, at any time; the rest at the reset.
        let retry_at = |is_by_leases: bool| window.state.reset_at.filter(|_| !is_by_leases);
        let is_out = |left: f64| left - reserved <= SHARE_EPSILON;
        if reserved > 0.0 && is_out(left) {
            capacity.bound(0, CapacityLimit::Reserve, retry_at(!is_out(left + held)));
        }
        if let Some(share) = cost.get(name).filter(|share| **share > 0.0) {
            let runs = |left: f64| {
                let runs = ((left + SHARE_EPSILON) / share)
                    .floor()
                    .clamp(0.0, f64::from(u32::MAX));
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
                let runs = runs as u32;
                runs
            };
            let by = if runs(left) > runs(left - reserved) {
                CapacityLimit::Reserve
            } else {
                CapacityLimit::Headroom
            };
            let is_by_leases = runs(left + held - reserved) > 0;
            capacity.bound(runs(left - reserved), by, retry_at(is_by_leases));
        }
    }
}

/// The share of each window that the leases are still expected to use: the part that a run has used is in the
/// readings.
fn held(account: &Account, book: &LeaseBook, leases: &[&Lease]) -> BTreeMap<Box<str>, f64> {
    let mut held: BTreeMap<Box<str>, f64> = BTreeMap::new();
    for lease in leases {
        let key = (account.id.clone(), lease.class.clone().unwrap_or_default());
        let expected = book.costs.get(&key).and_then(CostHistory::tokens);
        let used = book.used.get(&lease.number).copied().unwrap_or(0);
        #[expect(clippy::cast_precision_loss, reason = "tokens scale a share")]
        let rest = match expected {
            Some(expected) if expected > 0.0 => (1.0 - used as f64 / expected).max(0.0),
            _ => 1.0,
        };
        for cost in &lease.cost {
            *held.entry(cost.window.clone()).or_default() += cost.share * rest;
        }
    }
    held
}
