//! The counter of estimated costs.
//!
//! It begins at zero with the process and grows by what is counted since: a total at the prices of another table, or of
//! a corrected one, would fall or jump, and Prometheus takes a counter that falls for restarted.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::encode::Family;
use crate::api::document::cost::amounts;
use crate::dedup::Totals;
use crate::model::ModelNumber;
use crate::prices::{CostSum, PriceList, Pricer};
use crate::store::ClassKey;

/// Sums by everything that a price depends on, except time.
pub type ClassSums = BTreeMap<ClassKey, Totals>;

/// The costs of what was counted since the start.
#[derive(Debug, Default)]
pub struct CostMeter {
    /// The sums of the last scrape, at first of the start; `None` if the store did not answer yet.
    last: Option<ClassSums>,
    /// By provider and model, in dollars: the sum so far, and its highest value.
    usd: BTreeMap<(Box<str>, Arc<str>), (f64, f64)>,
}

impl CostMeter {
    /// Takes the sums of the start.
    pub fn begin(&mut self, sums: ClassSums) {
        self.last = Some(sums);
    }

    /// Adds the costs of what was counted since the last call, at the prices of a UTC day since 1970.
    pub fn advance(&mut self, sums: ClassSums, prices: &PriceList, day: u32) {
        let Some(last) = self.last.take() else {
            self.last = Some(sums);
            return;
        };
        let mut pricer = Pricer::new(prices);
        let nothing = Totals::default();
        for (number, (key, now)) in (ModelNumber::MIN..).zip(&sums) {
            let before = last.get(key).unwrap_or(&nothing);
            if now == before {
                continue;
            }
            let part = pricer.number(number, &key.model, key.dialect, key.class);
            let mut usd = |totals: &Totals| {
                let mut sum = CostSum::default();
                pricer.add(part, day, &amounts(totals), &mut sum);
                sum.usd()
            };
            // Without a price there is no sample, rather than a zero.
            if let Some((now, before)) = usd(now).zip(usd(before)) {
                let name = (key.account.provider.clone(), Arc::clone(&key.model));
                let (sum, peak) = self.usd.entry(name).or_default();
                *sum += now - before;
                *peak = sum.max(*peak);
            }
        }
        self.last = Some(sums);
    }

    /// The counter; `label` bounds the names of models.
    pub fn family<'m>(&'m self, label: impl Fn(&'m str) -> &'m str) -> Family {
        let mut by_label: BTreeMap<(&str, &str), f64> = BTreeMap::new();
        for ((provider, model), (_, peak)) in &self.usd {
            *by_label.entry((provider, label(model))).or_default() += peak;
        }
        let mut family = Family::counter(
            "tokentail_cost_usd",
            "Estimated cost of what was counted since the start, at the list prices of the time of counting, in US \
             dollars: no bill. Assumes the standard tier where lines name none; usage without a known price is left out.",
        );
        for ((provider, model), usd) in by_label {
            family.add(&[("provider", provider), ("model", model)], usd);
        }
        family
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AccountId, Dialect, PriceClass};
    use crate::prices::Rates;
    use crate::prices::operator::{OperatorModel, OperatorPrices, Pattern};

    const DAY: u32 = 20_786;

    fn key(model: &str) -> ClassKey {
        ClassKey {
            account: AccountId {
                provider: "codex".into(),
                name: "default".into(),
            },
            model: model.into(),
            dialect: Some(Dialect::Codex),
            class: PriceClass::default(),
        }
    }

    fn sums(known: i128, unknown: i128) -> ClassSums {
        let totals = |input| Totals {
            input,
            ..Totals::default()
        };
        [
            (key("gpt-6.1-sol"), totals(known)),
            (key("gpt-6.2-sol"), totals(unknown)),
        ]
        .into()
    }

    fn usd(meter: &CostMeter) -> Vec<f64> {
        meter.usd.values().map(|(_, peak)| *peak).collect()
    }

    #[test]
    fn only_what_is_counted_later_is_in_it_and_it_never_falls() {
        let list = PriceList::default();
        let rates = Rates {
            input: 1_000_000,
            ..Rates::default()
        };
        let cheaper = PriceList::new(Some(OperatorPrices {
            models: vec![OperatorModel {
                models: Pattern::Exactly("gpt-6-1-sol".into()),
                name: "gpt-6.1-sol".into(),
                since: 0,
                sizes: [rates; 4],
            }],
            ..OperatorPrices::default()
        }));
        let mut meter = CostMeter::default();
        meter.begin(sums(5_000_000, 0));
        meter.advance(sums(5_000_000, 0), &list, DAY);
        assert!(usd(&meter).is_empty());
        meter.advance(sums(6_000_000, 1_000_000), &list, DAY);
        assert_eq!(usd(&meter), [2.0]);
        // Another table changes what is counted later.
        meter.advance(sums(6_000_000, 1_000_000), &cheaper, DAY);
        assert_eq!(usd(&meter), [2.0]);
        meter.advance(sums(7_000_000, 1_000_000), &cheaper, DAY);
        assert_eq!(usd(&meter), [3.0]);
        // A better copy has less.
        meter.advance(sums(6_500_000, 1_000_000), &cheaper, DAY);
        assert_eq!(usd(&meter), [3.0]);
        meter.advance(sums(7_500_000, 1_000_000), &cheaper, DAY);
        assert_eq!(usd(&meter), [3.5]);
    }

    #[test]
    fn without_sums_of_the_start_it_begins_with_the_first() {
        let mut meter = CostMeter::default();
        meter.advance(sums(1_000_000, 0), &PriceList::default(), DAY);
        meter.advance(sums(2_000_000, 0), &PriceList::default(), DAY);
        assert_eq!(usd(&meter), [2.0]);
    }
}
