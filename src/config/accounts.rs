//! Accounts: the rules of the `[[account]]` tables of the file, and the assignment of runs to them.
//!
//! A run belongs to the account named by its labels; else to the first account in the file that matches its
//! id and labels; else to the default account.

mod described;
mod poll;
mod poll_rules;
mod start;
mod table;

use std::fmt;

use super::units::List;
use crate::globs::Names;
use crate::model::{ACCOUNT_DEFAULT, AccountId, Labels, PROVIDER_DEFAULT, RunAccounts, RunId};
use crate::quota::account::{Account, Minimum};
use described::DescribedAccount;
pub(super) use poll::POLL_KEYS;
use table::{Mistake, RUNS_DEFAULT, Table};

pub(super) use start::OF_SHARES;
pub use table::check_name;
pub(super) use table::{KEYS, PartialAccount, doubts, tables};

/// Most accounts: each run is compared with them one by one.
const ACCOUNTS_MAX: usize = 1000;
/// Most patterns of runs over all accounts, and most bytes of them: all are compiled at every start.
const PATTERNS_MAX: usize = 10_000;
const PATTERNS_BYTES_MAX: usize = 256 << 10;
/// Labels that name a run's provider and account.
pub const PROVIDER_LABEL: &str = "provider";
pub const ACCOUNT_LABEL: &str = "account";

/// The accounts with their rules and their runs.
#[derive(Clone, Debug)]
pub struct Accounts {
    /// True if the file has any; else there is only the default account.
    pub configured: bool,
    rules: Vec<Account>,
    /// The runs of each of `rules`.
    runs: Vec<AccountRuns>,
    /// The account of runs that match no other.
    rest: Account,
    /// True if accounts are accepted that the file does not name.
    open: bool,
}

/// No configured account has this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownAccount {
    wanted: String,
    /// The configured account with the most similar name.
    near: Option<AccountId>,
    /// The first configured accounts, and the number of further ones.
    known: Vec<AccountId>,
    more: usize,
}

impl fmt::Display for UnknownAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not a configured account; ", self.wanted)?;
        if let Some(near) = &self.near {
            write!(f, "did you mean {near}? ")?;
        }
        write!(f, "there {} ", if self.known.len() == 1 { "is" } else { "are" })?;
        for (place, id) in self.known.iter().enumerate() {
            write!(f, "{}{id}", if place == 0 { "" } else { ", " })?;
        }
        if self.more > 0 {
            write!(f, " and {} more", self.more)?;
        }
        f.write_str("; an [[account]] table adds one, and accounts.open = true accepts any")
    }
}

/// The reason why a name is not one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhichAccount {
    Unknown(UnknownAccount),
    /// Several accounts match.
    Several(Vec<AccountId>),
}

/// Most accounts named in an error.
const KNOWN_NAMED_MAX: usize = 20;
/// Largest edit distance of a suggested name.
const NEAR_LETTERS_MAX: usize = 2;

/// The runs of an account.
#[derive(Clone, Debug)]
struct AccountRuns {
    names: Names,
    /// Labels that a run must have.
    labels: Labels,
}

impl AccountRuns {
    fn have(&self, run: &RunId, labels: &Labels) -> bool {
        self.names.matches(run)
            && (self.labels.iter()).all(|(name, value)| labels.get(name).is_some_and(|given| given == value))
    }
}

/// True if labels name an account; else the configuration decides.
#[must_use]
pub fn name_an_account(labels: &Labels) -> bool {
    labels.contains_key(PROVIDER_LABEL) || labels.contains_key(ACCOUNT_LABEL)
}

impl Default for Accounts {
    fn default() -> Self {
        Self {
            configured: false,
            rules: vec![Account::new(AccountId::default())],
            runs: Vec::new(),
            rest: Account::new(AccountId::default()),
            open: false,
        }
    }
}

