//! Any bytes as a row, and a whole database with any of its bytes changed.

use std::fmt::Debug;

use redb::{Database, ReadableTable};

use super::disk::Disk;
use super::*;
use crate::fuzz::{self, Target, dice};
use crate::model::{DAY_QUARTERS, LimitSource, LimitStatus, Observation, StopReason};
use crate::quota::exhaustion::Cause;
use crate::quota::notice::NoticePhase;
use crate::store::prune::{PruneGoal, PruneStep, prune_all_steps};
use crate::store::schema::{
    AccountLimitsRow, AccountRow, DeferredRow, FileRow, FiredRow, ForgottenRow, HistoryRow, LatchRow,
    LimitEventRow, MarkRow, OutboxRow, PlaceRow, PollRow, RecordRow, ResponseRow, RouteRow, RunInfoRow,
    RunRow, RunTotalsRow, SeriesRow, Stored, WindowRow, decode, encode,
};

static ROWS: Target = Target {
    name: "rows",
    test: "store::tests::fuzz::any_bytes",
    inputs: 30_000,
    tokens: &[
        b"\x01",
        b"\x00",
        b"\x02",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\xff\xff\xff\xff\x0f",
        b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80",
        b"\x00\x00\x00\x00\x00\x00\xf8\x7f",
        b"\x00\x00\x00\x00\x00\x00\xf0\xff",
    ],
    lines_of: &[],
    giant_bytes: 1 << 20,
};

static DATABASE: Target = Target {
    name: "database",
    test: "store::tests::fuzz::a_database",
    inputs: 500,
    tokens: &[
        b"\x00\x00\x00\x00\x01",
        b"\x00\x00\x00\x09\x00",
        b"\x00\x00\x10\x00\xff",
    ],
    lines_of: &[],
    giant_bytes: 4096,
};

static CONTENTS: Target = Target {
    name: "contents",
    test: "store::tests::fuzz::a_sound_database",
    inputs: 500,
    tokens: ROWS.tokens,
    lines_of: &[],
    giant_bytes: 4096,
};

/// Passes every type of row to a macro.
macro_rules! every_row {
    ($each:ident) => {
        $each!(
            RunRow,
            FileRow,
            ResponseRow,
            SeriesRow,
            PlaceRow,
            RouteRow,
            RecordRow,
            RunTotalsRow,
            RunInfoRow,
            ForgottenRow,
            AccountRow,
            WindowRow,
            HistoryRow,
            LimitEventRow,
            FiredRow,
            MarkRow,
            PollRow,
            DeferredRow,
            AccountLimitsRow,
            OutboxRow,
            LatchRow,
            Totals
        );
    };
}

#[test]
fn any_bytes_are_a_row_or_an_error() {
    fuzz::run_with(&ROWS, rows(), || judge_row);
}

#[test]
fn a_database_with_any_bytes_changed_is_refused_or_answers() {
    fuzz::run_with(&DATABASE, vec![Vec::new(), b"\0\0\0\0\x01".to_vec()], || {
        let image = small();
        move |input: &[u8]| judge_image(&image, input)
    });
}

#[test]
fn a_sound_database_with_any_rows_is_refused_or_answers() {
    fuzz::run_with(&CONTENTS, rows(), || {
        let image = small();
        move |input: &[u8]| judge_contents(&image, input)
    });
}

fn saw(share: f64, reset_at: Option<Millis>, status: LimitStatus) -> Observation {
    Observation {
        window: "five_hour".into(),
        utilization: Some(share),
        remaining: Some(7),
        limit: Some(9),
        reset_at,
        observed_at: Some(NOW),
        status,
        source: LimitSource::Headers,
        session: None,
        request: None,
    }
}

