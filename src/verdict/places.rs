//! The places in which a run may start, for leases: accounts with their verdicts and what their windows say of
//! each scope.

use std::collections::{BTreeMap, BTreeSet};

use super::{AdmissionQuestion, EvalContext, admission_of, candidates};
use crate::config::{did_you_mean, near};
use crate::model::{AccountId, window_name};
use crate::quota::account::{Account, StartRules};
use crate::quota::admission::{Admission, Verdict};
use crate::quota::lease::capacity::Place;
use crate::quota::lease::probe::ScopeFacts;
use crate::quota::lease::{LeaseBook, LeaseChange, facts};
use crate::quota::window::NamedWindow;
use crate::store::{AccountSums, KnownAccounts};

/// An answer to a question, with the rules of the accounts that it was asked about.
#[derive(Debug)]
pub struct AskedAccounts {
    pub admission: Admission,
    rules: Vec<Account>,
}

impl AskedAccounts {
    /// The admission of a run by a question, from what is `known`.
    #[must_use]
    pub fn new(known: &KnownAccounts, context: &EvalContext<'_>, question: &AdmissionQuestion) -> Self {
        let rules = candidates(known, context, question);
        Self {
            admission: admission_of(known, context, question, &rules),
            rules: rules.into_iter().map(std::borrow::Cow::into_owned).collect(),
        }
    }

    /// Checks the class of a request. A misspelt one would be one without a reserve, so a class is one that the accounts
    /// name in `reserve`; where none of them has a reserve, any class will do.
    ///
    /// # Errors
    /// No account names it; the message has those that are named.
    pub fn check_class(&self, class: Option<&str>) -> Result<(), String> {
        let reserves = self.rules.iter().flat_map(|rules| rules.start.reserve.keys());
        let named: BTreeSet<&str> = reserves.map(|class| &**class).collect();
        let Some(class) = class.filter(|class| !named.is_empty() && !named.contains(class)) else {
            return Ok(());
        };
        let hint = near(class, named.iter().copied()).map(did_you_mean);
        let all = || {
            format!(
                "those are {}",
                named.iter().copied().collect::<Vec<_>>().join(", ")
            )
        };
        Err(format!(
            "no account has a reserve for the class {class:?}; {}; a class without one is named with 0, as in \
             reserve = {{ {class} = 0 }}",
            hint.unwrap_or_else(all)
        ))
    }

    /// Checks the names of windows in a request: those of a provider, those that were observed, and those that the
    /// accounts name.
    ///
    /// # Errors
    /// There is no window of this name.
    pub fn check_windows<'n>(
        &self,
        known: &KnownAccounts,
        mut names: impl Iterator<Item = &'n str>,
    ) -> Result<(), String> {
        let observed = known.values().flat_map(|sums| sums.windows.keys());
        let costs = self.rules.iter().flat_map(|rules| rules.start.cost.keys());
        let minimums = self.rules.iter().flat_map(|rules| &rules.minimum_left);
        let minimums = minimums.map(|minimum| &minimum.window);
        let there: BTreeSet<&str> = (observed.chain(costs).chain(minimums))
            .map(|name| window_name::canonical(name))
            .collect();
        names.try_for_each(|name| check_window(name, &there))
    }

    /// The accounts in the order of preference: the chosen one, then others that are free, then the rest. `live` are
    /// the live runs without a lease.
    #[must_use]
    pub fn places<'a>(
        &'a self,
        known: &'a KnownAccounts,
        context: &EvalContext<'_>,
        live: &BTreeMap<AccountId, u32>,
    ) -> Vec<Place<'a>> {
        let mut order: Vec<usize> = (0..self.rules.len()).collect();
        order.sort_by_key(|index| {
            let is_free = self.admission.candidates[*index].verdict == Verdict::Allow;
            (self.admission.chosen != Some(*index), !is_free)
        });
        let place = |index: usize| {
            let account = &self.rules[index];
            let assessment = &self.admission.candidates[index];
            let model = assessment.model.as_deref();
            Place {
                account,
                assessment,
                windows: windows(known, &account.id),
                scopes: scopes(known, account, model, context),
                live: live.get(&account.id).copied().unwrap_or(0),
            }
        };
        order.into_iter().map(place).collect()
    }
}

/// Checks the name of a window; `there` are those that some account has.
fn check_window(name: &str, there: &BTreeSet<&str>) -> Result<(), String> {
    let every = || {
        there
            .iter()
            .copied()
            .chain(window_name::known().map(|name| name as &str))
    };
    // A family may have any name, but rather not nearly that of a known one.
    let meant = near(name, every());
    let is_there =
        there.contains(window_name::canonical(name)) || window_name::known().any(|known| known == name);
    if is_there || window_name::is_length(name) || window_name::is_scoped(name) && meant.is_none() {
        return Ok(());
    }
    let hint = meant.map_or_else(
        || "as five_hour, seven_day, seven_day_opus or 300m".to_owned(),
        did_you_mean,
    );
    Err(format!("no window is named {name:?}; {hint}"))
}

