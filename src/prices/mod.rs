//! List prices of models, and costs of sums of tokens at these prices.
//!
//! Pure. Costs are estimates: subscriptions are flat, and discounts are unknown. **Invariant**: an unknown price is
//! never zero; what has none is reported with its tokens.
//!
//! Prices are computed when they are read: the sums are separate by all that prices depend on (`PriceClass`, day), so
//! a corrected table corrects the past too. Amounts are integers, so sums of costs do not depend on their order.

mod cost;
mod name;
pub mod operator;
mod ours;
mod pricer;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use crate::model::{Geography, PriceClass, PromptSize, Speed, Tier};

pub use cost::{Amounts, CostSum};
use operator::{OperatorModel, OperatorPrices, best};
pub use pricer::{PriceNumber, Pricer};
use table::TableModel;

/// A factor of one, in thousandths.
pub const FACTOR_ONE: u32 = 1_000;

/// Prices of tokens in millionths of a dollar per million, and of web searches per thousand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    pub input: u32,
    pub output: u32,
    pub cache_read: u32,
    pub write_5m: u32,
    pub write_1h: u32,
    /// `None` if it is unknown.
    pub search: Option<u32>,
}

/// The columns of a price list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PriceColumn {
    Standard,
    Batch,
    Priority,
    Flex,
    Fast,
}

/// The origin of a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
pub enum PriceSource {
    #[strum(serialize = "genai-prices")]
    Table,
    #[strum(serialize = "tokentail")]
    Ours,
    #[strum(serialize = "prices.toml")]
    Operator,
}

/// The price of one class of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    pub rates: Rates,
    /// Multiplier of all tokens, in millionths.
    pub factor: u64,
    pub source: PriceSource,
    /// True if longer prompts of the same class have a higher price.
    pub is_cut: bool,
}

/// The prices of one class of a model over time: the first UTC day of each, since 1970.
pub type PriceSteps = Vec<(u32, Option<Price>)>;

/// The price on a day; `None` if it is unknown.
#[must_use]
pub fn price_on(steps: &PriceSteps, day: u32) -> Option<&Price> {
    let at = steps.iter().rev().find(|(from, _)| *from <= day);
    at.and_then(|(_, price)| price.as_ref())
}

/// All prices that are known: the operator's, the table's, and our own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PriceList {
    operator: Option<OperatorPrices>,
}

/// The rows of a model.
struct ModelRows<'p> {
    operator: Option<&'p OperatorModel>,
    table: Option<&'static TableModel>,
    ours: Option<Rates>,
    /// The name without dates, with dashes for dots.
    key: String,
    /// The name says that it is fast.
    is_fast: bool,
}

impl PriceList {
    /// The prices of the tables, overridden by those of the operator's file, if there is one.
    #[must_use]
    pub const fn new(operator: Option<OperatorPrices>) -> Self {
        Self { operator }
    }

    /// The name of the list in documents.
    #[must_use]
    pub fn title(&self) -> String {
        let operator = if self.operator.is_some() {
            " + prices.toml"
        } else {
            ""
        };
        match table::VERSION {
            Some(version) => format!("genai-prices {version}{operator}"),
            None => format!("no list in this program{operator}"),
        }
    }

