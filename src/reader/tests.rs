//! Files on disk read in chunks of any size must give what one reading of the whole gives.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::clock::Clock;
use crate::logfile::Root;
use crate::model::HOUR_MS;

const NOW: Millis = 1_791_190_800_000;

fn reading(line_bytes_max: usize, turn_bytes_max: u64) -> ReadOptions {
    ReadOptions {
        line_bytes_max,
        turn_bytes_max,
        count_partial: false,
        until: u64::MAX,
        lines_until: None,
        waits_for_holes: true,
        is_project: false,
        accounts: Arc::default(),
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

/// Everything a file gives, read in chunks; checks the invariant of the offset on the way.
struct Read {
    cursor: Cursor,
    state: ParserState,
    partial: PartialLine,
    records: Vec<Record>,
    observations: Vec<Observation>,
    lines: LineCounts,
    bytes: u64,
    chunks: u32,
}

impl Read {
    fn new() -> Self {
        Self {
            cursor: Cursor::default(),
            state: ParserState::default(),
            partial: PartialLine::default(),
            records: vec![],
            observations: vec![],
            lines: LineCounts::default(),
            bytes: 0,
            chunks: 0,
        }
    }

    fn position(&self) -> Position {
        Position {
            cursor: self.cursor,
            state: self.state.clone(),
        }
    }

    fn on(&mut self, directory: &Path, reading: &ReadOptions) {
        let file = Root::open(directory)
            .unwrap()
            .open_file(Path::new("a.jsonl"))
            .unwrap();
        let stat = file.stat().unwrap();
        let mut tail = Tail::default();
        if self.chunks == 0 {
            self.cursor.inode = stat.inode;
        } else {
            tail = file
                .continues(&stat, &self.cursor)
                .unwrap()
                .expect("the file is only appended to");
        }
        let content = fs::read(directory.join("a.jsonl")).unwrap();
        loop {
            let chunk = read(
                &file,
                self.position(),
                tail,
                self.partial,
                reading,
                &mut Vec::new(),
            )
            .unwrap();
            let at = usize::try_from(chunk.cursor.offset).unwrap();
            assert!(
                at == 0 || content[at - 1] == b'\n',
                "offset {at} is not after a line end"
            );
            self.cursor = chunk.cursor;
            self.state = chunk.state;
            self.partial = chunk.partial;
            // A copy that begins a chunk is joined with none: which are depends on where chunks end.
            for record in chunk.records {
                let joins = |last: &mut Record| dedup::coalesce(last, &record);
                if !self.records.last_mut().is_some_and(joins) {
                    self.records.push(record);
                }
            }
            self.observations.extend(chunk.observations);
            self.lines.add(&chunk.lines);
            self.bytes += chunk.bytes;
            self.chunks += 1;
            if !chunk.more {
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
    let count_partial = ReadOptions {
        count_partial: true,
        ..reading(1000, 1000)
    };
    got.on(directory.path(), &count_partial);
    got.on(directory.path(), &count_partial);
    assert_eq!(
        (got.lines.read, got.lines.usage, got.cursor.offset),
        (1, 1, 0),
        "counted once, cursor before it"
    );
    fs::write(&path, assistant(1, 5) + "\n" + &assistant(2, 7) + "\n").unwrap();
    got.on(directory.path(), &reading(1000, 1000));
    assert_eq!(
        (got.lines.read, got.lines.usage, got.cursor.partial_end),
        (2, 2, 0),
        "not counted again"
    );
    fs::write(
        &path,
        assistant(1, 5) + "\n" + &assistant(2, 7) + "\n{\"type\":\"assis",
    )
    .unwrap();
    got.on(directory.path(), &count_partial);
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
            &ReadOptions {
                count_partial: true,
                ..reading(1000, 1000)
            },
        );
        fs::write(&path, assistant(1, 5) + end).unwrap();
        got.on(directory.path(), &reading(1000, 1000));
        assert_eq!((got.lines.read, got.cursor.partial_end), (1, 0));
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
        let count_partial = ReadOptions {
            count_partial: true,
            ..reading(1000, 1000)
        };
        got.on(directory.path(), &count_partial);
        assert_eq!((got.lines.usage, got.cursor.offset), (1, before.len() as u64));
        // There was no read while it was cut off.
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
        let chunk = read(
            &file,
            position,
            tail,
            PartialLine::default(),
            &reading(1000, 1000),
            &mut Vec::new(),
        );
        assert_eq!(chunk.unwrap().records[0].usage.output, 7);
    }
}

#[test]
fn limits_come_once_in_the_order_of_lines_and_not_dated_in_the_future() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.jsonl");
    let text = [limit(24), limit(25), assistant(1, 5), limit(-1)].join("\n");
    fs::write(&path, &text).unwrap();
    let mut got = Read::new();
    got.on(directory.path(), &reading(1000, 1));
    let count_partial = ReadOptions {
        count_partial: true,
        ..reading(1000, 1000)
    };
    got.on(directory.path(), &count_partial);
    got.on(directory.path(), &count_partial);
    fs::write(&path, text + "\n").unwrap();
    got.on(directory.path(), &reading(1000, 1));
    let told: Vec<_> = got
        .observations
        .iter()
        .map(|found| (&*found.window, found.observed_at.map(|at| (at - NOW) / HOUR_MS)))
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

#[test]
fn a_clock_that_was_never_set_says_nothing_against_a_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.jsonl");
    fs::write(&path, limit(0) + "\n" + &assistant(1, 5) + "\n").unwrap();
    let mut got = Read::new();
    let in_1970 = ReadOptions {
        now: 600_000,
        ..reading(1000, 1000)
    };
    got.on(directory.path(), &in_1970);
    assert_eq!(got.observations[0].observed_at, Some(NOW));
    let file = (Root::open(directory.path()).unwrap())
        .open_file(Path::new("a.jsonl"))
        .unwrap();
    let position = Read::new().position();
    let chunk = read(
        &file,
        position,
        Tail::default(),
        PartialLine::default(),
        &in_1970,
        &mut Vec::new(),
    );
    let mut batch = chunk.unwrap().into_batch(
        RunId::new("r").unwrap(),
        Path::new("a.jsonl").into(),
        None,
        &in_1970,
    );
    // The time of the last change of the file is not credible.
    batch.written_at = Some(600_000);
    let (reader, mut writer) = crate::store::open(crate::store::StoreOptions {
        path: None,
        cache_bytes: 1 << 20,
        clock: Clock::at(NOW),
    })
    .unwrap();
    writer.commit(&[batch]).unwrap();
    let run = reader.snapshot().unwrap().summary().unwrap().runs["r"];
    assert_eq!((run.totals.messages, run.lines.clock_suspect), (1, 0));
}

/// A file of `length` NUL bytes.
fn preallocate(path: &Path, length: usize) {
    let file = fs::File::create(path).unwrap();
    file.set_len(length as u64).unwrap();
}

fn write_at(path: &Path, bytes: &[u8], offset: usize) {
    use std::os::unix::fs::FileExt;
    let file = fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(bytes, offset as u64).unwrap();
}

/// Does not wait for what is not there yet.
fn reading_on(line_bytes_max: usize, turn_bytes_max: u64) -> ReadOptions {
    ReadOptions {
        waits_for_holes: false,
        ..reading(line_bytes_max, turn_bytes_max)
    }
}

#[test]
fn lines_before_and_in_a_hole_are_read_once_it_is_filled() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.jsonl");
    let lines: Vec<String> = (1..6).map(|id| assistant(id, 5) + "\n").collect();
    let text = lines.concat();
    // The whole first line, the beginning of the first, a piece in the middle, several lines.
    for hole in [0..lines[0].len(), 0..60, 200..300, 10..text.len() - 10] {
        let mut content = text.clone().into_bytes();
        content[hole.clone()].fill(0);
        fs::write(&path, &content).unwrap();
        let mut got = Read::new();
        got.on(directory.path(), &reading(1000, 1));
        let before = text[..hole.start].matches('\n').count() as u64;
        assert_eq!(got.lines.usage, before, "{hole:?}");
        fs::write(&path, &text).unwrap();
        got.on(directory.path(), &reading(1000, 1));
        assert_eq!((got.lines.read, got.lines.usage), (5, 5), "{hole:?}");
        assert_eq!((got.bytes, got.records.len()), (text.len() as u64, 5), "{hole:?}");
    }
}

#[test]
fn a_file_longer_than_what_was_written_to_it_is_read_as_it_fills() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.jsonl");
    // Longer than a line may be: nothing follows, so that it is no line.
    for reading in [reading(1000, 1000), reading_on(1000, 1000)] {
        preallocate(&path, 3 * BLOCK_BYTES);
        let mut got = Read::new();
        let mut to = 0;
        for id in 1..6 {
            got.on(directory.path(), &reading);
            let line = assistant(id, 5) + "\n";
            write_at(&path, &line.as_bytes()[..40], to);
            got.on(directory.path(), &reading);
            write_at(&path, line.as_bytes(), to);
            to += line.len();
            got.on(directory.path(), &reading);
            assert_eq!((got.lines.read, got.lines.usage), (id.into(), id.into()));
        }
        assert_eq!((got.cursor.offset, got.cursor.skip_to), (to as u64, None));
        // The last line may never get its end.
        write_at(&path, assistant(6, 5).as_bytes(), to);
        let count_partial = ReadOptions {
            count_partial: true,
            ..reading_on(1000, 1000)
        };
        got.on(directory.path(), &count_partial);
        got.on(directory.path(), &count_partial);
        assert_eq!(got.lines.usage, 6);
        write_at(&path, b"\n", to + assistant(6, 5).len());
        got.on(directory.path(), &reading);
        assert_eq!((got.lines.read, got.lines.usage), (6, 6));
    }
}

