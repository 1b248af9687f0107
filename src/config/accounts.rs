//! Accounts: the checked `[[account]]` tables of the file, and the assignment of runs to them.
//!
//! A run belongs to the account named by its labels; else to the first account in the file that matches its
//! id and labels; else to the default account.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::ops::RangeInclusive;

use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::mistakes::{MistakeText, did_you_mean, near};
use super::units::{Count, List, within};
use super::{Key, key};
use crate::globs::{Names, check_amount};
use crate::model::window_name;
use crate::model::{ACCOUNT_DEFAULT, AccountId, Labels, PROVIDER_DEFAULT, RunId, check_label};
use crate::quota::account::{Account, Minimum, OnUnknown, TokenKinds};

/// Most accounts: each run is compared with them one by one.
const ACCOUNTS_MAX: usize = 1000;
/// Most patterns of runs over all accounts, and most bytes of them: all are compiled at every start.
const PATTERNS_MAX: usize = 10_000;
const PATTERNS_BYTES_MAX: usize = 256 << 10;
/// Longest name of a provider or an account, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// Longest name of a model, in bytes.
const MODEL_BYTES_MAX: usize = 256;
/// Labels that name a run's provider and account.
pub const PROVIDER_LABEL: &str = "provider";
pub const ACCOUNT_LABEL: &str = "account";

const CALLS_RANGE: RangeInclusive<Count> = Count(0)..=Count(1_000_000_000);
const TOKENS_RANGE: RangeInclusive<Count> = Count(0)..=Count(1_000_000_000_000_000);
const WARN_AT_RANGE: RangeInclusive<Count> = Count(1)..=Count(100);
/// Above 100 for windows that a provider lets be overdrawn.
const THRESHOLD_RANGE: RangeInclusive<Count> = Count(1)..=Count(200);
const LEFT_RANGE: RangeInclusive<Count> = Count(0)..=Count(100);

/// Every key of an account, in the order of the example.
pub(super) const KEYS: &[Key] = &[
    key(
        "provider",
        "\"claude\"",
        "Provider of the account: 1 to 64 of A-Z a-z 0-9 . _ -",
    ),
    key("name", "\"default\"", "Name of the account, likewise."),
    key(
        "runs",
        "[\"*\"]",
        "Runs of the account: patterns of run ids, as in [\"team-a-*\"]; [] for none.",
    ),
    key(
        "labels",
        "{}",
        "Labels that a run of the account must all have, as in { profile = \"big\" }",
    ),
    key(
        "calls_quota",
        "0",
        "Largest wanted number of calls in any five hours; 0 for no quota.",
    ),
    key(
        "warn_at_percent",
        "80",
        "Percent of calls_quota from which the account is near its limit, 1 to 100.",
    ),
    key(
        "daily_tokens",
        "0",
        "Largest wanted number of tokens in a day of quota.zone; 0 for no budget.",
    ),
    key(
        "counted",
        "[\"input\", \"output\", \"cache_creation\"]",
        "Token kinds that daily_tokens counts: input, output, cache_creation, cache_read.",
    ),
    key(
        "thresholds",
        "[75, 90]",
        "Used percent of a window at which a threshold fires, each 1 to 200; [] for none.",
    ),
    key(
        "minimum_left",
        "{}",
        "Percent of a window that must be left for a new run to start, as in { five_hour = 10, seven_day = 5 }",
    ),
    key(
        "on_unknown",
        "\"say\"",
        "Admission while nothing is known of the account: \"say\" for `unknown`, \"allow\" or \"wait\".",
    ),
    key(
        "use_overage",
        "false",
        "True if runs may start that the provider bills beyond the windows.",
    ),
    key(
        "models",
        "{}",
        "Requested models, and the models that serve in their place at this account: { \"claude-opus-5\" = \"gpt-6-codex\" }",
    ),
];

/// One table of the file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "a table with the keys of an account"
)]
pub struct PartialAccount {
    pub provider: Option<String>,
    pub name: Option<String>,
    pub runs: Option<List>,
    pub labels: Option<BTreeMap<String, String>>,
    pub calls_quota: Option<Count>,
    pub warn_at_percent: Option<Count>,
    pub daily_tokens: Option<Count>,
    pub counted: Option<Vec<TokenKind>>,
    pub thresholds: Option<Vec<Count>>,
    pub minimum_left: Option<BTreeMap<String, Count>>,
    pub on_unknown: Option<OnUnknown>,
    pub use_overage: Option<bool>,
    pub models: Option<BTreeMap<String, String>>,
}

