//! What was granted, counted without the book, and the rules that are checked with it.

use std::collections::BTreeMap;

use super::HALF_OPEN_MAX_MS;
use crate::model::window_name::is_of_family;
use crate::model::{MINUTE_MS, Millis};
use crate::quota::admission::Verdict;
use crate::quota::lease::grant::{Grant, LeaseRequest};
use crate::quota::lease::harness::LeaseHarness;
use crate::quota::lease::probe::{EVIDENCE_MS, Probe, ProbePhase, ProbeState, state};
use crate::quota::lease::{LeaseNumber, ProbeKey};

/// A lease as it has to be.
pub struct LedgerEntry {
    account: usize,
    model: Option<&'static str>,
    ttl: Millis,
    granted_at: Millis,
    /// By the clock, as long as nothing keeps it.
    ends_by: Millis,
    bound_at: Option<Millis>,
    has_written: bool,
    has_ended: bool,
}

impl LedgerEntry {
    pub fn new(account: usize, model: Option<&'static str>, ttl: Millis, now: Millis) -> Self {
        Self {
            account,
            model,
            ttl,
            granted_at: now,
            ends_by: now + ttl,
            bound_at: None,
            has_written: false,
            has_ended: false,
        }
    }

    fn is_kept(&self) -> bool {
        self.bound_at.is_some() && self.has_written
    }

    fn is_of(&self, account: usize, scope: &str) -> bool {
        let is_of_scope = scope.is_empty() || self.model.is_some_and(|model| is_of_family(scope, model));
        self.account == account && is_of_scope && !self.has_ended
    }
}

/// All leases, and the probes among them.
#[derive(Default)]
pub struct LeaseLedger {
    concurrency: Vec<u32>,
    entries: BTreeMap<LeaseNumber, LedgerEntry>,
    /// The latest line of each account that was read.
    shown_at: BTreeMap<usize, Millis>,
    /// The lease that tries a scope of an account, until something was observed.
    trials: BTreeMap<(usize, Box<str>), LeaseNumber>,
    /// The lease of each half-open recovery, and since when it is.
    half_open: BTreeMap<ProbeKey, (LeaseNumber, Millis)>,
}

/// An account before a grant.
pub struct AccountBefore {
    states: Vec<(Box<str>, ProbeState)>,
    verdict: Verdict,
    /// True if only the number of runs and recoveries bound it.
    is_plain: bool,
}

impl AccountBefore {
    /// The accounts of a harness.
    pub fn of_all(harness: &LeaseHarness, model: Option<&str>, now: Millis) -> Vec<Self> {
        let of_account = |account: usize| {
            let observed = &harness.accounts[account];
            let rules = &observed.account.start;
            let states = observed.scopes(model, now).into_iter();
            let states = states.filter(|facts| facts.scope.is_empty() || model.is_some());
            let states = states.map(|facts| {
                let key = ProbeKey {
                    account: observed.account.id.clone(),
                    scope: facts.scope.clone(),
                };
                let found = state(harness.book.probes.get(&key), &facts, rules, now);
                (facts.scope, found)
            });
            let verdict = harness.with_places(model, now, |places| {
                let place = places
                    .iter()
                    .find(|place| place.account.id == observed.account.id);
                place.map(|place| place.assessment.verdict)
            });
            Self {
                states: states.collect(),
                verdict: verdict.unwrap_or(Verdict::Deny),
                is_plain: rules.cost.is_empty() && observed.account.minimum_left.is_empty(),
            }
        };
        (0..harness.accounts.len()).map(of_account).collect()
    }
}

impl LeaseLedger {
    pub fn add_account(&mut self, concurrency: u32) {
        self.concurrency.push(concurrency);
    }

    pub fn concurrency_of(&self, account: usize) -> u32 {
        self.concurrency[account]
    }

    pub fn granted(&mut self, lease: LeaseNumber, entry: LedgerEntry) {
        self.entries.insert(lease, entry);
    }

    fn with(&mut self, lease: LeaseNumber, change: impl FnOnce(&mut LedgerEntry)) {
        if let Some(entry) = self.entries.get_mut(&lease) {
            change(entry);
        }
    }

    pub fn renewed(&mut self, lease: LeaseNumber, now: Millis) {
        self.with(lease, |entry| entry.ends_by = entry.ends_by.max(now + entry.ttl));
    }

    pub fn bound(&mut self, lease: LeaseNumber, now: Millis) {
        self.renewed(lease, now);
        self.with(lease, |entry| entry.bound_at = Some(now));
    }

    pub fn wrote(&mut self, lease: LeaseNumber) {
        self.with(lease, |entry| entry.has_written = true);
    }

    pub fn ended(&mut self, lease: LeaseNumber) {
        self.with(lease, |entry| entry.has_ended = true);
    }

    /// The collector has started: nobody could renew before.
    pub fn started(&mut self, now: Millis) {
        for entry in self.entries.values_mut().filter(|entry| !entry.is_kept()) {
            entry.ends_by = entry.ends_by.max(now + 30_000);
        }
    }

    /// A line of an account was read.
    pub fn showed(&mut self, account: usize, at: Millis) {
        let shown = self.shown_at.entry(account).or_insert(at);
        *shown = at.max(*shown);
    }

