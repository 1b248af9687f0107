//! A provider account: the owner of limits and budgets.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::dialect::Dialect;

/// The default provider, if none is given: that of the coding agent whose transcripts are read first.
pub const PROVIDER_DEFAULT: &str = "claude";

/// The default name of an account, if none is given.
pub const ACCOUNT_DEFAULT: &str = "default";

/// Maximum length of the name of a provider or an account, in bytes.
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

/// A provider account: limits and budgets belong to it.
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
    /// The default account of a provider.
    #[must_use]
    pub fn default_of(provider: &str) -> Self {
        Self {
            provider: provider.into(),
            name: ACCOUNT_DEFAULT.into(),
        }
    }
}

/// The accounts of a run: its own, and one for each further provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunAccounts {
    own: Arc<AccountId>,
    further: BTreeMap<Box<str>, Arc<AccountId>>,
}

impl RunAccounts {
    /// Of equal providers the first one in `further` is used.
    #[must_use]
    pub fn new(own: AccountId, further: impl IntoIterator<Item = (Box<str>, AccountId)>) -> Self {
        let mut accounts = Self {
            own: Arc::new(own),
            further: BTreeMap::new(),
        };
        for (provider, account) in further {
            if *provider != *accounts.own.provider {
                accounts
                    .further
                    .entry(provider)
                    .or_insert_with(|| Arc::new(account));
            }
        }
        accounts
    }

    /// The account that the run was registered with.
    #[must_use]
    pub fn own(&self) -> &AccountId {
        &self.own
    }

    /// The account for lines of a dialect that name no provider.
    #[must_use]
    pub fn of_dialect(&self, dialect: Dialect) -> Arc<AccountId> {
        if dialect != Dialect::Claude {
            return self.of_provider(dialect.provider());
        }
        // Its format has many writers, and a gateway may serve another provider's models in it.
        let further = self.further.get(dialect.provider());
        let further = further.filter(|_| Dialect::is_of_agent(&self.own.provider));
        Arc::clone(further.unwrap_or(&self.own))
    }

    /// The account for a provider: the provider's default account if none was registered.
    #[must_use]
    pub fn of_provider(&self, provider: &str) -> Arc<AccountId> {
        if provider == Dialect::Claude.provider() {
            return self.of_dialect(Dialect::Claude);
        }
        if *self.own.provider == *provider {
            return Arc::clone(&self.own);
        }
        let known = self.further.get(provider).map(Arc::clone);
        known.unwrap_or_else(|| Arc::new(AccountId::default_of(provider)))
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
        let defaults = ["pi/default", "gemini/default", "qwen/default"];
        for (own, further, claude, codex) in [
            (
                "claude/a",
                &["codex/b", "codex/c", "claude/c"][..],
                "claude/a",
                "codex/b",
            ),
            ("zai/a", &["codex/b", "claude/c"], "zai/a", "codex/b"),
            ("codex/a", &["claude/c"], "claude/c", "codex/a"),
            ("codex/a", &[], "codex/a", "codex/a"),
            ("claude/a", &[], "claude/a", "codex/default"),
        ] {
            let further = further.iter().map(|text| id(text));
            let accounts = RunAccounts::new(id(own), further.map(|id| (id.provider.clone(), id)));
            let others = [Dialect::Pi, Dialect::Gemini, Dialect::Qwen];
            let of = |dialect| accounts.of_dialect(dialect).to_string();
            assert_eq!(
                (of(Dialect::Claude).as_str(), of(Dialect::Codex).as_str()),
                (claude, codex),
                "{own}"
            );
            assert_eq!(others.map(of), defaults, "{own}");
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
