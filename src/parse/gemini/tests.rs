//! Samples with their right answers, then the rules one by one.

use super::*;
use crate::model::{Dating, Millis};
use crate::parse::SHORT_LINE_BYTES_MAX;
use crate::parse::hostile;
use crate::parse::samples::SampleParser;

const HEADER: &str =
    r#"{"sessionId":"s1","projectHash":"p","startTime":"2026-10-05T09:00:00.000Z","kind":"main"}"#;
const MESSAGE: &str = r#"{"id":"m1","timestamp":"2026-10-05T09:00:01.000Z","type":"gemini","content":"x","tokens":{"input":10,"output":2,"cached":3,"thoughts":4,"tool":5,"total":21},"model":"gemini-a"}"#;
const TIME: Millis = 1_791_190_801_000;

fn set(messages: &[&str]) -> String {
    let messages = messages.join(",");
    format!(r#"{{"$set":{{"messages":[{messages}],"lastUpdated":"2026-10-05T10:00:00.000Z"}}}}"#)
}

#[test]
fn the_samples_have_their_right_answers() {
    assert_eq!(hostile::check_samples::<Gemini>("gemini"), 10);
}

#[test]
fn cached_tokens_are_in_the_input_and_thoughts_and_tools_are_beside() {
    let all = hostile::file::<Gemini>(&[HEADER, MESSAGE]);
    let [record] = all.records.as_slice() else {
        panic!("{all:?}")
    };
    let usage = Usage {
        input: 12,
        output: 6,
        cache_read: 3,
        thinking: 4,
        ..Usage::default()
    };
    assert_eq!((record.usage, &*record.model), (usage, "gemini-a"));
    assert_eq!((record.time, record.dating), (Some(TIME), Dating::Line));
    let session = |id: &[u8]| NonZeroU64::new(xxhash_rust::xxh3::xxh3_64_with_seed(id, 0));
    assert_eq!(record.session, session(b"s1"));
    let imported = hostile::file::<Gemini>(&[HEADER, r#"{"$set":{"sessionId":"s2"}}"#, MESSAGE]);
    assert_eq!(imported.records[0].session, session(b"s2"));
    assert_eq!(imported.records[0].key, record.key);
}

#[test]
fn a_list_of_messages_counts_those_with_tokens() {
    let second = MESSAGE.replace("m1", "m2");
    let response = r#"{"id":"m1","timestamp":"2026-10-06T09:00:00.000Z","type":"user","tokens":{"input":9}}"#;
    let line = set(&[response, MESSAGE, "null", "7", &second, response]);
    let all = hostile::file::<Gemini>(&[HEADER, &line, MESSAGE]);
    assert_eq!(all.records.len(), 3);
    assert_eq!(all.records[0], all.records[2]);
    assert_eq!(
        (all.records[0].time, all.records[1].time),
        (Some(TIME), Some(TIME))
    );
    let parsed = Gemini::default().parse(
        line.as_bytes(),
        LineContext::default(),
        &mut Vec::new(),
        &mut Vec::new(),
    );
    assert_eq!(parsed.time, Some(TIME + 3_599_000));
}

#[test]
fn messages_without_tokens_count_nothing_and_change_nothing() {
    let tokens = r#""tokens":{"input":10,"output":2,"cached":3,"thoughts":4,"tool":5,"total":21},"#;
    for line in [
        HEADER.to_owned(),
        MESSAGE.replace(tokens, ""),
        MESSAGE.replace(tokens, r#""tokens":null,"#),
        MESSAGE.replace(tokens, r#""tokens":{"total":21},"#),
        MESSAGE.replace(r#""type":"gemini""#, r#""type":"info""#),
        MESSAGE.replace(r#""id":"m1","#, ""),
        r#"{"$rewindTo":"m1"}"#.to_owned(),
        r#"{"$set":{"messages":{"id":"m1"},"lastUpdated":7}}"#.to_owned(),
        r#"{"$set":null}"#.to_owned(),
        set(&[]),
    ] {
        for line in [&line, &set(&[&line])] {
            let all = hostile::file::<Gemini>(&[line]);
            assert_eq!((all.records.len(), all.malformed), (0, 0), "{line}");
        }
    }
}

#[test]
fn long_messages_of_others_are_passed_over_and_other_long_lines_are_read() {
    let text = "x".repeat(SHORT_LINE_BYTES_MAX);
    let long = |kind: &str, end: &str| {
        let content = format!(r#""content":"{text}""#);
        MESSAGE
            .replace(r#""content":"x""#, &content)
            .replace("gemini\"", kind)
            + end
    };
    for (line, want) in [
        (long("gemini\"", ""), (LineKind::Usage, Some(TIME))),
        (long("gemini\"", "]}"), (LineKind::Malformed, None)),
        (long("user\"", ""), (LineKind::Ignored, Some(TIME))),
        (long("user\"", "]}"), (LineKind::Ignored, Some(TIME))),
        (long("user\"", "x"), (LineKind::Malformed, None)),
        (
            set(&[&long("gemini\"", "")]),
            (LineKind::Usage, Some(TIME + 3_599_000)),
        ),
    ] {
        let parsed = Gemini::default().parse(
            line.as_bytes(),
            LineContext::default(),
            &mut Vec::new(),
            &mut Vec::new(),
        );
        assert_eq!((parsed.class, parsed.time), want, "{}", &line[..100]);
    }
    let header = HEADER.replace(r#""kind""#, &format!(r#""firstUserMessage":"{text}","kind""#));
    assert!(
        hostile::file::<Gemini>(&[&header, MESSAGE]).records[0]
            .session
            .is_some()
    );
}

#[test]
fn any_bytes_get_an_answer() {
    hostile::check_any_bytes::<Gemini>(&[
        r#""type":"gemini""#,
        r#""type":"user""#,
        r#""sessionId":"s""#,
        r#""id":"m""#,
        r#""model":"m""#,
        r#""$set":{"messages":["#,
        r#""tokens":{"#,
        r#""input":"#,
        r#""output":"#,
        r#""cached":"#,
        r#""thoughts":"#,
        r#""tool":"#,
        r#"{"id":"m","type":"gemini","tokens":{"thoughts":"#,
        r#"{"id":"m","type":"gemini","tokens":{"input":"#,
    ]);
}

#[test]
fn a_cut_line_never_counts() {
    hostile::check_cut::<Gemini>(&[HEADER, MESSAGE]);
    hostile::check_cut::<Gemini>(&[HEADER, &set(&[MESSAGE])]);
}

#[test]
fn a_state_is_small_and_damaged_ones_are_refused() {
    hostile::check_states::<Gemini>(&[HEADER], 9);
}
