//! Tests of the watchers on real directories, and after losses of events and watchers.

use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use notify::event::{AccessKind, CreateKind, Flag};
use notify::{Event, EventKind};
use tempfile::TempDir;

use super::directory::identify;
use super::hints::HINTS_PENDING_MAX;
use super::shard::{OUT_OF_INSTANCES, OUT_OF_WATCHES};
use super::*;

/// Bound of a wait that fails the test.
const PATIENCE: Duration = Duration::from_secs(30);

fn started() -> (TempDir, Watch) {
    let folder = tempfile::tempdir().unwrap();
    let watch = Watch::start();
    watch.watch_dir(folder.path()).unwrap();
    (folder, watch)
}

/// All hints up to now. Events keep their order, so they are complete with the event of a file that is made
/// last.
async fn settled(watch: &Watch, watched: &Path) -> HashSet<PathBuf> {
    static FENCES: AtomicUsize = AtomicUsize::new(0);
    let fence = watched.join(format!("fence-{}", FENCES.fetch_add(1, Ordering::Relaxed)));
    fs::write(&fence, "").unwrap();
    let mut seen = HashSet::new();
    while !seen.contains(&fence) {
        let hints = tokio::time::timeout(PATIENCE, watch.next()).await;
        let hints = hints.expect("the fence is hinted");
        assert!(!hints.rescan, "nothing was lost");
        seen.extend(hints.paths);
    }
    seen.retain(|path| {
        !path
            .file_name()
            .unwrap()
            .as_encoded_bytes()
            .starts_with(b"fence-")
    });
    seen
}

fn first(watch: &Watch) -> Arc<Shard> {
    Arc::clone(&lock(&watch.shards)[0])
}

/// The pending hints, without waiting.
async fn at_once(watch: &Watch) -> Option<Hints> {
    tokio::select! {
        biased;
        hints = watch.next() => Some(hints),
        () = std::future::ready(()) => None,
    }
}

fn set<const N: usize>(paths: [&Path; N]) -> HashSet<PathBuf> {
    paths.into_iter().map(Path::to_owned).collect()
}

#[tokio::test]
async fn every_change_in_a_watched_directory_names_its_path() {
    let (folder, watch) = started();
    let dir = folder.path();
    let (one, two) = (dir.join("one.jsonl"), dir.join("two.jsonl"));
    let mut file = fs::File::create(&one).unwrap();
    assert_eq!(settled(&watch, dir).await, set([&one]), "create");
    file.write_all(b"{}\n").unwrap();
    assert_eq!(settled(&watch, dir).await, set([&one]), "append");
    file.set_len(0).unwrap();
    assert_eq!(settled(&watch, dir).await, set([&one]), "truncate");
    fs::rename(&one, &two).unwrap();
    assert_eq!(settled(&watch, dir).await, set([&one, &two]), "rename");
    file.write_all(b"{}\n").unwrap();
    assert_eq!(settled(&watch, dir).await, set([&two]), "append after rename");
    drop(file);
    fs::remove_file(&two).unwrap();
    assert_eq!(settled(&watch, dir).await, set([&two]), "delete");
    assert_eq!(watch.health().mode, Mode::Events);
    assert_eq!(watch.health().watches, 1);
}

#[tokio::test]
async fn reading_wakes_nobody() {
    let (folder, watch) = started();
    let path = folder.path().join("log.jsonl");
    fs::write(&path, "{}\n").unwrap();
    settled(&watch, folder.path()).await;
    for _ in 0..100 {
        assert_eq!(fs::read(&path).unwrap(), b"{}\n");
        assert!(fs::read_dir(folder.path()).unwrap().count() > 0);
    }
    assert_eq!(settled(&watch, folder.path()).await, set([]));
}

#[tokio::test]
async fn a_new_directory_is_hinted_and_watched_only_on_demand() {
    let (folder, watch) = started();
    let sub = folder.path().join("sub");
    fs::create_dir(&sub).unwrap();
    assert_eq!(settled(&watch, folder.path()).await, set([&sub]));
    fs::write(sub.join("early"), "x").unwrap();
    assert_eq!(settled(&watch, folder.path()).await, set([]));
    watch.watch_dir(&sub).unwrap();
    watch.watch_dir(&sub).unwrap();
    assert_eq!(watch.health().watches, 2);
    fs::write(sub.join("late"), "x").unwrap();
    assert_eq!(settled(&watch, &sub).await, set([&sub.join("late")]));
}

