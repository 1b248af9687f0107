//! Tests of scans, watches and reads of a tree.

use std::fs;
use std::path::PathBuf;

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Environment, Partial, Settings};
use crate::reader::ReadOptions;

use super::*;

/// A run's directory `one` with a log in `one/mount/deep`, and its tree.
fn tree() -> (tempfile::TempDir, Tree) {
    let directory = tempfile::tempdir().unwrap();
    let deep = directory.path().join("one/mount/deep");
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("a.jsonl"), "{}\n").unwrap();
    let run = RunId::new("one").unwrap();
    let home = RunDir::of(directory.path(), Path::new(run.as_str()), None);
    (directory, Tree::new(run, home, BTreeMap::new()))
}

fn settings() -> Settings {
    let flags = Partial {
        db: Some("unused".into()),
        socket: Some("unused".into()),
        runs_dir: Some("unused".into()),
        ..Partial::default()
    };
    let environment = Environment {
        vars: [].into(),
        cwd: "/".into(),
        system_file: "/nothing".into(),
        has_files: true,
    };
    Settings::load(flags, None, &environment).unwrap()
}

fn context<'w>(settings: &'w Settings, watch: &'w Watch) -> ScanContext<'w> {
    ScanContext {
        globs: &settings.watch.globs,
        limits: &settings.limits,
        watch,
        unwatched: false,
    }
}

#[test]
fn that_not_all_directories_are_watched_is_said_after_every_scan() {
    let settings = settings();
    let (directory, mut tree) = tree();
    for number in 0..WATCHED_DIRECTORIES_MAX {
        fs::create_dir(directory.path().join(format!("one/mount/{number}"))).unwrap();
    }
    let watch = Watch::start();
    let context = context(&settings, &watch);
    for scan in 0..3 {
        tree.scan(Depth::Everything, context).unwrap();
        let problem = tree.problem().unwrap_or_default();
        assert!(
            problem.contains("are scanned, not watched"),
            "scan {scan}: {problem}"
        );
    }
    for number in 0..10 {
        fs::remove_dir(directory.path().join(format!("one/mount/{number}"))).unwrap();
    }
    // The first scan finds that they are gone, the second one that all others can be watched.
    tree.scan(Depth::Everything, context).unwrap();
    tree.scan(Depth::Everything, context).unwrap();
    assert_eq!(tree.problem(), None);
    assert!(!tree.partly_watched);
    assert_eq!(watch.health().watches, tree.directories.len());
}

/// An action below a run's mount.
type Change = fn(&Path);

fn any_reading() -> ReadOptions {
    ReadOptions {
        line_bytes_max: 1 << 20,
        turn_bytes_max: 1 << 20,
        count_partial: false,
        until: u64::MAX,
        lines_until: None,
        waits_for_holes: true,
        is_project: false,
        accounts: Arc::default(),
        now: 0,
    }
}

/// Reads all files with news; nothing is committed.
fn read(tree: &mut Tree) {
    let reading = any_reading();
    while tree.has_news() {
        let _ = tree.read_share(&reading, &mut Vec::new());
    }
}

#[test]
fn a_directory_that_goes_while_it_is_looked_at_is_not_taken_for_watched() {
    let settings = settings();
    for hinted in [true, false] {
        let (directory, mut tree) = tree();
        let watch = Watch::start();
        let context = ScanContext {
            globs: &settings.watch.globs,
            limits: &settings.limits,
            watch: &watch,
            unwatched: false,
        };
        tree.rescan(context).unwrap();
        assert_eq!(watch.health().watches, 3, "one, mount and deep");
        fs::remove_dir_all(directory.path().join("one/mount")).unwrap();
        if hinted {
            // The hint of the entry that was removed first comes first, when the others are gone already.
            let hints = HashSet::from([PathBuf::from("mount/deep/a.jsonl"), PathBuf::from("mount/deep")]);
            tree.look(&hints, context).unwrap();
        } else {
            tree.rescan(context).unwrap();
        }
        assert_eq!(watch.health().watches, 1, "hinted: {hinted}");
    }
}

