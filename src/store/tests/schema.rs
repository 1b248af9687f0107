//! Databases of earlier schemas, brought to the present one.

use redb::ReadableTable as _;

use super::*;
use crate::store::health::DAY_LISTS;
use crate::store::tables::{
    ACCOUNTS, FIRED, FORGOTTEN, LIMIT_EVENTS, MARKS, META, META_FIRED, META_PARKED, META_SCHEMA, MINUTES,
    OBSERVATIONS, PARKED, PARKED_FILES, RUN_ACCOUNTS, RUN_INFO, SCHEMA_VERSION, SUMS, WINDOWS,
};

/// Brings back what schema 4 took away.
fn back_to_schema_3(path: &Path) {
    let database = Database::create(path).unwrap();
    let write = database.begin_write().unwrap();
    {
        let responses = write.open_table(tables::RESPONSES).unwrap();
        let mut lists = write.open_table(DAY_LISTS).unwrap();
        for entry in responses.iter().unwrap() {
            lists.insert((7, entry.unwrap().0.value()), ()).unwrap();
        }
        let mut meta = write.open_table(META).unwrap();
        meta.insert(META_SCHEMA, 3).unwrap();
    }
    write.commit().unwrap();
}

/// Takes away what the schemas after 1 added.
fn back_to_schema_1(path: &Path) {
    back_to_schema_3(path);
    let database = Database::create(path).unwrap();
    let write = database.begin_write().unwrap();
    macro_rules! without {
        ($($table:expr),*) => { $( assert!(write.delete_table($table).unwrap(), "{}", stringify!($table)); )* };
    }
    without!(
        ACCOUNTS,
        RUN_ACCOUNTS,
        MINUTES,
        WINDOWS,
        OBSERVATIONS,
        LIMIT_EVENTS,
        FIRED,
        MARKS,
        PARKED,
        PARKED_FILES,
        RUN_INFO,
        FORGOTTEN,
        SUMS
    );
    {
        let mut meta = write.open_table(META).unwrap();
        meta.insert(META_SCHEMA, 1).unwrap();
        for key in [META_FIRED, META_PARKED] {
            meta.remove(key).unwrap();
        }
    }
    write.commit().unwrap();
}

fn schema_of(path: &Path) -> u64 {
    let database = Database::create(path).unwrap();
    let read = database.begin_read().unwrap();
    let schema = read.open_table(META).unwrap().get(META_SCHEMA).unwrap().unwrap();
    schema.value()
}

#[test]
fn a_database_without_accounts_gets_them_and_its_minutes_and_keeps_everything_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t.redb");
    let store = at(&path);
    let runs = ["one", "two", "silent"].map(|run| RunId::new(run).unwrap());
    store
        .register(&runs.clone().map(|run| (run, AccountId::default())), true, NOW)
        .unwrap();
    let advisor = Record {
        kind: Kind::Advisor,
        ..record(7, 11, Some(NOW - 60_000))
    };
    let first = vec![
        record(1, 5, Some(NOW)),
        record(2, 6, Some(NOW + 59_999 - NOW % 60_000)),
        record(3, 7, Some(NOW - 120_000)),
        record(4, 8, None),
        advisor,
    ];
    store.commit([batch("one", "a", None, 10, first)]).unwrap();
    // A better copy, in another run: it moves the sums of its minute.
    let second = vec![record(1, 50, Some(NOW)), record(5, 9, Some(NOW - 86_400_000))];
    store.commit([batch("two", "b/c", None, 20, second)]).unwrap();
    store.end_backlog().unwrap();
    let before = (
        store.snapshot().unwrap(),
        responses(&store),
        store.quota(0).unwrap(),
    );
    let cursors = runs.clone().map(|run| store.cursors(&run).unwrap());
    let numbers = store.run_numbers().unwrap();
    assert!(before.2.accounts[&AccountId::default()].minutes.len() > 3);
    store.close();

    back_to_schema_1(&path);
    assert_eq!(schema_of(&path), 1);
    let store = at(&path);
    assert_eq!(store.rebuilt().unwrap(), None, "it was not set aside");
    assert_eq!(store.replaced(), 0);
    let after = (
        store.snapshot().unwrap(),
        responses(&store),
        store.quota(0).unwrap(),
    );
    assert_eq!(after, before);
    assert_eq!(runs.clone().map(|run| store.cursors(&run).unwrap()), cursors);
    assert_eq!(store.run_numbers().unwrap(), numbers);
    for run in &runs {
        assert_eq!(
            store.account_of(run).unwrap(),
            Some(AccountId::default()),
            "{run}"
        );
    }
    // It goes on where it was: a copy that is known moves its minute, nothing else.
    let third = vec![record(2, 60, Some(NOW + 59_999 - NOW % 60_000))];
    store.commit([batch("one", "a", Some(10), 11, third)]).unwrap();
    let output = |view: &QuotaView| -> i128 {
        let minutes = &view.accounts[&AccountId::default()].minutes;
        minutes.iter().map(|(_, sums)| sums.output).sum()
    };
    assert_eq!(output(&store.quota(0).unwrap()), output(&before.2) + 54);
    store.close();
    assert_eq!(schema_of(&path), SCHEMA_VERSION);
    let again = at(&path);
    assert_eq!(output(&again.quota(0).unwrap()), output(&before.2) + 54);
}

#[test]
fn the_lists_by_day_go_and_nothing_else_does() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t.redb");
    let store = at(&path);
    let records = vec![record(1, 5, Some(NOW)), record(2, 6, None)];
    store.commit([batch("one", "a", None, 10, records)]).unwrap();
    let before = (store.snapshot().unwrap(), responses(&store));
    store.close();
    back_to_schema_3(&path);
    let store = at(&path);
    assert_eq!(store.rebuilt().unwrap(), None, "it was not set aside");
    assert_eq!((store.snapshot().unwrap(), responses(&store)), before);
    let third = vec![record(3, 7, Some(NOW))];
    store.commit([batch("one", "a", Some(10), 11, third)]).unwrap();
    assert_eq!(responses(&store).len(), 3);
    store.close();
    assert_eq!(schema_of(&path), SCHEMA_VERSION);
    let database = Database::create(&path).unwrap();
    let read = database.begin_read().unwrap();
    let gone = read.open_table(DAY_LISTS);
    assert!(matches!(gone, Err(redb::TableError::TableDoesNotExist(_))));
}

#[test]
fn an_empty_database_without_accounts_is_brought_forward_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t.redb");
    at(&path).close();
    back_to_schema_1(&path);
    let store = at(&path);
    let snapshot = store.snapshot().unwrap();
    let sequence = snapshot.sequence;
    assert_eq!(
        snapshot,
        Snapshot {
            sequence,
            ..Snapshot::default()
        }
    );
    store
        .commit([batch("one", "a", None, 10, vec![record(1, 5, Some(NOW))])])
        .unwrap();
    let view = store.quota(0).unwrap();
    assert_eq!(view.accounts.len(), 1);
    assert_eq!(view.accounts[&AccountId::default()].minutes.len(), 1);
}
