//! The rows of leases, of the recovery of accounts, and of what finished runs used.

use super::codec::{Coded, RowError, RowReader, RowWriter, Stored, codes, layout, row};
use crate::model::{AccountId, Millis, RunId};
use crate::quota::lease::cost::{CostHistory, RunCost, WindowCost};
use crate::quota::lease::probe::{Probe, ProbePhase};
use crate::quota::lease::{KeyedAnswer, Lease, LeaseEnd, LeaseNumber};

row! {
    /// A lease that has not ended.
    #[derive(Clone, Debug, PartialEq)]
    pub struct LeaseRow {
        token: u64,
        provider: Box<str>,
        account: Box<str>,
        model: Option<Box<str>>,
        class: Option<Box<str>>,
        run: Option<Box<str>>,
        holder: Option<Box<str>>,
        granted_at: Millis,
        ttl: Millis,
        expires_at: Millis,
        bound_at: Option<Millis>,
        bytes_before: u64,
        tokens_before: u64,
        probe: Option<Box<str>>,
        cost: Vec<WindowCost>,
    }
}

impl LeaseRow {
    #[must_use]
    pub fn new(lease: &Lease) -> Self {
        Self {
            token: lease.token,
            provider: lease.account.provider.clone(),
            account: lease.account.name.clone(),
            model: lease.model.clone(),
            class: lease.class.clone(),
            run: lease.run.as_ref().map(|run| run.as_str().into()),
            holder: lease.holder.clone(),
            granted_at: lease.granted_at,
            ttl: lease.ttl,
            expires_at: lease.expires_at,
            bound_at: lease.bound_at,
            bytes_before: lease.bytes_before,
            tokens_before: lease.tokens_before,
            probe: lease.probe.clone(),
            cost: lease.cost.clone(),
        }
    }

    /// The lease of this number.
    ///
    /// # Errors
    /// The run is not a run id.
    pub fn lease(self, number: LeaseNumber) -> Result<Lease, RowError> {
        let run = self.run.map(|run| RunId::new(&run)).transpose();
        Ok(Lease {
            number,
            token: self.token,
            account: AccountId {
                provider: self.provider,
                name: self.account,
            },
            model: self.model,
            class: self.class,
            run: run.map_err(|_| RowError::Range("run"))?,
            holder: self.holder,
            granted_at: self.granted_at,
            ttl: self.ttl,
            expires_at: self.expires_at,
            bound_at: self.bound_at,
            bytes_before: self.bytes_before,
            tokens_before: self.tokens_before,
            has_log: false,
            probe: self.probe,
            cost: self.cost,
        })
    }
}

row! {
    /// The end of a lease.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct LeaseEndRow {
        pub token: u64,
        pub at: Millis,
        pub end: LeaseEnd,
    }
}

layout!(KeyedAnswer {
    key: Box<str>,
    hash: u64,
    at: i64,
    text: Box<[u8]>,
});

row! {
    /// The stored part of a recovery. What a phase does not have is 0.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ProbeRow {
        phase: u8,
        lease: LeaseNumber,
        cap: u32,
        at: Millis,
        since: Millis,
        failures: u8,
        silent: u8,
        tried_at: Millis,
    }
}

impl ProbeRow {
    #[must_use]
    pub fn new(probe: &Probe) -> Self {
        let (phase, lease, cap, at) = match probe.phase {
            ProbePhase::BackedOff { until } => (0, 0, 0, until),
            ProbePhase::HalfOpen { lease } => (1, lease, 0, 0),
            ProbePhase::Ramp { lease, cap, step_at } => (2, lease, cap, step_at),
        };
        Self {
            phase,
            lease,
            cap,
            at,
            since: probe.since,
            failures: probe.failures,
            silent: probe.silent,
            tried_at: probe.tried_at,
        }
    }

    /// # Errors
    /// There is no such phase.
    pub fn probe(self) -> Result<Probe, RowError> {
        let phase = match self.phase {
            0 => ProbePhase::BackedOff { until: self.at },
            1 => ProbePhase::HalfOpen { lease: self.lease },
            2 => ProbePhase::Ramp {
                lease: self.lease,
                cap: self.cap,
                step_at: self.at,
            },
            _ => return Err(RowError::Range("phase")),
        };
        Ok(Probe {
            phase,
            since: self.since,
            failures: self.failures,
            silent: self.silent,
            tried_at: self.tried_at,
        })
    }
}

layout!(CostHistory { 0: Vec<RunCost> });

layout!(RunCost {
    run: u32,
    tokens: u64,
    windows: Vec<WindowCost>,
});

layout!(WindowCost {
    window: Box<str>,
    share: f64,
});

codes!(LeaseEnd, "end" {
    Released = 0,
    Expired = 1,
    Revoked = 2,
    RunEnded = 3,
});