#[test]
fn a_hole_that_nobody_fills_is_a_part_of_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.jsonl");
    for nuls in [1, 700, 3 * BLOCK_BYTES] {
        let first = assistant(1, 5) + "\n";
        let text = [
            first.as_bytes(),
            &vec![0; nuls],
            (assistant(2, 5) + "\n" + &assistant(3, 5) + "\n").as_bytes(),
        ]
        .concat();
        fs::write(&path, &text).unwrap();
        let mut got = Read::new();
        got.on(directory.path(), &reading(1000, 1));
        assert_eq!((got.lines.read, got.cursor.offset), (1, first.len() as u64));
        got.on(directory.path(), &reading_on(1000, 1));
        let is_too_long = nuls + assistant(2, 5).len() > 1000;
        assert_eq!(
            (got.lines.read, got.lines.usage, got.lines.oversized),
            (3, 3 - u64::from(is_too_long), is_too_long.into()),
            "{nuls}"
        );
        assert_eq!(got.bytes, text.len() as u64);
    }
}

#[test]
fn no_turn_looks_through_more_nuls_than_its_share() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.jsonl");
    // Written, so that the filesystem keeps them.
    let text = [
        vec![0; 9 * BLOCK_BYTES],
        b"\n".to_vec(),
        (assistant(1, 5) + "\n").into(),
    ]
    .concat();
    fs::write(&path, &text).unwrap();
    let root = Root::open(directory.path()).unwrap();
    let file = root.open_file(Path::new("a.jsonl")).unwrap();
    let (mut position, mut partial) = (Read::new().position(), PartialLine::default());
    let (mut usage, mut chunks) = (0, 0);
    loop {
        let tail = file.continues(
            &Stat {
                inode: position.cursor.inode,
                ..file.stat().unwrap()
            },
            &position.cursor,
        );
        let tail = tail.unwrap().unwrap();
        let chunk = read(
            &file,
            position,
            tail,
            partial,
            &reading_on(1000, 1),
            &mut Vec::new(),
        )
        .unwrap();
        assert!(chunk.read_bytes <= 3 * BLOCK_BYTES as u64, "{}", chunk.read_bytes);
        usage += chunk.lines.usage;
        chunks += 1;
        position = Position {
            cursor: chunk.cursor,
            state: chunk.state,
        };
        partial = chunk.partial.nuls();
        if !chunk.more {
            break;
        }
    }
    assert_eq!(usage, 1);
    assert!(chunks > 9, "{chunks}");
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
    /// Any growth of the file, cut anywhere, read in chunks of any size.
    #[test]
    fn any_growth_and_any_turn_size_give_the_same(
        lines in proptest::collection::vec(any_line(), 0..12),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..6),
        turn_bytes_max in 1u64..2000,
        waits_for_holes: bool,
    ) {
        let reading = |line_bytes_max, turn_bytes_max| ReadOptions { waits_for_holes, ..reading(line_bytes_max, turn_bytes_max) };
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

    /// Any pieces of the file shown in any order, in a file that is long from the beginning or grows.
    #[test]
    fn any_order_in_which_a_file_is_filled_gives_the_same(
        lines in proptest::collection::vec(any_line(), 0..12),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..6),
        order in proptest::collection::vec(any::<u8>(), 7),
        turn_bytes_max in 1u64..2000,
        length in 0usize..5000,
    ) {
        let mut text = lines.iter().fold(Vec::new(), |mut text, line| { text.extend(line); text.push(b'\n'); text });
        text.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = 1);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.jsonl");
        fs::write(&path, &text).unwrap();
        let mut whole = Read::new();
        whole.on(directory.path(), &reading(600, 1 << 30));

        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).chain([0, text.len()]).collect();
        ends.sort_unstable();
        let mut pieces: Vec<_> = ends.windows(2).map(|ends| ends[0]..ends[1]).zip(order).collect();
        pieces.sort_by_key(|(_, order)| *order);
        preallocate(&path, length);
        let mut filled = Read::new();
        for (piece, _) in pieces {
            write_at(&path, &text[piece.clone()], piece.start);
            filled.on(directory.path(), &reading(600, turn_bytes_max));
        }
        filled.on(directory.path(), &reading(600, turn_bytes_max));
        prop_assert_eq!(filled.records, whole.records);
        prop_assert_eq!(filled.observations, whole.observations);
        prop_assert_eq!(filled.lines, whole.lines);
        prop_assert_eq!(filled.bytes, whole.bytes);
        prop_assert_eq!(filled.cursor.offset, whole.cursor.offset);
        prop_assert_eq!(filled.state, whole.state);
    }
}
