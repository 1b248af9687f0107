//! Diagnosis: `doctor`, and the findings of `check-config`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;

use crate::harness::{PROGRAM, Place, append, response, text};
use crate::scenario::ended;

/// The marks of the checks of a name.
fn marks<'a>(report: &'a Value, name: &str) -> Vec<&'a str> {
    let checks = report["checks"].as_array().unwrap();
    let named = checks.iter().filter(|check| check["name"] == name);
    named.map(|check| check["mark"].as_str().unwrap()).collect()
}

fn report(place: &Place, words: &[&str]) -> (Option<i32>, Value) {
    let words = [&["doctor", "--json"], words].concat();
    let output = place.command_with_config(&words).output().unwrap();
    let (code, stdout, stderr) = ended(&output);
    let document = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}"));
    (code, document)
}

/// `doctor` with a socket only, without a home.
fn bare(place: &Place) -> Command {
    let mut command = Command::new(PROGRAM);
    command.env_clear().current_dir("/");
    command.arg("doctor").arg("--socket").arg(place.socket());
    command
}

#[test]
fn without_a_collector_it_says_what_is_missing_and_makes_nothing() {
    let place = Place::new();
    place.configure("");
    let (code, document) = report(&place, &[]);
    assert_eq!(code, Some(1), "{document}");
    for (name, expect) in [
        ("configuration", &["ok"][..]),
        ("socket", &["fail"]),
        ("version", &[]),
        ("settings", &["ok"]),
        ("runs", &["ok"]),
        ("layout", &["ok", "warn"]),
        ("accounts", &["ok"]),
        ("newest line", &[]),
        ("database", &["ok"]),
        ("health", &[]),
    ] {
        assert_eq!(marks(&document, name), expect, "{name}: {document}");
    }
    assert!(!place.db().exists() && !place.path("state").exists());
    let output = place.command_with_config(&["doctor"]).output().unwrap();
    let (code, stdout, _) = ended(&output);
    assert_eq!(code, Some(1));
    assert!(
        stdout.contains("FAIL  socket") && stdout.contains("-> start one: "),
        "{stdout}"
    );
    let (code, ..) = ended(&place.run(&["doctor", "extra"]));
    assert_eq!(code, Some(64));
    fs::remove_dir(place.runs()).unwrap();
    let (_, document) = report(&place, &[]);
    assert_eq!(marks(&document, "runs"), ["warn"], "{document}");
}

#[test]
fn with_a_collector_it_walks_from_the_configuration_to_the_newest_line() {
    const ACCOUNTS: &str = "[[account]]\nname = \"max-1\"\nruns = [\"one\"]\n";
    let place = Place::new();
    append(&place.log("one", "a.jsonl"), response("1", 1, 0));
    let mut collector = place.serve_with(ACCOUNTS);
    collector.wait_for_messages(1);
    let (code, document) = report(&place, &[]);
    assert_eq!(code, Some(0), "{document}");
    let checks = document["checks"].as_array().unwrap();
    let mut names: Vec<&str> = checks
        .iter()
        .map(|check| check["name"].as_str().unwrap())
        .collect();
    names.dedup();
    assert_eq!(
        names,
        [
            "configuration",
            "socket",
            "version",
            "settings",
            "runs",
            "layout",
            "watches",
            "accounts",
            "newest line",
            "clock",
            "database",
            "health"
        ]
    );
    // Nothing was observed of the account's windows yet.
    assert_eq!(marks(&document, "accounts"), ["ok", "warn"], "{document}");
    assert_eq!(marks(&document, "health"), ["ok"]);
    let layout = checks.iter().find(|check| check["name"] == "layout").unwrap();
    assert!(
        layout["what"].as_str().unwrap().contains("1 run, 1 file to read"),
        "{layout}"
    );

    // The old configuration stays in effect; the new one is invalid.
    place.configure(&format!("{ACCOUNTS}nome = 1\n"));
    let (code, document) = report(&place, &[]);
    assert_eq!(code, Some(1), "{document}");
    assert_eq!(marks(&document, "configuration"), ["fail"]);
    assert_eq!(
        (marks(&document, "socket"), marks(&document, "health")),
        (vec!["ok"], vec!["ok"])
    );
    collector.stop_cleanly();
}