    pub fn sweep(&mut self, now: Millis) {
        for entry in self.entries.values_mut() {
            entry.has_ended |= !entry.is_kept() && entry.ends_by <= now;
            // The clock was set back by more than a minute.
            let latest = now + entry.ttl.max(30_000);
            if entry.ends_by > latest + MINUTE_MS {
                entry.ends_by = latest;
            }
        }
        let (entries, shown_at) = (&self.entries, &self.shown_at);
        self.trials.retain(|(account, _), lease| {
            let entry = &entries[lease];
            let is_shown = shown_at.get(account).is_some_and(|at| *at > entry.granted_at);
            let is_silent = entry.bound_at.is_some_and(|bound| bound + EVIDENCE_MS <= now);
            // It cannot be dated after the clock was set back by more than a minute.
            let is_later = entry.granted_at > now + MINUTE_MS;
            !(entry.has_ended || is_silent || is_shown || is_later)
        });
    }

    pub fn account_of(&self, lease: LeaseNumber) -> usize {
        self.entries[&lease].account
    }

    pub fn model_of(&self, lease: LeaseNumber) -> Option<&'static str> {
        self.entries[&lease].model
    }

    /// The leases of an account and the live runs without one.
    pub fn active(&self, harness: &LeaseHarness, account: usize) -> usize {
        let leases = self.entries.values().filter(|entry| entry.is_of(account, ""));
        leases.count() + harness.accounts[account].live as usize
    }

    /// Compares the book with what has to be in it.
    pub fn check(&mut self, harness: &LeaseHarness, time: Millis) -> Result<(), String> {
        for lease in harness.book.leases.keys() {
            if self.entries.get(lease).is_none_or(|entry| entry.has_ended) {
                return Err(format!("lease {lease} is there after its end"));
            }
        }
        for (lease, entry) in &self.entries {
            if !entry.has_ended && !harness.book.leases.contains_key(lease) {
                return Err(format!("lease {lease} ended before its end"));
            }
        }
        let probes = harness.book.probes.iter();
        let half_open = probes.filter_map(|(key, probe)| Some((key.clone(), probe.lease()?)));
        let half_open = half_open.map(|(key, lease)| {
            let before = self.half_open.get(&key).filter(|(of, _)| *of == lease);
            let since = before.map_or(time, |(_, since)| *since);
            (key, (lease, since))
        });
        self.half_open = half_open.collect();
        let old = self
            .half_open
            .values()
            .find(|(_, since)| time - since > HALF_OPEN_MAX_MS);
        old.map_or(Ok(()), |(lease, since)| {
            Err(format!(
                "lease {lease} has been the probe for {} ms",
                time - since
            ))
        })
    }

    /// Checks a grant that is in the ledger; `before` are the accounts from the `first` on that it was for.
    pub fn check_grant(
        &mut self,
        harness: &LeaseHarness,
        (first, before): (usize, &[AccountBefore]),
        grant: &Grant,
        request: &LeaseRequest,
    ) -> Result<(), String> {
        for (account, was) in (first..).zip(before) {
            let id = &harness.accounts[account].account.id;
            let new = grant.leases.iter().filter(|lease| lease.account == *id);
            let new: Vec<LeaseNumber> = new.map(|lease| lease.number).collect();
            let (active, most) = (self.active(harness, account), self.concurrency[account] as usize);
            if !new.is_empty() && most > 0 && active > most {
                return Err(format!("{id} has {active} runs where there is room for {most}"));
            }
            self.check_scopes(harness, account, was, &new)?;
            let has_room = most == 0 || active < most;
            let is_closed = was.verdict == Verdict::Allow;
            let is_in_the_way = |state: &ProbeState| match state {
                ProbeState::Closed => false,
                // One is all that may be granted.
                ProbeState::Due => !new.is_empty(),
                _ => true,
            };
            let is_due = was.states.iter().any(|(_, state)| *state == ProbeState::Due);
            let is_free = has_room && was.is_plain && (is_closed || is_due);
            let is_short = grant.leases.len() < request.count as usize && request.min == 1;
            if is_short && is_free && !was.states.iter().any(|(_, state)| is_in_the_way(state)) {
                return Err(format!("{id} has a free place and gives none: {:?}", was.states));
            }
        }
        Ok(())
    }

    fn check_scopes(
        &mut self,
        harness: &LeaseHarness,
        account: usize,
        was: &AccountBefore,
        new: &[LeaseNumber],
    ) -> Result<(), String> {
        let Some(first) = new.first() else {
            return Ok(());
        };
        for (scope, state) in &was.states {
            let key = (account, scope.clone());
            if let Some(probe) = self.trials.get(&key) {
                return Err(format!("lease {first} is granted while lease {probe} tries it"));
            }
            match state {
                ProbeState::Closed => {}
                ProbeState::Due if new.len() == 1 => drop(self.trials.insert(key, *first)),
                ProbeState::Ramp { cap, .. } => {
                    let key = ProbeKey {
                        account: harness.accounts[account].account.id.clone(),
                        scope: scope.clone(),
                    };
                    let Some(Probe {
                        phase: ProbePhase::Ramp { lease, .. },
                        ..
                    }) = harness.book.probes.get(&key)
                    else {
                        return Err(format!("the ramp of {scope:?} ended by a grant"));
                    };
                    let later = self.entries.range(lease..);
                    let later = later.filter(|(_, entry)| entry.is_of(account, scope)).count();
                    if later > *cap as usize {
                        return Err(format!("{later} runs where the ramp allows {cap}"));
                    }
                }
                ProbeState::Due | ProbeState::HalfOpen | ProbeState::Open { .. } => {
                    return Err(format!("{} leases in {state:?} of {scope:?}", new.len()));
                }
            }
        }
        Ok(())
    }
}