impl Accounts {
    /// Parses the tables. Mistakes between tables are searched only if each table `is_whole`.
    pub(super) fn new(tables: &[PartialAccount], is_whole: bool) -> (Self, Vec<Mistake>) {
        if tables.is_empty() {
            return (Self::default(), Vec::new());
        }
        let mut accounts = Self {
            configured: true,
            rules: Vec::with_capacity(tables.len()),
            runs: Vec::with_capacity(tables.len()),
            rest: Account::new(AccountId::default()),
            open: false,
        };
        let mut mistakes = Vec::new();
        let (mut patterns, mut bytes) = (0, 0);
        for (number, given) in tables.iter().enumerate() {
            let runs = given.runs.iter().flat_map(|List(runs)| runs);
            (patterns, bytes) = runs.fold((patterns, bytes), |(patterns, bytes), run| {
                (patterns + 1, bytes + run.len())
            });
            let mut table = Table::new(number, given, is_whole);
            if number == ACCOUNTS_MAX {
                table.refuse("name", format!("at most {ACCOUNTS_MAX} accounts are allowed"));
                mistakes.append(&mut table.mistakes);
                break;
            }
            if patterns > PATTERNS_MAX || bytes > PATTERNS_BYTES_MAX {
                let problem = format!(
                    "with these, the accounts have {patterns} patterns of {bytes} bytes; at most {PATTERNS_MAX} of \
                     {PATTERNS_BYTES_MAX} bytes together are allowed: labels choose runs too"
                );
                table.refuse("runs", problem);
                mistakes.append(&mut table.mistakes);
                break;
            }
            let rules = table.rules();
            let runs = AccountRuns {
                names: table.runs(),
                labels: table.labels(),
            };
            if is_whole && mistakes.is_empty() && table.mistakes.is_empty() {
                accounts.check_new(&mut table, &rules.id, &runs);
            }
            mistakes.append(&mut table.mistakes);
            accounts.rules.push(rules);
            accounts.runs.push(runs);
        }
        (accounts, mistakes)
    }

    pub(super) fn opened(self, open: bool) -> Self {
        Self { open, ..self }
    }

    /// True if accounts are accepted that the file does not name.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Checks that the account is configured, or that all are accepted.
    ///
    /// # Errors
    /// It is neither.
    pub fn check(&self, id: &AccountId) -> Result<(), UnknownAccount> {
        if self.open || self.rules.iter().any(|rules| rules.id == *id) {
            return Ok(());
        }
        Err(self.unknown(Some(&id.provider), Some(&id.name)))
    }

    /// The configured account for a provider and a name, each of which may be left out: the provider's
    /// default account if it is configured, else the only one.
    ///
    /// # Errors
    /// No account matches, or several do.
    pub fn named(&self, provider: Option<&str>, name: Option<&str>) -> Result<&AccountId, WhichAccount> {
        let is_wanted = |filter: Option<&str>, is: &str| filter.is_none_or(|name| *name == *is);
        let ids = self.rules.iter().map(|rules| &rules.id);
        let fitting: Vec<&AccountId> = ids
            .filter(|id| is_wanted(provider, &id.provider) && is_wanted(name, &id.name))
            .collect();
        let default = (fitting.iter())
            .find(|id| *id.provider == *provider.unwrap_or(PROVIDER_DEFAULT) && *id.name == *ACCOUNT_DEFAULT);
        match (default.filter(|_| name.is_none()), fitting.as_slice()) {
            (Some(id), _) | (None, [id]) => Ok(id),
            (None, []) => Err(WhichAccount::Unknown(self.unknown(provider, name))),
            (None, several) => Err(WhichAccount::Several(several.iter().copied().cloned().collect())),
        }
    }

    /// The error for an account that is not configured.
    #[must_use]
    pub fn unknown(&self, provider: Option<&str>, name: Option<&str>) -> UnknownAccount {
        let wanted = match (provider, name) {
            (Some(provider), Some(name)) => format!("{provider}/{name}"),
            (Some(one), None) | (None, Some(one)) => one.to_owned(),
            (None, None) => AccountId::default().to_string(),
        };
        let distance = |id: &AccountId| match (provider, name) {
            (Some(_), None) => strsim::osa_distance(&wanted, &id.provider),
            (None, Some(_)) => strsim::osa_distance(&wanted, &id.name),
            _ => strsim::osa_distance(&wanted, &id.to_string()),
        };
        let ids = || self.rules.iter().map(|rules| &rules.id);
        // A short word is similar to many.
        let letters_max = NEAR_LETTERS_MAX.min(wanted.chars().count() / 3);
        let near = ids()
            .map(|id| (distance(id), id))
            .min_by_key(|(distance, _)| *distance);
        UnknownAccount {
            near: (near.filter(|(distance, _)| *distance <= letters_max)).map(|(_, id)| id.clone()),
            known: ids().take(KNOWN_NAMED_MAX).cloned().collect(),
            more: self.rules.len().saturating_sub(KNOWN_NAMED_MAX),
            wanted,
        }
    }