/// The user may have another configuration than the collector, or none.
#[test]
fn it_judges_the_paths_of_the_collector_and_not_those_of_who_asks() {
    let place = Place::new();
    append(&place.log("one", "a.jsonl"), response("1", 1, 0));
    let mut collector = place.serve_with("[[account]]\nname = \"max-1\"\n");
    collector.wait_for_messages(1);
    let output = bare(&place).arg("--json").output().unwrap();
    let (code, stdout, stderr) = ended(&output);
    let document: Value = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stderr}"));
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{document}");
    let checks = document["checks"].as_array().unwrap();
    let said = |name: &str| {
        let check = checks.iter().find(|check| check["name"] == name).unwrap();
        check["what"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        said("settings"),
        format!("the collector's, from {}", place.config().display())
    );
    assert!(
        said("runs").contains(place.runs().to_str().unwrap()),
        "{document}"
    );
    assert!(
        said("database").contains(place.db().to_str().unwrap()),
        "{document}"
    );
    assert!(said("accounts").contains("claude/max-1"), "{document}");
    assert!(said("configuration").contains("HOME"), "{document}");
    collector.stop_cleanly();
}

/// Without a place for a database the other checks still run.
#[test]
fn without_an_environment_it_still_walks_through() {
    let place = Place::new();
    let (code, stdout, stderr) = ended(&bare(&place).output().unwrap());
    assert_eq!((code, stderr.as_str()), (Some(1), ""), "{stdout}");
    assert!(
        stdout.starts_with("warn  configuration ") && stdout.contains("\nFAIL  socket "),
        "{stdout}"
    );
}

#[test]
fn what_is_in_the_place_of_the_database_or_the_socket_is_named() {
    let place = Place::new();
    place.configure("");
    fs::create_dir_all(place.db().parent().unwrap()).unwrap();
    for content in ["", "something else entirely"] {
        fs::write(place.db(), content).unwrap();
        let (_, document) = report(&place, &[]);
        assert_eq!(marks(&document, "database"), ["fail"], "{document}");
    }
    fs::remove_file(place.db()).unwrap();
    fs::create_dir(place.db()).unwrap();
    let (_, document) = report(&place, &[]);
    let told = format!("{} is not a regular file", place.db().display());
    assert!(document.to_string().contains(&told), "{document}");
    fs::remove_dir(place.db()).unwrap();
    fs::create_dir_all(place.socket().parent().unwrap()).unwrap();
    fs::write(place.socket(), "").unwrap();
    for words in [&["doctor"][..], &["status"], &["serve"]] {
        let (code, stdout, stderr) = ended(&place.command_with_config(words).output().unwrap());
        assert!(code != Some(0), "{words:?}");
        assert!(
            format!("{stdout}{stderr}").contains(" exists and is not a socket; "),
            "{words:?}: {stdout}{stderr}"
        );
    }
    assert!(!place.db().exists(), "nobody uses it");
}

#[test]
fn a_configuration_that_is_no_file_is_named_with_what_it_is() {
    let place = Place::new();
    let _socket = std::os::unix::net::UnixListener::bind(place.config()).unwrap();
    let (code, _, stderr) = ended(&place.command_with_config(&["check-config"]).output().unwrap());
    assert!(
        code != Some(0) && stderr.contains("it is not a regular file"),
        "{stderr}"
    );
}

