//! A read-only database: commands that read it still answer, and change nothing.

use std::fs;

use crate::harness::{Place, append, response, text};
use crate::machine::{Namespace, after};

/// The commands, which need no collector.
const COMMANDS: [&[&str]; 3] = [&["status", "--json"], &["quota", "--json"], &["verify"]];

/// A place with a database that needs a recovery.
fn killed() -> Place {
    let place = Place::new();
    append(&place.log("one", "a.jsonl"), response("1", 5, 0));
    let mut collector = place.serve();
    collector.wait_for_messages(1);
    collector.kill();
    place
}

/// The answers of the commands without an obstacle.
fn answers(place: &Place) -> Vec<Option<i32>> {
    let codes = COMMANDS.iter().map(|words| place.run(words).status.code());
    codes.collect()
}

#[test]
fn a_database_on_a_read_only_mount_is_looked_into() {
    let Some(namespace) = Namespace::or_skip() else {
        return;
    };
    let place = killed();
    let before = fs::read(place.db()).unwrap();
    let expected = answers(&place);
    assert_eq!(expected[2], Some(0), "{expected:?}");
    let state = place.path("state");
    namespace.sh(
        "mount --bind \"$1\" \"$1\" && mount -o remount,ro,bind \"$1\"",
        &[&state],
    );
    for (words, code) in COMMANDS.iter().zip(expected) {
        let output = namespace.command(&place.command(words)).output().unwrap();
        assert_eq!(output.status.code(), code, "{words:?}: {}", text(&output.stderr));
        assert!(
            !text(&output.stderr).contains("Read-only"),
            "{}",
            text(&output.stderr)
        );
    }
    assert_eq!(fs::read(place.db()).unwrap(), before, "it was written");
}

#[test]
fn a_database_that_may_only_be_read_is_looked_into() {
    let Some(namespace) = Namespace::of_user_or_skip() else {
        return;
    };
    let place = killed();
    let expected = answers(&place);
    // In a user namespace without capabilities, and as a user with the permissions of others only.
    for (path, mode) in [(place.db(), 0o444), (place.path("state"), 0o555)] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(path, mode).unwrap();
    }
    for (words, code) in COMMANDS.iter().zip(expected) {
        let plain = after("", &place.command(words));
        let mut weak = std::process::Command::new("setpriv");
        weak.args([
            "--bounding-set",
            "-all",
            "--inh-caps",
            "-all",
            "--ambient-caps",
            "-all",
        ]);
        let weak = crate::machine::wrapped(weak, &plain);
        let output = namespace.command(&weak).output().unwrap();
        assert_eq!(output.status.code(), code, "{words:?}: {}", text(&output.stderr));
    }
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(place.path("state"), mode).unwrap();
}
