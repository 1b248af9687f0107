//! The places in which a run may start, for leases: accounts with their verdicts and what their windows say of
//! each scope.

use std::collections::BTreeMap;

use super::{AdmissionQuestion, EvalContext, admission_of, candidates};
use crate::model::AccountId;
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