/// A key with a line break is no log line; long quotes are cut, and nothing else.
#[test]
fn what_a_mistake_says_is_one_line_and_whole_but_for_what_it_quotes() {
    let place = Place::new();
    let long = "x".repeat(5000);
    place.configure(&format!("\"a\\nb\" = 1\n{long} = 2\nruns_dir = \"/{long}\"\n"));
    let (code, _, stderr) = ended(&place.command_with_config(&["check-config"]).output().unwrap());
    assert_eq!(code, Some(78));
    assert!(stderr.contains(":1:1: `a\u{fffd}b`: unknown key"), "{stderr}");
    assert!(stderr.lines().all(|line| line.len() < 1500), "{stderr}");
    let (_, _, stderr) = ended(
        &(place.command(&["check-config"]))
            .env("TOKENTAIL__HTTP__LISTEN", "0.0.0.0:7717")
            .output()
            .unwrap(),
    );
    assert!(
        stderr.contains("http.allow_plain_http = true if the token"),
        "{stderr}"
    );
    let path = place.path(&long);
    let mut command = Command::new(PROGRAM);
    command
        .env_clear()
        .env("HOME", place.directory.path())
        .arg("--runs-dir")
        .arg(path);
    let (code, _, stderr) = ended(&command.arg("check-config").output().unwrap());
    assert!(
        code == Some(64) && stderr.contains("a path has at most 4095 bytes"),
        "{stderr}"
    );
}

#[test]
fn check_config_shows_every_mistake_with_its_line() {
    let place = Place::new();
    place.configure(
        "[limits]\n\tdepth-max = 3\nline_bytes_max = \"16M\"\n[runs]\nlayout = \"project\"\n[account]\n",
    );
    let file = place.config().display().to_string();
    for words in [&["check-config"][..], &["serve"], &["status"]] {
        let (code, stdout, stderr) = ended(&place.command_with_config(words).output().unwrap());
        assert_eq!((code, stdout.as_str()), (Some(78), ""), "{stderr}");
        for expect in [
            "the configuration has 4 mistakes",
            &format!("{file}:2:2: `limits.depth-max`: unknown key"),
            "2 |     depth-max = 3\n  |     ^^^^^^^^^ did you mean `depth_max`?",
            "3 | line_bytes_max = \"16M\"\n  |                  ^^^^^ did you mean \"16MiB\"?",
            "5 | layout = \"project\"\n  |          ^^^^^^^^^ did you mean `projects`?",
            &format!("{file}:6:1: `account`: write [[account]] with two brackets: there may be several"),
        ] {
            assert!(stderr.contains(expect), "{words:?}: {expect} is not in {stderr}");
        }
    }
    let output = place
        .command_with_config(&["check-config", "--json"])
        .output()
        .unwrap();
    let (code, stdout, stderr) = ended(&output);
    assert_eq!((code, stderr.as_str()), (Some(78), ""));
    let document: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(document["valid"], false);
    assert_eq!(document["settings"], Value::Null);
    let mistakes = document["mistakes"].as_array().unwrap();
    assert_eq!(mistakes.len(), 4, "{document}");
    assert_eq!(
        (&mistakes[0]["line"], &mistakes[0]["column"]),
        (&2.into(), &2.into())
    );
    assert_eq!(mistakes[0]["hint"], "did you mean `depth_max`?");
}

#[test]
fn check_config_does_not_look_at_paths_that_nothing_sets() {
    let place = Place::new();
    let check = |words: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.arg("check-config").args(words);
        command
            .current_dir(place.runs())
            .env_clear()
            .env("HOME", "/proc/1/nowhere");
        ended(&command.output().unwrap())
    };
    let (code, stdout, stderr) = check(&[]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    assert!(!stdout.contains("warning: "), "{stdout}");
    assert!(
        stdout.contains("nothing sets them: runs_dir, db, socket. "),
        "{stdout}"
    );
    let (_, stdout, _) = check(&["--runs-dir", "gone", "--db", "/proc/1/nowhere/db"]);
    for said in [
        "warning: runs_dir: ",
        "warning: db: ",
        "nothing sets them: socket. ",
    ] {
        assert!(stdout.contains(said), "{said}: {stdout}");
    }
}

#[test]
fn check_config_is_quiet_if_asked_to() {
    let place = Place::new();
    place.configure("");
    for words in [
        &["check-config", "--quiet"][..],
        &["check-config", "--quiet", "--json"],
    ] {
        place.configure("");
        let (code, stdout, stderr) = ended(&place.command_with_config(words).output().unwrap());
        assert_eq!(
            (code, stdout.as_str(), stderr.as_str()),
            (Some(0), "", ""),
            "{words:?}"
        );
        place.configure("a = 1\nb = 2\n");
        let (code, stdout, stderr) = ended(&place.command_with_config(words).output().unwrap());
        assert_eq!((code, stdout.as_str()), (Some(78), ""), "{words:?}: {stderr}");
        assert!(stderr.contains("unknown key `b`"), "{words:?}: {stderr}");
    }
}

