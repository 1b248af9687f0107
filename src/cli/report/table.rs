//! A report as a table, with the columns of ccusage.
//!
//! On a terminal narrower than [`WIDE_COLUMNS`] only the columns that fit everywhere are there. In a pipe every column
//! and every digit is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{self, Write};

use anstyle::Style;

use super::rows::{MODEL, ReportRow};
use super::{UsageReport, bound};
use crate::api::wire::UsageSums;
use crate::cli::args::ReportKind;
use crate::cli::print::cost::{self, dollars};
use crate::cli::print::grid::{self, Column, GridCell, GridRow};
use crate::cli::print::numbers::{grouped, report_style};
use crate::cli::print::text;

/// From this width on all columns are shown.
pub const WIDE_COLUMNS: usize = 100;
/// Widest list of models in one line of a cell, in columns.
const MODELS_COLUMNS: usize = 20;

const STRONG: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

/// Prints the report.
///
/// # Errors
/// Errors of the writer.
pub fn write(out: &mut dyn Write, report: &UsageReport, width: Option<usize>) -> io::Result<()> {
    let title = format!("{STRONG}{}{STRONG:#}", title(report));
    writeln!(out, "{}", text::wrapped(&title, width))?;
    if report.rows.is_empty() {
        return writeln!(out, "no usage");
    }
    let layout = TableLayout::of(report, width);
    let columns = layout.columns(report);
    let mut rows: Vec<GridRow> = Vec::new();
    for row in &report.rows {
        layout.push_row(&mut rows, report, row);
    }
    if report.left_out > 0 {
        let count = grouped(report.left_out as u64);
        rows.push(GridRow::Note(format!("… and {count} more")));
    }
    rows.push(GridRow::Cells(layout.total(report)));
    grid::write(out, &columns, &rows, width)?;
    let note = cost::note(&report.usage.pricing, &report.usage.totals.cost);
    if let Some(line) = note.filter(|_| report.costs) {
        writeln!(out, "{DIM}{}{DIM:#}", text::wrapped(&line, width))?;
    }
    Ok(())
}

/// The columns of this report at this width.
#[expect(
    clippy::struct_excessive_bools,
    reason = "one for each column that may be there"
)]
struct TableLayout {
    is_wide: bool,
    /// Every digit, and every model in one line.
    is_full: bool,
    has_models: bool,
    has_times: bool,
    names: ModelNames,
}

impl TableLayout {
    fn of(report: &UsageReport, width: Option<usize>) -> Self {
        let models = report
            .rows
            .iter()
            .flat_map(|row| &row.models)
            .map(|(model, _)| model.as_str());
        let of_keys = report.dims.iter().position(|dim| dim == MODEL);
        let keys = report
            .rows
            .iter()
            .filter_map(|row| row.keys.get(of_keys?)?.as_deref());
        Self {
            is_wide: !report.compact && width.is_none_or(|width| width >= WIDE_COLUMNS),
            is_full: width.is_none(),
            has_models: of_keys.is_none() && !report.breakdown,
            has_times: report.rows.iter().all(|row| row.times.is_some()),
            names: ModelNames::of(models.chain(keys)),
        }
    }

    fn columns(&self, report: &UsageReport) -> Vec<Column> {
        let dims = report.dims.iter().map(|dim| Column::names(dim_title(dim), 0));
        let mut columns: Vec<Column> = dims.collect();
        if self.has_models {
            columns.push(Column::names("Models", 5));
        }
        columns.extend([Column::numbers("Input", 4), Column::numbers("Output", 3)]);
        if self.is_wide {
            columns.extend([
                Column::numbers("Cache Create", 7),
                Column::numbers("Cache Read", 6),
                Column::numbers("Total Tokens", 1),
            ]);
        }
        if report.costs {
            columns.push(Column::numbers("Cost (USD)", 0));
        } else if !self.is_wide {
            columns.push(Column::numbers("Total Tokens", 0));
        }
        if self.has_times && self.is_wide {
            columns.push(Column::words("Last Activity", 8));
        }
        columns
    }

