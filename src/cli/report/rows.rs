//! The rows of a report, made from the rows of an answer: one for each key, with its models.

use std::collections::BTreeMap;

use crate::api::wire::{Cost, Totals, Usage, UsageRow, UsageSums};

/// The grouping that a report adds to list the models of each row.
pub const MODEL: &str = "model";
/// The grouping that a report adds to find the last day of each row.
pub const DAY: &str = "day";

/// Parts of a dollar that a sum shows.
const USD_PARTS: f64 = 1e12;

/// A row: its key by groupings, its sums, and the same by model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReportRow {
    pub keys: Vec<Option<String>>,
    pub sums: UsageSums,
    /// By name, the costliest first.
    pub models: Vec<(String, UsageSums)>,
    /// The first and the last time, if the answer was grouped by one that is not in the key.
    pub times: Option<(String, String)>,
}

/// Collects the rows of an answer. `dims` are the groupings of the report; the answer may also be by model, and by
/// the time `hidden`.
#[must_use]
pub fn collect(usage: &Usage, dims: &[String], hidden: Option<&str>) -> Vec<ReportRow> {
    let mut rows: BTreeMap<Vec<Option<String>>, ReportRow> = BTreeMap::new();
    for row in &usage.rows {
        let keys: Vec<_> = dims.iter().map(|dim| part(row, dim)).collect();
        let into = rows.entry(keys.clone()).or_insert_with(|| ReportRow {
            keys,
            ..ReportRow::default()
        });
        add(&mut into.sums, &row.sums);
        if !dims.iter().any(|dim| dim == MODEL)
            && is_usage(&row.sums)
            && let Some(model) = part(row, MODEL)
        {
            match into.models.iter_mut().find(|(name, _)| *name == model) {
                Some((_, sums)) => add(sums, &row.sums),
                None => into.models.push((model, row.sums.clone())),
            }
        }
        if let Some(time) = hidden.and_then(|hidden| part(row, hidden)) {
            let (first, last) = into.times.get_or_insert_with(|| (time.clone(), time.clone()));
            if time < *first {
                first.clone_from(&time);
            }
            if time > *last {
                *last = time;
            }
        }
    }
    // Failed attempts alone are no usage; the report of routes has them in the rows of their routes.
    let has_routes = dims.iter().any(|dim| dim == "route");
    let mut rows: Vec<ReportRow> = rows.into_values().collect();
    rows.retain(|row| has_routes || is_usage(&row.sums));
    for row in &mut rows {
        let sums = row.models.iter_mut().map(|(_, sums)| sums);
        for sums in sums.chain([&mut row.sums]) {
            sums.cost.estimated_cost_usd = sums.cost.estimated_cost_usd.map(rounded);
        }
        let usd = |sums: &UsageSums| sums.cost.estimated_cost_usd.unwrap_or(-1.0);
        row.models.sort_by(|(one, of_one), (other, of_other)| {
            usd(of_other)
                .total_cmp(&usd(of_one))
                .then(of_other.totals.total_tokens.cmp(&of_one.totals.total_tokens))
                .then_with(|| one.cmp(other))
        });
    }
    rows
}

/// True if it has calls or tokens, and not failed attempts alone.
fn is_usage(sums: &UsageSums) -> bool {
    sums.messages > 0 || sums.advisor_calls > 0 || sums.totals.total_tokens > 0
}

/// A sum of dollars without the noise of its additions.
fn rounded(usd: f64) -> f64 {
    (usd * USD_PARTS).round() / USD_PARTS
}

/// The part of a row's key.
fn part(row: &UsageRow, dim: &str) -> Option<String> {
    match &row.keys {
        Some(keys) => keys.get(dim).cloned().flatten(),
        None => row.key.clone().flatten(),
    }
}

