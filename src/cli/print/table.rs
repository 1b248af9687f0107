//! Tables of tokens by name, the sum in the last row.

use std::cmp::Reverse;
use std::io::{self, Write};

use anstyle::Style;

use super::cost;
use super::grid::{self, Column, GridCell, GridRow};
use super::numbers::grouped;
use super::text;
use crate::api::wire::{Cost, Totals};

const STRONG: Style = Style::new().bold();

/// One row of a table: name, messages if known, tokens, their cost.
pub struct TableEntry<'a> {
    pub name: &'a str,
    pub messages: Option<u64>,
    pub totals: &'a Totals,
    pub cost: &'a Cost,
}

/// A table before its layout.
pub struct Section<'a> {
    /// Title of the first column.
    pub title: &'static str,
    /// The word for left-out entries: `more`, `earlier`.
    pub rest: &'a str,
    pub entries: Vec<TableEntry<'a>>,
    /// Number of entries left out.
    pub left_out: usize,
    /// The last row: the sum, including left-out entries.
    pub sum: TableEntry<'a>,
}

/// A column that is shown if any of its sums is more than nothing.
struct PartSum {
    title: &'static str,
    rank: u8,
    of: fn(&Totals) -> u64,
}

const PARTS: [PartSum; 2] = [
    PartSum {
        title: "thinking",
        rank: 7,
        of: |totals| totals.thinking_tokens,
    },
    PartSum {
        title: "web searches",
        rank: 6,
        of: |totals| totals.web_search_requests,
    },
];

/// The entries with the most tokens, and the number of those left out.
#[must_use]
pub fn most_first(mut entries: Vec<TableEntry<'_>>, rows_max: Option<usize>) -> (Vec<TableEntry<'_>>, usize) {
    entries.sort_by_key(|entry| Reverse(entry.totals.total_tokens));
    let left_out = entries.len().saturating_sub(rows_max.unwrap_or(usize::MAX));
    entries.truncate(entries.len() - left_out);
    (entries, left_out)
}

/// Prints a table: a header, the entries, a note on those left out, and the sum.
///
/// # Errors
/// Errors of the writer.
pub fn write(out: &mut dyn Write, section: &Section<'_>, width: Option<usize>) -> io::Result<()> {
    let has_any = |sum: &PartSum| {
        let mut entries = section.entries.iter().chain([&section.sum]);
        entries.any(|entry| (sum.of)(entry.totals) > 0)
    };
    let parts: Vec<&PartSum> = PARTS.iter().filter(|part| has_any(part)).collect();
    let mut columns = vec![Column::names(section.title, 0)];
    columns.extend(section.sum.messages.map(|_| Column::numbers("messages", 5)));
    columns.extend([
        Column::numbers("input", 2),
        Column::numbers("output", 1),
        Column::numbers("cache write", 4),
        Column::numbers("cache read", 3),
    ]);
    columns.extend(parts.iter().map(|part| Column::numbers(part.title, part.rank)));
    columns.push(Column::numbers("total", 0));
    let has_cost = cost::is_known(section.sum.cost);
    columns.extend(has_cost.then(|| Column::numbers("cost", 0)));
    let entries = section.entries.iter();
    let mut rows: Vec<GridRow> = entries
        .map(|entry| GridRow::Cells(row(entry, &parts, has_cost, Style::new())))
        .collect();
    if section.left_out > 0 {
        let count = grouped(section.left_out as u64);
        rows.push(GridRow::Note(format!(
            "… and {count} {} (--json lists all)",
            section.rest
        )));
    }
    rows.push(GridRow::Cells(row(&section.sum, &parts, has_cost, STRONG)));
    grid::write(out, &columns, &rows, width)?;
    Ok(())
}

fn row(entry: &TableEntry<'_>, parts: &[&PartSum], has_cost: bool, style: Style) -> Vec<GridCell> {
    let totals = entry.totals;
    let numbers = entry
        .messages
        .into_iter()
        .chain([
            totals.input_tokens,
            totals.output_tokens,
            totals.cache_creation_input_tokens,
            totals.cache_read_input_tokens,
        ])
        .chain(parts.iter().map(|part| (part.of)(totals)))
        .chain([totals.total_tokens]);
    [text::name(entry.name)]
        .into_iter()
        .chain(numbers.map(grouped))
        .chain(has_cost.then(|| cost::dollars(entry.cost)))
        .map(|text| GridCell { text, style })
        .collect()
}