#[tokio::test]
async fn a_forgotten_directory_is_silent() {
    let (folder, watch) = started();
    let sub = folder.path().join("sub");
    fs::create_dir(&sub).unwrap();
    watch.watch_dir(&sub).unwrap();
    settled(&watch, folder.path()).await;
    watch.forget_dir(&sub);
    watch.forget_dir(&sub);
    watch.forget_dir(Path::new("/never/watched"));
    fs::write(sub.join("file"), "x").unwrap();
    assert_eq!(settled(&watch, folder.path()).await, set([]));
    assert_eq!(watch.health().watches, 1);
}

#[tokio::test]
async fn watching_again_takes_hold_of_what_has_the_path_now() {
    let folder = tempfile::tempdir().unwrap();
    let (sub, old) = (folder.path().join("sub"), folder.path().join("old"));
    let watch = Watch::start();
    fs::create_dir(&sub).unwrap();
    watch.watch_dir(&sub).unwrap();
    fs::rename(&sub, &old).unwrap();
    fs::create_dir(&sub).unwrap();
    watch.watch_dir(&sub).unwrap();
    settled(&watch, &sub).await;
    fs::write(sub.join("new"), "x").unwrap();
    fs::write(old.join("old"), "x").unwrap();
    assert_eq!(settled(&watch, &sub).await, set([&sub.join("new")]));
}

#[tokio::test]
async fn a_watch_killed_by_a_late_event_is_announced() {
    let (folder, watch) = started();
    let sub = folder.path().join("sub");
    fs::create_dir(&sub).unwrap();
    watch.watch_dir(&sub).unwrap();
    settled(&watch, folder.path()).await;
    for _ in 0..20 {
        fs::remove_dir_all(&sub).unwrap();
        fs::create_dir(&sub).unwrap();
        // The event of the removal may be handled before or after this.
        watch.watch_dir(&sub).unwrap();
        assert!(settled(&watch, folder.path()).await.contains(&sub));
        watch.watch_dir(&sub).unwrap();
        fs::write(sub.join("file"), "x").unwrap();
        assert_eq!(settled(&watch, &sub).await, set([&sub.join("file")]));
    }
}

#[tokio::test]
async fn only_directories_are_watched() {
    let (folder, watch) = started();
    let (file, link) = (folder.path().join("file"), folder.path().join("link"));
    fs::write(&file, "").unwrap();
    std::os::unix::fs::symlink(folder.path(), &link).unwrap();
    for path in [&file, &link, &folder.path().join("absent"), &file.join("below")] {
        let error = watch.watch_dir(path).unwrap_err();
        assert!(matches!(error, WatchError::Gone { .. }), "{path:?}: {error}");
    }
    assert_eq!(watch.health().mode, Mode::Events);
}

#[tokio::test]
async fn losses_become_a_rescan() {
    let watch = Watch::start();
    watch
        .shared
        .handle(Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan)));
    let rescan = Hints {
        paths: Vec::new(),
        rescan: true,
    };
    assert_eq!(at_once(&watch).await, Some(rescan));
    watch.shared.handle(Err(notify::Error::generic("a failed read")));
    assert!(at_once(&watch).await.unwrap().rescan);
    let health = watch.health();
    assert_eq!((health.overflows, health.errors), (1, 1));
    assert_eq!(at_once(&watch).await, None);
}

#[tokio::test]
async fn accesses_are_no_hints() {
    let watch = Watch::start();
    watch.shared.handle(Ok(
        Event::new(EventKind::Access(AccessKind::Any)).add_path("x".into())
    ));
    assert_eq!(at_once(&watch).await, None);
}

