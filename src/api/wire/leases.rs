//! Documents of leases and capacities.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::quota::MayStart;

/// `POST /v1/leases`: a request for places. Everything but the key may be left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AcquireLeases {
    /// A name of this request, 1 to 128 printable ASCII characters: repeated within 24 hours, it gets the same leases.
    pub key: String,
    /// Wanted leases, 1 to 100; default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<u32>,
    /// Fewer are not granted; default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<u32>,
    /// As in `GET /v1/may-start`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The ids of the runs, in order; each binds its lease when it starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<String>,
    /// The class of the runs, for `reserve` and for learned costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// The share of each window that a run is expected to use, 0.02 for 2 %.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub cost: BTreeMap<String, f64>,
    /// The time in which the run has to write something, `"1s"` to `"10m"`; default `"2m"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
    /// A name of the client, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
}

/// The answer to a request for places: the may-start answer, and the leases.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LeaseAnswer {
    #[serde(flatten)]
    pub may_start: MayStart,
    /// Empty if none was granted: then `retry_at` is the time of the next attempt.
    pub leases: Vec<Lease>,
    /// What bounds the number: `concurrency`, `ramp`, `headroom`, `reserve`, `probe`, `no_evidence`, `refused`,
    /// `cool_down`, `verdict` or `leases`; `null` if as many were granted as wanted.
    pub by: Option<String>,
}

/// A lease: a place that is reserved for a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Lease {
    pub id: String,
    /// Grows with each grant: a later holder of a resource has a higher one.
    pub token: u64,
    /// `granted`, or `bound` once its run has started.
    pub state: String,
    pub provider: String,
    pub account: String,
    /// The model to use; `null` if the request named none.
    pub model: Option<String>,
    pub class: Option<String>,
    pub run: Option<String>,
    pub holder: Option<String>,
    #[schema(format = DateTime)]
    pub granted_at: String,
    /// The end, unless it is renewed before; `null` once its run has written something: then it lasts as long as the run.
    #[schema(format = DateTime)]
    pub expires_at: Option<String>,
    #[schema(format = DateTime)]
    pub bound_at: Option<String>,
    /// True for the one run that tries a blocked account.
    pub probe: bool,
    /// The share of each window that it holds.
    pub cost: BTreeMap<String, f64>,
}

/// `PUT /v1/leases/{id}`: a renewal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RenewLease {
    /// The time from now on; default is that of the grant.
    #[serde(default)]
    pub ttl: Option<String>,
}

/// The number of further runs of an account.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Capacity {
    pub provider: String,
    pub account: String,
    /// Further runs; `null` if nothing bounds them.
    pub free: Option<u32>,
    /// What bounds them, as in the answer to `POST /v1/leases`.
    pub by: Option<String>,
    /// The time at which that may change by the clock.
    #[schema(format = DateTime)]
    pub retry_at: Option<String>,
    /// Leases, and live runs without one.
    pub active: u32,
    /// The largest number of runs; `null` without a limit.
    pub concurrency: Option<u32>,
    /// The share of each window that leases hold.
    pub held: BTreeMap<String, f64>,
}

/// Event `lease`: a lease was granted, bound, or has ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LeaseEvent {
    pub sequence: u64,
    #[schema(format = DateTime)]
    pub at: String,
    /// `granted`, `bound`, `released`, `expired`, `revoked` or `run_ended`.
    pub phase: String,
    pub lease: Lease,
}

/// Event `probe`: the recovery of an account went on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProbeEvent {
    pub sequence: u64,
    #[schema(format = DateTime)]
    pub at: String,
    pub provider: String,
    pub account: String,
    /// The family of models; empty for the whole account.
    pub scope: String,
    /// `open`, `due`, `half_open`, `ramp` or `closed`.
    pub state: String,
    #[schema(format = DateTime)]
    pub until: Option<String>,
    pub cap: Option<u32>,
    pub failures: u8,
    pub lease: Option<String>,
}
