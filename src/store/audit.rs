//! What follows from the responses: every sum that is kept, whether it is in step, and how it is brought back.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use redb::{ReadableTable, Table, WriteTransaction};

use super::error::{DbError, StoreError};
use super::read::Snapshot;
use super::schema::{
    ACCOUNTS, AccountRow, DAYS, FILES, FORGOTTEN_RUNS, FileRow, HOURS, META, MINUTES, MODELS, PATHS,
    RESPONSES, RUN_ACCOUNTS, RUN_DAYS, RUNS, ResponseParts, ResponseRow, RunRow, RunTotalsRow,
    SESSION_COPIES, SESSION_SUMS, SUMS, TOTALS, decode,
};
use super::table::{decode_row, get, put};
use super::write::{Writer, next_sequence};
use crate::dedup::{Response, Totals};
use crate::model::{
    DAY_HOURS, DAY_MS, Dating, HOUR_MS, LineCounts, MINUTE_MS, Millis, ModelNumber, Position, RelativePath,
    ResponseKey, RunId, RunNumber, SessionNumber,
};

/// What a recount says must be otherwise.
#[derive(Clone, Debug, Default)]
pub struct Fixes {
    /// As the logs give them, with this store's run numbers; `None` for one they do not have.
    pub responses: Vec<(ResponseKey, Option<Response>)>,
    pub positions: Vec<(RunId, RelativePath, Position)>,
    pub runs: Vec<RunFix>,
}

/// What a run's row must say; `None` for what it may go on saying.
#[derive(Clone, Debug)]
pub struct RunFix {
    pub run: RunId,
    /// Those of duplicates and suspect clocks stay: they depend on what was read first.
    pub lines: Option<LineCounts>,
    pub files: Option<u64>,
    pub bytes: Option<u64>,
}

/// How much a repair changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Repaired {
    pub responses: u64,
    /// Read positions.
    pub positions: u64,
    /// Counts of lines, files and bytes of runs.
    pub runs: u64,
    /// Rows of the sums, and of the list of files.
    pub sums: u64,
}

/// The sums that follow from the responses, by the keys of their tables.
#[derive(Default)]
struct Derived {
    totals: BTreeMap<RunNumber, Totals>,
    hours: BTreeMap<(u32, RunNumber, ModelNumber), Totals>,
    days: BTreeMap<(u32, ModelNumber), Totals>,
    run_days: BTreeMap<(RunNumber, u32, ModelNumber), Totals>,
    sums: BTreeMap<(u32, ModelNumber), Totals>,
    minutes: BTreeMap<(u32, u32), Totals>,
    session_sums: BTreeMap<SessionNumber, Totals>,
}

/// What numbers mean, for sentences.
struct SumNames {
    runs: BTreeMap<RunNumber, String>,
    models: Vec<Arc<str>>,
    accounts: BTreeMap<u32, String>,
}

impl SumNames {
    fn of(
        runs: &impl ReadableTable<&'static str, &'static [u8]>,
        models: &impl ReadableTable<u32, &'static str>,
        accounts: &impl ReadableTable<u32, &'static [u8]>,
    ) -> Result<Self, DbError> {
        let mut names = Self {
            runs: BTreeMap::new(),
            models: Vec::new(),
            accounts: BTreeMap::new(),
        };
        for entry in runs.iter()? {
            let (id, row) = entry?;
            let row: RunRow = decode_row("runs", row.value())?;
            names.runs.insert(row.number, id.value().to_owned());
        }
        for entry in models.iter()? {
            names.models.push(entry?.1.value().into());
        }
        for entry in accounts.iter()? {
            let (number, row) = entry?;
            let row: AccountRow = decode_row("accounts", row.value())?;
            names.accounts.insert(number.value(), row.id().to_string());
        }
        Ok(names)
    }

    fn run(&self, number: RunNumber) -> &str {
        self.runs.get(&number).map_or("(forgotten)", String::as_str)
    }

    fn model(&self, number: ModelNumber) -> &str {
        self.models.get(number as usize).map_or("(unknown)", |name| name)
    }

    fn account(&self, number: u32) -> &str {
        self.accounts.get(&number).map_or("(unknown)", String::as_str)
    }
}

