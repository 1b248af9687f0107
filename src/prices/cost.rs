//! Amounts of usage and what they cost.

use std::collections::BTreeMap;

use super::Price;
use crate::model::ModelNumber;

/// 10^-18 dollars in a dollar: the unit of a price in millionths per million tokens with a factor in millionths.
const ATTO: f64 = 1e18;
/// A price of searches is in millionths per thousand, without a factor.
const SEARCH_ATTO: i128 = 1_000_000_000;

/// Sums of what has a price. Output contains thinking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    pub input: i128,
    pub output: i128,
    pub cache_read: i128,
    /// Writes that are not said to be for an hour.
    pub write_5m: i128,
    pub write_1h: i128,
    pub search: i128,
}

impl Amounts {
    /// All tokens.
    #[must_use]
    pub fn tokens(&self) -> i128 {
        let kinds = [
            self.input,
            self.output,
            self.cache_read,
            self.write_5m,
            self.write_1h,
        ];
        kinds.into_iter().fold(0, i128::saturating_add)
    }

    /// The cost at a price, in 10^-18 dollars; a search without a price costs nothing here.
    pub(super) fn cost(&self, price: &Price) -> i128 {
        let rates = &price.rates;
        let tokens = [
            (self.input, rates.input),
            (self.output, rates.output),
            (self.cache_read, rates.cache_read),
            (self.write_5m, rates.write_5m),
            (self.write_1h, rates.write_1h),
        ];
        let of = |(amount, rate): (i128, u32)| amount.saturating_mul(i128::from(rate));
        let tokens = tokens.into_iter().map(of).fold(0, i128::saturating_add);
        let search = of((self.search, rates.search.unwrap_or(0))).saturating_mul(SEARCH_ATTO);
        tokens
            .saturating_mul(i128::from(price.factor))
            .saturating_add(search)
    }
}

/// A sum of costs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CostSum {
    /// In 10^-18 dollars.
    pub(super) atto: i128,
    /// True if anything in it has a price.
    pub(super) is_priced: bool,
    /// The tokens without a price, by model.
    pub(super) unpriced: BTreeMap<ModelNumber, i128>,
}

impl CostSum {
    /// In dollars; `None` if there is only usage without a price.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a cost is shown with few digits")]
    pub fn usd(&self) -> Option<f64> {
        (self.is_priced || self.unpriced.is_empty()).then_some(self.atto as f64 / ATTO)
    }

    /// The models and the number of tokens without a price.
    #[must_use]
    pub const fn unpriced(&self) -> &BTreeMap<ModelNumber, i128> {
        &self.unpriced
    }

    /// Adds another sum.
    pub fn add(&mut self, other: &Self) {
        self.atto = self.atto.saturating_add(other.atto);
        self.is_priced |= other.is_priced;
        for (model, tokens) in &other.unpriced {
            let sum = self.unpriced.entry(*model).or_default();
            *sum = sum.saturating_add(*tokens);
        }
    }
}
