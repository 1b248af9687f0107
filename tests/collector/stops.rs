//! Stops of runs that cannot be read to their end: refused with the missing part, unless that is accepted.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Collector, Place, append, response};
use crate::scenario::{SCANS_OFTEN, ended};
use crate::surroundings::{like_others, mode};

fn stop(collector: &Collector, run: &str, more: &str) -> (u16, Value) {
    collector.request("POST", &format!("/v1/runs/{run}/stop?wait=true{more}"), "")
}

/// The run is not stopped, and both the route and the command give the cause.
#[track_caller]
fn assert_refused(place: &Place, collector: &Collector, run: &str, words: &str) {
    let (status, head, problem) =
        collector.exchange("POST", &format!("/v1/runs/{run}/stop?wait=true"), "", "");
    assert_eq!(status, 503, "{run}: {problem}");
    assert!(head.contains("retry-after: "), "{head}");
    let problem: Value = serde_json::from_str(&problem).unwrap();
    assert_eq!(problem["field"], "incomplete", "{problem}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains(words) && detail.contains("incomplete=true"),
        "{words}: {detail}"
    );
    let (_, document) = collector.get(&format!("/v1/runs/{run}"));
    assert_ne!(document["state"], "stopped", "{document}");
    assert_eq!(document["complete"], false, "{document}");
    let (code, out, err) = ended(&place.run(&["stop", run]));
    assert_eq!((code, out.as_str()), (Some(75), ""), "{err}");
    assert!(
        err.contains(words) && err.contains(&format!("tokentail stop --incomplete {run}")),
        "{words}: {err}"
    );
}

/// The readable part is accepted.
#[track_caller]
fn assert_accepted(collector: &Collector, run: &str, words: &str, output: u64) {
    let (status, document) = stop(collector, run, "&incomplete=true");
    assert_eq!(
        (
            status,
            &document["state"],
            &document["complete"],
            &document["output_tokens"]
        ),
        (200, &json!("stopped"), &json!(false), &json!(output)),
        "{document}"
    );
    assert!(
        document["problem"].as_str().unwrap().contains(words),
        "{document}"
    );
}

#[track_caller]
fn assert_exact(collector: &Collector, run: &str, output: u64) {
    let (status, document) = stop(collector, run, "");
    assert_eq!(
        (
            status,
            &document["state"],
            &document["complete"],
            &document["output_tokens"]
        ),
        (200, &json!("stopped"), &Value::Null, &json!(output)),
        "{run}: {document}"
    );
}

#[test]
fn a_run_that_may_not_be_read_to_its_end_is_not_stopped_unless_that_is_accepted() {
    let place = Place::new();
    let own = place.path("work/own");
    fs::create_dir_all(&own).unwrap();
    append(&own.join("a.jsonl"), response("own", 1, 0));
    append(
        &place.log("directory", "-w/s/subagents/b.jsonl"),
        response("sub", 100, 0),
    );
    for run in ["directory", "file", "mount", "run"] {
        append(&place.log(run, "a.jsonl"), response(run, 1, 0));
    }
    append(&place.log("file", "closed.jsonl"), response("closed", 100, 0));
    let closed = [
        ("directory", place.mount("directory").join("-w/s/subagents"), 1),
        ("file", place.mount("file").join("closed.jsonl"), 1),
        ("mount", place.mount("mount"), 0),
        ("run", place.runs().join("run"), 0),
        ("own", own, 0),
    ];
    let modes = |mode_now: u32| {
        for (_, path, _) in &closed {
            let is_file = path.extension().is_some();
            mode(path, if is_file { mode_now & 0o644 } else { mode_now });
        }
    };
    modes(0);
    place.configure(&format!(
        "{SCANS_OFTEN}[runs]\nmount_roots = [{:?}]\n",
        place.path("work")
    ));
    let Some(command) = like_others(&place.command_with_config(&["serve"])) else {
        modes(0o755);
        return;
    };
    let collector = Collector::start(command, place.socket());
    let body = json!({"mount": place.path("work/own")}).to_string();
    assert_eq!(collector.request("PUT", "/v1/runs/own", &body).0, 201);
    for (run, path, output) in &closed {
        let words = format!("cannot read {}: Permission denied", path.display());
        assert_refused(&place, &collector, run, &words);
        assert_accepted(&collector, run, &words, *output);
        // It can still be forgotten.
        assert_eq!(stop(&collector, run, "").0, 503);
    }
    let printed = ended(&place.run(&["stop", "--incomplete", "file"]));
    assert_eq!(printed.0, Some(0), "{}", printed.2);
    assert!(printed.1.contains("Permission denied"), "{}", printed.1);
    modes(0o755);
    for (run, output) in [
        ("directory", 101),
        ("file", 101),
        ("mount", 1),
        ("run", 1),
        ("own", 1),
    ] {
        assert_exact(&collector, run, output);
    }
    collector.stop_cleanly();
}

