//! The document of a prune, also for a database without a collector.

use super::summary::totals_of_run;
use crate::api::wire;
use crate::config::Age;
use crate::dedup::Totals;
use crate::model::Millis;
use crate::store::prune::{PruneGoal, Pruned};
use crate::store::{Horizons, day_name, horizon_day};

/// What a prune removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PruneScope {
    Details(Age),
    Totals(Age),
    All,
}

impl PruneScope {
    /// The scope that a request names; else the field that is wrong, and why.
    ///
    /// # Errors
    /// A word or an age is none.
    pub fn of(request: &wire::PruneRequest) -> Result<Self, (&'static str, String)> {
        let age = || {
            let text = request.older_than.as_deref().unwrap_or_default();
            let age: Result<Age, _> = text.parse();
            age.map_err(|error| ("older_than", error.to_string()))
        };
        match request.what.as_str() {
            "details" => Ok(Self::Details(age()?)),
            "totals" => Ok(Self::Totals(age()?)),
            "all" if request.older_than.is_none() => Ok(Self::All),
            "all" => Err(("older_than", "`all` has no age".to_owned())),
            other => Err(("what", format!("{other:?} is not `details`, `totals` or `all`"))),
        }
    }

    /// The request for this scope.
    #[must_use]
    pub fn request(self, dry_run: bool) -> wire::PruneRequest {
        wire::PruneRequest {
            what: self.word().to_owned(),
            older_than: self.age().map(|age| age.to_string()),
            dry_run,
        }
    }

    /// The goal of a prune at this time; `None` for everything.
    #[must_use]
    pub fn goal(self, now: Millis) -> Option<PruneGoal> {
        let day = |age: Age| horizon_day(now, age.millis());
        let horizons = match self {
            Self::Details(age) => Horizons {
                details: day(age),
                ..Horizons::default()
            },
            Self::Totals(age) => Horizons {
                totals: day(age),
                ..Horizons::default()
            },
            Self::All => return None,
        };
        Some(PruneGoal::new(horizons, now))
    }

    fn age(self) -> Option<Age> {
        match self {
            Self::Details(age) | Self::Totals(age) => Some(age),
            Self::All => None,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Details(_) => "details",
            Self::Totals(_) => "totals",
            Self::All => "all",
        }
    }
}

/// A prune, and what is counted around it.
pub struct PruneFigures {
    pub scope: PruneScope,
    pub now: Millis,
    pub dry_run: bool,
    pub pruned: Pruned,
    pub before: Totals,
    pub after: Totals,
    /// Bytes that hold nothing, and the size of the file.
    pub free: Option<(u64, u64)>,
}

/// The document.
#[must_use]
pub fn answer(figures: &PruneFigures) -> wire::PruneAnswer {
    let PruneFigures { scope, pruned, .. } = figures;
    let day = scope.age().map(|age| horizon_day(figures.now, age.millis()));
    wire::PruneAnswer {
        what: scope.word().to_owned(),
        older_than: scope.age().map(|age| age.to_string()),
        dry_run: figures.dry_run,
        before: day.map(day_name),
        responses: pruned.responses,
        keys: pruned.keys,
        observations: pruned.observations,
        limit_events: pruned.limit_events,
        thresholds: pruned.thresholds,
        minutes: pruned.minutes,
        days: pruned.days,
        counted_before: counted(&figures.before),
        counted_after: counted(&figures.after),
        file_bytes: figures.free.map(|(_, bytes)| bytes),
        free_bytes: figures.free.map(|(free, _)| free),
    }
}

fn counted(sums: &Totals) -> wire::PruneTotals {
    let sums = totals_of_run(sums);
    wire::PruneTotals {
        messages: sums.messages,
        total_tokens: sums.totals.total_tokens,
    }
}