/// A row of each type.
fn rows() -> Vec<Vec<u8>> {
    let mut store = Writer::on(Disk::new(&small(), false, fastrand::Rng::with_seed(0)));
    store.reopen().unwrap();
    let snapshot = read(&store);
    let mut rows = Vec::new();
    macro_rules! take {
        ($($table:ident),*) => { $(
            let table = snapshot.reading(|read| Ok(read.open_table(schema::$table)?)).unwrap();
            rows.extend(table.iter().unwrap().map(|row| row.unwrap().1.value().to_vec()).take(3));
        )* };
    }
    take!(
        RUNS,
        FILES,
        RESPONSES,
        TOTALS,
        SERIES,
        ROUTES,
        RECORDS,
        PLACES,
        QUARTERS,
        ACCOUNTS,
        RUN_INFO,
        FORGOTTEN,
        WINDOWS,
        OBSERVATIONS
    );
    take!(
        LIMIT_EVENTS,
        FIRED,
        MARKS,
        POLLS,
        DEFERRED,
        ACCOUNT_LIMITS,
        OUTBOX,
        LATCHES
    );
    let deferred = DeferredRow::new(3, &saw(0.5, None, LimitStatus::Unknown));
    rows.push(encode(&deferred).unwrap());
    assert!(rows.len() > 14, "{} rows", rows.len());
    rows
}

fn judge_row(input: &[u8]) {
    fn comes_back<R: Stored + Debug>(input: &[u8]) -> Option<R> {
        let row: R = decode(input).ok()?;
        let bytes = encode(&row).unwrap();
        let again: R = decode(&bytes).unwrap();
        // Bytes, not rows: NaN does not equal itself.
        assert_eq!(encode(&again).unwrap(), bytes, "{row:?}");
        assert!(
            bytes.len() <= input.len(),
            "the bytes of {row:?} are not all of it"
        );
        let beyond = [&bytes[..], b"\0"].concat();
        assert!(
            decode::<R>(&beyond).is_err(),
            "bytes after {row:?} are not noticed"
        );
        Some(row)
    }
    macro_rules! all {
        ($($row:ty),*) => { $( let _ = comes_back::<$row>(input); )* };
    }
    every_row!(all);
    if let Some(row) = comes_back::<FileRow>(input) {
        assert_eq!(FileRow::new(row.run, &row.cursor(), &row.position().state), row);
    }
    if let Some(row) = comes_back::<ResponseRow>(input)
        && let Ok(parts) = row.parts()
    {
        assert_eq!(ResponseRow::new(&parts, row.series, row.time), row);
    }
    if let Some(row) = comes_back::<DeferredRow>(input) {
        let bytes = encode(&row).unwrap();
        let again = DeferredRow::new(row.account, &row.observation());
        assert_eq!(encode(&again).unwrap(), bytes);
    }
    if let Some(row) = comes_back::<AccountRow>(input) {
        assert_eq!(AccountRow::new(&row.clone().id()), row);
    }
}

