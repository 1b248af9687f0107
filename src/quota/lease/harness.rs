//! What the store and the API do with leases, in memory: for the tests and the simulation.

use std::collections::BTreeMap;

use super::capacity::{Capacity, Place, capacity};
use super::grant::{Grant, LeaseRequest, grant};
use super::probe::ScopeFacts;
use super::{LeaseBook, LeaseChange, LeaseEnd, LeaseNumber, facts};
use crate::model::{AccountId, LimitStatus, Millis, RunId};
use crate::quota::account::{Account, StartRules};
use crate::quota::admission::{Assessment, Verdict};
use crate::quota::simulator::{Engine, News};
use crate::quota::window::NamedWindow;

/// An account, and what was observed of it.
#[derive(Clone)]
pub struct ObservedAccount {
    pub account: Account,
    pub engine: Engine,
    /// Live runs without a lease.
    pub live: u32,
}

impl ObservedAccount {
    pub fn new(name: &str) -> Self {
        let id = AccountId {
            provider: "claude".into(),
            name: name.into(),
        };
        Self {
            account: Account::new(id),
            engine: Engine::default(),
            live: 0,
        }
    }

    pub fn scopes(&self, model: Option<&str>, now: Millis) -> Vec<ScopeFacts> {
        let states = self.engine.states();
        let windows: Vec<NamedWindow> = (states.iter())
            .map(|(name, state)| NamedWindow { name, state })
            .collect();
        facts(
            &windows,
            &self.engine.throttles,
            self.engine.served_at(),
            &self.account.minimum_left,
            model,
            now,
        )
    }
}

/// The leases of some accounts, as one collector has them.
#[derive(Default)]
pub struct LeaseHarness {
    pub accounts: Vec<ObservedAccount>,
    pub book: LeaseBook,
    /// The ends of leases that ended.
    pub ends: BTreeMap<LeaseNumber, LeaseEnd>,
}

impl LeaseHarness {
    fn apply(&mut self, change: &LeaseChange) {
        for (lease, end) in &change.ended {
            self.ends.insert(lease.number, *end);
        }
        self.book.apply(change);
        self.book.sequence += 1;
    }

    /// The changes by the clock and by what was observed.
    pub fn swept(&self, now: Millis) -> LeaseChange {
        if self.book.leases.is_empty() && self.book.probes.is_empty() {
            return LeaseChange::default();
        }
        let scopes: Vec<Vec<ScopeFacts>> = self.accounts.iter().map(|one| one.scopes(None, now)).collect();
        let facts: Vec<(&AccountId, &StartRules, &[ScopeFacts])> = (self.accounts.iter().zip(&scopes))
            .map(|(one, scopes)| (&one.account.id, &one.account.start, &**scopes))
            .collect();
        self.book.sweep(&facts, now)
    }

    pub fn sweep(&mut self, now: Millis) {
        let change = self.swept(now);
        self.apply(&change);
    }

    pub fn start(&mut self, now: Millis) {
        let change = self.book.after_start(now);
        self.apply(&change);
    }

    /// Calls `of_places` with the places for a model, those that are free first.
    pub fn with_places<T>(
        &self,
        model: Option<&str>,
        now: Millis,
        of_places: impl FnOnce(&[Place<'_>]) -> T,
    ) -> T {
        let states: Vec<_> = self.accounts.iter().map(|one| one.engine.states()).collect();
        let windows: Vec<Vec<NamedWindow>> = (states.iter())
            .map(|states| {
                let named = states.iter().map(|(name, state)| NamedWindow { name, state });
                named.collect()
            })
            .collect();
        let assessments: Vec<Assessment> = (self.accounts.iter().zip(&windows))
            .map(|(one, windows)| one.engine.assessment(&one.account, windows.clone(), model, now))
            .collect();
        let seen = self.accounts.iter().zip(windows).zip(&assessments);
        let mut places: Vec<Place> = seen
            .map(|((one, windows), assessment)| Place {
                account: &one.account,
                assessment,
                windows,
                scopes: one.scopes(model, now),
                live: one.live,
            })
            .collect();
        places.sort_by_key(|place| place.assessment.verdict != Verdict::Allow);
        of_places(&places)
    }

    /// Sweeps, then grants.
    pub fn acquire(&mut self, request: &LeaseRequest, model: Option<&str>, now: Millis) -> Grant {
        self.sweep(now);
        let grant = self.with_places(model, now, |places| grant(request, places, &self.book, now));
        self.apply(&grant.change);
        grant
    }

    /// The same in one account.
    pub fn acquire_in(
        &mut self,
        account: usize,
        request: &LeaseRequest,
        model: Option<&str>,
        now: Millis,
    ) -> Grant {
        self.sweep(now);
        let id = &self.accounts[account].account.id;
        let grant = self.with_places(model, now, |places| {
            let own = places.iter().position(|place| place.account.id == *id);
            grant(
                request,
                own.map_or(&[], |own| &places[own..=own]),
                &self.book,
                now,
            )
        });
        self.apply(&grant.change);
        grant
    }

    /// The capacity of the first account.
    pub fn capacity(
        &self,
        model: Option<&str>,
        class: Option<&str>,
        cost: &BTreeMap<Box<str>, f64>,
        now: Millis,
    ) -> Capacity {
        self.with_places(model, now, |places| {
            capacity(&places[0], &self.book, class, cost, now)
        })
    }

    /// Binds a lease to a run that appeared and writes at once; false if it has ended.
    pub fn bind(&mut self, number: LeaseNumber, run: &RunId, now: Millis) -> bool {
        let is_bound = self.start_run(number, run, now);
        self.wrote(number);
        is_bound
    }

    /// Binds a lease to a run that has written nothing yet; false if it has ended.
    pub fn start_run(&mut self, number: LeaseNumber, run: &RunId, now: Millis) -> bool {
        let Some(lease) = self.book.leases.get_mut(&number) else {
            return false;
        };
        if lease.is_expired(now) {
            self.end(number, LeaseEnd::Expired);
            return false;
        }
        lease.bind(run, 0, 0, now);
        true
    }

    /// Notes that the run of a lease has written something.
    pub fn wrote(&mut self, number: LeaseNumber) {
        if let Some(lease) = self.book.leases.get_mut(&number) {
            lease.has_log = true;
        }
    }

    pub fn end(&mut self, number: LeaseNumber, end: LeaseEnd) {
        if self.book.leases.remove(&number).is_some() {
            self.ends.insert(number, end);
        }
    }
}

/// A reading of a window of an account.
pub fn reading(window: &str, share: Option<f64>, reset_at: Option<Millis>, status: LimitStatus) -> News {
    let mut saw = crate::quota::simulator::saw(window, crate::model::LimitSource::Headers, None);
    (saw.utilization, saw.reset_at, saw.status) = (share, reset_at, status);
    News::Saw(saw)
}
