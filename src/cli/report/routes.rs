//! `report routes`: the calls that routers posted, by route and by model.

use std::cmp::Reverse;
use std::io::{self, Write};

use anstyle::Style;

use super::rows::{self, MODEL, ReportRow};
use super::{UsageReport, table};
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
pub fn write(out: &mut dyn Write, report: &UsageReport, width: Option<usize>) -> io::Result<()> {
    let count = |number: u64| {
        if width.is_none() {
            grouped(number)
        } else {
            report_style(number)
        }
    };
    let instance = report.instance.as_deref().map(text::name);
    let instance = instance.map_or_else(String::new, |name| format!(", instance {name}"));
    writeln!(out, "{STRONG}Usage, {}{instance}{STRONG:#}", table::range(report))?;
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

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::api::wire::{Cost, Totals};
    use crate::cli::args::ReportKind;
    use crate::periods::TimeSpan;

    /// Messages, tokens, fallbacks and failed attempts of a route and a model.
    fn row(route: Option<&str>, model: &str, [messages, tokens, fallbacks, failed]: [u64; 4]) -> UsageRow {
        let profile = route.map(|_| "default");
        let keys = [
            ("profile", profile),
            ("route", route),
            ("provider", Some("openai")),
            ("model", Some(model)),
        ];
        UsageRow {
            key: None,
            keys: Some(
                keys.map(|(name, part)| (name.to_owned(), part.map(str::to_owned)))
                    .into(),
            ),
            sums: UsageSums {
                messages,
                totals: Totals {
                    total_tokens: tokens,
                    ..Totals::default()
                },
                fallbacks,
                failed_attempts: failed,
                cost: Cost {
                    estimated_cost_usd: Some(1.0),
                    unpriced: None,
                },
                ..UsageSums::default()
            },
        }
    }

    #[test]
    fn routes_are_summed_apart_from_transcripts() {
        let mut usage = Usage {
            rows: vec![
                row(Some("/think"), "gpt-4o", [1, 25_000_000, 2, 0]),
                row(Some("/think"), "gpt-5", [1, 15_000_000, 1, 0]),
                row(Some("/think"), "gpt-6", [0, 0, 0, 1]),
                row(Some("/ultrathink"), "gpt-5", [1, 5_600_000, 0, 0]),
                row(None, "claude-opus-5", [7, 1_000, 0, 0]),
            ],
            ..Usage::default()
        };
        only_routed(&mut usage);
        let dims: Vec<String> = DIMS.map(str::to_owned).into();
        let mut rows = rows::collect(&usage, &dims, None);
        rows.sort_by_key(|row| Reverse(row.sums.totals.total_tokens));
        let report = UsageReport {
            kind: ReportKind::Routes,
            dims,
            rows,
            left_out: 0,
            usage,
            span: TimeSpan::default(),
            zone: TimeZone::UTC,
            has_own_dims: true,
            instance: Some("inst1".to_owned()),
            breakdown: false,
            costs: false,
            compact: false,
        };
        let mut out = anstream::StripStream::new(Vec::new());
        write(&mut out, &report, Some(80)).unwrap();
        assert_eq!(
            String::from_utf8(out.into_inner()).unwrap(),
            "\
Usage, all time, instance inst1
  Requests: 3  |  Tokens: 45.6M  |  Fallbacks: 3
  route                requests  tokens  fallbacks  failed
  default./think              2   40.0M          3       1
  default./ultrathink         1    5.6M          0       0
  model          requests  tokens
  openai.gpt-4o         1   25.0M
  openai.gpt-5          2   20.6M
"
        );
    }
}
