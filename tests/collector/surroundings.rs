//! Changes of the surroundings while the collector runs: reported in words and metrics, with exact counts
//! afterwards.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::harness::{Collector, Place, append, response};
use crate::machine::{Namespace, skipped, wait_until_closed, wrapped};
use crate::scenario::{SCANS_OFTEN, ended};

/// The command without root's capability to ignore file modes.
pub fn like_others(command: &Command) -> Option<Command> {
    if !rustix::process::geteuid().is_root() {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "exec \"$@\"", "sh"]);
        return Some(wrapped(shell, command));
    }
    let mut setpriv = Command::new("setpriv");
    setpriv.args(["--bounding-set", "-dac_override,-dac_read_search", "--"]);
    let mut probe = wrapped(setpriv, &Command::new("true"));
    match probe.output() {
        Ok(output) if output.status.success() => {
            let mut setpriv = Command::new("setpriv");
            setpriv.args(["--bounding-set", "-dac_override,-dac_read_search", "--"]);
            Some(wrapped(setpriv, command))
        }
        _ => {
            skipped("root reads everything here, and setpriv cannot change that");
            None
        }
    }
}

pub fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

pub fn metric(collector: &Collector, name: &str) -> f64 {
    let body = collector.exchange("GET", "/metrics", "", "").2;
    let line = body
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {body}"))
        .parse()
        .unwrap()
}

/// Meanwhile `status`, its document and the metrics report the problem.
#[track_caller]
pub fn assert_says(place: &Place, collector: &Collector, words: &str) {
    let (code, human, stderr) = ended(&place.run(&["status"]));
    assert_eq!(code, Some(1), "{stderr}");
    assert!(human.contains(words), "{human}");
    let health = &place.status()["collector"];
    assert_ne!(health["status"], "ok", "{health}");
    assert!(health["reasons"].to_string().contains(words), "{health}");
    let trouble = metric(collector, "tokentail_degraded") + 1.0 - metric(collector, "tokentail_healthy");
    assert!(trouble > 0.5, "the metrics say that all is well");
}

/// Afterwards all is well, and `status`, its document and the metrics report that it happened.
#[track_caller]
pub fn assert_went_through(place: &Place, collector: &Collector, field: &str, family: &str, words: &str) {
    let (code, human, stderr) = ended(&place.run(&["status"]));
    assert_eq!(code, Some(0), "{stderr}");
    let since = human.lines().find(|line| line.contains("since then: "));
    assert!(since.is_some_and(|line| line.contains(words)), "{human}");
    let health = &place.status()["collector"];
    assert!(health[field].as_u64() > Some(0), "{health}");
    assert_eq!(health["status"], "ok", "{health}");
    assert!(metric(collector, family) > 0.5, "{family}");
}

/// A mount and its unmount delay nothing, so only their number is reported.
#[track_caller]
pub fn assert_was_mounted_over(place: &Place, collector: &Collector) {
    let family = "tokentail_watch_replaced_total";
    let words = "a watched directory mounted over or replaced (";
    assert_went_through(place, collector, "replaced", family, words);
}

#[track_caller]
fn assert_unhealthy(collector: &Collector, unhealthy: bool) {
    let (code, health) = collector.get("/readyz");
    let expected = if unhealthy {
        (503, "unhealthy")
    } else {
        (200, "ok")
    };
    assert_eq!((code, health["status"].as_str().unwrap()), expected, "{health}");
    let healthy = metric(collector, "tokentail_healthy");
    assert_eq!(healthy < 0.5, unhealthy, "tokentail_healthy is {healthy}");
}

