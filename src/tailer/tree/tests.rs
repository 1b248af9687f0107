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

#[test]
fn a_directory_that_goes_while_it_is_looked_at_is_not_taken_for_watched() {
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
    let settings = Settings::load(flags, None, &environment).unwrap();
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
