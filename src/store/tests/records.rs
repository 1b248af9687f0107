//! Posted records: each counts once, beside transcripts in either order, and every sum follows from them.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::model::{DAY_MS, FailedAttempt, PostedRecord, RecordId, RouteNames};
use crate::parse::claude::key_of_message;
use crate::store::audit::Fixes;
use crate::store::prune::{PruneGoal, PruneStep, prune_all_steps};
use crate::store::schema::{NO_RUN, RESPONSES, ROUTE_NUMBERS, day_of};
use crate::store::write::routes::ROUTES_MAX;
use crate::store::{PostOutcome, RunChange, SumPlace};

const MESSAGE: &str = "msg_01XFDUDYJgAACzvnptvVoYEL";

/// A record of 300 + 200 tokens, two fallbacks, and a failed attempt of another provider.
pub fn posted(id: &str, run: Option<&str>) -> PostedRecord {
    PostedRecord {
        id: RecordId::Own {
            source: "router-1".into(),
            id: id.into(),
        },
        content: 1,
        run: run.map(|run| RunId::new(run).unwrap()),
        provider: Some("openai".into()),
        account: AccountId::default_of("openai"),
        is_account_named: false,
        model: "gpt".into(),
        names: RouteNames {
            profile: Some("default".into()),
            route: Some("/think".into()),
            instance: Some("router-1".into()),
        },
        usage: Some(Usage {
            input: 300,
            output: 200,
            ..Usage::default()
        }),
        is_estimated: false,
        fallbacks: 2,
        attempts: vec![FailedAttempt {
            provider: "claude".into(),
            account: AccountId::default(),
            is_account_named: false,
            model: "unknown".into(),
            count: 1,
        }],
        time: NOW,
        has_time: true,
    }
}

fn of_message(run: Option<&str>) -> PostedRecord {
    PostedRecord {
        id: RecordId::Message(MESSAGE.into()),
        provider: Some("claude".into()),
        account: AccountId::default(),
        ..posted("", run)
    }
}

/// The transcript's line of [`MESSAGE`].
fn line(output: u64) -> Batch {
    let mut of_line = record(0, output, Some(NOW + 5000));
    of_line.key = key_of_message(0, MESSAGE);
    batch("one", "a.jsonl", None, 10, vec![of_line])
}

fn post(store: &mut Writer, records: &[PostedRecord]) -> Vec<PostOutcome> {
    store.commit_posted(&[], records, NOW).unwrap().posted
}

fn differences(store: &Writer) -> Vec<String> {
    let mut differences = Vec::new();
    let snapshot = read(store);
    snapshot
        .compare_sums(|difference| differences.push(difference))
        .unwrap();
    differences
}

/// A store with runs `one` and `two`.
fn store() -> Writer {
    let mut store = memory();
    for run in ["one", "two"] {
        let id = RunId::new(run).unwrap();
        store.register(&[(id, AccountId::default())], false, NOW).unwrap();
    }
    store
}

/// Messages, tokens, fallbacks and failed attempts by run, account and route.
#[expect(clippy::single_range_in_vec_init, reason = "one stretch")]
fn by_origin(store: &Writer) -> BTreeMap<String, (i64, i128, i64, i64)> {
    let snapshot = read(store);
    let names = snapshot.series_names().unwrap();
    let mut all = BTreeMap::new();
    let each = |place: &SumPlace<'_>, totals: Totals| {
        let series = place.series;
        let run = if series.run == NO_RUN {
            "-".to_owned()
        } else {
            series.run.to_string()
        };
        let route = names.route(series.route).and_then(|names| names.route.as_deref());
        let account = &names.accounts[series.account as usize];
        let sum: &mut (i64, i128, i64, i64) = all
            .entry(format!("{run} {account} {}", route.unwrap_or("-")))
            .or_default();
        sum.0 += totals.messages;
        sum.1 += totals.input + totals.output;
        sum.2 += totals.fallbacks;
        sum.3 += totals.failed_attempts;
    };
    snapshot.for_each_usage(&[0..u32::MAX], None, each).unwrap();
    all
}

