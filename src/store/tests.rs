//! Guarantees of a commit: one read position and one merged result, whatever the grouping.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use redb::{Database, ReadableDatabase};

use super::database::DatabaseSlot;
use super::file::DatabaseFile;
use super::write::models::{MODELS_MAX, MODELS_PER_RUN_MAX};
use super::*;
use crate::clock::Clock;
use crate::dedup::{Response, Totals};
use crate::model::{
    AccountId, Batch, Cursor, Dating, Dialect, Inode, Kind, LineCounts, Millis, ParserState, Position, Rank,
    Record, ResponseKey, RunId, Service, Tier, Usage,
};

mod bytes;
pub mod disk;
mod fuzz;
mod kinds;
mod leases;
mod limits;
mod names;
mod outbox;
pub mod picture;
mod prune;
pub mod records;
mod repair;
mod runs;
mod schedules;
mod series;

const NOW: Millis = 1_791_190_800_000;

fn options(path: Option<&Path>) -> StoreOptions {
    StoreOptions {
        path: path.map(Path::to_owned),
        cache_bytes: 1 << 20,
        clock: path.map_or(Clock::at(NOW), |_| Clock::SYSTEM),
    }
}

fn memory() -> Writer {
    open(options(None)).unwrap().1
}

impl Writer {
    /// A closed database on a disk created by the test.
    pub fn on(disk: disk::Disk) -> Self {
        let mut file = DatabaseFile::new(options(None), false);
        file.disk = Some(disk);
        Self::new(Reader::new(Arc::new(DatabaseSlot::new(file))))
    }
}

fn at(path: &Path) -> Writer {
    open(options(Some(path))).unwrap().1
}

fn read(store: &Writer) -> Snapshot<'_> {
    store.reader().snapshot().unwrap()
}

fn figures(store: &Writer) -> SummaryFigures {
    read(store).summary().unwrap()
}

fn record(key: u128, output: u64, time: Option<Millis>) -> Record {
    Record {
        key: ResponseKey(key),
        kind: Kind::Message,
        rank: Rank::Main,
        model: "m".into(),
        usage: Usage {
            input: 1,
            output,
            ..Usage::default()
        },
        service: Service::default(),
        provider: None,
        time,
        dating: Dating::Line,
        session: None,
        is_final: true,
        copies: 1,
    }
}

fn cursor(offset: u64) -> Cursor {
    Cursor {
        inode: Inode {
            number: 7,
            born_ns: 7,
        },
        offset,
        ..Cursor::default()
    }
}

fn position(offset: u64) -> Position {
    Position {
        cursor: cursor(offset),
        ..Position::default()
    }
}

fn batch(run: &str, path: &str, from: Option<u64>, to: u64, records: Vec<Record>) -> Batch {
    let read = records.len() as u64;
    Batch {
        run: RunId::new(run).unwrap(),
        path: Path::new(path).into(),
        is_project: false,
        renamed_from: None,
        expect: from.map(cursor),
        cursor: cursor(to),
        state: ParserState::default(),
        dialect: Dialect::Claude,
        account: Arc::default(),
        provider_accounts: Vec::new(),
        records,
        observations: Vec::new(),
        reports: Vec::new(),
        lines: LineCounts {
            read,
            usage: read,
            ..LineCounts::default()
        },
        bytes: to - from.unwrap_or(0),
        earliest: None,
        latest: None,
        read_at: NOW,
        written_at: None,
    }
}

fn responses(store: &Writer) -> Vec<(ResponseKey, Response)> {
    let mut all = Vec::new();
    read(store)
        .merge_join(&read(&memory()), |key, response, _| {
            all.extend(
                response
                    .and_then(Recorded::response)
                    .map(|response| (key, response)),
            );
        })
        .unwrap();
    all
}