/// A small database with a row in every table.
fn small() -> Vec<u8> {
    let disk = Disk::new(&[], false, fastrand::Rng::with_seed(0));
    let mut store = Writer::on(disk.clone());
    store.reopen().unwrap();
    store.control().set_targets([outbox::target("a", &["*"])].into());
    store.begin().unwrap();
    for (number, run) in ["one", "two", "gone"].into_iter().enumerate() {
        let id = RunId::new(run).unwrap();
        let start = Start {
            run: id.clone(),
            account: AccountId::default(),
            labels: Some([("project".into(), "alpha".into())].into()),
            mount: Some(Some("/var/lib/logs".into())),
            lease: None,
        };
        store.start(&[start], number == 0, NOW).unwrap();
        let records = (0..20u8).map(|key| {
            record(
                key.into(),
                5 + u64::from(key),
                Some(NOW - 3_600_000 * i64::from(key)),
            )
        });
        let mut one = batch(run, "a.jsonl", None, 10, records.collect());
        one.observations = vec![saw(0.3, Some(NOW + 9_000_000), LimitStatus::Allowed)];
        store.commit(&[one]).unwrap();
        if number == 0 {
            store.apply_deferred(NOW).unwrap();
        }
    }
    for (share, status) in [(0.8, LimitStatus::Allowed), (1.0, LimitStatus::Rejected)] {
        let reported = AccountObservations {
            account: AccountId::default(),
            observations: vec![saw(share, Some(NOW + 9_000_000), status)],
        };
        store.observe(&[reported], NOW).unwrap();
    }
    let paused = AccountObservations {
        account: AccountId::default(),
        observations: vec![Observation {
            window: crate::model::window_name::COOL_DOWN.into(),
            utilization: None,
            ..saw(1.0, None, LimitStatus::Rejected)
        }],
    };
    store.observe(&[paused], NOW).unwrap();
    let posted = [records::posted("1", Some("one")), records::posted("2", None)];
    store.commit_posted(&[], &posted, NOW).unwrap();
    let cause = Cause {
        until: NOW,
        reason: "asked".into(),
        source: "someone".into(),
        since: NOW,
    };
    store.mark(&AccountId::default(), Some(&cause)).unwrap();
    store.note(&[outbox::change(1, NOW)], NOW).unwrap();
    let gone = RunId::new("gone").unwrap();
    store.stop(&[(gone.clone(), StopReason::Asked)], NOW).unwrap();
    let forget = ForgetRun {
        run: gone,
        directory_is_there: true,
    };
    store.forget(&[forget], NOW).unwrap();
    store.close();
    disk.image()
}

/// Runs every query, and commits. An error is a valid result.
#[expect(clippy::single_range_in_vec_init, reason = "one stretch")]
fn ask(store: &mut Writer) -> Result<(), StoreError> {
    let snapshot = store.reader().snapshot()?;
    snapshot.sequence()?;
    snapshot.counters()?;
    let (figures, quota) = (snapshot.summary()?, snapshot.quota(0)?);
    snapshot.run_infos()?;
    snapshot.run_numbers()?;
    snapshot.rebuilt()?;
    snapshot.horizons()?;
    snapshot.would_prune(None)?;
    snapshot.latest()?;
    snapshot.sums()?;
    snapshot.for_each_usage(&[1..DAY_QUARTERS * 30_000 + 1], None, |_, _| {})?;
    snapshot.series_names()?;
    snapshot.merge_join(&read(&memory()), |_, _, _| {})?;
    for (id, sums) in &quota.accounts {
        for name in sums.windows.keys() {
            snapshot.history(id, name)?;
        }
    }
    for run in figures.runs.keys() {
        if let Ok(run) = RunId::new(run) {
            snapshot.run(&run)?;
            snapshot.positions(&run)?;
            snapshot.account_of(&run)?;
            snapshot.run_accounts(&run)?;
            let number = snapshot.run_number(&run)?;
            snapshot.for_each_usage(&[0..7, 7..u32::MAX], number, |_, _| {})?;
        }
    }
    snapshot.waiting_notices()?;
    snapshot.latches()?;
    let waiting = snapshot.first_notice("a")?;
    drop(snapshot);
    store.begin()?;
    let target = || "a".into();
    store.control().set_targets([outbox::target("a", &["*"])].into());
    store.note(&[outbox::change(1, NOW + 1), outbox::change(2, NOW)], NOW)?;
    if let Some((place, _)) = waiting {
        let phase = NoticePhase::Failed;
        let finish = OutboxChange::Finish {
            target: target(),
            place,
            phase,
        };
        store.change_outbox(&finish, NOW)?;
    }
    let (target, before) = (target(), NOW + 1);
    store.change_outbox(&OutboxChange::DropOlder { target, before }, NOW)?;
    store.control().set_targets([outbox::target("b", &["*"])].into());
    store.change_outbox(&OutboxChange::DropUnknown, NOW)?;
    store.apply_deferred(NOW)?;
    let found = store
        .reader()
        .snapshot()?
        .positions(&RunId::new("two").unwrap())?;
    let mut more = batch(
        "two",
        "a.jsonl",
        Some(10),
        20,
        vec![record(1, 99, Some(NOW)), record(77, 9, None)],
    );
    more.expect = found.values().next().map(|stored| stored.cursor);
    more.observations = vec![saw(0.99, Some(NOW + 9_000_000), LimitStatus::Allowed)];
    store.commit(&[more])?;
    let one = RunId::new("one").unwrap();
    store.stop(&[(one.clone(), StopReason::Idle)], NOW)?;
    let forget = ForgetRun {
        run: one,
        directory_is_there: false,
    };
    store.forget(&[forget], NOW)?;
    store.end_backlog()?;
    let horizons = Horizons {
        totals: horizon_day(NOW, 0),
        ..Horizons::default()
    };
    prune_all_steps(store, PruneGoal::new(horizons, NOW))?;
    store.reader().snapshot()?.summary()?;
    store.prune(&PruneStep::All)?;
    store.reader().snapshot()?.summary()?;
    Ok(())
}

