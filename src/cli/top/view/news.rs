//! The list of events, the latest first.

use ratatui::style::Style;

use super::TopScene;
use super::header::title_style;
use super::pen::Pen;
use crate::cli::top::model::News;
use crate::cli::top::theme::TopTheme;
use crate::cli::top::times;
use crate::cli::top::ui::TopPane;

const TIME: u16 = 9;
const KIND: u16 = 9;

/// Draws a rule, and as many events as fit.
pub fn draw(pen: &mut Pen<'_>, scene: &TopScene<'_>) {
    let title = if scene.is_focused(TopPane::News) {
        "events"
    } else {
        ""
    };
    pen.rule(0, title, title_style(scene, TopPane::News));
    let news = &scene.model.news;
    let skipped = scene.ui.news_skipped.min(news.len().saturating_sub(1));
    let mut y = 1;
    let mut shown = news.iter().skip(skipped).peekable();
    if !scene.is_printed && news.front().is_none_or(|latest| latest.is_before) {
        let end = if news.is_empty() { "" } else { "; before:" };
        let words = format!("no event since the start of this screen{end}");
        pen.put((1, y), pen.width(), &words, TopTheme::dim());
        y += 1;
    } else if !scene.is_printed && shown.peek().is_some_and(|one| one.is_before) {
        draw_start(pen, &mut y);
    }
    while let Some(one) = shown.next().filter(|_| y < pen.height()) {
        draw_one(pen, scene, one, y);
        y += 1;
        if !one.is_before && shown.peek().is_some_and(|next| next.is_before) {
            draw_start(pen, &mut y);
        }
    }
}

/// Draws the line between the events of the screen and those before its start.
fn draw_start(pen: &mut Pen<'_>, y: &mut u16) {
    if *y < pen.height() {
        pen.put(
            (1, *y),
            pen.width(),
            "before the start of this screen:",
            TopTheme::dim(),
        );
        *y += 1;
    }
}

/// Draws one event into a row.
pub fn draw_one(pen: &mut Pen<'_>, scene: &TopScene<'_>, news: &News, y: u16) {
    let width = pen.width();
    // Seconds matter for what happens now; what happened before may be of another day.
    let now = scene.now();
    let style = if news.is_before {
        TopTheme::dim()
    } else {
        Style::new()
    };
    let at = if news.is_before || !times::is_same_day(news.at, now, scene.zone) {
        times::short(news.at, now, scene.zone)
    } else {
        times::clock(news.at, scene.zone)
    };
    pen.put((1, y), TIME, &at, TopTheme::dim());
    pen.put((TIME + 2, y), KIND, news.kind, style);
    let x = TIME + KIND + 3;
    let style = scene.theme.weight(news.weight).patch(style);
    let until = news.until.map_or_else(String::new, |until| {
        format!(", until {}", times::short(until, now, scene.zone))
    });
    let words = format!("{}{until}", news.text);
    pen.put((x, y), width.saturating_sub(x), &words, style);
}
