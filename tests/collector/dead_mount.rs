//! Mounts that do not answer: they affect their own runs only, health names them, and nothing waits for them.

mod server;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::{Collector, PROGRAM, Place, append, response, text};
use server::{DeadMount, Mount, NUMBERING, SLOW};

/// Health names a hanging mount within this time.
const NAMED_WITHIN: Duration = Duration::from_secs(10);
/// Longest stop beyond its grace time.
const STOP_SLACK: Duration = Duration::from_secs(1);
/// More threads than the collector has at rest, and than hang in one mount.
const THREADS_FEW: usize = 40;
/// More mounts than the collector has threads for files.
const DEAD_MANY: usize = 260;

/// A place whose run has its logs in a mount.
struct Scene {
    /// Before the place, which is removed.
    mounts: Vec<Mount>,
    sources: Vec<PathBuf>,
    place: Place,
}

impl Scene {
    /// A mount for each of these runs; `None` if none can be made.
    fn or_skip(runs: &[&str]) -> Option<Self> {
        let place = Place::new();
        let (mut mounts, mut sources) = (Vec::new(), Vec::new());
        for run in runs {
            let (source, at) = (
                place.path(&format!("source-{run}")),
                place.path(&format!("runs/{run}")),
            );
            fs::create_dir_all(source.join("mount")).unwrap();
            fs::create_dir_all(&at).unwrap();
            mounts.push(Mount::or_skip(&source, &at)?);
            sources.push(source);
        }
        Some(Self {
            mounts,
            sources,
            place,
        })
    }

    fn log(&self, number: usize, name: &str) -> PathBuf {
        self.sources[number].join("mount").join(name)
    }

    fn hang(&self) {
        self.mounts.iter().for_each(Mount::hang);
    }

    fn answer(&self) {
        self.mounts.iter().for_each(Mount::answer);
    }

    fn serve(&self, settings: &str) -> Collector {
        self.place.configure(settings);
        let mut collector = Collector::spawn(self.place.command_with_config(&["serve"]), self.place.socket());
        collector.wait_for_socket();
        collector
    }
}

fn reasons(collector: &Collector) -> String {
    collector.health()["reasons"].to_string()
}

/// Waits until health has this reason, or no longer has it.
fn wait_for_reason(collector: &Collector, words: &str, is_there: bool) {
    let deadline = Instant::now() + NAMED_WITHIN;
    while reasons(collector).contains(words) != is_there {
        assert!(
            Instant::now() < deadline,
            "{words:?} should be there: {is_there}; {}",
            collector.health()
        );
        std::thread::yield_now();
    }
}

