//! Tables: aligned, without borders, and on a terminal no wider than that.
//!
//! With a given width, the least important columns are left out until the rest fits, and long names are
//! shortened in the middle. Without one, as in a pipe, nothing is left out or shortened.

use std::fmt::Write as _;
use std::io::{self, Write};

use anstyle::Style;
use unicode_width::UnicodeWidthStr;

use super::text;

const HEADER: Style = Style::new().underline();
const DIM: Style = Style::new().dimmed();
/// Space between two columns.
const GAP: usize = 2;
/// Shortest width of a name.
const NAME_MIN: usize = 20;

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub title: &'static str,
    is_number: bool,
    is_name: bool,
    /// Columns with the highest rank are left out first, those with 0 never.
    rank: u8,
}

impl Column {
    /// A left-aligned column of words.
    #[must_use]
    pub const fn words(title: &'static str, rank: u8) -> Self {
        Self {
            title,
            is_number: false,
            is_name: false,
            rank,
        }
    }

    /// A right-aligned column of numbers.
    #[must_use]
    pub const fn numbers(title: &'static str, rank: u8) -> Self {
        Self {
            is_number: true,
            ..Self::words(title, rank)
        }
    }

    /// A column of names, which may be shortened in the middle.
    #[must_use]
    pub const fn names(title: &'static str, rank: u8) -> Self {
        Self {
            is_name: true,
            ..Self::words(title, rank)
        }
    }
}

/// A cell. The text has no line break and no style.
#[derive(Clone, Debug, Default)]
pub struct GridCell {
    pub text: String,
    pub style: Style,
}

impl<T: Into<String>> From<T> for GridCell {
    fn from(text: T) -> Self {
        Self {
            text: text.into(),
            style: Style::new(),
        }
    }
}

/// A line of a table.
#[derive(Clone, Debug)]
pub enum GridRow {
    Cells(Vec<GridCell>),
    /// A note about the rows, in place of one.
    Note(String),
}

/// Prints a header and the rows; returns the indices of the shown columns.
///
/// # Errors
/// Errors of the writer.
pub fn write(
    out: &mut dyn Write,
    columns: &[Column],
    rows: &[GridRow],
    width: Option<usize>,
) -> io::Result<Vec<usize>> {
    let shown = layout(columns, rows, width);
    let titles: Vec<GridCell> = columns.iter().map(|column| column.title.into()).collect();
    writeln!(out, "{HEADER}{}{HEADER:#}", line(&titles, columns, &shown))?;
    for row in rows {
        match row {
            GridRow::Cells(cells) => writeln!(out, "{}", line(cells, columns, &shown))?,
            GridRow::Note(note) => writeln!(out, "{DIM}{}{DIM:#}", text::wrapped(note, width))?,
        }
    }
    Ok(shown.into_iter().map(|(index, _)| index).collect())
}

/// The columns to show, in their order, with their widths.
fn layout(columns: &[Column], rows: &[GridRow], width: Option<usize>) -> Vec<(usize, usize)> {
    let natural = |index: usize| {
        let cells = rows.iter().filter_map(|row| match row {
            GridRow::Cells(cells) => cells.get(index),
            GridRow::Note(_) => None,
        });
        cells
            .map(|cell| cell.text.width())
            .chain([columns[index].title.width()])
            .max()
            .unwrap_or(0)
    };
    let mut shown: Vec<(usize, usize)> = (0..columns.len()).map(|index| (index, natural(index))).collect();
    let Some(width) = width else {
        return shown;
    };
    let least = |&(index, natural): &(usize, usize)| {
        if columns[index].is_name {
            natural.min(NAME_MIN.max(columns[index].title.width()))
        } else {
            natural
        }
    };
    let gaps = |shown: &[(usize, usize)]| GAP * shown.len().saturating_sub(1);
    while shown.iter().map(least).sum::<usize>() + gaps(&shown) > width {
        let last = shown.iter().max_by_key(|(index, _)| columns[*index].rank);
        let Some(&(last, _)) = last.filter(|(index, _)| columns[*index].rank > 0) else {
            break;
        };
        shown.retain(|(index, _)| *index != last);
    }
    // The widest name is shortened first, down to the width of the next one.
    let mut over =
        (shown.iter().map(|(_, natural)| natural).sum::<usize>() + gaps(&shown)).saturating_sub(width);
    while over > 0 {
        let names = shown.iter_mut().filter(|one| one.1 > least(one));
        let Some(widest) = names.max_by_key(|(_, width)| *width) else {
            break;
        };
        widest.1 -= 1;
        over -= 1;
    }
    shown
}

