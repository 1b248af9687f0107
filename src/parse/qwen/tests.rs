//! Samples with their right answers, then the rules one by one.

use super::*;
use crate::model::Millis;
use crate::parse::SHORT_LINE_BYTES_MAX;
use crate::parse::hostile;
use crate::parse::samples::SampleParser;

const TELEMETRY: &str = r#"{"uuid":"t1","parentUuid":null,"sessionId":"s1","timestamp":"2026-10-05T09:00:01.000Z","type":"system","subtype":"ui_telemetry","systemPayload":{"uiEvent":{"event.name":"qwen-code.api_response","model":"q-server","input_token_count":10,"output_token_count":5,"cached_content_token_count":3,"thoughts_token_count":2,"total_token_count":15}}}"#;
const ANSWER: &str = r#"{"uuid":"a1","parentUuid":"t1","sessionId":"s1","timestamp":"2026-10-05T09:00:01.001Z","type":"assistant","model":"q-asked","message":{"role":"model","parts":[]},"usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":5,"thoughtsTokenCount":2,"totalTokenCount":15,"cachedContentTokenCount":3}}"#;
const TIME: Millis = 1_791_190_801_000;

#[test]
fn the_samples_have_their_right_answers() {
    assert_eq!(hostile::check_samples::<Qwen>("qwen"), 8);
}

fn models(lines: &[&str]) -> Vec<String> {
    let all = hostile::file::<Qwen>(lines);
    assert_eq!(all.malformed, 0, "{lines:?}");
    all.records
        .iter()
        .map(|record| record.model.to_string())
        .collect()
}

