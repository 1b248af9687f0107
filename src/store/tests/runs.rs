//! Runs that are started, stopped, forgotten, and started again.

use super::*;
use crate::model::{Labels, Phase, StopReason};

fn id(run: &str) -> RunId {
    RunId::new(run).unwrap()
}

fn account(name: &str) -> AccountId {
    AccountId {
        name: name.into(),
        ..AccountId::default()
    }
}

fn labels(project: &str) -> Labels {
    Labels::from([("project".into(), project.into())])
}

fn start(run: &str, account_name: &str, project: Option<&str>) -> Start {
    Start {
        run: id(run),
        account: account(account_name),
        labels: project.map(labels),
        mount: None,
        lease: None,
    }
}

fn started(store: &mut Writer, run: Start) -> (Started, Vec<Phase>) {
    let (started, committed) = store.start(&[run], false, NOW).unwrap();
    let phases = committed.events.iter().map(|event| event.phase).collect();
    (started[0].clone(), phases)
}

#[test]
fn a_start_is_idempotent_and_replaces_labels() {
    let mut store = memory();
    let first = started(&mut store, start("r", "default", Some("x")));
    assert_eq!(first, (Started::New, vec![Phase::Started]));
    let again = started(&mut store, start("r", "default", Some("x")));
    assert_eq!(again, (Started::Known, vec![]));
    started(&mut store, start("r", "default", Some("y")));
    // Being found changes nothing.
    assert_eq!(
        started(&mut store, start("r", "other", None)),
        (Started::Known, vec![])
    );
    let info = read(&store).run_info(&id("r")).unwrap().unwrap();
    assert_eq!(info.labels, labels("y"));
    assert_eq!((info.registered_at, info.stopped), (Some(NOW), None));
    assert_eq!(
        read(&store).run_infos().unwrap(),
        BTreeMap::from([(id("r"), info)])
    );
    assert_eq!(read(&store).run_info(&id("other")).unwrap(), None);
}

#[test]
fn a_run_moves_to_another_account_only_while_nothing_was_read_of_it() {
    let mut store = memory();
    started(&mut store, start("r", "default", None));
    assert_eq!(
        started(&mut store, start("r", "max-1", Some("x"))).0,
        Started::Known
    );
    assert_eq!(read(&store).account_of(&id("r")).unwrap(), Some(account("max-1")));
    let mut lines = batch("r", "a", None, 10, vec![record(1, 5, Some(NOW))]);
    lines.account = Arc::new(account("max-1"));
    store.commit([lines]).unwrap();
    let refused = started(&mut store, start("r", "max-2", Some("y")));
    assert_eq!(refused, (Started::Elsewhere(account("max-1")), vec![]));
    assert_eq!(
        read(&store).run_info(&id("r")).unwrap().unwrap().labels,
        labels("x")
    );
}

#[test]
fn a_stopped_run_goes_on_when_lines_come_and_not_before() {
    let mut store = memory();
    let mut first = batch("r", "a", None, 10, vec![record(1, 5, Some(NOW))]);
    first.earliest = Some(NOW - 5);
    let committed = store.commit([first]).unwrap();
    assert_eq!(committed.events[0].phase, Phase::Started);
    let stopped = store
        .stop(&[(id("r"), StopReason::Idle)], NOW + 1)
        .unwrap()
        .1
        .unwrap();
    assert_eq!(stopped.events[0].phase, Phase::Stopped(StopReason::Idle));
    assert_eq!(stopped.events[0].totals.output, 5);
    assert!(stopped.sequence > committed.sequence);
    assert!(
        store
            .stop(&[(id("r"), StopReason::Asked)], NOW + 2)
            .unwrap()
            .1
            .is_none()
    );
    let info = read(&store).run_info(&id("r")).unwrap().unwrap();
    assert_eq!(info.stopped, Some((NOW + 1, StopReason::Idle)));
    assert_eq!(info.earliest, Some(NOW - 5));
    // A file that was only touched is not a line.
    let touched = store.commit([batch("r", "a", Some(10), 10, vec![])]).unwrap();
    assert_eq!(touched.events, []);
    let late = store
        .commit([batch("r", "a", Some(10), 20, vec![record(2, 7, Some(NOW))])])
        .unwrap();
    assert_eq!(late.events[0].phase, Phase::Resumed);
    assert_eq!(late.events[0].totals.output, 12);
    assert_eq!(read(&store).run_info(&id("r")).unwrap().unwrap().stopped, None);
    store.stop(&[(id("r"), StopReason::Asked)], NOW + 3).unwrap();
    let resumed = started(&mut store, start("r", "default", Some("x")));
    assert_eq!(resumed, (Started::Resumed, vec![Phase::Resumed]));
    assert!(
        store
            .stop(&[(id("nobody"), StopReason::Asked)], NOW)
            .unwrap()
            .1
            .is_none()
    );
}

fn forget(run: &str, directory_is_there: bool) -> ForgetRun {
    let run = id(run);
    ForgetRun {
        run,
        directory_is_there,
    }
}

#[test]
fn a_forgotten_run_leaves_its_sums_and_nothing_is_counted_again() {
    let mut store = memory();
    let lines = || vec![record(1, 5, Some(NOW)), record(2, 7, Some(NOW))];
    store.commit([batch("r", "a", None, 10, lines())]).unwrap();
    store
        .commit([batch("s", "a", None, 10, vec![record(3, 9, Some(NOW))])])
        .unwrap();
    let before = figures(&store);
    let (known, gone) = store.forget(&[forget("nobody", true)], NOW).unwrap();
    assert_eq!((known, gone.is_none()), (vec![false], true));
    let all = [forget("nobody", true), forget("r", true), forget("r", true)];
    let (known, gone) = store.forget(&all, NOW).unwrap();
    let gone = gone.unwrap();
    assert_eq!((known, gone.events.len()), (vec![false, true, false], 1));
    assert_eq!(gone.events[0].phase, Phase::Forgotten);
    assert_eq!(read(&store).forgotten().unwrap(), [id("r")].into());
    assert_eq!(read(&store).run_info(&id("r")).unwrap(), None);
    assert!(read(&store).positions(&id("r")).unwrap().is_empty());
    let after = figures(&store);
    assert_eq!(after.by_day, before.by_day);
    assert_eq!(after.runs.keys().collect::<Vec<_>>(), ["s"]);
    assert_eq!(after.forgotten.totals, before.runs["r"].totals);
    // The same lines under the same name: another run, in which they are copies.
    store.commit([batch("r", "a", None, 10, lines())]).unwrap();
    assert!(read(&store).forgotten().unwrap().is_empty());
    let again = figures(&store);
    assert_eq!(again.by_day, before.by_day);
    assert_eq!(again.runs["r"].totals, Totals::default());
    assert_eq!(again.runs["r"].lines.duplicate, 2);
    assert!(again.runs["r"].number > before.runs["s"].number);
    // A better copy counts its difference where the response is counted.
    store
        .commit([batch("r", "b", None, 10, vec![record(1, 50, Some(NOW))])])
        .unwrap();
    assert_eq!(figures(&store).forgotten.totals.output, 57);
    assert_eq!(store.forget(&[forget("r", false)], NOW).unwrap().0, [true]);
    assert!(read(&store).forgotten().unwrap().is_empty());
    store.forget(&[forget("s", true)], NOW).unwrap();
    store.release(&[id("s")]).unwrap();
    assert!(read(&store).forgotten().unwrap().is_empty());
    let all = figures(&store);
    assert_eq!((all.runs.len(), all.forgotten.totals.output), (0, 66));
}
