//! The bytes of the state, then random lines and states.

use proptest::prelude::*;

use super::*;

#[test]
fn the_bytes_of_a_state_stay_as_they_are() {
    let state = Codex {
        thread: Some(CodexThread {
            id: Some(1),
            session: NonZeroU64::new(2),
            parent: NonZeroU64::new(3),
            began: Some(4),
            is_continued: true,
        }),
        turn: CodexTurn {
            is_begun: true,
            id: Some(5),
            copied_from: Some(6),
        },
        model: Some("gpt".into()),
        total: RunningTotal {
            last: Some([7, 8, 9, 10, 11]),
            is_of_turn: true,
            is_covered: true,
        },
        used_up: Some(UsedUp {
            window: "90m".into(),
            reset_at: Some(12),
        }),
    };
    let wide = |tag: u8, length: usize, value: u8| {
        let mut field = vec![tag, u8::try_from(length).unwrap(), value];
        field.resize(2 + length, 0);
        field
    };
    let mut total = wide(9, 40, 7);
    (8..=11)
        .zip([10, 18, 26, 34])
        .for_each(|(part, at)| total[at] = part);
    let fields = [
        wide(1, 1, 31),
        wide(2, 16, 1),
        wide(3, 8, 2),
        wide(4, 8, 3),
        wide(5, 8, 4),
        wide(6, 16, 5),
        wide(7, 8, 6),
        b"\x08\x03gpt".to_vec(),
        total,
        b"\x0a\x0390m".to_vec(),
        wide(11, 8, 12),
    ];
    let pinned = [vec![1], fields.concat()].concat();
    assert_eq!(state.encode(), pinned);
    assert_eq!(Codex::decode(&pinned), Some(state));
    assert_eq!(
        (Codex::default().encode(), Codex::decode(&[])),
        (Vec::new(), Some(Codex::default()))
    );
    for bytes in [
        &[2][..],
        &[1],
        &[1, 1, 1, 32],
        &[1, 1, 1, 0],
        &[1, 200, 0],
        &pinned[..9],
    ] {
        assert_eq!(Codex::decode(bytes), None, "{bytes:?}");
    }
}

/// Pieces of real and broken lines.
fn any_piece() -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<&'static [u8]> = vec![
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"1",
        b"-1",
        b"1e999",
        b"null",
        b"\"\\ud83d\"",
        b"\"\xFF\"",
        b"\0",
        b"\\",
        b"\"",
        b"{\"type\":\"session_meta\",\"payload\":{\"id\":\"a\",\"forked_from_id\":\"b\"}}",
        b"{\"type\":\"event_msg\",\"payload\":{",
        b"{\"type\":\"token_usage_record\",\"payload\":{",
        b"\"type\":\"token_count\"",
        b"\"type\":\"task_complete\"",
        b"\"type\":\"task_started\"",
        b"\"turn_id\":\"t\"",
        b"\"info\":{\"total_token_usage\":{\"input_tokens\":9223372036854775807}}",
        b"\"usage\":{\"output_tokens\":7}",
        b"\"response_id\":\"r\"",
        b"\"started_at\":1e11",
        b"\"rate_limits\":{\"primary\":{\"used_percent\":100}}",
        b"\"error\":{\"codex_error_info\":\"usage_limit_exceeded\"}",
        b"}}",
    ];
    prop_oneof![
        8 => proptest::sample::select(words).prop_map(<[u8]>::to_vec),
        1 => proptest::collection::vec(any::<u8>(), 0..8),
    ]
}

proptest! {
    /// Any line gives a result, and a record exactly if it is a line of usage.
    #[test]
    fn any_bytes_get_an_answer(
        lines in proptest::collection::vec(proptest::collection::vec(any_piece(), 0..12), 1..6),
    ) {
        let lines: Vec<Vec<u8>> = lines.iter().map(|pieces| pieces.concat()).collect();
        let text = lines.join(&b'\n');
        let all = samples::read::<Codex>(&text, false);
        prop_assert_eq!(samples::read::<Codex>(&text, true), all);
    }

    /// A truncated line is malformed, and changes nothing.
    #[test]
    fn a_torn_line_never_counts(file in 0usize..1000, line in 0usize..1000, cut in 1usize..100_000) {
        let files = samples::files_below(&fixtures(), ".jsonl");
        let text = std::fs::read(&files[file % files.len()]).unwrap();
        let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').filter(|line| line.len() > 1).collect();
        let whole = lines[line % lines.len()];
        let torn = &whole[..=cut % (whole.len() - 1)];
        let (mut parser, mut records, mut seen) = (Codex::default(), Vec::new(), Vec::new());
        let parsed = parser.parse(torn, LineContext::default(), &mut records, &mut seen);
        prop_assert_eq!((parsed.class, records.len(), seen.len()), (LineKind::Malformed, 0, 0));
        prop_assert_eq!(parser, Codex::default());
    }

    /// Any bytes decode to a state that was written, or to none.
    #[test]
    fn any_state_decodes_without_a_panic(
        random in proptest::collection::vec(any::<u8>(), 0..80), at in any::<usize>(), byte in any::<u8>(),
    ) {
        let _ = Codex::decode(&random);
        let mut parser = Codex::default();
        let text = std::fs::read(fixtures().join("awkward/11-usage-limit.jsonl")).unwrap();
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).take(4) {
            parser.parse(line, LineContext::default(), &mut Vec::new(), &mut Vec::new());
        }
        let mut bytes = parser.encode();
        prop_assert!(bytes.len() < 180);
        let at = at % bytes.len();
        let _ = Codex::decode(&bytes[..at]);
        bytes[at] = byte;
        if let Some(state) = Codex::decode(&bytes) {
            prop_assert_eq!(state.encode(), bytes);
        }
    }
}