#[test]
fn answers_count_until_the_first_telemetry() {
    let empty = TELEMETRY.replace("_token_count", "_count");
    let side = |line: &str| line.replace(r#""uuid""#, r#""isSidechain":true,"uuid""#);
    let (side_telemetry, side_answer) = (side(TELEMETRY), side(ANSWER));
    let tool_call = TELEMETRY.replace("api_response", "tool_call");
    let other = TELEMETRY.replace("ui_telemetry", "other");
    for (lines, want) in [
        (vec![TELEMETRY, ANSWER], vec!["q-server"]),
        (vec![ANSWER, TELEMETRY, ANSWER], vec!["q-asked", "q-server"]),
        (vec![ANSWER, ANSWER], vec!["q-asked", "q-asked"]),
        (vec![&empty, ANSWER], vec![]),
        (vec![&tool_call, &other, ANSWER], vec!["q-asked"]),
        (vec![&side_telemetry, ANSWER], vec!["q-asked"]),
        (vec![&side_answer, &side_telemetry], vec![]),
    ] {
        assert_eq!(models(&lines), want, "{lines:?}");
    }
}

#[test]
fn a_row_is_a_response_of_its_uuid() {
    let record = |line: &str| hostile::file::<Qwen>(&[line]).records.pop();
    let own = record(TELEMETRY).unwrap();
    assert_eq!(own.time, Some(TIME));
    let session = xxhash_rust::xxh3::xxh3_64_with_seed(b"s1", 0);
    assert_eq!(own.session.map(std::num::NonZeroU64::get), Some(session));
    let fork = TELEMETRY.replace(
        r#""sessionId":"s1""#,
        r#""sessionId":"s2","forkedFrom":{"sessionId":"s1","messageUuid":"t1"}"#,
    );
    let fork = record(&fork).unwrap();
    assert_eq!(fork.key, own.key);
    assert_ne!(fork.session, own.session);
    assert_ne!(
        record(&TELEMETRY.replace(r#""t1""#, r#""t2""#)).unwrap().key,
        own.key
    );
    assert_eq!(record(&TELEMETRY.replace(r#""uuid":"t1","#, "")), None);
    let sums = r#"{"version":1,"sessionId":"s1","timestamp":1791194401000,"models":{"q":{"inputTokens":9,"totalTokens":9}}}"#;
    assert_eq!(record(sums), None);
}

#[test]
fn the_total_decides_where_thoughts_are() {
    // Input, output, cached, thoughts and total of the line; input, output, cached and thoughts of ours.
    for (line, ours) in [
        (["10", "5", "3", "2", "15"], [7, 5, 3, 2]),
        (["10", "5", "3", "2", "17"], [7, 7, 3, 2]),
        (["10", "5", "3", "2", "20"], [10, 7, 3, 2]),
        (["10", "5", "3", "2", "16"], [7, 5, 3, 2]),
        (["10", "5", "3", "0", "20"], [12, 5, 3, 0]),
        (["10", "5", "12", "9", "14"], [0, 5, 10, 5]),
        (["10", "5", "null", "-2", "null"], [10, 5, 0, 0]),
        (["10.0", "\"5\"", "[]", "{}", "true"], [10, 5, 0, 0]),
        (["0", "0", "0", "0", "7"], [7, 0, 0, 0]),
    ] {
        let [input, output, cached, thoughts, total] = line;
        let usage = format!(
            r#"{{"promptTokenCount":{input},"candidatesTokenCount":{output},"cachedContentTokenCount":{cached},"thoughtsTokenCount":{thoughts},"totalTokenCount":{total}}}"#
        );
        let row = format!(r#"{{"uuid":"a","type":"assistant","usageMetadata":{usage}}}"#);
        let got = hostile::file::<Qwen>(&[&row]).records[0].usage;
        assert_eq!(
            [got.input, got.output, got.cache_read, got.thinking],
            ours,
            "{line:?}"
        );
    }
}

#[test]
fn long_rows_are_passed_over_by_type_and_counted_otherwise() {
    let text = "x".repeat(SHORT_LINE_BYTES_MAX);
    let long = |kind: &str, end: &str| {
        let message = format!(r#""message":{{"role":"model","parts":["{text}"]"#);
        ANSWER
            .replace(r#""message":{"role":"model","parts":[]"#, &message)
            .replace("assistant", kind)
            + end
    };
    let time = Some(TIME + 1);
    for (before, line, want) in [
        ("{}", long("assistant", ""), (LineKind::Usage, time)),
        ("{}", long("assistant", "]}"), (LineKind::Malformed, None)),
        (TELEMETRY, long("assistant", ""), (LineKind::Ignored, time)),
        (TELEMETRY, long("assistant", "]}"), (LineKind::Ignored, time)),
        ("{}", long("tool_result", "]}"), (LineKind::Ignored, time)),
        ("{}", long("tool_result", "x"), (LineKind::Malformed, None)),
    ] {
        let mut parser = Qwen::default();
        let mut parse = |line: &str| {
            let (mut records, place) = (Vec::new(), LineContext::default());
            parser.parse(line.as_bytes(), place, &mut records, &mut Vec::new())
        };
        parse(before);
        let parsed = parse(&line);
        assert_eq!((parsed.class, parsed.time), want, "{}", &line[..100]);
    }
}

#[test]
fn any_bytes_get_an_answer() {
    hostile::check_any_bytes::<Qwen>(&[
        r#""type":"assistant""#,
        r#""type":"system","subtype":"ui_telemetry""#,
        r#""systemPayload":{"uiEvent":{"event.name":"qwen-code.api_response""#,
        r#""uuid":"u""#,
        r#""model":"m""#,
        r#""isSidechain":"#,
        r#""usageMetadata":{"#,
        r#""promptTokenCount":"#,
        r#""candidatesTokenCount":"#,
        r#""thoughtsTokenCount":"#,
        r#""total_token_count":"#,
        r#""totalTokenCount":"#,
        r#"{"uuid":"u","type":"assistant","usageMetadata":{"totalTokenCount":"#,
    ]);
}

#[test]
fn a_cut_line_never_counts() {
    hostile::check_cut::<Qwen>(&[TELEMETRY]);
    hostile::check_cut::<Qwen>(&[ANSWER]);
}

#[test]
fn a_state_is_small_and_damaged_ones_are_refused() {
    hostile::check_states::<Qwen>(&[TELEMETRY], 1);
}