#[test]
fn a_tree_stands_until_something_in_it_changes() {
    let settings = settings();
    let watch = Watch::start();
    let context = context(&settings, &watch);
    let append: Change = |mount| fs::write(mount.join("deep/a.jsonl"), "{}\n{}\n").unwrap();
    let rewrite: Change = |mount| fs::write(mount.join("deep/a.jsonl"), "[]\n").unwrap();
    let replace: Change = |mount| {
        fs::write(mount.join("b"), "{}\n").unwrap();
        fs::rename(mount.join("b"), mount.join("deep/a.jsonl")).unwrap();
    };
    let add: Change = |mount| fs::write(mount.join("deep/b.jsonl"), "{}\n").unwrap();
    let remove: Change = |mount| fs::remove_file(mount.join("deep/a.jsonl")).unwrap();
    let directory: Change = |mount| fs::create_dir(mount.join("deep/er")).unwrap();
    let exchange: Change = |mount| {
        fs::rename(mount, mount.with_file_name("old")).unwrap();
        fs::create_dir_all(mount.join("deep")).unwrap();
        fs::rename(
            mount.with_file_name("old/deep/a.jsonl"),
            mount.join("deep/a.jsonl"),
        )
        .unwrap();
    };
    let link: Change = |mount| {
        fs::rename(mount, mount.with_file_name("old")).unwrap();
        std::os::unix::fs::symlink(mount.with_file_name("old"), mount).unwrap();
    };
    let link_above: Change = |mount| {
        let run = mount.parent().unwrap();
        fs::rename(run, run.with_file_name("old")).unwrap();
        std::os::unix::fs::symlink(run.with_file_name("old"), run).unwrap();
    };
    let gone: Change = |mount| fs::remove_dir_all(mount.parent().unwrap()).unwrap();
    let mode: Change = |mount| {
        fs::set_permissions(mount.join("deep"), fs::Permissions::from_mode(0o700)).unwrap();
    };
    // The last member is true if a scan of the directories alone finds the change.
    for (what, change, is_seen_above) in [
        ("appended", append, false),
        ("rewritten", rewrite, false),
        ("replaced", replace, true),
        ("added", add, true),
        ("removed", remove, true),
        ("a directory", directory, true),
        ("exchanged", exchange, true),
        ("a link", link, true),
        ("a link above", link_above, true),
        ("gone", gone, true),
        ("its mode", mode, true),
    ] {
        let (root, mut tree) = tree();
        assert!(!tree.is_unchanged(Depth::Changed), "it was never looked at");
        tree.rescan(context).unwrap();
        assert!(!tree.is_unchanged(Depth::Changed), "it has news");
        read(&mut tree);
        assert!(
            tree.is_unchanged(Depth::Changed) && tree.is_unchanged(Depth::Everything),
            "{what}"
        );
        change(&root.path().join("one/mount"));
        assert!(!tree.is_unchanged(Depth::Everything), "{what}");
        assert_eq!(!tree.is_unchanged(Depth::Changed), is_seen_above, "{what}");
    }
}

#[test]
fn what_is_watched_ahead_is_what_is_there_when_it_is_visited() {
    let settings = settings();
    let watch = Watch::start();
    let context = context(&settings, &watch);
    let (directory, mut tree) = tree();
    let (inside, outside) = (
        directory.path().join("one/mount"),
        directory.path().join("outside"),
    );
    fs::create_dir(inside.join("new")).unwrap();
    fs::create_dir_all(outside.join("below")).unwrap();
    std::os::unix::fs::symlink(&outside, inside.join("link")).unwrap();
    // Files of an earlier process, whose directories now exist, are gone, are a link, below a link, or a
    // file.
    for path in [
        "mount/deep/a.jsonl",
        "mount/gone/b.jsonl",
        "mount/link/c.jsonl",
        "mount/link/below/d.jsonl",
        "mount/deep/a.jsonl/e.jsonl",
    ] {
        tree.files
            .insert(Path::new(path).into(), Box::new(FileState::default()));
    }
    let root = tree.home.open().unwrap();
    let ahead = tree.watch_ahead(&root, context);
    let names = |mut paths: Vec<String>| {
        paths.sort_unstable();
        paths
    };
    let hinted = |path: &RelativePath| path.display().to_string();
    let of_ahead = names(ahead.keys().map(hinted).collect());
    assert_eq!(of_ahead, ["", "mount", "mount/deep"]);
    assert_eq!(watch.health().watches, of_ahead.len());
    tree.scan(Depth::Everything, context).unwrap();
    let visited = names(tree.directories.keys().map(hinted).collect());
    assert_eq!(visited, ["", "mount", "mount/deep", "mount/new"]);
    assert_eq!(watch.health().watches, visited.len());
    tree.mark_all_removed(context);
    assert_eq!(watch.health().watches, 0);
}

