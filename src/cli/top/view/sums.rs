//! The sums of a period: the line of periods, and the tables by model and by route.

use ratatui::style::Style;
use strum::IntoEnumIterator;

use super::TopScene;
use super::columns::{numbers, placed, words};
use super::header::title_style;
use super::pen::{Pen, columns};
use crate::api::wire;
use crate::cli::args::TopPeriod;
use crate::cli::print::cost;
use crate::cli::print::numbers::compact_style;
use crate::cli::top::listing;
use crate::cli::top::model::PeriodSums;
use crate::cli::top::theme::TopTheme;
use crate::cli::top::ui::{TopPane, TopTable};

/// From this width on the other periods are named.
const PERIODS_FROM: u16 = 72;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SumField {
    Name,
    Messages,
    Input,
    Output,
    CacheWrite,
    CacheRead,
    Total,
    Cost,
}

/// Draws the periods and the sums of the chosen one.
pub fn draw_line(pen: &mut Pen<'_>, scene: &TopScene<'_>, y: u16) {
    let chosen = scene.ui.period;
    let width = pen.width();
    let mut x = 0;
    for (index, period) in TopPeriod::iter().enumerate() {
        let name: &str = period.into();
        let number = index + 1;
        let (words, style) = if period == chosen {
            (
                format!("[{number} {name}]"),
                scene.theme.title().patch(TopTheme::strong()),
            )
        } else if width >= PERIODS_FROM && !scene.is_printed {
            (format!("{number} {name}"), TopTheme::dim())
        } else {
            continue;
        };
        x += pen.put((x, y), width, &words, style) + 1;
    }
    x += 1;
    let sums = scene.model.sums.as_ref().filter(|sums| sums.period == chosen);
    let mut parts = parts(scene, sums);
    let needed = |parts: &[(String, Style)]| -> u16 {
        parts
            .iter()
            .map(|(words, _)| columns(words).saturating_add(2))
            .sum()
    };
    if x.saturating_add(needed(&parts)) > width.saturating_add(2) && parts.len() > 1 {
        // The number of messages says the least.
        parts.remove(1);
    }
    for (words, style) in parts {
        if x + columns(&words) > width {
            break;
        }
        x += pen.put((x, y), width, &words, style) + 2;
    }
}

/// Tokens, messages, cost and rate.
fn parts(scene: &TopScene<'_>, sums: Option<&PeriodSums>) -> Vec<(String, Style)> {
    let mut parts: Vec<(String, Style)> = Vec::new();
    match sums {
        None => parts.push(("? tok".to_owned(), TopTheme::dim())),
        Some(PeriodSums { usage, .. }) => {
            let totals = &usage.totals;
            let tokens = compact_style(totals.totals.total_tokens);
            parts.push((format!("{tokens} tok"), TopTheme::strong()));
            parts.push((format!("{} msg", compact_style(totals.messages)), Style::new()));
            if cost::is_known(&totals.cost) {
                parts.push((cost::dollars(&totals.cost), Style::new()));
            }
        }
    }
    if !scene.is_printed {
        let flow = scene.model.flow.per_minute(scene.now());
        let flow = flow.map_or_else(|| "?".to_owned(), compact_style);
        parts.push((flow + "/min", scene.theme.title()));
    }
    parts
}

/// Draws the table by model or by route in place of the runs.
pub fn draw_table(pen: &mut Pen<'_>, scene: &TopScene<'_>) {
    let (title, sums) = match scene.ui.table {
        TopTable::Routes => ("route", &scene.model.routes),
        TopTable::Models | TopTable::Runs => ("model", &scene.model.sums),
    };
    let width = pen.width();
    let columns = placed(
        &[
            words(SumField::Name, title, (12, 44), 0),
            numbers(SumField::Messages, "msg", 7, 3),
            numbers(SumField::Input, "in", 7, 4),
            numbers(SumField::Output, "out", 7, 2),
            numbers(SumField::CacheWrite, "c write", 7, 6),
            numbers(SumField::CacheRead, "c read", 7, 5),
            numbers(SumField::Total, "total", 8, 0),
            numbers(SumField::Cost, "cost", 11, 1),
        ],
        width,
    );
    for column in &columns {
        let style = title_style(scene, TopPane::Runs);
        if column.is_right {
            pen.put_right((column.x, 0), column.width, column.title, style);
        } else {
            pen.put((column.x, 0), column.width, column.title, style);
        }
    }
    let Some(sums) = sums.as_ref().filter(|sums| sums.period == scene.ui.period) else {
        pen.put(
            (1, 1),
            width,
            "waiting for the collector's answer",
            TopTheme::dim(),
        );
        return;
    };
    let rows = listing::sums(sums, scene.ui);
    if rows.is_empty() {
        pen.put((1, 1), width, "nothing in this period", TopTheme::dim());
    }
    for (y, row) in (1..pen.height()).zip(&rows) {
        for column in &columns {
            let at = (column.x, y);
            if column.field == SumField::Name {
                pen.put_name(at, column.width, &listing::name(row), Style::new());
            } else {
                let style = match column.field {
                    SumField::Total => TopTheme::strong(),
                    _ => Style::new(),
                };
                pen.put_right(at, column.width, &figure(row, column.field), style);
            }
        }
    }
}

fn figure(row: &wire::UsageRow, field: SumField) -> String {
    let totals = &row.sums.totals;
    compact_style(match field {
        SumField::Name => return listing::name(row),
        SumField::Cost => return cost::dollars(&row.sums.cost),
        SumField::Messages => row.sums.messages,
        SumField::Input => totals.input_tokens,
        SumField::Output => totals.output_tokens,
        SumField::CacheWrite => totals.cache_creation_input_tokens,
        SumField::CacheRead => totals.cache_read_input_tokens,
        SumField::Total => totals.total_tokens,
    })
}
