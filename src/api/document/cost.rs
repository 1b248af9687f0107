//! Estimated costs in documents.

use crate::api::wire;
use crate::dedup::Totals;
use crate::prices::{Amounts, CostSum, Pricer};

/// The parts of sums that have a price.
#[must_use]
pub fn amounts(totals: &Totals) -> Amounts {
    // What is not said to be kept for an hour is kept for five minutes.
    let write_1h = totals.cache_creation_1h.min(totals.cache_creation);
    Amounts {
        input: totals.input,
        output: totals.output,
        cache_read: totals.cache_read,
        write_5m: totals.cache_creation.saturating_sub(write_1h),
        write_1h,
        search: totals.web_search,
    }
}

/// A cost.
#[must_use]
pub fn cost(sum: &CostSum, pricer: &Pricer<'_>) -> wire::Cost {
    let unpriced = sum.unpriced();
    let tokens = unpriced.values().copied().fold(0, i128::saturating_add);
    let names = unpriced.keys().map(|model| pricer.name(*model).to_owned());
    wire::Cost {
        estimated_cost_usd: sum.usd(),
        unpriced: (!unpriced.is_empty()).then(|| wire::Unpriced {
            models: names.collect(),
            tokens: u64::try_from(tokens.max(0)).unwrap_or(u64::MAX),
        }),
    }
}

/// The origin of the costs of a document.
#[must_use]
pub fn pricing(pricer: &Pricer<'_>) -> wire::Pricing {
    wire::Pricing {
        price_table: pricer.title(),
        assumed: pricer.assumed(),
    }
}