#[test]
fn a_run_beyond_the_limits_is_not_stopped_unless_that_is_accepted() {
    let place = Place::new();
    append(&place.log("deep", "a.jsonl"), response("1", 1, 0));
    append(&place.log("deep", "b/c/d.jsonl"), response("2", 100, 0));
    append(&place.log("many", "a.jsonl"), response("3", 1, 0));
    append(&place.log("many", "b.jsonl"), response("4", 1, 0));
    let collector = place.serve_with("[limits]\ndepth_max = 2\nfiles_per_run_max = 1\n");
    for (run, words) in [("deep", "limits.depth_max"), ("many", "limits.files_per_run_max")] {
        assert_refused(&place, &collector, run, words);
        assert_accepted(&collector, run, words, 1);
    }
    collector.stop_cleanly();
}

#[test]
fn a_known_run_in_a_runs_directory_that_may_not_be_read_is_not_stopped() {
    let place = Place::new();
    append(&place.log("one", "a.jsonl"), response("1", 1, 0));
    let mut collector = place.serve();
    collector.wait_for_messages(1);
    collector.stop_cleanly();
    append(&place.log("one", "a.jsonl"), response("2", 2, 0));
    mode(&place.runs(), 0);
    let Some(command) = like_others(&place.command(&["serve"])) else {
        mode(&place.runs(), 0o755);
        return;
    };
    let collector = Collector::start(command, place.socket());
    let (status, problem) = stop(&collector, "one", "");
    assert_eq!(status, 503, "{problem}");
    let words = format!("cannot read {}: Permission denied", place.runs().display());
    assert!(problem["detail"].as_str().unwrap().contains(&words), "{problem}");
    mode(&place.runs(), 0o755);
    assert_exact(&collector, "one", 3);
    collector.stop_cleanly();
}

/// A command that writes an unreadable log, and ends with `code`.
fn closing(place: &Place, log: &Path, code: u8) -> Option<(Option<i32>, String, String)> {
    let script = format!(
        "mkdir -p runs/r/mount; umask 777; cat one > {}; exit {code}",
        log.display()
    );
    let command = place.command(&["run", "r", "--", "sh", "-c", &script]);
    let ended = like_others(&command).map(|mut command| ended(&command.output().unwrap()));
    if log.exists() {
        mode(log, 0o644);
        fs::remove_file(log).unwrap();
    }
    ended
}

#[test]
fn a_command_whose_logs_may_not_be_read_does_not_end_as_if_they_were_counted() {
    let place = Place::new();
    append(&place.path("one"), response("1", 5, 1));
    let log = place.mount("r").join("a.jsonl");
    for has_collector in [false, true] {
        let collector = has_collector
            .then(|| like_others(&place.command(&["serve"])))
            .flatten()
            .map(|command| Collector::start(command, place.socket()));
        for (code, ours) in [(0, 75), (7, 7)] {
            let Some((ended, _, err)) = closing(&place, &log, code) else {
                return;
            };
            assert_eq!(ended, Some(ours), "{has_collector}: {err}");
            assert!(
                err.contains(&format!("cannot read {}: Permission denied", log.display())),
                "{has_collector}: {err}"
            );
        }
        if let Some(collector) = collector {
            collector.stop_cleanly();
        }
    }
}