#[test]
fn a_hole_is_waited_for_read_over_and_read_again_when_it_is_filled() {
    let settings = settings();
    let watch = Watch::start();
    let context = context(&settings, &watch);
    let (directory, mut tree) = tree();
    let log = directory.path().join("one/mount/deep/a.jsonl");
    let lines = |tree: &mut Tree, count_partial| {
        let reading = ReadOptions {
            count_partial,
            now: 0,
            ..any_reading()
        };
        let mut lines = 0;
        while tree.has_news() {
            let batches = tree.read_share(&reading, &mut Vec::new());
            lines += batches.iter().map(|batch| batch.lines.read).sum::<u64>();
        }
        lines
    };
    fs::write(&log, "{\"type\":\"user\"}\n\0\0\n{}\n").unwrap();
    tree.scan(Depth::Everything, context).unwrap();
    assert_eq!(lines(&mut tree, false), 1, "it waits");
    // Two NUL bytes, a line end, and the last line.
    assert_eq!(
        (tree.lag(), tree.waits_at_hole()),
        (6, true),
        "nobody has read it yet"
    );
    let due = tree.hole_due().unwrap();
    tree.enqueue_due_holes(Instant::now());
    assert!(
        !tree.has_news() && tree.hole_due() == Some(due),
        "not long enough"
    );
    for (_, file) in tree.files.iter_mut() {
        file.end_hole_wait();
    }
    tree.enqueue_due_holes(due);
    assert_eq!(tree.lag(), 6, "a queued file counts once");
    assert_eq!(lines(&mut tree, false), 2, "long enough");
    assert_eq!(tree.hole_due(), None);
    assert_eq!((tree.lag(), tree.waits_at_hole()), (0, false));
    let (notices, new) = tree.notices().unwrap();
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert!(new[0].contains("NUL bytes before what follows them"), "{new:?}");
    fs::write(&log, "{\"type\":\"user\"}\n{}\n{}\n").unwrap();
    tree.scan(Depth::Everything, context).unwrap();
    assert_eq!(lines(&mut tree, false), 3, "from its start");
    assert_eq!(tree.notices().unwrap().0.len(), 0);

    // A hole at the end is not read over, however long it exists.
    fs::write(&log, "{\"type\":\"user\"}\n{}\n{}\n{}\n\0\0\0").unwrap();
    tree.scan(Depth::Everything, context).unwrap();
    assert_eq!(lines(&mut tree, false), 1);
    for (_, file) in tree.files.iter_mut() {
        file.end_hole_wait();
    }
    tree.enqueue_due_holes(tree.hole_due().unwrap());
    assert!(tree.has_news());
    assert_eq!((lines(&mut tree, false), tree.hole_due()), (0, None));
    assert_eq!(tree.lag(), 0, "nothing follows it");

    // A run that is stopped does not wait.
    fs::write(&log, "{\"type\":\"user\"}\n{}\n{}\n{}\n\0\0\n{}\n").unwrap();
    tree.scan(Depth::Everything, context).unwrap();
    assert_eq!(lines(&mut tree, false), 0);
    tree.enqueue_unfinished();
    assert_eq!(lines(&mut tree, true), 2);
}