impl Derived {
    fn of(
        responses: &impl ReadableTable<u128, &'static [u8]>,
        (run_accounts, copies): (
            &impl ReadableTable<u32, u32>,
            &impl ReadableTable<(u128, u32), ()>,
        ),
        names: &SumNames,
    ) -> Result<Self, DbError> {
        let copies = copies.iter()?;
        let copies = copies.map(|entry| Ok(entry?.0.value()));
        let mut copies = copies.peekable();
        let mut accounts = BTreeMap::new();
        for entry in run_accounts.iter()? {
            let (run, account) = entry?;
            accounts.insert(run.value(), account.value());
        }
        let mut derived = Self::default();
        for run in names.runs.keys() {
            derived.totals.insert(*run, Totals::default());
        }
        for entry in responses.iter()? {
            let (key, row) = entry?;
            let key = key.value();
            let row: ResponseRow = decode_row("responses", row.value())?;
            let parts = row.parts().map_err(|error| DbError::row("responses", error))?;
            let one = Totals::of_usage(parts.kind, &parts.usage, parts.is_final);
            if one.is_zero() {
                // Counted under another key. No sum has a row for it.
                continue;
            }
            if parts.session != 0 {
                *derived.session_sums.entry(parts.session).or_default() += one;
            }
            // Both tables are in the order of the keys.
            while let Some(copy) = copies.next_if(|copy: &Result<(u128, u32), DbError>| {
                copy.as_ref().map_or(true, |(of, _)| *of <= key)
            }) {
                let (of, session) = copy?;
                if of == key {
                    *derived.session_sums.entry(session).or_default() += one;
                }
            }
            let (hour, model) = (hour_of(&row), row.model);
            let day = hour / DAY_HOURS;
            let account = accounts.get(&row.run).copied().unwrap_or_default();
            let minute = u32::try_from(row.time / MINUTE_MS).unwrap_or(u32::MAX);
            let owner = if names.runs.contains_key(&row.run) {
                row.run
            } else {
                FORGOTTEN_RUNS
            };
            *derived.totals.entry(owner).or_default() += one;
            *derived.hours.entry((hour, row.run, model)).or_default() += one;
            *derived.days.entry((day, model)).or_default() += one;
            *derived.run_days.entry((row.run, day, model)).or_default() += one;
            *derived.sums.entry((account, model)).or_default() += one;
            if parts.dating != Dating::Unknown {
                *derived.minutes.entry((account, minute)).or_default() += one;
            }
        }
        Ok(derived)
    }
}

fn hour_of(row: &ResponseRow) -> u32 {
    u32::try_from(row.time / HOUR_MS).unwrap_or(u32::MAX)
}

/// A key that says what is kept for it and what must be; `None` for no row.
type Difference<K> = (K, Option<Totals>, Option<Totals>);

/// A key made of numbers.
pub(super) trait NumberKey:
    redb::Key + for<'a> redb::Value<SelfType<'a> = Self> + Ord + Copy + Debug + 'static
{
}
impl<K: redb::Key + for<'a> redb::Value<SelfType<'a> = K> + Ord + Copy + Debug + 'static> NumberKey for K {}

/// Where a table of sums is not what it must be. A row that cannot be read counts as none.
fn differing<K: NumberKey>(
    table: &impl ReadableTable<K, &'static [u8]>,
    must_be: &BTreeMap<K, Totals>,
) -> Result<Vec<Difference<K>>, DbError> {
    let mut found = Vec::new();
    let mut wanted = must_be.iter().peekable();
    for entry in table.iter()? {
        let (key, row) = entry?;
        let key = key.value();
        while let Some((missing, sum)) = wanted.next_if(|(wanted, _)| **wanted < key) {
            found.push((*missing, None, Some(*sum)));
        }
        let sum = wanted.next_if(|(wanted, _)| **wanted == key).map(|(_, sum)| *sum);
        let kept: Option<Totals> = decode(row.value()).ok();
        if kept.is_none() || kept != sum {
            found.push((key, kept, sum));
        }
    }
    found.extend(wanted.map(|(missing, sum)| (*missing, None, Some(*sum))));
    Ok(found)
}

