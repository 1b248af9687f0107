//! A provider account: the owner of limits and budgets.

use std::fmt;
use std::sync::Arc;

use super::dialect::Dialect;

/// The provider of an account nobody named: the coding agent whose transcripts are read first.
pub const PROVIDER_DEFAULT: &str = "claude";

/// The name of an account nobody named.
pub const ACCOUNT_DEFAULT: &str = "default";

/// Longest name of a provider or an account, in bytes.
pub const ACCOUNT_NAME_BYTES_MAX: usize = 64;

/// True for the name of a provider or an account: names appear in paths, URLs and tables, like run ids.
#[must_use]
pub fn is_account_name(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (1..=ACCOUNT_NAME_BYTES_MAX).contains(&name.len())
        && name.chars().all(is_allowed)
        && name != "."
        && name != ".."
}

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

impl AccountId {
    /// The account of a provider that nobody named.
    #[must_use]
    pub fn default_of(provider: &str) -> Self {
        Self {
            provider: provider.into(),
            name: ACCOUNT_DEFAULT.into(),
        }
    }
}

/// The accounts of a run: its own, and one for each further provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunAccounts {
    own: Arc<AccountId>,
    further: Vec<Arc<AccountId>>,
}

impl RunAccounts {
    /// Of `further` the first of each provider is taken.
    #[must_use]
    pub fn new(own: AccountId, further: impl IntoIterator<Item = AccountId>) -> Self {
        let mut accounts = Self {
            own: Arc::new(own),
            further: Vec::new(),
        };
        for account in further {
            if accounts.known(&account.provider).is_none() {
                accounts.further.push(Arc::new(account));
            }
        }
        accounts
    }

    /// The account that the run was registered with.
    #[must_use]
    pub fn own(&self) -> &AccountId {
        &self.own
    }

    /// The account for lines of a dialect that name no provider. Claude Code's format has many writers: its
    /// lines are the run's own account's, unless that is of another agent's provider.
    #[must_use]
    pub fn of_dialect(&self, dialect: Dialect) -> Arc<AccountId> {
        match dialect.provider() {
            Some(provider) if dialect != Dialect::Claude => self.of_provider(provider),
            Some(provider) if Dialect::is_of_agent(&self.own.provider) => self.of_provider(provider),
            Some(_) => Arc::clone(&self.own),
            None => self.of_provider(dialect.name()),
        }
    }

    /// The account for a provider: the provider's default account if nobody named one.
    #[must_use]
    pub fn of_provider(&self, provider: &str) -> Arc<AccountId> {
        self.known(provider)
            .map_or_else(|| Arc::new(AccountId::default_of(provider)), Arc::clone)
    }

    fn known(&self, provider: &str) -> Option<&Arc<AccountId>> {
        [&self.own]
            .into_iter()
            .chain(&self.further)
            .find(|account| *account.provider == *provider)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> AccountId {
        let (provider, name) = text.split_once('/').unwrap();
        AccountId {
            provider: provider.into(),
            name: name.into(),
        }
    }

    #[test]
    fn a_run_has_one_account_for_each_provider() {
        let cases = [
            (
                "claude/a",
                [
                    "claude/a",
                    "codex/b",
                    "pi/default",
                    "gemini/default",
                    "qwen/default",
                ],
            ),
            (
                "zai/a",
                ["zai/a", "codex/b", "pi/default", "gemini/default", "qwen/default"],
            ),
            (
                "codex/a",
                [
                    "claude/c",
                    "codex/a",
                    "pi/default",
                    "gemini/default",
                    "qwen/default",
                ],
            ),
        ];
        for (own, want) in cases {
            let accounts = RunAccounts::new(id(own), ["codex/b", "codex/c", "claude/c"].map(id));
            let of = [
                Dialect::Claude,
                Dialect::Codex,
                Dialect::Pi,
                Dialect::Gemini,
                Dialect::Qwen,
            ];
            let of = of.map(|dialect| accounts.of_dialect(dialect).to_string());
            assert_eq!(of, want, "{own}");
        }
    }

    #[test]
    fn names_fit_into_paths_and_tables() {
        let long = "x".repeat(ACCOUNT_NAME_BYTES_MAX);
        for name in ["a", "openai-codex", "a.b_c", &long] {
            assert!(is_account_name(name), "{name}");
        }
        for name in ["", ".", "..", "a/b", "a b", "\u{e9}", &format!("{long}x")] {
            assert!(!is_account_name(name), "{name}");
        }
    }
}
