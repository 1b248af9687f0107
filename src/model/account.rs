//! A provider account: the owner of limits and budgets.

use std::fmt;

/// The provider of an account nobody named: the coding agent whose transcripts are read first.
pub const PROVIDER_DEFAULT: &str = "claude";

/// The name of an account nobody named.
pub const ACCOUNT_DEFAULT: &str = "default";

/// A provider account: what limits and budgets belong to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountId {
    pub provider: Box<str>,
    pub name: Box<str>,
}

impl Default for AccountId {
    fn default() -> Self {
        Self {
            provider: PROVIDER_DEFAULT.into(),
            name: ACCOUNT_DEFAULT.into(),
        }
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.provider, self.name)
    }
}
