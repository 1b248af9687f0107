//! Estimated costs.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An estimate of what usage costs at list prices, beside its sums.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Cost {
    /// In US dollars at list prices, of all usage with a known price: an estimate and no bill. `null` if no price is
    /// known.
    #[serde(default)]
    #[schema(required)]
    pub estimated_cost_usd: Option<f64>,
    /// The usage without a known price, if there is any: the estimate leaves it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub unpriced: Option<Unpriced>,
}

/// Usage without a known price.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Unpriced {
    pub models: BTreeSet<String>,
    pub tokens: u64,
}

/// The origin of the estimates of a document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pricing {
    /// The list of prices, as in `genai-prices 0.2.1 + prices.toml`.
    #[serde(default)]
    #[schema(required)]
    pub price_table: String,
    /// What the estimates assume, as in `codex: standard tier`.
    #[serde(default)]
    #[schema(required)]
    pub assumed: Vec<String>,
}
