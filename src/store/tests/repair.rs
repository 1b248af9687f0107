//! Differences put into each table: each is reported, and repaired, and nothing else is changed.

use std::collections::BTreeMap;

use redb::{ReadableTable, TableDefinition, WriteTransaction};

use super::super::audit::{Fixes, NumberKey};
use super::super::schema::{
    DAYS, FILES, META, META_SEQUENCE, MINUTES, PLACE_NUMBERS, QUARTERS, RUN_DAYS, RunTotalsRow, SERIES,
    SERIES_NUMBERS, SERIES_SUMS, TOTALS, decode, encode,
};
use super::*;
use crate::model::{DAY_MS, RunNumber};

type Sums<K> = TableDefinition<'static, K, &'static [u8]>;
/// Makes a difference.
type Break = fn(&WriteTransaction);

/// Two runs, three models, several days.
fn store() -> Writer {
    let mut store = memory();
    let records = |first: u128| -> Vec<Record> {
        (0..20)
            .map(|number| Record {
                model: ["m", "n", "o"][usize::try_from(number % 3).unwrap()].into(),
                ..record(
                    first + number,
                    7,
                    Some(NOW - i64::try_from(number).unwrap() * DAY_MS / 5),
                )
            })
            .collect()
    };
    store
        .commit(&[
            batch("one", "a.jsonl", None, 200, records(1)),
            batch("two", "a.jsonl", None, 200, records(100)),
        ])
        .unwrap();
    store
}

fn change(store: &mut Writer, body: impl FnOnce(&WriteTransaction)) {
    store
        .transact(|write| {
            body(write);
            Ok(())
        })
        .unwrap();
}

fn reported(store: &Writer) -> Vec<String> {
    let mut reported = Vec::new();
    read(store)
        .compare_sums(|sentence| reported.push(sentence))
        .unwrap();
    reported
}

/// One token more in the first row.
fn one_more<K: NumberKey>(write: &WriteTransaction, table: Sums<K>) {
    let mut table = write.open_table(table).unwrap();
    let (key, mut sum) = {
        let (key, row) = table.first().unwrap().unwrap();
        (key.value(), decode::<Totals>(row.value()).unwrap())
    };
    sum.output += 1;
    table.insert(key, encode(&sum).unwrap().as_slice()).unwrap();
}

/// The first row is removed.
fn one_less<K: redb::Key + 'static>(write: &WriteTransaction, table: Sums<K>) {
    let mut table = write.open_table(table).unwrap();
    table.pop_first().unwrap().unwrap();
}

/// A row of which there is no response.
fn invented<K: NumberKey>(write: &WriteTransaction, table: Sums<K>, key: K) {
    let sum = Totals {
        messages: 1,
        ..Totals::default()
    };
    let mut table = write.open_table(table).unwrap();
    table.insert(key, encode(&sum).unwrap().as_slice()).unwrap();
}

/// Bytes that are not a row.
fn unreadable<K: NumberKey>(write: &WriteTransaction, table: Sums<K>) {
    let mut table = write.open_table(table).unwrap();
    let key = table.first().unwrap().unwrap().0.value();
    table.insert(key, [9u8, 9, 9].as_slice()).unwrap();
}

/// All stored rows of these tables, as bytes.
fn contents(store: &mut Writer) -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::new();
    change(store, |write| {
        macro_rules! note {
            ($($table:expr),*) => { $({
                let table = write.open_table($table).unwrap();
                let rows = table.iter().unwrap().map(|row| {
                    let (key, value) = row.unwrap();
                    format!("{:?} {:?}", key.value(), value.value())
                });
                all.insert(redb::TableHandle::name(&$table).to_owned(), rows.collect::<Vec<_>>());
            })* };
        }
        note!(QUARTERS, DAYS, RUN_DAYS, SERIES_SUMS, MINUTES, TOTALS, FILES);
        note!(SERIES, SERIES_NUMBERS, PLACE_NUMBERS);
        note!(schema::RESPONSES);
        let mut meta = write.open_table(META).unwrap();
        meta.insert(META_SEQUENCE, 0).unwrap();
    });
    all
}

