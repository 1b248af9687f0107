//! Reads the sums of time intervals, from the smallest tables that have them.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable};

use super::runs::run_row_of;
use super::series::SeriesRows;
use super::{RunInfo, Snapshot};
use crate::dedup::Totals;
use crate::model::{DAY_QUARTERS, RunId, RunNumber, SeriesNumber};
use crate::store::StoreError;
use crate::store::error::DbError;
use crate::store::schema::{
    DAYS, MINUTES, MODEL_DAYS, MODEL_QUARTERS, ModelSumKey, QUARTERS, RUN_DAYS, SeriesRow,
};
use crate::store::table::{decode_row, get};

/// Names and accounts of run numbers; a number without an entry belongs to a forgotten run.
pub type RunNames = BTreeMap<RunNumber, (RunId, RunInfo)>;

/// A time interval whose sums are in one table.
struct TimePiece {
    /// Days, else quarters.
    is_days: bool,
    range: Range<u32>,
    /// Index of the requested interval that it is a part of.
    stretch: usize,
}

impl TimePiece {
    /// The UTC day of a time in its table.
    const fn day(&self, time: u32) -> u32 {
        if self.is_days { time } else { time / DAY_QUARTERS }
    }
}

/// The place of a sum: time and series.
pub struct SumPlace<'s> {
    /// Index of the requested interval.
    pub stretch: usize,
    /// The UTC day since 1970.
    pub day: u32,
    pub number: SeriesNumber,
    pub series: &'s SeriesRow,
}

impl<'s> SumPlace<'s> {
    const fn new(piece: &TimePiece, day: u32, number: SeriesNumber, series: &'s SeriesRow) -> Self {
        Self {
            stretch: piece.stretch,
            day,
            number,
            series,
        }
    }
}

/// Sums by time and series.
type SumTable = ReadOnlyTable<(u32, u32), &'static [u8]>;

/// Divides intervals, in quarters, into whole UTC days and the remaining quarters.
fn pieces(stretches: &[Range<u32>]) -> Vec<TimePiece> {
    let mut pieces = Vec::with_capacity(stretches.len());
    for (stretch, quarters) in stretches.iter().enumerate() {
        let days = quarters.start.div_ceil(DAY_QUARTERS)..quarters.end / DAY_QUARTERS;
        let mut push = |is_days, range: Range<u32>| {
            if !range.is_empty() {
                pieces.push(TimePiece {
                    is_days,
                    range,
                    stretch,
                });
            }
        };
        if days.is_empty() {
            push(false, quarters.clone());
            continue;
        }
        push(false, quarters.start..days.start * DAY_QUARTERS);
        push(true, days.clone());
        push(false, days.end * DAY_QUARTERS..quarters.end);
    }
    pieces
}

/// The pieces that follow each other in one table, and so are read in one walk.
fn walks(pieces: &[TimePiece]) -> impl Iterator<Item = &[TimePiece]> {
    pieces.chunk_by(|one, next| one.is_days == next.is_days && one.range.end == next.range.start)
}

/// The piece of a walk that a time is in; times come in order.
struct PieceOf<'w> {
    walk: &'w [TimePiece],
    at: usize,
}

impl PieceOf<'_> {
    fn of(&mut self, time: u32) -> &TimePiece {
        while time >= self.walk[self.at].range.end {
            self.at += 1;
        }
        &self.walk[self.at]
    }
}

/// The tables that sums are read from.
struct SumReader {
    days: SumTable,
    quarters: SumTable,
    run_days: ReadOnlyTable<(u32, u32, u32), ()>,
    series: SeriesRows,
}

impl SumReader {
    fn new(read: &ReadTransaction) -> Result<Self, DbError> {
        Ok(Self {
            days: read.open_table(DAYS)?,
            quarters: read.open_table(QUARTERS)?,
            run_days: read.open_table(RUN_DAYS)?,
            series: SeriesRows::new(read)?,
        })
    }

