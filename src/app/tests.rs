//! Tests of the whole collector: thresholds, shutdown, and parts that end or panic.

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use super::*;
use crate::config::{Environment, Partial};
use crate::live::Event;
use crate::model::{Labels, Phase, RunId, StopReason};
use crate::supervisor::handle::{StartAnswer, StartRequest};
use crate::tailer::tree::fault;

const LINE: &str = r#"{"type":"assistant","timestamp":"2026-10-05T09:00:00.000Z","message":{"id":"msg_ID","model":"m","usage":{"output_tokens":7}}}"#;

/// Bound of a wait that fails the test.
pub const WAIT_MAX: Duration = Duration::from_mins(1);

pub fn settings(directory: &Path) -> Settings {
    let mut flags = Partial {
        runs_dir: Some(directory.join("runs")),
        db: Some(directory.join("t.redb")),
        socket: Some(directory.join("t.sock")),
        ..Partial::default()
    };
    flags.http.listen = Some("off".to_owned());
    let environment = Environment {
        vars: [].into(),
        cwd: directory.to_owned(),
        system_file: directory.join("none.toml"),
        has_files: true,
    };
    Settings::load(flags, None, &environment).unwrap()
}

pub fn write_log(directory: &Path, run: &str, name: &str, id: &str) {
    let path = directory.join("runs").join(run).join("mount").join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, LINE.replace("ID", id) + "\n").unwrap();
}

/// The clock of these collectors, an hour after the lines of their logs: 2026-10-05T10:00:00Z.
pub fn clock() -> Clock {
    Clock::at(1_791_194_400_000)
}

