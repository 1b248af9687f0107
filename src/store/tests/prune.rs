//! Pruning: no total changes, each step leaves sums that agree, and copies of pruned responses change nothing.

use std::num::NonZeroU64;

use redb::ReadableTable;

use super::super::prune::{PruneGoal, PruneStep, Pruned, Pruning, prune_all_steps};
use super::super::schema::{DAYS, MINUTES, QUARTERS, RESPONSES, SERIES_SUMS, encode};
use super::disk::{Disk, Trouble};
use super::*;
use crate::model::{DAY_MS, LimitSource, LimitStatus, Observation, Report, Reported, StopReason};

/// Makes a difference on a day.
type Change = fn(&redb::WriteTransaction, u32);

/// The day of `NOW`.
const TODAY: u32 = 20_731;

/// A goal with these days before today.
fn goal(details: u32, keys: u32, totals: u32) -> PruneGoal {
    let day = |age: u32| if age == 0 { 0 } else { TODAY - age };
    let horizons = Horizons {
        details: day(details),
        keys: day(keys),
        totals: day(totals),
    };
    PruneGoal::new(horizons, NOW)
}

fn prune(store: &mut Writer, goal: PruneGoal) -> Pruned {
    let expected = read(store).would_prune(Some(goal)).unwrap();
    let pruned = prune_all_steps(store, goal).unwrap();
    assert_eq!(pruned, expected, "a dry run says the same");
    pruned
}

fn differences(store: &Writer) -> Vec<String> {
    let mut found = Vec::new();
    read(store).compare_sums(|sentence| found.push(sentence)).unwrap();
    found
}

/// A response of each of the last days: `key` days ago.
fn daily(keys: std::ops::Range<u128>) -> Vec<Record> {
    keys.map(|key| record(key, 10, Some(NOW - i64::try_from(key).unwrap() * DAY_MS)))
        .collect()
}

fn sixty_days() -> Writer {
    let mut store = memory();
    let batch = batch("r", "a.jsonl", None, 100, daily(0..60));
    store.commit(&[batch]).unwrap();
    store.end_backlog().unwrap();
    store
}

#[test]
fn a_prune_changes_no_total_and_takes_only_whole_days() {
    let mut store = sixty_days();
    let before = figures(&store);
    let pruned = prune(&mut store, goal(30, 0, 0));
    // Days 31 to 59 are before the day 30 days ago.
    assert_eq!(pruned.responses, 29);
    assert_eq!(pruned.minutes, 29);
    let after = figures(&store);
    assert_eq!(
        (&after.runs, &after.by_day, &after.by_model),
        (&before.runs, &before.by_day, &before.by_model)
    );
    assert_eq!(responses(&store).len(), 31);
    assert_eq!(differences(&store), Vec::<String>::new());
    let again = prune(&mut store, goal(30, 0, 0));
    assert_eq!(again, Pruned::default());
    // The horizon never moves back.
    prune(&mut store, goal(50, 0, 0));
    assert_eq!(read(&store).horizons().unwrap().details, TODAY - 30);
    assert_eq!(differences(&store), Vec::<String>::new());
}

#[test]
fn tombstones_are_short() {
    let mut store = sixty_days();
    let bytes = |store: &Writer| -> u64 {
        let bytes = read(store).reading(|read| {
            let table = read.open_table(RESPONSES)?;
            let rows = table.iter()?.map(|row| row.unwrap().1.value().len() as u64);
            Ok(rows.sum())
        });
        bytes.unwrap()
    };
    let before = bytes(&store);
    prune(&mut store, goal(1, 0, 0));
    assert!(before > 60 * 15, "{before}");
    assert_eq!(bytes(&store) - 58 * 3, before / 60 * 2);
}

