//! Checks of pruned days: their responses are tombstones, so their sums are compared with each other and with what is
//! left of the responses.

use std::collections::BTreeMap;

use super::derived::Derived;
use super::names::SumNames;
use super::pruned_days::contains;
use crate::dedup::Totals;
use crate::model::{DAY_QUARTERS, MINUTE_MS, Millis, QUARTER_MS, SessionNumber};
use crate::store::horizon::{Horizons, day_name};
use crate::store::prune::responses_in;
use crate::store::schema::day_of;

/// Passes a sentence for each difference that the comparison of sums with sums does not find.
pub fn check(derived: &Derived, names: &SumNames, each: &mut impl FnMut(String)) {
    let pruned = &derived.pruned;
    let Horizons {
        details,
        keys,
        totals,
    } = pruned.horizons;
    for ((quarter, of), left) in &pruned.left {
        let sum = derived
            .quarters
            .get(&(*quarter, *of))
            .copied()
            .unwrap_or_default();
        if quarter / DAY_QUARTERS >= totals && !contains(&sum, left) {
            let at = day_name(quarter / DAY_QUARTERS);
            each(format!(
                "a quarter-hour of the pruned day {at} of {}: the store keeps less than the responses that are left",
                names.series(*of)
            ));
        }
    }
    let mut left: BTreeMap<u32, i64> = BTreeMap::new();
    for ((quarter, _), sum) in &pruned.left {
        *left.entry(quarter / DAY_QUARTERS).or_default() += responses_in(sum);
    }
    let days = pruned
        .counted
        .keys()
        .chain(pruned.tombstones.keys())
        .chain(left.keys());
    let mut days: Vec<u32> = days
        .copied()
        .filter(|day| (keys.max(totals)..details).contains(day))
        .collect();
    days.sort_unstable();
    days.dedup();
    let of = |counts: &BTreeMap<u32, i64>, day| counts.get(&day).copied().unwrap_or(0);
    for day in days {
        let (sums, kept) = (
            of(&pruned.counted, day),
            of(&pruned.tombstones, day) + of(&left, day),
        );
        if sums != kept {
            each(format!(
                "pruned day {}: its sums have {sums} responses, and there are {kept} keys",
                day_name(day)
            ));
        }
    }
    check_minutes(derived, names, each);
}

/// The minutes of an account add up to its quarters, but for responses without a time.
fn check_minutes(derived: &Derived, names: &SumNames, each: &mut impl FnMut(String)) {
    let details = derived.pruned.horizons.details;
    let mut minutes: BTreeMap<(u32, u32), Totals> = BTreeMap::new();
    for ((account, minute), sum) in &derived.minutes {
        let at = Millis::from(*minute) * MINUTE_MS;
        if day_of(at) < details {
            let quarter = u32::try_from(at / QUARTER_MS).unwrap_or(u32::MAX);
            *minutes.entry((*account, quarter)).or_default() += *sum;
        }
    }
    if minutes.is_empty() {
        return;
    }
    let mut quarters: BTreeMap<(u32, u32), Totals> = BTreeMap::new();
    for ((quarter, of), sum) in &derived.quarters {
        if let Some(series) = names.series.get(of) {
            *quarters.entry((series.account, *quarter)).or_default() += *sum;
        }
    }
    for ((account, quarter), sum) in minutes {
        let day = quarter / DAY_QUARTERS;
        let of_quarter = quarters.get(&(account, quarter)).copied().unwrap_or_default();
        if day >= derived.pruned.horizons.totals && !contains(&of_quarter, &sum) {
            each(format!(
                "pruned day {} of account {}: its minutes have more than its quarter-hours",
                day_name(day),
                names.account(account)
            ));
        }
    }
}

/// The sums of sessions as they must be: once responses were pruned, at least those of the responses that are left.
pub fn session_sums(
    derived: &Derived,
    stored: impl IntoIterator<Item = (SessionNumber, Totals)>,
) -> BTreeMap<SessionNumber, Totals> {
    let mut must_be = derived.session_sums.clone();
    if derived.pruned.horizons.details > 0 {
        for (session, sum) in stored {
            let least = must_be.get(&session).copied().unwrap_or_default();
            if contains(&sum, &least) {
                must_be.insert(session, sum);
            }
        }
    }
    must_be
}
