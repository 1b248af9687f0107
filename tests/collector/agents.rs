//! The transcripts of all agents in a running collector: the samples of `fixtures/agents`, written in pieces, with a
//! kill and a restart in the middle, have their right answers.
//!
//! `TOKENTAIL_AGENTS_SEED=7` repeats a failure.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use fastrand::Rng;
use serde_json::Value;

use crate::harness::{Collector, Place, append, number_setting, response};

/// The run that has the files of a sample.
const RUN: &str = "sample";
/// Most pieces in which a file is written.
const PIECES_MAX: usize = 8;

fn samples_of(agent: &str) -> (PathBuf, Value) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/agents")
        .join(agent);
    let expected = fs::read(root.join("expected.json")).unwrap();
    (root, serde_json::from_slice(&expected).unwrap())
}

/// The files of a sample by their paths below it; one file alone has its own name.
fn files(sample: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut open = vec![sample.to_owned()];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let below = path.strip_prefix(sample).unwrap();
        let name = if below.as_os_str().is_empty() {
            Path::new(path.file_name().unwrap())
        } else {
            below
        };
        if name.extension().is_some_and(|ending| ending == "jsonl") {
            found.push((name.to_owned(), fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

/// The pieces of some files in an order that keeps that of each file.
fn pieces<'f>(files: &'f [(PathBuf, Vec<u8>)], rng: &mut Rng) -> Vec<(&'f Path, &'f [u8])> {
    let mut left: Vec<(&Path, &[u8])> = (files.iter())
        .map(|(path, content)| (path.as_path(), content.as_slice()))
        .collect();
    let mut pieces = Vec::new();
    while !left.is_empty() {
        let at = rng.usize(..left.len());
        let (path, rest) = left[at];
        let most = rest.len().div_ceil(rng.usize(1..=PIECES_MAX));
        let (piece, rest) = rest.split_at(most);
        pieces.push((path, piece));
        left[at].1 = rest;
        if rest.is_empty() {
            left.swap_remove(at);
        }
    }
    pieces
}

fn write(place: &Place, pieces: &[(&Path, &[u8])]) {
    for (path, piece) in pieces {
        let path = place.runs().join(RUN).join("mount").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        append(&path, piece);
    }
}

fn assert_is(what: &str, document: &Value, expected: &Value) {
    assert_eq!(document["messages"], expected["responses"], "{what}: {document}");
    for (figure, count) in expected["ours"].as_object().unwrap() {
        assert_eq!(
            document["totals"][figure], *count,
            "{what}: {figure} in {document}"
        );
    }
}

#[test]
fn samples_of_all_agents_are_exact_through_a_kill_and_a_restart() {
    let seed = number_setting("TOKENTAIL_AGENTS_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("the seed is {seed}");
    let mut rng = Rng::with_seed(seed);
    let mut tried = 0;
    let agents = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/agents");
    for agent in fs::read_dir(agents).unwrap() {
        let agent = agent.unwrap().file_name().into_string().unwrap();
        let (root, expected) = samples_of(&agent);
        for (name, expected) in expected.as_object().unwrap() {
            // Other entries are of several samples together.
            let sample = root.join(name);
            if sample.exists() {
                read_through_a_kill(&format!("{agent} {name}"), &sample, expected, &mut rng);
                tried += 1;
            }
        }
    }
    assert!(tried >= 40, "{tried} samples");
}

fn read_through_a_kill(what: &str, sample: &Path, expected: &Value, rng: &mut Rng) {
    let place = Place::new();
    let files = files(sample);
    let pieces = pieces(&files, rng);
    let (before, after) = pieces.split_at(rng.usize(..=pieces.len()));
    let mut collector = place.serve();
    write(&place, before);
    if !before.is_empty() {
        collector.wait_for_next("\"committed\"");
    }
    collector.kill();
    let collector = place.serve();
    write(&place, after);
    // Its directory may not have been found yet.
    let (status, _) = collector.request("PUT", "/v1/runs/sample", "{}");
    assert!([200, 201].contains(&status), "{what}: {status}");
    place.json(&["stop", RUN]);
    assert_is(what, &collector.summary(), expected);
    collector.stop_cleanly();
    place.assert_verified();
    assert_is(what, &place.replayed(), expected);
}

#[test]
fn a_session_that_is_rewritten_in_place_counts_once() {
    let (root, expected) = samples_of("pi");
    let sample = root.join("awkward/07-pi-v1-rewritten-in-place");
    let steps = files(&sample);
    let [(path, before), (_, after)] = steps.as_slice() else {
        panic!("{steps:?}")
    };
    let place = Place::new();
    let log = place.log(RUN, path.to_str().unwrap());
    append(&log, before);
    let mut collector = place.serve();
    collector.wait_for_messages(1);
    // The same inode, as the agent writes it.
    fs::write(&log, after).unwrap();
    let expected = &expected["awkward/07-pi-v1-rewritten-in-place"];
    collector.wait_for_messages(expected["responses"].as_u64().unwrap());
    assert_is("rewritten", &collector.summary(), expected);
    collector.stop_cleanly();
    place.assert_verified();
}

/// Tokens by account, and the account with the five-hour window of Codex.
fn accounts(collector: &Collector) -> (BTreeMap<String, u64>, String) {
    let (status, usage) = collector.get("/v1/usage?group_by=account");
    assert_eq!(status, 200, "{usage}");
    let rows = usage["rows"].as_array().unwrap().iter();
    let tokens = rows.map(|row| {
        let account = row["key"].as_str().unwrap().to_owned();
        (account, row["total_tokens"].as_u64().unwrap())
    });
    let quota = collector.get("/v1/quota").1;
    let mut windows = quota["windows"].as_array().unwrap().iter();
    let window = windows.find(|window| window["window"] == "five_hour");
    let window = window.unwrap_or_else(|| panic!("{quota}"));
    let name = |key: &str| window[key].as_str().unwrap().to_owned();
    (tokens.collect(), name("provider") + "/" + &name("account"))
}

#[test]
fn each_agent_of_a_run_is_counted_by_the_account_of_its_provider_for_good() {
    let input = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/cases/several-agents-in-one-run/input");
    let place = Place::new();
    for (path, content) in files(&input) {
        let path = place.runs().join(RUN).join("mount").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        append(&path, content);
    }
    let mut collector = place.serve_with(
        "[[account]]\nname = \"max\"\n[[account]]\nprovider = \"codex\"\nname = \"plus\"\n\
         [[account]]\nprovider = \"gemini\"\nname = \"other\"\nruns = [\"no-such-run\"]\n",
    );
    collector.wait_for_messages(5);
    // What pi asked Anthropic for is the run's own account's.
    let wanted = [
        ("claude/max", 126),
        ("codex/plus", 1125),
        ("gemini/default", 935),
        ("qwen/default", 11),
    ];
    let wanted = wanted.map(|(account, tokens)| (account.to_owned(), tokens));
    let wanted = (BTreeMap::from(wanted), "codex/plus".to_owned());
    assert_eq!(accounts(&collector), wanted);
    collector.stop_cleanly();
    place.assert_verified();
    // Another account for the provider is one for new runs.
    let collector =
        place.serve_with("[[account]]\nname = \"max\"\n[[account]]\nprovider = \"codex\"\nname = \"pro\"\n");
    let log = place.log(RUN, ".codex/sessions/2026/10/05/rollout-1.jsonl");
    append(
        &log,
        "{\"timestamp\":\"2026-10-05T10:00:03.000Z\",\"type\":\"token_usage_record\",\"payload\":\
         {\"response_id\":\"resp_2\",\"usage\":{\"input_tokens\":5,\"output_tokens\":6}}}\n",
    );
    place.json(&["stop", RUN]);
    let mut more = wanted;
    more.0.insert("codex/plus".to_owned(), 1125 + 11);
    assert_eq!(accounts(&collector), more);
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn keys_and_accounts_do_not_depend_on_the_order_and_the_time_of_settings() {
    let pi = |id: u32| {
        format!(
            "{{\"type\":\"session\",\"id\":\"s\",\"timestamp\":\"2026-10-05T09:00:00.000Z\"}}\n\
             {{\"type\":\"message\",\"timestamp\":\"2026-10-05T09:00:0{id}.000Z\",\"message\":{{\"role\":\"assistant\",\
             \"provider\":\"anthropic\",\"model\":\"m\",\"usage\":{{\"input\":1,\"output\":1}}}}}}\n"
        )
    };
    // An account of pi's own, which no line asks for; then an agent's account alone, in both orders of the files.
    for (accounts, names) in [
        (
            "[[account]]\nname = \"max\"\n[[account]]\nprovider = \"pi\"\nname = \"x\"\n",
            ["a", "b"],
        ),
        ("[[account]]\nprovider = \"codex\"\nname = \"a\"\n", ["a", "b"]),
        ("[[account]]\nprovider = \"codex\"\nname = \"a\"\n", ["b", "a"]),
    ] {
        let place = Place::new();
        let log = |name: &str| place.log(RUN, &format!("{name}.jsonl"));
        append(&log(names[0]), pi(1));
        append(&log(names[1]), response("1", 5, 1));
        let mut collector = place.serve_with(accounts);
        collector.wait_for_messages(2);
        let (status, usage) = collector.get("/v1/usage?group_by=account");
        assert_eq!(
            (status, usage["rows"].as_array().unwrap().len()),
            (200, 1),
            "{usage}"
        );
        collector.stop_cleanly();
        place.assert_verified();
        // A fork repeats both under further settings.
        append(&log("c"), pi(1));
        append(&log("d"), response("1", 5, 1));
        let collector =
            place.serve_with("[[account]]\nprovider = \"pi\"\nname = \"y\"\n[[account]]\nname = \"z\"\n");
        place.json(&["stop", RUN]);
        assert_eq!(collector.summary()["messages"], 2, "{accounts}");
        collector.stop_cleanly();
        place.assert_verified();
    }
}

#[test]
fn providers_that_lines_name_freely_leave_room_for_the_agents_own() {
    let place = Place::new();
    let header = "{\"type\":\"session\",\"id\":\"s\",\"timestamp\":\"2026-10-05T09:00:00.000Z\"}\n";
    let answers = (0..40).map(|number| {
        format!(
            "{{\"type\":\"message\",\"timestamp\":\"2026-10-05T09:00:01.{number:03}Z\",\"message\":{{\"role\":\"assistant\",\
             \"provider\":\"p{number}\",\"model\":\"m\",\"usage\":{{\"input\":1}}}}}}\n"
        )
    });
    let session = header.to_owned() + &answers.collect::<String>();
    append(&place.log(RUN, "a.jsonl"), session);
    append(
        &place.log(RUN, "b.jsonl"),
        "{\"timestamp\":\"2026-10-05T10:00:03.000Z\",\"type\":\"token_usage_record\",\"payload\":\
         {\"response_id\":\"resp_2\",\"usage\":{\"input_tokens\":5}}}\n",
    );
    let mut collector = place.serve();
    collector.wait_for_messages(41);
    let (_, usage) = collector.get("/v1/usage?group_by=account&dialect=codex");
    assert_eq!(usage["rows"][0]["key"], "codex/default", "{usage}");
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn a_table_added_by_a_reload_counts_the_first_lines_of_its_provider() {
    let place = Place::new();
    append(&place.log(RUN, "a.jsonl"), response("1", 5, 1));
    let mut collector = place.serve_with("[[account]]\nname = \"max\"\n");
    collector.wait_for_messages(1);
    place.configure("[[account]]\nname = \"max\"\n[[account]]\nprovider = \"codex\"\nname = \"team\"\n");
    collector.signal("HUP");
    collector.wait_for_log("the configuration is in effect");
    append(
        &place.log(RUN, "b.jsonl"),
        "{\"timestamp\":\"2026-10-05T10:00:03.000Z\",\"type\":\"token_usage_record\",\"payload\":\
         {\"response_id\":\"resp_2\",\"usage\":{\"input_tokens\":5}}}\n",
    );
    collector.wait_for_messages(2);
    let (_, usage) = collector.get("/v1/usage?group_by=account&dialect=codex");
    assert_eq!(usage["rows"][0]["key"], "codex/team", "{usage}");
    collector.stop_cleanly();
    place.assert_verified();
}
