//! Horizons: the UTC days before which something was pruned.
//!
//! **Invariant**: a horizon is stored before, or in the same transaction as, the first removal that it describes,
//! and it never moves back. So a prune that ended half-way is described too.

use redb::{ReadableTable, Table};

use super::error::DbError;
use super::schema::{META_HORIZON, META_HORIZON_KEYS, META_HORIZON_TOTALS, day_of};
use crate::model::{DAY_MS, Millis, is_clock_wrong};

/// Days since 1970, in UTC: of what is earlier, something is gone. 0 if nothing was pruned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Horizons {
    /// Details: responses of earlier days are tombstones.
    pub details: u32,
    /// Keys: responses of earlier days are not known any more, so lines of these days are not counted.
    pub keys: u32,
    /// Sums: those of earlier days are gone.
    pub totals: u32,
}

impl Horizons {
    /// Reads them from `meta`.
    ///
    /// # Errors
    /// The table cannot be read.
    pub fn read(meta: &impl ReadableTable<&'static str, u64>) -> Result<Self, DbError> {
        let day = |key: &'static str| -> Result<u32, DbError> {
            let day = meta.get(key)?;
            Ok(day.map_or(0, |day| u32::try_from(day.value()).unwrap_or(u32::MAX)))
        };
        Ok(Self {
            details: day(META_HORIZON)?,
            keys: day(META_HORIZON_KEYS)?,
            totals: day(META_HORIZON_TOTALS)?,
        })
    }

    /// Stores them.
    ///
    /// # Errors
    /// The table cannot be written.
    pub fn write(self, meta: &mut Table<'_, &'static str, u64>) -> Result<(), DbError> {
        for (key, day) in [
            (META_HORIZON, self.details),
            (META_HORIZON_KEYS, self.keys),
            (META_HORIZON_TOTALS, self.totals),
        ] {
            if day > 0 {
                meta.insert(key, u64::from(day))?;
            }
        }
        Ok(())
    }

    /// The later of each, in their order: what has no sums needs no key, and what has no key has no details.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        let totals = self.totals.max(other.totals);
        let keys = self.keys.max(other.keys).max(totals);
        let details = self.details.max(other.details).max(keys);
        Self {
            details,
            keys,
            totals,
        }
    }

    /// True if a new response of this time is not counted: its key may be gone, so that it may be a copy of one that
    /// was counted. A time of a wrong clock has no age, its keys are kept.
    #[must_use]
    pub fn has_lost_keys_of(&self, time: Millis) -> bool {
        day_of(time) < self.keys && !is_clock_wrong(time)
    }

    /// True if a stored response of this time cannot change any more, as its sums may be gone.
    #[must_use]
    pub fn has_lost_sums_of(&self, time: Millis) -> bool {
        day_of(time) < self.totals
    }
}

/// The first day that is kept if everything strictly older than `age` goes, in whole UTC days.
#[must_use]
pub fn horizon_day(now: Millis, age: Millis) -> u32 {
    day_of(now.saturating_sub(age))
}

/// The beginning of a day since 1970, as in `2026-09-01`.
#[must_use]
pub fn day_name(day: u32) -> String {
    let at = jiff::Timestamp::from_millisecond(Millis::from(day).saturating_mul(DAY_MS));
    match at {
        Ok(at) => at.strftime("%F").to_string(),
        Err(_) => day.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_days_that_are_strictly_older_go() {
        let day = 20_000;
        let midnight = Millis::from(day) * DAY_MS;
        // At midnight the day before is a whole day old, one millisecond earlier it is not.
        assert_eq!(horizon_day(midnight + DAY_MS, DAY_MS), 20_000);
        assert_eq!(horizon_day(midnight + DAY_MS - 1, DAY_MS), 19_999);
        assert_eq!(horizon_day(midnight + 60_000, 60_000), 20_000);
        assert_eq!(horizon_day(1000, DAY_MS), 0);
        assert_eq!(day_name(20_697), "2026-09-01");
    }

    #[test]
    fn what_has_no_sums_needs_no_key() {
        let one = Horizons {
            details: 30,
            keys: 10,
            totals: 0,
        };
        let all = one.with(Horizons {
            totals: 40,
            ..Horizons::default()
        });
        assert_eq!((all.details, all.keys, all.totals), (40, 40, 40));
        assert_eq!(one.with(Horizons::default()), one);
    }

    #[test]
    fn times_of_a_wrong_clock_have_no_age() {
        let horizons = Horizons {
            details: 20_400,
            keys: 20_400,
            totals: 0,
        };
        assert!(horizons.has_lost_keys_of(20_399 * DAY_MS));
        assert!(!horizons.has_lost_keys_of(20_400 * DAY_MS));
        assert!(!horizons.has_lost_keys_of(5 * DAY_MS));
        assert!(!horizons.has_lost_sums_of(5 * DAY_MS));
    }
}
