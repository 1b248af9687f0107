//! The clock: the source of the time of day.
//!
//! A command takes the system's clock and hands it to the parts that use the time, so a test can hand over
//! one that is stopped. A request and a commit read it once. Lengths of time are measured with `Instant`.

use jiff::Timestamp;

use crate::model::Millis;

/// A source of the time of day.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// The time of a stopped clock; `None` for the system's.
    standing: Option<Timestamp>,
}

impl Clock {
    /// The clock of this machine.
    pub const SYSTEM: Self = Self { standing: None };

    /// A stopped clock.
    ///
    /// # Panics
    /// The time is outside of the calendar.
    #[cfg(test)]
    #[must_use]
    pub fn at(time: Millis) -> Self {
        let time = Timestamp::from_millisecond(time).expect("a time of the calendar");
        Self { standing: Some(time) }
    }

    /// The time of day.
    #[must_use]
    pub fn now(self) -> Millis {
        self.timestamp().as_millisecond()
    }

    /// The time of day with the system's resolution.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place; others get a clock")]
    pub fn timestamp(self) -> Timestamp {
        self.standing.unwrap_or_else(Timestamp::now)
    }
}
