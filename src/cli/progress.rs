//! How far a backlog has been read, on a terminal; silent everywhere else.

use std::io::{IsTerminal, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{numbers, text};
use crate::config::LogFormat;

/// A bar on stderr. Dropped before its end it vanishes, so that an error stands alone.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    label: String,
}

impl Progress {
    /// A bar over `total_bytes`, if stderr is a terminal and the logs are for people.
    #[must_use]
    pub fn new(label: &str, total_bytes: u64, log_format: LogFormat) -> Self {
        if log_format == LogFormat::Json || !std::io::stderr().is_terminal() {
            return Self::silent();
        }
        Self::on(label, total_bytes, ProgressDrawTarget::stderr())
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
        // The template is a constant; should it ever be wrong, the plain bar will do.
        let style = ProgressStyle::with_template("{msg} [{bar:24}] {percent:>3}% {eta}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style);
        Self {
            bar: Some(bar),
            label: text::name(label),
        }
    }

    /// Where reading is now. Files grow while they are read; then the end moves along.
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

    /// Replaces the bar by a line that stays.
    pub fn finish(self, message: &str) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
            // A terminal that is gone has nobody to tell.
            let _ = writeln!(std::io::stderr(), "{}", text::message(message));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_moves_when_files_grow() {
        let progress = Progress::on("reading", 10, ProgressDrawTarget::hidden());
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
        let progress = Progress::new("reading", 10, LogFormat::Json);
        assert!(progress.bar.is_none());
        progress.advance_to(5, 1, 1);
        progress.finish("read");
    }
}
