//! Summary, run and totals documents, built from the store's figures.

use std::collections::BTreeMap;

use crate::api::document::cost::CostBook;
use crate::api::document::quota;
use crate::api::document::time;
use crate::api::wire;
use crate::coverage::{self, Coverage};
use crate::dedup::Totals;
use crate::model::{DAY_MS, Labels, LineCounts, Reported};
use crate::store::{QuotaView, RunSums, RunView, Snapshot, StoreError, SummaryFigures};
use crate::verdict::EvalContext;

/// The summary document of a snapshot.
///
/// # Errors
/// Errors of the store.
pub fn collect(snapshot: &Snapshot<'_>, context: &EvalContext<'_>) -> Result<wire::Summary, StoreError> {
    let view = snapshot.quota(context.since())?;
    let (figures, costs) = CostBook::summary(snapshot, context.prices)?;
    Ok(summary(&figures, &costs, &view, context))
}

/// The summary document.
#[must_use]
pub fn summary(
    figures: &SummaryFigures,
    costs: &CostBook<'_>,
    view: &QuotaView,
    context: &EvalContext<'_>,
) -> wire::Summary {
    let mut all = figures.forgotten;
    all.add(&figures.without_run);
    for run in figures.runs.values() {
        all.add(run);
    }
    wire::Summary {
        schema: wire::SCHEMA,
        now: time(context.now),
        messages: count(all.totals.messages),
        advisor_calls: count(all.totals.advisor_calls),
        totals: wire::PricedTotals {
            totals: totals(&all.totals),
            cost: costs.all(),
        },
        by_run: (figures.runs.iter())
            .map(|(id, run)| (id.clone(), priced_run_totals(run, costs)))
            .collect(),
        without_run: (figures.without_run.totals.has_figures())
            .then(|| priced_run_totals(&figures.without_run, costs)),
        by_model: by_name(&figures.by_model, costs),
        by_day: by_day(&figures.by_day, costs),
        pricing: costs.pricing(),
        lines: line_counts(&all.lines),
        files: all.files,
        bytes: all.bytes,
        coverage: wire::Coverage {
            sums: coverage_sums(&figures.coverage, &all.totals),
            by_run: run_coverages(figures),
        },
        quota: quota::quota(view, context),
    }
}

/// The summary without what is by run, model and day.
///
/// # Errors
/// Errors of the store.
pub fn brief(snapshot: &Snapshot<'_>, context: &EvalContext<'_>) -> Result<wire::BriefSummary, StoreError> {
    let all = snapshot.all_sums()?;
    let costs = CostBook::overall(snapshot, context.prices)?;
    let coverage = snapshot.coverage()?;
    Ok(wire::BriefSummary {
        schema: wire::SCHEMA,
        now: time(context.now),
        messages: count(all.totals.messages),
        advisor_calls: count(all.totals.advisor_calls),
        totals: priced(&all.totals, costs.all()),
        pricing: costs.pricing(),
        lines: line_counts(&all.lines),
        files: all.files,
        bytes: all.bytes,
        coverage: coverage_sums(&coverage, &all.totals),
        quota: quota::quota(&snapshot.quota(context.since())?, context),
        ..wire::BriefSummary::default()
    })
}

fn run_coverages(figures: &SummaryFigures) -> BTreeMap<String, wire::RunCoverage> {
    let by_run = figures.runs.iter().filter_map(|(id, run)| {
        let missing = wire::RunCoverage {
            unlogged_tokens: figures.coverage.by_run.get(&run.number).copied().unwrap_or(0),
            unfinished: count(run.totals.unfinished),
            without_figures: count(run.totals.without_figures),
        };
        (missing != wire::RunCoverage::default()).then(|| (id.clone(), missing))
    });
    by_run.collect()
}

fn coverage_sums(coverage: &Coverage, all: &Totals) -> wire::CoverageSums {
    let (reported, unlogged) = (reported(coverage.reported), reported(coverage.unlogged));
    wire::CoverageSums {
        counted: wire::Tokens {
            input_tokens: reported.input_tokens.saturating_sub(unlogged.input_tokens),
            output_tokens: reported.output_tokens.saturating_sub(unlogged.output_tokens),
            cache_creation_input_tokens: (reported.cache_creation_input_tokens)
                .saturating_sub(unlogged.cache_creation_input_tokens),
            cache_read_input_tokens: (reported.cache_read_input_tokens)
                .saturating_sub(unlogged.cache_read_input_tokens),
            total_tokens: reported.total_tokens.saturating_sub(unlogged.total_tokens),
        },
        reported,
        unlogged,
        sessions: coverage.sessions,
        sessions_reported: coverage.sessions_reported,
        unfinished: count(all.unfinished),
        without_figures: count(all.without_figures),
    }
}

fn reported(sums: Reported) -> wire::Tokens {
    wire::Tokens {
        input_tokens: sums.input,
        output_tokens: sums.output,
        cache_creation_input_tokens: sums.cache_creation,
        cache_read_input_tokens: sums.cache_read,
        total_tokens: coverage::total(sums),
    }
}

