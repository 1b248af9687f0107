//! A line of the details.

use ratatui::style::Style;

use crate::cli::print::text;
use crate::cli::top::model::News;

/// Columns left of a chart.
pub const CHART_FROM: u16 = 6;

/// A line of the details.
pub enum DetailLine {
    Words(String, Style),
    /// A name and its figures.
    Row(String, Vec<String>, Style),
    Rule(String),
    Event(News),
    Chart(String, String),
}

impl DetailLine {
    /// The line, in several if its words need more columns.
    pub fn wrapped(self, width: u16) -> Vec<Self> {
        match self {
            Self::Words(words, style) => {
                let wrapped = text::wrapped(&words, Some(usize::from(width.saturating_sub(2))));
                let lines = wrapped
                    .split('\n')
                    .map(|line| Self::Words(line.to_owned(), style));
                lines.collect()
            }
            other => vec![other],
        }
    }
}
