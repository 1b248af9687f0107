//! The configuration: selected logs, refusals, and reloads.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::harness::{PROGRAM, Place, append, output_by_run, response, text};
use crate::scenario::{ended, figures};

const TAKEN_OVER: &str = "the configuration is in effect";
const REFUSED: &str = "the configuration is refused, the old one stays in effect";

#[test]
fn include_and_exclude_say_which_logs_are_counted() {
    for live in [true, false] {
        let place = Place::new();
        let settings = "[watch]\nscan_interval = \"1h\"\ninclude = [\"*/mount/**/*.jsonl\", \"*/logs/*.log\"]\nexclude = [\"secret*/**\", \"*/mount/**/tmp/**\", \"*/mount/*.old.jsonl\"]\n";
        let collector = live.then(|| place.serve_with(settings));
        for (number, path) in [
            "one/mount/a.jsonl",
            "one/mount/x/y/b.jsonl",
            "one/logs/c.log",
            "one/logs/no/d.log",
            "one/logs/e.jsonl",
            "one/mount/f.log",
            "one/mount/tmp/g.jsonl",
            "one/mount/x/tmp/y/h.jsonl",
            "one/mount/i.old.jsonl",
            "one/mount/x/j.old.jsonl",
            "one/k.jsonl",
            "secret1/mount/l.jsonl",
            "one/mount/subagents/journal.jsonl",
            "one/mount/m.jsonl.superseded-1",
        ]
        .into_iter()
        .enumerate()
        {
            let path = place.runs().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            append(&path, response(&number.to_string(), 1 << number, 0));
        }
        // Of those: a, b, c and j.
        let mut collector = collector.unwrap_or_else(|| place.serve_with(settings));
        collector.wait_for_messages(4);
        let summary = collector.settle(&place, "one");
        assert_eq!(figures(&summary), (4, 1 + 2 + 4 + 512, 4), "live: {live}");
        assert_eq!(output_by_run(&summary)["secret1"], 0);
        collector.stop_cleanly();
    }
}

#[test]
fn a_wrong_configuration_is_refused_with_its_place() {
    let place = Place::new();
    for (settings, line_and_column, said) in [
        ("[watch]\ncolour = 1\n", ":2:1: ", "unknown key `colour`"),
        ("[limits]\ndepth_max = []\n", ":2:13: ", "`limits.depth_max`"),
        ("runs_dir = 7\n", ":1:12: ", "`runs_dir`"),
        (
            "[watch]\n\ninclude = [\"*/mount/[.jsonl\"]\n",
            ":3:1: ",
            "`*/mount/[.jsonl`",
        ),
        (
            "[watch]\nexclude = [\"/abs/**\"]\n",
            ":2:1: ",
            "can match nothing",
        ),
        ("[watch]\ninclude = []\n", ":2:1: ", "include is empty"),
        (
            "[watch]\nscan_interval = \"2 parsecs\"\n",
            ":2:17: ",
            "`watch.scan_interval`",
        ),
        ("[shutdown]\ngrace = \"99h\"\n", ":2:1: ", "out of bounds"),
        ("[log]\nlevel = \"loud\"\n", ":2:1: ", "\"loud\""),
        ("[watch\n", ":1:7: ", ""),
    ] {
        place.configure(settings);
        let config = place.config();
        for words in [&["serve"][..], &["check-config"], &["status"]] {
            let output = place.command_with_config(words).output().unwrap();
            let (code, stdout, stderr) = ended(&output);
            let place = format!("{}{line_and_column}", config.display());
            assert_eq!(code, Some(78), "{words:?} {settings}: {stdout}{stderr}");
            assert!(
                stderr.contains(&place) && stderr.contains(said),
                "{words:?} {settings}: {stderr}"
            );
            assert_eq!(stdout, "");
        }
    }
    assert!(!place.db().exists() && !place.socket().exists());
    fs::remove_file(place.config()).unwrap();
    let output = place.command_with_config(&["serve"]).output().unwrap();
    let (code, _, stderr) = ended(&output);
    assert_eq!(code, Some(78), "{stderr}");
    assert!(
        stderr.contains("t.toml: cannot read the configuration"),
        "{stderr}"
    );
}