#[tokio::test]
async fn too_many_hints_become_one_rescan() {
    let watch = Watch::start();
    let created = |name: usize| {
        let event = Event::new(EventKind::Create(CreateKind::File));
        watch.shared.handle(Ok(event.add_path(name.to_string().into())));
    };
    (0..HINTS_PENDING_MAX).for_each(created);
    (0..HINTS_PENDING_MAX).for_each(created);
    assert_eq!(watch.health().overflows, 0, "the same paths again take no room");
    (0..HINTS_PENDING_MAX + 10).for_each(created);
    let hints = at_once(&watch).await.unwrap();
    assert_eq!((hints.paths.len(), hints.rescan), (HINTS_PENDING_MAX, true));
    assert_eq!(watch.health().overflows, 1);
    created(0);
    assert!(!at_once(&watch).await.unwrap().rescan);
}

#[tokio::test]
async fn without_a_watcher_it_says_so_until_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let watch = Watch::start();
    assert!(!watch.retry(), "nothing is to be repaired");
    let shard = first(&watch);
    shard.drop_watcher(&mut lock(&shard.watcher), OUT_OF_INSTANCES);
    lock(&shard.state).note_mode();
    let error = watch.watch_dir(folder.path()).unwrap_err();
    assert!(matches!(error, WatchError::Polling { .. }), "{error}");
    assert!(
        error.to_string().contains("fs.inotify.max_user_instances"),
        "{error}"
    );
    assert!(matches!(watch.health().mode, Mode::Polling { .. }));
    assert_eq!(at_once(&watch).await, None);
    assert!(watch.retry());
    assert_eq!(watch.health().mode, Mode::Events);
    assert!(
        at_once(&watch).await.unwrap().rescan,
        "all watches have to be set anew"
    );
    watch.watch_dir(folder.path()).unwrap();
    settled(&watch, folder.path()).await;
}

#[tokio::test]
async fn refused_directories_are_counted_until_they_are_watched() {
    let (folder, watch) = started();
    let (sub, gone) = (folder.path().join("sub"), folder.path().join("gone"));
    fs::create_dir(&sub).unwrap();
    {
        let shard = first(&watch);
        let mut state = lock(&shard.state);
        state.unwatched.extend([sub.clone(), gone.clone()]);
        state.no_watches = OUT_OF_WATCHES.to_owned();
    }
    assert_eq!(watch.health().unwatched, 2);
    let Mode::Polling { reason } = watch.health().mode else {
        panic!("some are unwatched")
    };
    assert!(reason.contains("fs.inotify.max_user_watches"), "{reason}");
    assert!(watch.retry());
    assert_eq!(watch.health().mode, Mode::Events);
    assert_eq!(watch.health().watches, 2);
    lock(&first(&watch).state).unwatched.insert(gone.clone());
    watch.forget_dir(&gone);
    assert_eq!(watch.health().mode, Mode::Events);
}

