//! The metric families of leases and recoveries.

use super::encode::Family;
use crate::api::document::leases;
use crate::api::leases::LeaseView;
use crate::quota::lease::LeaseState;
use crate::quota::lease::capacity::{capacity, cost_of};
use crate::store::KnownAccounts;
use crate::verdict::places::{AskedAccounts, every_scope};
use crate::verdict::{AdmissionQuestion, EvalContext};

const STATES: [&str; 5] = ["closed", "open", "due", "half_open", "ramp"];

/// The families of leases.
pub fn families(view: &LeaseView, known: &KnownAccounts, context: &EvalContext<'_>) -> [Family; 4] {
    let mut held = Family::gauge("tokentail_leases", "Leases that have not ended, by state.");
    let mut free = Family::gauge(
        "tokentail_account_capacity",
        "Further runs that leases would be granted for; no sample where nothing bounds them.",
    );
    let mut recovery = Family::gauge(
        "tokentail_account_recovery",
        "Recovery of an account, or of a family of models, from a block: 1 for the current state.",
    );
    let everything = AskedAccounts::new(known, context, &AdmissionQuestion::default());
    for place in everything.places(known, context, &view.live) {
        let account = place.account;
        let labels = [
            ("provider", &*account.id.provider),
            ("account", &*account.id.name),
        ];
        for state in [LeaseState::Granted, LeaseState::Bound] {
            let count = view
                .book
                .of_account(&account.id)
                .filter(|lease| lease.state() == state)
                .count();
            held.add(
                &[labels.as_slice(), &[("state", state.into_str())]].concat(),
                count as u64,
            );
        }
        let cost = cost_of(account, &view.book, None, &std::collections::BTreeMap::new());
        if let Some(runs) = capacity(&place, &view.book, None, &cost, context.now).free {
            free.add(&labels, u64::from(runs));
        }
    }
    for (id, rules, scopes) in every_scope(known, context) {
        let open = leases::recoveries(id, &rules, &scopes, &view.book, context.now);
        for facts in &scopes {
            let of_scope = open.iter().find(|recovery| *recovery.scope == *facts.scope);
            let state = of_scope.map_or("closed", |recovery| &recovery.state);
            let labels = [
                ("provider", &*id.provider),
                ("account", &*id.name),
                ("scope", &*facts.scope),
            ];
            recovery.add_one_of(&labels, "state", &STATES, state);
        }
    }
    let granted = Family::counter(
        "tokentail_leases_granted",
        "Leases granted since the database was made.",
    );
    [held, free, recovery, granted.of(view.book.last)]
}