/// One of the four token fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenKind {
    Input,
    Output,
    CacheCreation,
    CacheRead,
}

/// Deserializes the tables; a single table with single brackets gets a hint.
pub(super) fn tables<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<PartialAccount>>, D::Error> {
    struct Tables;

    impl<'de> Visitor<'de> for Tables {
        type Value = Vec<PartialAccount>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a table [[account]] for each account, in double brackets")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
            let mut accounts = Vec::new();
            while let Some(account) = array.next_element()? {
                accounts.push(account);
            }
            Ok(accounts)
        }

        fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
            Err(A::Error::custom(
                "write [[account]] with two brackets: there may be several",
            ))
        }
    }
    deserializer.deserialize_any(Tables).map(Some)
}

/// A mistake in one table.
#[derive(Debug)]
pub(super) struct Mistake {
    /// Index of the table, from 0.
    number: usize,
    /// Key in the table.
    key: String,
    problem: MistakeText,
}

impl Mistake {
    /// The place in the file.
    pub(super) fn place(&self) -> String {
        format!("account[{}].{}", self.number, self.key)
    }

    pub(super) fn problem(&self) -> MistakeText {
        let key = format!("account.{}", self.key);
        self.problem.clone().of_key(&key)
    }
}

/// Names that are allowed but probably misspelt: similar to a known provider or window.
pub(super) fn doubts(tables: &[PartialAccount]) -> Vec<Mistake> {
    const PROVIDERS: [&str; 2] = [PROVIDER_DEFAULT, "codex"];
    let doubt = |number, key: String, what: String, word: &str| Mistake {
        number,
        key,
        problem: MistakeText {
            what,
            hint: Some(did_you_mean(word)),
        },
    };
    let mut found = Vec::new();
    for (number, given) in tables.iter().enumerate() {
        let name = given.provider.as_deref().unwrap_or(PROVIDER_DEFAULT);
        if let Some(meant) = near(name, PROVIDERS).filter(|_| !PROVIDERS.contains(&name)) {
            let what = format!("no transcript has the provider {name:?}; names are case-sensitive");
            found.push(doubt(number, "provider".to_owned(), what, meant));
        }
        for window in given.minimum_left.iter().flatten().map(|(window, _)| window) {
            if window_name::is_fixed(window) {
                continue;
            }
            if let Some(meant) = near(window, window_name::known()) {
                let what = format!("no known window is named {window:?}");
                found.push(doubt(number, format!("minimum_left.{window}"), what, meant));
            }
        }
    }
    found
}

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
    asked: String,
    /// The configured account with the most similar name.
    near: Option<AccountId>,
    /// The first configured accounts, and the number of further ones.
    known: Vec<AccountId>,
    more: usize,
}

