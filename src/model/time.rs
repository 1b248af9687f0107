//! Times in milliseconds, and the upper bound on the times of lines.

/// Milliseconds since 1970-01-01T00:00:00Z.
pub type Millis = i64;

/// Milliseconds in a minute.
pub const MINUTE_MS: Millis = 60_000;

/// Milliseconds in a quarter of an hour, the finest interval of sums: every time zone differs from UTC by
/// whole quarters.
pub const QUARTER_MS: Millis = 900_000;

/// Milliseconds in an hour.
pub const HOUR_MS: Millis = 3_600_000;

/// Quarters of an hour in a day.
pub const DAY_QUARTERS: u32 = 96;

/// Milliseconds in a day.
pub const DAY_MS: Millis = 86_400_000;

/// 2025-01-01. A clock with an earlier time is wrong: this program is younger, and so are the agents it
/// reads.
const CLOCK_MS_MIN: Millis = 1_735_689_600_000;

/// True if the clock is before 2025, so unset, as after a start of the machine.
#[must_use]
pub const fn is_clock_wrong(now: Millis) -> bool {
    now < CLOCK_MS_MIN
}

/// The latest accepted time of a line that is read at `now`: allows a day of skew. With a wrong clock every
/// time is accepted.
#[must_use]
pub const fn believed_until(now: Millis) -> Millis {
    if is_clock_wrong(now) {
        Millis::MAX
    } else {
        now.saturating_add(DAY_MS)
    }
}

/// A time that is not later than the clock's, unless the clock is wrong.
#[must_use]
pub fn not_after(now: Millis, time: Millis) -> Millis {
    if is_clock_wrong(now) { time } else { time.min(now) }
}
