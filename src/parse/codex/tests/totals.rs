//! Responses by records and by running totals, their keys and models.

use super::*;

/// A token count: the total's input, the input of the last response if there is one.
fn count(total: u64, last: Option<u64>) -> String {
    let last = last.map_or("null".to_owned(), |last| format!(r#"{{"input_tokens":{last}}}"#));
    format!(
        r#"{{"type":"token_count","info":{{"total_token_usage":{{"input_tokens":{total},"total_tokens":9}},"last_token_usage":{last}}}}}"#
    )
}

fn inputs(all: &SampleYield) -> Vec<u64> {
    all.records.iter().map(|record| record.usage.input).collect()
}

#[test]
fn totals_count_what_no_record_covers() {
    let record = r#"{"response_id":"resp_1","usage":{"input_tokens":5}}"#;
    let nameless = r#"{"response_id":null,"usage":{"input_tokens":5}}"#;
    let none = r#"{"response_id":"resp_1","usage":null}"#;
    let empty = r#"{"response_id":"resp_1","usage":{"total_tokens":7}}"#;
    let (first, more, later) = (count(5, Some(5)), count(9, Some(4)), count(4, Some(4)));
    let cases: [(&[&str], &[u64], &str); 10] = [
        (&[&first, &more], &[5, 4], "two responses"),
        (&[&first, &first], &[5], "a total that stays"),
        (&[&more, &first], &[4], "an older snapshot"),
        (&[&count(5, None), &count(9, None)], &[5, 4], "no last figures"),
        (&[&first, &count(9, Some(0))], &[5], "a note"),
        (&[record, &first, &more], &[5, 4], "a record covers one total"),
        (
            &[record, &count(0, None), &first],
            &[5, 5],
            "a note uses up the cover",
        ),
        (&[nameless, &first], &[5], "a record without an id is none"),
        (&[none, &first], &[5], "nor is one without usage"),
        (&[empty, &later], &[], "a record without tokens covers"),
    ];
    for (payloads, want, why) in cases {
        let turn = started("turn", 1);
        let mut lines = vec![META, (1, "event_msg", &turn)];
        for payload in payloads {
            let kind = if payload.contains("response_id") {
                "token_usage_record"
            } else {
                "event_msg"
            };
            lines.push((2, kind, payload));
        }
        assert_eq!(inputs(&file(&lines)), want, "{why}");
    }
}

#[test]
fn a_total_may_start_anew_in_another_turn() {
    let (one, two) = (started("one", 1), started("two", 3));
    for last in [Some(700), None] {
        let (before, after) = (count(1200, Some(1200)), count(700, last));
        let all = file(&[
            META,
            (1, "event_msg", &one),
            (2, "event_msg", &before),
            (3, "event_msg", &two),
            (4, "event_msg", &after),
        ]);
        assert_eq!(inputs(&all), [1200, 700]);
    }
}

#[test]
fn totals_before_the_first_turn_of_a_fork_are_its_parents() {
    let (older, inherited) = (count(990, Some(20)), count(900, Some(30)));
    let own = count(950, None);
    let turn = started("own", 601);
    let base = r#"{"id":"child","history_base":{"thread_id":"thread"}}"#;
    for meta in [FORK, (600, "session_meta", base)] {
        let all = file(&[
            meta,
            (600, "event_msg", &older),
            (600, "event_msg", &inherited),
            (601, "event_msg", &turn),
            (602, "event_msg", &own),
        ]);
        assert_eq!(inputs(&all), [50]);
    }
    let all = file(&[META, (1, "event_msg", &inherited)]);
    assert_eq!(inputs(&all), [30], "a thread of its own inherits nothing");
}

#[test]
fn the_model_is_that_of_the_last_context_before() {
    let context = |model: &str| format!(r#"{{"turn_id":"t","model":{model}}}"#);
    let record = |id: u8| format!(r#"{{"response_id":"resp_{id}","usage":{{"output_tokens":1}}}}"#);
    let all = file(&[
        META,
        (1, "token_usage_record", &record(1)),
        (1, "turn_context", &context("\"gpt-a\"")),
        (1, "token_usage_record", &record(2)),
        (1, "turn_context", &context("null")),
        (1, "token_usage_record", &record(3)),
        (1, "turn_context", &context("\"codex-auto-review\"")),
        (1, "token_usage_record", &record(4)),
    ]);
    let models: Vec<&str> = all.records.iter().map(|record| &*record.model).collect();
    assert_eq!(models, [MODEL_UNKNOWN, "gpt-a", "gpt-a", "codex-auto-review"]);
    let session = session_hash(b"root", 0);
    assert!(
        all.records
            .iter()
            .all(|record| record.session == session && record.provider.is_none())
    );
}

#[test]
fn a_key_names_a_response_alone() {
    let record = |id: &str| format!(r#"{{"response_id":"{id}","usage":{{"output_tokens":1}}}}"#);
    let (one, two) = (record("resp_1"), record("resp_2"));
    let (turn, other) = (started("one", 1), started("two", 1));
    let total = count(5, Some(5));
    let key = |lines: &[(u32, &str, &str)]| file(lines).records[0].key;
    let keys = [
        key(&[META, (1, "token_usage_record", &one)]),
        key(&[META, (1, "token_usage_record", &two)]),
        key(&[META, (1, "event_msg", &turn), (1, "event_msg", &total)]),
        key(&[META, (1, "event_msg", &other), (1, "event_msg", &total)]),
        key(&[
            META,
            (1, "event_msg", &turn),
            (1, "event_msg", &count(6, Some(5))),
        ]),
        key(&[META, (1, "event_msg", &total)]),
        key(&[(1, "event_msg", &total)]),
    ];
    for (index, one) in keys.iter().enumerate() {
        assert!(!keys[..index].contains(one), "{index}");
    }
    assert_eq!(keys[0], key(&[FORK, (700, "token_usage_record", &one)]));
    assert_eq!(
        keys[2],
        key(&[FORK, (700, "event_msg", &turn), (700, "event_msg", &total)])
    );
    assert_ne!(
        count::key_of_response(0, b"resp_1"),
        count::key_of_response(1, b"resp_1")
    );
}