impl fmt::Display for UnknownAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not a configured account; ", self.asked)?;
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
            let mut table = Table {
                number,
                given,
                mistakes: Vec::new(),
            };
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
        let asked = match (provider, name) {
            (Some(provider), Some(name)) => format!("{provider}/{name}"),
            (Some(one), None) | (None, Some(one)) => one.to_owned(),
            (None, None) => AccountId::default().to_string(),
        };
        let distance = |id: &AccountId| match (provider, name) {
            (Some(_), None) => strsim::osa_distance(&asked, &id.provider),
            (None, Some(_)) => strsim::osa_distance(&asked, &id.name),
            _ => strsim::osa_distance(&asked, &id.to_string()),
        };
        let ids = || self.rules.iter().map(|rules| &rules.id);
        // A short word is similar to many.
        let letters_max = NEAR_LETTERS_MAX.min(asked.chars().count() / 3);
        let near = ids()
            .map(|id| (distance(id), id))
            .min_by_key(|(distance, _)| *distance);
        UnknownAccount {
            near: (near.filter(|(distance, _)| *distance <= letters_max)).map(|(_, id)| id.clone()),
            known: ids().take(KNOWN_NAMED_MAX).cloned().collect(),
            more: self.rules.len().saturating_sub(KNOWN_NAMED_MAX),
            asked,
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

    /// The rules of an account. The default account has rules even if the file does not name it; an account
    /// removed from the file has none.
    #[must_use]
    pub fn get(&self, id: &AccountId) -> Option<&Account> {
        self.rules
            .iter()
            .chain([&self.rest])
            .find(|rules| rules.id == *id)
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
        for (earlier, theirs) in self.rules.iter().zip(&self.runs) {
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

/// Matches every run.
const RUNS_DEFAULT: &str = "*";

/// A table that is being checked.
struct Table<'a> {
    number: usize,
    given: &'a PartialAccount,
    mistakes: Vec<Mistake>,
}

impl Table<'_> {
    fn rules(&mut self) -> Account {
        let given = self.given;
        let id = AccountId {
            provider: self.name("provider", given.provider.as_deref(), PROVIDER_DEFAULT),
            name: self.name("name", given.name.as_deref(), ACCOUNT_DEFAULT),
        };
        let default = Account::new(id);
        Account {
            calls_quota: self.within("calls_quota", given.calls_quota.unwrap_or(Count(0)), &CALLS_RANGE),
            warn_at_percent: match given.warn_at_percent {
                Some(percent) => self.percent("warn_at_percent", percent, &WARN_AT_RANGE),
                None => default.warn_at_percent,
            },
            daily_tokens: self.within(
                "daily_tokens",
                given.daily_tokens.unwrap_or(Count(0)),
                &TOKENS_RANGE,
            ),
            counted: match &given.counted {
                Some(kinds) => self.counted(kinds),
                None => default.counted,
            },
            thresholds: match &given.thresholds {
                Some(percents) => self.thresholds(percents),
                None => default.thresholds,
            },
            minimum_left: self.minimum_left(),
            on_unknown: given.on_unknown.unwrap_or_default(),
            use_overage: given.use_overage.unwrap_or_default(),
            models: self.models(),
            id: default.id,
        }
    }

    fn runs(&mut self) -> Names {
        let every = List(vec![RUNS_DEFAULT.to_owned()]);
        let List(patterns) = self.given.runs.as_ref().unwrap_or(&every);
        if let Err(error) = check_amount("runs", patterns) {
            self.refuse("runs", error.to_string());
            return Names::default();
        }
        let right = |pattern: &&String| match Names::new(std::slice::from_ref(*pattern)) {
            Ok(_) => true,
            Err(error) => {
                self.refuse("runs", error.to_string());
                false
            }
        };
        let right: Vec<String> = patterns.iter().filter(right).cloned().collect();
        Names::new(&right).unwrap_or_else(|error| {
            self.refuse("runs", error.to_string());
            Names::default()
        })
    }

    fn labels(&mut self) -> Labels {
        let mut labels = Labels::new();
        for (name, value) in self.given.labels.iter().flatten() {
            match check_label(name, value) {
                Ok(()) => drop(labels.insert(name.as_str().into(), value.as_str().into())),
                Err(problem) => self.refuse(&format!("labels.{name}"), problem),
            }
        }
        labels
    }

    fn name(&mut self, key: &str, given: Option<&str>, default: &str) -> Box<str> {
        let name = given.unwrap_or(default);
        if let Err(problem) = check_name(name) {
            self.refuse(key, problem);
        }
        name.into()
    }

    fn counted(&mut self, kinds: &[TokenKind]) -> TokenKinds {
        if kinds.is_empty() {
            let problem = "counts nothing: give at least one of input, output, cache_creation, cache_read";
            self.refuse("counted", problem.to_owned());
        }
        let has = |kind| kinds.contains(&kind);
        TokenKinds {
            input: has(TokenKind::Input),
            output: has(TokenKind::Output),
            cache_creation: has(TokenKind::CacheCreation),
            cache_read: has(TokenKind::CacheRead),
        }
    }

    fn thresholds(&mut self, percents: &[Count]) -> Vec<u8> {
        let mut thresholds: Vec<u8> = percents
            .iter()
            .map(|percent| self.percent("thresholds", *percent, &THRESHOLD_RANGE))
            .collect();
        thresholds.sort_unstable();
        thresholds.dedup();
        thresholds
    }

    fn minimum_left(&mut self) -> Vec<Minimum> {
        let mut minimums = BTreeMap::new();
        for (window, percent) in self.given.minimum_left.iter().flatten() {
            let key = format!("minimum_left.{window}");
            if let Err(problem) = check_name(window) {
                self.refuse(&key, problem);
                continue;
            }
            let percent = self.percent(&key, *percent, &LEFT_RANGE);
            match minimums.entry(window_name::canonical(window)) {
                Entry::Vacant(vacant) => drop(vacant.insert(percent)),
                Entry::Occupied(twice) => {
                    let problem = format!(
                        "the window {} has a minimum already, by another name",
                        twice.key()
                    );
                    self.refuse(&key, problem);
                }
            }
        }
        minimums
            .into_iter()
            .map(|(name, percent)| Minimum {
                window: name.into(),
                percent,
            })
            .collect()
    }

    fn models(&mut self) -> BTreeMap<Box<str>, Box<str>> {
        let is_model =
            |name: &str| (1..=MODEL_BYTES_MAX).contains(&name.len()) && !name.contains(char::is_control);
        let mut models = BTreeMap::new();
        for (asked, serves) in self.given.models.iter().flatten() {
            if let Some(bad) = [asked, serves].into_iter().find(|name| !is_model(name)) {
                let problem = format!(
                    "{bad:?} is not a model name: 1 to {MODEL_BYTES_MAX} bytes without control characters are allowed"
                );
                self.refuse(&format!("models.{asked}"), problem);
            }
            models.insert(asked.as_str().into(), serves.as_str().into());
        }
        models
    }

    fn percent(&mut self, key: &str, percent: Count, range: &RangeInclusive<Count>) -> u8 {
        u8::try_from(self.within(key, percent, range)).unwrap_or(u8::MAX)
    }

    fn within(&mut self, key: &str, value: Count, range: &RangeInclusive<Count>) -> u64 {
        if let Err(problem) = within(&value, range) {
            self.refuse(key, problem);
        }
        value.0
    }

    fn refuse(&mut self, key: &str, problem: String) {
        self.mistakes.push(Mistake {
            number: self.number,
            key: key.to_owned(),
            problem: problem.into(),
        });
    }
}

/// Checks the name of a provider, an account or a window: names appear in paths, URLs and tables, like run
/// ids.
///
/// # Errors
/// The allowed names.
pub fn check_name(name: &str) -> Result<(), String> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.chars().all(is_allowed)
        && name != "."
        && name != ".."
    {
        return Ok(());
    }
    Err(format!(
        "{name:?} is not a name: 1 to {NAME_BYTES_MAX} of A-Z a-z 0-9 . _ - are allowed"
    ))
}

