//! The configured rules of one provider account.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_64;

use super::poll::settings::PollSettings;
use crate::model::{AccountId, Millis};

/// Default thresholds of a window, in percent.
pub const THRESHOLDS_DEFAULT: [u8; 2] = [75, 90];
/// Default share of the calls quota from which an account is near its limit, in percent.
const WARN_AT_PERCENT_DEFAULT: u8 = 80;

/// One provider account and its rules.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    pub id: AccountId,
    /// Largest wanted number of calls in any five hours; 0 for no quota.
    pub calls_quota: u64,
    /// The share of `calls_quota` from which the account is near its limit.
    pub warn_at_percent: u8,
    /// Largest wanted number of tokens in a day; 0 for no budget.
    pub daily_tokens: u64,
    /// Token kinds that the budget counts.
    pub counted: TokenKinds,
    /// Sorted, without repetition.
    pub thresholds: Vec<u8>,
    /// Windows that need a minimum left for a new run to start.
    pub minimum_left: Vec<Minimum>,
    pub on_unknown: OnUnknown,
    /// True if runs may start that are billed beyond the windows.
    pub use_overage: bool,
    /// Requested models, and the models that serve in their place at this account.
    pub models: BTreeMap<Box<str>, Box<str>>,
    /// The way to the account's own numbers; `None` for none.
    pub poll: Option<PollSettings>,
    pub start: StartRules,
}

/// The rules by which leases are granted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StartRules {
    /// Largest number of runs at a time; 0 for no limit.
    pub concurrency: u32,
    /// Shares of each window that are kept for leases of a class.
    pub reserve: BTreeMap<Box<str>, f64>,
    pub ramp: RampRules,
    /// Shares of windows that a run is expected to use, by window; without one they are learned.
    pub cost: BTreeMap<Box<str>, f64>,
}

/// The steps by which runs are let in after a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RampRules {
    /// Runs after the first response.
    pub start: u32,
    /// Further runs after each interval.
    pub step: u32,
    /// Interval in milliseconds.
    pub every_ms: Millis,
}

impl Default for RampRules {
    fn default() -> Self {
        Self {
            start: 1,
            step: 1,
            every_ms: 30_000,
        }
    }
}

impl Account {
    /// An account without quotas and budgets.
    #[must_use]
    pub fn new(id: AccountId) -> Self {
        Self {
            id,
            calls_quota: 0,
            warn_at_percent: WARN_AT_PERCENT_DEFAULT,
            daily_tokens: 0,
            counted: TokenKinds::default(),
            thresholds: THRESHOLDS_DEFAULT.to_vec(),
            minimum_left: Vec::new(),
            on_unknown: OnUnknown::default(),
            use_overage: false,
            models: BTreeMap::new(),
            start: StartRules::default(),
            poll: None,
        }
    }
}

/// A hash that separates the response keys of this account from those of others.
#[must_use]
pub fn scope(id: &AccountId) -> u64 {
    if *id == AccountId::default() {
        return 0;
    }
    xxh3_64(format!("{}\0{}", id.provider, id.name).as_bytes())
}

/// The token fields that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "a set of four, each named as the field it stands for"
)]
pub struct TokenKinds {
    pub input: bool,
    pub output: bool,
    pub cache_creation: bool,
    pub cache_read: bool,
}

impl Default for TokenKinds {
    fn default() -> Self {
        Self {
            input: true,
            output: true,
            cache_creation: true,
            cache_read: false,
        }
    }
}

/// The smallest wanted rest of a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Minimum {
    /// The window's canonical name.
    pub window: Box<str>,
    pub percent: u8,
}

/// Answer for an account without known windows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnUnknown {
    /// Answer `unknown`.
    #[default]
    Say,
    Allow,
    Wait,
}