/// Five bytes are a place and the bytes written there; the last one to four are the length to which the file
/// is cut.
fn judge_image(image: &[u8], input: &[u8]) {
    let mut image = image.to_vec();
    let changes = input.chunks_exact(5);
    let cut = changes.remainder();
    for change in changes {
        let place = u32::from_be_bytes([change[0], change[1], change[2], change[3]]) as usize;
        // Half of all places are at the start of the file: there are more fields to corrupt.
        let place = if place.is_multiple_of(2) {
            place / 2 % 1024
        } else {
            place / 2 % image.len()
        };
        image[place] = change[4];
    }
    if let [first, ..] = cut {
        let length = image.len() * usize::from(*first) / 256;
        image.truncate(length.max(1));
    }
    let disk = Disk::new(&image, false, dice(input));
    let mut store = Writer::on(disk);
    match store.reopen() {
        Ok(()) => {
            ask(&mut store).unwrap();
            store.examine().unwrap();
            ask(&mut store).unwrap();
        }
        // It is set aside then, and the logs are read again; any other error would prevent the collector from
        // starting.
        Err(error) => assert!(error.is_damage(), "{error:?}"),
    }
}

/// Writes the input as a row of each table, with redb itself.
fn judge_contents(image: &[u8], input: &[u8]) {
    let disk = Disk::new(image, false, dice(input));
    let database = Database::builder().create_with_backend(disk.clone()).unwrap();
    let write = database.begin_write().unwrap();
    let mut random = dice(input);
    macro_rules! put {
        ($($table:ident),*) => { $(
            if random.u32(..4) == 0 {
                let mut table = write.open_table(schema::$table).unwrap();
                let keys: Vec<_> = table.iter().unwrap().map(|row| row.unwrap().0.value().to_owned()).collect();
                for key in keys {
                    if random.bool() {
                        table.insert(key, input).unwrap();
                    }
                }
            }
        )* };
    }
    put!(
        FILES,
        RESPONSES,
        TOTALS,
        QUARTERS,
        DAYS,
        SERIES,
        PLACES,
        ACCOUNTS,
        RUN_INFO,
        SERIES_SUMS,
        MODEL_QUARTERS,
        MODEL_DAYS,
        MINUTES,
        MARKS,
        POLLS,
        FIRED,
        DEFERRED,
        ACCOUNT_LIMITS
    );
    macro_rules! put_by_name {
        ($($table:ident: $key:expr;)*) => { $(
            if random.u32(..4) == 0 {
                let mut table = write.open_table(schema::$table).unwrap();
                table.insert($key, input).unwrap();
            }
        )* };
    }
    put_by_name!(
        RUNS: "two";
        FORGOTTEN: "gone";
        WINDOWS: (0, "five_hour");
        OBSERVATIONS: (0, "five_hour", 7);
        LIMIT_EVENTS: (7, 0, "five_hour");
    );
    write.commit().unwrap();
    drop(database);
    let mut store = Writer::on(disk);
    store.reopen().unwrap();
    if let Err(error) = ask(&mut store) {
        assert!(error.is_damage(), "{error:?}");
    }
}