#[test]
fn a_batch_that_continues_something_else_is_refused_whole() {
    let mut store = memory();
    store
        .commit(&[batch("r", "a", None, 10, vec![record(1, 5, Some(NOW))])])
        .unwrap();
    let again = batch(
        "r",
        "a",
        None,
        10,
        vec![record(1, 5, Some(NOW)), record(2, 5, Some(NOW))],
    );
    let committed = store.commit(&[again]).unwrap();
    assert_eq!(committed.outcomes, [Outcome::Stale(Some(position(10)))]);
    assert_eq!(figures(&store).runs["r"].totals.messages, 1);
    let unknown = batch("r", "b", Some(10), 20, vec![record(3, 5, Some(NOW))]);
    assert_eq!(store.commit(&[unknown]).unwrap().outcomes, [Outcome::Stale(None)]);
}

#[test]
fn batches_of_one_file_follow_each_other_within_a_group() {
    let mut store = memory();
    let first = batch("r", "a", None, 10, vec![record(1, 5, Some(NOW))]);
    let second = batch("r", "a", Some(10), 20, vec![record(1, 50, Some(NOW))]);
    let committed = store.commit(&[first, second]).unwrap();
    assert_eq!(committed.outcomes, [Outcome::Committed, Outcome::Committed]);
    let change = &committed.changes[&RunId::new("r").unwrap()];
    assert_eq!((change.responses, change.lines.duplicate), (1, 1));
    let run = figures(&store).runs["r"];
    assert_eq!((run.totals.output, run.files, run.bytes), (50, 1, 20));
}

#[test]
fn a_line_that_is_counted_under_another_key_is_a_duplicate_whichever_comes_first() {
    let captured = record(1, 5, Some(NOW));
    let duplicate = Record {
        kind: Kind::Duplicate,
        usage: Usage::default(),
        ..captured.clone()
    };
    for records in [[captured.clone(), duplicate.clone()], [duplicate, captured]] {
        let mut store = memory();
        let [one, two] = records;
        store.commit(&[batch("r", "a", None, 10, vec![one])]).unwrap();
        store.commit(&[batch("r", "a", Some(10), 20, vec![two])]).unwrap();
        let run = figures(&store).runs["r"];
        assert_eq!((run.totals, run.lines.duplicate), (Totals::default(), 1));
        let mut differences = Vec::new();
        read(&store)
            .compare_sums(|difference| differences.push(difference))
            .unwrap();
        assert_eq!(differences, Vec::<String>::new());
    }
}

#[test]
fn a_renamed_file_keeps_its_row_and_frees_its_name() {
    let mut store = memory();
    store.commit(&[batch("r", "a", None, 10, vec![])]).unwrap();
    let mut renamed = batch("r", "b", Some(10), 10, vec![]);
    renamed.renamed_from = Some(Path::new("a").into());
    let new = batch("r", "a", None, 5, vec![]);
    let committed = store.commit(&[renamed, new]).unwrap();
    assert_eq!(committed.outcomes, [Outcome::Committed, Outcome::Committed]);
    let positions = read(&store).positions(&RunId::new("r").unwrap()).unwrap();
    let offsets: Vec<_> = positions
        .iter()
        .map(|(path, stored)| (path.to_str().unwrap(), stored.cursor.offset))
        .collect();
    assert_eq!(offsets, [("a", 5), ("b", 10)]);
}

#[test]
fn ties_go_by_run_order_while_a_backlog_is_worked_off_and_stay_where_they_are_after_it() {
    let mut store = memory();
    let runs = [RunId::new("a").unwrap(), RunId::new("b").unwrap()];
    store
        .register(&runs.map(|run| (run, AccountId::default())), true, NOW)
        .unwrap();
    store
        .commit(&[batch("b", "x", None, 1, vec![record(1, 5, Some(NOW))])])
        .unwrap();
    store
        .commit(&[batch("a", "x", None, 1, vec![record(1, 5, Some(NOW))])])
        .unwrap();
    assert_eq!(figures(&store).runs["a"].totals.messages, 1);
    store.end_backlog().unwrap();
    store
        .commit(&[batch("b", "y", None, 1, vec![record(2, 5, Some(NOW))])])
        .unwrap();
    store
        .commit(&[batch("a", "y", None, 1, vec![record(2, 5, Some(NOW))])])
        .unwrap();
    let snapshot = figures(&store);
    assert_eq!(
        (
            snapshot.runs["a"].totals.messages,
            snapshot.runs["b"].totals.messages
        ),
        (1, 1)
    );
    store.begin_backlog().unwrap();
    for run in ["b", "a"] {
        store
            .commit(&[batch(run, "z", None, 1, vec![record(3, 5, Some(NOW))])])
            .unwrap();
    }
    assert_eq!(figures(&store).runs["a"].totals.messages, 2);
}

