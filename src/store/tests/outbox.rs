//! The outbox: a row for each target in the transaction of its cause, once for each cause, and bounded.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::model::{HOUR_MS, LimitSource, LimitStatus, Observation};
use crate::quota::notice::causes::{latch, of_recovery, of_stop, of_trouble};
use crate::quota::notice::reach::{TargetReach, reach_of};
use crate::quota::notice::target::{NoticeFormat, NoticeMatch, NoticeRoute, NoticeTarget};
use crate::quota::notice::{LatchChange, LatchKey, Notice, NoticeKind, NoticePhase, NumberedNotice};
use crate::store::schema::OutboxPlace;
use crate::store::write::AccountObservations;

pub(super) fn target(name: &str, events: &[&str]) -> NoticeTarget {
    NoticeTarget {
        name: name.into(),
        events: events.iter().map(|event| (*event).into()).collect(),
        matches: NoticeMatch::default(),
        route: NoticeRoute::Exec(vec!["/bin/true".to_owned()]),
        secret_file: None,
        token_file: None,
        format: NoticeFormat::Standard,
        timeout: Duration::from_secs(1),
        max_age: HOUR_MS,
    }
}

fn with_targets(targets: &[NoticeTarget]) -> Writer {
    let mut store = memory();
    store.control().set_targets(targets.into());
    store.apply_deferred(NOW).unwrap();
    store
}

fn used(at: Millis, share: f64) -> AccountObservations {
    let observation = Observation {
        window: "five_hour".into(),
        utilization: Some(share),
        remaining: None,
        limit: None,
        reset_at: Some(NOW + 5 * HOUR_MS),
        observed_at: Some(at),
        status: LimitStatus::Allowed,
        source: LimitSource::RateLimitEvent,
        session: None,
        request: None,
    };
    AccountObservations {
        account: AccountId::default(),
        observations: vec![observation],
    }
}

/// All rows of a target, by taking one after the other.
fn taken(store: &mut Writer, target: &str) -> Vec<NumberedNotice> {
    let mut rows = Vec::new();
    while let Some((place, row)) = first(store, target) {
        finish(store, target, place);
        rows.push(row);
    }
    rows
}

fn first(store: &Writer, target: &str) -> Option<(OutboxPlace, NumberedNotice)> {
    read(store).first_notice(target).unwrap()
}

fn finish(store: &mut Writer, target: &str, place: OutboxPlace) {
    let change = OutboxChange::Finish {
        target: target.into(),
        place,
        phase: NoticePhase::Sent,
    };
    store.change_outbox(&change, NOW).unwrap();
}

fn names(rows: &[NumberedNotice]) -> Vec<String> {
    let name = |row: &NumberedNotice| match row.notice.threshold {
        Some(percent) => format!("{} {percent}", row.notice.kind.into_str()),
        None => row.notice.kind.into_str().to_owned(),
    };
    rows.iter().map(name).collect()
}

/// An event of a subject of its own.
pub(super) fn change(number: u64, at: Millis) -> LatchChange {
    let mut notice = Notice::new(NoticeKind::AccountExhausted, at, "x");
    let name: Box<str> = number.to_string().into();
    notice.account = Some(AccountId {
        name: name.clone(),
        ..AccountId::default()
    });
    LatchChange {
        key: LatchKey {
            kind: NoticeKind::AccountExhausted,
            subject: name,
        },
        to: Some(latch(1, at)),
        notice: Some(notice),
        id: None,
    }
}

#[test]
fn a_cause_is_a_row_for_each_target_that_wants_it_with_one_id() {
    let mut store = with_targets(&[
        target("a", &["window.*"]),
        target("b", &["*"]),
        target("c", &["health.*"]),
    ]);
    let committed = store.observe(&[used(NOW, 0.8)], NOW).unwrap();
    let expected = format!("evt_{}_0", committed.sequence);
    for name in ["a", "b"] {
        let (_, row) = first(&store, name).unwrap();
        assert_eq!(*row.id, *expected);
        assert_eq!((row.notice.threshold, row.notice.at), (Some(75), NOW));
    }
    assert_eq!(first(&store, "c"), None);
    let phases: Vec<_> = committed
        .notices
        .iter()
        .map(|update| (&*update.target, update.phase))
        .collect();
    assert_eq!(phases, [("a", NoticePhase::Waiting), ("b", NoticePhase::Waiting)]);
    // The same reading again, as after an error of the commit: nothing new.
    let again = store.observe(&[used(NOW, 0.8)], NOW).unwrap();
    assert_eq!(again.notices, []);
    assert_eq!(taken(&mut store, "b").len(), 1);
}

#[test]
fn a_newer_event_of_the_same_subject_replaces_one_that_waits() {
    let mut store = with_targets(&[target("a", &["*"])]);
    store.observe(&[used(NOW, 0.8)], NOW).unwrap();
    let second = store.observe(&[used(NOW + 1000, 0.95)], NOW + 1000).unwrap();
    let rows = taken(&mut store, "a");
    assert_eq!(names(&rows), ["window.threshold 90"]);
    assert_eq!(*rows[0].id, *format!("evt_{}_0", second.sequence));
    // One that was taken meanwhile is finished without harm.
    finish(&mut store, "a", (1, 0));
    assert_eq!(
        store
            .change_outbox(&OutboxChange::DropUnknown, NOW)
            .unwrap()
            .sequence,
        0
    );
}

