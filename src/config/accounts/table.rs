//! One `[[account]]` table of the file: its keys, its checks, and the rules in it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::ops::RangeInclusive;

use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::super::mistakes::{MistakeText, did_you_mean, near};
use super::super::units::{Count, List, Period, Share, within};
use super::super::{Key, key};
use super::poll::PollTable;
use crate::globs::{Names, check_amount};
use crate::model::letters::is_unsafe;
use crate::model::window_name;
use crate::model::{
    ACCOUNT_DEFAULT, ACCOUNT_NAME_BYTES_MAX, AccountId, Labels, PROVIDER_DEFAULT, check_label,
    is_account_name,
};
use crate::quota::account::{Account, Minimum, OnUnknown, TokenKinds};

/// Longest name of a model, in bytes.
const MODEL_BYTES_MAX: usize = 256;
/// Matches every run.
pub(super) const RUNS_DEFAULT: &str = "*";

const CALLS_RANGE: RangeInclusive<Count> = Count(0)..=Count(1_000_000_000);
const TOKENS_RANGE: RangeInclusive<Count> = Count(0)..=Count(1_000_000_000_000_000);
const WARN_AT_RANGE: RangeInclusive<Count> = Count(1)..=Count(100);
/// Above 100 for windows that a provider lets be overdrawn.
const THRESHOLD_RANGE: RangeInclusive<Count> = Count(1)..=Count(200);
const LEFT_RANGE: RangeInclusive<Count> = Count(0)..=Count(100);

/// Every key of an account, in the order of the example.
pub(in crate::config) const KEYS: &[Key] = &[
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
    key(
        "concurrency",
        "0",
        "Runs at a time from which no lease is granted, 0 to 10000; 0 for no limit.",
    ),
    key(
        "reserve",
        "{}",
        "Share of each window that is kept for leases of a class, as in { high = 0.10 }",
    ),
    key(
        "ramp",
        "{ start = 1, step = 1, every = \"30s\" }",
        "Runs after a block: first `start`, then `step` more after each `every` (1s to 1h) with a response.",
    ),
    key(
        "cost",
        "{}",
        "Share of a window that a run is expected to use, as in { five_hour = 0.02 }; learned without it.",
    ),
    key(
        "poll",
        "false",
        "The account's own numbers, asked for: a table with via = \"claude-cli\", \"cache-file\", \"usage-api\" or \"wham\"",
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
    pub concurrency: Option<Count>,
    pub reserve: Option<BTreeMap<String, Share>>,
    pub ramp: Option<PartialRamp>,
    pub cost: Option<BTreeMap<String, Share>>,
    pub poll: Option<PollTable>,
}

/// The table of `ramp`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table with the keys of a ramp")]
pub struct PartialRamp {
    pub start: Option<Count>,
    pub step: Option<Count>,
    pub every: Option<Period>,
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
pub(in crate::config) fn tables<'de, D: Deserializer<'de>>(
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
pub(in crate::config) struct Mistake {
    /// Index of the table, from 0.
    number: usize,
    /// Key in the table.
    key: String,
    problem: MistakeText,
}

impl Mistake {
    /// The place in the file.
    pub(in crate::config) fn place(&self) -> String {
        format!("account[{}].{}", self.number, self.key)
    }

    pub(in crate::config) fn problem(&self) -> MistakeText {
        let key = format!("account.{}", self.key);
        self.problem.clone().of_key(&key)
    }
}

/// Names that are allowed but probably misspelt: similar to a known provider or window.
pub(in crate::config) fn doubts(tables: &[PartialAccount]) -> Vec<Mistake> {
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
        let minimums = given.minimum_left.iter().flatten();
        let minimums = minimums.map(|(window, _)| ("minimum_left", window));
        let costs = given.cost.iter().flatten();
        let costs = costs.map(|(window, _)| ("cost", window));
        for (key, window) in minimums.chain(costs) {
            if window_name::is_fixed(window) {
                continue;
            }
            if let Some(meant) = near(window, window_name::known()) {
                let what = format!("no known window is named {window:?}");
                found.push(doubt(number, format!("{key}.{window}"), what, meant));
            }
        }
    }
    found
}

/// A table that is being checked.
pub(super) struct Table<'a> {
    number: usize,
    /// True if the file's tables have no mistake of their own: only then a key is missing.
    pub(super) is_whole: bool,
    pub(super) given: &'a PartialAccount,
    pub(super) mistakes: Vec<Mistake>,
}

impl<'a> Table<'a> {
    pub(super) fn new(number: usize, given: &'a PartialAccount, is_whole: bool) -> Self {
        Self {
            number,
            is_whole,
            given,
            mistakes: Vec::new(),
        }
    }

    pub(super) fn rules(&mut self) -> Account {
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
            start: self.start(),
            poll: self.poll(),
            id: default.id,
        }
    }

    pub(super) fn runs(&mut self) -> Names {
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

    pub(super) fn labels(&mut self) -> Labels {
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
        let given = self.given.minimum_left.as_ref();
        let minimums = self.by_window("minimum_left", given, |table, key, percent| {
            table.percent(key, percent, &LEFT_RANGE)
        });
        minimums
            .into_iter()
            .map(|(name, percent)| Minimum {
                window: name.into(),
                percent,
            })
            .collect()
    }

    /// Checked values by canonical names of windows, each of which has one.
    pub(super) fn by_window<'b, T: Copy, C>(
        &mut self,
        key: &str,
        given: Option<&'b BTreeMap<String, T>>,
        check: impl Fn(&mut Self, &str, T) -> C,
    ) -> BTreeMap<&'b str, C> {
        let mut checked = BTreeMap::new();
        for (window, value) in given.into_iter().flatten() {
            let key = format!("{key}.{window}");
            if let Err(problem) = check_name(window) {
                self.refuse(&key, problem);
                continue;
            }
            let value = check(self, &key, *value);
            match checked.entry(window_name::canonical(window)) {
                Entry::Vacant(vacant) => drop(vacant.insert(value)),
                Entry::Occupied(twice) => {
                    let problem = format!("the window {} is there already, by another name", twice.key());
                    self.refuse(&key, problem);
                }
            }
        }
        checked
    }

    fn models(&mut self) -> BTreeMap<Box<str>, Box<str>> {
        let is_model = |name: &str| (1..=MODEL_BYTES_MAX).contains(&name.len()) && !name.contains(is_unsafe);
        let mut models = BTreeMap::new();
        for (asked, serves) in self.given.models.iter().flatten() {
            if let Some(bad) = [asked, serves].into_iter().find(|name| !is_model(name)) {
                let problem = format!(
                    "{bad:?} is not a model name: 1 to {MODEL_BYTES_MAX} bytes without control characters and marks of direction are allowed"
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

    pub(super) fn within(&mut self, key: &str, value: Count, range: &RangeInclusive<Count>) -> u64 {
        if let Err(problem) = within(&value, range) {
            self.refuse(key, problem);
        }
        value.0
    }

    pub(super) fn refuse(&mut self, key: &str, problem: impl Into<MistakeText>) {
        self.mistakes.push(Mistake {
            number: self.number,
            key: key.to_owned(),
            problem: problem.into(),
        });
    }
}

/// Checks the name of a provider, an account, a window or a class: names appear in paths, URLs and tables, like run
/// ids.
///
/// # Errors
/// The allowed names.
pub fn check_name(name: &str) -> Result<(), String> {
    if is_account_name(name) {
        return Ok(());
    }
    Err(format!(
        "{name:?} is not a name: 1 to {ACCOUNT_NAME_BYTES_MAX} of A-Z a-z 0-9 . _ - are allowed"
    ))
}
