//! The column at the right of a wide screen: sums by model, by route and by hour.

use ratatui::style::Style;

use super::TopScene;
use super::pen::Pen;
use crate::cli::print::cost;
use crate::cli::print::numbers::compact_style;
use crate::cli::top::listing;
use crate::cli::top::model::PeriodSums;
use crate::cli::top::theme::TopTheme;

const TOTAL: u16 = 8;
const COST: u16 = 10;
/// Hours of a day.
const HOURS: usize = 24;
/// Rows of the chart of hours.
const CHART_ROWS: u16 = 6;
/// Columns of an hour.
const HOUR_COLUMNS: usize = 1;

/// Draws the three parts below each other.
pub fn draw(pen: &mut Pen<'_>, scene: &TopScene<'_>) {
    let of_period = |sums: &'_ Option<PeriodSums>| {
        sums.as_ref()
            .filter(|sums| sums.period == scene.ui.period)
            .cloned()
    };
    let chart = CHART_ROWS + 3;
    let room = pen.height().saturating_sub(chart) / 2;
    let y = table(
        pen,
        scene,
        "by model",
        of_period(&scene.model.sums).as_ref(),
        (0, room),
    );
    let routes = of_period(&scene.model.routes);
    // Without a router there is nothing to say about routes.
    let is_any = |sums: &PeriodSums| {
        sums.usage
            .rows
            .iter()
            .any(|row| row.key.clone().flatten().is_some())
    };
    let y = if routes.as_ref().is_none_or(is_any) {
        table(pen, scene, "by route", routes.as_ref(), (y + 1, room))
    } else {
        y
    };
    hours(pen, scene, y + 1);
}

fn table(
    pen: &mut Pen<'_>,
    scene: &TopScene<'_>,
    title: &str,
    sums: Option<&PeriodSums>,
    (from, rows): (u16, u16),
) -> u16 {
    pen.rule(from, title, TopTheme::dim());
    let Some(sums) = sums else {
        pen.put((0, from + 1), pen.width(), "?", TopTheme::dim());
        return from + 2;
    };
    let rows_of = listing::sums(sums, scene.ui);
    if rows_of.is_empty() {
        pen.put(
            (0, from + 1),
            pen.width(),
            "nothing in this period",
            TopTheme::dim(),
        );
        return from + 2;
    }
    let name = pen.width().saturating_sub(TOTAL + COST + 2);
    let mut y = from + 1;
    for row in rows_of.iter().take(usize::from(rows.saturating_sub(2)).max(1)) {
        pen.put_name((0, y), name, &listing::name(row), Style::new());
        let total = compact_style(row.sums.totals.total_tokens);
        pen.put_right((name + 1, y), TOTAL, &total, TopTheme::strong());
        let cost = cost::dollars(&row.sums.cost);
        pen.put_right((name + TOTAL + 2, y), COST, &cost, Style::new());
        y += 1;
    }
    y
}

/// A chart of the hours of the period, of its last day if it is longer.
fn hours(pen: &mut Pen<'_>, scene: &TopScene<'_>, y: u16) {
    pen.rule(y, "by hour, today", TopTheme::dim());
    let Some(hours) = &scene.model.hours else {
        pen.put((0, y + 1), pen.width(), "?", TopTheme::dim());
        return;
    };
    let mut tokens = [0_u64; HOURS];
    for row in &hours.usage.rows {
        let at = row.key.clone().flatten();
        let Some(at) = at.and_then(|key| key.parse::<jiff::Timestamp>().ok()) else {
            continue;
        };
        let hour = at.to_zoned(scene.zone.clone()).hour();
        let place = &mut tokens[usize::try_from(hour).unwrap_or(0) % HOURS];
        *place = place.saturating_add(row.sums.totals.total_tokens);
    }
    let most = tokens.iter().copied().max().unwrap_or(0);
    #[expect(clippy::cast_precision_loss, reason = "a height of a few rows")]
    let shares: Vec<Option<f64>> = (tokens.iter())
        .flat_map(|tokens| {
            let share = (*tokens > 0).then(|| *tokens as f64 / most as f64);
            std::iter::repeat_n(share, HOUR_COLUMNS)
        })
        .collect();
    let rows = CHART_ROWS.min(pen.height().saturating_sub(y + 2));
    for row in 0..rows {
        let from_below = usize::from(rows - 1 - row);
        let line = scene.theme.chart_row(&shares, from_below, rows.into());
        pen.put((0, y + 1 + row), pen.width(), &line, scene.theme.title());
    }
    let most = format!("{} most", compact_style(most));
    pen.put((26, y + 1), pen.width(), &most, TopTheme::dim());
    pen.put(
        (0, y + 1 + rows),
        pen.width(),
        "0     6     12    18",
        TopTheme::dim(),
    );
}
