//! The list of events, the latest first.

use ratatui::style::Style;

use super::TopScene;
use super::header::title_style;
use super::pen::Pen;
use crate::cli::top::model::News;
use crate::cli::top::theme::TopTheme;
use crate::cli::top::times;
use crate::cli::top::ui::TopPane;

const TIME: u16 = 8;
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
    if news.is_empty() {
        pen.put(
            (1, 1),
            pen.width(),
            "no event since the start of this screen",
            TopTheme::dim(),
        );
    }
    let skipped = scene.ui.news_skipped.min(news.len().saturating_sub(1));
    for (y, one) in (1..pen.height()).zip(news.iter().skip(skipped)) {
        draw_one(pen, scene, one, y);
    }
}

/// Draws one event into a row.
pub fn draw_one(pen: &mut Pen<'_>, scene: &TopScene<'_>, news: &News, y: u16) {
    let width = pen.width();
    let at = times::clock(news.at, scene.zone);
    pen.put((1, y), TIME, &at, TopTheme::dim());
    pen.put((TIME + 2, y), KIND, news.kind, Style::new());
    let x = TIME + KIND + 3;
    pen.put(
        (x, y),
        width.saturating_sub(x),
        &news.text,
        scene.theme.weight(news.weight),
    );
}