#[test]
fn a_difference_in_any_table_of_sums_is_reported_and_repaired() {
    let breaks: [(&str, Break); 26] = [
        ("quarter-hour", |write| one_more(write, QUARTERS)),
        ("quarter-hour", |write| one_less(write, QUARTERS)),
        ("quarter-hour", |write| invented(write, QUARTERS, (7, 0))),
        ("quarter-hour", |write| unreadable(write, QUARTERS)),
        ("day", |write| one_more(write, DAYS)),
        ("day", |write| one_less(write, DAYS)),
        ("day", |write| invented(write, DAYS, (7, 0))),
        ("day", |write| unreadable(write, DAYS)),
        ("total of run one, session a, model", |write| {
            one_more(write, SERIES_SUMS);
        }),
        ("total of run one, session a, model", |write| {
            one_less(write, SERIES_SUMS);
        }),
        ("total of (unknown series 77)", |write| {
            invented(write, SERIES_SUMS, 77);
        }),
        ("total of run one, session a, model", |write| {
            unreadable(write, SERIES_SUMS);
        }),
        ("must have", |write| {
            write.open_table(RUN_DAYS).unwrap().pop_first().unwrap();
        }),
        ("must not have", |write| {
            write.open_table(RUN_DAYS).unwrap().insert((0, 7, 0), ()).unwrap();
        }),
        ("of a series must lead to Some", |write| {
            write.open_table(SERIES_NUMBERS).unwrap().pop_first().unwrap();
        }),
        ("of a series must lead to None", |write| {
            let mut table = write.open_table(SERIES_NUMBERS).unwrap();
            table.insert((9, 9, 9, 9, 0, 0, 0), 0).unwrap();
        }),
        ("of session a, project  must lead to Some", |write| {
            write
                .open_table(PLACE_NUMBERS)
                .unwrap()
                .insert(("a", ""), 7)
                .unwrap();
        }),
        ("minute", |write| one_more(write, MINUTES)),
        ("minute", |write| one_less(write, MINUTES)),
        ("minute", |write| invented(write, MINUTES, (0, 77))),
        ("minute", |write| unreadable(write, MINUTES)),
        ("total of run one", |write| {
            let mut table = write.open_table(TOTALS).unwrap();
            let mut row: RunTotalsRow = decode(table.get(0).unwrap().unwrap().value()).unwrap();
            row.totals.input += 1;
            table.insert(0, encode(&row).unwrap().as_slice()).unwrap();
        }),
        ("total of run (forgotten)", |write| {
            let row = RunTotalsRow {
                totals: Totals {
                    messages: 1,
                    ..Totals::default()
                },
                ..RunTotalsRow::default()
            };
            let mut table = write.open_table(TOTALS).unwrap();
            table
                .insert(RunNumber::MAX, encode(&row).unwrap().as_slice())
                .unwrap();
        }),
        ("no path", |write| {
            let mut files = write.open_table(FILES).unwrap();
            let row = files.first().unwrap().unwrap().1.value().to_vec();
            files.insert(77, row.as_slice()).unwrap();
        }),
        // One response more, or less: every sum that contains it differs.
        ("sum up to", |write| {
            write.open_table(schema::RESPONSES).unwrap().pop_first().unwrap();
        }),
        ("sum up to", |write| {
            let mut table = write.open_table(schema::RESPONSES).unwrap();
            let row = table.first().unwrap().unwrap().1.value().to_vec();
            table.insert(7777, row.as_slice()).unwrap();
        }),
    ];
    let mut sound = store();
    assert_eq!(reported(&sound), [""; 0]);
    let before = contents(&mut sound);
    for (number, (what, put_in)) in breaks.into_iter().enumerate() {
        let mut store = store();
        change(&mut store, put_in);
        let sentences = reported(&store);
        assert!(
            sentences.iter().any(|sentence| sentence.contains(what)),
            "{number}: {sentences:?}"
        );
        let repaired = store.repair(&Fixes::default()).unwrap();
        assert!(repaired.sums > 0, "{number}");
        assert_eq!(reported(&store), [""; 0], "{number}");
        if what != "sum up to" && what != "total of run (forgotten)" {
            assert_eq!(contents(&mut store), before, "{number}");
        }
    }
}

#[test]
fn nothing_to_mend_changes_nothing() {
    let mut store = store();
    let before = contents(&mut store);
    let repaired = store.repair(&Fixes::default()).unwrap();
    assert_eq!(
        (
            repaired.responses,
            repaired.positions,
            repaired.runs,
            repaired.sums
        ),
        (0, 0, 0, 0)
    );
    assert_eq!(contents(&mut store), before);
}
