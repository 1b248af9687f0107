//! Hostile lines and states for the tests of a dialect: any bytes, lines cut anywhere, damaged states.

use proptest::prelude::*;
use serde_json::Value;

use super::samples::{self, SampleParser, SampleYield};
use crate::model::Record;
use crate::parse::{LineContext, LineKind, Parsed};

/// Pieces between the words of a dialect.
const PIECES: [&[u8]; 24] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"1",
    b"-1",
    b"7.0",
    b"\"8\"",
    b"1e999",
    b"null",
    b"true",
    b"{}",
    b"[{",
    b"}]",
    b"\"\\ud83d\"",
    b"\"\xFF\"",
    b"\0",
    b"\x01",
    b"\\",
    b"\"",
    b" ",
    b"9223372036854775807",
];

/// Compares the samples of a dialect with their right answers; returns how many there are.
pub fn check_samples<P: SampleParser>(dialect: &str) -> usize {
    let root = samples_of(dialect);
    let text = std::fs::read(root.join("expected.json")).unwrap();
    let expected: Value = serde_json::from_slice(&text).unwrap();
    let expected = expected.as_object().unwrap();
    for (name, answer) in expected {
        let files = samples::files_below(&root.join(name), ".jsonl");
        let mut answer = answer.clone();
        // Files that must give nothing are read like the others.
        let ignored = answer["ignored_files"].as_array().map_or(0, Vec::len);
        answer["files"] = (answer["files"].as_u64().unwrap() + ignored as u64).into();
        samples::check::<P>(name, &files, &answer);
    }
    expected.len()
}

pub fn samples_of(dialect: &str) -> std::path::PathBuf {
    let fixtures = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    fixtures.join("agents").join(dialect)
}

/// The yield of a file of these lines, with and without restarts.
pub fn file<P: SampleParser>(lines: &[&str]) -> SampleYield {
    let text = lines.join("\n");
    let all = samples::read::<P>(text.as_bytes(), false);
    assert_eq!(all, samples::read::<P>(text.as_bytes(), true), "{text}");
    all
}

/// The result of a line after others, and its records.
fn after<P: SampleParser>(parser: &P, bytes: &[u8]) -> (Parsed, Vec<Record>) {
    let mut records = Vec::new();
    let parsed = parser
        .clone()
        .parse(bytes, LineContext::default(), &mut records, &mut Vec::new());
    (parsed, records)
}

/// A parser after some lines.
fn parser_of<P: SampleParser>(lines: &[&str]) -> P {
    let mut parser = P::default();
    for line in lines {
        parser.parse(
            line.as_bytes(),
            LineContext::default(),
            &mut Vec::new(),
            &mut Vec::new(),
        );
    }
    parser
}

/// Any bytes get an answer, the same again, with counts within their bounds, and leave a state that can be kept.
/// Words are parts of lines of the dialect.
pub fn check_any_bytes<P: SampleParser>(words: &'static [&'static str]) {
    let words = words.iter().map(|word| word.as_bytes());
    let pieces: Vec<&[u8]> = PIECES.into_iter().chain(words).collect();
    let piece = prop_oneof![
        8 => proptest::sample::select(pieces).prop_map(<[u8]>::to_vec),
        1 => proptest::collection::vec(any::<u8>(), 0..8),
    ];
    proptest!(|(pieces in proptest::collection::vec(piece, 0..40))| {
        let line: Vec<u8> = pieces.concat().into_iter().filter(|byte| *byte != b'\n').collect();
        let line = line.trim_ascii();
        let mut parser = P::default();
        let (parsed, records) = after(&parser, line);
        prop_assert_eq!(&after(&parser, line), &(parsed, records.clone()));
        prop_assert_eq!(parsed.class == LineKind::Usage, !records.is_empty());
        for record in records {
            let usage = record.usage;
            for count in [usage.input, usage.output, usage.cache_read, usage.cache_creation] {
                prop_assert!(i64::try_from(count).is_ok());
            }
            prop_assert!(usage.total() > 0 && usage.thinking <= usage.output);
            prop_assert!(usage.cache_creation_1h <= usage.cache_creation);
        }
        parser.parse(line, LineContext::default(), &mut Vec::new(), &mut Vec::new());
        prop_assert_eq!(P::decode(&parser.encode()), Some(parser));
    });
}

/// The last of some lines counts, but not if it is cut anywhere.
pub fn check_cut<P: SampleParser>(lines: &[&str]) {
    let (last, before) = lines.split_last().unwrap();
    let parser: P = parser_of(before);
    assert_eq!(after(&parser, last.as_bytes()).0.class, LineKind::Usage);
    for cut in 1..last.len() {
        let (parsed, records) = after(&parser, &last.as_bytes()[..cut]);
        assert_eq!((parsed.class, records.len()), (LineKind::Malformed, 0), "{cut}");
    }
}

/// The state after these lines has this many bytes. Damaged ones are none, or one that is encoded the same way.
pub fn check_states<P: SampleParser>(lines: &[&str], length: usize) {
    let bytes = parser_of::<P>(lines).encode();
    assert_eq!(bytes.len(), length);
    let is_one = |bytes: &[u8]| P::decode(bytes).is_none_or(|state| state.encode() == bytes);
    for at in 0..bytes.len() {
        assert!(P::decode(&bytes[..at]).is_none() || at == 0, "{at}");
        for byte in 0..=u8::MAX {
            let mut damaged = bytes.clone();
            damaged[at] = byte;
            assert!(is_one(&damaged), "{damaged:?}");
            damaged.push(byte);
            assert!(is_one(&damaged), "{damaged:?}");
        }
    }
    assert_eq!(P::decode(&[]), Some(P::default()));
    proptest!(|(bytes in proptest::collection::vec(any::<u8>(), 0..64), version in 0u8..3)| {
        prop_assert!(is_one(&bytes));
        prop_assert!(is_one(&[&[version], bytes.as_slice()].concat()));
    });
}