    /// Pieces that follow each other are read in one walk.
    fn all(
        &mut self,
        pieces: &[TimePiece],
        mut each: impl FnMut(&SumPlace<'_>, Totals),
    ) -> Result<(), DbError> {
        for walk in walks(pieces) {
            let (table, name) = if walk[0].is_days {
                (&self.days, "days")
            } else {
                (&self.quarters, "quarters")
            };
            let mut piece = PieceOf { walk, at: 0 };
            let range = (walk[0].range.start, 0)..(walk[walk.len() - 1].range.end, 0);
            for entry in table.range(range)? {
                let (key, row) = entry?;
                let (time, number) = key.value();
                let totals = decode_row(name, row.value())?;
                let piece = piece.of(time);
                let series = self.series.row(number)?;
                each(&SumPlace::new(piece, piece.day(time), number, &series), totals);
            }
        }
        Ok(())
    }

    /// The days and series of a run.
    fn of_run(&self, run: RunNumber, days: Range<u32>) -> Result<Vec<(u32, SeriesNumber)>, DbError> {
        let keys = self.run_days.range((run, days.start, 0)..(run, days.end, 0))?;
        let keys = keys.map(|entry| {
            let (_, day, number) = entry?.0.value();
            Ok((day, number))
        });
        keys.collect()
    }

    /// Reads the rows of one run only.
    fn run(
        &mut self,
        run: RunNumber,
        pieces: &[TimePiece],
        mut each: impl FnMut(&SumPlace<'_>, Totals),
    ) -> Result<(), DbError> {
        for piece in pieces {
            if piece.is_days {
                for (day, number) in self.of_run(run, piece.range.clone())? {
                    if let Some(totals) = get(&self.days, (day, number))? {
                        let series = self.series.row(number)?;
                        each(&SumPlace::new(piece, day, number, &series), totals);
                    }
                }
                continue;
            }
            let days = piece.range.start / DAY_QUARTERS..piece.range.end.div_ceil(DAY_QUARTERS);
            for (day, number) in self.of_run(run, days)? {
                let first = day.saturating_mul(DAY_QUARTERS);
                let of_day = first..first.saturating_add(DAY_QUARTERS);
                let quarters = piece.range.start.max(of_day.start)..piece.range.end.min(of_day.end);
                for quarter in quarters {
                    if let Some(totals) = get(&self.quarters, (quarter, number))? {
                        let series = self.series.row(number)?;
                        each(&SumPlace::new(piece, day, number, &series), totals);
                    }
                }
            }
        }
        Ok(())
    }
}

impl Snapshot<'_> {
    /// Walks over the sums of time intervals, each in quarters of an hour since 1970, in their order, without
    /// relevant gaps or overlaps. With
    /// `run` only the sums of that run, in time that grows with its rows only.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn for_each_usage(
        &self,
        stretches: &[Range<u32>],
        run: Option<RunNumber>,
        each: impl FnMut(&SumPlace<'_>, Totals),
    ) -> Result<(), StoreError> {
        self.reading(|read| {
            let mut reader = SumReader::new(read)?;
            let pieces = pieces(stretches);
            match run {
                Some(run) => reader.run(run, &pieces, each),
                None => reader.all(&pieces, each),
            }
        })
    }

    /// As [`Snapshot::for_each_usage`] for sums over all runs and places, in time that grows with the number of
    /// models and accounts. Passes the index of the interval, the UTC day, and a series without a run and a place.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn for_each_model_usage(
        &self,
        stretches: &[Range<u32>],
        mut each: impl FnMut(usize, u32, &SeriesRow, Totals),
    ) -> Result<(), StoreError> {
        self.reading(|read| {
            let (days, quarters) = (read.open_table(MODEL_DAYS)?, read.open_table(MODEL_QUARTERS)?);
            for walk in walks(&pieces(stretches)) {
                let (table, name) = if walk[0].is_days {
                    (&days, "model_days")
                } else {
                    (&quarters, "model_quarters")
                };
                let mut piece = PieceOf { walk, at: 0 };
                let key = |time: u32| -> ModelSumKey { (time, 0, 0, 0, 0) };
                for entry in table.range(key(walk[0].range.start)..key(walk[walk.len() - 1].range.end))? {
                    let (key, row) = entry?;
                    let key = SeriesRow::of_model_key(key.value());
                    let (time, series) = key.map_err(|error| DbError::row(name, error))?;
                    let piece = piece.of(time);
                    each(
                        piece.stretch,
                        piece.day(time),
                        &series,
                        decode_row(name, row.value())?,
                    );
                }
            }
            Ok(())
        })
    }

