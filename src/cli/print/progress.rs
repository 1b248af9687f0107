//! Progress of reading a backlog, on a terminal only.

use std::fmt::Write;
use std::io::{self, IsTerminal};
use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

use super::output::Screen;
use super::{numbers, text};
use crate::config::LogFormat;
use crate::stderr;
use crate::sync::lock;

/// Width of a terminal that does not report one.
const COLUMNS: u16 = 80;

/// A progress bar on stderr. It is erased if dropped before its end, so that an error is alone.
#[derive(Debug)]
pub struct ProgressLine {
    bar: Option<ProgressBar>,
    label: String,
}

impl ProgressLine {
    /// A bar over `total_bytes`, if stderr is a terminal and the log format is text.
    #[must_use]
    pub fn new(label: &str, total_bytes: u64, log_format: LogFormat) -> Self {
        if log_format == LogFormat::Json || !io::stderr().is_terminal() {
            return Self::silent();
        }
        let target = if stderr::is_queued() {
            ProgressDrawTarget::term_like(Box::new(Queued::default()))
        } else {
            ProgressDrawTarget::stderr()
        };
        Self::on(label, total_bytes, target)
    }

    /// No bar.
    #[must_use]
    pub fn silent() -> Self {
        Self {
            bar: None,
            label: String::new(),
        }
    }

    fn on(label: &str, total_bytes: u64, target: ProgressDrawTarget) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total_bytes), target);
        // The template is a constant; the default style is the fallback.
        let style = ProgressStyle::with_template("{msg} [{bar:24}] {percent:>3}% {eta}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style);
        Self {
            bar: Some(bar),
            label: text::name(label),
        }
    }

    /// Sets the position. Files grow while they are read; then the total grows too.
    pub fn advance_to(&self, bytes: u64, files: u64, responses: u64) {
        let Some(bar) = &self.bar else { return };
        let total = bar.length().unwrap_or(0).max(bytes);
        bar.set_length(total);
        bar.set_message(format!(
            "{}: {} of {}, {}, {}",
            self.label,
            numbers::bytes(bytes),
            numbers::bytes(total),
            numbers::counted(files, "file"),
            numbers::counted(responses, "response"),
        ));
        bar.set_position(bytes);
    }
}

/// The terminal behind the queue of standard error. A stopped terminal gets no bar.
#[derive(Debug, Default)]
struct Queued(Mutex<String>);

impl Queued {
    fn add(&self, text: std::fmt::Arguments<'_>) -> io::Result<()> {
        let mut frame = lock(&self.0);
        frame.write_fmt(text).map_err(io::Error::other)
    }

    fn moved(&self, steps: usize, direction: char) -> io::Result<()> {
        if steps == 0 {
            return Ok(());
        }
        self.add(format_args!("\x1b[{steps}{direction}"))
    }
}

impl TermLike for Queued {
    fn width(&self) -> u16 {
        let columns = Screen::stderr().columns;
        columns
            .and_then(|columns| u16::try_from(columns).ok())
            .unwrap_or(COLUMNS)
    }

    fn move_cursor_up(&self, steps: usize) -> io::Result<()> {
        self.moved(steps, 'A')
    }

    fn move_cursor_down(&self, steps: usize) -> io::Result<()> {
        self.moved(steps, 'B')
    }

    fn move_cursor_right(&self, steps: usize) -> io::Result<()> {
        self.moved(steps, 'C')
    }

    fn move_cursor_left(&self, steps: usize) -> io::Result<()> {
        self.moved(steps, 'D')
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.add(format_args!("{text}\n"))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.add(format_args!("{text}"))
    }

    fn clear_line(&self) -> io::Result<()> {
        self.add(format_args!("\r\x1b[2K"))
    }

    fn flush(&self) -> io::Result<()> {
        let frame = std::mem::take(&mut *lock(&self.0));
        stderr::draw(frame.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_moves_when_files_grow() {
        let progress = ProgressLine::on("reading", 10, ProgressDrawTarget::hidden());
        progress.advance_to(2048, 1, 1_000);
        let bar = progress.bar.as_ref().unwrap();
        assert_eq!((bar.position(), bar.length()), (2048, Some(2048)));
        assert_eq!(
            bar.message(),
            "reading: 2.0 KiB of 2.0 KiB, 1 file, 1,000 responses"
        );
    }

    #[test]
    fn json_logs_have_no_bar() {
        let progress = ProgressLine::new("reading", 10, LogFormat::Json);
        assert!(progress.bar.is_none());
        progress.advance_to(5, 1, 1);
    }
}