#[test]
fn without_a_target_nothing_is_written() {
    let mut store = with_targets(&[]);
    store.observe(&[used(NOW, 0.8)], NOW).unwrap();
    store.note(&[change(1, NOW)], NOW).unwrap();
    assert!(read(&store).waiting_notices().unwrap().is_empty());
}

#[test]
fn what_is_older_than_the_target_takes_is_counted_and_not_written() {
    let mut store = with_targets(&[target("a", &["*"])]);
    let later = NOW + 2 * HOUR_MS;
    let committed = store.observe(&[used(NOW, 0.8)], later).unwrap();
    assert_eq!(first(&store, "a"), None);
    let dropped: Vec<_> = committed.notices.iter().map(|it| (it.phase, it.count)).collect();
    assert_eq!(dropped, [(NoticePhase::Dropped, 1)]);
}

#[test]
fn a_full_outbox_drops_the_oldest_and_says_so_once() {
    let mut store = with_targets(&[target("a", &["*"])]);
    let changes: Vec<_> = (0..OUTBOX_ROWS_MAX as u64 + 7)
        .map(|number| change(number, NOW))
        .collect();
    let committed = store.note(&changes, NOW).unwrap();
    let dropped: u64 = (committed.notices.iter())
        .filter(|update| update.phase == NoticePhase::Dropped)
        .map(|update| update.count)
        .sum();
    let waiting = read(&store).waiting_notices().unwrap()["a"];
    assert!(waiting <= OUTBOX_ROWS_MAX as u64 + 1, "{waiting}");
    let more = store.note(&[change(5000, NOW)], NOW).unwrap();
    assert!(
        more.notices
            .iter()
            .any(|update| update.phase == NoticePhase::Dropped)
    );
    let rows = taken(&mut store, "a");
    let summaries: Vec<_> = (rows.iter())
        .filter(|row| row.notice.kind == NoticeKind::NotifyDropped)
        .collect();
    assert_eq!(summaries.len(), 1, "one event for all");
    let lost = summaries[0].notice.count.unwrap();
    assert!(lost > dropped, "{lost} and {dropped}");
    // Every event is there or counted.
    assert_eq!(rows.len() as u64 - 1 + lost, OUTBOX_ROWS_MAX as u64 + 8);
    let name = |row: &NumberedNotice| row.notice.account.clone().unwrap().name;
    assert_eq!(&*name(&rows[0]), lost.to_string().as_str(), "the oldest are gone");
}

#[test]
fn old_rows_are_dropped_together_and_said_in_one_event() {
    let mut store = with_targets(&[target("a", &["*"])]);
    let changes: Vec<_> = (0..5).map(|number| change(number, NOW)).collect();
    store.note(&changes, NOW).unwrap();
    store.note(&[change(9, NOW + 1000)], NOW + 1000).unwrap();
    let drop_older = OutboxChange::DropOlder {
        target: "a".into(),
        before: NOW + 1,
    };
    let at = NOW + HOUR_MS + 1;
    store.change_outbox(&drop_older, at).unwrap();
    // Again: nothing is left to drop.
    assert_eq!(store.change_outbox(&drop_older, at).unwrap().sequence, 0);
    let rows = taken(&mut store, "a");
    assert_eq!(names(&rows), ["account.exhausted", "notify.dropped"]);
    assert_eq!((rows[1].notice.count, rows[1].notice.at), (Some(5), at));
}

#[test]
fn rows_of_a_target_that_is_gone_are_dropped() {
    let mut store = with_targets(&[target("a", &["*"]), target("b", &["*"])]);
    store.note(&[change(1, NOW)], NOW).unwrap();
    store.control().set_targets(Arc::from([target("b", &["*"])]));
    let committed = store.change_outbox(&OutboxChange::DropUnknown, NOW).unwrap();
    let gone: Vec<_> = (committed.notices.iter())
        .map(|update| (&*update.target, update.phase, update.count))
        .collect();
    assert_eq!(gone, [("a", NoticePhase::Dropped, 1)]);
    assert_eq!((first(&store, "a"), taken(&mut store, "b").len()), (None, 1));
}

#[test]
fn a_latch_makes_a_cause_one_event_over_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t.redb");
    let open = || {
        let store = at(&path);
        store.control().set_targets(Arc::from([target("a", &["*"])]));
        store
    };
    let mut store = open();
    let said = store.note(&[change(1, NOW)], NOW).unwrap();
    // After an error of the commit the same change is written again.
    let again = store.note(&[change(1, NOW)], NOW).unwrap();
    assert_eq!((said.notices.len(), again.notices.len()), (1, 0));
    store.close();
    let mut store = open();
    assert_eq!(read(&store).latches().unwrap().len(), 1);
    assert_eq!(store.note(&[change(1, NOW)], NOW).unwrap().notices, []);
    let (_, row) = first(&store, "a").unwrap();
    assert_eq!(*row.id, *format!("evt_{}_0", said.sequence), "its id stays");
}

