//! Tables of tokens by name: aligned, without borders, the sum in the last row.

use std::cmp::Reverse;
use std::io::{self, Write};

use anstyle::Style;
use comfy_table::{Cell, CellAlignment, Row, Table, presets};

use super::numbers::grouped;
use super::text;
use crate::api::wire::Totals;

const HEADER: Style = Style::new().underline();
const STRONG: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

/// One row of a table: name, messages where they are known, tokens.
pub struct Entry<'a> {
    pub name: &'a str,
    pub messages: Option<u64>,
    pub totals: &'a Totals,
}

/// A table before it is laid out.
pub struct Section<'a> {
    /// Heads the first column.
    pub title: &'a str,
    /// What to call entries that are left out: `more`, `earlier`.
    pub rest: &'a str,
    pub entries: Vec<Entry<'a>>,
    /// How many entries are left out.
    pub left_out: usize,
    /// The last row: everything, what is left out included.
    pub sum: Entry<'a>,
}

/// The entries with the most tokens, and how many were left out.
#[must_use]
pub fn most_first(mut entries: Vec<Entry<'_>>, rows_max: Option<usize>) -> (Vec<Entry<'_>>, usize) {
    entries.sort_by_key(|entry| Reverse(entry.totals.total_tokens));
    let left_out = entries.len().saturating_sub(rows_max.unwrap_or(usize::MAX));
    entries.truncate(entries.len() - left_out);
    (entries, left_out)
}

/// Prints a table: a header, the entries, a note on those left out, and the sum.
///
/// # Errors
/// Those of the writer.
pub fn write(out: &mut dyn Write, section: &Section<'_>) -> io::Result<()> {
    let searches = section.sum.totals.web_search_requests > 0
        || section
            .entries
            .iter()
            .any(|entry| entry.totals.web_search_requests > 0);
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header(section, searches));
    for entry in section.entries.iter().chain([&section.sum]) {
        table.add_row(row(entry, searches));
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if index > 0 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let laid_out: Vec<String> = table.lines().collect();
    // A header line, one line per entry, and the sum: names hold no line break.
    let sum_at = laid_out.len().saturating_sub(1);
    for (index, line) in laid_out.iter().enumerate() {
        if index == sum_at && section.left_out > 0 {
            let count = grouped(section.left_out as u64);
            writeln!(
                out,
                "{DIM}… and {count} {} (--json lists all){DIM:#}",
                section.rest
            )?;
        }
        let line = line.trim_end();
        match index {
            0 => writeln!(out, "{HEADER}{line}{HEADER:#}")?,
            _ if index == sum_at => writeln!(out, "{STRONG}{line}{STRONG:#}")?,
            _ => writeln!(out, "{line}")?,
        }
    }
    Ok(())
}

fn header(section: &Section<'_>, searches: bool) -> Row {
    let messages = section.sum.messages.map(|_| "messages");
    let searches = searches.then_some("web searches");
    [section.title]
        .into_iter()
        .chain(messages)
        .chain(["input", "output", "cache write", "cache read"])
        .chain(searches)
        .chain(["total"])
        .map(Cell::new)
        .collect::<Vec<_>>()
        .into()
}

fn row(entry: &Entry<'_>, searches: bool) -> Row {
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
        .chain(searches.then_some(totals.web_search_requests))
        .chain([totals.total_tokens]);
    [text::name(entry.name)]
        .into_iter()
        .chain(numbers.map(grouped))
        .map(Cell::new)
        .collect::<Vec<_>>()
        .into()
}
