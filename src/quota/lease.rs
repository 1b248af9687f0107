//! Leases: places that are reserved for runs.
//!
//! All of it is pure. The store reads a [`LeaseBook`] in a transaction, a request makes a [`LeaseChange`] of it,
//! and the store writes that in the same transaction. **Invariant**: a place is held by a lease with an expiry of
//! its own, never by a counter, so that nothing can leak.

pub mod capacity;
pub mod cost;
pub mod grant;
#[cfg(test)]
mod harness;
pub mod probe;
mod scope;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

pub use scope::facts;

use std::collections::BTreeMap;

use strum::IntoStaticStr;

use crate::model::{AccountId, Millis, RunId};
use cost::{CostHistory, WindowCost};
use probe::{CLOCK_BACK_MS, Probe, ScopeFacts};

use super::account::StartRules;

/// The number of a lease; it grows by one with each.
pub type LeaseNumber = u64;

/// Time for which the end of a lease and the answer to a key are kept, in milliseconds.
pub const KEPT_MS: Millis = 24 * 60 * 60 * 1000;
/// Shortest life of a lease without a run after a start of the collector, in milliseconds: its holder could not
/// renew it before.
const AFTER_START_MS: Millis = 30_000;

/// A place that is reserved for a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Lease {
    pub number: LeaseNumber,
    /// The number of the commit that granted it: it grows, so a later holder has a higher one.
    pub token: u64,
    pub account: AccountId,
    pub model: Option<Box<str>>,
    pub class: Option<Box<str>>,
    /// The run that it is for; any if `None`.
    pub run: Option<RunId>,
    pub holder: Option<Box<str>>,
    pub granted_at: Millis,
    /// Its length after a grant or a renewal, in milliseconds.
    pub ttl: Millis,
    /// Its end, until its run has written something.
    pub expires_at: Millis,
    /// The time at which its run was started or appeared.
    pub bound_at: Option<Millis>,
    /// Bytes that were read of the run before.
    pub bytes_before: u64,
    /// Tokens that were counted of the run before.
    pub tokens_before: u64,
    /// True if something of the run was read since. Not stored: the reader of the lease sets it.
    pub has_log: bool,
    /// The scope of the probe that it is.
    pub probe: Option<Box<str>>,
    /// The shares of windows that it holds.
    pub cost: Vec<WindowCost>,
}

impl Lease {
    #[must_use]
    pub fn state(&self) -> LeaseState {
        match self.bound_at {
            None => LeaseState::Granted,
            Some(_) => LeaseState::Bound,
        }
    }

    /// True if its run keeps it: the log of the run is its heartbeat.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.bound_at.is_some() && self.has_log
    }

    /// True if it has ended by the clock.
    #[must_use]
    pub fn is_expired(&self, now: Millis) -> bool {
        !self.is_kept() && self.expires_at <= now
    }

    /// Binds it to a run, which has its whole time to write something.
    pub fn bind(&mut self, run: &RunId, bytes_before: u64, tokens_before: u64, now: Millis) {
        self.run = Some(run.clone());
        self.bytes_before = bytes_before;
        self.tokens_before = tokens_before;
        self.bound_at = Some(now);
        self.renew(None, now);
    }

    /// Renews it, for this long if that is given.
    pub fn renew(&mut self, ttl: Option<Millis>, now: Millis) {
        self.ttl = ttl.unwrap_or(self.ttl);
        self.expires_at = self.expires_at.max(now.saturating_add(self.ttl));
    }
}

/// The state of a lease that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum LeaseState {
    Granted,
    /// Its run was started or has appeared: the lease ends with it.
    Bound,
}

/// Why a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum LeaseEnd {
    /// By its holder.
    Released,
    /// Its time was over before its run wrote something.
    Expired,
    /// By an operator.
    Revoked,
    /// Its run was stopped, fell idle, vanished or was forgotten.
    RunEnded,
}

/// A change of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeasePhase {
    Granted,
    Bound,
    Ended(LeaseEnd),
}

/// A lease that changed, for listeners.
#[derive(Clone, Debug, PartialEq)]
pub struct LeaseUpdate {
    pub lease: Lease,
    pub phase: LeasePhase,
    pub at: Millis,
}

impl LeaseUpdate {
    #[must_use]
    pub fn new(lease: Lease, phase: LeasePhase, at: Millis) -> Self {
        Self { lease, phase, at }
    }
}

/// A recovery that changed, for listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeUpdate {
    pub key: ProbeKey,
    /// `None` once it is over.
    pub probe: Option<Probe>,
}

/// A part of an account that windows bind together: the whole account, or one family of models.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProbeKey {
    pub account: AccountId,
    /// The words of the family; empty for the whole account.
    pub scope: Box<str>,
}

/// Everything stored about leases, as of one moment of a transaction.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LeaseBook {
    pub leases: BTreeMap<LeaseNumber, Lease>,
    pub probes: BTreeMap<ProbeKey, Probe>,
    pub costs: BTreeMap<(AccountId, Box<str>), CostHistory>,
    /// Tokens that the runs of bound leases have used since they were bound.
    pub used: BTreeMap<LeaseNumber, u64>,
    /// The answers of this transaction.
    pub answers: BTreeMap<Box<str>, KeyedAnswer>,
    /// The number of the last lease.
    pub last: LeaseNumber,
    /// The number of the commit that is being made.
    pub sequence: u64,
}