/// A run's row; the caller fills in `state`, `restarts` and `problem`.
#[must_use]
pub fn run(id: &str, sums: &RunSums, costs: &CostBook<'_>) -> wire::Run {
    wire::Run {
        id: id.to_owned(),
        totals: run_totals(sums),
        cost: costs.of_run(sums.number),
        advisor_calls: count(sums.totals.advisor_calls),
        lines: line_counts(&sums.lines),
        files: sums.files,
        bytes: sums.bytes,
        last_activity: sums.latest.map(time),
        ..wire::Run::default()
    }
}

/// A run in detail.
#[must_use]
pub fn run_detail(id: &str, view: &RunView, costs: &CostBook<'_>) -> wire::RunDetail {
    wire::RunDetail {
        run: run(id, &view.sums, costs),
        by_model: by_name(&view.by_model, costs),
        by_day: by_day(&view.by_day, costs),
        pricing: costs.pricing(),
    }
}

/// The totals by name, without those that are all zero.
fn by_name<K: AsRef<str>>(
    sums: &BTreeMap<K, Totals>,
    costs: &CostBook<'_>,
) -> BTreeMap<String, wire::PricedTotals> {
    sums.iter()
        .filter(|(_, sum)| sum.has_figures())
        .map(|(name, sum)| {
            let name = name.as_ref();
            (name.to_owned(), priced(sum, costs.of_model(name)))
        })
        .collect()
}

fn by_day(sums: &BTreeMap<u32, Totals>, costs: &CostBook<'_>) -> BTreeMap<String, wire::PricedTotals> {
    sums.iter()
        .filter(|(_, sum)| sum.has_figures())
        .map(|(day, sum)| (date(*day), priced(sum, costs.of_day(*day))))
        .collect()
}

fn priced(sums: &Totals, cost: wire::Cost) -> wire::PricedTotals {
    wire::PricedTotals {
        totals: totals(sums),
        cost,
    }
}

/// A UTC day, counted from 1970, in documents.
#[must_use]
pub fn date(day: u32) -> String {
    let start = time(i64::from(day) * DAY_MS);
    start.chars().take_while(|c| *c != 'T').collect()
}

/// Labels in documents.
#[must_use]
pub fn labels(labels: &Labels) -> BTreeMap<String, String> {
    let pairs = labels.iter();
    pairs
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect()
}

/// A run's totals alone.
#[must_use]
pub fn totals_of_run(sums: &Totals) -> wire::RunTotals {
    wire::RunTotals {
        messages: count(sums.messages),
        totals: totals(sums),
        malformed_lines: 0,
    }
}

/// A difference of sums.
#[must_use]
pub fn signed(delta: &Totals) -> wire::Delta {
    let tokens = |sum: i128| i64::try_from(sum).unwrap_or(if sum < 0 { i64::MIN } else { i64::MAX });
    let total = [delta.input, delta.output, delta.cache_creation, delta.cache_read];
    wire::Delta {
        messages: delta.messages,
        advisor_calls: delta.advisor_calls,
        input_tokens: tokens(delta.input),
        output_tokens: tokens(delta.output),
        cache_creation_input_tokens: tokens(delta.cache_creation),
        cache_read_input_tokens: tokens(delta.cache_read),
        total_tokens: tokens(total.into_iter().fold(0, i128::saturating_add)),
    }
}

fn priced_run_totals(sums: &RunSums, costs: &CostBook<'_>) -> wire::PricedRunTotals {
    wire::PricedRunTotals {
        state: None,
        sums: run_totals(sums),
        cost: costs.of_run(sums.number),
    }
}

fn run_totals(sums: &RunSums) -> wire::RunTotals {
    wire::RunTotals {
        messages: count(sums.totals.messages),
        totals: totals(&sums.totals),
        malformed_lines: sums.lines.malformed,
    }
}

/// Sums in documents.
#[must_use]
pub fn totals(sums: &Totals) -> wire::Totals {
    let total = [sums.input, sums.output, sums.cache_creation, sums.cache_read];
    wire::Totals {
        input_tokens: tokens(sums.input),
        output_tokens: tokens(sums.output),
        cache_creation_input_tokens: tokens(sums.cache_creation),
        cache_read_input_tokens: tokens(sums.cache_read),
        cache_creation_5m: tokens(sums.cache_creation_5m),
        cache_creation_1h: tokens(sums.cache_creation_1h),
        web_search_requests: tokens(sums.web_search),
        thinking_tokens: tokens(sums.thinking),
        total_tokens: tokens(total.into_iter().fold(0, i128::saturating_add)),
    }
}

/// A sum in a document saturates at the largest `u64`.
#[must_use]
pub fn tokens(sum: i128) -> u64 {
    u64::try_from(sum.max(0)).unwrap_or(u64::MAX)
}

fn count(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

fn line_counts(lines: &LineCounts) -> wire::Lines {
    wire::Lines {
        read: lines.read,
        usage: lines.usage,
        duplicate: lines.duplicate,
        ignored: lines.ignored,
        malformed: lines.malformed,
        oversized: lines.oversized,
        clock_suspect: lines.clock_suspect,
    }
}
