//! What explains the program: completions, manual pages, the configuration.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::{Place, append, text};

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
    // Nobody reads: no panic, no noise.
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

#[test]
fn there_is_a_manual_page_for_each_command() {
    let place = Place::new();
    let output = place.run(&["man"]);
    assert!(
        text(&output.stdout).contains(".TH tokentail 1"),
        "{}",
        text(&output.stdout)
    );
    assert!(place.run(&["man", "--dir", "pages/man1"]).status.success());
    for page in [
        "tokentail.1",
        "tokentail-run.1",
        "tokentail-may-start.1",
        "tokentail-config-show.1",
    ] {
        assert!(place.path("pages/man1").join(page).exists(), "{page}");
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
    // What is shown is a file that can be used, and fits the schema.
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