/// The changes that follow from one request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LeaseChange {
    /// New leases, and those that were renewed.
    pub written: Vec<Lease>,
    pub ended: Vec<(Lease, LeaseEnd)>,
    /// `None` for a probe that is over.
    pub probes: Vec<(ProbeKey, Option<Probe>)>,
    /// The answer to a key, which a repeated request gets again.
    pub answer: Option<KeyedAnswer>,
}

/// The answer that was given to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyedAnswer {
    pub key: Box<str>,
    /// Of the request.
    pub hash: u64,
    pub at: Millis,
    /// As it was sent.
    pub text: Box<[u8]>,
}

impl LeaseChange {
    /// True if nothing has to be written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.written.is_empty() && self.ended.is_empty() && self.probes.is_empty() && self.answer.is_none()
    }
}

impl LeaseBook {
    /// Applies a change.
    pub fn apply(&mut self, change: &LeaseChange) {
        for (lease, _) in &change.ended {
            self.leases.remove(&lease.number);
        }
        for lease in &change.written {
            self.last = self.last.max(lease.number);
            self.leases.insert(lease.number, lease.clone());
        }
        self.answers.extend(
            change
                .answer
                .iter()
                .map(|answer| (answer.key.clone(), answer.clone())),
        );
        for (key, probe) in &change.probes {
            match probe {
                Some(probe) => drop(self.probes.insert(key.clone(), probe.clone())),
                None => drop(self.probes.remove(key)),
            }
        }
    }

    /// The leases of an account.
    pub fn of_account(&self, account: &AccountId) -> impl Iterator<Item = &Lease> {
        self.leases
            .values()
            .filter(move |lease| lease.account == *account)
    }

    /// The lease of a run: the one that is bound to it, else the one that names it.
    #[must_use]
    pub fn of_run(&self, run: &RunId) -> Option<&Lease> {
        let of_run = || {
            self.leases
                .values()
                .filter(|lease| lease.run.as_ref() == Some(run))
        };
        of_run()
            .find(|lease| lease.bound_at.is_some())
            .or_else(|| of_run().next())
    }

    /// The changes by the clock and by what was observed: leases that expired, probes that were answered. `facts`
    /// has the scopes of each account, and its rules.
    #[must_use]
    pub fn sweep(&self, facts: &[(&AccountId, &StartRules, &[ScopeFacts])], now: Millis) -> LeaseChange {
        let expired = self.leases.values().filter(|lease| lease.is_expired(now));
        let ended: Vec<(Lease, LeaseEnd)> = expired.map(|lease| (lease.clone(), LeaseEnd::Expired)).collect();
        let mut probes = Vec::new();
        for (key, probe) in &self.probes {
            let of_account = facts.iter().find(|(account, ..)| **account == key.account);
            let Some((_, rules, scopes)) = of_account else {
                // Its account is not configured any more.
                probes.push((key.clone(), None));
                continue;
            };
            let nothing = ScopeFacts::of(&key.scope);
            let facts = scopes.iter().find(|facts| facts.scope == key.scope);
            let lease = probe.lease().and_then(|number| self.leases.get(&number));
            let lease = lease.filter(|lease| !lease.is_expired(now));
            let next = probe.advance(facts.unwrap_or(&nothing), lease, rules, now);
            if next.as_ref() != Some(probe) {
                probes.push((key.clone(), next));
            }
        }
        // After the clock was set back, none may last longer than its time from now on.
        let latest = |lease: &Lease| now.saturating_add(lease.ttl.max(AFTER_START_MS));
        let is_late = |lease: &&Lease| {
            !lease.is_kept() && lease.expires_at > latest(lease).saturating_add(CLOCK_BACK_MS)
        };
        let written = self.leases.values().filter(is_late).map(|lease| Lease {
            expires_at: latest(lease),
            ..lease.clone()
        });
        LeaseChange {
            written: written.collect(),
            ended,
            probes,
            ..LeaseChange::default()
        }
    }

    /// The next time at which [`LeaseBook::sweep`] finds something by the clock alone, after one at `now`.
    #[must_use]
    pub fn next_change(&self, now: Millis) -> Option<Millis> {
        let expiries = self.leases.values().filter(|lease| !lease.is_kept());
        let probes = (self.probes.values()).filter_map(|probe| {
            let lease = probe.lease().and_then(|number| self.leases.get(&number));
            // What is due waits for a run, not for a time.
            probe.deadline(lease).filter(|at| *at > now)
        });
        expiries.map(|lease| lease.expires_at).chain(probes).min()
    }

    /// The leases that get more time at a start of the collector.
    #[must_use]
    pub fn after_start(&self, now: Millis) -> LeaseChange {
        let until = now.saturating_add(AFTER_START_MS);
        let short = self
            .leases
            .values()
            .filter(|lease| !lease.is_kept() && lease.expires_at < until);
        let written = short.map(|lease| Lease {
            expires_at: until,
            ..lease.clone()
        });
        LeaseChange {
            written: written.collect(),
            ..LeaseChange::default()
        }
    }
}
