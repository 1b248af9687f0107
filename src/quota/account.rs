//! What the operator wants kept for one provider account.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_64;

use crate::model::AccountId;

/// At which share of a window a threshold fires, in percent.
pub const THRESHOLDS_DEFAULT: [u8; 2] = [75, 90];
/// At which share of the calls quota an account is near its limit, in percent.
pub const WARN_AT_PERCENT_DEFAULT: u8 = 80;

/// One provider account and its rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub id: AccountId,
    /// Calls wanted at most in any five hours; 0 is no quota.
    pub calls_quota: u64,
    /// The share of `calls_quota` from which the account is near its limit.
    pub warn_at_percent: u8,
    /// Tokens wanted at most in a day; 0 is no budget.
    pub daily_tokens: u64,
    /// Which tokens the budget counts.
    pub counted: TokenKinds,
    /// Sorted, without repetition.
    pub thresholds: Vec<u8>,
    /// Windows of which something must be left for a new run to start.
    pub minimum_left: Vec<Minimum>,
    pub on_unknown: OnUnknown,
    /// Whether runs may start that are paid beyond the windows.
    pub use_overage: bool,
    /// A model as it is asked for, and what serves in its place at this account.
    pub models: BTreeMap<Box<str>, Box<str>>,
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
        }
    }
}

/// What keeps the responses of this account apart from those of others, in the hashes that are their keys.
#[must_use]
pub fn scope(id: &AccountId) -> u64 {
    if *id == AccountId::default() {
        return 0;
    }
    xxh3_64(format!("{}\0{}", id.provider, id.name).as_bytes())
}

/// Which of the four token fields count.
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

/// Of a window, how much must be left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Minimum {
    /// The window's canonical name.
    pub window: Box<str>,
    pub percent: u8,
}

/// What to answer when nothing is known of an account's windows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnUnknown {
    /// That it is not known.
    #[default]
    Say,
    Allow,
    Wait,
}
