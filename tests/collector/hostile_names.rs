//! Entries of a mount that are no logs, and unusual names: nothing blocks, nothing outside is counted.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags};

use crate::harness::{Place, append, output_by_run, response};
use crate::scenario::{EVENTS_ONLY, figures};

/// Longest name of a file, in bytes.
const NAME_BYTES_MAX: usize = 255;

fn fifo(path: &Path) {
    rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

/// A device like `/dev/zero`, which never ends. Returns true if this user may make one.
fn zero_device(path: &Path) -> bool {
    let device = rustix::fs::makedev(1, 5);
    rustix::fs::mknodat(CWD, path, FileType::CharacterDevice, Mode::RUSR, device).is_ok()
}

macro_rules! both_ways {
    ($($test:ident)*) => {
        mod by_openat2 {
            $(#[test] fn $test() { super::$test() })*
        }
        /// As in a sandbox without `openat2`.
        mod by_name {
            $(#[test] fn $test() {
                crate::harness::refuse_openat2();
                super::$test();
            })*
        }
    };
}
both_ways! {
    what_is_no_regular_file_is_never_counted_and_blocks_nobody
    a_log_that_turns_into_a_link_or_a_fifo_is_left_alone_from_then_on
    a_mount_or_a_run_that_is_a_link_is_not_followed
    names_of_any_bytes_are_counted
    directories_that_are_too_deep_are_not_read_and_said_to_be_so_until_they_are_gone
    a_path_longer_than_the_system_takes_is_said_and_harms_no_other
    more_files_than_allowed_are_said_and_read_when_others_go
    directories_whose_names_are_no_run_ids_are_ignored_without_harm
}

/// Every kind of entry under a log's name, while the collector runs and at its start.
fn what_is_no_regular_file_is_never_counted_and_blocks_nobody() {
    for live in [true, false] {
        let place = Place::new();
        let log = place.log("one", "good.jsonl");
        append(&log, response("1", 1, 0));
        let outside = place.path("outside");
        fs::create_dir(&outside).unwrap();
        append(&outside.join("x.jsonl"), response("outside", 100, 0));
        let mut collector = live.then(|| place.serve_with(EVENTS_ONLY));
        if let Some(collector) = &mut collector {
            collector.wait_for_messages(1);
        }
        let mount = place.mount("one");
        fifo(&mount.join("fifo.jsonl"));
        let _socket = UnixListener::bind(mount.join("socket.jsonl")).unwrap();
        fs::create_dir(mount.join("directory.jsonl")).unwrap();
        symlink(outside.join("x.jsonl"), mount.join("link.jsonl")).unwrap();
        symlink("../../../outside/x.jsonl", mount.join("way_up.jsonl")).unwrap();
        symlink("loop.jsonl", mount.join("loop.jsonl")).unwrap();
        symlink("good.jsonl", mount.join("same.jsonl")).unwrap();
        symlink(&outside, mount.join("linked_directory")).unwrap();
        symlink(".", mount.join("directory_loop")).unwrap();
        symlink("/proc/self/fd", mount.join("magic")).unwrap();
        if !zero_device(&mount.join("zero.jsonl")) {
            eprintln!("without a device node: this user may not make one");
        }
        let mut collector = collector.unwrap_or_else(|| place.serve_with(EVENTS_ONLY));
        append(&log, response("2", 2, 1));
        collector.wait_for_messages(2);
        let summary = collector.settle(&place, "one");
        assert_eq!(figures(&summary), (2, 3, 2), "live: {live}");
        assert_eq!(summary["files"], 2);
        for name in ["fifo.jsonl", "socket.jsonl", "link.jsonl", "loop.jsonl"] {
            collector.wait_for_log(&format!("mount/{name}"));
        }
        collector.stop_cleanly();
        place.assert_verified();
        assert_eq!(place.replayed()["totals"]["output_tokens"], 3);
    }
}

fn a_log_that_turns_into_a_link_or_a_fifo_is_left_alone_from_then_on() {
    let place = Place::new();
    let outside = place.path("outside.jsonl");
    append(&outside, response("outside", 100, 0));
    let (linked, piped) = (place.log("one", "linked.jsonl"), place.log("one", "piped.jsonl"));
    append(&linked, response("1", 1, 0));
    append(&piped, response("2", 2, 0));
    let mut collector = place.serve_with(EVENTS_ONLY);
    collector.wait_for_messages(2);
    fs::remove_file(&linked).unwrap();
    symlink(&outside, &linked).unwrap();
    fs::remove_file(&piped).unwrap();
    fifo(&piped);
    collector.settle(&place, "one");
    // And back.
    fs::remove_file(&linked).unwrap();
    append(&linked, response("3", 4, 0));
    collector.wait_for_messages(3);
    let summary = collector.settle(&place, "one");
    assert_eq!(figures(&summary), (3, 7, 3));
    collector.stop_cleanly();
    place.assert_verified();
}

fn a_mount_or_a_run_that_is_a_link_is_not_followed() {
    let place = Place::new();
    append(&place.log("good", "a.jsonl"), response("1", 1, 0));
    let outside = place.path("outside/mount");
    fs::create_dir_all(&outside).unwrap();
    append(&outside.join("a.jsonl"), response("outside", 100, 0));
    fs::create_dir(place.runs().join("bad")).unwrap();
    symlink(&outside, place.mount("bad")).unwrap();
    symlink(place.path("outside"), place.runs().join("linked")).unwrap();
    let mut collector = place.serve_with(EVENTS_ONLY);
    collector.settle(&place, "good");
    append(&outside.join("a.jsonl"), response("more", 100, 0));
    append(&place.log("good", "a.jsonl"), response("2", 2, 0));
    let summary = collector.wait_for_messages(2);
    assert_eq!(output_by_run(&summary)["good"], 3);
    assert_eq!(output_by_run(&summary).get("linked"), None);
}

fn names_of_any_bytes_are_counted() {
    let long = "n".repeat(NAME_BYTES_MAX - ".jsonl".len()) + ".jsonl";
    let names: [&[u8]; 9] = [
        b"with space.jsonl",
        b"new\nline.jsonl",
        b"tab\t\"quote'\\.jsonl",
        b"\xff\xfe.jsonl",
        b"\xc3.jsonl",
        "漢字🙂.jsonl".as_bytes(),
        b"-rf.jsonl",
        b".jsonl",
        long.as_bytes(),
    ];
    for live in [true, false] {
        let place = Place::new();
        let mount = place.mount("one");
        fs::create_dir_all(&mount).unwrap();
        let mut collector = live.then(|| place.serve_with(EVENTS_ONLY));
        for (number, name) in names.iter().enumerate() {
            let id = number.to_string();
            append(&mount.join(OsStr::from_bytes(name)), response(&id, 1, 0));
            let directory = mount.join("d").join(OsStr::from_bytes(name));
            fs::create_dir_all(&directory).unwrap();
            append(
                &directory.join(OsStr::from_bytes(name)),
                response(&format!("{id}d"), 1, 0),
            );
        }
        let mut collector = collector.take().unwrap_or_else(|| place.serve_with(EVENTS_ONLY));
        let all = 2 * names.len() as u64;
        collector.wait_for_messages(all);
        collector.stop_cleanly();
        place.assert_verified();
        let mut collector = place.serve_with(EVENTS_ONLY);
        for name in names {
            append(&mount.join(OsStr::from_bytes(name)), "{\"type\":\"more\"}\n");
        }
        let summary = collector.wait_until("the rest", |summary| {
            summary["lines"]["ignored"] == names.len() as u64
        });
        assert_eq!(figures(&summary), (all, all, all), "live: {live}");
        assert_eq!(summary["files"], all);
    }
}

fn directories_that_are_too_deep_are_not_read_and_said_to_be_so_until_they_are_gone() {
    let place = Place::new();
    append(&place.log("one", "a/b/in.jsonl"), response("1", 1, 0));
    append(&place.log("one", "x/a.jsonl"), response("2", 2, 0));
    let mut collector = place.serve_with("[limits]\ndepth_max = 3\n[watch]\nscan_interval = \"1h\"\n");
    collector.wait_for_messages(2);
    assert_eq!(collector.reasons(), Vec::<String>::new());
    append(
        &place.log("one", "a/b/c/too/deep.jsonl"),
        response("deep", 100, 0),
    );
    collector.settle(&place, "one");
    let reason = |reasons: &[String]| {
        let [reason] = reasons else { panic!("{reasons:?}") };
        assert!(
            reason.contains("run one: mount/a/b/c lies deeper than limits.depth_max = 3"),
            "{reason}"
        );
    };
    reason(&collector.reasons());
    assert_eq!(collector.get("/healthz").1["status"], "unhealthy");
    // Changes elsewhere do not trigger a scan of this directory.
    append(&place.log("one", "x/b.jsonl"), response("3", 4, 0));
    collector.settle(&place, "one");
    reason(&collector.reasons());
    fs::remove_dir_all(place.mount("one").join("a/b/c")).unwrap();
    let summary = collector.settle(&place, "one");
    assert_eq!(collector.reasons(), Vec::<String>::new());
    assert_eq!(figures(&summary), (3, 7, 3));
}

fn a_path_longer_than_the_system_takes_is_said_and_harms_no_other() {
    let place = Place::new();
    let log = place.log("one", "a.jsonl");
    append(&log, response("1", 1, 0));
    let name = "d".repeat(NAME_BYTES_MAX);
    let mut directory = rustix::fs::open(
        place.mount("one"),
        OFlags::DIRECTORY | OFlags::RDONLY,
        Mode::empty(),
    )
    .unwrap();
    for _ in 0..20 {
        rustix::fs::mkdirat(&directory, &name, Mode::RWXU).unwrap();
        directory = rustix::fs::openat(
            &directory,
            &name,
            OFlags::DIRECTORY | OFlags::RDONLY,
            Mode::empty(),
        )
        .unwrap();
    }
    let mut collector = place.serve_with(EVENTS_ONLY);
    append(&log, response("2", 2, 1));
    collector.wait_for_messages(2);
    let summary = collector.settle(&place, "one");
    assert_eq!(figures(&summary), (2, 3, 2));
    let reasons = collector.reasons();
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    assert!(reasons[0].contains("cannot read"), "{reasons:?}");
}

fn more_files_than_allowed_are_said_and_read_when_others_go() {
    let place = Place::new();
    let (first, second) = (place.log("one", "1.jsonl"), place.log("one", "d/2.jsonl"));
    append(&first, response("1", 1, 0));
    append(&second, response("2", 2, 0));
    let settings = "[limits]\nfiles_per_run_max = 2\n[watch]\nscan_interval = \"100ms\"\n";
    let mut collector = place.serve_with(settings);
    collector.wait_for_messages(2);
    append(&place.log("one", "d/3.jsonl"), response("3", 4, 0));
    append(&first, response("4", 8, 0));
    append(&first, response("5", 16, 0));
    let summary = collector.wait_for_messages(4);
    assert_eq!(figures(&summary), (4, 27, 4));
    fs::remove_file(&second).unwrap();
    let summary = collector.wait_for_messages(5);
    assert_eq!(figures(&summary), (5, 31, 5));
}

fn directories_whose_names_are_no_run_ids_are_ignored_without_harm() {
    let place = Place::new();
    let longest = "r".repeat(128);
    let strange: [&[u8]; 6] = [
        b"with space",
        b"new\nline",
        b"\xff",
        "ü".as_bytes(),
        b"a:b",
        &[b'r'; 129],
    ];
    let good = ["..foo", ".hidden", "-", "A.b_c-9", &longest];
    let mut collector = place.serve_with(EVENTS_ONLY);
    for name in strange {
        let mount = place.runs().join(OsStr::from_bytes(name)).join("mount");
        fs::create_dir_all(&mount).unwrap();
        append(&mount.join("a.jsonl"), response("strange", 100, 0));
    }
    fs::write(place.runs().join("file"), "no run").unwrap();
    for name in good {
        append(&place.log(name, "a.jsonl"), response(name, 1, 0));
    }
    let summary = collector.wait_for_messages(good.len() as u64);
    assert_eq!(
        output_by_run(&summary),
        good.map(|name| (name.to_owned(), 1)).into()
    );
    for words in ["with space", "128 bytes long, this one has 129"] {
        collector.wait_for_log(words);
    }
    for name in good {
        let (status, run) = collector.get(&format!("/v1/runs/{name}"));
        assert_eq!((status, &run["messages"]), (200, &1.into()), "{name}");
    }
    collector.stop_cleanly();
    place.assert_verified();
}