    /// The names of all models with a price; one of the operator's may end with a star.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let operator = self.operator.iter().flat_map(|operator| &operator.models);
        let names = operator.map(|row| row.name.to_string());
        let ours = ours::MODELS.iter().map(|(name, _)| (*name).to_owned());
        let table = table::MODELS.iter().map(|model| model.name.to_owned());
        let names: BTreeSet<String> = names.chain(ours).chain(table).collect();
        names.into_iter().collect()
    }

    /// The prices of a class of a model over time.
    #[must_use]
    pub fn steps(&self, model: &str, class: PriceClass) -> PriceSteps {
        let rows = self.rows(model);
        let mut steps = self.base_steps(&rows, class);
        if let Some(model) = rows.operator {
            let service = class.service;
            let is_standard = matches!(service.tier, Tier::Unknown | Tier::Standard);
            let factor = self.factor(&rows, class).filter(|_| is_standard);
            let price = factor.map(|factor| Price {
                rates: model.sizes[class.prompt as usize],
                factor,
                source: PriceSource::Operator,
                is_cut: false,
            });
            steps.retain(|(from, _)| *from < model.since);
            steps.push((model.since, price));
        }
        steps
    }

    /// The same without the operator's prices of models.
    fn base_steps(&self, rows: &ModelRows<'_>, class: PriceClass) -> PriceSteps {
        let column = match class.service.tier {
            Tier::Unknown | Tier::Standard => PriceColumn::Standard,
            Tier::Batch => PriceColumn::Batch,
            Tier::Priority => PriceColumn::Priority,
            Tier::Flex => PriceColumn::Flex,
            Tier::Other => return PriceSteps::new(),
        };
        let mut factor = self.factor(rows, class);
        if let Some(table) = rows.table {
            let mut steps = table.steps(column);
            if factor.is_none()
                && column == PriceColumn::Standard
                && !table.steps(PriceColumn::Fast).is_empty()
            {
                // The list has prices of fast mode instead of a factor.
                steps = table.steps(PriceColumn::Fast);
                factor = self.us_factor(&rows.key).map(|us| product(us, FACTOR_ONE));
            }
            let step = |step: &table::TableStep| {
                let price = step.rates(class.prompt).zip(factor);
                let price = price.map(|((rates, is_cut), factor)| Price {
                    rates,
                    factor,
                    source: PriceSource::Table,
                    is_cut,
                });
                (step.from, price)
            };
            return steps.iter().map(step).collect();
        }
        let rates = rows.ours.filter(|_| column == PriceColumn::Standard);
        let price = rates.zip(factor).map(|(rates, factor)| Price {
            rates,
            factor,
            source: PriceSource::Ours,
            is_cut: false,
        });
        price.map(|price| (0, Some(price))).into_iter().collect()
    }

    /// The multiplier of a class, in millionths; `None` if it is unknown.
    fn factor(&self, rows: &ModelRows<'_>, class: PriceClass) -> Option<u64> {
        let is_fast = rows.is_fast || class.service.speed == Speed::Fast;
        let fast = if is_fast {
            self.fast_factor(&rows.key)?
        } else {
            FACTOR_ONE
        };
        let is_us = class.service.geography == Geography::Us;
        let us = if is_us {
            self.us_factor(&rows.key)?
        } else {
            FACTOR_ONE
        };
        Some(product(fast, us))
    }

    fn fast_factor(&self, key: &str) -> Option<u32> {
        let operator = self.operator.as_ref().map_or(&[][..], |operator| &operator.fast);
        let operator = best(operator, |row| &row.models, key).map(|row| row.factor);
        operator.or_else(|| best(&ours::FAST, |row| &row.models, key).map(|row| row.factor))
    }

    fn us_factor(&self, key: &str) -> Option<u32> {
        let operator = self.operator.as_ref().map_or(&[][..], |operator| &operator.us);
        let operator = best(operator, |row| &row.models, key).map(|row| row.factor);
        operator.or_else(|| match best(&ours::US, |row| &row.models, key) {
            Some(row) => Some(row.factor),
            None if key.starts_with("claude") => None,
            None => Some(FACTOR_ONE),
        })
    }

    fn rows(&self, model: &str) -> ModelRows<'_> {
        let bare = name::bare(model);
        let rows = self.rows_of(&bare, false);
        let is_known = rows.table.is_some()
            || rows.ours.is_some()
            || (rows.operator).is_some_and(|row| row.models.rank(&name::key(&bare)) == Some(usize::MAX));
        match name::without_fast(&bare) {
            Some(start) if !is_known => self.rows_of(&name::bare(start), true),
            _ => rows,
        }
    }

    fn rows_of(&self, bare: &str, is_fast: bool) -> ModelRows<'_> {
        let mut keys = vec![name::key(bare)];
        keys.extend(name::without_date(bare).map(name::key));
        let operator = self
            .operator
            .as_ref()
            .map_or(&[][..], |operator| &operator.models);
        let own = |key: &String| ours::MODELS.iter().find(|(name, _)| name == key);
        ModelRows {
            operator: (keys.iter()).find_map(|key| best(operator, |row| &row.models, key)),
            table: keys.iter().find_map(|key| table::find(key)),
            ours: keys.iter().find_map(own).map(|(_, rates)| *rates),
            key: keys.pop().unwrap_or_default(),
            is_fast,
        }
    }
}

/// The product of two factors in thousandths, in millionths.
fn product(one: u32, other: u32) -> u64 {
    u64::from(one) * u64::from(other)
}

/// The sizes of prompts, from the shortest.
pub const SIZES: [PromptSize; 4] = [
    PromptSize::UpTo100k,
    PromptSize::UpTo200k,
    PromptSize::UpTo272k,
    PromptSize::More,
];
