//! Files on disk read in turns of any size must give what one reading of the whole gives.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::logfile::Root;
use crate::record::HOUR_MS;

const NOW: Millis = 1_791_190_800_000;

fn reading(line_bytes_max: usize, turn_bytes_max: u64) -> Reading {
    Reading {
        line_bytes_max,
        turn_bytes_max,
        settle: false,
        until: u64::MAX,
        lines_until: None,
        account: Arc::default(),
        now: NOW,
    }
}

fn assistant(id: u32, output: u64) -> String {
    format!(
        r#"{{"type":"assistant","timestamp":"2026-10-05T09:00:00.000Z","message":{{"id":"msg_{id}","model":"m","usage":{{"input_tokens":1,"output_tokens":{output}}}}}}}"#
    )
}

/// A limit line, so many hours after [`NOW`].
fn limit(hours: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(NOW + hours * HOUR_MS).unwrap();
    format!(
        r#"{{"type":"rate_limit_event","timestamp":"{time}","rate_limit_info":{{"status":"rejected","rateLimitType":"five_hour","unifiedWindows":{{"seven_day":{{"utilization":0.5}}}}}}}}"#
    )
}

/// The line without its time.
fn undated(line: &str) -> String {
    line.replace("timestamp", "no_time")
}

/// Everything a file gives, read in turns; checks the invariant of the offset on the way.
struct Read {
    cursor: Cursor,
    state: ParserState,
    scanned: Scanned,
    records: Vec<Record>,
    observations: Vec<Observation>,
    lines: LineCounts,
    bytes: u64,
    turns: u32,
}

impl Read {
    fn new() -> Self {
        Self {
            cursor: Cursor::default(),
            state: ParserState::default(),
            scanned: Scanned::default(),
            records: vec![],
            observations: vec![],
            lines: LineCounts::default(),
            bytes: 0,
            turns: 0,
        }
    }

    fn position(&self) -> Position {
        Position {
            cursor: self.cursor,
            state: self.state.clone(),
        }
    }

    fn on(&mut self, directory: &Path, reading: &Reading) {
        let file = Root::open(directory)
            .unwrap()
            .open_file(Path::new("a.jsonl"))
            .unwrap();
        let stat = file.stat().unwrap();
        let mut tail = Tail::default();
        if self.turns == 0 {
            self.cursor.inode = stat.inode;
        } else {
            tail = file
                .continues(&stat, &self.cursor)
                .unwrap()
                .expect("the file is only appended to");
        }
        let content = fs::read(directory.join("a.jsonl")).unwrap();
        loop {
            let turn = read(
                &file,
                self.position(),
                tail,
                self.scanned,
                reading,
                &mut Vec::new(),
            )
            .unwrap();
            let at = usize::try_from(turn.cursor.offset).unwrap();
            assert!(
                at == 0 || content[at - 1] == b'\n',
                "offset {at} is not after a line end"
            );
            self.cursor = turn.cursor;
            self.state = turn.state;
            self.scanned = turn.scanned;
            // A copy that begins a turn is joined with none: which are depends on where turns end.
            for record in turn.records {
                let joins = |last: &mut Record| fold::join(last, &record);
                if !self.records.last_mut().is_some_and(joins) {
                    self.records.push(record);
                }
            }
            self.observations.extend(turn.observations);
            self.lines.add(&turn.lines);
            self.bytes += turn.bytes;
            self.turns += 1;
            if !turn.more {
                return;
            }
            tail = file
                .continues(&stat, &self.cursor)
                .unwrap()
                .expect("nothing changed in between");
        }
    }
}

#[test]
fn an_oversized_line_is_counted_once_and_the_next_line_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.jsonl");
    let text = format!(
        "{}\n{}\n{}\n",
        assistant(1, 5),
        "x".repeat(3 * BLOCK_BYTES),
        assistant(2, 6)
    );
    for (line_max, turn_max) in [(1000, 1), (1000, 1 << 30), (BLOCK_BYTES + 7, 1000)] {
        fs::write(&path, &text).unwrap();
        let mut got = Read::new();
        got.on(directory.path(), &reading(line_max, turn_max));
        assert_eq!(
            (got.lines.read, got.lines.usage, got.lines.oversized),
            (3, 2, 1),
            "{line_max} {turn_max}"
        );
        assert_eq!(
            (got.cursor.offset, got.bytes),
            (text.len() as u64, text.len() as u64)
        );
        assert_eq!(got.cursor.skip_to, None);
    }
}

