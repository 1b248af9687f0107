//! Comparison of pruned days with a recount: their responses have no details, so whole days are compared.

use std::collections::BTreeMap;

use super::VerifyReport;
use crate::dedup::{Response, Totals};
use crate::model::format::grouped;
use crate::store::schema::{Tombstone, day_of};
use crate::store::{Horizons, Recorded, SummaryFigures, day_name};

/// The recount of one pruned day.
#[derive(Default)]
struct PrunedDay {
    /// The responses of its tombstones, as the logs give them.
    recounted: Totals,
    /// Responses that still have their details.
    left: Totals,
    /// Tombstones whose responses the logs do not have, or have on another day.
    unknown: u64,
}

/// The pruned days of a database.
#[derive(Default)]
pub(super) struct PrunedRecount {
    horizons: Horizons,
    days: BTreeMap<u32, PrunedDay>,
    /// Responses of the logs whose sums were removed together with all others.
    removed: u64,
}

impl PrunedRecount {
    pub(super) fn new(horizons: Horizons) -> Self {
        Self {
            horizons,
            ..Self::default()
        }
    }

    /// The stored and the recounted response of a key, if it has to be compared by itself.
    pub(super) fn sift(
        &mut self,
        stored: Option<Recorded>,
        counted: Option<Response>,
    ) -> (Option<Response>, Option<Response>) {
        match stored {
            Some(Recorded::Pruned(tombstone)) => self.note_tombstone(tombstone, counted.as_ref()),
            Some(Recorded::Counted(stored)) => {
                let day = day_of(stored.time);
                if day >= self.horizons.details {
                    return (Some(stored), counted);
                }
                self.days.entry(day).or_default().left += Totals::of(&stored);
            }
            // Its key may be gone.
            None => {
                return (
                    None,
                    counted.filter(|it| !self.horizons.has_lost_keys_of(it.time)),
                );
            }
        }
        (None, None)
    }

    fn note_tombstone(&mut self, tombstone: Tombstone, counted: Option<&Response>) {
        if !tombstone.is_counted {
            // One without figures never was in a sum.
            self.removed += u64::from(counted.is_some_and(|counted| Totals::of(counted).messages > 0));
            return;
        }
        let day = self.days.entry(tombstone.day).or_default();
        match counted {
            Some(counted) if day_of(counted.time) == tombstone.day => day.recounted += Totals::of(counted),
            _ => day.unknown += 1,
        }
    }

    /// True if the sums can follow a correction of this response.
    pub(super) fn is_correctable(&self, response: &Response) -> bool {
        day_of(response.time) >= self.horizons.details
    }

    /// Compares whole days, and adds a note on what was pruned. With content that is gone, a day may have had better
    /// copies than the logs have.
    pub(super) fn report(self, figures: &SummaryFigures, some_gone: bool, report: &mut VerifyReport) {
        let Horizons {
            details,
            keys,
            totals,
        } = self.horizons;
        if details > 0 {
            report
                .notes
                .push(format!("details before {} were pruned", day_name(details)));
        }
        if keys > 0 {
            let day = day_name(keys);
            report.notes.push(format!(
                "lines before {day} are not counted any more: their keys were removed"
            ));
        }
        if totals > 0 {
            report
                .notes
                .push(format!("sums before {} were removed", day_name(totals)));
        }
        if self.removed > 0 {
            let one = self.removed == 1;
            let (noun, verb) = if one {
                ("response", "is")
            } else {
                ("responses", "are")
            };
            report.notes.push(format!(
                "{} {noun} in the logs {verb} in no sum: `prune --all` removed everything that was counted until then",
                grouped(self.removed)
            ));
        }
        let (mut later, mut unknown) = (0u64, 0);
        for (number, day) in self.days.range(keys.max(totals)..details) {
            if day.unknown > 0 || some_gone {
                unknown += u64::from(day.unknown > 0);
                continue;
            }
            let mut sum = figures.by_day.get(number).copied().unwrap_or_default();
            sum -= day.left;
            if sum == day.recounted {
                continue;
            }
            let tokens = |of: &Totals| of.input + of.output + of.cache_read + of.cache_creation;
            // Copies that came after the prune changed nothing.
            if sum.messages == day.recounted.messages && tokens(&sum) < tokens(&day.recounted) {
                later += 1;
                continue;
            }
            report.differs(format!(
                "pruned day {}: the store keeps {} messages and {} tokens, the logs give {} and {}",
                day_name(*number),
                sum.messages,
                tokens(&sum),
                day.recounted.messages,
                tokens(&day.recounted)
            ));
        }
        if later > 0 {
            report.notes.push(format!(
                "{later} pruned days have more in the logs than was counted: lines that came after their details were gone"
            ));
        }
        if unknown > 0 {
            report.notes.push(format!(
                "{unknown} pruned days cannot be compared with the logs, which do not have all of their responses"
            ));
        }
    }
}
