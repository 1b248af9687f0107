//! What a tree gives back, and when.

use std::fs;
use std::path::PathBuf;

use crate::config::{Environment, Partial, Settings};

use super::*;

/// A run's directory `one` with a log in `one/mount/deep`, and its tree.
fn tree() -> (tempfile::TempDir, Tree) {
    let directory = tempfile::tempdir().unwrap();
    let deep = directory.path().join("one/mount/deep");
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("a.jsonl"), "{}\n").unwrap();
    let run = RunId::new("one").unwrap();
    let home = Home::of(directory.path(), &run, None);
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
    };
    Settings::load(flags, None, &environment).unwrap()
}

#[test]
fn that_not_all_directories_are_watched_is_said_after_every_scan() {
    let settings = settings();
    let (directory, mut tree) = tree();
    for number in 0..WATCHED_DIRECTORIES_MAX {
        fs::create_dir(directory.path().join(format!("one/mount/{number}"))).unwrap();
    }
    let watch = Watch::start();
    let world = World {
        globs: &settings.watch.globs,
        limits: &settings.limits,
        watch: &watch,
        unwatched: false,
    };
    for scan in 0..3 {
        tree.scan(Depth::Everything, world).unwrap();
        let problem = tree.problem().unwrap_or_default();
        assert!(
            problem.contains("are scanned, not watched"),
            "scan {scan}: {problem}"
        );
    }
}

#[test]
fn a_directory_that_goes_while_it_is_looked_at_is_not_taken_for_watched() {
    let settings = settings();
    for hinted in [true, false] {
        let (directory, mut tree) = tree();
        let watch = Watch::start();
        let world = World {
            globs: &settings.watch.globs,
            limits: &settings.limits,
            watch: &watch,
            unwatched: false,
        };
        tree.rescan(world).unwrap();
        assert_eq!(watch.health().watches, 3, "one, mount and deep");
        fs::remove_dir_all(directory.path().join("one/mount")).unwrap();
        if hinted {
            // What was removed first tells of itself first, and is looked for when the rest is gone, too.
            let hints = HashSet::from([PathBuf::from("mount/deep/a.jsonl"), PathBuf::from("mount/deep")]);
            tree.look(&hints, world).unwrap();
        } else {
            tree.rescan(world).unwrap();
        }
        assert_eq!(watch.health().watches, 1, "hinted: {hinted}");
    }
}