    fn push_row(&self, rows: &mut Vec<GridRow>, report: &UsageReport, row: &ReportRow) {
        let mut models = if self.has_models {
            self.model_lines(row)
        } else {
            Vec::new()
        }
        .into_iter();
        let keys = row.keys.iter().zip(&report.dims);
        let mut cells: Vec<GridCell> = keys
            .map(|(key, dim)| self.key(key.as_deref(), dim).into())
            .collect();
        if self.has_models {
            cells.push(models.next().unwrap_or_default().into());
        }
        cells.extend(self.numbers(report, &row.sums, Style::new()));
        if self.has_times && self.is_wide {
            let last = row.times.as_ref().map(|(_, last)| last.clone());
            cells.push(last.unwrap_or_default().into());
        }
        rows.push(GridRow::Cells(cells));
        // Further lines of the list.
        for line in models {
            let mut cells = vec![GridCell::default(); report.dims.len()];
            cells.push(line.into());
            rows.push(GridRow::Cells(cells));
        }
        if report.breakdown {
            for (model, sums) in &row.models {
                let mut cells = vec![GridCell::default(); report.dims.len()];
                cells[0] = styled(format!("└─ {}", self.names.short(model)), DIM);
                cells.extend(self.numbers(report, sums, DIM));
                rows.push(GridRow::Cells(cells));
            }
        }
    }

    fn total(&self, report: &UsageReport) -> Vec<GridCell> {
        let mut cells = vec![GridCell::default(); report.dims.len() + usize::from(self.has_models)];
        cells[0] = styled("Total".to_owned(), STRONG);
        cells.extend(self.numbers(report, &report.usage.totals, STRONG));
        cells
    }

    fn numbers(&self, report: &UsageReport, sums: &UsageSums, style: Style) -> Vec<GridCell> {
        let totals = &sums.totals;
        let shown: fn(u64) -> String = if self.is_full { grouped_count } else { report_style };
        let mut cells = vec![shown(totals.input_tokens), shown(totals.output_tokens)];
        if self.is_wide {
            cells.extend([
                shown(totals.cache_creation_input_tokens),
                shown(totals.cache_read_input_tokens),
                shown(totals.total_tokens),
            ]);
        }
        if report.costs {
            cells.push(dollars(&sums.cost));
        } else if !self.is_wide {
            cells.push(shown(totals.total_tokens));
        }
        cells.into_iter().map(|text| styled(text, style)).collect()
    }

    fn key(&self, key: Option<&str>, dim: &str) -> String {
        match key {
            Some(model) if dim == MODEL => self.names.short(model),
            Some(week) if dim == "week" => monday(week).unwrap_or_else(|| text::name(week)),
            Some(key) => text::name(key),
            None => "-".to_owned(),
        }
    }

    /// The models of a row, as many in a line as there is room for.
    fn model_lines(&self, row: &ReportRow) -> Vec<String> {
        let names: BTreeSet<String> = row
            .models
            .iter()
            .map(|(model, _)| self.names.short(model))
            .collect();
        let mut lines: Vec<String> = Vec::new();
        for name in names {
            match lines.last_mut() {
                Some(line) if self.is_full || line.len() + name.len() + 2 <= MODELS_COLUMNS => {
                    let _ = write!(line, ", {name}");
                }
                Some(line) => {
                    line.push(',');
                    lines.push(name);
                }
                None => lines.push(name),
            }
        }
        lines
    }
}

/// Names of models as shown: without `claude-`, and without a date at the end where no other has the rest.
#[derive(Default)]
pub struct ModelNames(BTreeMap<String, String>);

impl ModelNames {
    /// The shown names of these models.
    pub fn of<'m>(models: impl Iterator<Item = &'m str>) -> Self {
        let models: BTreeSet<&str> = models.collect();
        let shown = |model: &str| {
            let plain = without_date(model);
            let is_alone = models.iter().filter(|other| without_date(other) == plain).count() == 1;
            let name = if is_alone { plain } else { model };
            text::name(name.strip_prefix("claude-").unwrap_or(name))
        };
        Self(
            models
                .iter()
                .map(|model| ((*model).to_owned(), shown(model)))
                .collect(),
        )
    }

    /// The shown name of one of them.
    #[must_use]
    pub fn short(&self, model: &str) -> String {
        self.0.get(model).cloned().unwrap_or_else(|| text::name(model))
    }
}

