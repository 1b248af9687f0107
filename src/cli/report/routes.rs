//! `report routes`: the calls that routers posted, by route and by model.

use std::cmp::Reverse;
use std::io::{self, Write};

use anstyle::Style;

use super::rows::{self, MODEL, ReportRow};
use super::{Report, table};
use crate::api::wire::{Usage, UsageRow, UsageSums};
use crate::cli::print::grid::{self, Column, GridRow};
use crate::cli::print::numbers::{grouped, report_style};
use crate::cli::print::{cost, text};

/// The groupings of the rows.
pub const DIMS: [&str; 2] = ["profile", "route"];
/// The grouping that names a model's provider.
pub const PROVIDER: &str = "provider";

const STRONG: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

/// Leaves out what no router posted, also in the totals.
pub fn only_routed(usage: &mut Usage) {
    let is_named = |row: &UsageRow| {
        let keys = row.keys.as_ref();
        DIMS.iter()
            .any(|dim| keys.and_then(|keys| keys.get(*dim)).is_some_and(Option::is_some))
    };
    usage.rows.retain(is_named);
    let mut totals = UsageSums::default();
    for row in &usage.rows {
        rows::add(&mut totals, &row.sums);
    }
    usage.totals = totals;
}

/// Prints the sums, the routes and the models.
///
/// # Errors
/// Errors of the writer.
pub fn write(out: &mut dyn Write, report: &Report, width: Option<usize>) -> io::Result<()> {
    let count = |number: u64| {
        if width.is_none() {
            grouped(number)
        } else {
            report_style(number)
        }
    };
    let mut title = format!("Usage, {}", table::range(report));
    if let Some(instance) = &report.instance {
        title += &format!(", instance {}", text::name(instance));
    }
    writeln!(out, "{STRONG}{title}{STRONG:#}")?;
    let all = &report.usage.totals;
    writeln!(
        out,
        "  Requests: {}  |  Tokens: {}  |  Fallbacks: {}",
        grouped(all.messages),
        report_style(all.totals.total_tokens),
        grouped(all.fallbacks)
    )?;
    if report.rows.is_empty() {
        return writeln!(out, "  no calls with a route");
    }
    let of_route = |row: &ReportRow| {
        let sums = &row.sums;
        let cells = [
            grouped(sums.messages),
            count(sums.totals.total_tokens),
            grouped(sums.fallbacks),
            grouped(sums.failed_attempts),
        ];
        line(
            &row.keys,
            cells
                .into_iter()
                .chain(report.costs.then(|| cost::dollars(&sums.cost))),
        )
    };
    let mut columns = vec![
        Column::names("  route", 0),
        Column::numbers("requests", 0),
        Column::numbers("tokens", 0),
        Column::numbers("fallbacks", 0),
        Column::numbers("failed", 2),
    ];
    columns.extend(report.costs.then(|| Column::numbers("cost (USD)", 1)));
    let mut lines: Vec<GridRow> = report.rows.iter().map(of_route).collect();
    if report.left_out > 0 {
        lines.push(GridRow::Note(format!(
            "  … and {} more",
            grouped(report.left_out as u64)
        )));
    }
    grid::write(out, &columns, &lines, width)?;

    let by_model = [PROVIDER, MODEL].map(str::to_owned);
    let mut models = rows::collect(&report.usage, &by_model, None);
    models.sort_by_key(|row| Reverse(row.sums.totals.total_tokens));
    // Attempts that failed are no calls of a model.
    models.retain(|row| row.sums.messages > 0 || row.sums.totals.total_tokens > 0);
    let of_model = |row: &ReportRow| {
        let cells = [grouped(row.sums.messages), count(row.sums.totals.total_tokens)];
        line(
            &row.keys,
            cells
                .into_iter()
                .chain(report.costs.then(|| cost::dollars(&row.sums.cost))),
        )
    };
    let mut columns = vec![
        Column::names("  model", 0),
        Column::numbers("requests", 0),
        Column::numbers("tokens", 0),
    ];
    columns.extend(report.costs.then(|| Column::numbers("cost (USD)", 1)));
    let lines: Vec<GridRow> = models.iter().map(of_model).collect();
    grid::write(out, &columns, &lines, width)?;
    if all.estimated_tokens > 0 {
        writeln!(
            out,
            "  of these tokens {} were estimated by clients",
            count(all.estimated_tokens)
        )?;
    }
    match cost::note(&report.usage.pricing, &all.cost).filter(|_| report.costs) {
        Some(note) => writeln!(out, "{DIM}{}{DIM:#}", text::wrapped(&note, width)),
        None => Ok(()),
    }
}

/// A row: the names of its key with dots between them, and its cells.
fn line(keys: &[Option<String>], cells: impl Iterator<Item = String>) -> GridRow {
    let names: Vec<String> = keys.iter().flatten().map(|name| text::name(name)).collect();
    let name = format!("  {}", names.join("."));
    GridRow::Cells(std::iter::once(name).chain(cells).map(Into::into).collect())
}
