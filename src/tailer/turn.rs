//! One turn on one file: from its cursor on, so many bytes, to records and a new cursor.
//!
//! A turn ends at the end of the file or when it has had its share of bytes, so that one large file does not keep
//! the others waiting. What is not yet a line stays where it is, to be read again when it has grown.

use std::io;
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use crate::fold;
use crate::lines::{Line, Lines, skipped};
use crate::logfile::{LogFile, Stat, Tail};
use crate::parse::foreign::Look;
use crate::parse::{self, Class, Parser, Place};
use crate::quota::account;
use crate::record::{
    AccountId, Batch, Cursor, DAY_MS, Inode, LineCounts, Millis, Observation, ParserState, Position, Record,
    RelativePath, Report, RunId,
};
use crate::tailer::unread;

/// How many bytes are read at once.
pub const BLOCK_BYTES: usize = 256 * 1024;

/// How a file is read.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Longest line that is looked at, in bytes; a longer one is skipped and counted.
    pub line_bytes_max: usize,
    /// After how many bytes another file has its turn.
    pub turn_bytes_max: u64,
    /// Count an unterminated last line if it parses: the file will not grow any more.
    pub settle: bool,
    /// Read no further than here: `u64::MAX` for the whole file.
    pub until: u64,
    /// Leave out lines of a later time, and those without a time that follow one.
    pub lines_until: Option<Millis>,
    /// Whose limits and responses these are.
    pub account: Arc<AccountId>,
    /// The time of reading. Line times more than a day later are not believed.
    pub now: Millis,
}

/// What a turn came to.
#[derive(Debug, Default)]
pub struct Turn {
    pub cursor: Cursor,
    /// What the parser keeps of the lines before the cursor.
    pub state: ParserState,
    pub records: Vec<Record>,
    pub observations: Vec<Observation>,
    /// What the agent reports of its sessions, each once for as long as the lines are of it.
    pub reports: Vec<Report>,
    pub lines: LineCounts,
    pub bytes: u64,
    /// The earliest line time that can be believed.
    pub earliest: Option<Millis>,
    /// The latest line time that can be believed.
    pub latest: Option<Millis>,
    /// Whether the turn ended before the file did.
    pub more: bool,
    /// How many bytes were taken from the file, those of skipped and unfinished lines included.
    pub read_bytes: u64,
    /// How far what follows the cursor was looked at.
    pub scanned: Scanned,
}

/// How far an unfinished line was looked at: no `\n` lies between the cursor's offset and here, as long as the bytes
/// before are the same. What is unfinished can be cut off and written anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scanned {
    to: u64,
    tail_len: u16,
    tail_hash: u64,
}

impl Scanned {
    /// Looked at up to `to`; `line` ends there and begins at the cursor, or later.
    fn new(to: u64, line: &Tail) -> Self {
        Self {
            to,
            tail_len: line.length(),
            tail_hash: line.hash(),
        }
    }
}

impl Turn {
    /// The turn as the committer takes it; `expect` is the cursor that is stored.
    #[must_use]
    pub fn into_batch(
        mut self,
        run: RunId,
        path: RelativePath,
        expect: Option<Cursor>,
        reading: &Reading,
    ) -> Batch {
        // One that is still without a time stands before the first line that has one, and was read together with it.
        let nearest = self.earliest.map(|time| time.min(reading.now));
        for observation in &mut self.observations {
            observation.observed_at = observation.observed_at.or(nearest);
        }
        Batch {
            run,
            path,
            renamed_from: None,
            expect,
            cursor: self.cursor,
            state: self.state,
            account: Arc::clone(&reading.account),
            records: self.records,
            observations: self.observations,
            reports: self.reports,
            lines: self.lines,
            bytes: self.bytes,
            earliest: self.earliest,
            latest: self.latest,
            read_at: reading.now,
            written_at: None,
        }
    }
}

