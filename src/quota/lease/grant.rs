//! Grants of leases.

use std::collections::BTreeMap;

use super::capacity::{Capacity, CapacityLimit, Place, capacity, cost_of};
use super::cost::WindowCost;
use super::probe::Probe;
use super::{Lease, LeaseBook, LeaseChange, ProbeKey};
use crate::model::{AccountId, Millis, RunId};

/// Most leases of one request.
pub const GRANT_MAX: u32 = 100;
/// Delay of the next attempt where no time is known, in milliseconds.
const RETRY_MS: Millis = 10_000;
/// Bounds of the time over which clients that wait for one moment are spread, in milliseconds.
const SPREAD_MIN_MS: Millis = 1_000;
const SPREAD_MAX_MS: Millis = 30_000;

/// A request for leases.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LeaseRequest {
    /// Names the request: the same key gets the same answer.
    pub key: Box<str>,
    /// Of the whole request.
    pub hash: u64,
    pub count: u32,
    /// Fewer are not granted.
    pub min: u32,
    pub class: Option<Box<str>>,
    /// The runs of the leases, in order; of further leases the run is open.
    pub runs: Vec<RunId>,
    /// Expected shares by window.
    pub cost: BTreeMap<Box<str>, f64>,
    /// In milliseconds.
    pub ttl: Millis,
    pub holder: Option<Box<str>>,
}

/// The result of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Grant {
    pub leases: Vec<Lease>,
    /// Without the answer.
    pub change: LeaseChange,
    /// Of each place, before the grant.
    pub capacities: Vec<(AccountId, Capacity)>,
    /// What bounds the first place, if fewer were granted than asked for.
    pub by: Option<CapacityLimit>,
    /// Places that were free, fewer than the least number that was asked for.
    pub too_few: usize,
    /// The time of the next attempt, if nothing was granted; always after `now`.
    pub retry_at: Option<Millis>,
}

/// Grants leases in the places, in their order.
#[must_use]
pub fn grant(request: &LeaseRequest, places: &[Place<'_>], book: &LeaseBook, now: Millis) -> Grant {
    let capacity_in = |place: &Place<'_>, book: &LeaseBook, cost: &BTreeMap<Box<str>, f64>| {
        capacity(place, book, request.class.as_deref(), cost, now)
    };
    let mut book = book.clone();
    let mut grant = Grant::default();
    for place in places {
        let cost = cost_of(place.account, &book, request.class.as_deref(), &request.cost);
        let before = capacity_in(place, &book, &cost);
        let mut now_free = before.clone();
        grant.capacities.push((place.account.id.clone(), before));
        while now_free.free != Some(0) && grant.leases.len() < request.count as usize {
            let lease = lease(request, place, &book, &cost, &now_free, grant.leases.len(), now);
            let mut change = LeaseChange::default();
            for scope in &now_free.probes {
                let key = ProbeKey {
                    account: place.account.id.clone(),
                    scope: scope.clone(),
                };
                let probe = Probe::granted(book.probes.get(&key), lease.number, now);
                change.probes.push((key, Some(probe)));
            }
            change.written.push(lease.clone());
            book.apply(&change);
            grant.change.written.append(&mut change.written);
            grant.change.probes.append(&mut change.probes);
            grant.leases.push(lease);
            now_free = capacity_in(place, &book, &cost);
        }
        if grant.by.is_none() && grant.leases.len() < request.count as usize {
            grant.by = now_free.by;
        }
    }
    if grant.leases.len() < request.min.max(1) as usize {
        grant.too_few = grant.leases.len();
        grant.leases.clear();
        grant.change = LeaseChange::default();
        grant.retry_at = Some(retry_at(request, &grant.capacities, now));
    }
    grant
}

fn lease(
    request: &LeaseRequest,
    place: &Place<'_>,
    book: &LeaseBook,
    cost: &BTreeMap<Box<str>, f64>,
    free: &Capacity,
    number: usize,
    now: Millis,
) -> Lease {
    Lease {
        number: book.last + 1,
        token: book.sequence,
        account: place.account.id.clone(),
        model: place.assessment.model.clone(),
        class: request.class.clone(),
        run: request.runs.get(number).cloned(),
        holder: request.holder.clone(),
        granted_at: now,
        ttl: request.ttl,
        expires_at: now.saturating_add(request.ttl),
        bound_at: None,
        bytes_before: 0,
        tokens_before: 0,
        has_log: false,
        probe: free.probes.first().cloned(),
        cost: (cost.iter())
            .map(|(window, share)| WindowCost {
                window: window.clone(),
                share: *share,
            })
            .collect(),
    }
}

/// The earliest time at which a place may have room, later by a part that follows from the key: clients that wait
/// for the same moment do not all come back in it.
fn retry_at(request: &LeaseRequest, capacities: &[(AccountId, Capacity)], now: Millis) -> Millis {
    let known = capacities.iter().filter_map(|(_, capacity)| capacity.retry_at);
    let unknown = capacities.iter().any(|(_, capacity)| capacity.retry_at.is_none());
    let soon = now.saturating_add(RETRY_MS);
    let at = known
        .chain(unknown.then_some(soon))
        .min()
        .unwrap_or(soon)
        .max(now);
    let spread = (at.saturating_sub(now) / 10).clamp(SPREAD_MIN_MS, SPREAD_MAX_MS);
    let share = xxhash_rust::xxh3::xxh3_64(request.key.as_bytes()) % spread.unsigned_abs();
    at.saturating_add(1 + Millis::try_from(share).unwrap_or(0))
}