#[test]
fn a_record_counts_once_and_its_attempts_are_those_of_their_providers() {
    let mut store = store();
    let records = [
        posted("1", Some("one")),
        posted("2", None),
        posted("1", Some("one")),
    ];
    assert_eq!(
        post(&mut store, &records),
        [PostOutcome::Counted, PostOutcome::Counted, PostOutcome::Duplicate]
    );
    assert_eq!(post(&mut store, &records), [PostOutcome::Duplicate; 3]);
    let other = PostedRecord {
        content: 2,
        fallbacks: 9,
        ..posted("1", Some("one"))
    };
    let nowhere = posted("3", Some("three"));
    assert_eq!(
        post(&mut store, &[other, nowhere]),
        [PostOutcome::Conflict, PostOutcome::NoRun]
    );
    let expected = [
        ("- claude/default /think", (0, 0, 0, 1)),
        ("- openai/default /think", (1, 500, 2, 0)),
        ("0 claude/default /think", (0, 0, 0, 1)),
        ("0 openai/default /think", (1, 500, 2, 0)),
    ];
    assert_eq!(
        by_origin(&store),
        expected.map(|(key, sums)| (key.to_owned(), sums)).into()
    );
    let figures = figures(&store);
    assert_eq!(figures.without_run.totals.messages, 1);
    assert_eq!(
        (
            figures.runs["one"].totals.messages,
            figures.forgotten.totals.messages
        ),
        (1, 0)
    );
    assert_eq!(differences(&store), Vec::<String>::new());
}

#[test]
fn a_failed_call_keeps_its_key_and_counts_as_a_failed_attempt_only() {
    let mut store = store();
    let failed = PostedRecord {
        usage: None,
        fallbacks: 0,
        attempts: Vec::new(),
        ..posted("1", Some("two"))
    };
    let records = [failed.clone(), failed];
    assert_eq!(
        post(&mut store, &records),
        [PostOutcome::Counted, PostOutcome::Duplicate]
    );
    let expected = [("1 openai/default /think".to_owned(), (0, 0, 0, 1))];
    assert_eq!(by_origin(&store), expected.into());
    let quota = read(&store).quota(0).unwrap();
    let minutes = quota.accounts.values().map(|sums| sums.minutes.len());
    assert_eq!(minutes.sum::<usize>(), 0, "no call");
    assert_eq!(differences(&store), Vec::<String>::new());
}

#[test]
fn a_transcript_is_the_better_copy_of_its_response_in_either_order() {
    for is_record_first in [true, false] {
        let mut store = store();
        let mut first = of_message(None);
        // Earlier than the line, and not its owner all the same.
        first.time = NOW - 1000;
        if is_record_first {
            assert_eq!(post(&mut store, &[first.clone()]), [PostOutcome::Counted]);
            store.commit(&[line(7)]).unwrap();
        } else {
            store.commit(&[line(7)]).unwrap();
            assert_eq!(post(&mut store, &[first.clone()]), [PostOutcome::Counted]);
        }
        assert_eq!(post(&mut store, &[first]), [PostOutcome::Duplicate]);
        let expected = [
            ("- claude/default /think", (0, 0, 2, 1)),
            ("0 claude/default /think", (1, 8, 0, 0)),
        ];
        assert_eq!(
            by_origin(&store),
            expected.map(|(key, sums)| (key.to_owned(), sums)).into(),
            "{is_record_first}"
        );
        assert_eq!(differences(&store), Vec::<String>::new());
    }
}

#[test]
fn a_line_without_figures_leaves_those_of_the_record() {
    for is_record_first in [true, false] {
        let mut store = store();
        let mut empty = line(0);
        empty.records[0].usage = Usage::default();
        empty.records[0].is_final = false;
        if is_record_first {
            post(&mut store, &[of_message(Some("one"))]);
            store.commit(&[empty]).unwrap();
        } else {
            store.commit(&[empty]).unwrap();
            post(&mut store, &[of_message(Some("one"))]);
        }
        let totals = figures(&store).runs["one"].totals;
        assert_eq!((totals.messages, totals.output, totals.unfinished), (1, 200, 0));
        assert_eq!(differences(&store), Vec::<String>::new());
    }
}

