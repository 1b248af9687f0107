//! `view`: draws a model into an area of any size. Pure: the same model, choices and time give the same screen.

mod account_details;
mod columns;
mod detail_line;
mod details;
mod header;
mod help;
mod news;
mod pen;
mod run_details;
mod runs;
mod side;
mod small;
mod sums;
mod windows;

#[cfg(test)]
mod cases;
#[cfg(test)]
mod tests;

use jiff::tz::TimeZone;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::model::TopModel;
use super::theme::TopTheme;
use super::ui::{TopPane, TopTable, TopUi};
use crate::model::Millis;
use pen::{Pen, columns as text_columns};

/// Below this size each account is one line.
const SMALL: (u16, u16) = (40, 10);
/// From this height on the latest events are shown.
const NEWS_FROM: u16 = 15;
/// From this height on a line separates accounts and sums.
const RULE_FROM: u16 = 13;
/// From this width on there is a column at the right.
pub const SIDE_FROM: u16 = 160;
const SIDE_COLUMNS: u16 = 46;
/// Rows of a printed frame for runs and events.
const PRINTED_RUNS: usize = 20;
const PRINTED_NEWS: usize = 5;

/// Everything that is drawn.
#[derive(Clone, Copy, Debug)]
pub struct TopScene<'s> {
    pub model: &'s TopModel,
    pub ui: &'s TopUi,
    pub theme: TopTheme,
    pub zone: &'s TimeZone,
    /// A printed frame has no keys, and no time of drawing changes it.
    pub is_printed: bool,
}

impl TopScene<'_> {
    fn now(&self) -> Millis {
        self.model.now
    }

    /// True if this pane has the selection.
    fn is_focused(&self, pane: TopPane) -> bool {
        !self.is_printed && self.ui.pane == pane
    }
}

/// Draws the scene into the area.
pub fn view(scene: &TopScene<'_>, area: Rect, buffer: &mut Buffer) {
    let mut pen = Pen::new(buffer, area, scene.theme);
    let (width, height) = (pen.width(), pen.height());
    if width == 0 || height == 0 {
        return;
    }
    if width < SMALL.0 || height < SMALL.1 {
        small::draw(&mut pen, scene);
        return;
    }
    let head = header::draw(&mut pen, scene);
    let foot = u16::from(!scene.is_printed);
    let body = Rect {
        y: area.y + head,
        height: height.saturating_sub(head + foot),
        ..area
    };
    let mut inner = pen.part(body);
    if scene.ui.has_help {
        help::draw(&mut inner, scene);
    } else if scene.ui.opened.is_some() {
        details::draw(&mut inner, scene);
    } else {
        draw_panes(&mut inner, scene);
    }
    if scene.model.is_outdated() {
        // The last known numbers are still worth reading.
        inner.restyle(TopTheme::dim());
    }
    if foot > 0 {
        header::draw_keys(&mut pen, scene, height - 1);
    }
}

/// Rows that a printed frame of this width needs.
#[must_use]
pub fn printed_height(scene: &TopScene<'_>) -> u16 {
    let windows = super::listing::windows(scene.model, &scene.ui.scope).len();
    let runs = super::listing::runs_count(scene.model, scene.ui).min(PRINTED_RUNS);
    let news = scene.model.news.len().min(PRINTED_NEWS);
    // Header, reasons, two titles, two rules, the sums, and the note on runs left out.
    let rows = 8 + windows.max(1) + runs.max(1) + news;
    u16::try_from(rows).unwrap_or(u16::MAX).max(SMALL.1)
}

/// Rows of the panes: accounts, then sums and runs, then events.
fn draw_panes(pen: &mut Pen<'_>, scene: &TopScene<'_>) {
    let area = pen.area;
    let has_side = area.width >= SIDE_FROM;
    let main = Rect {
        width: if has_side {
            area.width - SIDE_COLUMNS - 1
        } else {
            area.width
        },
        ..area
    };
    if has_side {
        let right = Rect {
            x: area.x + main.width + 1,
            width: SIDE_COLUMNS,
            ..area
        };
        side::draw(&mut pen.part(right), scene);
    }
    let mut pen = pen.part(main);
    let (area, height) = (pen.area, pen.height());
    let news_rows = news_rows(scene, height);
    let ruled = u16::from(height >= RULE_FROM);
    let room = height.saturating_sub(news_rows);
    let wanted = u16::try_from(windows::rows(scene)).unwrap_or(u16::MAX).max(1);
    let most = most_windows(scene, (height, room), ruled);
    let window_rows = 1 + wanted.min(most);
    let part = |y: u16, height: u16| Rect {
        y: area.y + y,
        height,
        ..area
    };
    windows::draw(&mut pen.part(part(0, window_rows.min(room))), scene);
    if ruled > 0 {
        pen.rule(window_rows, "", TopTheme::dim());
    }
    let sums_at = window_rows + ruled;
    sums::draw_line(&mut pen, scene, sums_at);
    let table = part(sums_at + 1, room.saturating_sub(sums_at + 1));
    match scene.ui.table {
        TopTable::Runs => runs::draw(&mut pen.part(table), scene),
        TopTable::Models | TopTable::Routes => sums::draw_table(&mut pen.part(table), scene),
    }
    if news_rows > 0 {
        news::draw(&mut pen.part(part(room, news_rows)), scene);
    }
}

/// Most rows of the accounts: half the screen, or what the runs leave, and more while they are chosen from.
fn most_windows(scene: &TopScene<'_>, (height, room): (u16, u16), ruled: u16) -> u16 {
    if scene.is_printed {
        return u16::MAX;
    }
    if scene.ui.pane == TopPane::Accounts {
        return (room * 2 / 3).max(2);
    }
    let runs = super::listing::runs_count(scene.model, scene.ui).max(1);
    // Both titles and the sums.
    let others = u16::try_from(runs).unwrap_or(u16::MAX).saturating_add(3 + ruled);
    // The first line and that of the keys belong to the screen, the title to the accounts.
    (height / 2).max(2).max(room.saturating_sub(others))
}

/// Rows of the events with their rule.
fn news_rows(scene: &TopScene<'_>, height: u16) -> u16 {
    if scene.is_printed {
        let news = scene.model.news.len().min(PRINTED_NEWS);
        return u16::try_from(news).map_or(0, |rows| if rows == 0 { 0 } else { rows + 1 });
    }
    if height < NEWS_FROM {
        return 0;
    }
    let rows = if scene.ui.pane == TopPane::News {
        height / 3
    } else {
        (height / 8).clamp(2, 8)
    };
    rows + 1
}

/// The screen as lines of plain text, without spaces at their ends.
#[must_use]
pub fn plain_lines(buffer: &Buffer) -> Vec<String> {
    let area = buffer.area;
    let line = |y: u16| {
        let (mut line, mut x) = (String::new(), area.x);
        while x < area.right() {
            let symbol = buffer[(x, y)].symbol();
            line.push_str(symbol);
            // The column after a wide character belongs to it.
            x = x.saturating_add(text_columns(symbol).max(1));
        }
        line.truncate(line.trim_end().len());
        line
    };
    (area.y..area.bottom()).map(line).collect()
}
