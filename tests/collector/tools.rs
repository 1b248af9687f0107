//! Completions, manual pages, and the printed configuration.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::{PROGRAM, Place, append, response, text};

#[test]
fn completions_are_those_of_the_commands_there_are() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = place.run(&["completions", shell]);
        assert!(output.status.success(), "{shell}");
        for command in ["may-start", "completions", "--runs-dir"] {
            let word = command.trim_start_matches("--");
            assert!(text(&output.stdout).contains(word), "{shell}: {command}");
        }
    }
    let script = place.run(&["completions", "bash"]).stdout;
    fs::write(place.path("c.bash"), &script).unwrap();
    if let Ok(checked) = Command::new("bash").arg("-n").arg(place.path("c.bash")).status() {
        assert!(checked.success(), "bash cannot read its completions");
    }
    let output = place.run(&["completions", "tcsh"]);
    assert_eq!(output.status.code(), Some(64));
    // A closed reader: no panic, no message.
    let mut closed = place.command(&["man"]);
    let mut child = closed
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(
        !text(&output.stderr).contains("panic"),
        "{}",
        text(&output.stderr)
    );
}

/// The completions of bash after these words.
fn offered(place: &Place, words: &[&str]) -> Vec<String> {
    let socket = place.socket();
    let line = [&[PROGRAM, "--socket", socket.to_str().unwrap()][..], words].concat();
    let quoted: Vec<String> = line.iter().map(|word| format!("'{word}'")).collect();
    let (at, words) = (line.len() - 1, quoted.join(" "));
    let current = &quoted[at];
    let previous = &quoted[at - 1];
    let script = format!(
        "source c.bash; COMP_WORDS=({words}); COMP_CWORD={at}; _tokentail_asking {PROGRAM} {current} {previous}; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    );
    let mut bash = Command::new("bash");
    let output = bash
        .args(["--norc", "-c", &script])
        .current_dir(place.directory.path())
        .output()
        .unwrap();
    text(&output.stdout)
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

#[test]
fn completions_offer_what_the_collector_has() {
    let place = Place::new();
    for run in ["alpha-1", "alpha-2", "beta"] {
        append(&place.log(run, "a.jsonl"), response(run, 1, 0));
    }
    fs::write(place.path("c.bash"), place.run(&["completions", "bash"]).stdout).unwrap();
    if Command::new("bash").arg("--version").output().is_err() {
        return;
    }
    assert_eq!(offered(&place, &["stop", ""]), [""; 0], "nobody answers");
    let mut collector = place.serve_with("[[account]]\nname = \"max-1\"\n");
    collector.wait_for_messages(3);
    for (words, expect) in [
        (&["stop", ""][..], &["alpha-1", "alpha-2", "beta"][..]),
        (&["stop", "al"], &["alpha-1", "alpha-2"]),
        (&["forget", "--json", "b"], &["beta"]),
        (&["watch", "--run", "beta", "--run", "alpha-2"], &["alpha-2"]),
        (&["watch", "--account", ""], &["claude/max-1"]),
        (&["may-start", "--account", ""], &["max-1"]),
        (&["quota", "mark", ""], &["claude/max-1"]),
        (&["run", "fix", "--mount", "none"], &[]),
    ] {
        assert_eq!(offered(&place, words), expect, "{words:?}");
    }
    assert!(offered(&place, &["stop", "--inc"]).contains(&"--incomplete".to_owned()));
    for (shell, functions) in [
        (
            "zsh",
            &["_tokentail_runs'", "_tokentail_accounts'", "_tokentail_names'"][..],
        ),
        ("fish", &["(__tokentail_words runs)"]),
    ] {
        let script = text(&place.run(&["completions", shell]).stdout);
        for function in functions {
            assert!(script.contains(function), "{shell}: {function}");
        }
    }
    collector.stop_cleanly();
}

#[test]
fn there_is_a_manual_page_for_each_command() {
    let place = Place::new();
    let output = place.run(&["man"]);
    assert!(
        text(&output.stdout).contains(".TH tokentail 1"),
        "{}",
        text(&output.stdout)
    );
    for section in ["EXIT STATUS", "FILES", "ENVIRONMENT", "EXAMPLES", "SEE ALSO"] {
        let heading = format!("\n.SH \"{section}\"\n");
        assert!(text(&output.stdout).contains(&heading), "{section}");
    }
    assert!(place.run(&["man", "--dir", "pages"]).status.success());
    let page = fs::read_to_string(place.path("pages/man1/tokentail-config-show.1")).unwrap();
    assert!(
        page.ends_with("tokentail(1), which has the files and the variables\n"),
        "{page}"
    );
    for page in [
        "tokentail.1",
        "tokentail-run.1",
        "tokentail-may-start.1",
        "tokentail-config-show.1",
    ] {
        assert!(place.path("pages/man1").join(page).exists(), "{page}");
    }
    for (name, page) in [
        ("may-start", "man1/tokentail-may-start.1"),
        ("tokentail-config-show", "man1/tokentail-config-show.1"),
        ("tokentail.toml", "man5/tokentail.toml.5"),
        ("tokentail.service", "man8/tokentail.service.8"),
    ] {
        let output = place.run(&["man", name]);
        let written = fs::read_to_string(place.path("pages").join(page)).unwrap();
        assert_eq!(text(&output.stdout), written, "{name}");
    }
    for (name, hint) in [
        ("may-stat", "did you mean `tokentail-may-start`?"),
        ("tokentail.tml", "did you mean `tokentail.toml`?"),
        ("xyz", "there are: tokentail, tokentail-backup, "),
    ] {
        let output = place.run(&["man", name]);
        assert_eq!(output.status.code(), Some(64), "{name}");
        let said = text(&output.stderr);
        assert!(said.contains(hint), "{said}");
    }
    append(&place.path("file"), "");
    let output = place.run(&["man", "--dir", "file/x"]);
    assert!(!output.status.success());
    assert!(
        text(&output.stderr).contains("file/x"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn the_configuration_is_shown_with_its_origins_as_a_file_and_as_a_schema() {
    let place = Place::new();
    append(&place.path("t.toml"), "[limits]\ndepth_max = 9\n");
    let words = ["config", "show", "--origin", "--config", "t.toml"];
    let shown = text(&place.run(&words).stdout);
    assert!(
        shown.contains("depth_max = 9  # ") && shown.contains("t.toml\n"),
        "{shown}"
    );
    assert!(
        shown.contains("listen = \"off\"  # TOKENTAIL__HTTP__LISTEN\n"),
        "{shown}"
    );
    let document = place.json(&["config", "show", "--config", "t.toml"]);
    assert_eq!(document["limits"]["depth_max"], 9);
    // The output is a usable file, and fits the schema.
    append(&place.path("again.toml"), &shown);
    assert!(
        place
            .run(&["check-config", "--config", "again.toml"])
            .status
            .success()
    );
    let schema: Value = serde_json::from_slice(&place.run(&["config", "schema"]).stdout).unwrap();
    assert!(jsonschema::is_valid(&schema, &document));
    let committed = include_str!("../../docs/tokentail.schema.json");
    assert_eq!(
        text(&place.run(&["config", "schema"]).stdout),
        committed,
        "run: tokentail config schema >docs/tokentail.schema.json"
    );
    let example = place.run(&["config", "example"]).stdout;
    append(&place.path("example.toml"), &example);
    assert!(
        place
            .run(&["check-config", "--config", "example.toml"])
            .status
            .success()
    );
}