#[test]
fn a_skip_goes_on_where_it_stopped() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.jsonl");
    let reading = reading(1000, 1 << 30);
    let mut got = Read::new();
    fs::write(&path, "x".repeat(5000)).unwrap();
    got.on(directory.path(), &reading);
    assert_eq!(
        (got.cursor.offset, got.cursor.skip_to.map(NonZeroU64::get)),
        (0, Some(5000))
    );
    fs::write(&path, "x".repeat(9000)).unwrap();
    got.on(directory.path(), &reading);
    assert_eq!(got.cursor.skip_to.map(NonZeroU64::get), Some(9000));
    fs::write(&path, "x".repeat(9000) + "\n" + &assistant(1, 5) + "\n").unwrap();
    got.on(directory.path(), &reading);
    assert_eq!(
        (
            got.lines.read,
            got.lines.oversized,
            got.lines.usage,
            got.cursor.skip_to
        ),
        (2, 1, 1, None)
    );
}

#[test]
fn an_unfinished_line_waits_until_it_is_settled() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.jsonl");
    fs::write(&path, assistant(1, 5)).unwrap();
    let mut got = Read::new();
    got.on(directory.path(), &reading(1000, 1000));
    assert_eq!((got.lines.read, got.cursor.offset), (0, 0));
    let settle = Reading {
        settle: true,
        ..reading(1000, 1000)
    };
    got.on(directory.path(), &settle);
    got.on(directory.path(), &settle);
    assert_eq!(
        (got.lines.read, got.lines.usage, got.cursor.offset),
        (1, 1, 0),
        "settled once, cursor before it"
    );
    fs::write(&path, assistant(1, 5) + "\n" + &assistant(2, 7) + "\n").unwrap();
    got.on(directory.path(), &reading(1000, 1000));
    assert_eq!(
        (got.lines.read, got.lines.usage, got.cursor.settled_to),
        (2, 2, 0),
        "not counted again"
    );
    fs::write(
        &path,
        assistant(1, 5) + "\n" + &assistant(2, 7) + "\n{\"type\":\"assis",
    )
    .unwrap();
    got.on(directory.path(), &settle);
    assert_eq!(
        (got.lines.read, got.lines.malformed),
        (2, 0),
        "what does not parse waits"
    );
}

#[test]
fn an_unfinished_line_that_is_cut_off_gives_way_to_the_one_written_instead() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.jsonl");
    let first = assistant(1, 5) + "\n";
    let instead = assistant(3, 7) + "\n";
    for unfinished in [assistant(2, 100), assistant(2, 100) + "   ", "{".repeat(600)] {
        fs::write(&path, first.clone() + &unfinished).unwrap();
        let mut got = Read::new();
        got.on(directory.path(), &reading(1000, 1000));
        assert_eq!(got.lines.read, 1);
        fs::write(&path, first.clone() + &instead).unwrap();
        got.on(directory.path(), &reading(1000, 1000));
        assert_eq!((got.lines.read, got.lines.usage), (2, 2), "{unfinished}");
    }
}

#[test]
fn a_file_rewritten_while_a_line_is_skipped_is_another_content() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.jsonl");
    for start in [String::new(), assistant(1, 5) + "\n"] {
        fs::write(&path, format!("{start}{}", "x".repeat(5000))).unwrap();
        let mut got = Read::new();
        got.on(directory.path(), &reading(1000, 1 << 30));
        assert!(got.cursor.skip_to.is_some());
        let file = Root::open(directory.path())
            .unwrap()
            .open_file(Path::new("a.jsonl"))
            .unwrap();
        assert!(
            file.continues(&file.stat().unwrap(), &got.cursor)
                .unwrap()
                .is_some()
        );
        fs::write(&path, start + &(assistant(2, 7) + "\n").repeat(100)).unwrap();
        let stat = file.stat().unwrap();
        assert!(file.continues(&stat, &got.cursor).unwrap().is_none());
    }
}

#[test]
fn a_settled_line_is_not_counted_again_whichever_line_end_comes() {
    for end in ["\n", "\r\n"] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.jsonl");
        fs::write(&path, assistant(1, 5)).unwrap();
        let mut got = Read::new();
        got.on(
            directory.path(),
            &Reading {
                settle: true,
                ..reading(1000, 1000)
            },
        );
        fs::write(&path, assistant(1, 5) + end).unwrap();
        got.on(directory.path(), &reading(1000, 1000));
        assert_eq!((got.lines.read, got.cursor.settled_to), (1, 0));
        assert_eq!(got.bytes, fs::metadata(&path).unwrap().len());
    }
}

