//! The table of list prices that `build.rs` makes from the package genai-prices.

use super::{PriceColumn, Rates};
use crate::model::PromptSize;

#[cfg_attr(
    feature = "cost",
    expect(
        clippy::unreadable_literal,
        reason = "build.rs writes it, and people read docs/prices.md"
    )
)]
mod made {
    include!(concat!(env!("OUT_DIR"), "/prices.rs"));
}

pub use made::{MODELS, VERSION};
use made::{NAMES, RATES};

/// A model and its prices.
pub struct TableModel {
    /// As the package names it.
    pub name: &'static str,
    columns: &'static [(PriceColumn, &'static [TableStep])],
}

/// Prices from a day on.
pub struct TableStep {
    /// UTC day since 1970.
    pub from: u32,
    /// By size of the prompt, the number of the rates, and true if a threshold of the list is inside that size; `None`
    /// if there are no prices from this day on.
    sizes: Option<[(u16, bool); 4]>,
}

impl TableStep {
    /// The rates for prompts of a size, and true if longer prompts of the same size have others.
    pub fn rates(&self, prompt: PromptSize) -> Option<(Rates, bool)> {
        let (number, is_cut) = self.sizes?[prompt as usize];
        let [input, output, cache_read, write_5m, write_1h, search] = RATES[usize::from(number)];
        let rates = Rates {
            input,
            output,
            cache_read,
            write_5m,
            write_1h,
            search: (search > 0).then_some(search),
        };
        Some((rates, is_cut))
    }
}

impl TableModel {
    /// The steps of a column, in the order of time; empty if the model does not have it.
    pub fn steps(&self, column: PriceColumn) -> &'static [TableStep] {
        let found = self.columns.iter().find(|(it, _)| *it == column);
        found.map_or(&[], |(_, steps)| steps)
    }
}

/// The model of a name with dashes for dots and without a date.
pub fn find(key: &str) -> Option<&'static TableModel> {
    let at = NAMES.binary_search_by_key(&key, |(name, _)| name).ok()?;
    Some(&MODELS[usize::from(NAMES[at].1)])
}
