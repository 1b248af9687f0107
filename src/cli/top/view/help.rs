//! The help: keys, and the meaning of signs and words.

use super::TopScene;
use super::pen::Pen;
use super::windows::SOURCES;
use crate::cli::top::theme::TopTheme;

/// The marks of an order; in ASCII they are others.
const ORDER: &str = "▾ ▴";

const LINES: [(&str, &str); 41] = [
    ("keys", ""),
    ("q, Esc, Ctrl-C", "quit; Esc first closes what is open"),
    ("Tab", "next pane: accounts, runs, events"),
    ("j k, arrows", "move or scroll"),
    ("Enter", "details of the run or account; Backspace or Esc back"),
    ("1 2 3 4 5", "sums of today, week, month, year, 365 days"),
    ("m", "runs, then models, then routes"),
    ("a t i o c n", "order: latest, total, in, out, cost, name"),
    ("", "the same key again reverses; s takes the next order"),
    ("/", "filter by run, account, label, or the model that is shown"),
    ("p", "pause: the screen stands still, counting goes on"),
    ("r", "read everything again"),
    ("Ctrl-Z", "suspend"),
    ("", ""),
    ("accounts", ""),
    ("77%", "share used; green, yellow from 75 %, red and ! from 90 %"),
    ("48%~", "stale: nothing newer was observed for 5 minutes"),
    ("EXHAUSTED", "used up until the reset"),
    ("REFUSED", "the provider refuses, whatever the share was"),
    ("BLOCKED", "budget, mark or pause; the window column names it"),
    ("expired", "its reset has passed, awaiting news"),
    ("unknown, ?", "not known; never shown as zero"),
    ("-", "there is none: no pace yet, no age of a block, no tokens"),
    ("pace", "share used minus share of the window's time"),
    ("hot +37%", "25 points ahead or more"),
    ("ahead +17%", "less, and used up before its reset at this pace"),
    ("on track", "neither far ahead nor far behind, and lasts"),
    ("chill -30%", "20 points behind or more"),
    ("runs out", "when, at this pace; lasts: not before the reset"),
    ("… more", "where not all rows fit, those in trouble are first;"),
    ("", "Tab to the accounts to move through all"),
    ("", ""),
    ("runs", ""),
    ("model", "of the last use, or most used in 7 days; ? if older"),
    (ORDER, "the order of the rows, and the same reversed"),
    ("in out cache", "tokens of the whole run, at any time"),
    ("tok/m", "counted in the last minute, as seen by this screen"),
    ("cost", "estimate at list price; +?: a part has no price"),
    ("sums of a period", "of the days of this terminal's time zone"),
    ("", ""),
    ("sources", ""),
];

/// Draws the lines from the one scrolled to.
pub fn draw(pen: &mut Pen<'_>, scene: &TopScene<'_>) {
    let sources = SOURCES.iter().map(|(letters, meaning, _)| (*letters, *meaning));
    let lines: Vec<(&str, &str)> = LINES.into_iter().chain(sources).collect();
    let marks = [false, true].map(|is_reversed| scene.theme.order(is_reversed).to_string());
    let marks = marks.join(" ");
    let height = usize::from(pen.height());
    let skipped = scene.ui.lines_skipped.min(lines.len().saturating_sub(height));
    for (y, (name, meaning)) in (0..pen.height()).zip(lines.iter().skip(skipped)) {
        let width = pen.width();
        if meaning.is_empty() {
            pen.put((1, y), width, name, scene.theme.title().patch(TopTheme::strong()));
        } else {
            let name = if *name == ORDER { &marks } else { *name };
            pen.put((2, y), 16, name, TopTheme::strong());
            pen.put(
                (19, y),
                width.saturating_sub(19),
                meaning,
                ratatui::style::Style::new(),
            );
        }
    }
}