#[test]
fn check_config_warns_of_what_the_settings_do_not_find() {
    let place = Place::new();
    let warnings = |settings: &str| {
        place.configure(settings);
        let output = place
            .command_with_config(&["check-config", "--json"])
            .output()
            .unwrap();
        let (code, stdout, stderr) = ended(&output);
        let document: Value =
            serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stderr}"));
        let said = document["warnings"].as_array().unwrap().iter();
        let said: Vec<String> = said
            .map(|warning| warning["problem"].as_str().unwrap().to_owned())
            .collect();
        (code, said, document)
    };
    let (code, said, _) = warnings("");
    assert!(
        code == Some(0) && said.len() == 1 && said[0].contains("no run yet"),
        "{said:?}"
    );
    fs::create_dir(place.runs().join("one")).unwrap();
    append(&place.path("runs/one/a.jsonl"), response("1", 1, 0));
    let (code, said, document) = warnings("");
    assert!(
        code == Some(0) && said.len() == 1 && said[0].contains("none has a file that matches"),
        "{said:?}"
    );
    let hint = document["warnings"][0]["hint"].as_str().unwrap();
    assert!(hint.contains("runs.layout = \"projects\""), "{hint}");
    append(&place.log("one", "a.jsonl"), response("1", 1, 0));
    let (code, said, _) = warnings("");
    assert_eq!((code, said.len()), (Some(0), 0), "{said:?}");
    let (code, said, _) = warnings(
        "[watch]\ninclude = [\"*/mount/**/*.jsonl\", \"*/mount/*.jsnol\"]\nexclude = [\"*/mount/secret/**\"]\n\
         [[account]]\nprovider = \"Codex\"\nminimum_left = { five_hours = 3 }\n",
    );
    assert_eq!((code, said.len()), (Some(0), 4), "{said:?}");
    for (line, part) in said.iter().zip([
        "\"Codex\"",
        "\"five_hours\"",
        "`*/mount/*.jsnol`",
        "`*/mount/secret/**`",
    ]) {
        assert!(line.contains(part), "{said:?}");
    }
    fs::remove_dir_all(place.runs()).unwrap();
    let (code, said, _) = warnings("");
    assert!(
        code == Some(0) && said.len() == 1 && said[0].ends_with("runs does not exist"),
        "{said:?}"
    );
    fs::write(place.runs(), "").unwrap();
    let (code, said, _) = warnings("");
    assert!(
        code == Some(0) && said.len() == 1 && said[0].ends_with("is not a directory"),
        "{said:?}"
    );

    let token = place.path("token");
    let settings = format!("[http]\nlisten = \"127.0.0.1:0\"\ntoken_file = {token:?}\n");
    let of = |mode: Option<u32>| {
        if let Some(mode) = mode {
            fs::write(&token, "correct-horse-battery-staple").unwrap();
            fs::set_permissions(&token, fs::Permissions::from_mode(mode)).unwrap();
        }
        place.configure(&settings);
        let mut command = place.command_with_config(&["check-config"]);
        ended(&command.env_remove("TOKENTAIL__HTTP__LISTEN").output().unwrap())
    };
    let (code, stdout, _) = of(None);
    assert!(
        code == Some(0) && stdout.contains("warning: http.token_file: cannot read"),
        "{stdout}"
    );
    let (code, _, stderr) = of(Some(0o644));
    assert!(
        code == Some(78) && stderr.contains("has the mode 0644"),
        "{stderr}"
    );
    let (code, stdout, _) = of(Some(0o600));
    assert!(code == Some(0) && !stdout.contains("token_file: "), "{stdout}");
    assert!(text(&place.run(&["check-config"]).stdout).contains("the defaults are in order"));
}
