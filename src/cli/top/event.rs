//! The events that change the model: those of the stream, and the answers to requests.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::model::{Details, PeriodSums};
use crate::api::wire;
use crate::model::Millis;

/// A change of the model.
#[derive(Clone, Debug)]
pub enum TopEvent {
    /// The time.
    Tick(Millis),
    Connected,
    Lost {
        why: String,
        retry_at: Millis,
    },
    Snapshot(Box<Snapshotted>),
    Usage(wire::UsageEvent),
    Window(Box<wire::WindowEvent>),
    Threshold(wire::ThresholdEvent),
    Account(wire::AccountEvent),
    Run(wire::RunEvent),
    Lease(Box<wire::LeaseEvent>),
    Probe(wire::ProbeEvent),
    Health(wire::HealthEvent),
    Answer(Box<TopAnswer>),
}

/// The answer to a request.
#[derive(Clone, Debug)]
pub enum TopAnswer {
    Quota(wire::Quota),
    /// All runs, and the last commit that was known before the request.
    Runs {
        rows: Vec<wire::Run>,
        asked_at: u64,
    },
    /// Tokens by run and model.
    Models(wire::Usage),
    Sums(PeriodSums),
    Routes(PeriodSums),
    Hours(PeriodSums),
    Details(Details),
    /// A request without an answer: the numbers stay as they are.
    Failed(String),
}

/// The part of a snapshot that is used: a collector may leave out the rest.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Snapshotted {
    pub sequence: u64,
    /// The reason of a gap.
    #[serde(default)]
    pub reason: Option<String>,
    pub snapshot: SnapshotPart,
}

/// The part of a summary that is used.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct SnapshotPart {
    pub now: String,
    pub quota: wire::Quota,
}

impl TopEvent {
    /// An event of the stream; `None` for one that this version does not know.
    #[must_use]
    pub fn of(kind: &str, data: Value) -> Option<Self> {
        Some(match kind {
            "snapshot" | "gap" => Self::Snapshot(read(data)?),
            "usage" => Self::Usage(read(data)?),
            "window" => Self::Window(read(data)?),
            "threshold" => Self::Threshold(read(data)?),
            "account" => Self::Account(read(data)?),
            "run" => Self::Run(read(data)?),
            "lease" => Self::Lease(read(data)?),
            "probe" => Self::Probe(read(data)?),
            "health" => Self::Health(read(data)?),
            _ => return None,
        })
    }
}

fn read<T: DeserializeOwned>(data: Value) -> Option<T> {
    serde_json::from_value(data).ok()
}