#[test]
fn a_wrong_variable_or_flag_is_refused_by_its_name() {
    let place = Place::new();
    for (name, value) in [
        ("TOKENTAIL__WATCH__COLOUR", "blue"),
        ("TOKENTAIL__COLOUR", "blue"),
        ("TOKENTAIL__WATCH__SCAN_INTERVAL", "soon"),
        ("TOKENTAIL__WATCH__EXCLUDE", "[\"{\"]"),
    ] {
        for words in [&["serve"][..], &["check-config"]] {
            let output = place.command(words).env(name, value).output().unwrap();
            let (code, _, stderr) = ended(&output);
            assert_eq!(code, Some(78), "{name}: {stderr}");
            assert!(stderr.contains(&format!("variable {name}: ")), "{stderr}");
        }
    }
    for words in [
        &["serve", "--colour"][..],
        &["serve", "extra"],
        &["dance"],
        &["replay"],
        &["serve", "--log-level", "loud"],
    ] {
        let (code, stdout, stderr) = ended(&place.run(words));
        assert_eq!((code, stdout.as_str()), (Some(64), ""), "{words:?}: {stderr}");
        assert!(stderr.contains(words[words.len() - 1]), "{words:?}: {stderr}");
    }
    let mut command = place.command(&["may-start", "--provider"]);
    command.arg(OsStr::from_bytes(b"in\xfffo"));
    let (code, _, stderr) = ended(&command.output().unwrap());
    assert_eq!(code, Some(64), "{stderr}");
    assert!(
        stderr.contains("\"--provider in\u{fffd}fo\" is not valid UTF-8"),
        "{stderr}"
    );
    let (code, _, stderr) = ended(&place.run(&["serve", "--colour", "--json"]));
    let document: serde_json::Value = serde_json::from_str(&stderr).unwrap();
    assert_eq!((code, &document["code"]), (Some(64), &64.into()));
}

#[test]
fn a_socket_variable_that_names_none_is_said_once_and_nobody_is_asked() {
    let place = Place::new();
    for value in [&b""[..], b"\xff"] {
        for words in [&["status"][..], &["check-config"], &["stop", "r"]] {
            let mut command = Command::new(PROGRAM);
            command.args(words).env("HOME", place.runs());
            command.env("TOKENTAIL__SOCKET", OsStr::from_bytes(value));
            let (code, stdout, stderr) = ended(&command.output().unwrap());
            assert_eq!((code, stdout.as_str()), (Some(78), ""), "{words:?}: {stderr}");
            let begins = "tokentail: variable TOKENTAIL__SOCKET: `socket`: ";
            assert!(
                stderr.starts_with(begins) && stderr.lines().count() == 1,
                "{stderr}"
            );
        }
    }
}

#[test]
fn check_config_prints_every_value_with_its_origin() {
    let place = Place::new();
    place.configure("[limits]\ndepth_max = 5\n[watch]\nexclude = [\"x/**\"]\n");
    let mut command = place.command_with_config(&["check-config", "--json"]);
    let output = command
        .env("TOKENTAIL__LIMITS__IDLE_CLOSE", "7s")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let settings = &document["settings"];
    let file = place.config().display().to_string();
    for (key, value, origin) in [
        ("limits.depth_max", "5", file.as_str()),
        ("watch.exclude", "[\"x/**\"]", &file),
        ("limits.idle_close", "\"7s\"", "TOKENTAIL__LIMITS__IDLE_CLOSE"),
        ("watch.scan_interval", "\"2s\"", "default"),
        ("runs_dir", &format!("\"{}\"", place.runs().display()), "flag"),
    ] {
        assert_eq!(settings[key]["value"], value, "{key}");
        assert_eq!(settings[key]["origin"], origin, "{key}");
    }
    let output = place.command_with_config(&["check-config"]).output().unwrap();
    let (code, stdout, _) = ended(&output);
    assert_eq!(code, Some(0));
    assert!(stdout.contains(&format!("{file} is in order")), "{stdout}");
    assert!(stdout.contains("limits.depth_max"), "{stdout}");
}

