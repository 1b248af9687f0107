//! The signs and colours of the screen: 16 colours, whose meaning is always in the text too.

use ratatui::style::{Color, Modifier, Style};

use super::model::Weight;
use crate::cli::print::text;

/// A share from this on is a warning.
pub const WARNING_FROM: f64 = 0.75;
/// A share from this on is bad.
pub const BAD_FROM: f64 = 0.90;
/// Parts of a character of a bar.
const EIGHTHS: usize = 8;
const LEFT_BLOCKS: [char; EIGHTHS + 1] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];
const LOW_BLOCKS: [char; EIGHTHS + 1] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const ASCII_LEVELS: [char; EIGHTHS + 1] = [' ', '.', '.', ':', ':', '+', '+', '#', '#'];

/// What the terminal can show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopTheme {
    pub is_ascii: bool,
    pub has_colours: bool,
}

impl TopTheme {
    fn coloured(self, colour: Color) -> Style {
        if self.has_colours {
            Style::new().fg(colour)
        } else {
            Style::new()
        }
    }

    #[must_use]
    pub fn weight(self, weight: Weight) -> Style {
        match weight {
            Weight::Plain => Style::new(),
            Weight::Good => self.coloured(Color::Green),
            Weight::Warning => self.coloured(Color::Yellow),
            Weight::Bad => self.coloured(Color::Red).add_modifier(Modifier::BOLD),
        }
    }

    #[must_use]
    pub fn title(self) -> Style {
        self.coloured(Color::Cyan)
    }

    #[must_use]
    pub const fn dim() -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    #[must_use]
    pub const fn strong() -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// A word that must be seen: used up, paused.
    #[must_use]
    pub fn alarm(self) -> Style {
        self.weight(Weight::Bad).add_modifier(Modifier::REVERSED)
    }

    /// A text from outside, safe for a terminal: without control and direction marks, and with ASCII alone if that
    /// is all there is.
    #[must_use]
    pub fn plain(self, name: &str) -> String {
        let name = text::name(name);
        if !self.is_ascii || name.is_ascii() {
            return name;
        }
        let sign = |letter: char| match letter {
            letter if letter.is_ascii() => letter,
            '…' => '~',
            '─' => '-',
            _ => '?',
        };
        name.chars().map(sign).collect()
    }

    #[must_use]
    pub const fn rule(self) -> &'static str {
        if self.is_ascii { "-" } else { "─" }
    }

    #[must_use]
    pub const fn order(self, is_reversed: bool) -> char {
        match (self.is_ascii, is_reversed) {
            (true, false) => 'v',
            (true, true) => '^',
            (false, false) => '▾',
            (false, true) => '▴',
        }
    }

    /// A share as a bar of this many characters. A share above zero has at least one mark, and only a full one is full.
    #[must_use]
    pub fn bar(self, share: f64, width: usize) -> String {
        let parts = width * EIGHTHS;
        let filled = share_of(share, parts);
        let mut bar = String::with_capacity(width * 3);
        for place in 0..width {
            let part = filled.saturating_sub(place * EIGHTHS).min(EIGHTHS);
            bar.push(match (self.is_ascii, part) {
                (true, 0) => '.',
                (true, part) => {
                    if part * 2 >= EIGHTHS || (place == 0 && part > 0) {
                        '#'
                    } else {
                        '.'
                    }
                }
                (false, 0) => '░',
                (false, part) => LEFT_BLOCKS[part],
            });
        }
        bar
    }

    /// Numbers as a line of blocks, the largest at full height.
    #[must_use]
    pub fn spark(self, numbers: &[u64]) -> String {
        let most = numbers.iter().copied().max().unwrap_or(0);
        let level = |number: u64| {
            if most == 0 || number == 0 {
                return 0;
            }
            let level = u128::from(number) * EIGHTHS as u128 / u128::from(most);
            usize::try_from(level).unwrap_or(EIGHTHS).clamp(1, EIGHTHS)
        };
        numbers.iter().map(|number| self.block(level(*number))).collect()
    }

    /// A block that is filled by so many eighths from below.
    #[must_use]
    pub fn block(self, eighths: usize) -> char {
        let blocks = if self.is_ascii { &ASCII_LEVELS } else { &LOW_BLOCKS };
        blocks[eighths.min(EIGHTHS)]
    }

    /// One row of a chart of shares: each column is filled up to its share; a gap stays empty. `row` counts from the
    /// bottom.
    #[must_use]
    pub fn chart_row(self, shares: &[Option<f64>], row: usize, rows: usize) -> String {
        let of = |share: &Option<f64>| {
            let filled = share.map_or(0, |share| share_of(share, rows * EIGHTHS));
            self.block(filled.saturating_sub(row * EIGHTHS).min(EIGHTHS))
        };
        shares.iter().map(of).collect()
    }
}

/// A share of so many parts: at least one above zero, all of them only from 1 on.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "clamped to the number of parts"
)]
fn share_of(share: f64, parts: usize) -> usize {
    if share.is_nan() || share <= 0.0 {
        return 0;
    }
    ((share.min(1.0) * parts as f64) as usize).max(1)
}

/// The weight of a share.
#[must_use]
pub fn share_weight(share: f64) -> Weight {
    if share >= BAD_FROM {
        Weight::Bad
    } else if share >= WARNING_FROM {
        Weight::Warning
    } else {
        Weight::Good
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_full_only_at_the_end_and_empty_only_at_nothing() {
        let blocks = TopTheme::default();
        let ascii = TopTheme {
            is_ascii: true,
            ..blocks
        };
        for (share, shown, plain) in [
            (0.0, "░░░░", "...."),
            (0.001, "▏░░░", "#..."),
            (0.5, "██░░", "##.."),
            (0.8, "███▏", "###."),
            (0.999, "███▉", "####"),
            (1.0, "████", "####"),
            (7.0, "████", "####"),
            (-1.0, "░░░░", "...."),
            (f64::NAN, "░░░░", "...."),
        ] {
            assert_eq!(blocks.bar(share, 4), shown, "{share}");
            assert_eq!(ascii.bar(share, 4), plain, "{share}");
        }
    }

    #[test]
    fn numbers_are_as_high_as_their_part_of_the_largest() {
        let theme = TopTheme::default();
        assert_eq!(theme.spark(&[0, 1, 500, 1_000]), " ▁▄█");
        assert_eq!(theme.spark(&[0, 0]), "  ");
        assert_eq!(theme.spark(&[u64::MAX, 1]), "█▁");
        let shares = [Some(0.0), Some(0.25), None, Some(1.0)];
        assert_eq!(theme.chart_row(&shares, 0, 2), " ▄ █");
        assert_eq!(theme.chart_row(&shares, 1, 2), "   █");
    }

    #[test]
    fn names_from_outside_lose_what_steers_a_terminal() {
        let theme = TopTheme::default();
        assert_eq!(theme.plain("a\u{1b}[2Jb\u{202e}"), "a\u{fffd}[2Jb\u{fffd}");
        let ascii = TopTheme {
            is_ascii: true,
            ..theme
        };
        assert_eq!(ascii.plain("jörg 日\u{1b}"), "j?rg ??");
    }
}
