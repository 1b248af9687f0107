//! Parsing of one transcript line into records and observations: total, without panics and errors.
//!
//! A bad line is a value ([`LineKind::Malformed`]), an unknown one is [`LineKind::Ignored`]. Lines of up to
//! [`SHORT_LINE_BYTES_MAX`] and all lines that mention usage are parsed whole, as strictly as JSON and as
//! tolerantly as real files need (except a tool's result with usage in escapes). Longer lines without usage
//! are most of a transcript and count nothing: for them the frame `{...}` is accepted as an object without
//! parsing its inside. If the ends of such a line indicate limits, it is parsed for observations, but its
//! kind stays that of its frame.

pub mod claude;
pub mod codex;
pub mod dialect;
pub mod gemini;
pub mod line;
pub mod pi;
pub mod qwen;
pub mod recognise;
mod state;

use crate::model::{Dating, Dialect, Millis, Observation, ParserState, Record};
use claude::prefilter::{is_of_user, may_mention_usage, reports_use, speaks_of_limits, time_near_the_ends};
use dialect::DialectParser;
use recognise::LineOrigin;
use state::{KeptDialect, State};

pub use line::{LineContext, LineKind, Parsed, SHORT_LINE_BYTES_MAX};

/// Parses one line (without its `\n`) on its own, as one of Claude Code's.
pub fn line(
    bytes: &[u8],
    place: LineContext,
    records: &mut Vec<Record>,
    observations: &mut Vec<Observation>,
) -> Parsed {
    let mut parser = Parser {
        file: FileDialect::Claude,
        ..Parser::default()
    };
    parser.line(bytes, place, records, observations)
}

/// Parses the lines of one file in order; repeated parts are parsed once.
#[derive(Debug)]
pub struct Parser {
    /// That of Claude Code's lines.
    memory: claude::Memory,
    file: FileDialect,
    last_time: Option<Millis>,
    latest_time: Option<Millis>,
    /// Later times are not accepted.
    latest_believed: Millis,
}

/// The dialect of the file.
#[derive(Debug)]
enum FileDialect {
    /// This many lines did not show it. They are parsed as Claude Code's.
    Undecided(u8),
    Claude,
    Other(Dialect, Box<dyn DialectParser>),
}

impl FileDialect {
    /// Continues from a kept one. One whose state cannot be read is recognised again.
    fn new(kept: KeptDialect) -> Self {
        match kept {
            KeptDialect::Undecided(lines) => Self::Undecided(lines),
            KeptDialect::Decided(Dialect::Claude, _) => Self::Claude,
            KeptDialect::Decided(dialect, kept) => match recognise::parser(dialect, &kept) {
                Some(parser) => Self::Other(dialect, parser),
                None => Self::Undecided(0),
            },
        }
    }

    fn decided(dialect: Dialect) -> Self {
        match recognise::parser(dialect, &[]) {
            Some(parser) => Self::Other(dialect, parser),
            None => Self::Claude,
        }
    }

    fn kept(&self) -> KeptDialect {
        match self {
            Self::Undecided(lines) => KeptDialect::Undecided(*lines),
            Self::Claude => KeptDialect::Decided(Dialect::Claude, Box::default()),
            Self::Other(dialect, parser) => KeptDialect::Decided(*dialect, parser.encode().into()),
        }
    }
}

impl Default for Parser {
    fn default() -> Self {
        Self::new(&ParserState::default(), Millis::MAX)
    }
}

impl Parser {
    /// A parser that continues from a kept state. Times after `latest_believed` are not accepted.
    #[must_use]
    pub fn new(kept: &ParserState, latest_believed: Millis) -> Self {
        let state = State::decode(kept);
        Self {
            memory: claude::Memory::new(state.retries, state.streams),
            file: FileDialect::new(state.dialect),
            last_time: state.last_time,
            latest_time: state.latest_time,
            latest_believed,
        }
    }

    /// The state to keep.
    #[must_use]
    pub fn state(&self) -> ParserState {
        let (retries, streams) = self.memory.kept();
        State {
            last_time: self.last_time,
            latest_time: self.latest_time,
            retries,
            streams,
            dialect: self.file.kept(),
        }
        .encode()
    }

