//! Estimated costs for people. An unknown cost is never shown as zero.

use std::fmt::Write as _;

use super::numbers::{counted, grouped};
use super::text;
use crate::api::wire::{Cost, Pricing};

/// Most models without a price that a note names.
const NAMED_MAX: usize = 5;
/// The note below costs without an origin.
pub const ESTIMATE: &str = "cost: an estimate at list price, no bill";
/// Parts of a dollar.
const CENTS: f64 = 100.0;

/// True if a document has costs: a collector of an earlier version sends none.
#[must_use]
pub fn is_known(cost: &Cost) -> bool {
    cost.estimated_cost_usd.is_some() || cost.unpriced.is_some()
}

/// `$1,234.50`; `$12.34 +?` if a part has no price, `-` if nothing has one.
#[must_use]
pub fn dollars(cost: &Cost) -> String {
    let Some(usd) = cost.estimated_cost_usd else {
        return "-".to_owned();
    };
    let rest = if cost.unpriced.is_some() { " +?" } else { "" };
    format!("{}{rest}", amount(usd))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast of floating point saturates"
)]
fn amount(usd: f64) -> String {
    let cents = (usd * CENTS).round() as u64;
    if cents == 0 && usd > 0.0 {
        return "<$0.01".to_owned();
    }
    format!("${}.{:02}", grouped(cents / 100), cents % 100)
}

/// The origin of the costs of a document, and what they leave out; `None` if it has none.
#[must_use]
pub fn note(pricing: &Pricing, all: &Cost) -> Option<String> {
    if !is_known(all) {
        return None;
    }
    let mut note = format!(
        "cost: an estimate at list price ({}), no bill",
        text::name(&pricing.price_table)
    );
    if !pricing.assumed.is_empty() {
        note += "; assumed: ";
        note += &text::one_line(&pricing.assumed.join(", "));
    }
    if let Some(unpriced) = &all.unpriced {
        let names: Vec<String> = (unpriced.models.iter().take(NAMED_MAX))
            .map(|name| text::name(name))
            .collect();
        let more = match unpriced.models.len().saturating_sub(NAMED_MAX) {
            0 => String::new(),
            more => format!(" and {} more", grouped(more as u64)),
        };
        let _ = write!(
            note,
            "; +?: no price of {}{more} ({})",
            names.join(", "),
            counted(unpriced.tokens, "token")
        );
    }
    Some(note)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::wire::Unpriced;

    fn cost(usd: Option<f64>, tokens: u64) -> Cost {
        let models = (1..=tokens.min(7)).map(|number| format!("m{number}"));
        Cost {
            estimated_cost_usd: usd,
            unpriced: (tokens > 0).then(|| Unpriced {
                models: models.collect(),
                tokens,
            }),
        }
    }

    #[test]
    fn an_unknown_cost_is_not_zero() {
        for (usd, tokens, expect) in [
            (Some(0.0), 0, "$0.00"),
            (Some(0.004), 0, "<$0.01"),
            (Some(0.005), 0, "$0.01"),
            (Some(12.345), 0, "$12.35"),
            (Some(1_234_567.8), 0, "$1,234,567.80"),
            (Some(12.34), 5, "$12.34 +?"),
            (Some(0.001), 5, "<$0.01 +?"),
            (None, 5, "-"),
            (None, 0, "-"),
            (Some(f64::INFINITY), 0, "$184,467,440,737,095,516.15"),
        ] {
            assert_eq!(dollars(&cost(usd, tokens)), expect);
        }
    }

    #[test]
    fn the_note_says_what_is_assumed_and_left_out() {
        let mut pricing = Pricing {
            price_table: "list 1".to_owned(),
            assumed: Vec::new(),
        };
        assert_eq!(note(&pricing, &Cost::default()), None);
        assert_eq!(
            note(&pricing, &cost(Some(1.0), 0)).unwrap(),
            "cost: an estimate at list price (list 1), no bill"
        );
        pricing.assumed = vec!["codex: standard tier".to_owned()];
        assert_eq!(
            note(&pricing, &cost(Some(1.0), 1_000)).unwrap(),
            "cost: an estimate at list price (list 1), no bill; assumed: codex: standard tier; +?: no price of m1, m2, \
             m3, m4, m5 and 2 more (1,000 tokens)"
        );
    }
}