#[test]
fn check_config_lists_accounts_and_points_at_their_mistakes() {
    const ACCOUNTS: &str = "[quota]\nzone = \"Europe/Berlin\"\n\n[[account]]\nname = \"max-1\"\nruns = [\"team-a-*\"]\ncalls_quota = 900\nminimum_left = { 5h = 10 }\nconcurrency = 4\nreserve = { high = 0.10 }\nramp = { step = 2 }\ncost = { 5h = 0.02 }\n";
    let place = Place::new();
    place.configure(&format!(
        "{ACCOUNTS}\n[[account]]\nname = \"max-2\"\nwarn_at_percent = 0\nramp = {{ strat = 2 }}\n"
    ));
    let output = place.command_with_config(&["check-config"]).output().unwrap();
    let (code, stdout, stderr) = ended(&output);
    let file = place.config().display().to_string();
    assert_eq!((code, stdout.as_str()), (Some(78), ""), "{stderr}");
    assert!(
        stderr.contains(&format!(
            "{file}:16:1: `account.warn_at_percent`: 0 is out of bounds: 1 to 100 is allowed"
        )),
        "{stderr}"
    );
    assert!(
        stderr.contains(&format!(
            "{file}:17:10: `account.ramp.strat`: unknown key `strat`"
        )) && stderr.contains("did you mean `start`?"),
        "{stderr}"
    );

    place.configure(ACCOUNTS);
    let output = place.command_with_config(&["check-config"]).output().unwrap();
    let (code, stdout, stderr) = ended(&output);
    assert_eq!(code, Some(0), "{stderr}");
    let words: Vec<Vec<&str>> = stdout
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    for expect in [
        &["quota.zone", "\"Europe/Berlin\"", &file][..],
        &["account", "claude/max-1", &file],
        &["runs", "[\"team-a-*\"]"],
        &["calls_quota", "900"],
        &["minimum_left", "{", "five_hour", "=", "10", "}"],
        &["concurrency", "4"],
        &["reserve", "{", "high", "=", "0.1", "}"],
        &["cost", "{", "five_hour", "=", "0.02", "}"],
    ] {
        assert!(
            words.iter().any(|line| line == expect),
            "{expect:?} is not in {stdout}"
        );
    }
    let output = place
        .command_with_config(&["check-config", "--json"])
        .output()
        .unwrap();
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let settings = &document["settings"];
    assert_eq!(settings["account"]["origin"], file);
    let accounts = settings["account"]["value"].as_array().unwrap();
    assert_eq!(accounts.len(), 1);
    for (key, value) in [
        ("provider", serde_json::json!("claude")),
        ("name", "max-1".into()),
        ("runs", serde_json::json!(["team-a-*"])),
        ("calls_quota", 900.into()),
        ("warn_at_percent", 80.into()),
        ("minimum_left", serde_json::json!({ "five_hour": 10 })),
        ("concurrency", 4.into()),
        ("reserve", serde_json::json!({ "high": 0.1 })),
        (
            "ramp",
            serde_json::json!({ "start": 1, "step": 2, "every": "30s" }),
        ),
        ("cost", serde_json::json!({ "five_hour": 0.02 })),
        ("on_unknown", "say".into()),
    ] {
        assert_eq!(accounts[0][key], value, "{key}");
    }
}

#[test]
fn a_hangup_takes_over_the_globs() {
    const MORE: &str =
        "[watch]\nscan_interval = \"1h\"\ninclude = [\"*/mount/**/*.jsonl\", \"*/mount/*.log\"]\n";
    let place = Place::new();
    append(&place.log("one", "tmp/a.jsonl"), response("1", 1, 0));
    append(&place.log("one", "b.log"), response("2", 2, 0));
    let mut collector = place.serve_with("[watch]\nscan_interval = \"1h\"\n");
    collector.wait_for_messages(1);

    place.configure(MORE);
    collector.signal("HUP");
    collector.wait_for_logs(TAKEN_OVER, 1);
    let summary = collector.wait_for_messages(2);
    assert_eq!(figures(&summary), (2, 3, 2));

    place.configure(&format!("{MORE}exclude = [\"*/mount/tmp/**\"]\n"));
    collector.signal("HUP");
    collector.wait_for_logs(TAKEN_OVER, 2);
    // A log that is excluded is read to its end once more before it is left.
    collector.settle(&place, "one");
    append(&place.log("one", "tmp/a.jsonl"), response("3", 4, 1));
    append(&place.log("one", "tmp/new.jsonl"), response("4", 8, 1));
    append(&place.log("one", "b.log"), response("5", 16, 1));
    collector.wait_for_messages(3);
    let summary = collector.settle(&place, "one");
    assert_eq!(figures(&summary), (3, 19, 3));

    // Lines written while it was excluded are not lost.
    place.configure(MORE);
    collector.signal("HUP");
    collector.wait_for_logs(TAKEN_OVER, 3);
    let summary = collector.wait_for_messages(5);
    assert_eq!(figures(&summary), (5, 31, 5));
    collector.stop_cleanly();
    let output = place.command_with_config(&["verify"]).output().unwrap();
    assert_eq!(ended(&output).0, Some(0), "{}", text(&output.stdout));
}

