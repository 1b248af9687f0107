//! Sandboxes that refuse a system call: another call is used, or the missing one is reported with a remedy.

use crate::harness::{Collector, Place, append, refuse, response};
use crate::scenario::SCANS_OFTEN;

/// Possible errors of a filter.
const ERRORS: [i32; 3] = [libc::EPERM, libc::ENOSYS, libc::EACCES];

/// Runs `act` on a thread that is refused these calls, as is everything it starts.
fn refused<T: Send>(calls: &[i64], errno: i32, act: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let act = || {
            refuse(calls, errno);
            act()
        };
        scope.spawn(act).join().unwrap()
    })
}

/// A place with a response, and a collector that counted it while being refused these calls.
fn counts_without(calls: &[i64], errno: i32) -> (Place, Collector) {
    let place = Place::new();
    place.configure(SCANS_OFTEN);
    let log = place.log("one", "deep/a.jsonl");
    append(&log, response("1", 5, 0));
    let start = || Collector::start(place.command_with_config(&["serve"]), place.socket());
    let mut collector = refused(calls, errno, start);
    collector.wait_for_messages(1);
    append(&log, response("2", 5, 1));
    collector.wait_for_messages(2);
    (place, collector)
}

#[test]
fn files_are_opened_and_looked_at_by_older_calls() {
    let (openat2, statx) = (libc::SYS_openat2, libc::SYS_statx);
    for (calls, errno) in [
        (vec![openat2], ERRORS[0]),
        (vec![openat2], ERRORS[2]),
        (vec![statx], ERRORS[0]),
        (vec![statx], ERRORS[1]),
        (vec![statx], ERRORS[2]),
        (vec![openat2, statx], ERRORS[0]),
    ] {
        let (place, collector) = counts_without(&calls, errno);
        let health = collector.health();
        assert_eq!(health["status"], "ok", "{calls:?} {errno}: {health}");
        let by_name = calls.contains(&openat2);
        assert_eq!(health["reading"], if by_name { "openat" } else { "openat2" });
        collector.stop_cleanly();
        place.assert_verified();
    }
}

#[test]
fn directories_that_may_not_be_watched_are_scanned_and_that_is_said() {
    for errno in ERRORS {
        let (_place, collector) = counts_without(&[libc::SYS_inotify_add_watch], errno);
        let health = collector.health();
        assert_eq!(
            (&health["status"], &health["watching"]),
            (&"degraded".into(), &"polling".into()),
            "{errno}: {health}"
        );
        let reasons = health["reasons"].to_string();
        assert!(reasons.contains("inotify_add_watch is refused"), "{reasons}");
        collector.stop_cleanly();
    }
}

#[test]
fn that_there_are_no_locks_is_said() {
    for errno in [libc::EPERM, libc::ENOSYS] {
        let (_place, collector) = counts_without(&[libc::SYS_flock], errno);
        assert!(
            collector
                .seen
                .iter()
                .any(|line| line.contains("flock is refused"))
        );
        collector.stop_cleanly();
    }
}

#[test]
fn a_database_that_cannot_be_synced_names_the_calls() {
    for calls in [[libc::SYS_fdatasync], [libc::SYS_ftruncate]] {
        let place = Place::new();
        let output = refused(&calls, libc::EPERM, || place.run(&["serve"]));
        let told = crate::harness::text(&output.stderr);
        assert_eq!(output.status.code(), Some(77), "{told}");
        assert!(
            told.contains("allow flock, fsync, fdatasync, ftruncate"),
            "{told}"
        );
        assert!(!told.contains("chown"), "{told}");
    }
}
