//! Sums derived from the responses: comparison with the stored sums, and repair.

mod derived;
mod names;
mod repair;

use super::error::StoreError;
use super::read::{ResponseOrigin, Snapshot};
use super::schema::{
    ACCOUNTS, DAYS, FILES, META, MINUTES, MODELS, PATHS, PLACE_NUMBERS, PLACES, QUARTERS, RECORDS, RESPONSES,
    ROUTE_NUMBERS, ROUTES, RUN_DAYS, RUNS, SERIES, SERIES_NUMBERS, SERIES_SUMS, SESSION_COPIES, SESSION_SUMS,
    TOTALS,
};
use super::write::{Writer, next_sequence};
use crate::dedup::{Response, Totals};
use crate::model::{
    DAY_MS, LineCounts, MINUTE_MS, Millis, Position, QUARTER_MS, RelativePath, ResponseKey, RunId,
};
#[cfg(test)]
pub(super) use derived::NumberKey;
use derived::{Derived, differing, keys_differing, pathless, totals_differing};
use names::SumNames;
use repair::{repair_names, repair_responses, repair_runs, repair_sums};

/// Corrections found by a recount.
#[derive(Clone, Debug, Default)]
pub struct Fixes {
    pub responses: Vec<ResponseFix>,
    pub positions: Vec<(RunId, RelativePath, Position)>,
    pub runs: Vec<RunFix>,
}

/// The correct value of a response.
#[derive(Clone, Debug)]
pub struct ResponseFix {
    pub key: ResponseKey,
    /// The response as read from the logs, with this store's run number; `None` if the logs do not have it.
    pub response: Option<Response>,
    /// The series of that response; a response that is stored for the same run keeps its series.
    pub origin: Option<ResponseOrigin>,
}

/// The correct fields of a run's row; `None` leaves a field unchanged.
#[derive(Clone, Debug)]
pub struct RunFix {
    pub run: RunId,
    /// The counts of duplicates and suspect clocks are not corrected: they depend on the order of reading.
    pub lines: Option<LineCounts>,
    pub files: Option<u64>,
    pub bytes: Option<u64>,
}

/// Number of changes made by a repair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Repaired {
    pub responses: u64,
    /// Read positions.
    pub positions: u64,
    /// Counts of lines, files and bytes of runs.
    pub runs: u64,
    /// Rows of the sums and of the list of files.
    pub sums: u64,
}

/// The stored and the derived sum; only the fields that differ are named.
fn sentence(what: &str, kept: Option<Totals>, sum: Option<Totals>) -> String {
    let fields = |totals: Option<Totals>| {
        let of = totals.unwrap_or_default();
        [
            ("messages", i128::from(of.messages)),
            ("without figures", of.without_figures.into()),
            ("unfinished", of.unfinished.into()),
            ("advisor calls", of.advisor_calls.into()),
            ("input", of.input),
            ("output", of.output),
            ("cache read", of.cache_read),
            ("cache creation", of.cache_creation),
            ("of that for 5 minutes", of.cache_creation_5m),
            ("of that for 1 hour", of.cache_creation_1h),
            ("web searches", of.web_search),
            ("thinking", of.thinking),
            ("fallbacks", of.fallbacks.into()),
            ("failed attempts", of.failed_attempts.into()),
            ("estimated", of.estimated),
        ]
    };
    let told = |totals: Option<Totals>, other: Option<Totals>| {
        let both = fields(totals).into_iter().zip(fields(other));
        let differ = both.filter(|(one, other)| one != other);
        let named: Vec<_> = differ
            .map(|((name, count), _)| format!("{name} {count}"))
            .collect();
        match totals {
            None => "nothing".to_owned(),
            // A row of zeros where there must be no row.
            Some(_) if named.is_empty() => "a row without anything".to_owned(),
            Some(_) => named.join(", "),
        }
    };
    format!(
        "{what}: the store keeps {}, its responses sum up to {}",
        told(kept, sum),
        told(sum, kept)
    )
}

/// The start of interval `number` of this length, counted from 1970: its first 10 letters are the day, 16 the
/// minute.
fn since(number: u32, length: Millis, letters: usize) -> String {
    let at = Millis::from(number).saturating_mul(length);
    match jiff::Timestamp::from_millisecond(at) {
        Ok(at) => at.to_string().chars().take(letters).collect(),
        Err(_) => number.to_string(),
    }
}

