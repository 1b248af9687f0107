//! The program's own log, on stderr; the only file that names tracing-subscriber's setup.

use std::io::IsTerminal;

use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::config::{LogFormat, LogSettings};

/// Changes the level while running.
#[derive(Clone)]
pub struct Level(reload::Handle<EnvFilter, Registry>);

impl Level {
    /// Takes over new directives, which were checked with the settings.
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
    let layer: Box<dyn Layer<_> + Send + Sync> = match settings.format {
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(std::io::stderr)
            .boxed(),
        LogFormat::Text => {
            let colours = std::io::stderr().is_terminal() && anstream::stderr().is_terminal() && !no_colour();
            fmt::layer()
                .with_ansi(colours)
                .with_target(false)
                .with_writer(std::io::stderr)
                .boxed()
        }
    };
    // A second start in one process (tests) keeps the first.
    let _ = tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .try_init();
    Level(handle)
}

fn filter(directives: &str) -> EnvFilter {
    EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        // As they were checked.
        .with_regex(false)
        .parse_lossy(directives)
}

/// <https://no-color.org>: set and not empty.
fn no_colour() -> bool {
    #[expect(
        clippy::disallowed_methods,
        reason = "a convention of terminals, not a setting of ours"
    )]
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}
