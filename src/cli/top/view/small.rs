//! A very small screen: the verdict, then one line for each account.

use ratatui::style::Style;

use super::TopScene;
use super::header;
use super::pen::{Pen, columns};
use super::windows::{used_cell, window_label};
use crate::cli::print::numbers::compact_style;
use crate::cli::top::listing::{self, WindowRow};
use crate::cli::top::model::{Link, Weight};
use crate::cli::top::theme::TopTheme;
use crate::cli::top::times;

/// Draws as much as fits.
pub fn draw(pen: &mut Pen<'_>, scene: &TopScene<'_>) {
    let mut y = 0;
    let (width, height) = (pen.width(), pen.height());
    let mut parts = header::verdict(scene);
    if width < 30 {
        // The word itself, without its question.
        parts.remove(0);
    }
    if let Link::Lost { retry_at, .. } = &scene.model.link {
        let wait = times::age(retry_at - scene.now());
        parts.insert(0, (format!("away {wait} "), scene.theme.weight(Weight::Bad)));
    } else if scene.ui.paused.is_some() {
        parts.insert(0, ("PAUSED ".to_owned(), scene.theme.alarm()));
    }
    pen.run((0, y), &parts);
    y += 1;
    let rows = listing::windows(scene.model, &scene.ui.scope);
    let mut accounts: Vec<&[WindowRow<'_>]> = rows.chunk_by(|a, b| a.account() == b.account()).collect();
    if accounts.len() > usize::from(height.saturating_sub(y)) {
        accounts.sort_by_key(|rows| rows.iter().map(WindowRow::trouble_rank).min());
    }
    for of_account in accounts {
        if y >= height {
            return;
        }
        account(pen, scene, of_account, y);
        y += 1;
    }
    if y < height {
        let tokens = scene.model.sums.as_ref().map_or_else(
            || "?".to_owned(),
            |sums| compact_style(sums.usage.totals.totals.total_tokens),
        );
        let name: &str = scene.ui.period.into();
        pen.put((0, y), width, &format!("{name} {tokens} tok"), TopTheme::strong());
    }
}

/// The name of an account and the shares of its windows.
fn account(pen: &mut Pen<'_>, scene: &TopScene<'_>, rows: &[WindowRow<'_>], y: u16) {
    let width = pen.width();
    let mut parts: Vec<(String, Style)> = Vec::new();
    for row in rows {
        let cell = used_cell(scene, row);
        let words = cell.word.map_or(cell.percent, str::to_owned);
        parts.push((format!(" {} ", window_label(row)), TopTheme::dim()));
        parts.push((words, cell.style));
    }
    let taken: u16 = parts.iter().map(|(words, _)| columns(words)).sum();
    let name = rows.first().map_or("", |row| row.account().1);
    let room = width.saturating_sub(taken).max(width / 3);
    let used = columns(name).min(room);
    pen.put_name((0, y), used, name, Style::new());
    pen.run((used, y), &parts);
}
