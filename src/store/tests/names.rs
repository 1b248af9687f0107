//! The names that the writer keeps between commits: after each write they equal those in the tables, and
//! after an error there are none.

use super::*;
use crate::model::RunNumber;
use crate::model::{Labels, LimitSource, LimitStatus, Observation, StopReason};
use crate::quota::exhaustion::Cause;
use crate::quota::window_name::FIVE_HOUR;
use crate::store::schema::SeriesRow;
use crate::store::write::NameCache;
use crate::store::write::series_cache::SeriesCache;
use redb::ReadableTable;

const RUNS: [&str; 4] = ["a", "b", "c", "d"];
const ACCOUNTS: [&str; 4] = ["default", "max-1", "max-2", "max-3"];
const WRITES: u32 = 300;

fn account(name: &str) -> AccountId {
    AccountId {
        name: name.into(),
        ..AccountId::default()
    }
}

fn observation() -> Observation {
    Observation {
        window: FIVE_HOUR.into(),
        utilization: Some(0.5),
        remaining: None,
        limit: None,
        reset_at: None,
        observed_at: Some(NOW),
        status: LimitStatus::Allowed,
        source: LimitSource::Headers,
        session: None,
        request: None,
    }
}

/// Any write except the ends of a backlog and of a replay, after which names are read again.
fn write(store: &mut Writer, random: &mut fastrand::Rng, number: u64) -> &'static str {
    let run = RunId::new(RUNS[random.usize(..RUNS.len())]).unwrap();
    let account = account(ACCOUNTS[random.usize(..ACCOUNTS.len())]);
    match random.u32(..9) {
        0 | 1 => {
            let model = format!("m{}", random.u32(..9));
            let lines = vec![Record {
                model: model.into(),
                ..record(number.into(), 1, Some(NOW))
            }];
            let mut batch = batch(run.as_str(), &format!("f{number}"), None, 10, lines);
            batch.account = Arc::new(account);
            store.commit([batch]).unwrap();
            "commit"
        }
        2 | 3 => {
            let start = Start {
                run,
                account,
                labels: random.bool().then(Labels::default),
                mount: None,
                lease: None,
            };
            store.start(&[start], random.bool(), NOW).unwrap();
            "start"
        }
        4 => {
            store.stop(&[(run, StopReason::Asked)], NOW).unwrap();
            "stop"
        }
        5 => {
            let directory_is_there = random.bool();
            let forget = ForgetRun {
                run,
                directory_is_there,
            };
            store.forget(&[forget], NOW).unwrap();
            "forget"
        }
        6 => {
            let reported = AccountObservations {
                account,
                observations: vec![observation()],
            };
            store.observe(&[reported], NOW).unwrap();
            "observe"
        }
        7 => {
            let cause = Cause {
                until: NOW,
                reason: "said".into(),
                source: "a test".into(),
                since: NOW,
            };
            store.mark(&account, random.bool().then_some(&cause)).unwrap();
            "mark"
        }
        _ => {
            store.release(&[run]).unwrap();
            store.begin().unwrap();
            "release"
        }
    }
}

fn check_series(store: &mut Writer, kept: &SeriesCache, seed: u64) {
    let mut stored = BTreeMap::new();
    let mut of_runs = BTreeMap::<RunNumber, u32>::new();
    read(store)
        .reading(|read| {
            for entry in read.open_table(schema::SERIES)?.iter()? {
                let (number, row) = entry?;
                let row: SeriesRow = schema::decode(row.value()).unwrap();
                *of_runs.entry(row.run).or_default() += 1;
                stored.insert(number.value(), row);
            }
            Ok(())
        })
        .unwrap();
    let rows: BTreeMap<_, _> = kept.rows.iter().map(|(number, row)| (*number, *row)).collect();
    assert!(
        rows.iter().all(|(number, row)| stored.get(number) == Some(row)),
        "seed {seed}"
    );
    let counted = kept.of_runs.iter().map(|(run, count)| (*run, *count));
    assert!(
        counted.into_iter().all(|(run, count)| of_runs[&run] == count),
        "seed {seed}"
    );
}

#[test]
fn the_names_in_memory_are_those_in_the_tables_after_every_write() {
    for seed in 0..20 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut store = memory();
        store.commit([batch("a", "f", None, 10, vec![])]).unwrap();
        for number in 0..WRITES {
            let what = write(&mut store, &mut random, number.into());
            let mut stored = store.transact(NameCache::load).unwrap();
            // It has some of the series, each as it is stored.
            let kept = store.names.as_ref().map(|names| names.series.clone());
            stored.series = kept.unwrap_or_default();
            assert_eq!(
                store.names.as_ref(),
                Some(&stored),
                "seed {seed}, write {number}: {what}"
            );
            check_series(&mut store, &stored.series, seed);
        }
        assert!(store.names.as_ref().unwrap().accounts.len() == ACCOUNTS.len());
        store.end_backlog().unwrap();
        assert!(store.names.is_none(), "none is of the backlog any more");
    }
}

#[test]
fn after_an_error_and_after_a_reopening_the_names_are_read_again() {
    let disk = disk::Disk::new(&[], false, fastrand::Rng::with_seed(0));
    let mut store = Writer::on(disk.clone());
    store.reopen().unwrap();
    store.commit([batch("a", "f", None, 10, vec![])]).unwrap();
    assert!(store.names.is_some());
    disk.expect(Some(disk::Trouble::Fault {
        at: 1,
        count: u64::MAX / 2,
        error: disk::EIO,
    }));
    assert!(
        store
            .stop(&[(RunId::new("a").unwrap(), StopReason::Asked)], NOW)
            .is_err()
    );
    assert!(store.names.is_none());
    disk.expect(None);
    store.reopen().unwrap();
    store.commit([batch("b", "f", None, 10, vec![])]).unwrap();
    assert!(store.names.is_some());
    store.reopen().unwrap();
    assert!(store.names.is_none());
}