/// A limit event: a share of a window that ends after a number of hours.
fn event(share: f64, hours: i64) -> String {
    let now = clock().timestamp();
    let reset = now.as_second() + hours * 3600;
    format!(
        r#"{{"type":"rate_limit_event","timestamp":"{now}","rate_limit_info":{{"status":"allowed","resetsAt":{reset},"rateLimitType":"five_hour","unifiedWindows":{{"five_hour":{{"utilization":{share},"resetsAt":{reset}}}}}}}}}"#
    ) + "\n"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_threshold_is_published_after_its_commit_and_once() {
    let directory = tempfile::tempdir().unwrap();
    write_log(directory.path(), "r", "a.jsonl", "1");
    let running = App::start(settings(directory.path()), Scope::Everything, clock()).unwrap();
    let mut listener = running.live().subscribe();
    running.backlog_done().cancelled().await;
    let path = directory.path().join("runs/r/mount/a.jsonl");
    let mut published = Vec::new();
    for share in [0.5, 0.76, 0.8, 0.93] {
        let mut log = fs::OpenOptions::new().append(true).open(&path).unwrap();
        std::io::Write::write_all(&mut log, event(share, 3).as_bytes()).unwrap();
        let seen = async {
            loop {
                let Event::Update(update) = listener.next().await else {
                    panic!("the listener was too slow")
                };
                published.extend(update.fired.iter().map(|fired| (fired.number, fired.percent)));
                let view = running.core.shared.store.snapshot().unwrap().quota(0).unwrap();
                let window = view
                    .accounts
                    .values()
                    .find_map(|account| account.windows.get("five_hour"));
                // Only committed thresholds are published, so the store has at least as many.
                assert!(published.len() <= view.fired.len());
                if window.is_some_and(|window| window.utilization == Some(share)) {
                    return;
                }
            }
        };
        tokio::time::timeout(WAIT_MAX, seen)
            .await
            .expect("the line is merged");
    }
    assert_eq!(published, [(1, 75), (2, 90)]);
    assert!(matches!(running.shutdown(WAIT_MAX).await, ShutdownOutcome::Clean));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_directory_is_gone_ends_without_the_permits_that_lines_need() {
    let directory = tempfile::tempdir().unwrap();
    write_log(directory.path(), "r", "a.jsonl", "1");
    let running = App::start(settings(directory.path()), Scope::Everything, clock()).unwrap();
    let mut listener = running.live().subscribe();
    running.backlog_done().cancelled().await;
    let looks = running.core.shared.permits.all_looks().await;
    assert!(looks.is_some());
    fs::rename(directory.path().join("runs/r"), directory.path().join("gone")).unwrap();
    let ended = async {
        loop {
            let Event::Update(update) = listener.next().await else {
                panic!("the listener was too slow")
            };
            if update
                .lifecycle
                .iter()
                .any(|run| run.phase == Phase::Stopped(StopReason::Vanished))
            {
                return;
            }
        }
    };
    tokio::time::timeout(WAIT_MAX, ended).await.expect("it ends");
    drop(looks);
    assert!(matches!(running.shutdown(WAIT_MAX).await, ShutdownOutcome::Clean));
}

/// A call that hangs in a mount may hold the store as long as the process lives.
#[tokio::test(flavor = "multi_thread")]
async fn what_still_holds_the_store_does_not_keep_the_database() {
    let directory = tempfile::tempdir().unwrap();
    let running = App::start(settings(directory.path()), Scope::Everything, clock()).unwrap();
    running.ready().await;
    let held = Arc::clone(&running.core.shared);
    let ended = running.shutdown(Duration::from_millis(100)).await;
    assert!(matches!(ended, ShutdownOutcome::GraceOver), "{ended:?}");
    assert!(!directory.path().join("t.sock").exists());
    let options = StoreOptions {
        path: Some(directory.path().join("t.redb")),
        cache_bytes: 1 << 20,
        clock: clock(),
    };
    let (_, mut next) = store::open(options).unwrap();
    // Nor does it answer any more.
    assert!(held.store.snapshot().is_err());
    next.begin().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_is_closed_at_the_end_of_the_grace_time_though_a_reader_hangs() {
    let directory = tempfile::tempdir().unwrap();
    let running = App::start(settings(directory.path()), Scope::Everything, clock()).unwrap();
    running.ready().await;
    // As a thread has it that hangs in a mount.
    let hangs = Arc::clone(&running.core.shared);
    let drained = running.shutdown(Duration::from_millis(100)).await;
    assert!(matches!(drained, ShutdownOutcome::GraceOver), "{drained:?}");
    let again =
        App::start(settings(directory.path()), Scope::OnDemand, clock()).expect("the database is free");
    assert!(matches!(again.shutdown(WAIT_MAX).await, ShutdownOutcome::Clean));
    drop(hangs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_ends_by_itself_is_seen() {
    let directory = tempfile::tempdir().unwrap();
    let mut running = App::start(settings(directory.path()), Scope::Everything, clock()).unwrap();
    running.ready().await;
    assert_eq!(running.ended_part(), None);
    running.supervisor_task.abort();
    let ended = tokio::time::timeout(WAIT_MAX, &mut running.supervisor_task).await;
    assert!(ended.expect("it ends").is_err());
    assert_eq!(running.ended_part(), Some("the supervisor of the runs"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tailer_that_panics_is_started_again_and_disturbs_no_other_run() {
    let directory = tempfile::tempdir().unwrap();
    fault::PANICS_LEFT.store(2, Ordering::SeqCst);
    write_log(directory.path(), "bad", "panics.jsonl", "1");
    write_log(directory.path(), "good", "a.jsonl", "2");
    let running = App::start(settings(directory.path()), Scope::Everything, clock()).unwrap();
    let mut listener = running.live().subscribe();
    let mut order = Vec::new();
    let counted = async {
        loop {
            let figures = running.core.shared.store.snapshot().unwrap().summary().unwrap();
            for (run, sums) in &figures.runs {
                if sums.totals.messages > 0 && !order.contains(run) {
                    order.push(run.clone());
                }
            }
            if order.len() == 2 {
                return;
            }
            assert!(!matches!(listener.next().await, Event::Closed));
        }
    };
    tokio::time::timeout(WAIT_MAX, counted)
        .await
        .expect("both runs are counted");
    assert_eq!(order, ["good", "bad"], "the sound run did not wait for the other");
    let bad = &running.core.shared.statuses.runs()[&RunId::new("bad").unwrap()];
    assert_eq!(bad.restarts, 2);
    assert!(matches!(running.shutdown(WAIT_MAX).await, ShutdownOutcome::Clean));
}

/// The answer to a request on the socket; the thread of the caller waits.
fn get(directory: &Path, path: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::os::unix::net::UnixStream::connect(directory.join("t.sock")).unwrap();
    stream.set_read_timeout(Some(WAIT_MAX)).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Holds the database open as an answer does that hangs in its disk, until the sender is dropped.
fn hold_database(running: &Running) -> SyncSender<()> {
    let store = running.core.shared.store.clone();
    let (release, released) = sync_channel(1);
    let (tell, is_held) = sync_channel(1);
    let hold = move || {
        let _snapshot = store.snapshot().unwrap();
        tell.send(()).unwrap();
        let _ = released.recv();
    };
    std::thread::Builder::new()
        .name("holds".to_owned())
        .spawn(hold)
        .unwrap();
    is_held.recv().unwrap();
    release
}

/// Everything that a stop waits for: a part with a handle of the committer, an open snapshot, a client that does not
/// take its answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_within_a_second_after_its_grace_time_whatever_hangs() {
    const GRACE: Duration = Duration::from_millis(100);
    let directory = tempfile::tempdir().unwrap();
    let running = App::start(settings(directory.path()), Scope::Everything, clock()).unwrap();
    running.ready().await;
    let held = Arc::clone(&running.core.shared);
    let release = hold_database(&running);
    let mut client = std::os::unix::net::UnixStream::connect(directory.path().join("t.sock")).unwrap();
    std::io::Write::write_all(&mut client, b"POST /v1/observations HTTP/1.1\r\nHost: x\r\n").unwrap();
    let began = std::time::Instant::now();
    let ended = running.shutdown(GRACE).await;
    let took = began.elapsed();
    assert!(matches!(ended, ShutdownOutcome::GraceOver), "{ended:?}");
    assert!(took < GRACE + Duration::from_secs(1), "{took:?}");
    assert!(!directory.path().join("t.sock").exists());
    drop((release, held, client));
}

/// While a part waits to close the database, no further snapshot is given.
#[tokio::test(flavor = "multi_thread")]
async fn health_is_answered_while_the_database_is_held_for_a_close() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("runs")).unwrap();
    let running = App::start(settings(directory.path()), Scope::Everything, clock()).unwrap();
    running.ready().await;
    let release = hold_database(&running);
    let (control, store) = (running.core.store.clone(), running.core.shared.store.clone());
    let close = std::thread::Builder::new().name("close".to_owned());
    let closing = close.spawn(move || control.end()).unwrap();
    // The close waits for the snapshot, and a new snapshot for the close.
    let (tell, published) = sync_channel(1);
    let ask = std::thread::Builder::new().name("ask".to_owned());
    let asking = ask.spawn(move || tell.send(store.snapshot().is_ok())).unwrap();
    let at = directory.path().to_owned();
    let answers = tokio::task::spawn_blocking(move || [get(&at, "/healthz"), get(&at, "/readyz")]);
    for answer in answers.await.unwrap() {
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    drop(release);
    let _ = published.recv().unwrap();
    asking.join().unwrap().unwrap();
    closing.join().unwrap();
    running.shutdown(Duration::from_millis(100)).await;
}

/// Slow answers to clients have all threads of the runtime.
#[test]
fn runs_start_and_health_answers_while_slow_answers_have_all_threads() {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.enable_all().max_blocking_threads(1).build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (release, released) = sync_channel::<()>(1);
    runtime.block_on(async {
        let running = App::start(settings(directory.path()), Scope::Everything, clock()).unwrap();
        running.ready().await;
        let slow = tokio::task::spawn_blocking(move || released.recv());
        let request = StartRequest {
            run: RunId::new("r").unwrap(),
            labels: Labels::default(),
            mount: None,
            lease: None,
        };
        let started = tokio::time::timeout(WAIT_MAX, running.supervisor().start(request)).await;
        assert!(matches!(started, Ok(Ok(StartAnswer::New))), "{started:?}");
        let at = directory.path().to_owned();
        let (tell, published) = tokio::sync::oneshot::channel();
        let ask = std::thread::Builder::new().name("ask".to_owned());
        let asking = ask.spawn(move || tell.send(get(&at, "/healthz"))).unwrap();
        let answer = published.await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        asking.join().unwrap().unwrap();
        assert!(matches!(running.shutdown(WAIT_MAX).await, ShutdownOutcome::Clean));
        drop(release);
        let _ = slow.await;
    });
}