    /// The first and the last minute since 1970 in which an account was used, within these.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn minutes_used(&self, account: u32, minutes: Range<u32>) -> Result<Option<(u32, u32)>, StoreError> {
        self.reading(|read| {
            let table = read.open_table(MINUTES)?;
            let mut used = table.range((account, minutes.start)..(account, minutes.end))?;
            let Some(first) = used.next().transpose()?.map(|(key, _)| key.value().1) else {
                return Ok(None);
            };
            let last = used
                .next_back()
                .transpose()?
                .map_or(first, |(key, _)| key.value().1);
            Ok(Some((first, last)))
        })
    }

    /// Passes the day, the series and the sum of each row of the days of some runs to `each`.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn for_each_run_day(
        &self,
        runs: impl Iterator<Item = RunNumber>,
        mut each: impl FnMut(u32, &SeriesRow, &Totals),
    ) -> Result<(), StoreError> {
        self.reading(|read| {
            let mut reader = SumReader::new(read)?;
            let mut pass = |day, series: &SeriesRow, totals: Totals| {
                each(day, series, &totals);
                Ok(())
            };
            for run in runs {
                each_run_day(&mut reader, run, &mut pass)?;
            }
            Ok(())
        })
    }

    /// Names and accounts of these run numbers.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn run_names(&self, numbers: &HashSet<RunNumber>) -> Result<RunNames, StoreError> {
        let infos = self.run_infos_of(|number| numbers.contains(&number))?.into_iter();
        Ok(infos.map(|(id, info)| (info.number, (id, info))).collect())
    }

    /// The number of a run; `None` if it is unknown.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn run_number(&self, run: &RunId) -> Result<Option<RunNumber>, StoreError> {
        self.reading(|read| Ok(run_row_of(read, run)?.map(|row| row.number)))
    }

    /// The first and the last UTC day since 1970 that have sums.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn days_recorded(&self) -> Result<Option<(u32, u32)>, StoreError> {
        self.reading(|read| {
            let table = read.open_table(DAYS)?;
            let (first, last) = (table.first(), table.last());
            let (first, last) = (first?, last?);
            Ok(first
                .zip(last)
                .map(|((first, _), (last, _))| (first.value().0, last.value().0)))
        })
    }
}

/// The sums of a run by day and series.
pub(super) fn run_days(
    read: &ReadTransaction,
    run: RunNumber,
    mut each: impl FnMut(u32, &SeriesRow, Totals) -> Result<(), DbError>,
) -> Result<(), DbError> {
    each_run_day(&mut SumReader::new(read)?, run, &mut each)
}

fn each_run_day(
    reader: &mut SumReader,
    run: RunNumber,
    each: &mut impl FnMut(u32, &SeriesRow, Totals) -> Result<(), DbError>,
) -> Result<(), DbError> {
    for (day, number) in reader.of_run(run, 0..u32::MAX)? {
        if let Some(totals) = get(&reader.days, (day, number))? {
            each(day, &reader.series.row(number)?, totals)?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "one stretch")]
mod tests {
    use super::*;

    #[test]
    fn whole_days_are_read_as_days_and_the_rest_as_quarters() {
        let of = |stretches: &[Range<u32>]| {
            let pieces = pieces(stretches).into_iter();
            let shown = pieces.map(|it| (it.is_days, it.range.start, it.range.end, it.stretch));
            shown.collect::<Vec<_>>()
        };
        assert_eq!(of(&[0..96]), [(true, 0, 1, 0)]);
        assert_eq!(of(&[1..96]), [(false, 1, 96, 0)]);
        assert_eq!(
            of(&[95..193]),
            [(false, 95, 96, 0), (true, 1, 2, 0), (false, 192, 193, 0)]
        );
        assert_eq!(of(&[5..7, 7..96, 96..96]), [(false, 5, 7, 0), (false, 7, 96, 1)]);
        assert_eq!(of(&[]), []);
    }
}