#[test]
fn an_account_that_a_record_names_is_its_account() {
    let mut store = store();
    let named = PostedRecord {
        account: AccountId {
            provider: "openai".into(),
            name: "team".into(),
        },
        is_account_named: true,
        attempts: Vec::new(),
        ..posted("1", Some("one"))
    };
    let own = PostedRecord {
        provider: None,
        ..posted("2", Some("one"))
    };
    post(&mut store, &[named, own]);
    let origins = by_origin(&store);
    assert_eq!(origins["0 openai/team /think"].1, 500);
    assert_eq!(origins["0 claude/default /think"], (1, 500, 2, 1));
}

#[test]
fn estimated_tokens_are_summed_apart_too() {
    let mut store = store();
    let estimated = PostedRecord {
        is_estimated: true,
        ..posted("1", None)
    };
    post(&mut store, &[estimated, posted("2", None)]);
    let totals = figures(&store).without_run.totals;
    assert_eq!((totals.input + totals.output, totals.estimated), (1000, 500));
    assert_eq!(differences(&store), Vec::<String>::new());
}

#[test]
fn routes_beyond_the_bound_share_a_name() {
    let mut store = store();
    let of_route = |number: usize| PostedRecord {
        names: RouteNames {
            route: Some(format!("/{number}").into()),
            ..RouteNames::default()
        },
        attempts: Vec::new(),
        ..posted(&number.to_string(), None)
    };
    let records: Vec<_> = (0..ROUTES_MAX + 3).map(of_route).collect();
    post(&mut store, &records);
    let origins = by_origin(&store);
    assert_eq!(origins.len(), ROUTES_MAX + 1);
    assert_eq!(origins["- openai/default (other)"].0, 3);
    assert_eq!(differences(&store), Vec::<String>::new());
}

#[test]
fn a_record_whose_details_were_pruned_is_a_duplicate_and_an_unknown_old_one_is_too_old() {
    let days_ago = |id: &str, days: i64| PostedRecord {
        time: NOW - days * DAY_MS,
        ..posted(id, None)
    };
    let today = day_of(NOW);
    let goal = |details, keys, totals| {
        let horizons = Horizons {
            details,
            keys,
            totals,
        };
        PruneGoal::new(horizons, NOW)
    };
    let mut store = store();
    post(
        &mut store,
        &[days_ago("1", 40), days_ago("2", 20), days_ago("3", 1)],
    );
    let before = by_origin(&store);
    let pruned = prune_all_steps(&mut store, goal(today - 10, 0, 0)).unwrap();
    assert_eq!(pruned.responses, 2);
    assert_eq!(by_origin(&store), before, "the sums of records stay");
    assert_eq!(differences(&store), Vec::<String>::new());
    // Other content under a pruned id cannot be told from the same.
    let resent = [
        days_ago("1", 40),
        days_ago("2", 20),
        days_ago("3", 1),
        days_ago("4", 40),
    ];
    let outcomes = post(&mut store, &resent);
    assert_eq!(outcomes[..3], [PostOutcome::Duplicate; 3]);
    assert_eq!(outcomes[3], PostOutcome::Counted, "its key is known to be new");
    assert_eq!(differences(&store), Vec::<String>::new());
    prune_all_steps(&mut store, goal(today - 10, today - 30, 0)).unwrap();
    let outcomes = post(&mut store, &[days_ago("1", 40), days_ago("2", 20)]);
    let horizon = Millis::from(today - 30) * DAY_MS;
    assert_eq!(outcomes, [PostOutcome::TooOld(horizon), PostOutcome::Duplicate]);
    assert_eq!(differences(&store), Vec::<String>::new());
    // Without their sums.
    prune_all_steps(&mut store, goal(today - 10, today - 30, today - 15)).unwrap();
    assert_eq!(by_origin(&store)["- openai/default /think"].0, 1);
    assert_eq!(differences(&store), Vec::<String>::new());
    store.prune(&PruneStep::All).unwrap();
    assert!(by_origin(&store).is_empty());
    assert_eq!(post(&mut store, &[days_ago("3", 1)]), [PostOutcome::Duplicate]);
    assert_eq!(differences(&store), Vec::<String>::new());
}

