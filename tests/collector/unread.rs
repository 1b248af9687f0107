//! Unread files in place of transcripts: named once by the collector and by a replay, with a remedy; and runs
//! directories of another layout.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use serde_json::Value;

use crate::harness::{Collector, Place, append, output_by_run, response, text};
use crate::scenario::{EVENTS_ONLY, ended, figures};

/// One line of a file of each recognised agent.
const OTHERS: [(&str, &str, &str); 5] = [
    (
        "Codex event stream",
        "codex.jsonl",
        r#"{"type":"turn.completed","usage":{"input_tokens":9,"output_tokens":9}}"#,
    ),
    (
        "Qwen Code record of sums",
        ".qwen/usage_record.jsonl",
        r#"{"version":1,"sessionId":"q1","startTime":1791190800000,"models":{"m":{"inputTokens":9}}}"#,
    ),
    (
        "Copilot CLI event log",
        ".copilot/session-state/s1/events.jsonl",
        r#"{"type":"assistant.message","id":"c1","data":{"outputTokens":44}}"#,
    ),
    (
        "Kimi wire log",
        ".kimi/sessions/h/s/wire.jsonl",
        r#"{"timestamp":1791190801.5,"message":{"type":"StatusUpdate","payload":{"token_usage":{"output":5}}}}"#,
    ),
    (
        "Grok or ACP update log",
        ".grok/sessions/g/updates.jsonl",
        r#"{"sessionUpdate":"turn_completed","usage":{"inputTokens":70,"outputTokens":8}}"#,
    ),
];

fn notices(collector: &Collector) -> Vec<String> {
    let health = collector.health();
    let notices = health["notices"].as_array().unwrap().iter();
    notices
        .map(|notice| notice.as_str().unwrap().to_owned())
        .collect()
}