#[test]
fn a_copy_of_a_pruned_response_changes_nothing_also_a_better_one() {
    let mut store = sixty_days();
    prune(&mut store, goal(30, 0, 0));
    let before = figures(&store);
    // A fork: worse, equal and better copies, and an earlier one; one response is new.
    let mut copies = daily(40..42);
    copies[0].usage.output = 99;
    copies[1].usage.output = 1;
    copies.push(record(43, 10, Some(NOW - 50 * DAY_MS)));
    copies.push(record(100, 7, Some(NOW - 40 * DAY_MS)));
    store
        .commit(&[batch("fork", "b.jsonl", None, 50, copies)])
        .unwrap();
    let after = figures(&store);
    assert_eq!(after.runs["r"].totals, before.runs["r"].totals);
    let fork = &after.runs["fork"];
    assert_eq!((fork.totals.messages, fork.totals.output), (1, 7));
    assert_eq!((fork.lines.read, fork.lines.duplicate), (4, 3));
    assert_eq!(differences(&store), Vec::<String>::new());
    // What is not pruned still takes better copies.
    let mut better = daily(5..6);
    better[0].usage.output = 99;
    store
        .commit(&[batch("fork", "c.jsonl", None, 50, better)])
        .unwrap();
    assert_eq!(figures(&store).runs["r"].totals.output, 599 + 90);
    // The new response of an old day goes with the next prune.
    assert_eq!(prune(&mut store, goal(30, 0, 0)).responses, 1);
    assert_eq!(differences(&store), Vec::<String>::new());
}

#[test]
fn lines_whose_keys_were_removed_are_not_counted() {
    let mut store = sixty_days();
    prune(&mut store, goal(20, 0, 0));
    let before = figures(&store);
    let pruned = prune(&mut store, goal(20, 40, 0));
    assert_eq!((pruned.responses, pruned.keys), (0, 19));
    assert_eq!(figures(&store).runs, before.runs);
    assert_eq!(differences(&store), Vec::<String>::new());
    // A copy whose key is gone, one that never was, one whose key is left, a new one.
    let mut lines = daily(45..46);
    lines.push(record(200, 5, Some(NOW - 41 * DAY_MS)));
    lines.extend(daily(30..31));
    lines.push(record(201, 5, Some(NOW - 40 * DAY_MS)));
    // A wrong clock: a time before 2025 has no age.
    lines.push(record(202, 5, Some(1000)));
    store.commit(&[batch("s", "b.jsonl", None, 50, lines)]).unwrap();
    let after = figures(&store);
    assert_eq!(after.runs["r"].totals, before.runs["r"].totals);
    assert_eq!(after.runs["s"].totals.messages, 2);
    assert_eq!(differences(&store), Vec::<String>::new());
    prune(&mut store, goal(20, 40, 0));
    assert_eq!(differences(&store), Vec::<String>::new());
    let again = vec![record(202, 5, Some(1000))];
    store.commit(&[batch("t", "c.jsonl", None, 50, again)]).unwrap();
    assert_eq!(figures(&store).runs["t"].totals.messages, 0);
}

#[test]
fn sums_of_old_days_go_with_their_part_of_every_total() {
    let mut store = sixty_days();
    let mut second = daily(0..60);
    for (number, record) in second.iter_mut().enumerate() {
        record.key = ResponseKey(1000 + number as u128);
        record.model = "n".into();
    }
    store
        .commit(&[batch("gone", "b.jsonl", None, 100, second)])
        .unwrap();
    let gone = RunId::new("gone").unwrap();
    store.stop(&[(gone.clone(), StopReason::Idle)], NOW).unwrap();
    let forget = ForgetRun {
        run: gone,
        directory_is_there: false,
    };
    store.forget(&[forget], NOW).unwrap();
    assert_eq!(differences(&store), Vec::<String>::new());
    let pruned = prune(&mut store, goal(0, 0, 50));
    // Days 51 to 59 of both runs.
    assert_eq!((pruned.days, pruned.totals.messages), (18, 18));
    let after = figures(&store);
    assert_eq!(after.runs["r"].totals.messages, 51);
    assert_eq!(after.forgotten.totals.messages, 51);
    assert_eq!(after.by_model["n"].output, 510);
    assert_eq!(after.by_day.len(), 51);
    assert_eq!(differences(&store), Vec::<String>::new());
    // Nothing brings them back.
    store
        .commit(&[batch("s", "c.jsonl", None, 50, daily(50..60))])
        .unwrap();
    let again = figures(&store);
    assert_eq!(again.by_day, after.by_day);
    assert_eq!(again.runs["s"].totals, Totals::default());
    assert_eq!(differences(&store), Vec::<String>::new());
}