#[test]
fn trouble_that_goes_on_after_a_restart_is_not_said_again() {
    let mut store = with_targets(&[target("a", &["health.*"])]);
    let said = |store: &mut Writer, change| store.note(&[change], NOW).unwrap().notices.len();
    assert_eq!(said(&mut store, of_recovery(NOW)), 0, "it was well");
    assert_eq!(said(&mut store, of_trouble(1, "degraded", None, NOW)), 1);
    assert_eq!(said(&mut store, of_trouble(1, "degraded", None, NOW + 5)), 0);
    assert_eq!(said(&mut store, of_trouble(2, "unhealthy", None, NOW + 6)), 1);
    assert_eq!(said(&mut store, of_recovery(NOW + 9)), 1);
    assert_eq!(said(&mut store, of_recovery(NOW + 10)), 0);
    let ids: Vec<_> = taken(&mut store, "a").into_iter().map(|row| row.id).collect();
    // The worse replaced the first, which waited.
    assert_eq!(
        ids,
        [
            format!("evt_health_{}", NOW + 6).into(),
            Box::<str>::from(format!("evt_health_{}_ok", NOW + 9))
        ]
    );
}

#[test]
fn since_when_a_target_fails_stays_until_it_is_reached_and_goes_with_it() {
    let mut store = with_targets(&[target("a", &["*"])]);
    let reach = |store: &Writer| reach_of(&read(store).latches().unwrap(), "a");
    let unreached = |since| OutboxChange::Unreached {
        target: "a".into(),
        since,
    };
    let reached = OutboxChange::Reached { target: "a".into() };
    for (change, now, expected) in [
        (unreached(NOW), NOW + 5, (Some(NOW), None)),
        (unreached(NOW + 7), NOW + 8, (Some(NOW), None)),
        (reached, NOW + 9, (None, Some(NOW + 9))),
        (unreached(NOW + 10), NOW + 11, (Some(NOW + 10), Some(NOW + 9))),
        (
            OutboxChange::DropUnknown,
            NOW + 12,
            (Some(NOW + 10), Some(NOW + 9)),
        ),
    ] {
        store.change_outbox(&change, now).unwrap();
        let found = reach(&store);
        assert_eq!((found.failing_since, found.last_sent_at), expected, "{change:?}");
    }
    // Of a target that changed it is not known, but when something was sent last is.
    let renewed = OutboxChange::Renewed { target: "a".into() };
    store.change_outbox(&renewed, NOW + 13).unwrap();
    let found = reach(&store);
    assert_eq!((found.failing_since, found.last_sent_at), (None, Some(NOW + 9)));
    // What was sent and what was refused say the same.
    store.observe(&[used(NOW + 20, 0.8)], NOW + 20).unwrap();
    let (place, _) = first(&store, "a").unwrap();
    finish(&mut store, "a", place);
    assert_eq!(reach(&store).failing_since, None);
    // Other latches stay.
    store.note(&[change(1, NOW)], NOW).unwrap();
    store.control().set_targets(Arc::from([target("b", &["*"])]));
    store.change_outbox(&OutboxChange::DropUnknown, NOW).unwrap();
    assert_eq!(read(&store).latches().unwrap().len(), 1);
    assert_eq!(reach(&store), TargetReach::default());
}

#[test]
fn rows_wait_through_a_forgotten_run_and_a_prune() {
    let mut store = with_targets(&[target("a", &["*"])]);
    let run = RunId::new("r1").unwrap();
    store
        .register(&[(run.clone(), AccountId::default())], false, NOW)
        .unwrap();
    store.observe(&[used(NOW, 0.8)], NOW).unwrap();
    let waiting = first(&store, "a");
    assert!(waiting.is_some());
    store
        .stop(&[(run.clone(), crate::model::StopReason::Asked)], NOW)
        .unwrap();
    let forget = ForgetRun {
        run,
        directory_is_there: false,
    };
    store.forget(&[forget], NOW).unwrap();
    store.prune(&crate::store::prune::PruneStep::All).unwrap();
    assert_eq!(first(&store, "a"), waiting);
}

#[test]
fn a_stop_is_said_to_those_who_name_it() {
    let mut store = with_targets(&[target("a", &["*"]), target("b", &["run.stopped"])]);
    let run = RunId::new("r1").unwrap();
    let named = [(run.clone(), AccountId::default())];
    store.register(&named, false, NOW).unwrap();
    let stops = [(run, crate::model::StopReason::Asked)];
    store.stop(&stops, NOW).unwrap();
    assert_eq!(store.stop(&stops, NOW).unwrap().0, [false]);
    assert_eq!(first(&store, "a"), None);
    let rows = taken(&mut store, "b");
    let expected = of_stop("r1", &AccountId::default(), "asked", NOW);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].notice, expected);
}