#[test]
fn undated_and_future_responses_are_dated_at_the_reading_and_counted_as_suspect() {
    let mut store = memory();
    let day = 86_400_000;
    let records = vec![
        record(1, 5, None),
        record(2, 5, Some(NOW + day + 1)),
        record(3, 5, Some(NOW + day)),
    ];
    let committed = store.commit(&[batch("r", "a", None, 1, records)]).unwrap();
    assert_eq!(committed.undated.len(), 2);
    let run = figures(&store).runs["r"];
    assert_eq!(run.lines.clock_suspect, 2);
    let more = [batch(
        "r",
        "b",
        None,
        1,
        vec![record(4, 5, None), record(5, 5, Some(NOW))],
    )];
    let conclusion = ReplayEnd {
        undated: committed.undated,
        now: Some(NOW - 3 * day),
        clock: NOW,
    };
    store.commit_then(more.iter(), |_| Some(conclusion)).unwrap();
    let messages: Vec<_> = (figures(&store).by_day.values())
        .map(|day| day.messages)
        .collect();
    assert_eq!(messages, [3, 1, 1]);
    let days: Vec<_> = figures(&store).by_day.into_keys().collect();
    let today = u32::try_from(NOW / day).unwrap();
    assert_eq!(days, [today - 3, today, today + 1]);
}

#[test]
fn models_beyond_the_bound_share_a_name() {
    let mut store = memory();
    let names = |from: usize, count: usize| {
        let records = (from..from + count).map(|n| Record {
            model: format!("m{n}").into(),
            ..record(n as u128, 1, Some(NOW))
        });
        records.collect::<Vec<_>>()
    };
    let models = |store: &Writer| figures(store).by_model;
    let greedy = names(0, MODELS_PER_RUN_MAX + 5);
    let (first, second) = greedy.split_at(7);
    store.commit([batch("r", "a", None, 1, first.to_vec())]).unwrap();
    // Its counts remain when everything kept in memory is discarded.
    store.names = None;
    store
        .commit([batch("r", "a", Some(1), 2, second.to_vec())])
        .unwrap();
    assert_eq!(models(&store).len(), MODELS_PER_RUN_MAX + 1, "one run");
    assert_eq!(models(&store)["(other)"].messages, 5);
    let per_run = MODELS_PER_RUN_MAX;
    let runs = MODELS_MAX / per_run + 1;
    for run in 0..runs {
        let records = names((run + 2) * per_run, per_run);
        store
            .commit([batch(&format!("r{run}"), "a", None, 1, records)])
            .unwrap();
    }
    assert_eq!(models(&store).len(), MODELS_MAX, "all runs");
}

#[test]
fn a_second_store_on_the_file_is_refused_and_a_closed_one_reopens() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t.redb");
    let mut store = at(&path);
    store
        .commit(&[batch("r", "a", None, 10, vec![record(1, 5, Some(NOW))])])
        .unwrap();
    let second = open(options(Some(&path)));
    assert!(matches!(second, Err(StoreError::InUse(_))));
    store.close();
    assert!(matches!(
        store.reader().snapshot(),
        Err(StoreError::Closed { .. })
    ));
    assert_eq!(figures(&at(&path)).runs["r"].totals.output, 5);
}

#[test]
fn a_database_that_has_ended_is_free_for_another_and_not_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t.redb");
    let mut store = at(&path);
    let reader = store.reader().clone();
    store.control().end();
    assert!(matches!(reader.snapshot(), Err(StoreError::Closed { .. })));
    let mut next = at(&path);
    assert!(matches!(store.reopen(), Err(StoreError::Closed { .. })));
    assert!(matches!(store.begin(), Err(StoreError::Closed { .. })));
    next.begin().unwrap();
}

