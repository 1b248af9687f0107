//! Samples with their right answers, then the rules one by one.

use super::*;
use crate::model::Millis;
use crate::parse::SHORT_LINE_BYTES_MAX;
use crate::parse::hostile;
use crate::parse::samples::SampleParser;

const HEADER: &str =
    r#"{"type":"session","version":3,"id":"s1","timestamp":"2026-10-05T09:00:00.000Z","cwd":"/w"}"#;
const CHANGE: &str = r#"{"type":"model_change","id":"00000001","timestamp":"2026-10-05T09:00:00.000Z","provider":"anthropic","modelId":"claude-a"}"#;
const ANSWER: &str = r#"{"type":"message","id":"00000002","timestamp":"2026-10-05T09:00:01.000Z","message":{"role":"assistant","provider":"local","model":"inv-1","usage":{"input":1,"output":2,"cacheRead":3,"cacheWrite":4,"cacheWrite1h":9,"reasoning":9},"timestamp":1791190800500,"responseId":"r"}}"#;
const COMPACTION: &str = r#"{"type":"compaction","id":"00000003","timestamp":"2026-10-05T09:00:02.000Z","usage":{"input":5,"output":6}}"#;
const TIME: Millis = 1_791_190_801_000;

#[test]
fn the_samples_have_their_right_answers() {
    assert_eq!(hostile::check_samples::<Pi>("pi"), 11);
}