#[test]
fn a_replay_that_may_not_read_something_names_it_and_prints_no_totals() {
    let place = Place::new();
    append(&place.log("one", "open.jsonl"), response("1", 5, 0));
    append(&place.log("one", "closed/a.jsonl"), response("2", 7, 0));
    append(&place.log("two", "closed.jsonl"), response("3", 9, 0));
    let (directory, file) = (
        place.mount("one").join("closed"),
        place.log("two", "closed.jsonl"),
    );
    for (closed, open_again) in [(&directory, 0o755), (&file, 0o644)] {
        mode(closed, 0);
        let replay = place.command(&["replay", place.runs().to_str().unwrap()]);
        let ended = like_others(&replay).map(|mut command| ended(&command.output().unwrap()));
        mode(closed, open_again);
        let Some((code, out, err)) = ended else {
            return;
        };
        assert_eq!((code, out.as_str()), (Some(77), ""), "{err}");
        for words in [
            closed.to_str().unwrap(),
            "r on files, rx on directories",
            "there are none",
        ] {
            assert!(err.contains(words), "{words}: {err}");
        }
    }
}

#[test]
fn logs_that_cannot_be_read_are_named_and_read_when_they_can_be() {
    let place = Place::new();
    let (closed, open) = (place.log("one", "closed.jsonl"), place.log("one", "open.jsonl"));
    append(&closed, response("1", 5, 0));
    append(&open, response("2", 7, 0));
    let directory = place.mount("two").join("closed");
    append(&place.log("two", "closed/a.jsonl"), response("3", 9, 0));
    append(&place.log("three", "a.jsonl"), response("4", 11, 0));
    let whole_run = place.runs().join("three");
    mode(&closed, 0);
    mode(&directory, 0);
    mode(&whole_run, 0);
    place.configure(SCANS_OFTEN);
    let Some(command) = like_others(&place.command_with_config(&["serve"])) else {
        mode(&directory, 0o755);
        mode(&whole_run, 0o755);
        return;
    };
    let mut collector = Collector::start(command, place.socket());
    let summary = collector.wait_for_messages(1);
    assert_eq!(summary["totals"]["output_tokens"], 7);
    while collector.reasons().len() < 3 {
        append(&open, "{\"type\":\"sentinel\"}\n");
        collector.wait_for_next("\"committed\"");
    }
    let reasons = collector.reasons();
    for (run, path) in [("one", &closed), ("two", &directory), ("three", &whole_run)] {
        let told = |reason: &String| {
            reason.contains(run)
                && reason.contains(path.to_str().unwrap())
                && reason.contains("Permission denied")
                && reason.contains("r on files, rx on directories")
        };
        assert!(reasons.iter().any(told), "{run}: {reasons:?}");
    }
    assert_unhealthy(&collector, true);
    assert_says(&place, &collector, "Permission denied");
    // Tried repeatedly, and logged once.
    collector.wait_for_log("failed as before");
    for path in [&closed, &directory, &whole_run] {
        let told = format!("cannot read {}: Permission denied", path.display());
        let logged = collector.seen.iter().filter(|line| line.contains(&told));
        assert_eq!(logged.count(), 1, "{told}");
    }

    // No event reports a change of mode.
    mode(&closed, 0o644);
    mode(&directory, 0o755);
    mode(&whole_run, 0o755);
    let summary = collector.wait_for_messages(4);
    assert_eq!(summary["totals"]["output_tokens"], 32);
    collector.wait_until("all is well", |summary| {
        append(&open, "{\"type\":\"sentinel\"}\n");
        summary["messages"] == 4
    });
    while !collector.reasons().is_empty() {
        append(&open, "{\"type\":\"sentinel\"}\n");
        collector.wait_for_next("\"committed\"");
    }
    assert_unhealthy(&collector, false);
    let family = "tokentail_run_problems_total";
    assert_went_through(
        &place,
        &collector,
        "problems",
        family,
        "a problem in a run or in the runs directory (",
    );
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn logs_on_an_overlay_are_counted_once_when_they_are_copied_up() {
    let Some(namespace) = Namespace::or_skip() else {
        return;
    };
    let place = Place::new();
    let log = place.log("one", "a.jsonl");
    append(&log, response("0", 1, 0));
    let mount = place.mount("one");
    let layers = place.path("layers");
    fs::create_dir_all(&layers).unwrap();
    namespace.sh(
        "mount -t tmpfs none \"$1\" && mkdir \"$1/lower\" \"$1/upper\" \"$1/work\"",
        &[&layers],
    );
    append(
        &namespace.path(&layers.join("lower/a.jsonl")),
        response("1", 5, 1),
    );
    let mut command = namespace.command(&place.command(&["serve"]));
    command.env("TOKENTAIL__WATCH__SCAN_INTERVAL", "100ms");
    command.env("TOKENTAIL__LIMITS__IDLE_CLOSE", "100ms");
    let mut collector = Collector::start(command, place.socket());
    collector.wait_for_messages(1);
    let over = "mount -t overlay overlay -o lowerdir=\"$1/lower\",upperdir=\"$1/upper\",workdir=\"$1/work\"";
    let mounted = ["", ",userxattr"].into_iter().any(|option| {
        let script = format!("{over}{option} \"$2\"");
        namespace.try_sh(&script, &[&layers, &mount]).status.success()
    });
    if !mounted {
        return skipped("an overlay cannot be mounted here");
    }
    collector.wait_for_messages(2);
    let inside = namespace.path(&mount);
    // Copied up: another file with the same first line.
    append(&inside.join("a.jsonl"), response("2", 7, 2));
    collector.wait_for_messages(3);
    append(&inside.join("a.jsonl"), response("3", 9, 3));
    fs::create_dir_all(inside.join("new")).unwrap();
    append(&inside.join("new/b.jsonl"), response("4", 2, 4));
    let summary = collector.wait_for_messages(5);
    assert_eq!(summary["totals"]["output_tokens"], 24);
    wait_until_closed(&collector, "one/mount");
    namespace.sh("umount \"$1\"", &[&mount]);
    append(&log, response("5", 3, 5));
    let summary = collector.wait_for_messages(6);
    assert_eq!(summary["totals"]["output_tokens"], 27);
    assert_unhealthy(&collector, false);
    assert_was_mounted_over(&place, &collector);
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn without_room_for_the_database_metrics_say_so_until_there_is_some() {
    let place = Place::new();
    let log = place.log("one", "a.jsonl");
    append(&log, response("1", 5, 0));
    let mut collector = crate::disk::limitable(&place, &[]);
    collector.wait_for_messages(1);
    assert!(metric(&collector, "tokentail_healthy") > 0.5);
    crate::disk::limit_files(&collector, Some(4096));
    append(&log, response("2", 7, 1));
    collector.wait_for_log(crate::disk::STUCK);
    assert!(metric(&collector, "tokentail_healthy") < 0.5);
    assert_says(&place, &collector, place.db().to_str().unwrap());
    crate::disk::limit_files(&collector, None);
    collector.wait_for_log(crate::disk::UNSTUCK);
    collector.wait_for_messages(2);
    assert!(metric(&collector, "tokentail_healthy") > 0.5);
    let family = "tokentail_store_reopened_total";
    assert_went_through(
        &place,
        &collector,
        "reopened",
        family,
        "the database opened anew (",
    );
    collector.stop_cleanly();
}

/// No scan comes: the event of the changed mode triggers the read.
#[test]
fn what_is_made_readable_is_read_at_once() {
    let place = Place::new();
    place.configure(crate::scenario::EVENTS_ONLY);
    let closed = [
        place.log("file", "a.jsonl"),
        place.log("directory", "below/a.jsonl"),
        place.log("run", "a.jsonl"),
    ];
    for (number, log) in closed.iter().enumerate() {
        append(log, response(&number.to_string(), 5, 0));
    }
    let of = |log: &Path, above: usize| log.ancestors().nth(above).unwrap().to_owned();
    let closed = [closed[0].clone(), of(&closed[1], 1), of(&closed[2], 2)];
    for path in &closed {
        mode(path, 0);
    }
    let Some(command) = like_others(&place.command_with_config(&["serve"])) else {
        return;
    };
    let mut collector = Collector::start(command, place.socket());
    for (number, path) in (0u64..).zip(&closed) {
        let named = path.to_str().unwrap();
        collector.wait_until(named, |summary| {
            summary["messages"] == number && collector_says(&place, named)
        });
        mode(path, 0o755);
        collector.wait_for_messages(number + 1);
    }
    collector.stop_cleanly();
}

/// Modes above a run's own mount cause no event here; a reload scans at once all the same.
#[test]
fn a_reload_looks_again_at_a_run_that_failed() {
    let place = Place::new();
    let above = place.path("elsewhere");
    fs::create_dir_all(above.join("mine")).unwrap();
    append(&above.join("mine/a.jsonl"), response("1", 5, 0));
    place.configure(&format!(
        "[runs]\nmount_roots = [{above:?}]\n{}",
        crate::scenario::EVENTS_ONLY
    ));
    let Some(command) = like_others(&place.command_with_config(&["serve"])) else {
        return;
    };
    let mut collector = Collector::start(command, place.socket());
    let mine = above.join("mine");
    let body = serde_json::json!({ "mount": mine }).to_string();
    assert_eq!(collector.request("PUT", "/v1/runs/r", &body).0, 201);
    collector.wait_for_messages(1);
    collector.stop_cleanly();
    append(&mine.join("a.jsonl"), response("2", 5, 0));
    mode(&above, 0);
    let Some(command) = like_others(&place.command_with_config(&["serve"])) else {
        return;
    };
    let mut collector = Collector::start(command, place.socket());
    collector.wait_until("it cannot be read", |_| collector_says(&place, "run r: "));
    mode(&above, 0o755);
    collector.signal("HUP");
    collector.wait_for_messages(2);
    collector.stop_cleanly();
}

/// True if health has this reason.
fn collector_says(place: &Place, words: &str) -> bool {
    let status = place.status();
    status["collector"]["reasons"].to_string().contains(words)
}

#[test]
fn a_collector_without_its_runs_directory_says_that_it_sees_nothing() {
    let place = Place::new();
    for (before, config) in [
        ("no account was ever seen", "[[account]]\nname = \"main\"\n"),
        (
            "one waits then",
            "[[account]]\nname = \"main\"\non_unknown = \"wait\"\n",
        ),
    ] {
        place.configure(config);
        let _ = fs::remove_dir(place.runs());
        let collector = place.start(place.command_with_config(&["serve"]));
        let answer = collector.get("/v1/may-start").1;
        let decided = (&answer["decision"], &answer["reason"]);
        assert_eq!(
            decided,
            (&"unknown".into(), &"collector_blind".into()),
            "{before}: {answer}"
        );
        let (code, human, stderr) = ended(&place.run(&["may-start"]));
        assert_eq!(code, Some(2), "{stderr}");
        assert!(
            human.contains("cannot read what it should") && human.contains("is not there"),
            "{human}"
        );
        collector.stop_cleanly();
    }
}

/// Unreadable logs may contain a refusal. One readable run is enough to judge by: a broken mount must not
/// stop every account.
#[test]
fn a_collector_that_cannot_read_any_run_does_not_allow() {
    let place = Place::new();
    let closed = place.log("one", "a.jsonl");
    append(&closed, response("1", 5, 0));
    mode(&closed, 0);
    place.configure("[[account]]\nname = \"main\"\non_unknown = \"allow\"\n");
    let Some(command) = like_others(&place.command_with_config(&["serve"])) else {
        return;
    };
    let mut collector = place.start(command);
    let answer = collector.get("/v1/may-start").1;
    let decided = (&answer["decision"], &answer["reason"], &answer["chosen"]);
    assert_eq!(
        decided,
        (
            &"unknown".into(),
            &"collector_blind".into(),
            &serde_json::Value::Null
        ),
        "{answer}"
    );
    let named = closed.to_str().unwrap();
    assert!(answer["unseen"].as_str().unwrap().contains(named), "{answer}");
    let (code, human, stderr) = ended(&place.run(&["may-start"]));
    assert_eq!(code, Some(2), "{stderr}");
    assert!(
        human.starts_with("may start: unknown: the collector cannot read what it should")
            && human.contains(named),
        "{human}"
    );
    append(&place.log("two", "a.jsonl"), response("2", 7, 0));
    collector.wait_for_messages(1);
    assert_eq!(collector.get("/v1/may-start").1["decision"], "allow");
    assert_eq!(collector.get("/readyz").0, 503, "one run is still not counted");
}
