//! Documents of leases, capacities and recoveries.

use crate::api::document::time;
use crate::api::wire;
use crate::model::{AccountId, Millis};
use crate::quota::account::StartRules;
use crate::quota::lease::capacity::{Capacity, CapacityLimit};
use crate::quota::lease::probe::{self, Probe, ProbePhase, ProbeState, ScopeFacts};
use crate::quota::lease::{Lease, LeaseBook, LeaseNumber, ProbeKey};

/// The id of a lease: its number, and the commit that granted it, so that a lease of another database is not taken for
/// it.
#[must_use]
pub fn id(lease: &Lease) -> String {
    format!("{}-{}", lease.number, lease.token)
}

/// The number and the token in an id.
#[must_use]
pub fn parse_id(text: &str) -> Option<(LeaseNumber, u64)> {
    let (number, token) = text.split_once('-')?;
    let parsed: (LeaseNumber, u64) = (number.parse().ok()?, token.parse().ok()?);
    // No other spelling of it.
    (format!("{}-{}", parsed.0, parsed.1) == text).then_some(parsed)
}

#[must_use]
pub fn lease(lease: &Lease) -> wire::Lease {
    wire::Lease {
        id: id(lease),
        token: lease.token,
        state: lease.state().into_str().to_owned(),
        provider: lease.account.provider.to_string(),
        account: lease.account.name.to_string(),
        model: lease.model.as_deref().map(str::to_owned),
        class: lease.class.as_deref().map(str::to_owned),
        run: lease.run.as_ref().map(ToString::to_string),
        holder: lease.holder.as_deref().map(str::to_owned),
        granted_at: time(lease.granted_at),
        expires_at: (!lease.is_kept()).then(|| time(lease.expires_at)),
        bound_at: lease.bound_at.map(time),
        probe: lease.probe.is_some(),
        cost: (lease.cost.iter())
            .map(|cost| (cost.window.to_string(), cost.share))
            .collect(),
    }
}

#[must_use]
pub fn capacity(account: &AccountId, rules: &StartRules, capacity: &Capacity) -> wire::Capacity {
    wire::Capacity {
        provider: account.provider.to_string(),
        account: account.name.to_string(),
        free: capacity.free,
        by: capacity.by.map(|by| by.into_str().to_owned()),
        retry_at: capacity.retry_at.map(time),
        active: capacity.active,
        concurrency: (rules.concurrency > 0).then_some(rules.concurrency),
        held: (capacity.held.iter())
            .map(|(window, share)| (window.to_string(), *share))
            .collect(),
    }
}

/// The recoveries of an account that are not over, one for each scope.
#[must_use]
pub fn recoveries(
    account: &AccountId,
    rules: &StartRules,
    scopes: &[ScopeFacts],
    book: &LeaseBook,
    now: Millis,
) -> Vec<wire::Recovery> {
    let of_scope = |facts: &ScopeFacts| {
        let key = ProbeKey {
            account: account.clone(),
            scope: facts.scope.clone(),
        };
        let probe = book.probes.get(&key);
        let state = probe::state(probe, facts, rules, now);
        let lease = probe.and_then(|probe| book.leases.get(&probe.lease()?));
        let (until, cap) = match state {
            ProbeState::Closed => return None,
            ProbeState::Due => (None, None),
            ProbeState::Open { until, .. } => (Some(until), None),
            ProbeState::HalfOpen => (probe.and_then(|probe| probe.deadline(lease)), None),
            ProbeState::Ramp { cap, step_at, .. } => (Some(step_at), Some(cap)),
        };
        let by = match state {
            ProbeState::Open { kind, .. } => Some(CapacityLimit::from(kind).into_str().to_owned()),
            _ => None,
        };
        Some(wire::Recovery {
            scope: facts.scope.to_string(),
            state: state.into_str().to_owned(),
            by,
            until: until.map(time),
            cap,
            failures: probe.map_or(0, |probe| probe.failures),
            lease: lease.map(id),
        })
    };
    scopes.iter().filter_map(of_scope).collect()
}

/// The stored phase of a recovery as a word, its end and its cap; `closed` without one.
#[must_use]
pub fn phase(probe: Option<&Probe>, now: Millis) -> (&'static str, Option<Millis>, Option<u32>) {
    match probe.map(|probe| probe.phase) {
        None => ("closed", None, None),
        Some(ProbePhase::BackedOff { until }) if until <= now => ("due", None, None),
        Some(ProbePhase::BackedOff { until }) => ("open", Some(until), None),
        Some(ProbePhase::HalfOpen { .. }) => ("half_open", None, None),
        Some(ProbePhase::Ramp { cap, .. }) => ("ramp", None, Some(cap)),
    }
}
