//! Summary, run and totals documents, built from the store's figures.

use std::collections::BTreeMap;

use crate::api::document::quota;
use crate::api::document::time;
use crate::api::wire;
use crate::coverage;
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
    Ok(summary(&snapshot.summary()?, &view, context))
}

/// The summary document.
#[must_use]
pub fn summary(figures: &SummaryFigures, view: &QuotaView, context: &EvalContext<'_>) -> wire::Summary {
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
        totals: totals(&all.totals),
        by_run: figures
            .runs
            .iter()
            .map(|(id, run)| (id.clone(), run_totals(run)))
            .collect(),
        without_run: (figures.without_run.totals.has_figures()).then(|| run_totals(&figures.without_run)),
        by_model: by_name(&figures.by_model),
        by_day: by_day(&figures.by_day),
        lines: line_counts(&all.lines),
        files: all.files,
        bytes: all.bytes,
        coverage: coverage_of(figures, &all),
        quota: quota::quota(view, context),
    }
}

fn coverage_of(figures: &SummaryFigures, all: &RunSums) -> wire::Coverage {
    let coverage = &figures.coverage;
    let (reported, unlogged) = (reported(coverage.reported), reported(coverage.unlogged));
    let by_run = figures.runs.iter().filter_map(|(id, run)| {
        let missing = wire::RunCoverage {
            unlogged_tokens: coverage.by_run.get(&run.number).copied().unwrap_or(0),
            unfinished: count(run.totals.unfinished),
            without_figures: count(run.totals.without_figures),
        };
        (missing != wire::RunCoverage::default()).then(|| (id.clone(), missing))
    });
    wire::Coverage {
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
        unfinished: count(all.totals.unfinished),
        without_figures: count(all.totals.without_figures),
        by_run: by_run.collect(),
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
pub fn run(id: &str, sums: &RunSums) -> wire::Run {
    wire::Run {
        id: id.to_owned(),
        totals: run_totals(sums),
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
pub fn run_detail(id: &str, view: &RunView) -> wire::RunDetail {
    wire::RunDetail {
        run: run(id, &view.sums),
        by_model: by_name(&view.by_model),
        by_day: by_day(&view.by_day),
    }
}

/// The totals by name, without those that are all zero.
fn by_name<K: AsRef<str>>(sums: &BTreeMap<K, Totals>) -> BTreeMap<String, wire::Totals> {
    sums.iter()
        .filter(|(_, sum)| sum.has_figures())
        .map(|(name, sum)| (name.as_ref().to_owned(), totals(sum)))
        .collect()
}

fn by_day(sums: &BTreeMap<u32, Totals>) -> BTreeMap<String, wire::Totals> {
    sums.iter()
        .filter(|(_, sum)| sum.has_figures())
        .map(|(day, sum)| (date(*day), totals(sum)))
        .collect()
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