#[test]
fn the_changes_of_runs_and_of_no_run_are_told() {
    let mut store = store();
    let records = [posted("1", Some("two")), posted("2", None)];
    let committed = store.commit_posted(&[], &records, NOW).unwrap();
    let outputs = |change: &RunChange| change.models.iter().map(|(_, sums)| sums.output).sum::<i128>();
    let changes: Vec<_> = (committed.changes.iter())
        .map(|(run, change)| (run.as_str(), outputs(change), change.totals.messages))
        .collect();
    assert_eq!(changes, [("two", 200, 1)]);
    let without: Vec<_> = (committed.without_run.iter())
        .map(|change| {
            (
                change.account.to_string(),
                outputs(change),
                change.totals.messages,
            )
        })
        .collect();
    assert_eq!(without, [("openai/default".to_owned(), 200, 1)]);
}

#[test]
fn lost_keys_of_routes_and_records_without_a_response_are_repaired() {
    let mut store = store();
    post(&mut store, &[posted("1", None), posted("2", None)]);
    store
        .transact(|write| {
            write.open_table(ROUTE_NUMBERS)?.retain(|_, _| false)?;
            write.open_table(RESPONSES)?.pop_first()?;
            Ok(())
        })
        .unwrap();
    let found = differences(&store).join("; ");
    assert!(found.contains("has no response"), "{found}");
    assert!(
        found.contains("the key of profile default, route /think, instance router-1"),
        "{found}"
    );
    store.repair(&Fixes::default()).unwrap();
    assert_eq!(differences(&store), Vec::<String>::new());
    let again = post(&mut store, &[posted("1", None), posted("2", None)]);
    assert_eq!(
        again.iter().filter(|one| **one == PostOutcome::Counted).count(),
        1
    );
    assert_eq!(figures(&store).without_run.totals.messages, 2);
    assert_eq!(differences(&store), Vec::<String>::new());
}

/// The parts of a random record: id, run, run's line instead, tokens, fallbacks, failed attempts.
type Drawn = (u8, u8, bool, u64, u32, u32);

fn drawn_record((id, run, is_message, output, fallbacks, failed): Drawn) -> PostedRecord {
    let run = [None, Some("one"), Some("two")][usize::from(run % 3)];
    let own = posted(&id.to_string(), run);
    let mut attempts = own.attempts.clone();
    attempts[0].count = failed;
    PostedRecord {
        id: if is_message {
            RecordId::Message(format!("msg_{id}").into())
        } else {
            own.id.clone()
        },
        provider: Some("claude".into()),
        account: AccountId::default(),
        content: output,
        usage: (output > 0 || is_message).then_some(Usage {
            output,
            ..Usage::default()
        }),
        fallbacks,
        attempts: if failed > 0 { attempts } else { Vec::new() },
        names: RouteNames {
            route: (fallbacks % 2 == 0).then(|| format!("/{fallbacks}").into()),
            ..RouteNames::default()
        },
        time: NOW - i64::from(id) * 900_000,
        ..own
    }
}

proptest! {
    /// Sums follow from rows after any records and lines in any grouping, and a database opened again agrees.
    #[test]
    fn sums_follow_from_any_records_and_lines(
        drawn in proptest::collection::vec((0u8..12, 0u8..3, any::<bool>(), 0u64..4, 0u32..4, 0u32..3), 1..40),
        lines in proptest::collection::vec((0u8..12, 1u64..9, any::<bool>()), 0..20),
        group in 1usize..6,
    ) {
        let mut store = store();
        let mut read_to = 0;
        let mut lines = lines.into_iter();
        for records in drawn.chunks(group) {
            let records: Vec<_> = records.iter().copied().map(drawn_record).collect();
            let copies: Vec<_> = lines.by_ref().take(2).map(|(id, output, is_final)| {
                let mut copy = record(0, output, Some(NOW - i64::from(id)));
                copy.key = key_of_message(0, &format!("msg_{id}"));
                copy.is_final = is_final;
                copy
            }).collect();
            let from = (read_to > 0).then_some(read_to);
            let batches = [batch("one", "a.jsonl", from, read_to + 10, copies)];
            read_to += 10;
            let committed = store.commit_posted(&batches, &records, NOW).unwrap();
            prop_assert_eq!(&committed.outcomes, &[Outcome::Committed]);
            prop_assert_eq!(committed.posted.len(), records.len());
            // Posted again, nothing counts.
            let again = post(&mut store, &records);
            prop_assert!(again.iter().all(|one| *one != PostOutcome::Counted));
            store.names = None;
        }
        prop_assert_eq!(differences(&store), Vec::<String>::new());
    }
}