#[test]
fn everything_goes_but_keys_and_positions() {
    let mut store = sixty_days();
    prune(&mut store, goal(30, 0, 0));
    let pruned = store.prune(&PruneStep::All).unwrap();
    assert_eq!((pruned.responses, pruned.totals.messages), (31, 60));
    let after = figures(&store);
    assert_eq!(after.runs["r"].totals, Totals::default());
    assert_eq!(after.runs["r"].lines.read, 60);
    assert!(after.by_day.is_empty());
    assert_eq!(differences(&store), Vec::<String>::new());
    // Copies are still known, and new lines of any day count.
    let mut lines = daily(0..60);
    lines.push(record(500, 3, Some(NOW)));
    lines.push(record(501, 3, Some(NOW - 45 * DAY_MS)));
    store
        .commit(&[batch("r", "a.jsonl", Some(100), 150, lines)])
        .unwrap();
    assert_eq!(figures(&store).runs["r"].totals.messages, 2);
    assert_eq!(differences(&store), Vec::<String>::new());
}

#[test]
fn histories_and_refusals_go_with_the_details() {
    let mut store = memory();
    let seen = |days: i64, status| Observation {
        window: "five_hour".into(),
        utilization: Some(0.8),
        remaining: None,
        limit: None,
        reset_at: None,
        observed_at: Some(NOW - days * DAY_MS),
        status,
        source: LimitSource::RateLimits,
        session: None,
        request: None,
    };
    let mut one = batch("r", "a.jsonl", None, 100, daily(0..2));
    one.observations = (0..12)
        .rev()
        .map(|day| seen(day, LimitStatus::Rejected))
        .collect();
    store.commit(&[one]).unwrap();
    store.end_backlog().unwrap();
    store.apply_deferred(NOW).unwrap();
    let pruned = prune(&mut store, goal(5, 0, 0));
    assert_eq!((pruned.observations, pruned.limit_events), (6, 6), "{pruned:?}");
    let snapshot = read(&store);
    let account = AccountId::default();
    assert_eq!(snapshot.history(&account, "five_hour").unwrap().len(), 6);
    drop(snapshot);
    let left = store.prune(&PruneStep::All).unwrap();
    assert_eq!((left.observations, left.limit_events), (6, 6));
    let windows = &read(&store).quota(0).unwrap().accounts[&account].windows;
    assert_eq!(windows["five_hour"].utilization, Some(0.8));
}

#[test]
fn a_session_with_copies_of_pruned_responses_is_not_compared_with_its_report() {
    let mut store = memory();
    let session = |number: u64| NonZeroU64::new(number);
    let report = |number: u64| Report {
        session: NonZeroU64::new(number).unwrap(),
        reported: Reported {
            input: 60,
            output: 600,
            ..Reported::default()
        },
    };
    let of = |number, mut records: Vec<Record>| {
        for record in &mut records {
            record.session = session(number);
        }
        records
    };
    let mut first = batch("r", "a.jsonl", None, 100, of(1, daily(0..60)));
    first.reports = vec![report(1)];
    store.commit(&[first]).unwrap();
    let whole = read(&store).coverage().unwrap();
    assert_eq!(
        (whole.sessions_reported, whole.unlogged),
        (1, Reported::default())
    );
    prune(&mut store, goal(30, 0, 0));
    assert_eq!(read(&store).coverage().unwrap(), whole);
    let mut fork = batch("r", "b.jsonl", None, 100, of(2, daily(0..60)));
    fork.reports = vec![report(2)];
    store.commit(&[fork]).unwrap();
    let coverage = read(&store).coverage().unwrap();
    assert_eq!((coverage.sessions, coverage.sessions_reported), (2, 1));
    assert_eq!(coverage.unlogged, Reported::default());
    assert_eq!(differences(&store), Vec::<String>::new());
}

