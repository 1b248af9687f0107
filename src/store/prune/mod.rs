//! Retention: removes old details, keys and sums in small transactions.
//!
//! [`Pruning`] finds what is old in a snapshot, so that the writer does not search, and hands out steps;
//! [`Writer::prune`](crate::store::Writer::prune) executes one in a transaction of its own. Commits may come between
//! two steps. A prune that ends half-way is finished by the next one.

mod all;
mod details;
mod keys;
mod pack;
mod remove;
mod scan;
mod step;
mod sums;

pub use step::{PruneStep, Pruned, responses_in};

use crate::model::{Millis, ResponseKey};
use crate::store::error::StoreError;
use crate::store::horizon::Horizons;
use crate::store::read::Reader;
use crate::store::schema::day_of;
use crate::store::write::Writer;

/// Days before the present one whose minutes are kept at any horizon: calls and budgets of a day are counted by them.
const MINUTES_DAYS_KEPT: u32 = 2;

/// The aim of a prune.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PruneGoal {
    /// The horizons afterwards, if the stored ones are not later.
    pub horizons: Horizons,
    /// The day before which sums by minute go.
    minutes: u32,
}

impl PruneGoal {
    /// Everything that was counted; the keys stay.
    pub const EVERYTHING: Self = Self {
        horizons: Horizons {
            details: u32::MAX,
            keys: 0,
            totals: u32::MAX,
        },
        minutes: u32::MAX,
    };

    #[must_use]
    pub fn new(horizons: Horizons, now: Millis) -> Self {
        let horizons = Horizons::default().with(horizons);
        let minutes = day_of(now).saturating_sub(MINUTES_DAYS_KEPT);
        Self {
            horizons,
            minutes: horizons.details.min(minutes),
        }
    }
}

/// A prune in progress.
#[derive(Clone, Copy, Debug)]
pub struct Pruning {
    goal: PruneGoal,
    stage: PruneStage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PruneStage {
    Begin,
    /// The responses from this key on.
    Keys(ResponseKey),
    Details,
    Sums,
    Done,
    End,
}

impl Pruning {
    #[must_use]
    pub fn new(goal: PruneGoal) -> Self {
        Self {
            goal,
            stage: PruneStage::Begin,
        }
    }

    /// The next step; `None` at the end. It reads the database and may take some milliseconds.
    ///
    /// # Errors
    /// As [`Reader::snapshot`].
    pub fn next_step(&mut self, reader: &Reader) -> Result<Option<PruneStep>, StoreError> {
        loop {
            match self.stage {
                PruneStage::Begin => {
                    self.stage = PruneStage::Keys(ResponseKey(0));
                    return Ok(Some(PruneStep::Begin(self.goal.horizons)));
                }
                PruneStage::Keys(from) => {
                    let found = reader.snapshot()?.old_keys(from, self.goal.horizons)?;
                    self.stage = found.next.map_or(PruneStage::Details, PruneStage::Keys);
                    if !found.keys.is_empty() {
                        return Ok(Some(PruneStep::Keys {
                            keys: found.keys,
                            before: self.goal.horizons.details,
                        }));
                    }
                }
                PruneStage::Details => {
                    return Ok(Some(PruneStep::Details {
                        before: self.goal.horizons.details,
                        minutes: self.goal.minutes,
                    }));
                }
                PruneStage::Sums if self.goal.horizons.totals > 0 => return Ok(Some(PruneStep::Sums)),
                PruneStage::Sums | PruneStage::Done => {
                    self.stage = PruneStage::End;
                    return Ok(Some(PruneStep::Done(self.goal.horizons)));
                }
                PruneStage::End => return Ok(None),
            }
        }
    }

    /// Takes the result of the last step.
    pub fn note(&mut self, step: &PruneStep, done: &Pruned) {
        match step {
            PruneStep::Details { .. } if !done.is_partial => self.stage = PruneStage::Sums,
            PruneStep::Sums if !done.is_partial => self.stage = PruneStage::Done,
            _ => {}
        }
    }
}

/// Executes all steps of a prune on a database that nothing else writes.
///
/// # Errors
/// As [`Writer::commit`](crate::store::Writer::commit).
pub fn prune_all_steps(writer: &mut Writer, goal: PruneGoal) -> Result<Pruned, StoreError> {
    let (mut pruning, mut pruned) = (Pruning::new(goal), Pruned::default());
    while let Some(step) = pruning.next_step(&writer.reader().clone())? {
        let done = writer.prune(&step)?;
        pruned.add(&done);
        pruning.note(&step, &done);
    }
    Ok(pruned)
}
