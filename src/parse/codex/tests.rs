//! Samples with their right answers, and which lines are read; the parts below have the rules one by one.

mod limits;
mod states;
mod totals;

use std::path::PathBuf;

use serde_json::Value;

use super::*;
use crate::model::Usage;
use crate::parse::samples::{self, SampleParser, SampleYield};

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/agents/codex")
}

/// The yield of a sample whose path has these words.
fn sample(words: &str) -> SampleYield {
    let files = samples::files_below(&fixtures(), ".jsonl");
    let mut found = files.iter().filter(|path| path.to_string_lossy().contains(words));
    let path = found.next().unwrap();
    assert_eq!(found.next(), None, "{words}");
    samples::read::<Codex>(&std::fs::read(path).unwrap(), false)
}

#[test]
fn the_samples_have_their_right_answers() {
    let root = fixtures();
    let text = std::fs::read(root.join("expected.json")).unwrap();
    let expected: Value = serde_json::from_slice(&text).unwrap();
    let mut checked = 0;
    for (name, answer) in expected.as_object().unwrap() {
        let (tree, rest) = name.split_once('/').unwrap();
        let mut files = samples::files_below(&root.join(tree), ".jsonl");
        if files.iter().any(|path| path.ends_with(name)) {
            files.retain(|path| path.ends_with(name));
        } else if rest.contains(" + ") {
            let is_named = |path: &PathBuf| {
                let file = path.file_name().unwrap().to_string_lossy();
                rest.split(" + ").any(|part| file.starts_with(part))
            };
            files.retain(is_named);
        }
        samples::check::<Codex>(name, &files, answer);
        checked += 1;
    }
    assert_eq!(checked, 19);
}

/// A file: lines of some seconds after 2026-10-05T09:00:00Z, their types and payloads.
fn file(lines: &[(u32, &str, &str)]) -> SampleYield {
    let line = |(second, kind, payload): &(u32, &str, &str)| {
        let (minute, second) = (second / 60, second % 60);
        let time = format!("2026-10-05T09:{minute:02}:{second:02}.000Z");
        format!(r#"{{"timestamp":"{time}","type":"{kind}","payload":{payload}}}"#)
    };
    let text = lines.iter().map(line).collect::<Vec<_>>().join("\n");
    let all = samples::read::<Codex>(text.as_bytes(), false);
    assert_eq!(all, samples::read::<Codex>(text.as_bytes(), true));
    assert_eq!(all.malformed, 0, "{text}");
    all
}

const TIME: Millis = 1_791_190_800_000;

const META: (u32, &str, &str) = (0, "session_meta", r#"{"id":"thread","session_id":"root"}"#);

const FORK: (u32, &str, &str) = (
    600,
    "session_meta",
    r#"{"id":"child","session_id":"child","forked_from_id":"thread"}"#,
);

fn started(turn: &str, at: u32) -> String {
    let at = TIME / 1000 + Millis::from(at);
    format!(r#"{{"type":"task_started","turn_id":"{turn}","started_at":{at}}}"#)
}

/// The class and the number of records of a line of its own.
fn class(text: &[u8]) -> (LineKind, usize) {
    let (mut parser, mut records) = (Codex::default(), Vec::new());
    let parsed = parser.parse(text, LineContext::default(), &mut records, &mut Vec::new());
    (parsed.class, records.len())
}

#[test]
fn long_lines_without_usage_are_judged_by_their_frame_and_others_are_read() {
    let body = "x".repeat(SHORT_LINE_BYTES_MAX);
    let time = r#""timestamp":"2026-10-05T09:00:00.000Z""#;
    let usage = r#""response_id":"resp_1","usage":{"output_tokens":7}"#;
    let long = |kind: &str, end: &str| {
        format!(r#"{{{time},"type":"{kind}","payload":{{{usage},"text":"{body}"}}{end}"#)
    };
    for (text, want) in [
        (long("token_usage_record", "}"), (LineKind::Usage, 1)),
        (long("token_usage_record", ""), (LineKind::Malformed, 0)),
        (long("response_item", "}"), (LineKind::Ignored, 0)),
        (long("compacted", ",]}"), (LineKind::Ignored, 0)),
        (long("compacted", "} x"), (LineKind::Malformed, 0)),
        (long("some_future_item", "}"), (LineKind::Ignored, 0)),
        (
            format!(r#"{{"payload":{{{usage}}},"type":"token_usage_record",{time}}}"#),
            (LineKind::Usage, 1),
        ),
        (
            format!(r#"{{{time},"type":"token_usage_rec\u006frd","payload":{{{usage}}}}}"#),
            (LineKind::Usage, 1),
        ),
        (
            format!("\u{feff}{{{time},\"type\":\"token_usage_record\",\"payload\":{{{usage}}}}}"),
            (LineKind::Usage, 1),
        ),
        (
            format!(r#"{{{time},"type":"token_usage_record","payload":[{{{usage}}}]}}"#),
            (LineKind::Ignored, 0),
        ),
        (
            format!(r#"{{{time},"payload":{{{usage}}}}}"#),
            (LineKind::Ignored, 0),
        ),
        ("[]".to_owned(), (LineKind::Malformed, 0)),
    ] {
        assert_eq!(class(text.as_bytes()), want, "{}", &text[..text.len().min(80)]);
    }
    let mut parser = Codex::default();
    let text = long("response_item", "}");
    let parsed = parser.parse(
        text.as_bytes(),
        LineContext::default(),
        &mut Vec::new(),
        &mut Vec::new(),
    );
    assert_eq!(parsed.time, Some(TIME));
}

#[test]
fn one_bad_line_is_malformed_and_text_that_quotes_a_record_is_text() {
    let all = sample("13-bad-lines");
    assert_eq!((all.malformed, all.records.len()), (1, 1));
    let want = Usage {
        output: 7,
        ..Usage::default()
    };
    assert_eq!(all.records[0].usage, want);
}
