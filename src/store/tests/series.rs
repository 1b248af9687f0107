//! Keys of the sums: the run, the place, the account and the price class of each response.

use super::*;
use crate::model::{Geography, MINUTE_MS, PlaceNumber, PriceClass, PromptSize, SeriesNumber, Speed};
use crate::store::schema::SeriesRow;
use crate::store::table::get;
use crate::store::write::series::{SERIES_PER_RUN_LAST, SERIES_PER_RUN_MAX};
use crate::store::write::series_cache::SERIES_KEPT_MAX;

const PROJECT: &str = "projects/p/s1.jsonl";
const OTHER_SESSION: &str = "projects/p/s2.jsonl";

/// Output tokens by session, project, model, account, dialect and price class.
#[expect(clippy::single_range_in_vec_init, reason = "one stretch")]
fn by_series(store: &Writer) -> BTreeMap<String, i128> {
    let snapshot = read(store);
    let names = snapshot.series_names().unwrap();
    let mut all = BTreeMap::new();
    snapshot
        .for_each_usage(&[0..u32::MAX], None, |_, _, series, totals| {
            let place = &snapshot.places([series.place]).unwrap()[0];
            let key = format!(
                "{} {} {} {} {} {}",
                place.session,
                place.project.as_deref().unwrap_or("-"),
                names.models[series.model as usize],
                names.accounts[series.account as usize],
                series.dialect.map_or("-", Dialect::name),
                series.class.name()
            );
            *all.entry(key).or_default() += totals.output;
        })
        .unwrap();
    all
}

fn expect(store: &Writer, wanted: &[(&str, i128)]) {
    let wanted = wanted.iter().map(|(key, output)| ((*key).to_owned(), *output));
    assert_eq!(by_series(store), wanted.collect());
    let mut differences = Vec::new();
    read(store)
        .compare_sums(|difference| differences.push(difference))
        .unwrap();
    assert_eq!(differences, Vec::<String>::new());
}

#[test]
fn the_price_class_is_that_of_the_best_copy() {
    let mut store = memory();
    let long = |output| {
        let mut record = record(1, output, Some(NOW));
        record.usage.cache_read = 150_000;
        record.service = Service {
            tier: Tier::Batch,
            speed: Speed::Fast,
            geography: Geography::Us,
        };
        record
    };
    let short = record(1, 5, Some(NOW));
    store.commit([batch("r", PROJECT, None, 1, vec![short])]).unwrap();
    expect(
        &store,
        &[(
            "s1 p m claude/default claude prompt_100k/standard/other/unknown",
            5,
        )],
    );
    store
        .commit([batch("r", PROJECT, Some(1), 2, vec![long(9)])])
        .unwrap();
    expect(
        &store,
        &[("s1 p m claude/default claude prompt_200k/fast/us/batch", 9)],
    );
    // A worse copy moves nothing.
    store
        .commit([batch("r", PROJECT, Some(2), 3, vec![long(3)])])
        .unwrap();
    expect(
        &store,
        &[("s1 p m claude/default claude prompt_200k/fast/us/batch", 9)],
    );
}

#[test]
fn a_response_is_of_the_session_with_its_earliest_line() {
    let mut store = memory();
    let at = |minutes: i64, output| vec![record(1, output, Some(NOW + minutes * MINUTE_MS))];
    store.commit([batch("r", PROJECT, None, 1, at(0, 5))]).unwrap();
    // A fork repeats the line with its time: the first copy read stays the owner, with any figures.
    store
        .commit([batch("r", OTHER_SESSION, None, 1, at(0, 8))])
        .unwrap();
    expect(
        &store,
        &[(
            "s1 p m claude/default claude prompt_100k/standard/other/unknown",
            8,
        )],
    );
    store
        .commit([batch("r", OTHER_SESSION, Some(1), 2, at(-20, 1))])
        .unwrap();
    expect(
        &store,
        &[(
            "s2 p m claude/default claude prompt_100k/standard/other/unknown",
            8,
        )],
    );
    store
        .commit([batch("r", PROJECT, Some(1), 2, at(-10, 2))])
        .unwrap();
    expect(
        &store,
        &[(
            "s2 p m claude/default claude prompt_100k/standard/other/unknown",
            8,
        )],
    );
    let quarters = read(&store)
        .reading(|read| {
            let table = read.open_table(schema::QUARTERS)?;
            Ok(redb::ReadableTableMetadata::len(&table)?)
        })
        .unwrap();
    assert_eq!(quarters, 1, "a row that comes to nothing is removed");
}