fn line(cells: &[GridCell], columns: &[Column], shown: &[(usize, usize)]) -> String {
    let mut line = String::new();
    let last = shown.len().saturating_sub(1);
    for (place, &(index, width)) in shown.iter().enumerate() {
        let Some(GridCell { text, style }) = cells.get(index) else {
            continue;
        };
        let text = if columns[index].is_name {
            text::without_middle(text, width)
        } else {
            text.clone()
        };
        let blank = " ".repeat(width.saturating_sub(text.width()));
        let (before, after) = if columns[index].is_number {
            (blank.as_str(), "")
        } else {
            ("", blank.as_str())
        };
        line.push_str(before);
        if style.is_plain() {
            line.push_str(&text);
        } else {
            let _ = write!(line, "{style}{text}{style:#}");
        }
        if place < last {
            line.push_str(after);
            line.push_str(&" ".repeat(GAP));
        }
    }
    line.truncate(line.trim_end_matches(' ').len());
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 4] = [
        Column::names("run", 0),
        Column::words("state", 1),
        Column::numbers("lag", 2),
        Column::numbers("tokens", 0),
    ];

    fn plain(rows: &[[&str; 4]], width: Option<usize>) -> String {
        let rows: Vec<GridRow> = rows
            .iter()
            .map(|row| GridRow::Cells(row.iter().map(|text| GridCell::from(*text)).collect()))
            .chain([GridRow::Note("… and 3 more of them".to_owned())])
            .collect();
        let mut out = anstream::StripStream::new(Vec::new());
        write(&mut out, &COLUMNS, &rows, width).unwrap();
        String::from_utf8(out.into_inner()).unwrap()
    }

    const LONG: &str = "nightly-build-of-the-whole-tree-042";

    #[test]
    fn without_a_width_everything_is_there() {
        let long = "x".repeat(300);
        assert_eq!(
            plain(&[["a", "live", "1,024", "7"], [&long, "", "", "12"]], None),
            format!(
                "run{0}  state    lag  tokens\n\
                 a{0}    live   1,024       7\n\
                 {long}                    12\n\
                 … and 3 more of them\n",
                " ".repeat(297)
            )
        );
    }

    #[test]
    fn columns_go_before_names_are_cut_and_nothing_is_wider() {
        let rows = [["a", "live", "1,024", "7"], [LONG, "stopped", "", "1,000,000"]];
        for (width, expected) in [
            (
                62,
                "run                                  state      lag     tokens",
            ),
            (50, "run                      state      lag     tokens"),
            (40, "run                   state       tokens"),
            (35, "run                          tokens"),
        ] {
            let text = plain(&rows, Some(width));
            assert_eq!(text.lines().next(), Some(expected));
            for line in text.lines() {
                assert!(line.width() <= width, "{width}: {text}");
            }
        }
        assert!(plain(&rows, Some(35)).contains("nightly-buil…le-tree-042"));
        // Columns of rank 0 are shown even if they do not fit.
        assert!(plain(&rows, Some(3)).contains("1,000,000"));
    }

    #[test]
    fn wide_characters_take_two_places() {
        let text = plain(&[["日本", "live", "1", "7"], ["ab", "live", "1", "7"]], None);
        assert!(
            text.contains("日本  live     1       7\nab    live     1       7\n"),
            "{text}"
        );
    }

    #[test]
    fn a_style_does_not_count() {
        let cell = GridCell {
            text: "ab".to_owned(),
            style: Style::new().bold(),
        };
        let columns = [Column::words("a", 0), Column::words("b", 0)];
        let rows = [GridRow::Cells(vec![cell, "c".into()])];
        let mut out = Vec::new();
        write(&mut out, &columns, &rows, None).unwrap();
        assert!(
            String::from_utf8(out)
                .unwrap()
                .ends_with("\u{1b}[1mab\u{1b}[0m  c\n")
        );
    }
}