/// The rules and the scopes of each configured account, and of others that were observed.
#[must_use]
pub fn every_scope<'a>(
    known: &'a KnownAccounts,
    context: &EvalContext<'a>,
) -> Vec<(&'a AccountId, StartRules, Vec<ScopeFacts>)> {
    let configured = context.accounts.rules();
    let others = known
        .keys()
        .filter(|id| configured.iter().all(|rules| rules.id != **id));
    let with_rules = |account: &Account| (account.start.clone(), scopes(known, account, None, context));
    let of_configured = configured.iter().map(|account| {
        let (rules, scopes) = with_rules(account);
        (&account.id, rules, scopes)
    });
    let of_others = others.map(|id| {
        let (rules, scopes) = with_rules(&Account::new(id.clone()));
        (id, rules, scopes)
    });
    of_configured.chain(of_others).collect()
}

fn windows<'a>(known: &'a KnownAccounts, account: &AccountId) -> Vec<NamedWindow<'a>> {
    let windows = known.get(account).into_iter().flat_map(|sums| &sums.windows);
    windows.map(|(name, state)| NamedWindow { name, state }).collect()
}

fn scopes(
    known: &KnownAccounts,
    account: &Account,
    model: Option<&str>,
    context: &EvalContext<'_>,
) -> Vec<ScopeFacts> {
    let nothing = AccountSums::default();
    let sums = known.get(&account.id).unwrap_or(&nothing);
    facts(
        &windows(known, &account.id),
        &sums.throttles,
        sums.served_at,
        &account.minimum_left,
        model,
        context.now,
    )
}

/// The changes of leases and recoveries by the clock, and by what was observed.
#[must_use]
pub fn swept(book: &LeaseBook, known: &KnownAccounts, context: &EvalContext<'_>) -> LeaseChange {
    // What is not read yet may be what a probe waits for, or a run that keeps its lease.
    if context.unseen.is_some() {
        return LeaseChange::default();
    }
    let every = every_scope(known, context);
    let facts: Vec<(&AccountId, &StartRules, &[ScopeFacts])> = (every.iter())
        .map(|(account, rules, scopes)| (*account, rules, scopes.as_slice()))
        .collect();
    book.sweep(&facts, context.now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::admission::admit;

    fn asked(reserves: &[&[(&str, f64)]]) -> AskedAccounts {
        let rules = reserves.iter().map(|reserve| {
            let mut account = Account::new(AccountId::default());
            account.start.reserve = reserve
                .iter()
                .map(|(class, share)| ((*class).into(), *share))
                .collect();
            account
        });
        AskedAccounts {
            rules: rules.collect(),
            admission: admit(Vec::new(), None, 0),
        }
    }

    #[test]
    fn a_class_is_one_that_has_a_reserve_unless_there_is_none() {
        let free = asked(&[&[], &[]]);
        for class in [None, Some("high"), Some("anything")] {
            assert_eq!(free.check_class(class), Ok(()), "{class:?}");
        }
        let kept = asked(&[&[("high", 0.1)], &[], &[("night", 0.0)]]);
        for class in [None, Some("high"), Some("night")] {
            assert_eq!(kept.check_class(class), Ok(()), "{class:?}");
        }
        for (class, hint) in [
            ("hihg", "did you mean `high`?"),
            ("batch", "those are high, night"),
        ] {
            let why = kept.check_class(Some(class)).unwrap_err();
            let expected = format!(
                "no account has a reserve for the class {class:?}; {hint}; a class without one is named with 0, as in \
                 reserve = {{ {class} = 0 }}"
            );
            assert_eq!(why, expected);
        }
    }

    #[test]
    fn the_window_of_a_cost_exists() {
        let there = BTreeSet::from(["slow-5h", "weekly_scoped:own"]);
        let check = |name: &str| check_window(name, &there);
        for name in [
            "five_hour",
            "5h",
            "weekly",
            "tokens",
            "seven_day_opus",
            "seven_day_haiku",
            "weekly_scoped:Claude Opus",
            "weekly_scoped:own",
            "codex_primary",
            "codex:spark:seven_day",
            "codex:spark:90m",
            "300m",
            "slow-5h",
        ] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
        for (name, hint) in [
            ("five_huor", "did you mean `five_hour`?"),
            ("fivehour", "did you mean `five_hour`?"),
            ("seven_days", "did you mean `seven_day`?"),
            ("seven_day_opuss", "did you mean `seven_day_opus`?"),
            ("slow-5hr", "did you mean `slow-5h`?"),
            (
                "codex:spark:week",
                "as five_hour, seven_day, seven_day_opus or 300m",
            ),
            ("m", "as five_hour, seven_day, seven_day_opus or 300m"),
            ("\u{202e}x", "as five_hour, seven_day, seven_day_opus or 300m"),
        ] {
            let expected = format!("no window is named {name:?}; {hint}");
            assert_eq!(check(name), Err(expected), "{name}");
        }
    }
}