fn without_date(model: &str) -> &str {
    let dated = model.rsplit_once('-');
    let is_date = |date: &str| date.len() == 8 && date.bytes().all(|letter| letter.is_ascii_digit());
    dated
        .filter(|(_, date)| is_date(date))
        .map_or(model, |(name, _)| name)
}

/// The first day of an ISO week.
fn monday(week: &str) -> Option<String> {
    let (year, week) = week.split_once("-W")?;
    let week = jiff::civil::ISOWeekDate::new(
        year.parse().ok()?,
        week.parse().ok()?,
        jiff::civil::Weekday::Monday,
    );
    Some(week.ok()?.date().to_string())
}

fn styled(text: String, style: Style) -> GridCell {
    GridCell { text, style }
}

fn grouped_count(number: u64) -> String {
    grouped(number)
}

fn dim_title(dim: &str) -> &'static str {
    match dim {
        "hour" => "Hour",
        "day" => "Date",
        "week" => "Week",
        "month" => "Month",
        "quarter" => "Quarter",
        "year" => "Year",
        "run" => "Run",
        "session" => "Session",
        "project" => "Project",
        "model" => "Model",
        "dialect" => "Agent",
        "provider" => "Provider",
        "account" => "Account",
        "price_class" => "Price class",
        "profile" => "Profile",
        "route" => "Route",
        "instance" => "Instance",
        _ => "Label",
    }
}

/// The report, its period and its zone.
fn title(report: &UsageReport) -> String {
    let by = match report.kind {
        ReportKind::Daily => "day",
        ReportKind::Weekly => "week",
        ReportKind::Monthly => "month",
        ReportKind::Runs => "run",
        ReportKind::Sessions => "session",
        ReportKind::Projects => "project",
        ReportKind::Models => "model",
        ReportKind::Accounts => "account",
        ReportKind::Routes => "route",
        ReportKind::Blocks => "block",
    };
    let dims = report.dims.join(" and ");
    let by = if report.has_own_dims { by } else { &dims };
    let zone = report.zone.iana_name().unwrap_or("UTC");
    format!("Usage by {by}, {}, {zone}", range(report))
}

