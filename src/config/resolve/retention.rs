//! Resolution of the ages at which something is removed.

use std::ops::RangeInclusive;

use super::Resolver;
use crate::config::RetentionSettings;
use crate::config::age::{Age, Keep};

/// The bounds of every age.
const KEEP_RANGE: RangeInclusive<Keep> = Keep::For(Age::days(1))..=Keep::Forever;
const DETAILS_DEFAULT: Keep = Keep::For(Age::days(90));

impl Resolver<'_> {
    pub(super) fn retention(&mut self) -> RetentionSettings {
        let details = self.pick("retention.details", |p| p.retention.details, || DETAILS_DEFAULT);
        let details = self.within("retention.details", details, &KEEP_RANGE);
        let default = || Keep::Forever;
        let tombstones = self.pick("retention.tombstones", |p| p.retention.tombstones, default);
        let totals = self.pick("retention.totals", |p| p.retention.totals, default);
        for (key, keep) in [("retention.tombstones", tombstones), ("retention.totals", totals)] {
            if keep < details {
                self.refuse(
                    key,
                    format!("{keep} is shorter than retention.details, which is {details}: details go first"),
                );
            }
        }
        RetentionSettings {
            details,
            tombstones,
            totals,
        }
    }
}