#[test]
fn each_step_leaves_sums_that_agree_while_commits_come_between() {
    let mut store = memory();
    let many = |first: u128, run: &str, path: &str, from, to| {
        let records: Vec<Record> = (first..first + 3000)
            .map(|key| record(key, 3, Some(NOW - i64::try_from(key % 60).unwrap() * DAY_MS)))
            .collect();
        batch(run, path, from, to, records)
    };
    store.commit(&[many(0, "r", "a.jsonl", None, 100)]).unwrap();
    store.end_backlog().unwrap();
    let mut pruning = Pruning::new(goal(20, 30, 40));
    let (mut steps, mut offset) = (0u32, 100);
    while let Some(step) = pruning.next_step(&store.reader().clone()).unwrap() {
        let done = store.prune(&step).unwrap();
        pruning.note(&step, &done);
        assert_eq!(differences(&store), Vec::<String>::new(), "after {step:?}");
        // Copies of everything, and a response of today.
        let mut lines = many(0, "s", "b.jsonl", (steps > 0).then_some(offset), offset + 10);
        lines
            .records
            .push(record(10_000 + u128::from(steps), 1, Some(NOW)));
        store.commit(&[lines]).unwrap();
        assert_eq!(differences(&store), Vec::<String>::new());
        offset += 10;
        steps += 1;
    }
    assert!(steps > 20, "{steps}");
    let after = figures(&store);
    assert_eq!(after.by_day.len(), 41);
    assert_eq!(after.runs["r"].totals.messages, 3000 / 60 * 41);
    assert_eq!(after.runs["s"].totals.messages, i64::from(steps));
}

#[test]
fn differences_on_pruned_days_are_found() {
    let old = TODAY - 40;
    let changes: [(&str, Change); 5] = [
        ("its quarter-hours sum up to", |write, day| {
            let mut table = write.open_table(DAYS).unwrap();
            table.remove((day, 0)).unwrap();
        }),
        ("its quarter-hours sum up to", |write, day| {
            let mut table = write.open_table(QUARTERS).unwrap();
            table.retain(|(quarter, _), _| quarter / 96 != day).unwrap();
        }),
        ("total of run r", |write, _| {
            let mut table = write.open_table(SERIES_SUMS).unwrap();
            table.remove(0).unwrap();
        }),
        ("responses, and there are", |write, day| {
            let mut responses = write.open_table(RESPONSES).unwrap();
            responses.remove(u128::from(TODAY - day)).unwrap();
        }),
        ("its minutes have more", |write, day| {
            let sum = Totals {
                messages: 5,
                ..Totals::default()
            };
            let mut table = write.open_table(MINUTES).unwrap();
            let minute = day * 24 * 60;
            table
                .insert((0, minute), encode(&sum).unwrap().as_slice())
                .unwrap();
        }),
    ];
    for (words, change) in changes {
        let mut store = sixty_days();
        prune(&mut store, goal(30, 0, 0));
        store
            .transact(|write| {
                change(write, old);
                Ok(())
            })
            .unwrap();
        let found = differences(&store);
        let is_known = |sentence: &String| sentence.contains(words) || words == "total of run r";
        assert!(found.iter().any(is_known), "{words}: {found:?}");
    }
}