/// Files that no path leads to.
fn pathless(
    paths: &impl ReadableTable<(u32, &'static [u8]), u32>,
    files: &impl ReadableTable<u32, &'static [u8]>,
) -> Result<Vec<u32>, DbError> {
    let mut known = BTreeSet::new();
    for entry in paths.iter()? {
        known.insert(entry?.1.value());
    }
    let mut pathless = Vec::new();
    for entry in files.iter()? {
        let (file, _) = entry?;
        if !known.contains(&file.value()) {
            pathless.push(file.value());
        }
    }
    Ok(pathless)
}

/// Both sides, of which only what differs is named.
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
            // A row of nothing where no row should be.
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

/// When a stretch began that is so many lengths of it after 1970: its first 10 letters are the day, 16 the minute.
fn since(number: u32, length: Millis, letters: usize) -> String {
    let at = Millis::from(number).saturating_mul(length);
    match jiff::Timestamp::from_millisecond(at) {
        Ok(at) => at.to_string().chars().take(letters).collect(),
        Err(_) => number.to_string(),
    }
}

impl Snapshot<'_> {
    /// Compares every sum that is kept with the responses; hears a sentence of each that is not in step. It takes as
    /// long as there are responses.
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
            let names = SumNames::of(&open!(RUNS), &open!(MODELS), &open!(ACCOUNTS))?;
            let responses = open!(RESPONSES);
            let derived = Derived::of(&responses, (&open!(RUN_ACCOUNTS), &open!(SESSION_COPIES)), &names)?;
            let (run, model, account) = (
                |number| names.run(number),
                |number| names.model(number),
                |number| names.account(number),
            );
            for (number, kept, sum) in totals_differing(&open!(TOTALS), &derived.totals)? {
                each(sentence(&format!("total of run {}", run(number)), kept, sum));
            }
            for ((hour, of, by), kept, sum) in differing(&open!(HOURS), &derived.hours)? {
                each(sentence(
                    &format!(
                        "hour {} of run {}, model {}",
                        since(hour, HOUR_MS, 16),
                        run(of),
                        model(by)
                    ),
                    kept,
                    sum,
                ));
            }
            for ((day, by), kept, sum) in differing(&open!(DAYS), &derived.days)? {
                let day = since(day, DAY_MS, 10);
                each(sentence(&format!("day {day} of model {}", model(by)), kept, sum));
            }
            for ((of, day, by), kept, sum) in differing(&open!(RUN_DAYS), &derived.run_days)? {
                each(sentence(
                    &format!(
                        "day {} of run {}, model {}",
                        since(day, DAY_MS, 10),
                        run(of),
                        model(by)
                    ),
                    kept,
                    sum,
                ));
            }
            for ((of, by), kept, sum) in differing(&open!(SUMS), &derived.sums)? {
                each(sentence(
                    &format!("total of account {}, model {}", account(of), model(by)),
                    kept,
                    sum,
                ));
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
    /// Brings the database to what a recount says, and every sum to what then follows from the responses: all of it in
    /// one transaction, or nothing.
    ///
    /// # Errors
    /// As [`Writer::commit`].
    pub fn repair(&mut self, fixes: &Fixes) -> Result<Repaired, StoreError> {
        // A response may bring the name of a model.
        self.names = None;
        self.transact(|write| {
            let mut repaired = Repaired::default();
            repair_responses(write, fixes, &mut repaired)?;
            repair_runs(write, fixes, &mut repaired)?;
            repair_sums(write, &mut repaired)?;
            let mut meta = write.open_table(META)?;
            next_sequence(&mut meta)?;
            Ok(repaired)
        })
    }
}

/// The totals of runs that are not what they must be. A row that cannot be read is damage: it holds more.
fn totals_differing(
    table: &impl ReadableTable<u32, &'static [u8]>,
    must_be: &BTreeMap<RunNumber, Totals>,
) -> Result<Vec<Difference<RunNumber>>, DbError> {
    let mut wanted = must_be.clone();
    let mut found = Vec::new();
    for entry in table.iter()? {
        let (run, row) = entry?;
        let row: RunTotalsRow = decode_row("totals", row.value())?;
        let sum = wanted.remove(&run.value()).unwrap_or_default();
        if row.totals != sum {
            found.push((run.value(), Some(row.totals), Some(sum)));
        }
    }
    found.extend(wanted.into_iter().map(|(run, sum)| (run, None, Some(sum))));
    Ok(found)
}

fn repair_responses(write: &WriteTransaction, fixes: &Fixes, repaired: &mut Repaired) -> Result<(), DbError> {
    let mut models = write.open_table(MODELS)?;
    let mut numbers: BTreeMap<String, ModelNumber> = BTreeMap::new();
    for entry in models.iter()? {
        let (number, name) = entry?;
        numbers.insert(name.value().to_owned(), number.value());
    }
    let mut responses = write.open_table(RESPONSES)?;
    for (key, response) in &fixes.responses {
        repaired.responses += 1;
        let Some(response) = response else {
            responses.remove(key.0)?;
            continue;
        };
        let name = &*response.model;
        let number = if let Some(number) = numbers.get(name) {
            *number
        } else {
            let number = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
            models.insert(number, name)?;
            numbers.insert(name.to_owned(), number);
            number
        };
        // Of which session it is, the logs say in another order.
        let stored: Option<ResponseRow> = get(&responses, key.0)?;
        let stored = stored.map(|row| row.parts()).transpose();
        let stored = stored.map_err(|error| DbError::row("responses", error))?;
        let parts = ResponseParts {
            session: stored.as_ref().map_or(0, |stored| stored.session),
            is_shared: stored.is_some_and(|stored| stored.is_shared),
            is_final: response.is_final,
            kind: response.kind,
            rank: response.rank,
            tier: response.tier,
            dating: response.dating,
            usage: response.usage,
        };
        let row = ResponseRow::new(&parts, number, response.run, response.time);
        put(&mut responses, key.0, &row)?;
    }
    Ok(())
}

fn repair_runs(write: &WriteTransaction, fixes: &Fixes, repaired: &mut Repaired) -> Result<(), DbError> {
    let runs = write.open_table(RUNS)?;
    let paths = write.open_table(PATHS)?;
    let mut files = write.open_table(FILES)?;
    let mut totals = write.open_table(TOTALS)?;
    let number_of = |run: &RunId| -> Result<Option<RunNumber>, DbError> {
        let row: Option<RunRow> = get(&runs, run.as_str())?;
        Ok(row.map(|row| row.number))
    };
    for (run, path, position) in &fixes.positions {
        let Some(number) = number_of(run)? else { continue };
        let key = (number, path.as_os_str().as_bytes());
        let Some(file) = paths.get(key)? else {
            continue;
        };
        let row = FileRow::new(number, &position.cursor, &position.state);
        put(&mut files, file.value(), &row)?;
        repaired.positions += 1;
    }
    for fix in &fixes.runs {
        let Some(number) = number_of(&fix.run)? else {
            continue;
        };
        let mut row: RunTotalsRow = get(&totals, number)?.unwrap_or_default();
        if let Some(lines) = fix.lines {
            row.lines = LineCounts {
                duplicate: row.lines.duplicate,
                clock_suspect: row.lines.clock_suspect,
                ..lines
            };
        }
        row.files = fix.files.unwrap_or(row.files);
        row.bytes = fix.bytes.unwrap_or(row.bytes);
        put(&mut totals, number, &row)?;
        repaired.runs += 1;
    }
    Ok(())
}

fn repair_sums(write: &WriteTransaction, repaired: &mut Repaired) -> Result<(), DbError> {
    macro_rules! open {
        ($table:expr) => {
            write.open_table($table)?
        };
    }
    let names = SumNames::of(&open!(RUNS), &open!(MODELS), &open!(ACCOUNTS))?;
    let responses = open!(RESPONSES);
    let derived = Derived::of(&responses, (&open!(RUN_ACCOUNTS), &open!(SESSION_COPIES)), &names)?;
    let mut totals = open!(TOTALS);
    for (run, _, sum) in totals_differing(&totals, &derived.totals)? {
        let mut row: RunTotalsRow = get(&totals, run)?.unwrap_or_default();
        row.totals = sum.unwrap_or_default();
        put(&mut totals, run, &row)?;
        repaired.sums += 1;
    }
    repaired.sums += rewrite(&mut open!(HOURS), &derived.hours)?
        + rewrite(&mut open!(DAYS), &derived.days)?
        + rewrite(&mut open!(RUN_DAYS), &derived.run_days)?
        + rewrite(&mut open!(SUMS), &derived.sums)?
        + rewrite(&mut open!(MINUTES), &derived.minutes)?
        + rewrite(&mut open!(SESSION_SUMS), &derived.session_sums)?;
    let mut files = open!(FILES);
    for file in pathless(&open!(PATHS), &files)? {
        files.remove(file)?;
        repaired.sums += 1;
    }
    Ok(())
}

/// Brings a table of sums to what it must be; how many rows that changed.
fn rewrite<K: NumberKey>(
    table: &mut Table<'_, K, &'static [u8]>,
    must_be: &BTreeMap<K, Totals>,
) -> Result<u64, DbError> {
    let found = differing(table, must_be)?;
    for (key, _, sum) in &found {
        match sum {
            Some(sum) => put(table, *key, sum)?,
            None => {
                table.remove(*key)?;
            }
        }
    }
    Ok(found.len() as u64)
}