#[test]
fn a_hangup_with_a_broken_file_keeps_the_old_configuration_and_says_so() {
    let place = Place::new();
    let settings = "[watch]\nscan_interval = \"1h\"\nexclude = [\"*/mount/tmp/**\"]\n";
    let mut collector = place.serve_with(settings);
    for (times, broken) in ["[watch]\nexclude = [\"{\"]\n", "[watch", "", "gone"]
        .into_iter()
        .enumerate()
    {
        match broken {
            "" => fs::write(place.config(), [0xff, 0xfe]).unwrap(),
            "gone" => fs::remove_file(place.config()).unwrap(),
            broken => place.configure(broken),
        }
        collector.signal("HUP");
        collector.wait_for_logs(REFUSED, times + 1);
        append(
            &place.log("one", "tmp/a.jsonl"),
            response(&format!("no{times}"), 100, 0),
        );
        append(&place.log("one", "a.jsonl"), response(&times.to_string(), 1, 0));
        let so_far = times as u64 + 1;
        collector.wait_for_messages(so_far);
        assert_eq!(
            figures(&collector.settle(&place, "one")),
            (so_far, so_far, so_far)
        );
    }
    let refusals: Vec<_> = collector
        .seen
        .iter()
        .filter(|line| line.contains(REFUSED))
        .collect();
    assert!(refusals[0].contains("t.toml:2:1: "), "{refusals:?}");
    assert_eq!(collector.get("/readyz").0, 200);
    // Until a file is accepted, health reports that; a client need not be able to read the file.
    place.configure("[watch");
    collector.signal("HUP");
    collector.wait_for_logs(REFUSED, refusals.len() + 1);
    let (_, health) = collector.get("/healthz");
    assert_eq!(health["status"], "degraded", "{health}");
    let reasons = health["reasons"].to_string();
    assert!(
        reasons.contains("was not taken over") && reasons.contains("t.toml:1:7"),
        "{health}"
    );
    let output = place.command_with_config(&["status"]).output().unwrap();
    let (code, said, beside) = ended(&output);
    assert_eq!(code, Some(1), "{beside}");
    assert!(said.contains("was not taken over"), "{said}");
    assert!(beside.contains("the configuration is not used"), "{beside}");
    let output = place.command_with_config(&["may-start"]).output().unwrap();
    assert!(
        text(&output.stdout).starts_with("may start: unknown"),
        "{}",
        text(&output.stderr)
    );
    place.configure(settings);
    collector.signal("HUP");
    collector.wait_for_logs(TAKEN_OVER, 1);
    assert_eq!(collector.get("/healthz").1["status"], "ok");
    collector.stop_cleanly();
    let mode = fs::metadata(place.db()).unwrap().permissions().mode();
    assert_eq!(
        mode & 0o777,
        0o600,
        "the database is its owner's, whatever the umask"
    );
}

#[test]
fn a_hangup_says_what_only_a_restart_changes() {
    let place = Place::new();
    let mut collector = place.serve_with("");
    place.configure("[store]\ncache_bytes = \"64MiB\"\n");
    collector.signal("HUP");
    collector.wait_for_log("store.cache_bytes changed; that needs a restart");
    let (_, health) = collector.get("/healthz");
    assert_eq!(health["status"], "degraded", "{health}");
    assert!(
        health["reasons"].to_string().contains("that needs a restart"),
        "{health}"
    );
    append(&place.log("one", "a.jsonl"), response("1", 1, 0));
    collector.wait_for_messages(1);
    collector.stop_cleanly();
}