/// One account as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DescribedAccount {
    pub provider: Box<str>,
    pub name: Box<str>,
    pub runs: Vec<String>,
    pub labels: Labels,
    pub calls_quota: u64,
    pub warn_at_percent: u8,
    pub daily_tokens: u64,
    pub counted: Vec<TokenKind>,
    pub thresholds: Vec<u8>,
    pub minimum_left: BTreeMap<Box<str>, u8>,
    pub on_unknown: OnUnknown,
    pub use_overage: bool,
    pub models: BTreeMap<Box<str>, Box<str>>,
}

impl DescribedAccount {
    fn new(rules: &Account, runs: &[String], labels: Labels) -> Self {
        let TokenKinds {
            input,
            output,
            cache_creation,
            cache_read,
        } = rules.counted;
        let counted = [
            (input, TokenKind::Input),
            (output, TokenKind::Output),
            (cache_creation, TokenKind::CacheCreation),
            (cache_read, TokenKind::CacheRead),
        ];
        Self {
            provider: rules.id.provider.clone(),
            name: rules.id.name.clone(),
            runs: runs.to_vec(),
            labels,
            calls_quota: rules.calls_quota,
            warn_at_percent: rules.warn_at_percent,
            daily_tokens: rules.daily_tokens,
            counted: counted
                .into_iter()
                .filter_map(|(counts, kind)| counts.then_some(kind))
                .collect(),
            thresholds: rules.thresholds.clone(),
            minimum_left: rules
                .minimum_left
                .iter()
                .map(|minimum| (minimum.window.clone(), minimum.percent))
                .collect(),
            on_unknown: rules.on_unknown,
            use_overage: rules.use_overage,
            models: rules.models.clone(),
        }
    }

    /// Every key with its value in TOML, in the order of the example.
    #[must_use]
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        let table = toml::Table::try_from(self).unwrap_or_default();
        KEYS.iter()
            .filter_map(|key| Some((key.name, table.get(key.name)?.to_string())))
            .collect()
    }
}