#[tokio::test]
async fn of_many_directories_those_that_are_there_are_watched() {
    let (folder, watch) = started();
    let names = ["a", "gone", "b", "file", "c"];
    let paths: Vec<PathBuf> = names.map(|name| folder.path().join(name)).into();
    for name in ["a", "b", "c"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    fs::write(folder.path().join("file"), "").unwrap();
    let before = watch.health().watches;
    let refused = watch.watch_dirs(paths.clone());
    let is_gone = |error: &WatchError| matches!(error, WatchError::Gone { .. });
    assert!(refused.len() == 2 && refused.iter().all(is_gone), "{refused:?}");
    assert_eq!(watch.health().watches, before + 3);
    // The watcher finds that a directory is gone which existed when it was identified.
    let shard = first(&watch);
    lock(&shard.state).paths.clear();
    let mut waiting = vec![];
    for path in [&paths[0], &paths[1], &paths[2], &paths[4]] {
        let there = identify(&folder.path().join("a")).unwrap();
        waiting.push((path.clone(), there));
    }
    let refused = shard.watch_all(&mut lock(&shard.watcher), waiting);
    assert!(refused.len() == 1 && is_gone(&refused[0]), "{refused:?}");
    assert_eq!(watch.health().watches, 3);
    fs::write(folder.path().join("c/new"), "").unwrap();
    assert!(settled(&watch, &paths[4]).await.contains(&paths[4].join("new")));
}

#[test]
fn requests_of_several_at_once_are_answered_to_each() {
    const ASKING: usize = 6;
    let directory = tempfile::tempdir().unwrap();
    let watch = Watch::start();
    let place = |name: String| directory.path().join(name);
    for number in 0..ASKING {
        fs::create_dir(place(format!("there-{number}"))).unwrap();
    }
    std::thread::scope(|scope| {
        let shard = first(&watch);
        let locked = lock(&shard.watcher);
        let (watch, place) = (&watch, &place);
        let asking: Vec<_> = (0..ASKING)
            .map(|number| {
                scope.spawn(move || {
                    let paths = ["there", "gone"].map(|name| place(format!("{name}-{number}")));
                    watch.watch_dirs(paths.into())
                })
            })
            .collect();
        while lock(&shard.requests).len() < ASKING {
            std::thread::yield_now();
        }
        drop(locked);
        for (number, asked) in asking.into_iter().enumerate() {
            let refused = asked.join().unwrap();
            let gone = place(format!("gone-{number}"));
            assert!(
                matches!(&refused[..], [WatchError::Gone { path }] if *path == gone),
                "{refused:?}"
            );
        }
    });
    assert_eq!(watch.health().watches, ASKING);
    assert!(lock(&first(&watch).requests).is_empty());
}

#[tokio::test]
async fn further_watchers_are_made_for_other_devices_and_for_many_watches() {
    let (folder, watch) = started();
    let elsewhere = tempfile::tempdir_in("/dev/shm").unwrap();
    let is_other = identify(folder.path()).unwrap().device != identify(elsewhere.path()).unwrap().device;
    watch.watch_dir(elsewhere.path()).unwrap();
    assert_eq!(lock(&watch.shards).len(), 1 + usize::from(is_other));
    let many: Vec<PathBuf> = (0..SHARD_WATCHES_MAX)
        .map(|number| folder.path().join(number.to_string()))
        .collect();
    for path in &many {
        fs::create_dir(path).unwrap();
    }
    assert!(watch.watch_dirs(many.clone()).is_empty());
    assert_eq!(lock(&watch.shards).len(), 2 + usize::from(is_other));
    assert_eq!(watch.health().watches, SHARD_WATCHES_MAX + 2);
    let last = many.last().unwrap();
    fs::write(last.join("new"), "").unwrap();
    assert!(settled(&watch, last).await.contains(&last.join("new")));
    for path in &many {
        watch.forget_dir(path);
    }
    assert_eq!(watch.health().watches, 2);
}

#[test]
fn directories_on_their_way_to_a_watcher_count_as_its_watches() {
    let (folder, watch) = started();
    let make = |number: usize| {
        let path = folder.path().join(number.to_string());
        fs::create_dir(&path).unwrap();
        path
    };
    let (some, others) = (
        (1..SHARD_WATCHES_MAX).map(make),
        (SHARD_WATCHES_MAX..SHARD_WATCHES_MAX + 7).map(make),
    );
    let (some, others) = (identify_all(some.collect()), identify_all(others.collect()));
    // Both are sorted before either is watched, as by two threads.
    let sorted = [watch.sorted(some), watch.sorted(others)];
    for (shard, found) in sorted.into_iter().flatten() {
        assert!(shard.watch_dirs(found, &watch.shared).is_empty());
    }
    let loads: Vec<usize> = lock(&watch.shards).iter().map(|shard| shard.load()).collect();
    assert_eq!(loads, [SHARD_WATCHES_MAX, 7]);
    assert_eq!(watch.health().watches, SHARD_WATCHES_MAX + 7);
}

#[test]
fn a_device_that_hangs_holds_up_nobody_on_another() {
    let (folder, watch) = started();
    let elsewhere = tempfile::tempdir_in("/dev/shm").unwrap();
    if identify(folder.path()).unwrap().device == identify(elsewhere.path()).unwrap().device {
        return;
    }
    let shard = first(&watch);
    // A thread that has the watcher locked and does not return.
    let _hangs = lock(&shard.watcher);
    watch.watch_dir(elsewhere.path()).unwrap();
    assert_eq!(watch.health().watches, 2);
    assert!(!watch.retry());
    watch.forget_dir(elsewhere.path());
    assert_eq!(watch.health().watches, 1);
}