#[test]
fn a_response_is_of_the_account_of_the_provider_that_its_line_names() {
    let mut store = memory();
    let account = |provider: &str, name: &str| {
        Arc::new(AccountId {
            provider: provider.into(),
            name: name.into(),
        })
    };
    let named = |key, provider: Option<&str>| Record {
        provider: provider.map(Into::into),
        ..record(key, 1, Some(NOW))
    };
    let mut first = batch(
        "r",
        "sessions/--x--/t_s.jsonl",
        None,
        1,
        vec![
            named(1, None),
            named(2, Some("openai")),
            named(3, Some("unheard-of")),
        ],
    );
    first.dialect = Dialect::Pi;
    first.provider_accounts = vec![("openai".into(), account("openai", "a"))];
    store.commit([first]).unwrap();
    let mut second = batch(
        "r",
        "sessions/1/rollout-x.jsonl",
        None,
        1,
        vec![named(4, None), named(5, Some("openai"))],
    );
    second.dialect = Dialect::Codex;
    second.account = account("codex", "c");
    // The account set first is kept.
    second.provider_accounts = vec![("openai".into(), account("openai", "b"))];
    store.names = None;
    store.commit([second]).unwrap();
    let mut third = batch(
        "r",
        "sessions/1/rollout-x.jsonl",
        Some(1),
        2,
        vec![named(6, None)],
    );
    third.dialect = Dialect::Codex;
    third.account = account("codex", "d");
    store.commit([third]).unwrap();
    let class = "prompt_100k/standard/other/unknown";
    expect(
        &store,
        &[
            (&format!("rollout-x - m codex/c codex {class}"), 2),
            (&format!("rollout-x - m openai/a codex {class}"), 1),
            (&format!("s --x-- m claude/default pi {class}"), 2),
            (&format!("s --x-- m openai/a pi {class}"), 1),
        ],
    );
    let snapshot = read(&store);
    let run = RunId::new("r").unwrap();
    let accounts: Vec<_> = (snapshot.run_accounts(&run).unwrap().into_iter())
        .map(|(provider, account)| format!("{provider} {account}"))
        .collect();
    assert_eq!(
        accounts,
        ["codex codex/c", "openai openai/a", "pi claude/default"]
    );
    assert_eq!(snapshot.account_of(&run).unwrap(), Some(AccountId::default()));
    let calls: BTreeMap<_, _> = (snapshot.quota(0).unwrap().accounts.into_iter())
        .map(|(id, sums)| {
            (
                id.to_string(),
                sums.minutes.iter().map(|(_, sum)| sum.messages).sum::<i64>(),
            )
        })
        .filter(|(_, calls)| *calls > 0)
        .collect();
    let wanted = [("claude/default", 2), ("codex/c", 2), ("openai/a", 2)];
    assert_eq!(calls, wanted.map(|(id, calls)| (id.to_owned(), calls)).into());
}

#[test]
fn a_run_beyond_its_bound_has_its_sums_in_series_that_stand_for_others() {
    let mut store = memory();
    let line = |key: u128, model: &str| Record {
        model: model.into(),
        ..record(key, 1, Some(NOW))
    };
    store
        .commit([batch("r", PROJECT, None, 1, vec![line(1, "m")])])
        .unwrap();
    let full = |store: &mut Writer, count| {
        *store.names.as_mut().unwrap().series.of_runs.get_mut(&0).unwrap() = count;
    };
    full(&mut store, SERIES_PER_RUN_MAX);
    store
        .commit([batch(
            "r",
            OTHER_SESSION,
            None,
            1,
            vec![line(2, "m"), line(3, "n")],
        )])
        .unwrap();
    full(&mut store, SERIES_PER_RUN_LAST);
    let third = vec![line(4, "m"), line(5, "o"), line(6, "p"), line(7, "n")];
    store
        .commit([batch("r", "projects/p/s3.jsonl", None, 1, third)])
        .unwrap();
    let class = "prompt_100k/standard/other/unknown";
    expect(
        &store,
        &[
            (&format!("s1 p m claude/default claude {class}"), 1),
            (&format!("(other) - m claude/default claude {class}"), 2),
            (&format!("(other) - n claude/default claude {class}"), 2),
            (&format!("(other) - (other) claude/default claude {class}"), 2),
        ],
    );
    assert_eq!(figures(&store).runs["r"].totals.output, 7);
    // A better copy of a stored response stays in its series.
    let better = Record {
        usage: Usage {
            output: 10,
            ..Usage::default()
        },
        ..line(5, "o")
    };
    store
        .commit([batch("r", PROJECT, Some(1), 2, vec![better])])
        .unwrap();
    assert_eq!(
        by_series(&store)[&format!("(other) - (other) claude/default claude {class}")],
        11
    );
    // Another run has room.
    store
        .commit([batch("s", OTHER_SESSION, None, 1, vec![line(8, "o")])])
        .unwrap();
    assert_eq!(
        by_series(&store)[&format!("s2 p o claude/default claude {class}")],
        1
    );
}