impl Snapshot<'_> {
    /// Compares every stored sum with the responses, and calls `report` with a sentence for each difference.
    /// The time it takes grows with the number of responses.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn compare_sums(&self, mut each: impl FnMut(String)) -> Result<(), StoreError> {
        self.reading(|read| {
            macro_rules! open {
                ($table:expr) => {
                    read.open_table($table)?
                };
            }
            let names = SumNames::of(
                &open!(RUNS),
                &open!(MODELS),
                &open!(ACCOUNTS),
                (&open!(SERIES), &open!(PLACES)),
            )?;
            let (responses, records) = (open!(RESPONSES), open!(RECORDS));
            let derived = Derived::of(&responses, &open!(SESSION_COPIES), &records, &names)?;
            for (key, must_be) in names.series_lost(&open!(SERIES_NUMBERS))? {
                each(format!("the key {key:?} of a series must lead to {must_be:?}"));
            }
            for ((session, project), must_be) in names.places_lost(&open!(PLACE_NUMBERS))? {
                each(format!(
                    "the key of session {session}, project {project} must lead to {must_be:?}"
                ));
            }
            for ((profile, route, instance), must_be) in SumNames::routes_lost(&open!(ROUTES), &open!(ROUTE_NUMBERS))?
            {
                each(format!(
                    "the key of profile {profile}, route {route}, instance {instance} must lead to {must_be:?}"
                ));
            }
            for key in &derived.lost {
                each(format!("record {:032x} has no response", key.0));
            }
            for key in &derived.misplaced {
                each(format!(
                    "response {:032x} is in a series of another price class",
                    key.0
                ));
            }
            let (run, series, account) = (
                |number| names.run(number),
                |number| names.series(number),
                |number| names.account(number),
            );
            for (number, kept, sum) in totals_differing(&open!(TOTALS), &derived.totals)? {
                each(sentence(&format!("total of run {}", run(number)), kept, sum));
            }
            for ((quarter, of), kept, sum) in differing(&open!(QUARTERS), &derived.quarters)? {
                let quarter = since(quarter, QUARTER_MS, 16);
                each(sentence(
                    &format!("quarter-hour {quarter} of {}", series(of)),
                    kept,
                    sum,
                ));
            }
            for ((day, of), kept, sum) in differing(&open!(DAYS), &derived.days)? {
                let day = since(day, DAY_MS, 10);
                each(sentence(&format!("day {day} of {}", series(of)), kept, sum));
            }
            for ((_, day, of), must_be) in keys_differing(&open!(RUN_DAYS), &derived.run_days)? {
                let (day, must) = (since(day, DAY_MS, 10), if must_be { "must" } else { "must not" });
                each(format!("the days of its run {must} have {day} of {}", series(of)));
            }
            for (of, kept, sum) in differing(&open!(SERIES_SUMS), &derived.series_sums)? {
                each(sentence(&format!("total of {}", series(of)), kept, sum));
            }
            for ((of, minute), kept, sum) in differing(&open!(MINUTES), &derived.minutes)? {
                each(sentence(
                    &format!(
                        "minute {} of account {}",
                        since(minute, MINUTE_MS, 16),
                        account(of)
                    ),
                    kept,
                    sum,
                ));
            }
            for (session, kept, sum) in differing(&open!(SESSION_SUMS), &derived.session_sums)? {
                each(sentence(&format!("total of session {session}"), kept, sum));
            }
            for file in pathless(&open!(PATHS), &open!(FILES))? {
                each(format!("file {file} has a read position and no path"));
            }
            Ok(())
        })
    }
}

impl Writer {
    /// Corrects the database by a recount, and every sum by the corrected responses: all of it in one
    /// transaction, or nothing.
    ///
    /// # Errors
    /// As [`Writer::commit`].
    pub fn repair(&mut self, fixes: &Fixes) -> Result<Repaired, StoreError> {
        // A response may bring a new model name.
        self.names = None;
        self.transact(|write| {
            let mut repaired = Repaired::default();
            repair_names(write, &mut repaired)?;
            repair_responses(write, fixes, &mut repaired)?;
            repair_runs(write, fixes, &mut repaired)?;
            repair_sums(write, &mut repaired)?;
            let mut meta = write.open_table(META)?;
            next_sequence(&mut meta)?;
            Ok(repaired)
        })
    }
}
