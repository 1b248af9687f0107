//! The program's own log on stderr; the only file that sets up tracing-subscriber.

mod kinds;

use std::io::IsTerminal;
use std::time::Instant;

use tracing::{Event, Level as Severity, Subscriber};
use tracing_subscriber::filter::{EnvFilter, FilterExt, LevelFilter};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::config::{LogFormat, LogSettings};
use crate::{stderr, systemd};
use kinds::KINDS;

/// Syslog priorities, which the journal reads.
const PRIORITY_ERROR: u8 = 3;
const PRIORITY_WARNING: u8 = 4;
const PRIORITY_INFO: u8 = 6;
const PRIORITY_DEBUG: u8 = 7;

/// Changes the log level at run time.
#[derive(Clone)]
pub struct Level(reload::Handle<EnvFilter, Registry>);

impl Level {
    /// Applies new directives, which were checked with the settings.
    pub fn set(&self, directives: &str) {
        if self.0.reload(filter(directives)).is_err() {
            tracing::warn!("the log level could not be changed");
        }
    }
}

/// Starts the log. Colours only on a terminal, and not with `NO_COLOR`.
#[must_use]
pub fn start(settings: &LogSettings) -> Level {
    let (filter, handle) = reload::Layer::new(filter(&settings.level));
    let is_journal = systemd::is_stderr_the_journal();
    let layer: Box<dyn Layer<_> + Send + Sync> = match settings.format {
        LogFormat::Json if is_journal => fmt::layer()
            .json()
            .event_format(Prioritised(fmt::format().json().flatten_event(true)))
            .with_writer(|| stderr::LogWriter)
            .boxed(),
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(|| stderr::LogWriter)
            .boxed(),
        // The journal adds the time and the level.
        LogFormat::Text if is_journal => fmt::layer()
            .with_ansi(false)
            .event_format(Prioritised(
                fmt::format().without_time().with_level(false).with_target(false),
            ))
            .with_writer(|| stderr::LogWriter)
            .boxed(),
        LogFormat::Text => {
            let colours = std::io::stderr().is_terminal() && anstream::stderr().is_terminal() && !no_colour();
            fmt::layer()
                .with_ansi(colours)
                .with_target(false)
                .with_writer(|| stderr::LogWriter)
                .boxed()
        }
    };
    // A second start in one process (tests) keeps the first.
    let _ = tracing_subscriber::registry()
        .with(layer.with_filter(filter.and(&*KINDS)))
        .try_init();
    Level(handle)
}

/// Reports dropped lines: those beyond the limit of their kind, and those that were not written. With
/// `is_end` also those that would be reported later.
pub fn report_losses(is_end: bool) {
    for kind in KINDS.left_out(Instant::now(), is_end) {
        tracing::warn!(
            lines = kind.lines,
            last = kind.last,
            "lines of one kind were dropped, too many came within {} s",
            kinds::WHILE.as_secs()
        );
    }
    let lines = stderr::take_unreported();
    if lines > 0 {
        tracing::warn!(
            lines,
            "lines of the log were dropped: standard error did not accept them, or too slowly"
        );
    }
}

/// The text of a failure on standard error.
#[must_use]
pub fn failure(message: &str) -> String {
    aside(PRIORITY_ERROR, message)
}

/// The text of a warning on standard error.
#[must_use]
pub fn warning(message: &str) -> String {
    aside(PRIORITY_WARNING, message)
}

fn aside(priority: u8, message: &str) -> String {
    if systemd::is_stderr_the_journal() {
        prioritised(priority, message)
    } else {
        message.to_owned()
    }
}

/// Writes the priority before each line of an event.
struct Prioritised<F>(F);

impl<S, N, F> FormatEvent<S, N> for Prioritised<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let mut text = String::new();
        self.0.format_event(context, Writer::new(&mut text), event)?;
        let priority = match *event.metadata().level() {
            Severity::ERROR => PRIORITY_ERROR,
            Severity::WARN => PRIORITY_WARNING,
            Severity::INFO => PRIORITY_INFO,
            Severity::DEBUG | Severity::TRACE => PRIORITY_DEBUG,
        };
        writer.write_str(&prioritised(priority, text.trim_end()))?;
        writer.write_char('\n')
    }
}

/// The journal makes an entry of each line that is not empty.
fn prioritised(priority: u8, text: &str) -> String {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let lines: Vec<String> = lines.map(|line| format!("<{priority}>{line}")).collect();
    lines.join("\n")
}

fn filter(directives: &str) -> EnvFilter {
    EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        // Parsed as at the check of the settings.
        .with_regex(false)
        .parse_lossy(directives)
}

/// <https://no-color.org>: set and not empty.
pub fn no_colour() -> bool {
    #[expect(
        clippy::disallowed_methods,
        reason = "a convention of terminals, not a setting of ours"
    )]
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_has_its_priority() {
        assert_eq!(prioritised(PRIORITY_WARNING, "one"), "<4>one");
        assert_eq!(
            prioritised(PRIORITY_ERROR, "one\n\n  two\n \n"),
            "<3>one\n<3>  two"
        );
    }
}
