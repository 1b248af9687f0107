//! Details of a run or of an account, in place of the panes.

use ratatui::style::Style;

use super::TopScene;
use super::detail_line::{CHART_FROM, DetailLine};
use super::news;
use super::pen::Pen;
use super::{account_details, run_details};
use crate::cli::top::theme::TopTheme;
use crate::cli::top::ui::Opened;

const NUMBER: u16 = 8;
const COST: u16 = 11;

/// Draws the details that are open, from the line scrolled to.
pub fn draw(pen: &mut Pen<'_>, scene: &TopScene<'_>) {
    let width = pen.width();
    let lines = match &scene.ui.opened {
        Some(Opened::Run(id)) => run_details::lines(scene, id),
        Some(Opened::Account(key)) => account_details::lines(scene, key, width),
        None => Vec::new(),
    };
    let lines: Vec<DetailLine> = lines.into_iter().flat_map(|line| line.wrapped(width)).collect();
    let height = usize::from(pen.height());
    let skipped = scene.ui.lines_skipped.min(lines.len().saturating_sub(height));
    for (y, line) in (0..pen.height()).zip(lines.iter().skip(skipped)) {
        match line {
            DetailLine::Words(words, style) => {
                pen.put((1, y), width.saturating_sub(1), words, *style);
            }
            DetailLine::Rule(title) => pen.rule(y, title, TopTheme::strong()),
            DetailLine::Event(one) => news::draw_one(pen, scene, one, y),
            DetailLine::Chart(axis, bars) => {
                pen.put_right((0, y), CHART_FROM - 1, axis, TopTheme::dim());
                pen.put((CHART_FROM, y), width, bars, scene.theme.title());
            }
            DetailLine::Row(name, figures, style) => row(pen, y, name, figures, *style),
        }
    }
}

/// A name and figures, of which the first ones are left out where there is no room.
fn row(pen: &mut Pen<'_>, y: u16, name: &str, figures: &[String], style: Style) {
    let width = pen.width();
    let mut right = width;
    for (index, figure) in figures.iter().rev().enumerate() {
        let column = if index == 0 { COST } else { NUMBER };
        if right < column + 16 {
            break;
        }
        right -= column;
        pen.put_right((right, y), column, figure, style);
    }
    pen.put_name((1, y), right.saturating_sub(2), name, style);
}