#[test]
fn series_in_memory_are_bounded_and_found_again() {
    let mut store = memory();
    let files = SERIES_KEPT_MAX + 100;
    let batches = |from: u64| {
        (0..files).map(move |file| {
            let key = u128::try_from(file).unwrap() * 2 + u128::from(from);
            let path = format!("projects/p/{file}.jsonl");
            batch(
                "r",
                &path,
                (from > 0).then_some(from),
                from + 1,
                vec![record(key, 1, Some(NOW))],
            )
        })
    };
    store.commit(batches(0)).unwrap();
    let series = |store: &Writer| {
        let table = |read: &redb::ReadTransaction| Ok(read.open_table(schema::SERIES)?);
        let table = read(store).reading(table).unwrap();
        redb::ReadableTableMetadata::len(&table).unwrap()
    };
    assert_eq!(series(&store), files as u64);
    store.commit(batches(1)).unwrap();
    assert_eq!(series(&store), files as u64, "none is made twice");
    assert!(store.names.as_ref().unwrap().series.rows.len() <= SERIES_KEPT_MAX);
    assert_eq!(
        figures(&store).runs["r"].totals.messages,
        2 * i64::try_from(files).unwrap()
    );
}

#[test]
fn a_response_in_a_series_of_another_class_is_reported_and_moved() {
    let mut store = memory();
    store
        .commit([batch("r", PROJECT, None, 1, vec![record(1, 5, Some(NOW))])])
        .unwrap();
    let before = by_series(&store);
    store
        .transact(|write| {
            let mut table = write.open_table(schema::SERIES)?;
            let mut row: SeriesRow = get(&table, 0)?.unwrap();
            let mut numbers = write.open_table(schema::SERIES_NUMBERS)?;
            numbers.remove(row.key())?;
            row.class = PriceClass {
                prompt: PromptSize::More,
                service: Service::default(),
            };
            numbers.insert(row.key(), 0 as SeriesNumber)?;
            table.insert(0 as PlaceNumber, schema::encode(&row).unwrap().as_slice())?;
            Ok(())
        })
        .unwrap();
    let mut reported = Vec::new();
    read(&store)
        .compare_sums(|sentence| reported.push(sentence))
        .unwrap();
    assert_eq!(reported.len(), 1, "{reported:?}");
    assert!(reported[0].contains("another price class"), "{reported:?}");
    let repaired = store.repair(&audit::Fixes::default()).unwrap();
    assert_eq!(repaired.responses, 1);
    let wanted: Vec<_> = before
        .iter()
        .map(|(key, output)| (key.as_str(), *output))
        .collect();
    expect(&store, &wanted);
}

#[test]
fn a_walk_over_one_run_gives_what_the_walk_over_all_gives_of_it() {
    let mut store = memory();
    let quarter = 15 * MINUTE_MS;
    for (run, path) in [("a", PROJECT), ("b", OTHER_SESSION), ("a", OTHER_SESSION)] {
        let records = (0..200).map(|number| {
            let key = u128::from(path.len() as u64 + u64::from(run.as_bytes()[0]) * 7919) * 1000 + number;
            let time = NOW - i64::try_from(number * number).unwrap() * quarter / 3;
            record(
                key + u128::from(path.as_bytes()[12]) * 1_000_000_000,
                1,
                Some(time),
            )
        });
        store
            .commit([batch(run, path, None, 1, records.collect())])
            .unwrap();
    }
    let snapshot = read(&store);
    let (first, last) = snapshot.days_recorded().unwrap().unwrap();
    let (start, end) = (first * 96, (last + 1) * 96);
    for step in [1, 4, 7, 96, 97, 96 * 3 + 5, u32::MAX / 2] {
        let stretches: Vec<_> = (start + 1..end - 1)
            .step_by(step as usize)
            .map(|from| from..from.saturating_add(step).min(end - 1))
            .collect();
        let (mut of_all, mut of_run) = (BTreeMap::new(), BTreeMap::new());
        let number = snapshot.run_number(&RunId::new("a").unwrap()).unwrap();
        snapshot
            .for_each_usage(&stretches, None, |at, series, row, totals| {
                if Some(row.run) == number {
                    *of_all.entry((at, series)).or_insert_with(Totals::default) += totals;
                }
            })
            .unwrap();
        snapshot
            .for_each_usage(&stretches, number, |at, series, _, totals| {
                *of_run.entry((at, series)).or_insert_with(Totals::default) += totals;
            })
            .unwrap();
        assert!(!of_all.is_empty());
        assert_eq!(of_all, of_run, "{step}");
    }
}
