//! Pen: writes texts into an area of the screen, each within its own columns.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use unicode_width::UnicodeWidthStr;

use crate::cli::print::text;
use crate::cli::top::theme::TopTheme;

/// Writes within an area and nowhere else.
pub struct Pen<'b> {
    buffer: &'b mut Buffer,
    pub area: Rect,
    pub theme: TopTheme,
}

impl<'b> Pen<'b> {
    pub fn new(buffer: &'b mut Buffer, area: Rect, theme: TopTheme) -> Self {
        let area = area.intersection(buffer.area);
        Self { buffer, area, theme }
    }

    /// A pen for a part of the area.
    pub fn part(&mut self, area: Rect) -> Pen<'_> {
        Pen {
            area: area.intersection(self.area),
            buffer: self.buffer,
            theme: self.theme,
        }
    }

    pub fn width(&self) -> u16 {
        self.area.width
    }

    pub fn height(&self) -> u16 {
        self.area.height
    }

    /// Writes a text into `width` columns from `x` on, in row `y` of the area; what does not fit is cut off. Returns the
    /// columns used.
    pub fn put(&mut self, (x, y): (u16, u16), width: u16, words: &str, style: Style) -> u16 {
        let width = width.min(self.area.width.saturating_sub(x));
        if width == 0 || y >= self.area.height {
            return 0;
        }
        let words = self.theme.plain(words);
        let (left, top) = (self.area.x + x, self.area.y + y);
        let (end, _) = self.buffer.set_stringn(left, top, words, width.into(), style);
        end.saturating_sub(left)
    }

    /// Writes a text that ends in the last of `width` columns.
    pub fn put_right(&mut self, (x, y): (u16, u16), width: u16, words: &str, style: Style) {
        let words = self.theme.plain(words);
        let used = columns(&words).min(width);
        self.put((x + (width - used), y), used, &words, style);
    }

    /// Writes a name, shortened in the middle if it does not fit.
    pub fn put_name(&mut self, at: (u16, u16), width: u16, name: &str, style: Style) {
        let name = text::without_middle(&self.theme.plain(name), width.into());
        self.put(at, width, &name, style);
    }

    /// Writes texts one after another; returns the column after the last.
    pub fn run(&mut self, (x, y): (u16, u16), parts: &[(String, Style)]) -> u16 {
        let mut at = x;
        for (words, style) in parts {
            at += self.put((at, y), self.area.width.saturating_sub(at), words, *style);
        }
        at
    }

    /// Draws a line through the row, with a title.
    pub fn rule(&mut self, y: u16, title: &str, style: Style) {
        let rule = self.theme.rule().repeat(self.area.width.into());
        self.put((0, y), self.area.width, &rule, TopTheme::dim());
        if !title.is_empty() && self.area.width > 4 {
            self.put((2, y), self.area.width - 4, &format!(" {title} "), style);
        }
    }

    /// Adds a style to everything in the area.
    pub fn restyle(&mut self, style: Style) {
        self.buffer.set_style(self.area, style);
    }
}

/// Columns of a text; long ones count as the largest number.
pub fn columns(words: &str) -> u16 {
    u16::try_from(words.width()).unwrap_or(u16::MAX)
}