/// The warnings of a replay, which must succeed.
fn warnings(place: &Place, path: &Path) -> (Value, String) {
    let output = place.run(&["replay", path.to_str().unwrap(), "--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    (
        serde_json::from_slice(&output.stdout).unwrap(),
        text(&output.stderr),
    )
}

/// Number of log lines with these words.
fn logged(collector: &Collector, words: &str) -> usize {
    collector.seen.iter().filter(|line| line.contains(words)).count()
}

#[test]
fn a_mount_a_project_and_a_run_that_are_links_are_named_and_not_followed() {
    let place = Place::new();
    append(&place.log("run-1", "-w/a.jsonl"), response("1", 1, 0));
    let host = place.path("host/mount");
    fs::create_dir_all(&host).unwrap();
    append(&host.join("x.jsonl"), response("outside", 100, 0));
    fs::create_dir(place.runs().join("run-2")).unwrap();
    symlink(&host, place.mount("run-2")).unwrap();
    append(&place.log("run-3", "-x/c.jsonl"), response("3", 2, 0));
    symlink("../../../host/mount", place.mount("run-3").join("-work")).unwrap();
    symlink(place.path("host"), place.runs().join("run-4")).unwrap();
    symlink("/nowhere/projects", place.mount("run-3").join("-container")).unwrap();

    let mut collector = place.serve_with(EVENTS_ONLY);
    for place in [
        "run-2/mount",
        "run-3/mount/-work",
        "runs/run-4",
        "run-3/mount/-container",
    ] {
        collector.wait_for_log(&format!("{place}\\\" -> "));
    }
    collector.wait_for_messages(2);
    let health = collector.health();
    assert_eq!(
        (&health["status"], &health["reasons"]),
        (&"ok".into(), &Value::Array(vec![]))
    );
    assert_eq!(notices(&collector).len(), 4, "{:?}", notices(&collector));
    let (_, run) = collector.get("/v1/runs/run-2");
    assert!(
        run["notices"][0].as_str().unwrap().contains("run-2/mount"),
        "{run}"
    );
    let status = text(&place.run(&["status"]).stdout);
    assert!(
        status.contains("note: run run-2: 1 symbolic link to a directory"),
        "{status}"
    );
    // Corrected problems are no longer reported.
    fs::remove_file(place.mount("run-2")).unwrap();
    append(&place.log("run-2", "a.jsonl"), response("2", 4, 0));
    collector.wait_for_messages(3);
    collector.settle(&place, "run-2");
    assert!(
        !notices(&collector)
            .iter()
            .any(|notice| notice.contains("run-2/mount\""))
    );
    collector.stop_cleanly();
    place.assert_verified();

    let (summary, warned) = warnings(&place, &place.runs());
    assert_eq!(figures(&summary).1, 7);
    for place in ["run-3/mount/-work", "run-3/mount/-container", "runs/run-4"] {
        assert!(warned.contains(place), "{place}: {warned}");
    }
}

#[test]
fn links_that_lead_to_what_is_read_or_to_no_transcript_are_not_worth_a_word() {
    let place = Place::new();
    append(&place.log("one", "-w/a.jsonl"), response("1", 1, 0));
    let mount = place.mount("one");
    fs::create_dir_all(mount.join("-w/node_modules/.pnpm/left/node_modules/left")).unwrap();
    symlink(".pnpm/left/node_modules/left", mount.join("-w/node_modules/left")).unwrap();
    symlink("/usr/bin", mount.join("-w/node_modules/.bin")).unwrap();
    symlink("-w", mount.join("latest")).unwrap();
    symlink("-w/a.jsonl", mount.join("latest.jsonl")).unwrap();
    symlink("/etc/hostname", mount.join("-w/notes.txt")).unwrap();
    symlink("user@host.1234", mount.join("-w/.#lock")).unwrap();
    fs::write(mount.join("settings.json"), "{}").unwrap();
    fs::write(mount.join("-w/node_modules/data.jsonl.gz"), "").unwrap();
    fs::write(mount.join("code.tar.gz"), "").unwrap();
    fs::write(mount.join("empty.jsonl"), "").unwrap();
    append(
        &mount.join("history.jsonl"),
        "{\"display\":\"hi\",\"project\":\"/w\"}\n",
    );
    fs::write(
        place.runs().join("one/events.jsonl"),
        "{\"of\":\"the orchestrator\"}\n",
    )
    .unwrap();
    fs::create_dir(place.runs().join("not-begun")).unwrap();
    let mut collector = place.serve_with(EVENTS_ONLY);
    collector.wait_for_messages(1);
    collector.settle(&place, "one");
    // The file with the sentinel line of the test is no transcript.
    fs::remove_file(mount.join("sentinel.jsonl")).unwrap();
    append(&place.log("one", "-w/a.jsonl"), response("2", 1, 0));
    collector.wait_for_messages(2);
    append(&place.log("one", "-w/a.jsonl"), response("3", 1, 0));
    collector.wait_for_messages(3);
    assert_eq!(notices(&collector), Vec::<String>::new());
    collector.stop_cleanly();
    assert_eq!(warnings(&place, &place.runs()).1, "");
}

#[test]
fn what_is_no_regular_file_is_named_once_for_each_kind() {
    let place = Place::new();
    append(&place.log("one", "a.jsonl"), response("1", 1, 0));
    let mount = place.mount("one");
    let _sockets = ["s.jsonl", "t.jsonl"].map(|name| UnixListener::bind(mount.join(name)).unwrap());
    rustix::fs::mknodat(
        rustix::fs::CWD,
        mount.join("f.jsonl"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let mut collector = place.serve_with(EVENTS_ONLY);
    collector.wait_for_log("2 sockets with names of transcripts are not read");
    collector.wait_for_log("1 FIFO with the name of a transcript");
    collector.settle(&place, "one");
    assert_eq!(logged(&collector, "sockets with names"), 1);
    collector.stop_cleanly();
    let warned = warnings(&place, &place.runs()).1;
    assert!(
        warned.contains("s.jsonl") && warned.contains("f.jsonl"),
        "{warned}"
    );
}

#[test]
fn archives_are_named_and_a_tree_of_archives_alone_is_no_success() {
    let place = Place::new();
    for name in ["a.jsonl.gz", "b.jsonl.zst", "c.jsonl.1.xz", "d.jsonl.tar.bz2"] {
        fs::write(place.log("one", &format!("-w/{name}")), "packed").unwrap();
    }
    fs::write(place.log("two", "all.tar.gz"), "packed").unwrap();
    for path in [place.runs(), place.mount("one"), place.mount("one").join("-w")] {
        let (code, out, err) = ended(&place.run(&["replay", path.to_str().unwrap()]));
        assert_eq!((code, out.as_str()), (Some(66), ""), "{err}");
        assert!(err.contains("4 compressed transcripts are not read"), "{err}");
    }
    let mut collector = place.serve_with(EVENTS_ONLY);
    collector.wait_for_log("4 compressed transcripts are not read");
    collector.wait_for_log("1 archive is not read, and no transcript lies beside it");
    append(&place.log("one", "-w/e.jsonl"), response("1", 1, 0));
    append(&place.log("two", "e.jsonl"), response("2", 1, 0));
    collector.wait_for_messages(2);
    collector.settle(&place, "two");
    assert_eq!(collector.health()["status"], "ok");
    let notices = notices(&collector);
    assert!(
        notices.iter().any(|notice| notice.contains("4 compressed")),
        "{notices:?}"
    );
    assert!(
        !notices.iter().any(|notice| notice.contains("1 archive")),
        "{notices:?}"
    );
    collector.stop_cleanly();
    let (summary, warned) = warnings(&place, &place.runs());
    assert_eq!(figures(&summary).0, 2);
    assert!(warned.contains("4 compressed"), "{warned}");
}

#[test]
fn files_of_other_agents_are_named_by_agent_and_neither_counted_nor_called_malformed() {
    let place = Place::new();
    append(&place.log("one", "projects/-w/a.jsonl"), response("1", 5, 0));
    for (_, path, line) in OTHERS {
        append(&place.log("one", path), format!("{line}\n[\"no object\"]\n"));
    }
    append(
        &place.log("one", "data/train.jsonl"),
        "{\"text\":\"a\"}\n{\"text\":\"b\"}\n",
    );
    let mut collector = place.serve_with(EVENTS_ONLY);
    for (agent, ..) in OTHERS {
        collector.wait_for_log(&format!("looks like a {agent} and is not counted"));
    }
    collector.wait_for_log("train.jsonl");
    collector.settle(&place, "one");
    let summary = collector.summary();
    assert_eq!(
        (figures(&summary), &summary["lines"]["malformed"]),
        ((1, 5, 1), &0.into())
    );
    append(&place.log("one", "codex-2.jsonl"), OTHERS[0].2);
    collector.settle(&place, "one");
    assert_eq!(
        logged(&collector, "Codex event stream"),
        1,
        "once for each kind and run"
    );
    collector.stop_cleanly();
    // A start that reads everything reports the same.
    let mut collector = place.serve_with(EVENTS_ONLY);
    collector.wait_for_log("look like a Codex event stream");
    collector.settle(&place, "one");
    assert_eq!(notices(&collector).len(), OTHERS.len() + 1);
    assert_eq!(collector.health()["status"], "ok");
    collector.stop_cleanly();
    place.assert_verified();
    let (summary, warned) = warnings(&place, &place.runs());
    assert_eq!(
        (figures(&summary).0, &summary["lines"]["malformed"]),
        (1, &0.into())
    );
    for (agent, ..) in OTHERS {
        assert!(warned.contains(agent), "{agent}: {warned}");
    }
}

#[test]
fn very_many_links_are_one_line_and_many_runs_are_a_few() {
    const LINKS: usize = 20_000;
    const RUNS: usize = 30;
    let place = Place::new();
    let outside = place.path("outside.jsonl");
    append(&outside, response("outside", 100, 0));
    append(&place.log("many", "good.jsonl"), response("1", 1, 0));
    for number in 0..LINKS {
        symlink(&outside, place.mount("many").join(format!("{number:06}.jsonl"))).unwrap();
    }
    for number in 0..RUNS {
        let run = format!("r{number:02}");
        fs::create_dir(place.runs().join(&run)).unwrap();
        symlink(place.path(""), place.mount(&run)).unwrap();
    }
    let mut collector = place.serve_with(EVENTS_ONLY);
    collector.wait_for_messages(1);
    collector.wait_for_log(&format!("{LINKS} symbolic links to files are not followed"));
    collector.wait_for_logs("symbolic link to a directory", RUNS);
    assert_eq!(logged(&collector, "symbolic links to files"), 1);
    let notices = notices(&collector);
    assert_eq!(notices.len(), 21);
    assert!(notices[20].starts_with("and 11 more"), "{notices:?}");
    collector.stop_cleanly();
    assert_eq!(
        warnings(&place, &place.runs())
            .1
            .matches("symbolic links to files")
            .count(),
        1
    );
}

#[test]
fn logs_of_a_run_that_lie_where_none_is_read_are_named_beside_other_runs() {
    const NAMED: &str = "*.jsonl file is not read: watch.include does not match it";
    let place = Place::new();
    append(&place.log("one", "a.jsonl"), response("1", 1, 0));
    let elsewhere = [("two", "logs"), ("three", "a/.claude/projects/-w"), ("four", "")];
    for (run, directory) in elsewhere {
        let directory = place.runs().join(run).join(directory);
        fs::create_dir_all(&directory).unwrap();
        append(&directory.join("a.jsonl"), response(run, 100, 0));
    }
    // Its directory for logs exists, so it may still begin.
    append(&place.log("five", "none"), "");
    append(&place.runs().join("five/events.jsonl"), "{}\n");

    let mut collector = place.serve_with(EVENTS_ONLY);
    collector.wait_for_messages(1);
    for (run, directory) in elsewhere {
        let path = place.runs().join(run).join(directory).join("a.jsonl");
        collector.wait_for_log(&format!("1 {NAMED} (\\\"{}\\\")", path.display()));
    }
    assert_eq!(notices(&collector).len(), 3, "{:?}", notices(&collector));
    assert_eq!(collector.health()["status"], "ok");
    let status = text(&place.run(&["status"]).stdout);
    assert!(status.contains(&format!("note: run two: 1 {NAMED}")), "{status}");
    // Once it has logs, other directories are the orchestrator's business.
    append(&place.log("two", "a.jsonl"), response("2", 2, 0));
    collector.wait_for_messages(2);
    collector.settle(&place, "two");
    let mut named = notices(&collector);
    named.retain(|notice| notice.contains(NAMED));
    assert_eq!(named.len(), 2, "{named:?}");
    collector.stop_cleanly();

    let (summary, warned) = warnings(&place, &place.runs());
    assert_eq!(figures(&summary).0, 2);
    for (run, number) in [("one", 0), ("two", 0), ("three", 1), ("four", 1), ("five", 1)] {
        let named = warned.matches(&format!("run {run}: 1 {NAMED}")).count();
        assert_eq!(named, number, "{run}: {warned}");
    }
}

#[test]
fn a_replay_of_nothing_says_what_was_looked_for_and_what_to_name() {
    let place = Place::new();
    let nothing = place.runs();
    for (arguments, pattern) in [
        (vec![], "**/*.jsonl"),
        (vec!["--layout", "runs"], "*/mount/**/*.jsonl"),
        (vec!["--layout", "projects"], "*/**/*.jsonl"),
    ] {
        let words = [vec!["replay", nothing.to_str().unwrap()], arguments].concat();
        let (code, out, err) = ended(&place.run(&words));
        assert_eq!((code, out.as_str()), (Some(66), ""), "{words:?}: {err}");
        let looked_for = format!("below {}: no file there matches {pattern} or ", nothing.display());
        assert!(
            err.contains(&looked_for) && err.contains("name a directory of runs"),
            "{err}"
        );
    }
    fs::create_dir_all(place.mount("not-begun")).unwrap();
    assert_eq!(
        ended(&place.run(&["replay", nothing.to_str().unwrap()])).0,
        Some(0)
    );
}

/// An agent's own directory: `.claude/projects` with two projects.
fn agents_directory(place: &Place) -> std::path::PathBuf {
    let agent = place.path(".claude");
    for (project, output) in [("-home-me-app", 1), ("-home-me-two words", 2)] {
        let directory = agent.join("projects").join(project);
        fs::create_dir_all(directory.join("s/subagents")).unwrap();
        append(&directory.join("s.jsonl"), response(project, output, 0));
        append(
            &directory.join("s/subagents/agent-1.jsonl"),
            response(&format!("{project}-sub"), output * 10, 0),
        );
    }
    append(&agent.join("history.jsonl"), "{\"display\":\"hi\"}\n");
    fs::write(agent.join("settings.json"), "{}").unwrap();
    agent
}

#[test]
fn a_replay_of_projects_has_a_run_for_each_without_a_setting() {
    let place = Place::new();
    let agent = agents_directory(&place);
    for path in [agent.clone(), agent.join("projects")] {
        let (summary, warned) = warnings(&place, &path);
        let runs = output_by_run(&summary);
        assert_eq!((runs.len(), runs["-home-me-app"]), (2, 11), "{runs:?}");
        let (other, output) = runs.iter().find(|(run, _)| *run != "-home-me-app").unwrap();
        assert!(
            other.starts_with("-home-me-two_words.x") && *output == 22,
            "{runs:?}"
        );
        assert_eq!(warned, "");
    }
    let (summary, _) = warnings(&place, &agent.join("projects/-home-me-app"));
    assert_eq!(output_by_run(&summary), [("-home-me-app".to_owned(), 11)].into());
}

#[test]
fn what_is_read_as_another_layout_is_not_called_unread() {
    let place = Place::new();
    let agent = agents_directory(&place);
    fs::remove_dir(place.runs()).unwrap();
    symlink(&agent, place.runs()).unwrap();
    for (settings, messages) in [
        (
            "[runs]\nlayout = \"projects\"\n[watch]\nscan_interval = \"1h\"\n",
            4,
        ),
        ("[watch]\nscan_interval = \"1h\"\ninclude = [\"**/*.jsonl\"]\n", 4),
        (EVENTS_ONLY, 0),
    ] {
        let _ = fs::remove_dir_all(place.path("state"));
        let mut collector = place.serve_with(settings);
        collector.wait_for_log("looks like an agent's own directory");
        let summary = collector.wait_for_messages(messages);
        let notices = notices(&collector).concat();
        assert_eq!(
            notices.contains("its projects are counted together as one run"),
            messages > 0,
            "{notices}"
        );
        assert_eq!(
            notices.contains("its projects are not read"),
            messages == 0,
            "{notices}"
        );
        let runs = output_by_run(&summary);
        assert_eq!(runs["projects"], if messages > 0 { 33 } else { 0 });
        collector.stop_cleanly();
    }
}

#[test]
fn a_collector_reads_projects_if_it_is_set_to_and_else_says_what_to_set() {
    let place = Place::new();
    let projects = agents_directory(&place).join("projects");
    fs::remove_dir(place.runs()).unwrap();
    symlink(&projects, place.runs()).unwrap();
    let mut collector = place.serve();
    collector.wait_for_log("runs.layout = \\\"projects\\\"");
    let status = text(&place.run(&["status"]).stdout);
    assert!(status.contains("set runs.layout = \"projects\""), "{status}");
    assert_eq!(figures(&collector.summary()).0, 0);
    collector.stop_cleanly();
    let checked = text(&place.run(&["check-config"]).stdout);
    assert!(checked.contains("set runs.layout = \"projects\""), "{checked}");
    let checked = text(&place.run(&["check-config", "--layout", "projects"]).stdout);
    assert!(!checked.contains("warning"), "{checked}");

    let settings = "[runs]\nlayout = \"projects\"\n[watch]\nscan_interval = \"1h\"\n";
    let mut collector = place.serve_with(settings);
    let summary = collector.wait_for_messages(4);
    let runs = output_by_run(&summary);
    let other = runs
        .keys()
        .find(|run| run.starts_with("-home-me-two_words.x"))
        .unwrap()
        .clone();
    assert_eq!((runs["-home-me-app"], runs[&other]), (11, 22));
    // Events find their run, whatever its name is, and a new project too.
    append(
        &projects.join("-home-me-two words/s.jsonl"),
        response("more", 100, 1),
    );
    collector.wait_for_messages(5);
    fs::create_dir(projects.join("-new one")).unwrap();
    append(&projects.join("-new one/s.jsonl"), response("new", 1000, 1));
    let summary = collector.wait_for_messages(6);
    assert_eq!(output_by_run(&summary)[&other], 122);
    assert_eq!(notices(&collector), Vec::<String>::new());
    collector.stop_cleanly();
    let verified = place.command_with_config(&["verify"]).output().unwrap();
    assert!(verified.status.success(), "{}", text(&verified.stdout));
    let mut collector = place.serve_with(settings);
    append(
        &projects.join("-home-me-two words/s.jsonl"),
        response("again", 1, 2),
    );
    collector.wait_for_messages(7);
    collector.stop_cleanly();
}
