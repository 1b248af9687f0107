//! Rate limit of log messages: of each kind only a bounded number is written in a period; the rest is counted
//! and reported.
//!
//! A kind is a place in the program. `debug` lines are not limited.

use std::collections::HashMap;
use std::fmt::{Debug, Write};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};

use crate::sync::lock;

/// Most lines of one kind in a [`WHILE`].
const LINES_PER_WHILE_MAX: u32 = 100;
pub const WHILE: Duration = Duration::from_secs(10);
/// Longest shown part of a dropped message, in bytes.
const SHOWN_BYTES_MAX: usize = 200;

/// The kinds of this process.
pub static KINDS: LazyLock<Kinds> = LazyLock::new(Kinds::default);

/// Counts of written lines by kind.
#[derive(Debug, Default)]
pub struct Kinds(Mutex<HashMap<Identifier, MessageKind>>);

#[derive(Debug)]
struct MessageKind {
    since: Instant,
    lines: u32,
    left_out: LeftOut,
}

/// Dropped lines of one kind.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    pub lines: u64,
    /// The message of the last one.
    pub last: String,
}

impl Kinds {
    /// True if one more line of this kind is written; else `message` is stored.
    fn takes(&self, kind: Identifier, now: Instant, message: impl FnOnce() -> String) -> bool {
        let mut kinds = lock(&self.0);
        let kind = kinds.entry(kind).or_insert_with(|| MessageKind {
            since: now,
            lines: 0,
            left_out: LeftOut::default(),
        });
        if now.saturating_duration_since(kind.since) >= WHILE {
            (kind.since, kind.lines) = (now, 0);
        }
        if kind.lines < LINES_PER_WHILE_MAX {
            kind.lines += 1;
            return true;
        }
        kind.left_out.lines += 1;
        kind.left_out.last = message();
        false
    }

    /// Takes the counts of dropped lines whose period is over, or all with `at_all`.
    pub fn left_out(&self, now: Instant, at_all: bool) -> Vec<LeftOut> {
        let mut kinds = lock(&self.0);
        let over = kinds.values_mut().filter(|kind| {
            kind.left_out.lines > 0 && (at_all || now.saturating_duration_since(kind.since) >= WHILE)
        });
        over.map(|kind| std::mem::take(&mut kind.left_out)).collect()
    }
}

impl<S: Subscriber> Filter<S> for &'static Kinds {
    // Decided for each event: `event_enabled` must not drop an event without a call of `enabled`.
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        *metadata.level() > Level::INFO
            || self.takes(metadata.callsite(), Instant::now(), || message_of(event))
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
    }
}

fn message_of(event: &Event<'_>) -> String {
    struct Message(String);

    impl Visit for Message {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            if field.name() == "message" {
                // Writing to a string cannot fail.
                let _ = write!(self.0, "{value:?}");
            }
        }
    }

    let mut message = Message(String::new());
    event.record(&mut message);
    let mut text = message.0;
    text.truncate(text.floor_char_boundary(SHOWN_BYTES_MAX));
    text
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// Counts the events that reach it.
    #[derive(Default)]
    struct Count(Mutex<u32>);

    impl<S: Subscriber> Layer<S> for &'static Count {
        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            *self.0.lock().unwrap() += 1;
        }
    }

    #[test]
    fn of_one_kind_only_so_many_are_written_and_the_others_are_counted() {
        let kinds: &'static Kinds = Box::leak(Box::default());
        let count: &'static Count = Box::leak(Box::default());
        let subscriber = tracing_subscriber::registry().with(count.with_filter(kinds));
        tracing::subscriber::with_default(subscriber, || {
            for number in 0..LINES_PER_WHILE_MAX + 7 {
                tracing::warn!("the same, {number}");
                tracing::debug!("all of these");
            }
            tracing::info!("another");
        });
        assert_eq!(*count.0.lock().unwrap(), 2 * LINES_PER_WHILE_MAX + 7 + 1);
        let now = Instant::now();
        // Reported after the end of the period, and once.
        assert_eq!(kinds.left_out(now, false), []);
        let left_out = kinds.left_out(now + WHILE, false);
        assert_eq!(
            left_out,
            [LeftOut {
                lines: 7,
                last: "the same, 106".to_owned()
            }]
        );
        assert_eq!(kinds.left_out(now + WHILE, true), []);
    }

    #[test]
    fn a_kind_is_written_again_after_a_while() {
        let kinds = Kinds::default();
        let began = Instant::now();
        let id = {
            struct Site;
            impl tracing::callsite::Callsite for Site {
                fn set_interest(&self, _: tracing::subscriber::Interest) {}
                fn metadata(&self) -> &Metadata<'_> {
                    unreachable!("it is never registered")
                }
            }
            static SITE: Site = Site;
            Identifier(&SITE)
        };
        let takes = |now| kinds.takes(id.clone(), now, String::new);
        assert!((0..LINES_PER_WHILE_MAX).all(|_| takes(began)));
        assert!(!takes(began));
        assert!(takes(began + WHILE));
        assert_eq!(kinds.left_out(began + WHILE, true)[0].lines, 1);
    }
}