#[test]
fn a_repair_does_not_empty_pruned_days() {
    let mut store = sixty_days();
    prune(&mut store, goal(30, 0, 0));
    let before = figures(&store);
    store
        .transact(|write| {
            let mut table = write.open_table(DAYS)?;
            table.remove((TODAY - 40, 0))?;
            table.remove((TODAY - 4, 0))?;
            write.open_table(SERIES_SUMS)?.remove(0)?;
            Ok(())
        })
        .unwrap();
    assert!(!differences(&store).is_empty());
    store.repair(&audit::Fixes::default()).unwrap();
    assert_eq!(differences(&store), Vec::<String>::new());
    let after = figures(&store);
    assert_eq!((after.runs, after.by_day), (before.runs, before.by_day));
}

#[test]
fn a_compaction_joins_the_pages_that_tombstones_leave() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.redb");
    let mut store = at(&path);
    let mut random = fastrand::Rng::with_seed(7);
    let many = (0..30_000).map(|number| record(random.u128(..), 3000, Some(NOW - (number % 60) * DAY_MS)));
    store
        .commit(&[batch("r", "a.jsonl", None, 100, many.collect())])
        .unwrap();
    store.end_backlog().unwrap();
    store.compact().unwrap();
    let size = |store: &Writer| store.file_bytes().unwrap();
    let full = size(&store);
    let before = figures(&store);
    prune(&mut store, goal(1, 0, 0));
    store.compact().unwrap();
    assert!(size(&store) * 3 < full * 2, "{} of {full}", size(&store));
    let (free, _) = read(&store).free_bytes().unwrap().unwrap();
    assert!(free * 2 < size(&store), "{free} of {}", size(&store));
    assert_eq!(figures(&store).runs, before.runs);
    assert_eq!(differences(&store), Vec::<String>::new());
}

/// Power failures at random operations of a prune, with torn and lost writes.
#[test]
fn a_prune_that_loses_power_changes_no_total() {
    const FAILURES: u64 = 60;
    let seed = fastrand::u64(..);
    println!("the seed is {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let disk = Disk::new(&[], false, random.fork());
    let mut store = Writer::on(disk.clone());
    store.reopen().unwrap();
    let many = (0..1800).map(|key| record(key, 3, Some(NOW - i64::try_from(key % 60).unwrap() * DAY_MS)));
    let one = batch("r", "a.jsonl", None, 100, many.collect());
    store.commit(&[one]).unwrap();
    store.end_backlog().unwrap();
    let before = figures(&store);
    let mut failures = 0;
    while failures < FAILURES {
        // Later rounds remove sums too, of one more day each.
        let age = u32::try_from(40 - failures * 30 / FAILURES).unwrap();
        let goal = goal(age, age + 10, 0);
        disk.expect(Some(Trouble::Crash {
            at: random.u64(1..400),
        }));
        let done = prune_all_steps(&mut store, goal);
        drop(store);
        failures += u64::from(disk.is_down());
        assert!(done.is_ok() || disk.is_down(), "{done:?}");
        disk.boot();
        store = Writer::on(disk.clone());
        store.reopen().unwrap();
        let after = figures(&store);
        assert_eq!((&after.runs, &after.by_day), (&before.runs, &before.by_day));
        assert_eq!(differences(&store), Vec::<String>::new());
    }
    disk.expect(None);
    // A prune of sums that fails half-way is finished by the next one.
    while !disk.is_down() {
        disk.expect(Some(Trouble::Crash {
            at: random.u64(1..60),
        }));
        let _ = prune_all_steps(&mut store, goal(5, 5, 5));
    }
    drop(store);
    disk.boot();
    store = Writer::on(disk.clone());
    store.reopen().unwrap();
    assert_eq!(differences(&store), Vec::<String>::new());
    prune_all_steps(&mut store, goal(5, 5, 5)).unwrap();
    assert_eq!(differences(&store), Vec::<String>::new());
    assert_eq!(figures(&store).runs["r"].totals.messages, 180);
}