#[test]
fn a_mount_that_hangs_costs_its_runs_alone_and_is_exact_when_it_answers() {
    let names: Vec<String> = (0..10).map(|number| format!("dead-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let Some(scene) = Scene::or_skip(&names) else {
        return;
    };
    for number in 0..names.len() {
        append(
            &scene.log(number, "a.jsonl"),
            response(&format!("d{number}"), 1, 0),
        );
    }
    append(&scene.place.log("well", "a.jsonl"), response("w0", 1, 0));
    let mut collector = scene.serve("");
    collector.wait_for_messages(11);
    scene.hang();
    let hung = Instant::now();
    for number in 0..names.len() {
        append(
            &scene.log(number, "a.jsonl"),
            response(&format!("e{number}"), 1, 0),
        );
    }
    for name in &names {
        wait_for_reason(&collector, &format!("run {name}: "), true);
    }
    assert!(hung.elapsed() < NAMED_WITHIN, "{:?}", hung.elapsed());
    assert_eq!(collector.health()["status"], "unhealthy");
    // Other runs are read as usual, including new ones.
    append(&scene.place.log("well", "a.jsonl"), response("w1", 1, 0));
    append(&scene.place.log("new", "a.jsonl"), response("n0", 1, 0));
    collector.wait_for_messages(13);
    let (code, answer) = collector.request("POST", "/v1/runs/dead-0/stop?wait=true", "");
    assert_eq!(code, 503, "{answer}");
    scene.answer();
    collector.wait_for_messages(23);
    wait_for_reason(&collector, "run dead-", false);
    collector.stop_cleanly();
    scene.place.assert_verified();
}

#[test]
fn it_starts_beside_a_mount_that_hangs_and_ends_in_time() {
    let Some(scene) = Scene::or_skip(&["dead"]) else {
        return;
    };
    append(&scene.log(0, "a.jsonl"), response("d0", 1, 0));
    append(&scene.place.log("well", "a.jsonl"), response("w0", 1, 0));
    scene.hang();
    let mut collector = scene.serve("[shutdown]\ngrace = \"1s\"\n");
    collector.wait_for_log("ready: everything is watched");
    collector.wait_for_messages(1);
    wait_for_reason(&collector, "run dead: ", true);
    let began = Instant::now();
    let status = collector.stop();
    assert!(status.success(), "{status:?}");
    assert!(
        began.elapsed() < Duration::from_secs(1) + STOP_SLACK,
        "{:?}",
        began.elapsed()
    );
    scene.answer();
    let mut collector = scene.serve("");
    collector.wait_for_messages(2);
    collector.stop_cleanly();
}

#[test]
fn a_link_into_a_mount_that_hangs_holds_nothing_up() {
    let Some(scene) = Scene::or_skip(&[]) else { return };
    let (source, at) = (scene.place.path("source"), scene.place.path("elsewhere"));
    fs::create_dir_all(source.join("logs")).unwrap();
    fs::create_dir_all(&at).unwrap();
    let Some(mount) = Mount::or_skip(&source, &at) else {
        return;
    };
    fs::create_dir_all(scene.place.runs()).unwrap();
    symlink(at.join("logs"), scene.place.runs().join("link")).unwrap();
    mount.hang();
    let mut collector = scene.serve("[watch]\nscan_interval = \"100ms\"\n");
    collector.wait_for_log("ready: everything is watched");
    append(&scene.place.log("well", "a.jsonl"), response("w0", 1, 0));
    collector.wait_for_messages(1);
    append(&scene.place.log("new", "a.jsonl"), response("n0", 1, 0));
    collector.wait_for_messages(2);
    mount.answer();
    collector.stop_cleanly();
}

#[test]
fn a_runs_directory_that_hangs_is_named_and_read_when_it_answers() {
    let Some(scene) = Scene::or_skip(&[]) else { return };
    let (source, at) = (scene.place.path("source"), scene.place.runs());
    fs::create_dir_all(source.join("one/mount")).unwrap();
    fs::create_dir_all(&at).unwrap();
    append(&source.join("one/mount/a.jsonl"), response("1", 1, 0));
    let Some(mount) = Mount::or_skip(&source, &at) else {
        return;
    };
    mount.hang();
    let mut collector = scene.serve("[watch]\nscan_interval = \"100ms\"\n");
    wait_for_reason(&collector, "the runs directory: ", true);
    let (code, answer) = collector.get("/v1/may-start");
    assert_eq!((code, &answer["decision"]), (200, &"unknown".into()), "{answer}");
    mount.answer();
    collector.wait_for_messages(1);
    wait_for_reason(&collector, "the runs directory: ", false);
    collector.stop_cleanly();
}

/// A collector whose configuration lies in a mount that hangs, at the moment of a reload.
fn reloading_from_a_dead_mount(scene: &Scene) -> Option<(Collector, Mount)> {
    let (source, at) = (scene.place.path("source"), scene.place.path("etc"));
    fs::create_dir_all(&source).unwrap();
    fs::create_dir_all(&at).unwrap();
    fs::write(source.join("tokentail.toml"), "[shutdown]\ngrace = \"1s\"\n").unwrap();
    let mount = Mount::or_skip(&source, &at)?;
    append(&scene.place.log("well", "a.jsonl"), response("w0", 1, 0));
    let mut command = scene.place.command(&["serve"]);
    command.arg("--config").arg(at.join("tokentail.toml"));
    let mut collector = Collector::spawn(command, scene.place.socket());
    collector.wait_for_socket();
    collector.wait_for_messages(1);
    mount.hang();
    collector.signal("HUP");
    Some((collector, mount))
}

#[test]
fn a_configuration_that_hangs_is_refused_and_read_when_it_answers() {
    let Some(scene) = Scene::or_skip(&[]) else { return };
    let Some((mut collector, mount)) = reloading_from_a_dead_mount(&scene) else {
        return;
    };
    wait_for_reason(&collector, "was not taken over", true);
    append(&scene.place.log("well", "a.jsonl"), response("w1", 1, 0));
    collector.wait_for_messages(2);
    mount.answer();
    wait_for_reason(&collector, "was not taken over", false);
    collector.stop_cleanly();
}

#[test]
fn it_ends_in_time_while_a_reload_hangs() {
    let Some(scene) = Scene::or_skip(&[]) else { return };
    let Some((collector, mount)) = reloading_from_a_dead_mount(&scene) else {
        return;
    };
    wait_for_reason(&collector, "was not taken over", true);
    let began = Instant::now();
    let status = collector.stop();
    assert!(status.success(), "{status:?}");
    let took = began.elapsed();
    assert!(took < Duration::from_secs(1) + STOP_SLACK, "{took:?}");
    mount.answer();
}

/// A directory beside the runs, in a mount.
fn mounted_directory(scene: &Scene, name: &str) -> Option<(PathBuf, PathBuf, Mount)> {
    let (source, at) = (
        scene.place.path(&format!("source-{name}")),
        scene.place.path(name),
    );
    fs::create_dir_all(&source).unwrap();
    fs::create_dir_all(&at).unwrap();
    let mount = Mount::or_skip(&source, &at)?;
    Some((source, at, mount))
}

#[test]
fn a_start_that_hangs_names_its_path_and_one_signal_ends_it() {
    let Some(scene) = Scene::or_skip(&[]) else { return };
    let Some((source, at, mount)) = mounted_directory(&scene, "etc") else {
        return;
    };
    let (token, configuration) = (at.join("token"), at.join("tokentail.toml"));
    fs::write(source.join("token"), "0123456789abcdef").unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(source.join("token"), private).unwrap();
    fs::write(source.join("tokentail.toml"), "").unwrap();
    scene.place.configure(&format!(
        "[http]\ntoken_file = {token:?}\n[shutdown]\ngrace = \"1s\"\n"
    ));
    let mut with_token = scene.place.command_with_config(&["serve"]);
    with_token.env("TOKENTAIL__HTTP__LISTEN", "127.0.0.1:0");
    let mut with_configuration = scene.place.command(&["serve"]);
    with_configuration.arg("--config").arg(&configuration);
    mount.hang();
    for (command, path) in [(with_token, &token), (with_configuration, &configuration)] {
        let mut collector = Collector::spawn(command, scene.place.socket());
        collector.wait_for_log(&format!("the start has waited for {} for ", path.display()));
        let began = Instant::now();
        let status = collector.stop();
        let took = began.elapsed();
        assert!(status.success(), "{status:?}");
        assert!(took < Duration::from_secs(1) + STOP_SLACK, "{took:?}");
    }
    mount.answer();
    append(&scene.place.log("well", "a.jsonl"), response("w0", 1, 0));
    let mut collector = scene.serve("");
    collector.wait_for_messages(1);
    collector.stop_cleanly();
}

/// `doctor` and `check-config` end within this time beside any number of dead mounts.
const CHECKED_WITHIN: Duration = Duration::from_secs(15);

/// Output and exit code of a command that must end in time.
fn checked(scene: &Scene, words: &[&str]) -> (Option<i32>, String) {
    let began = Instant::now();
    let output = scene.place.command_with_config(words).output().unwrap();
    let took = began.elapsed();
    assert!(took < CHECKED_WITHIN, "{words:?}: {took:?}");
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

#[test]
fn doctor_and_check_config_name_mounts_that_hang_and_end() {
    let names: Vec<String> = (0..8).map(|number| format!("dead-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let Some(scene) = Scene::or_skip(&names) else {
        return;
    };
    append(&scene.place.log("well", "a.jsonl"), response("w0", 1, 0));
    scene.place.configure("");
    scene.hang();
    let dead = scene.place.runs().join("dead-0");
    let named = format!("{} does not answer", dead.display());
    let (code, said) = checked(&scene, &["doctor"]);
    assert_eq!(code, Some(1), "{said}");
    for words in [
        &*format!("FAIL  runs           {named}"),
        &*format!("umount --lazy {}", dead.display()),
        "5 further paths below ",
        "9 runs, 1 file or more to read",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    // A start waits for no run, so this is a warning.
    let (code, said) = checked(&scene, &["check-config"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(&format!("warning: {named}")), "{said}");
    scene.answer();
    let (_, said) = checked(&scene, &["doctor"]);
    assert!(!said.contains("does not answer"), "{said}");
}

#[test]
fn doctor_and_check_config_name_a_runs_directory_and_a_configuration_that_hang() {
    let Some(scene) = Scene::or_skip(&[]) else { return };
    let Some((source, at, mount)) = mounted_directory(&scene, "etc") else {
        return;
    };
    fs::create_dir(source.join("runs")).unwrap();
    fs::write(source.join("tokentail.toml"), "").unwrap();
    scene.place.configure("");
    mount.hang();
    let (runs, configuration) = (at.join("runs"), at.join("tokentail.toml"));
    let of_runs = ["--runs-dir", runs.to_str().unwrap()];
    let of_file = ["--config", configuration.to_str().unwrap()];
    let stalled = |path: &Path| format!("{} has not answered for 5 s", path.display());
    for (flag, path, code_of_check) in [(of_runs, &runs, 0), (of_file, &configuration, 74)] {
        for (command, expect) in [("doctor", 1), ("check-config", code_of_check)] {
            let mut asked = Command::new(PROGRAM);
            asked.env_clear().env("HOME", scene.place.directory.path());
            asked.arg("--socket").arg(scene.place.socket());
            asked.arg("--db").arg(scene.place.db()).args(flag).arg(command);
            let began = Instant::now();
            let output = asked.output().unwrap();
            assert!(
                began.elapsed() < CHECKED_WITHIN,
                "{command}: {:?}",
                began.elapsed()
            );
            let said = text(&output.stdout) + &text(&output.stderr);
            assert_eq!(output.status.code(), Some(expect), "{command}: {said}");
            assert!(said.contains(&stalled(path)), "{command}: {said}");
        }
    }
    mount.answer();
}

fn threads(collector: &Collector) -> usize {
    fs::read_dir(format!("/proc/{}/task", collector.pid()))
        .unwrap()
        .count()
}

#[test]
fn starts_of_runs_in_a_dead_mount_take_few_threads_and_go_on_when_it_answers() {
    let Some(scene) = Scene::or_skip(&[]) else { return };
    let (source, root) = (scene.place.path("source"), scene.place.path("work"));
    fs::create_dir_all(source.join("logs")).unwrap();
    for name in ["dead", "well"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    let Some(mount) = Mount::or_skip(&source, &root.join("dead")) else {
        return;
    };
    append(&scene.place.log("one", "a.jsonl"), response("w0", 1, 0));
    let mut collector = scene.serve(&format!("[runs]\nmount_roots = [{root:?}]\n"));
    collector.wait_for_messages(1);
    mount.hang();
    let body = |mount: PathBuf| serde_json::json!({ "mount": mount }).to_string();
    let put = |run: &str, mount| collector.request("PUT", &format!("/v1/runs/{run}"), &body(mount));
    // All of them wait at the same time.
    let starts: Vec<UnixStream> = (0..100)
        .map(|number| {
            let mut stream = UnixStream::connect(scene.place.socket()).unwrap();
            let body = body(root.join(format!("dead/logs-{number}")));
            write!(
                stream,
                "PUT /v1/runs/dead-{number} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .unwrap();
            stream
        })
        .collect();
    for mut start in starts {
        let mut answer = String::new();
        start.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    }
    let threads = threads(&collector);
    assert!(threads < THREADS_FEW, "{threads} threads");
    assert_eq!(put("well", root.join("well")).0, 201);
    mount.answer();
    assert_eq!(put("dead-0", root.join("dead/logs")).0, 201);
    append(&source.join("logs/a.jsonl"), response("d0", 1, 0));
    append(&scene.place.log("one", "a.jsonl"), response("w1", 1, 0));
    collector.wait_for_messages(3);
    collector.stop_cleanly();
}

#[test]
fn more_dead_mounts_than_threads_hold_up_no_run_that_answers() {
    // The name is the first, so it has answered before the others hang.
    let Some(scene) = Scene::or_skip(&["a-foreign"]) else {
        return;
    };
    append(&scene.log(0, "a.jsonl"), response("f0", 1, 0));
    append(&scene.place.log("well", "a.jsonl"), response("w0", 1, 0));
    let mut mounts = Vec::new();
    for number in 0..DEAD_MANY {
        let at = scene.place.path(&format!("runs/dead-{number}"));
        fs::create_dir_all(&at).unwrap();
        let Some(mount) = DeadMount::or_skip(&at) else {
            return;
        };
        mounts.push(mount);
    }
    let mut collector = scene.serve("[watch]\nscan_interval = \"100ms\"\n");
    collector.wait_for_messages(2);
    wait_for_reason(&collector, "waits for a thread", true);
    for number in 0..DEAD_MANY {
        wait_for_reason(&collector, &format!("run dead-{number}: "), true);
    }
    append(&scene.log(0, "a.jsonl"), response("f1", 1, 0));
    append(&scene.place.log("well", "a.jsonl"), response("w1", 1, 0));
    append(&scene.place.log("new", "a.jsonl"), response("n0", 1, 0));
    collector.wait_for_messages(5);
    let reasons = reasons(&collector);
    assert!(!reasons.contains("the runs directory"), "{reasons}");
    assert!(!reasons.contains("run a-foreign") && !reasons.contains("run well"));
    drop(mounts);
    collector.stop_cleanly();
}

#[test]
fn runs_in_a_slow_mount_are_read_several_at_once() {
    let Some(scene) = Scene::or_skip(&[]) else { return };
    let (source, at) = (scene.place.path("source"), scene.place.runs());
    let runs = 16;
    let log = |number: u64| source.join(format!("run-{number}/mount/a.jsonl"));
    for number in 0..runs {
        fs::create_dir_all(log(number).parent().unwrap()).unwrap();
        append(&log(number), response(&format!("a{number}"), 1, 0));
    }
    fs::create_dir_all(&at).unwrap();
    fs::write(source.join(SLOW), "").unwrap();
    let Some(_mount) = Mount::or_skip(&source, &at) else {
        return;
    };
    let mut collector = scene.serve("[watch]\nscan_interval = \"500ms\"\n");
    collector.wait_for_messages(runs);
    for number in 0..runs {
        append(&log(number), response(&format!("b{number}"), 1, 0));
    }
    collector.wait_for_messages(2 * runs);
    collector.stop_cleanly();
}

#[test]
fn files_that_are_numbered_anew_are_not_read_again() {
    let Some(scene) = Scene::or_skip(&["one"]) else {
        return;
    };
    let logs = [scene.log(0, "a.jsonl"), scene.log(0, "b.jsonl")];
    for (number, log) in logs.iter().enumerate() {
        for line in 0..20 {
            append(log, response(&format!("{number}-{line}"), 1, line));
        }
    }
    let mut collector = scene.serve("[watch]\nscan_interval = \"100ms\"\n");
    collector.wait_for_messages(40);
    for round in 1..4u32 {
        append(&scene.sources[0].join(NUMBERING), "x");
        for (number, log) in logs.iter().enumerate() {
            append(log, response(&format!("{number}-{round}-more"), 1, 20 + round));
        }
        let summary = collector.wait_for_messages(40 + 2 * u64::from(round));
        let (read, duplicate) = (&summary["lines"]["read"], &summary["lines"]["duplicate"]);
        assert_eq!((read, duplicate), (&(40 + 2 * round).into(), &0.into()));
    }
    collector.stop_cleanly();
    scene.place.assert_verified();
}