#[test]
fn a_line_in_the_place_of_a_settled_one_is_counted_even_if_it_is_as_long() {
    for before in ["", "{\"type\":\"mode\"}\n"] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.jsonl");
        fs::write(&path, before.to_owned() + &assistant(1, 5)).unwrap();
        let mut got = Read::new();
        let settle = Reading {
            settle: true,
            ..reading(1000, 1000)
        };
        got.on(directory.path(), &settle);
        assert_eq!((got.lines.usage, got.cursor.offset), (1, before.len() as u64));
        // Nobody looked while it was cut off.
        fs::write(&path, before.to_owned() + &assistant(2, 7) + "\n").unwrap();
        let root = Root::open(directory.path()).unwrap();
        let file = root.open_file(Path::new("a.jsonl")).unwrap();
        let stat = file.stat().unwrap();
        let run = RunId::new("one").unwrap();
        assert_ne!(got.state, ParserState::default());
        let stored = got.position();
        let (position, tail) = start(&file, &stat, Some(&stored), &run, Path::new("a.jsonl")).unwrap();
        assert_eq!(
            (position.cursor.generation, position.cursor.offset),
            (1, 0),
            "after {before:?}"
        );
        assert_eq!(
            position.state,
            ParserState::default(),
            "it begins anew with the file"
        );
        let turn = read(
            &file,
            position,
            tail,
            Scanned::default(),
            &reading(1000, 1000),
            &mut Vec::new(),
        );
        assert_eq!(turn.unwrap().records[0].usage.output, 7);
    }
}

#[test]
fn limits_are_told_once_in_the_order_of_lines_and_not_dated_in_the_future() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.jsonl");
    let text = [limit(24), limit(25), assistant(1, 5), limit(-1)].join("\n");
    fs::write(&path, &text).unwrap();
    let mut got = Read::new();
    got.on(directory.path(), &reading(1000, 1));
    let settle = Reading {
        settle: true,
        ..reading(1000, 1000)
    };
    got.on(directory.path(), &settle);
    got.on(directory.path(), &settle);
    fs::write(&path, text + "\n").unwrap();
    got.on(directory.path(), &reading(1000, 1));
    let told: Vec<_> = got
        .observations
        .iter()
        .map(|found| (&*found.bucket, found.observed_at.map(|at| (at - NOW) / HOUR_MS)))
        .collect();
    assert_eq!(
        told,
        [
            ("five_hour", Some(0)),
            ("seven_day", Some(0)),
            ("five_hour", Some(0)),
            ("seven_day", Some(0)),
            ("five_hour", Some(-1)),
            ("seven_day", Some(-1)),
        ]
    );
    assert_eq!((got.lines.usage, got.lines.ignored), (1, 3));
}

fn any_line() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => (0u32..4, 0u64..9).prop_map(|(id, output)| assistant(id, output).into_bytes()),
        1 => Just(b"{\"type\":\"mode\"}".to_vec()),
        1 => (0i64..3).prop_map(|hours| limit(hours).into_bytes()),
        1 => (-9i64..26).prop_map(|hours| limit(hours).into_bytes()),
        1 => Just(undated(&limit(0)).into_bytes()),
        1 => (0u32..4, 0u64..9).prop_map(|(id, output)| undated(&assistant(id, output)).into_bytes()),
        1 => Just(b"not json".to_vec()),
        1 => Just(Vec::new()),
        1 => proptest::collection::vec(any::<u8>().prop_filter("no line end", |b| *b != b'\n'), 0..50),
        1 => Just(vec![b'x'; 700]),
    ]
}

proptest! {
    /// Any growth of the file, cut anywhere, read in turns of any size.
    #[test]
    fn any_growth_and_any_turn_size_give_the_same(
        lines in proptest::collection::vec(any_line(), 0..12),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..6),
        turn_bytes_max in 1u64..2000,
    ) {
        let text = lines.iter().fold(Vec::new(), |mut text, line| { text.extend(line); text.push(b'\n'); text });
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.jsonl");
        fs::write(&path, &text).unwrap();
        let mut whole = Read::new();
        whole.on(directory.path(), &reading(600, 1 << 30));

        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).chain([text.len()]).collect();
        ends.sort_unstable();
        fs::write(&path, b"").unwrap();
        let mut grown = Read::new();
        for end in ends {
            fs::write(&path, &text[..end]).unwrap();
            grown.on(directory.path(), &reading(600, turn_bytes_max));
        }
        prop_assert_eq!(grown.records, whole.records);
        prop_assert_eq!(grown.observations, whole.observations);
        prop_assert_eq!(grown.lines, whole.lines);
        prop_assert_eq!(grown.bytes, whole.bytes);
        prop_assert_eq!(grown.cursor.offset, whole.cursor.offset);
        prop_assert_eq!(grown.state, whole.state);
    }
}