#[test]
fn a_snapshot_stays_as_it_was_while_commits_go_on() {
    let mut store = memory();
    let reader = store.reader().clone();
    store
        .commit([batch("r", "a", None, 10, vec![record(1, 5, Some(NOW))])])
        .unwrap();
    let snapshot = reader.snapshot().unwrap();
    let before = (snapshot.sequence().unwrap(), snapshot.summary().unwrap());
    store
        .commit([batch("s", "a", None, 10, vec![record(2, 7, Some(NOW))])])
        .unwrap();
    assert_eq!(
        (snapshot.sequence().unwrap(), snapshot.summary().unwrap()),
        before
    );
    assert_eq!(snapshot.run_infos().unwrap().len(), 1);
    assert_eq!(figures(&store).runs.len(), 2);
}

#[test]
fn a_damaged_file_is_set_aside_and_a_newer_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t.redb");
    std::fs::write(&path, b"this is no database").unwrap();
    let mut store = at(&path);
    assert!(
        read(&store)
            .rebuilt()
            .unwrap()
            .unwrap()
            .contains("t.redb.damaged")
    );
    assert_eq!(
        std::fs::read(directory.path().join("t.redb.damaged")).unwrap(),
        b"this is no database"
    );
    store.close();

    assert!(matches!(
        open_with_schema(&path, schema::STORED_SCHEMA + 1),
        Err(StoreError::Newer { found, known: schema::SCHEMA_VERSION, .. })
            if found == schema::SCHEMA_VERSION + 1
    ));
}

/// The result of opening a database whose schema was changed.
fn open_with_schema(path: &Path, schema: u64) -> Result<Writer, StoreError> {
    number_schema(path, schema);
    open(options(Some(path))).map(|(_, writer)| writer)
}

fn number_schema(path: &Path, schema: u64) {
    let database = Database::open(path).unwrap();
    let write = database.begin_write().unwrap();
    write
        .open_table(schema::META)
        .unwrap()
        .insert(schema::META_SCHEMA, schema)
        .unwrap();
    write.commit().unwrap();
}

fn numbered_schema(path: &Path) -> u64 {
    let database = Database::open(path).unwrap();
    let read = database.begin_read().unwrap();
    let meta = read.open_table(schema::META).unwrap();
    meta.get(schema::META_SCHEMA).unwrap().unwrap().value()
}