/// The period in words.
#[must_use]
pub fn range(report: &UsageReport) -> String {
    let day = |at: i64| bound(at, &report.zone).strftime("%Y-%m-%d").to_string();
    let is_day = |at: i64| {
        let at = bound(at, &report.zone);
        at.start_of_day().is_ok_and(|start| start == at)
    };
    let minute = |at: i64| bound(at, &report.zone).strftime("%Y-%m-%d %H:%M").to_string();
    match (report.span.from, report.span.to) {
        (None, None) => "all time".to_owned(),
        (Some(from), Some(to)) if is_day(from) && is_day(to) => {
            let (first, last) = (day(from), day(to - 1));
            if first == last {
                first
            } else {
                format!("{first} to {last}")
            }
        }
        (Some(from), Some(to)) => format!("{} to {}", minute(from), minute(to)),
        (Some(from), None) => format!("since {}", day(from)),
        (None, Some(to)) => format!("until {}", day(to - 1)),
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use unicode_width::UnicodeWidthStr;

    use super::*;
    use crate::api::wire::{Cost, Totals, Unpriced, Usage};
    use crate::periods::TimeSpan;

    fn sums(tokens: u64, usd: Option<f64>) -> UsageSums {
        UsageSums {
            messages: 1,
            totals: Totals {
                input_tokens: tokens,
                output_tokens: tokens / 2,
                cache_creation_input_tokens: 7,
                cache_read_input_tokens: tokens * 1_000,
                total_tokens: tokens * 1_001,
                ..Totals::default()
            },
            cost: Cost {
                estimated_cost_usd: usd,
                unpriced: usd.is_none().then(|| Unpriced {
                    models: ["m".to_owned()].into(),
                    tokens,
                }),
            },
            ..UsageSums::default()
        }
    }

    fn report() -> UsageReport {
        let models = [
            "claude-opus-5",
            "claude-haiku-4-5-20251001",
            "gpt-6.1-sol",
            "a-model-with-a-long-name-of-its-own",
        ];
        let models = models.map(|model| (model.to_owned(), sums(999_999, Some(0.001))));
        UsageReport {
            kind: ReportKind::Daily,
            dims: vec!["day".to_owned()],
            rows: vec![ReportRow {
                keys: vec![Some("2026-10-05".to_owned())],
                sums: sums(1_234_567, Some(1_234.5)),
                models: models.into(),
                times: None,
            }],
            left_out: 0,
            usage: Usage {
                totals: sums(1_234_567, None),
                ..Usage::default()
            },
            span: TimeSpan::default(),
            zone: TimeZone::UTC,
            has_own_dims: true,
            instance: None,
            breakdown: false,
            costs: true,
            compact: false,
        }
    }

    fn text(report: &UsageReport, width: Option<usize>) -> String {
        let mut out = anstream::StripStream::new(Vec::new());
        write(&mut out, report, width).unwrap();
        String::from_utf8(out.into_inner()).unwrap()
    }

    #[test]
    fn a_narrow_terminal_has_five_columns_and_nothing_is_wider() {
        let narrow = text(&report(), Some(80));
        let head = narrow.lines().nth(1).unwrap();
        assert_eq!(
            head.split_whitespace().collect::<Vec<_>>(),
            ["Date", "Models", "Input", "Output", "Cost", "(USD)"]
        );
        assert!(narrow.contains("1.2M  617,283   $1,234.50"), "{narrow}");
        assert!(narrow.contains("\n            gpt-6.1-sol"), "{narrow}");
        let wide = text(&report(), Some(100));
        assert!(
            wide.lines()
                .nth(1)
                .unwrap()
                .contains("Cache Create  Cache Read  Total Tokens  Cost (USD)")
        );
        for width in [40, 60, 80, 99, 100, 120] {
            for breakdown in [false, true] {
                let report = UsageReport {
                    breakdown,
                    ..report()
                };
                for line in text(&report, Some(width)).lines() {
                    assert!(line.width() <= width, "{width}: {line}");
                }
            }
        }
    }

    #[test]
    fn a_pipe_has_a_line_for_each_row_with_every_digit() {
        let piped = text(&report(), None);
        assert!(
            piped.contains("haiku-4-5, opus-5") && piped.contains("1,234,567  617,283"),
            "{piped}"
        );
        assert!(
            piped
                .lines()
                .any(|line| line.starts_with("Total ") && line.ends_with(" -")),
            "{piped}"
        );
        let compact = UsageReport {
            compact: true,
            ..report()
        };
        assert!(!text(&compact, None).contains("Cache Read"));
        let breakdown = UsageReport {
            breakdown: true,
            ..report()
        };
        assert!(
            text(&breakdown, None).contains("\n└─ opus-5 "),
            "{}",
            text(&breakdown, None)
        );
        let empty = UsageReport {
            rows: Vec::new(),
            ..report()
        };
        assert!(text(&empty, None).ends_with("\nno usage\n"));
    }

    #[test]
    fn a_date_stays_where_another_model_has_the_rest_of_the_name() {
        let names = ModelNames::of(
            [
                "claude-opus-4-20250514",
                "claude-opus-4",
                "claude-haiku-4-5-20251001",
            ]
            .into_iter(),
        );
        assert_eq!(names.short("claude-opus-4-20250514"), "opus-4-20250514");
        assert_eq!(names.short("claude-opus-4"), "opus-4");
        assert_eq!(names.short("claude-haiku-4-5-20251001"), "haiku-4-5");
    }

    #[test]
    fn a_period_is_named_by_its_days() {
        let at = |text: &str| Some(text.parse::<jiff::Timestamp>().unwrap().as_millisecond());
        for (from, to, expected) in [
            (None, None, "all time"),
            (
                at("2026-10-05T00:00:00Z"),
                at("2026-10-06T00:00:00Z"),
                "2026-10-05",
            ),
            (
                at("2026-10-01T00:00:00Z"),
                at("2026-11-01T00:00:00Z"),
                "2026-10-01 to 2026-10-31",
            ),
            (at("2026-10-01T00:00:00Z"), None, "since 2026-10-01"),
            (None, at("2026-11-01T00:00:00Z"), "until 2026-10-31"),
            (
                at("2026-10-01T09:15:00Z"),
                at("2026-10-01T10:15:00Z"),
                "2026-10-01 09:15 to 2026-10-01 10:15",
            ),
        ] {
            let report = UsageReport {
                span: TimeSpan { from, to },
                ..report()
            };
            assert_eq!(range(&report), expected);
        }
    }
}