    /// In the order of the file; never empty.
    #[must_use]
    pub fn rules(&self) -> &[Account] {
        &self.rules
    }

    /// The account of a run without labels.
    #[must_use]
    pub fn of_run(&self, run: &RunId) -> &AccountId {
        self.matching(run, &Labels::new()).next().unwrap_or(&self.rest.id)
    }

    /// The account of a run with these labels. If they name only provider or account, the file completes the
    /// rest.
    #[must_use]
    pub fn of_labelled(&self, run: &RunId, labels: &Labels) -> AccountId {
        let mut matching = self.matching(run, labels);
        let found = match (labels.get(PROVIDER_LABEL), labels.get(ACCOUNT_LABEL)) {
            (None, None) => matching.next(),
            (Some(provider), None) => matching.find(|id| id.provider == *provider),
            (None, Some(name)) => (self.rules.iter())
                .map(|rules| &rules.id)
                .find(|id| id.name == *name),
            (Some(_), Some(_)) => None,
        };
        let mut id = found.unwrap_or(&self.rest.id).clone();
        if let Some(provider) = labels.get(PROVIDER_LABEL) {
            id.provider.clone_from(provider);
        }
        if let Some(name) = labels.get(ACCOUNT_LABEL) {
            id.name.clone_from(name);
        }
        id
    }

    fn matching(&self, run: &RunId, labels: &Labels) -> impl Iterator<Item = &AccountId> {
        let pairs = self.rules.iter().zip(&self.runs);
        pairs
            .filter(|(_, members)| members.have(run, labels))
            .map(|(rules, _)| &rules.id)
    }

    /// All accounts of a run: its own, and those that the file names for further providers.
    #[must_use]
    pub fn of_providers(&self, run: &RunId, labels: &Labels, own: AccountId) -> RunAccounts {
        let further = self.matching(run, labels);
        RunAccounts::new(own, further.map(|id| (id.provider.clone(), id.clone())))
    }

    /// The rules of an account. The default account has rules even if the file does not name it; an account
    /// removed from the file has none.
    #[must_use]
    pub fn get(&self, id: &AccountId) -> Option<&Account> {
        self.rules
            .iter()
            .chain([&self.rest])
            .find(|rules| rules.id == *id)
    }

    /// The smallest wanted rests of an account's windows.
    #[must_use]
    pub fn minimums(&self, id: &AccountId) -> &[Minimum] {
        self.get(id).map_or(&[], |rules| &rules.minimum_left)
    }

    /// The accounts as text.
    #[must_use]
    pub fn describe(&self) -> Vec<DescribedAccount> {
        let every = [RUNS_DEFAULT.to_owned()];
        self.rules
            .iter()
            .enumerate()
            .map(|(number, rules)| {
                let members = self.runs.get(number);
                let runs = members.map_or(&every[..], |members| members.names.patterns());
                let labels = members.map(|members| members.labels.clone());
                DescribedAccount::new(rules, runs, labels.unwrap_or_default())
            })
            .collect()
    }

    /// Checks that an account has a unique name, and no pattern that an earlier account already uses for all
    /// its runs.
    fn check_new(&self, table: &mut Table<'_>, id: &AccountId, runs: &AccountRuns) {
        if self.rules.iter().any(|earlier| earlier.id == *id) {
            let problem =
                format!("{id} is there already: each account needs its own pair of provider and name");
            return table.refuse("name", problem);
        }
        // A run has an account of each provider.
        let rules = self.rules.iter().zip(&self.runs);
        for (earlier, theirs) in rules.filter(|(earlier, _)| earlier.id.provider == id.provider) {
            // A run with these labels has those of the earlier account too.
            let has_all = (theirs.labels.iter()).all(|(name, value)| runs.labels.get(name) == Some(value));
            let same = |pattern: &&String| has_all && theirs.names.patterns().contains(pattern);
            if let Some(pattern) = runs.names.patterns().iter().find(same) {
                let default = if table.given.runs.is_none() {
                    ", the default,"
                } else {
                    ""
                };
                let problem = format!(
                    "the pattern `{pattern}`{default} is one of {} already, which comes first and has all its \
                     runs: name the runs of each account, or [] for none",
                    earlier.id
                );
                return table.refuse("runs", problem);
            }
        }
    }
}