/// Adds sums to others. A cost stays unknown only if all of it is.
pub fn add(sums: &mut UsageSums, other: &UsageSums) {
    let UsageSums {
        messages,
        advisor_calls,
        totals,
        fallbacks,
        failed_attempts,
        estimated_tokens,
        cost,
    } = other;
    sums.messages = sums.messages.saturating_add(*messages);
    sums.advisor_calls = sums.advisor_calls.saturating_add(*advisor_calls);
    for (sum, more) in [
        (&mut sums.fallbacks, fallbacks),
        (&mut sums.failed_attempts, failed_attempts),
        (&mut sums.estimated_tokens, estimated_tokens),
    ] {
        *sum = sum.saturating_add(*more);
    }
    add_totals(&mut sums.totals, totals);
    add_cost(&mut sums.cost, cost);
}

fn add_totals(sums: &mut Totals, other: &Totals) {
    let Totals {
        input_tokens,
        output_tokens,
        cache_creation_input_tokens,
        cache_read_input_tokens,
        cache_creation_5m,
        cache_creation_1h,
        web_search_requests,
        thinking_tokens,
        total_tokens,
    } = *other;
    for (sum, more) in [
        (&mut sums.input_tokens, input_tokens),
        (&mut sums.output_tokens, output_tokens),
        (&mut sums.cache_creation_input_tokens, cache_creation_input_tokens),
        (&mut sums.cache_read_input_tokens, cache_read_input_tokens),
        (&mut sums.cache_creation_5m, cache_creation_5m),
        (&mut sums.cache_creation_1h, cache_creation_1h),
        (&mut sums.web_search_requests, web_search_requests),
        (&mut sums.thinking_tokens, thinking_tokens),
        (&mut sums.total_tokens, total_tokens),
    ] {
        *sum = sum.saturating_add(more);
    }
}

fn add_cost(sums: &mut Cost, other: &Cost) {
    // Nothing for no tokens, as of failed attempts, does not make an unknown cost known.
    if let Some(usd) = other
        .estimated_cost_usd
        .filter(|usd| *usd > 0.0 || sums.unpriced.is_none())
    {
        *sums.estimated_cost_usd.get_or_insert(0.0) += usd;
    }
    if let Some(unpriced) = &other.unpriced {
        sums.estimated_cost_usd = sums.estimated_cost_usd.filter(|usd| *usd > 0.0);
        let all = sums.unpriced.get_or_insert_default();
        all.models.extend(unpriced.models.iter().cloned());
        all.tokens = all.tokens.saturating_add(unpriced.tokens);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::wire::Unpriced;

    fn row(day: &str, model: &str, tokens: u64, usd: Option<f64>) -> UsageRow {
        let keys = [("day", day), ("model", model)];
        UsageRow {
            key: None,
            keys: Some(
                keys.map(|(name, part)| (name.to_owned(), Some(part.to_owned())))
                    .into(),
            ),
            sums: UsageSums {
                messages: 1,
                totals: Totals {
                    total_tokens: tokens,
                    ..Totals::default()
                },
                cost: Cost {
                    estimated_cost_usd: usd,
                    unpriced: usd.is_none().then(|| Unpriced {
                        models: [model.to_owned()].into(),
                        tokens,
                    }),
                },
                ..UsageSums::default()
            },
        }
    }

    #[test]
    fn rows_are_joined_by_key_with_the_costliest_model_first() {
        let usage = Usage {
            rows: vec![
                row("2026-10-05", "a", 9, None),
                row("2026-10-05", "b", 1, Some(0.5)),
                row("2026-10-06", "b", 2, Some(0.25)),
            ],
            ..Usage::default()
        };
        let rows = collect(&usage, &["day".to_owned()], None);
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].keys, [Some("2026-10-05".to_owned())]);
        let models: Vec<&str> = rows[0].models.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(models, ["b", "a"]);
        let sums = &rows[0].sums;
        assert_eq!((sums.messages, sums.totals.total_tokens), (2, 10));
        assert_eq!(sums.cost.estimated_cost_usd, Some(0.5));
        assert_eq!(sums.cost.unpriced.as_ref().unwrap().tokens, 9);

        let rows = collect(&usage, &["model".to_owned()], Some("day"));
        assert_eq!(rows[0].sums.cost.estimated_cost_usd, None);
        assert!(rows[0].models.is_empty());
        let times = ("2026-10-05".to_owned(), "2026-10-06".to_owned());
        assert_eq!(rows[1].times, Some(times));
    }
}
