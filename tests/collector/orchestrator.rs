//! `examples/orchestrator.sh`: it is killed with everything around its commands, and so is the collector; each job runs
//! once, and the places come back.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{Collector, PROGRAM, Place, append, response};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/orchestrator.sh");
/// The jobs, with the codes of their commands.
const JOBS: [(&str, i32); 4] = [("a", 0), ("b", 7), ("c", 0), ("d", 0)];
const SETTINGS: &str = "[[account]]\nname = \"max-1\"\non_unknown = \"allow\"\nconcurrency = 2\n";

fn fifo(place: &Place, name: &str) {
    let made = Command::new("mkfifo").arg(place.path(name)).status().unwrap();
    assert!(made.success());
}

/// The orchestrator in a process group of its own.
fn orchestrate(place: &Place) -> Child {
    let program = Path::new(PROGRAM).parent().unwrap().display();
    Command::new("bash")
        .args([SCRIPT, place.socket().to_str().unwrap(), "jobs"])
        .env_clear()
        .env("HOME", place.directory.path())
        .env("PATH", format!("{program}:/usr/bin:/bin"))
        .current_dir(place.directory.path())
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap()
}

/// `kill -9` of the orchestrator, its workers and each `tokentail run`; the commands have sessions of their own.
fn kill_group(mut orchestrator: Child) {
    let group = format!("-{}", orchestrator.id());
    let killed = Command::new("kill").args(["-9", "--", &group]).status().unwrap();
    assert!(killed.success());
    orchestrator.wait().unwrap();
}

fn serve(place: &Place) -> Collector {
    place.start(place.command_with_config(&["serve"]))
}

/// The job that begins next.
#[expect(clippy::disallowed_methods, reason = "a name and a line end")]
fn begun(from: &mut BufReader<File>) -> String {
    let mut line = String::new();
    from.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

#[test]
fn an_orchestrator_and_the_collector_are_killed_and_each_job_runs_once() {
    let place = Place::new();
    place.configure(SETTINGS);
    fs::create_dir(place.path("jobs")).unwrap();
    fifo(&place, "begun");
    for ((job, code), number) in JOBS.into_iter().zip(1..) {
        append(&place.path(&format!("{job}.src")), response(job, number, 1));
        fifo(&place, &format!("go-{job}"));
        let script = format!(
            "#!/bin/sh\nmkdir -p runs/{job}/mount\necho '{{}}' >runs/{job}/mount/a.jsonl\necho {job} >begun\n\
             read line <go-{job}\ncat {job}.src >>runs/{job}/mount/a.jsonl\nexit {code}\n"
        );
        let file = place.path("jobs").join(job);
        fs::write(&file, script).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o755)).unwrap();
    }
    let go = |job: &str| fs::write(place.path(&format!("go-{job}")), "go\n").unwrap();
    // Also for writing, so that it has no end.
    let names = OpenOptions::new()
        .read(true)
        .write(true)
        .open(place.path("begun"));
    let mut names = BufReader::new(names.unwrap());

    let collector = serve(&place);
    let first = orchestrate(&place);
    let mut began = vec![begun(&mut names), begun(&mut names)];
    kill_group(first);
    collector.kill();
    // The commands still run, so they still have the places.
    let collector = serve(&place);
    let (_, leases) = collector.get("/v1/leases");
    let held: BTreeSet<&str> = (leases.as_array().unwrap().iter())
        .map(|lease| lease["run"].as_str().unwrap())
        .collect();
    assert_eq!(held, began.iter().map(String::as_str).collect(), "{leases}");
    let second = orchestrate(&place);
    go(&began[0]);
    began.push(begun(&mut names));
    // The collector alone, while two commands run; one of them ends meanwhile.
    collector.kill();
    go(&began[2]);
    let collector = serve(&place);
    began.push(begun(&mut names));
    go(&began[1]);
    go(&began[3]);
    let mut second = second;
    assert_eq!(second.wait().unwrap().code(), Some(0));

    began.sort_unstable();
    assert_eq!(began, ["a", "b", "c", "d"]);
    for ((job, code), tokens) in JOBS.into_iter().zip(1u64..) {
        let read = |kind: &str| fs::read_to_string(place.path(&format!("jobs/{job}.{kind}"))).unwrap();
        assert_eq!(read("code"), format!("{code}\n"), "{job}");
        let totals: Value = serde_json::from_str(&read("totals")).unwrap();
        assert_eq!(
            (&totals["state"], &totals["output_tokens"]),
            (&"stopped".into(), &tokens.into()),
            "{job}"
        );
        assert_eq!(totals["account"], "max-1");
    }
    assert_eq!(collector.get("/v1/leases").1, json!([]));
    assert_eq!(collector.get("/v1/capacity").1[0]["free"], 2);
    collector.stop_cleanly();
    place.assert_verified();
}
