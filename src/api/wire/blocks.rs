//! Blocks of five hours.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::cost::Pricing;
use super::usage::UsageSums;

/// `GET /v1/blocks`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Blocks {
    /// The time at which blocks are active or not.
    #[schema(format = DateTime)]
    pub now: String,
    /// By account and start.
    pub blocks: Vec<UsageBlock>,
    #[serde(flatten)]
    pub pricing: Pricing,
}

/// Usage of an account in a window of five hours, or a gap without any.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UsageBlock {
    /// As PROVIDER/NAME.
    pub account: String,
    #[schema(format = DateTime)]
    pub started_at: String,
    #[schema(format = DateTime)]
    pub ends_at: String,
    /// The first and the last minute with usage; `null` for a gap.
    #[schema(format = DateTime)]
    pub first_used_at: Option<String>,
    #[schema(format = DateTime)]
    pub last_used_at: Option<String>,
    pub is_active: bool,
    /// More than five hours without usage.
    pub is_gap: bool,
    /// The source of the observation that has the window's end; `derived` without one: five hours from the hour of the
    /// first usage.
    pub source: String,
    /// The share of the window that was used at its last observation, 0 to 1; `null` if it was not observed.
    pub utilization: Option<f64>,
    #[serde(flatten)]
    pub sums: UsageSums,
    /// By name.
    pub models: Vec<String>,
    /// Of an active block, from its first to its last use; `null` if both are in one minute.
    pub burn_rate: Option<BurnRate>,
    /// The end of an active block at this rate.
    pub projection: Option<Projection>,
}

/// The rate of use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BurnRate {
    pub tokens_per_minute: f64,
    /// Input and output alone.
    pub new_tokens_per_minute: f64,
    pub cost_usd_per_hour: Option<f64>,
}

/// The expected end of an active block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Projection {
    pub remaining_minutes: u64,
    pub total_tokens: u64,
    pub estimated_cost_usd: Option<f64>,
}