#[test]
fn an_answer_has_the_names_of_its_line_and_parts_stay_within_their_wholes() {
    let all = hostile::file::<Pi>(&[HEADER, CHANGE, ANSWER]);
    let [record] = all.records.as_slice() else {
        panic!("{all:?}")
    };
    let usage = Usage {
        input: 1,
        output: 2,
        cache_read: 3,
        cache_creation: 4,
        cache_creation_1h: 4,
        thinking: 2,
        ..Usage::default()
    };
    assert_eq!(record.usage, usage);
    assert_eq!(
        (&*record.model, record.provider.as_deref()),
        ("inv-1", Some("local"))
    );
    assert_eq!((record.time, record.rank), (Some(TIME), Rank::Main));
    assert_eq!(
        record.session,
        NonZeroU64::new(xxhash_rust::xxh3::xxh3_64_with_seed(b"s1", 0))
    );
    let routed = ANSWER.replace(r#""model":"inv-1""#, r#""model":"auto","responseModel":"inv-2""#);
    let unrouted = ANSWER.replace(r#""model":"inv-1""#, r#""model":"auto","responseModel":null"#);
    for (line, model) in [(routed, "inv-2"), (unrouted, "auto")] {
        assert_eq!(&*hostile::file::<Pi>(&[&line]).records[0].model, model);
    }
}

#[test]
fn a_summary_has_the_model_and_the_provider_before_it_and_no_other_entry_gives_one() {
    let usage = COMPACTION.replace("compaction", "usage");
    let warm = usage.replace(
        r#""usage":{"#,
        r#""kind":"new","provider":"other","model":"m","usage":{"#,
    );
    for (kind, lines, model, provider) in [
        ("compaction", vec![HEADER], "unknown", None),
        ("compaction", vec![HEADER, CHANGE], "claude-a", Some("claude")),
        ("branch_summary", vec![CHANGE, ANSWER], "inv-1", Some("local")),
        ("compaction", vec![ANSWER, CHANGE], "claude-a", Some("claude")),
        ("compaction", vec![CHANGE, &warm], "claude-a", Some("claude")),
    ] {
        let summary = COMPACTION.replace("compaction", kind);
        let all = hostile::file::<Pi>(&[lines.as_slice(), &[&summary]].concat());
        let last = all.records.last().unwrap();
        assert_eq!(
            (&*last.model, last.provider.as_deref()),
            (model, provider),
            "{lines:?}"
        );
    }
    let all = hostile::file::<Pi>(&[CHANGE, &warm]);
    let last = all.records.last().unwrap();
    assert_eq!((&*last.model, last.provider.as_deref()), ("m", Some("other")));
}

#[test]
fn each_part_of_a_key_counts_and_the_id_of_an_entry_does_not() {
    let key = |line: &str| hostile::file::<Pi>(&[line]).records[0].key;
    let own = key(ANSWER);
    for (from, to) in [
        ("09:00:01", "09:00:02"),
        ("1791190800500", "1791190800501"),
        ("local", "other"),
        ("inv-1", "inv-2"),
        (r#""r""#, r#""q""#),
        ("assistant\"", "toolResult\",\"x\":\"\""),
        (r#""input":1"#, r#""input":2"#),
        (r#""output":2"#, r#""output":3"#),
        (r#""cacheRead":3"#, r#""cacheRead":4"#),
        (r#""cacheWrite":4"#, r#""cacheWrite":5"#),
    ] {
        let changed = ANSWER.replace(from, to);
        assert_ne!(changed, ANSWER, "{from}");
        // Roles of messages are no part of it.
        assert_eq!(key(&changed) == own, from == "assistant\"", "{from}");
    }
    assert_eq!(key(&ANSWER.replace("00000002", "ffffffff")), own);
    assert_ne!(
        key(COMPACTION),
        key(&COMPACTION.replace("compaction", "branch_summary"))
    );
}

#[test]
fn entries_without_usage_or_of_other_types_count_nothing() {
    for line in [
        HEADER.to_owned(),
        CHANGE.to_owned(),
        ANSWER.replace(
            r#""input":1,"output":2,"cacheRead":3,"cacheWrite":4"#,
            r#""input":0"#,
        ),
        ANSWER.replace("assistant", "user"),
        ANSWER.replace(r#""type":"message""#, r#""type":"context_edit""#),
        COMPACTION.replace("compaction", "custom"),
        COMPACTION.replace(r#""usage":{"input":5,"output":6}"#, r#""usage":null"#),
        COMPACTION.replace(
            r#""usage":{"input":5,"output":6}"#,
            r#""usage":{"input":-5,"output":"x"}"#,
        ),
    ] {
        let all = hostile::file::<Pi>(&[&line]);
        assert_eq!((all.records.len(), all.malformed), (0, 0), "{line}");
    }
}

#[test]
fn long_entries_are_passed_over_by_role_and_type_and_counted_otherwise() {
    let text = "x".repeat(SHORT_LINE_BYTES_MAX);
    let long = |role: &str, end: &str| {
        let message = format!(r#""message":{{"role":"{role}","content":"{text}","#);
        ANSWER.replace(r#""message":{"role":"assistant","#, &message) + end
    };
    for (line, want) in [
        (long("assistant", ""), (LineKind::Usage, Some(TIME))),
        (long("toolResult", ""), (LineKind::Usage, Some(TIME))),
        (long("user", ""), (LineKind::Ignored, Some(TIME))),
        (long("user", "]}"), (LineKind::Ignored, Some(TIME))),
        (long("user", "x"), (LineKind::Malformed, None)),
        (long("assistant", "]}"), (LineKind::Malformed, None)),
        (
            "\u{feff}".to_owned() + &long("assistant", ""),
            (LineKind::Usage, Some(TIME)),
        ),
        (
            long("assistant", "").replace(r#""type":"message""#, r#""type":"custom""#),
            (LineKind::Ignored, Some(TIME)),
        ),
    ] {
        let parsed = Pi::default().parse(
            line.as_bytes(),
            LineContext::default(),
            &mut Vec::new(),
            &mut Vec::new(),
        );
        assert_eq!((parsed.class, parsed.time), want, "{}", &line[..100]);
    }
}

#[test]
fn any_bytes_get_an_answer() {
    hostile::check_any_bytes::<Pi>(&[
        r#""type":"message""#,
        r#""type":"compaction""#,
        r#""type":"model_change""#,
        r#""type":"session","id":"s""#,
        r#""message":{"role":"assistant""#,
        r#""modelId":"m""#,
        r#""provider":"p""#,
        r#""model":"m""#,
        r#""usage":{"#,
        r#""input":"#,
        r#""output":"#,
        r#""cacheWrite":"#,
        r#""cacheWrite1h":"#,
        r#""reasoning":"#,
        r#"{"type":"usage","usage":{"output":"#,
    ]);
}

#[test]
fn a_cut_line_never_counts() {
    hostile::check_cut::<Pi>(&[HEADER, CHANGE, ANSWER]);
    hostile::check_cut::<Pi>(&[HEADER, CHANGE, COMPACTION]);
}

#[test]
fn providers_have_the_names_of_accounts() {
    for (written, want) in [
        ("anthropic", "claude"),
        ("openai-codex", "codex"),
        ("google-gemini-cli", "gemini"),
        ("google", "gemini"),
        ("openrouter", "openrouter"),
        ("a/b", "unknown"),
    ] {
        let line = ANSWER.replace("\"local\"", &format!("{written:?}"));
        let all = hostile::file::<Pi>(&[HEADER, &line]);
        assert_eq!(all.records[0].provider.as_deref(), Some(want), "{written}");
    }
}

#[test]
fn a_state_is_small_and_damaged_ones_are_refused() {
    hostile::check_states::<Pi>(&[HEADER, CHANGE], 1 + 8 + 1 + 8 + 1 + 6);
    let long = CHANGE.replace("claude-a", &"é".repeat(200));
    hostile::check_states::<Pi>(&[&long], 1 + 8 + 1 + 128 + 1 + 6);
}