#[tokio::test]
async fn a_directory_that_was_away_between_two_looks_is_watched_again() {
    const PATIENCE: Duration = Duration::from_secs(10);
    let settings = settings();
    for moved in ["one", "one/mount", "one/mount/deep"] {
        let (directory, mut tree) = tree();
        let home = directory.path().join("one");
        let watch = Watch::start();
        watch.watch_dir(directory.path()).unwrap();
        tree.rescan(context(&settings, &watch)).unwrap();
        let (path, away) = (directory.path().join(moved), directory.path().join("away"));
        fs::rename(&path, &away).unwrap();
        fs::rename(&away, &path).unwrap();
        let last = directory.path().join("last");
        fs::write(&last, "").unwrap();
        let mut hints = HashSet::new();
        while !hints.contains(&last) {
            let hinted = tokio::time::timeout(PATIENCE, watch.next()).await.unwrap();
            hints.extend(hinted.paths);
        }
        let of_run = hints.iter().filter_map(|path| path.strip_prefix(&home).ok());
        let of_run = of_run.map(Path::to_owned).collect();
        tree.look(&of_run, context(&settings, &watch)).unwrap();
        let log = home.join("mount/deep/a.jsonl");
        fs::write(&log, "{}\n{}\n").unwrap();
        while !hints.contains(&log) {
            let hinted = tokio::time::timeout(PATIENCE, watch.next()).await;
            let hinted = hinted.unwrap_or_else(|_| panic!("{moved} is not watched any more"));
            hints.extend(hinted.paths);
        }
    }
}

#[test]
fn what_could_not_be_read_is_tried_again_by_the_next_scan_of_any_depth() {
    let settings = settings();
    let (_directory, mut tree) = tree();
    let watch = Watch::start();
    tree.rescan(context(&settings, &watch)).unwrap();
    let log: RelativePath = Path::new("mount/deep/a.jsonl").into();
    tree.queue.clear();
    tree.files.iter_mut().for_each(|(_, file)| file.queued = false);
    let error = || "no descriptor was left".to_owned();
    tree.problem_at(&log, error());
    tree.failed().files.insert(log.clone());
    assert!(!tree.is_unchanged(Depth::Changed));
    tree.scan(Depth::Changed, context(&settings, &watch)).unwrap();
    assert_eq!(
        (tree.problem(), tree.queue.pop_front()),
        (None, Some(log.clone()))
    );
    // A file whose metadata could not be read when its directory was listed.
    tree.files = PathMap::default();
    tree.problem_at(&log, error());
    tree.failed().directories.insert(parent(&log));
    tree.scan(Depth::Changed, context(&settings, &watch)).unwrap();
    assert_eq!((tree.problem(), tree.queue.pop_front()), (None, Some(log)));
}

#[test]
fn only_a_hint_at_the_file_itself_proves_that_events_arrive_from_its_device() {
    let settings = settings();
    let (directory, mut tree) = tree();
    let watch = Watch::start();
    let context = context(&settings, &watch);
    tree.scan(Depth::Everything, context).unwrap();
    let device = tree.all_devices()[0];
    assert!(tree.has_news());
    let log = Path::new("mount/deep/a.jsonl");
    // The supervisor hints at the run itself after the runs directory was replaced, without an event.
    for hint in ["", "mount", "mount/deep", "mount/deep/none.jsonl"] {
        assert_eq!(tree.device_of_news(Path::new(hint)), None, "{hint:?}");
    }
    assert_eq!(tree.device_of_news(log), Some(device));
    read(&mut tree);
    assert_eq!(tree.device_of_news(log), None);
    fs::write(directory.path().join("one").join(log), "{}\n{}\n").unwrap();
    tree.look(&HashSet::from([PathBuf::new()]), context).unwrap();
    assert_eq!(tree.device_of_news(Path::new("")), None);
    tree.look(&HashSet::from([log.to_owned()]), context).unwrap();
    assert_eq!(tree.device_of_news(log), Some(device));
}