    /// The dialect of the file, which its first lines show. Lines of an undecided file have nothing that counts
    /// and are Claude Code's.
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        match self.file {
            FileDialect::Undecided(_) | FileDialect::Claude => Dialect::Claude,
            FileDialect::Other(dialect, _) => dialect,
        }
    }

    /// Decides the dialect by the next line, if it is undecided.
    fn recognise(&mut self, bytes: &[u8]) {
        if let FileDialect::Undecided(lines) = self.file {
            self.file = match recognise::line_origin(bytes) {
                LineOrigin::Of(dialect) => FileDialect::decided(dialect),
                LineOrigin::OtherAgent(_) => FileDialect::Claude,
                LineOrigin::Ours | LineOrigin::Unknown => {
                    let lines = lines.saturating_add(1);
                    if lines < recognise::LINES_MAX {
                        FileDialect::Undecided(lines)
                    } else {
                        FileDialect::Claude
                    }
                }
            };
        }
    }

    /// The latest time of a line so far.
    #[must_use]
    pub fn latest_time(&self) -> Option<Millis> {
        self.latest_time
    }

    /// Parses one line (without its `\n`). Its time is `None` if it is not accepted.
    pub fn line(
        &mut self,
        bytes: &[u8],
        place: LineContext,
        records: &mut Vec<Record>,
        observations: &mut Vec<Observation>,
    ) -> Parsed {
        self.recognise(bytes);
        let before = (records.len(), observations.len());
        let mut parsed = self.class(bytes, place, records, observations);
        if matches!(self.file, FileDialect::Undecided(_)) && before != (records.len(), observations.len()) {
            self.file = FileDialect::Claude;
        }
        let believed = |time: &Millis| *time <= self.latest_believed;
        for record in &mut records[before.0..] {
            if record.time.is_none_or(|time| !believed(&time)) {
                record.time = self.last_time;
                record.dating = record.time.map_or(Dating::Unknown, |_| Dating::Nearby);
            }
        }
        parsed.time = parsed.time.filter(believed);
        self.last_time = parsed.time.or(self.last_time);
        self.latest_time = parsed.time.max(self.latest_time);
        parsed
    }

    fn class(
        &mut self,
        bytes: &[u8],
        place: LineContext,
        records: &mut Vec<Record>,
        observations: &mut Vec<Observation>,
    ) -> Parsed {
        let trimmed = bytes.trim_ascii();
        if trimmed.is_empty() {
            return Parsed::plain(LineKind::Ignored, None);
        }
        if let FileDialect::Other(_, parser) = &mut self.file {
            return dialect::line(parser.as_mut(), trimmed, place, records, observations);
        }
        if trimmed.len() > SHORT_LINE_BYTES_MAX
            && trimmed.first() == Some(&b'{')
            && trimmed.last() == Some(&b'}')
            && !may_mention_usage(trimmed)
        {
            let mut report = None;
            if !is_of_user(trimmed) && (speaks_of_limits(trimmed) || reports_use(trimmed)) {
                let parsed = claude::line(trimmed, place, &mut self.memory, &mut Vec::new(), observations);
                report = parsed.report;
            }
            return Parsed {
                report,
                ..Parsed::plain(LineKind::Ignored, time_near_the_ends(trimmed))
            };
        }
        claude::line(trimmed, place, &mut self.memory, records, observations)
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod samples;

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use proptest::prelude::*;
    use strum::VariantArray;

    use super::claude::prefilter::END_BYTES;
    use super::*;

    #[test]
    fn a_long_line_is_judged_by_its_frame_and_dated_by_its_ends() {
        let body = "x".repeat(SHORT_LINE_BYTES_MAX);
        let cases = [
            (
                format!(r#"{{"type":"user","content":"{body}","timestamp":"2026-10-05T09:00:00.000Z"}}"#),
                LineKind::Ignored,
                Some(1_791_190_800_000),
            ),
            (
                format!(r#"{{"type":"user","timestamp":"2026-10-05T09:00:00.000Z","content":"{body}"}}"#),
                LineKind::Ignored,
                Some(1_791_190_800_000),
            ),
            (
                format!(r#"{{"type":"user","content":"{body}"}}"#),
                LineKind::Ignored,
                None,
            ),
            (
                format!(r#"{{"type":"user","content":"{body}"#),
                LineKind::Malformed,
                None,
            ),
            (
                format!(r#"{{"type":"assistant","content":"{body}","message":{{"usage":7}}}}"#),
                LineKind::Malformed,
                None,
            ),
        ];
        for (text, class, time) in cases {
            let mut records = Vec::new();
            let got = line(
                text.as_bytes(),
                LineContext::default(),
                &mut records,
                &mut Vec::new(),
            );
            assert_eq!(
                (got.class, got.time, records.len()),
                (class, time, 0),
                "{}",
                &text[..60]
            );
        }
    }

    #[test]
    fn a_long_line_with_its_usage_in_escapes_counts() {
        let body = "x".repeat(SHORT_LINE_BYTES_MAX);
        for key in [
            "usage",
            r"us\u0061ge",
            r"\u0075\u0073\u0061\u0067\u0065",
            r"usag\u0065",
        ] {
            for pad in ["", &body] {
                let text = format!(
                    r#"{{"type":"assistant","pad":"\u001b[0m{pad}","message":{{"id":"msg_1","{key}":{{"output_tokens":7}}}}}}"#
                );
                let mut records = Vec::new();
                line(
                    text.as_bytes(),
                    LineContext::default(),
                    &mut records,
                    &mut Vec::new(),
                );
                assert_eq!(records.len(), 1, "{key}, {} bytes", text.len());
            }
        }
    }

    #[test]
    fn a_tools_result_is_not_searched_for_usage_in_escapes() {
        let body = r"\u001b[0m".repeat(SHORT_LINE_BYTES_MAX);
        let late = " ".repeat(END_BYTES);
        for (key, after, class) in [
            ("usage", "", LineKind::Usage),
            ("usage", &late, LineKind::Usage),
            (r"us\u0061ge", "", LineKind::Usage),
            (r"us\u0061ge", &late, LineKind::Ignored),
        ] {
            let text = format!(
                r#"{{"toolUseResult":{{"type":"user"}},"pad":"{body}","type":"assistant","message":{{"id":"msg_1","{key}":{{"output_tokens":7}}}}{after}}}"#
            );
            let got = line(
                text.as_bytes(),
                LineContext::default(),
                &mut Vec::new(),
                &mut Vec::new(),
            );
            assert_eq!(got.class, class, "{key}, {} bytes before the end", after.len());
        }
    }

    #[test]
    fn an_identity_that_is_no_text_is_the_same_in_a_line_that_is_mended() {
        let text = |before: &[u8], id: &[u8]| {
            let around: [&[u8]; 3] = [
                br#"{"type":"assistant","requestId":"r","message":{"model":"m","usage":{"output_tokens":7},"id":""#,
                id,
                br#""}}"#,
            ];
            [before, &around.concat()].concat()
        };
        let marked = "a\u{FFFD}b".as_bytes();
        let mut records = Vec::new();
        for (before, id) in [
            (b"".as_slice(), b"a\xFFb".as_slice()),
            (b"\xEF\xBB\xBF", b"a\xFFb"),
            (b"\0", b"a\xFFb"),
            (b"", marked),
            (b"\0", marked),
        ] {
            let line_of = text(before, id);
            let got = line(&line_of, LineContext::default(), &mut records, &mut Vec::new());
            assert_eq!(got.class, LineKind::Usage);
        }
        assert!(records.iter().all(|record| record.key == records[0].key));
    }

    #[test]
    fn control_characters_do_not_cost_the_usage() {
        for control in ["\t", "\x01", "\0", "\x1f"] {
            for (name, value) in [
                (format!("a{control}b"), "c".to_owned()),
                ("a".to_owned(), format!("b{control}c")),
            ] {
                let text = format!(
                    r#"{{"type":"assistant","{name}":"{value}","message":{{"id":"msg_1","usage":{{"output_tokens":7}}}}}}"#
                );
                let mut records = Vec::new();
                let got = line(
                    text.as_bytes(),
                    LineContext::default(),
                    &mut records,
                    &mut Vec::new(),
                );
                assert_eq!((got.class, records.len()), (LineKind::Usage, 1), "{text:?}");
            }
        }
    }

    #[test]
    fn what_does_not_matter_cannot_cost_the_usage_and_synthetic_calls_never_count() {
        let around = |extra: &str, in_usage: &str| {
            format!(
                r#"{{"type":"assistant"{extra},"message":{{"id":"msg_1","model":"m","usage":{{"output_tokens":7{in_usage}}}}}}}"#
            )
        };
        let digits = format!(r#","data":{}"#, "9".repeat(400));
        let lines = [
            around(r#","data":1e999"#, ""),
            around(&digits, ""),
            around(r#","data":"\ud83d""#, ""),
            around("", r#","cache_creation":-1e999"#),
            around("", r#","server_tool_use":"\ud83d""#),
            around("", r#","output_tokens_details":1e999"#),
            around(
                "",
                r#","iterations":[{"type":"advisor_message","model":"<synthetic>","output_tokens":9}]"#,
            ),
        ];
        for text in lines {
            let mut records = Vec::new();
            let got = line(
                text.as_bytes(),
                LineContext::default(),
                &mut records,
                &mut Vec::new(),
            );
            assert_eq!(got.class, LineKind::Usage, "{text}");
            assert_eq!(
                records
                    .iter()
                    .map(|record| record.usage.output)
                    .collect::<Vec<_>>(),
                [7],
                "{text}"
            );
        }
        for usage in ["1e999", r#""\ud83d""#, "null", "[]"] {
            let text = format!(r#"{{"type":"assistant","message":{{"id":"msg_1","usage":{usage}}}}}"#);
            assert_eq!(
                line(
                    text.as_bytes(),
                    LineContext::default(),
                    &mut Vec::new(),
                    &mut Vec::new()
                )
                .class,
                LineKind::Malformed,
                "{text}"
            );
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
            b"\"type\"",
            b"\"assistant\"",
            b"\"progress\"",
            b"\"message\"",
            b"\"usage\"",
            b"\"input_tokens\"",
            b"\"iterations\"",
            b"\"data\"",
            b"\"id\"",
            b"\"msg_1\"",
            b"1",
            b"-1",
            b"1e999",
            b"null",
            b"true",
            b"\"\\ud83d\"",
            b"\"\xFF\"",
            b"\0",
            b"\x01",
            b"\\",
            b"\"",
            b" ",
        ];
        prop_oneof![
            8 => proptest::sample::select(words).prop_map(<[u8]>::to_vec),
            1 => proptest::collection::vec(any::<u8>(), 0..8),
        ]
    }

    /// The yield of a file, with and without a restart after each line.
    fn file(text: &[u8]) -> (Dialect, Vec<Record>, Vec<Observation>) {
        let read = |restarts| {
            let (mut parser, mut records, mut observations) = (Parser::default(), Vec::new(), Vec::new());
            for line in text.split(|byte| *byte == b'\n') {
                parser.line(line, LineContext::default(), &mut records, &mut observations);
                if restarts {
                    parser = Parser::new(&parser.state(), Millis::MAX);
                }
            }
            (parser.dialect(), records, observations)
        };
        let once = read(false);
        assert_eq!(once, read(true));
        once
    }

    /// The sample files of each dialect beside Claude Code's.
    fn samples_of_all() -> Vec<(Dialect, PathBuf)> {
        let others = Dialect::VARIANTS
            .iter()
            .filter(|dialect| **dialect != Dialect::Claude);
        let files = |dialect: &Dialect| {
            let dialect = *dialect;
            let files = samples::files_below(&hostile::samples_of(dialect.name()), ".jsonl");
            assert!(!files.is_empty(), "{} has no samples", dialect.name());
            files.into_iter().map(move |path| (dialect, path))
        };
        others.flat_map(files).collect()
    }

    #[test]
    fn a_file_is_read_in_the_dialect_of_its_first_lines() {
        let mut counted = 0;
        for (dialect, path) in samples_of_all() {
            let text = std::fs::read(&path).unwrap();
            let (found, records, _) = file(&text);
            let is_sums = path.ends_with("usage_record.jsonl");
            let want = if is_sums { Dialect::Claude } else { dialect };
            assert_eq!(found, want, "{}", path.display());
            assert!(records.is_empty() || !is_sums, "{}", path.display());
            let (late, ..) = file(&[b"\n{\"note\":1}\n", text.as_slice()].concat());
            assert_eq!(late, want, "{}", path.display());
            counted += records.len();
        }
        assert!(counted > 200, "{counted}");
    }

    #[test]
    fn the_first_line_that_shows_a_dialect_decides() {
        let claude = r#"{"type":"assistant","message":{"id":"msg_1","usage":{"output_tokens":7}}}"#;
        let codex = r#"{"type":"session_meta","payload":{"id":"t"}}"#;
        let used =
            r#"{"type":"token_usage_record","payload":{"response_id":"r","usage":{"output_tokens":7}}}"#;
        for (lines, dialect, records) in [
            (vec![claude, codex, used], Dialect::Claude, 1),
            (vec![codex, claude, used], Dialect::Codex, 1),
            (vec![used, claude], Dialect::Codex, 1),
            (vec!["{}", "", "\u{feff}{}", used], Dialect::Codex, 1),
            (
                vec![
                    r#"{"message":{"role":"assistant","id":"msg_1","usage":{"output_tokens":7}}}"#,
                    used,
                ],
                Dialect::Claude,
                1,
            ),
        ] {
            let (found, all, _) = file(lines.join("\n").as_bytes());
            assert_eq!((found, all.len()), (dialect, records), "{lines:?}");
        }
        let just = [
            vec!["{}"; usize::from(recognise::LINES_MAX) - 1],
            vec![codex, used],
        ]
        .concat();
        let (found, all, _) = file(just.join("\n").as_bytes());
        assert_eq!((found, all.len()), (Dialect::Codex, 1), "just in time");
        let late = [vec!["{}"; usize::from(recognise::LINES_MAX)], vec![codex, used]].concat();
        let (found, all, _) = file(late.join("\n").as_bytes());
        assert_eq!((found, all.len()), (Dialect::Claude, 0), "too late");
    }

    #[test]
    fn a_damaged_first_line_does_not_hide_the_dialect() {
        for (dialect, path) in samples_of_all() {
            let text = std::fs::read(&path).unwrap();
            let (_, whole, _) = file(&text);
            let first = text.iter().position(|byte| *byte == b'\n').unwrap();
            if whole.is_empty() || file(&text[..first]).1 == whole {
                continue;
            }
            for cut in [0, 1, 5, 30, first / 2, first - 1] {
                let damaged = [&text[..cut.min(first)], &text[first..]].concat();
                let (found, records, _) = file(&damaged);
                assert_eq!(found, dialect, "{} cut at {cut}", path.display());
                assert!(!records.is_empty(), "{} cut at {cut}", path.display());
            }
        }
    }

    #[test]
    fn a_state_that_cannot_be_read_is_recognised_again() {
        let mut parser = Parser::default();
        let codex = r#"{"type":"session_meta","payload":{"id":"t"}}"#.as_bytes();
        parser.line(codex, LineContext::default(), &mut Vec::new(), &mut Vec::new());
        let mut kept = parser.state().bytes().to_vec();
        *kept.last_mut().unwrap() ^= 1;
        kept.push(0);
        let mut again = Parser::new(&ParserState::new(&kept), Millis::MAX);
        assert_eq!(again.dialect(), Dialect::Claude, "undecided");
        again.line(codex, LineContext::default(), &mut Vec::new(), &mut Vec::new());
        assert_eq!(again.dialect(), Dialect::Codex);
    }

    proptest! {
        /// Any line gives a result, records only with usage, and the same result again.
        #[test]
        fn any_bytes_get_an_answer(pieces in proptest::collection::vec(any_piece(), 0..40)) {
            let text: Vec<u8> = pieces.concat().into_iter().filter(|byte| *byte != b'\n').collect();
            let mut found = (Vec::new(), Vec::new());
            let mut again = (Vec::new(), Vec::new());
            let parsed = line(&text, LineContext::default(), &mut found.0, &mut found.1);
            prop_assert_eq!(parsed.class == LineKind::Usage, !found.0.is_empty());
            prop_assert!(found.1.len() <= claude::limits::OBSERVATIONS_MAX);
            prop_assert_eq!(line(&text, LineContext::default(), &mut again.0, &mut again.1), parsed);
            prop_assert_eq!(again, found);
        }

        /// Earlier lines change no result.
        #[test]
        fn lines_in_a_row_are_read_as_each_by_itself(
            lines in proptest::collection::vec((0u64..3, 0usize..5, 0usize..3), 1..12),
        ) {
            let mut parser = Parser::default();
            for (output, shape, model) in lines {
                let usage = format!(
                    r#"{{"input_tokens":3,"output_tokens":{output}{}}}"#,
                    ["", r#","speed":"fast""#, r#","iterations":[{"type":"advisor_message","model":"a","output_tokens":9}]"#,
                        " ", r#","output_tokens":8"#][shape],
                );
                let model = ["m", "n", "<synthetic>"][model];
                let text = format!(r#"{{"type":"assistant","message":{{"id":"msg_1","model":"{model}","usage":{usage}}}}}"#);
                let (mut found, mut alone) = (Vec::new(), Vec::new());
                let parsed = parser.line(text.as_bytes(), LineContext::default(), &mut found, &mut Vec::new());
                prop_assert_eq!(parsed, line(text.as_bytes(), LineContext::default(), &mut alone, &mut Vec::new()));
                prop_assert_eq!(found, alone);
            }
        }

        /// A truncated usage line is malformed, and never counts.
        #[test]
        fn a_torn_line_never_counts(cut in 1usize..140) {
            let whole = br#"{"type":"assistant","timestamp":"2026-10-05T09:00:00.000Z","message":{"id":"msg_1","model":"m","usage":{"input_tokens":12,"output_tokens":7}}}"#;
            let mut records = Vec::new();
            let parsed = line(&whole[..cut], LineContext::default(), &mut records, &mut Vec::new());
            prop_assert_eq!((parsed.class, records.len()), (LineKind::Malformed, 0));
        }
    }
}