/// Where to read on in an open file, given the position that is stored for its path: there if the file still has that
/// content, else at the start of a new generation, of which the parser has kept nothing.
///
/// # Errors
/// Those of `pread`.
pub fn start(
    file: &LogFile,
    stat: &Stat,
    stored: Option<&Position>,
    run: &RunId,
    path: &Path,
) -> io::Result<(Position, Tail)> {
    let from_its_start = |generation, origin| Position {
        cursor: Cursor {
            inode: stat.inode,
            generation,
            origin,
            ..Cursor::default()
        },
        state: ParserState::default(),
    };
    let Some(stored) = stored else {
        return Ok((from_its_start(0, origin(run, path, stat.inode)), Tail::default()));
    };
    if let Some(tail) = file.continues(stat, &stored.cursor)? {
        return Ok((stored.clone(), tail));
    }
    let generation = stored.cursor.generation.wrapping_add(1);
    Ok((from_its_start(generation, stored.cursor.origin), Tail::default()))
}

/// What names a file in the keys of responses without an identity of their own: the file itself, wherever it is moved
/// to; where the filesystem keeps no birth times, numbers are used again, and the place where it was first seen is safer.
fn origin(run: &RunId, path: &Path, inode: Inode) -> u64 {
    let mut name = Vec::new();
    if inode.born_ns == 0 {
        name.extend_from_slice(run.as_str().as_bytes());
        name.push(b'/');
        name.extend_from_slice(path.as_os_str().as_encoded_bytes());
    } else {
        name.extend_from_slice(&inode.number.to_le_bytes());
        name.extend_from_slice(&inode.born_ns.to_le_bytes());
    }
    xxh3_64(&name)
}

/// Reads on from `position`, which was found to fit the file; `tail` is the bytes before its offset.
///
/// `scanned` is what the last turn on this file said, the default if there was none.
///
/// # Errors
/// Those of `pread`. Nothing is lost: the cursor did not move.
pub fn read(
    file: &LogFile,
    position: Position,
    tail: Tail,
    scanned: Scanned,
    reading: &Reading,
    buffer: &mut Vec<u8>,
) -> io::Result<Turn> {
    let Position { cursor, state } = position;
    let turn = Turn {
        cursor,
        ..Turn::default()
    };
    let mut reader = Reader {
        file,
        reading,
        turn,
        tail,
        budget: reading.turn_bytes_max,
        parser: Parser::new(&state, latest_believed(reading)),
        scope: account::scope(&reading.account),
    };
    if buffer.len() < BLOCK_BYTES {
        buffer.resize(BLOCK_BYTES, 0);
    }
    if !reader.still_unfinished(scanned, buffer)? {
        reader.read(buffer)?;
    }
    // One long line must not keep its memory for ever.
    if buffer.len() > 4 * BLOCK_BYTES {
        buffer.truncate(BLOCK_BYTES);
        buffer.shrink_to_fit();
    }
    reader.turn.state = reader.parser.state();
    let lines = &mut reader.turn.lines;
    // Another agent's lines are not ours to judge.
    if lines.malformed > 0 && matches!(unread::look(file), Look::Foreign(_)) {
        lines.ignored += std::mem::take(&mut lines.malformed);
    }
    Ok(reader.turn)
}

/// A later line time is not believed. Where later lines are left out, each is asked for its own time.
fn latest_believed(reading: &Reading) -> Millis {
    match reading.lines_until {
        Some(_) => Millis::MAX,
        None => reading.now.saturating_add(DAY_MS),
    }
}

struct Reader<'a> {
    file: &'a LogFile,
    reading: &'a Reading,
    turn: Turn,
    /// The bytes before the cursor's offset.
    tail: Tail,
    /// Bytes this turn may still read.
    budget: u64,
    parser: Parser,
    /// Keeps the responses of different provider accounts apart.
    scope: u64,
}