#[test]
fn a_database_of_the_last_program_before_the_first_release_is_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t.redb");
    at(&path).close();
    number_schema(&path, schema::LAST_UNRELEASED);

    let before = std::fs::read(&path).unwrap();
    drop(open_read_only(options(Some(&path))).unwrap());
    assert_eq!(std::fs::read(&path).unwrap(), before, "a reader writes nothing");
    for _ in 0..2 {
        at(&path).close();
        assert_eq!(numbered_schema(&path), schema::STORED_SCHEMA);
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn a_database_of_an_unreleased_schema_is_refused_with_what_to_do_and_stays_where_it_is() {
    for schema in 1..schema::LAST_UNRELEASED {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t.redb");
        at(&path).close();
        let error = open_with_schema(&path, schema).unwrap_err();
        assert!(matches!(error, StoreError::Unreleased { found, .. } if found == schema));
        let (said, path) = (error.to_string(), path.display());
        assert!(
            said.contains(&format!("mv {path} {path}.schema{schema}")),
            "{said}"
        );
        let beside = std::fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(beside, 1, "nothing is set aside, nothing is made");
    }
}

/// A line of a response: the response, its copy, the run.
fn any_copy() -> impl Strategy<Value = (u8, Record)> {
    (
        0u8..3,
        0u128..6,
        0u64..4,
        prop_oneof![Just(None), (0i64..3).prop_map(Some)],
        0u8..3,
        prop_oneof!["a", "b"],
    )
        .prop_map(
            |(run, key, output, hours, rank, model): (_, _, _, Option<i64>, u8, String)| {
                // A separate time for each run: the winner of a tie is the only result that depends on order.
                let time = hours.map(|hours| NOW - hours * 3_600_000 - i64::from(run));
                let rank = [Rank::Progress, Rank::Sidechain, Rank::Main][usize::from(rank)];
                (
                    run,
                    Record {
                        rank,
                        model: Arc::<str>::from(model).as_ref().into(),
                        ..record(key, output, time)
                    },
                )
            },
        )
}

/// Commits copies in groups of batches; the cut positions are the ends of batches and groups.
fn committed(copies: &[(u8, Record)], batch_len: usize, group_len: usize) -> Writer {
    let mut store = memory();
    let mut offsets = [0u64; 3];
    let mut batches = Vec::new();
    for chunk in copies.chunks(batch_len.max(1)) {
        for run in 0u8..3 {
            let records: Vec<_> = chunk
                .iter()
                .filter(|(of, _)| *of == run)
                .map(|(_, copy)| copy.clone())
                .collect();
            if records.is_empty() {
                continue;
            }
            let from = offsets[usize::from(run)];
            offsets[usize::from(run)] += records.len() as u64;
            let to = offsets[usize::from(run)];
            let mut one = batch(&format!("r{run}"), "f", (from > 0).then_some(from), to, records);
            one.read_at = NOW + i64::from(run);
            batches.push(one);
        }
    }
    for group in batches.chunks(group_len.max(1)) {
        let outcomes = store.commit(group).unwrap().outcomes;
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Committed));
    }
    store
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any order, any batching, any grouping, any repetition: the same responses and the same sums.
    #[test]
    fn order_batching_and_repetition_change_no_total(
        copies in proptest::collection::vec(any_copy(), 1..30),
        repeats in proptest::collection::vec(any::<proptest::sample::Index>(), 0..10),
        turn in any::<proptest::sample::Index>(),
        batch_len in 1usize..8,
        group_len in 1usize..5,
    ) {
        let whole = committed(&copies, copies.len(), 3);
        let mut shuffled = copies.clone();
        shuffled.rotate_left(turn.index(copies.len()));
        shuffled.reverse();
        shuffled.extend(repeats.iter().map(|at| at.get(&copies).clone()));
        let pieces = committed(&shuffled, batch_len, group_len);

        let names = |store: &Writer| -> BTreeMap<u32, String> {
            read(store).run_numbers().unwrap().into_iter().map(|(id, number)| (number, id)).collect()
        };
        let by_name = |store: &Writer| -> Vec<_> {
            let names = names(store);
            responses(store).into_iter().map(|(key, mut response)| {
                let run = names[&std::mem::take(&mut response.run)].clone();
                (key, run, response)
            }).collect()
        };
        prop_assert_eq!(by_name(&pieces), by_name(&whole));
        let (pieces, whole) = (figures(&pieces), figures(&whole));
        prop_assert_eq!(&pieces.by_day, &whole.by_day);
        prop_assert_eq!(pieces.by_model, whole.by_model);
        for (run, sums) in &whole.runs {
            prop_assert_eq!(pieces.runs[run].totals, sums.totals);
        }
    }
}

#[test]
fn an_update_has_the_differences_of_every_run_that_won_or_lost_and_sums_go_with_them() {
    let mut store = memory();
    let first = store
        .commit([batch(
            "late",
            "a",
            None,
            10,
            vec![record(1, 5, Some(NOW)), record(2, 7, Some(NOW))],
        )])
        .unwrap();
    let change = &first.changes[&RunId::new("late").unwrap()];
    assert_eq!((change.models.len(), change.models[0].1.output), (1, 12));
    assert_eq!((change.totals.output, change.all_lines.read), (12, 2));
    // An earlier copy in another run: the response moves there, and the run that lost it gets an update.
    let second = store
        .commit([batch(
            "early",
            "a",
            None,
            10,
            vec![record(1, 5, Some(NOW - 1000))],
        )])
        .unwrap();
    let of = |run: &str| &second.changes[&RunId::new(run).unwrap()];
    assert_eq!(
        (of("early").models[0].1.output, of("early").totals.output),
        (5, 5)
    );
    assert_eq!((of("late").models[0].1.output, of("late").totals.output), (-5, 7));
    assert_eq!((of("late").lines.read, of("late").all_lines.read), (0, 2));
    let sums = read(&store).sums().unwrap();
    let (key, totals) = sums.first_key_value().unwrap();
    assert_eq!((&key.account, &*key.model), (&AccountId::default(), "m"));
    assert_eq!(totals.output, 12);
    assert_eq!(sums.len(), 1);
}
