//! Runs that have their logs in a directory of their own.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::{Collector, Place, WAIT_MAX, append, response};

/// A place whose collector allows `work` and reads `t.toml`.
fn allowed() -> (Place, PathBuf) {
    let place = Place::new();
    let work = place.path("work");
    fs::create_dir(&work).unwrap();
    (place, work)
}

fn serve(place: &Place) -> Collector {
    let mut command = place.command(&["serve"]);
    command.env("TOKENTAIL__RUNS__MOUNT_ROOTS", place.path("work"));
    Collector::start(command, place.socket())
}

fn put(collector: &Collector, run: &str, mount: &str) -> (u16, Value) {
    let body = json!({"labels": {"k": "v"}, "mount": mount});
    collector.request("PUT", &format!("/v1/runs/{run}"), &body.to_string())
}

fn stop(collector: &Collector, run: &str) -> Value {
    let (status, document) = collector.request("POST", &format!("/v1/runs/{run}/stop?wait=true"), "");
    assert_eq!(status, 200, "{document}");
    document
}

#[test]
fn a_run_is_read_where_it_says_and_read_on_after_a_kill() {
    let (place, work) = allowed();
    let logs = work.join("job/logs");
    let mut collector = serve(&place);
    // Before the directory exists.
    let (status, document) = put(&collector, "r", logs.to_str().unwrap());
    assert_eq!(status, 201, "{document}");
    assert_eq!(document["mount"], logs.to_str().unwrap());
    assert_eq!(document["state"], "waiting");
    fs::create_dir_all(logs.join("deep")).unwrap();
    append(&logs.join("deep/a.jsonl"), response("1", 5, 1));
    append(&logs.join("no-log.txt"), response("9", 5, 1));
    // A directory with its name in the runs directory is ignored.
    append(&place.log("r", "a.jsonl"), response("8", 5, 1));
    collector.wait_for_messages(1);
    append(&logs.join("deep/a.jsonl"), response("2", 6, 2));
    collector.wait_for_messages(2);
    assert_eq!(put(&collector, "r", logs.to_str().unwrap()).0, 200, "as it is");
    let (_, document) = collector.request("PUT", "/v1/runs/r", "{}");
    assert_eq!(document["mount"], logs.to_str().unwrap(), "not named, it stays");
    collector.kill();
    append(&logs.join("deep/a.jsonl"), response("3", 7, 3));
    let mut collector = serve(&place);
    collector.wait_for_messages(3);
    append(&logs.join("b.jsonl"), response("4", 8, 4).trim_end());
    let document = stop(&collector, "r");
    assert_eq!(
        (
            &document["messages"],
            &document["output_tokens"],
            &document["files"]
        ),
        (&json!(4), &json!(26), &json!(2))
    );
    // It cannot be changed any more.
    let (status, problem) = put(&collector, "r", work.join("other").to_str().unwrap());
    assert_eq!((status, &problem["field"]), (409, &json!("mount")), "{problem}");
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn a_directory_that_is_not_allowed_is_refused() {
    let (place, work) = allowed();
    fs::create_dir(place.path("secret")).unwrap();
    symlink(place.path("secret"), work.join("out")).unwrap();
    let collector = serve(&place);
    let runs = place.runs();
    for (mount, status, says) in [
        ("logs", 400, "absolute"),
        ("", 400, "absolute"),
        ("/etc", 400, "runs.mount_roots"),
        (work.join("a\0b").to_str().unwrap(), 400, "NUL"),
        (work.join("n".repeat(256)).to_str().unwrap(), 400, "255"),
        (work.join("name/".repeat(1000)).to_str().unwrap(), 400, "4095"),
        (work.join("../secret").to_str().unwrap(), 400, "absolute"),
        (work.join("out").to_str().unwrap(), 400, "runs.mount_roots"),
        (work.join("out/later").to_str().unwrap(), 400, "runs.mount_roots"),
        (runs.join("other/mount").to_str().unwrap(), 400, "runs directory"),
    ] {
        let (answered, problem) = put(&collector, "r", mount);
        assert_eq!(
            (answered, &problem["field"]),
            (status, &json!("mount")),
            "{mount}: {problem}"
        );
        assert!(
            problem["detail"].as_str().unwrap().contains(says),
            "{mount}: {problem}"
        );
    }
    assert_eq!(put(&collector, "a", work.join("x").to_str().unwrap()).0, 201);
    for overlapping in ["x", "x/deep", ""] {
        let (status, problem) = put(&collector, "b", work.join(overlapping).to_str().unwrap());
        assert_eq!(status, 409, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains("run a"), "{problem}");
    }
    // The default place.
    let (status, document) = put(&collector, "r", runs.join("r/mount").to_str().unwrap());
    assert_eq!((status, &document["mount"]), (201, &Value::Null), "{document}");
    // A forgotten run releases its directory.
    stop(&collector, "a");
    assert_eq!(collector.request("DELETE", "/v1/runs/a", "").0, 204);
    assert_eq!(put(&collector, "b", work.join("x").to_str().unwrap()).0, 201);
    collector.stop_cleanly();
}

#[test]
fn a_link_put_in_its_place_is_not_followed_and_what_was_read_stays() {
    let (place, work) = allowed();
    let logs = work.join("job/logs");
    fs::create_dir_all(&logs).unwrap();
    let secret = place.path("secret/logs");
    fs::create_dir_all(&secret).unwrap();
    append(&secret.join("a.jsonl"), response("9", 900, 9));
    let mut collector = serve(&place);
    assert_eq!(put(&collector, "r", logs.to_str().unwrap()).0, 201);
    append(&logs.join("a.jsonl"), response("1", 5, 1));
    collector.wait_for_messages(1);
    fs::remove_dir_all(work.join("job")).unwrap();
    symlink(place.path("secret"), work.join("job")).unwrap();
    collector.wait_for_log("its directory is gone");
    assert_eq!(stop(&collector, "r")["output_tokens"], 5);
    assert_eq!(collector.summary()["messages"], 1);
    // The directory itself again: it continues at once.
    fs::remove_file(work.join("job")).unwrap();
    fs::create_dir_all(&logs).unwrap();
    append(&logs.join("b.jsonl"), response("2", 6, 2));
    collector.wait_for_messages(2);
    collector.stop_cleanly();
}

#[test]
fn a_link_to_a_directory_that_is_a_runs_own_is_not_called_unread() {
    let (place, work) = allowed();
    for (run, directory) in [("a", "a/logs"), ("b", "b/mount"), ("c", "c/logs")] {
        fs::create_dir_all(work.join(directory)).unwrap();
        append(&work.join(directory).join("x.jsonl"), response(run, 1, 0));
    }
    symlink(work.join("a/logs"), place.runs().join("a")).unwrap();
    symlink("../work/b", place.runs().join("link-b")).unwrap();
    symlink(work.join("c"), place.runs().join("c")).unwrap();
    let mut collector = serve(&place);
    let notices = |collector: &Collector| collector.health()["notices"].to_string();
    let wait_for = |collector: &Collector, reached: &dyn Fn(&str) -> bool| {
        let deadline = Instant::now() + WAIT_MAX;
        while !reached(&notices(collector)) {
            assert!(Instant::now() < deadline, "{}", notices(collector));
            std::thread::yield_now();
        }
    };
    wait_for(&collector, &|named| named.contains("symbolic link"));
    for (run, directory) in [("a", "a/logs"), ("other", "b/mount"), ("c", "c")] {
        assert_ne!(notices(&collector), "[]");
        let directory = work.join(directory);
        assert_eq!(put(&collector, run, directory.to_str().unwrap()).0, 201);
    }
    wait_for(&collector, &|named| named == "[]");
    collector.wait_for_messages(3);
    // Without a run, it is named again.
    stop(&collector, "c");
    assert_eq!(collector.request("DELETE", "/v1/runs/c", "").0, 204);
    assert_eq!(put(&collector, "new", work.join("d").to_str().unwrap()).0, 201);
    wait_for(&collector, &|named| named.contains("runs/c"));
    collector.stop_cleanly();
}

#[test]
fn a_directory_that_went_while_the_collector_was_down_is_noted() {
    let place = Place::new();
    append(&place.log("r", "a.jsonl"), response("1", 5, 1));
    append(&place.log("s", "a.jsonl"), response("2", 5, 1));
    let mut collector = place.serve();
    collector.wait_for_messages(2);
    assert_eq!(collector.request("PUT", "/v1/runs/later", "").0, 201);
    collector.kill();
    fs::remove_dir_all(place.runs().join("r")).unwrap();
    let mut collector = place.serve();
    collector.wait_for_log("its directory went while the collector was down");
    let states = |run: &str| collector.get(&format!("/v1/runs/{run}")).1;
    assert_eq!(
        (&states("r")["state"], &states("r")["stop_reason"]),
        (&json!("stopped"), &json!("vanished"))
    );
    assert_eq!(states("r")["output_tokens"], 5);
    assert_eq!(states("s")["stopped_at"], Value::Null);
    assert_eq!(states("later")["state"], "waiting");
    collector.stop_cleanly();
}

#[test]
fn a_runs_directory_that_is_a_link_is_followed_when_it_is_turned() {
    let place = Place::new();
    for (directory, run) in [("blue", "a"), ("green", "b")] {
        let mount = place.path(directory).join(run).join("mount");
        fs::create_dir_all(&mount).unwrap();
        append(&mount.join("a.jsonl"), response(run, 1, 0));
    }
    fs::remove_dir(place.runs()).unwrap();
    symlink(place.path("blue"), place.runs()).unwrap();
    let mut collector = place.serve();
    collector.wait_for_messages(1);
    symlink(place.path("green"), place.path("next")).unwrap();
    fs::rename(place.path("next"), place.runs()).unwrap();
    collector.wait_for_messages(2);
    append(&place.path("green/b/mount/a.jsonl"), response("c", 1, 1));
    collector.wait_for_messages(3);
    assert_eq!(collector.get("/v1/runs/a").1["stop_reason"], "vanished");
    collector.stop_cleanly();
}