impl Reader<'_> {
    /// The only way to the file: keeps to the reading's end and counts.
    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let room = usize::try_from(self.reading.until.saturating_sub(offset)).unwrap_or(usize::MAX);
        let length = buffer.len().min(room);
        let got = self.file.read_at(&mut buffer[..length], offset)?;
        self.budget = self.budget.saturating_sub(got as u64);
        self.turn.read_bytes += got as u64;
        Ok(got)
    }

    /// Looks whether a line that was unfinished last time still is, without reading its beginning again: a line that
    /// grows byte by byte costs what it grows by, not its length each time.
    fn still_unfinished(&mut self, scanned: Scanned, buffer: &mut [u8]) -> io::Result<bool> {
        let start = self.turn.cursor.offset;
        if self.turn.cursor.skip_to.is_some() || scanned.to <= start || self.reading.settle {
            return Ok(false);
        }
        let mut line = Tail::default();
        let known = u64::from(scanned.tail_len).min(scanned.to - start);
        let got = self.read_at(&mut buffer[..usize::from(scanned.tail_len)], scanned.to - known)?;
        line.push(&buffer[..got]);
        if Scanned::new(scanned.to, &line) != scanned {
            return Ok(false);
        }
        let mut to = scanned.to;
        loop {
            let got = self.read_at(buffer, to)?;
            if skipped(&buffer[..got]).is_some() {
                return Ok(false);
            }
            to += got as u64;
            line.push(&buffer[..got]);
            self.turn.scanned = Scanned::new(to, &line);
            if to - start > self.reading.line_bytes_max as u64 {
                self.begin_skip(to, line);
                return Ok(false);
            }
            if got < buffer.len() {
                return Ok(true);
            }
        }
    }

    fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<()> {
        // Bytes in the buffer that follow the cursor's offset and are no complete line yet.
        let mut held = 0;
        loop {
            if self.turn.cursor.skip_to.is_some() {
                held = 0;
                if !self.skip(buffer)? {
                    return Ok(());
                }
                continue;
            }
            if held == buffer.len() {
                buffer.resize(
                    (buffer.len() * 2).min(self.reading.line_bytes_max + BLOCK_BYTES),
                    0,
                );
            }
            let got = self.read_at(&mut buffer[held..], self.turn.cursor.offset + held as u64)?;
            let full = held + got == buffer.len();
            held += got;
            let taken = self.take_lines(&buffer[..held]);
            buffer.copy_within(taken..held, 0);
            held -= taken;
            let end = self.turn.cursor.offset + held as u64;
            let mut line = Tail::default();
            line.push(&buffer[..held]);
            self.turn.scanned = Scanned::new(end, &line);
            if held > self.reading.line_bytes_max {
                self.begin_skip(end, line);
            } else if !full {
                if self.reading.settle {
                    self.settle(&buffer[..held]);
                }
                return Ok(());
            }
            // A line is finished or skipped before the share is: else a line longer than it would never end.
            if self.budget == 0 && (taken > 0 || self.turn.cursor.skip_to.is_some()) {
                self.turn.more = true;
                return Ok(());
            }
        }
    }

    /// Parses the complete lines of a block that starts at the cursor, and moves the cursor over them.
    fn take_lines(&mut self, block: &[u8]) -> usize {
        let mut lines = Lines::new(block);
        let start = self.turn.cursor.offset;
        for Line { start: at, bytes } in lines.by_ref() {
            let offset = start + at as u64;
            if bytes.len() > self.reading.line_bytes_max {
                self.turn.lines.read += 1;
                self.turn.lines.oversized += 1;
            } else if !self.is_settled(offset, bytes) {
                self.take_line(offset, bytes);
            }
        }
        let taken = lines.rest();
        self.tail.push(&block[..taken]);
        self.pass_to(start + taken as u64);
        taken
    }

    /// Whether a line was counted already, before its line end came.
    fn is_settled(&self, offset: u64, line: &[u8]) -> bool {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        !line.is_empty() && self.turn.cursor.settled_to == offset + line.len() as u64
    }

    fn take_line(&mut self, offset: u64, bytes: &[u8]) {
        let place = Place {
            scope: self.scope,
            origin: self.turn.cursor.origin,
            offset,
        };
        let before = self.turn.observations.len();
        let records_before = self.turn.records.len();
        let turn = &mut self.turn;
        let before_line = self.parser.latest_time();
        let parsed = (self.parser).line(bytes, place, &mut turn.records, &mut turn.observations);
        let time = parsed.time.or(before_line);
        let is_later = |until| time.is_some_and(|time| time > until);
        if self.reading.lines_until.is_some_and(is_later) {
            turn.records.truncate(records_before);
            turn.observations.truncate(before);
            if before_line.is_none() {
                // Nothing before it had a time: it all belongs to this line.
                turn.records.clear();
                turn.observations.clear();
                turn.lines = LineCounts::default();
            }
            return;
        }
        turn.lines.read += 1;
        if let Some(report) = parsed.report {
            match turn.reports.last_mut() {
                Some(last) if last.session == report.session => {
                    last.reported = last.reported.max(report.reported);
                }
                _ => turn.reports.push(report),
            }
        }
        match parsed.class {
            Class::Usage => turn.lines.usage += 1,
            Class::Ignored => turn.lines.ignored += 1,
            Class::Malformed => turn.lines.malformed += 1,
        }
        let believed = |time: &Millis| *time <= self.reading.now.saturating_add(DAY_MS);
        // One that is not believed is counted as such by itself.
        if let ([.., last], [copy]) = turn.records.split_at_mut(records_before)
            && [&*last, copy]
                .into_iter()
                .all(|record| record.time.as_ref().is_some_and(believed))
            && fold::join(last, copy)
        {
            turn.records.pop();
        }
        // One without a time is as old as what stands before it; none is younger than this reading, or it would make
        // every true one after it look late.
        for observation in &mut turn.observations[before..] {
            observation.observed_at = (observation.observed_at.filter(believed))
                .or(before_line)
                .map(|time| time.min(self.reading.now));
        }
        // `None` is less than any time.
        turn.latest = turn.latest.max(parsed.time);
        turn.earliest = [turn.earliest, parsed.time].into_iter().flatten().min();
    }

    /// Counts the bytes up to `offset`, those of a settled line only once, and moves there.
    fn pass_to(&mut self, offset: u64) {
        if offset > self.turn.cursor.offset {
            self.turn.bytes +=
                offset.saturating_sub(self.turn.cursor.offset.max(self.turn.cursor.settled_to));
            self.move_to(offset);
        }
    }

    /// **Invariant**: the offset is only ever set here, to 0 or directly after a `\n`.
    fn move_to(&mut self, offset: u64) {
        let cursor = &mut self.turn.cursor;
        if offset == cursor.offset {
            return;
        }
        cursor.offset = offset;
        cursor.tail_len = self.tail.length();
        cursor.tail_hash = self.tail.hash();
        cursor.settled_to = 0;
    }

    /// A line is longer than the bound: counted now, once, and passed over from here on.
    /// `line` is the last of what was passed over: on the way, it is what the cursor remembers of the content.
    fn begin_skip(&mut self, to: u64, line: Tail) {
        self.tail = line;
        self.skip_on(to);
        self.turn.lines.read += 1;
        self.turn.lines.oversized += 1;
    }

    fn skip_on(&mut self, to: u64) {
        let cursor = &mut self.turn.cursor;
        cursor.skip_to = NonZeroU64::new(to);
        cursor.tail_len = self.tail.length();
        cursor.tail_hash = self.tail.hash();
    }

    /// Passes over a part of an oversized line; says whether to go on in this turn.
    fn skip(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        let Some(from) = self.turn.cursor.skip_to else {
            return Ok(true);
        };
        let got = self.read_at(buffer, from.get())?;
        if let Some(end) = skipped(&buffer[..got]) {
            let offset = from.get() + end as u64;
            self.tail.push(&buffer[..end]);
            self.turn.cursor.skip_to = None;
            self.pass_to(offset);
        } else {
            self.tail.push(&buffer[..got]);
            self.skip_on(from.get() + got as u64);
            if got < buffer.len() {
                return Ok(false);
            }
        }
        if self.budget == 0 {
            self.turn.more = true;
        }
        Ok(!self.turn.more)
    }

    /// Counts the unterminated rest of a file if it parses. The cursor stays before it, and remembers its end.
    fn settle(&mut self, rest: &[u8]) {
        let end = self.turn.cursor.offset + rest.len() as u64;
        if rest.trim_ascii().is_empty() || self.turn.cursor.settled_to == end {
            return;
        }
        let place = Place {
            scope: self.scope,
            origin: self.turn.cursor.origin,
            offset: self.turn.cursor.offset,
        };
        // Only its class is wanted: what it says is taken below, once.
        if parse::line(rest, place, &mut Vec::new(), &mut Vec::new()).class == Class::Malformed {
            return;
        }
        self.take_line(self.turn.cursor.offset, rest);
        self.turn.bytes += end.saturating_sub(self.turn.cursor.offset.max(self.turn.cursor.settled_to));
        let mut counted = self.tail.clone();
        counted.push(rest);
        let cursor = &mut self.turn.cursor;
        cursor.settled_to = end;
        cursor.tail_len = counted.length();
        cursor.tail_hash = counted.hash();
    }
}

#[cfg(test)]
mod tests;
