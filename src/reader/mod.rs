//! Reader: reads a chunk of one file, from its cursor on, and returns records and a new cursor.
//!
//! A chunk ends at the end of the file or at its bound of bytes, so that one large file does not delay the
//! others. An unfinished line stays in the file, and is read again when it has grown.

pub mod lines;

use std::io;
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use crate::dedup;
use crate::logfile::unread;
use crate::logfile::{LogFile, Stat, Tail};
use crate::model::{
    self, AccountId, Batch, Cursor, Dialect, Inode, LineCounts, Millis, Observation, ParserState, Position,
    Record, RelativePath, Report, RunAccounts, RunId,
};
use crate::parse::recognise::ContentKind;
use crate::parse::{LineContext, LineKind, Parser};
use crate::quota::account;
use crate::reader::lines::{Line, LineIter, skipped};

/// Bytes that are read at once.
pub const BLOCK_BYTES: usize = 256 * 1024;
/// Most providers that records of one batch name with an account of their own.
const BATCH_PROVIDERS_MAX: usize = 64;
/// Holes that one chunk reports.
pub const PASSED_HOLES_MAX: usize = 16;

/// The options of reading.
#[derive(Clone, Debug)]
pub struct ReadOptions {
    /// Longest line that is parsed, in bytes; a longer one is skipped and counted.
    pub line_bytes_max: usize,
    /// Bytes of a chunk, after which other files are read.
    pub turn_bytes_max: u64,
    /// Count an unterminated last line if it parses, because the file will not grow any more.
    pub count_partial: bool,
    /// Read no further than this offset: `u64::MAX` for the whole file.
    pub until: u64,
    /// Skip lines with a later time, and lines without a time that follow one.
    pub lines_until: Option<Millis>,
    /// The run's directory is that of a project.
    pub is_project: bool,
    /// The accounts of the limits and responses.
    pub accounts: Arc<RunAccounts>,
    /// The time of reading. Times of lines more than a day later are ignored.
    pub now: Millis,
    /// Stop before the first NUL byte, because data written there may not be visible yet. Otherwise NUL bytes
    /// are part of their line, if data follows them.
    pub waits_for_holes: bool,
}

/// The result of reading a chunk.
#[derive(Debug, Default)]
pub struct ReadChunk {
    pub cursor: Cursor,
    /// The state of the parser after the lines before the cursor.
    pub state: ParserState,
    /// The agent that wrote the file, as far as its lines have shown it.
    pub dialect: Dialect,
    pub records: Vec<Record>,
    pub observations: Vec<Observation>,
    /// Usage that the agent reports of its sessions, once for each sequence of lines of a session.
    pub reports: Vec<Report>,
    pub lines: LineCounts,
    pub bytes: u64,
    /// The earliest credible time of a line.
    pub earliest: Option<Millis>,
    /// The latest credible time of a line.
    pub latest: Option<Millis>,
    /// The chunk ended before the file.
    pub more: bool,
    /// Bytes read from the file, including those of skipped and unfinished lines.
    pub read_bytes: u64,
    /// The searched part of the unfinished line.
    pub partial: PartialLine,
    /// The NUL byte before which reading stopped: no data follows it, or it is waited for.
    pub hole: Option<u64>,
    /// Holes that were read over because data follows them: the first byte of each, up to the bound.
    pub passed: Vec<u64>,
}

/// The searched part of an unfinished line: there is no `
/// ` between the cursor's offset and this one, as long as the bytes before it are the same. An unfinished
/// line can be cut off and written again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartialLine {
    to: u64,
    tail_len: u16,
    tail_hash: u64,
    /// NUL bytes that begin before this offset continue at least up to it.
    nuls_to: u64,
}

impl PartialLine {
    /// Searched up to `to`; `line` ends there and begins at the cursor, or later.
    fn new(to: u64, line: &Tail) -> Self {
        Self {
            to,
            tail_len: line.length(),
            tail_hash: line.hash(),
            nuls_to: 0,
        }
    }

    /// True if anything after the cursor was searched.
    #[must_use]
    pub fn is_of(&self, cursor: &Cursor) -> bool {
        self.to.max(self.nuls_to) > cursor.offset
    }

    /// The part that holds although the file may have changed.
    #[must_use]
    pub fn without_nuls(self) -> Self {
        Self { nuls_to: 0, ..self }
    }

    /// The part that holds after the cursor moved.
    #[must_use]
    pub fn nuls(self) -> Self {
        Self {
            nuls_to: self.nuls_to,
            ..Self::default()
        }
    }
}

impl ReadChunk {
    /// The batch for the committer; `expect` is the stored cursor.
    #[must_use]
    pub fn into_batch(
        mut self,
        run: RunId,
        path: RelativePath,
        expect: Option<Cursor>,
        reading: &ReadOptions,
    ) -> Batch {
        // A record without a time is before the first line that has one, and was read together with it.
        let nearest = self.earliest.map(|time| model::not_after(reading.now, time));
        for observation in &mut self.observations {
            observation.observed_at = observation.observed_at.or(nearest);
        }
        let mut provider_accounts: Vec<(Arc<str>, Arc<AccountId>)> = Vec::new();
        for provider in self.records.iter().filter_map(|record| record.provider.as_ref()) {
            // Records in a row mostly share the name. Others are few, or beyond the bound of the store.
            let is_known = |(known, _): &(Arc<str>, _)| Arc::ptr_eq(known, provider) || known == provider;
            if provider_accounts.len() < BATCH_PROVIDERS_MAX && !provider_accounts.iter().any(is_known) {
                provider_accounts.push((Arc::clone(provider), reading.accounts.of_provider(provider)));
            }
        }
        Batch {
            run,
            path,
            is_project: reading.is_project,
            renamed_from: None,
            expect,
            cursor: self.cursor,
            state: self.state,
            dialect: self.dialect,
            account: reading.accounts.of_dialect(self.dialect),
            provider_accounts,
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

/// The position from which to read an open file, given the stored one of its path: that one if the file still
/// has the content, otherwise the start of a new generation, with an empty state of the parser.
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
    let Some(stored) = stored else {
        let first = from_its_start(stat, 0, origin(run, path, stat.inode));
        return Ok((first, Tail::default()));
    };
    if let Some(tail) = file.continues(stat, &stored.cursor)? {
        let mut position = stored.clone();
        position.cursor.inode = stat.inode;
        return Ok((position, tail));
    }
    Ok((at_start(stat, stored), Tail::default()))
}

/// The start of a new generation of a file, which is read again; that counts nothing twice.
#[must_use]
pub fn at_start(stat: &Stat, stored: &Position) -> Position {
    let generation = stored.cursor.generation.wrapping_add(1);
    from_its_start(stat, generation, stored.cursor.origin)
}

fn from_its_start(stat: &Stat, generation: u32, origin: u64) -> Position {
    Position {
        cursor: Cursor {
            inode: stat.inode,
            generation,
            origin,
            ..Cursor::default()
        },
        state: ParserState::default(),
    }
}

/// The name of a file in the keys of responses without an identity of their own: the inode, so that a file
/// can be moved; where the filesystem keeps no birth times, inode numbers are reused, and the first path of
/// the file is safer.
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

/// Reads a chunk from `position`, which fits the file; `tail` is the bytes before its offset.
///
/// `partial` is that of the last chunk of this file, the default if there was none.
///
/// # Errors
/// Those of `pread`. Nothing is lost: the cursor did not move.
pub fn read(
    file: &LogFile,
    position: Position,
    tail: Tail,
    partial: PartialLine,
    reading: &ReadOptions,
    buffer: &mut Vec<u8>,
) -> io::Result<ReadChunk> {
    let Position { cursor, state } = position;
    let chunk = ReadChunk {
        cursor,
        ..ReadChunk::default()
    };
    let mut reader = ChunkReader {
        file,
        reading,
        chunk,
        tail,
        budget: reading.turn_bytes_max,
        nuls_to: partial.nuls_to,
        parser: Parser::new(&state, latest_believed(reading)),
        scope: account::scope(reading.accounts.own()),
    };
    if buffer.len() < BLOCK_BYTES {
        buffer.resize(BLOCK_BYTES, 0);
    }
    if !reader.still_unfinished(partial, buffer)? {
        reader.read(buffer)?;
    }
    reader.chunk.partial.nuls_to = reader.nuls_to;
    // The memory of one long line is given back.
    if buffer.len() > 4 * BLOCK_BYTES {
        buffer.truncate(BLOCK_BYTES);
        buffer.shrink_to_fit();
    }
    reader.chunk.state = reader.parser.state();
    reader.chunk.dialect = reader.parser.dialect();
    let lines = &mut reader.chunk.lines;
    // Lines of other agents are not counted as malformed.
    if lines.malformed > 0 && matches!(unread::content_kind(file), ContentKind::OtherAgent(_)) {
        lines.ignored += std::mem::take(&mut lines.malformed);
    }
    Ok(reader.chunk)
}

/// The latest credible time of a line. Where later lines are skipped, each line has its own time compared.
fn latest_believed(reading: &ReadOptions) -> Millis {
    match reading.lines_until {
        Some(_) => Millis::MAX,
        None => model::believed_until(reading.now),
    }
}

struct ChunkReader<'a> {
    file: &'a LogFile,
    reading: &'a ReadOptions,
    chunk: ReadChunk,
    /// The bytes before the cursor's offset.
    tail: Tail,
    /// Bytes that this chunk may still read.
    budget: u64,
    /// As in [`PartialLine`].
    nuls_to: u64,
    parser: Parser,
    /// Separates the responses of different provider accounts: it is that of the run's own, which never changes.
    scope: u64,
}

impl ChunkReader<'_> {
    /// All reads of the file: they stop at the bound of the options, and are counted.
    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let room = usize::try_from(self.reading.until.saturating_sub(offset)).unwrap_or(usize::MAX);
        let length = buffer.len().min(room);
        let got = self.file.read_at(&mut buffer[..length], offset)?;
        self.budget = self.budget.saturating_sub(got as u64);
        self.chunk.read_bytes += got as u64;
        Ok(got)
    }

    /// Checks if a line that was unfinished is still so, without reading its beginning again: a line that
    /// grows byte by byte costs its growth, not its length each time.
    fn still_unfinished(&mut self, partial: PartialLine, buffer: &mut [u8]) -> io::Result<bool> {
        let start = self.chunk.cursor.offset;
        let may_be = partial.to > start && !self.reading.count_partial && self.reading.waits_for_holes;
        if !may_be || self.chunk.cursor.skip_to.is_some() {
            return Ok(false);
        }
        let mut line = Tail::default();
        let known = u64::from(partial.tail_len).min(partial.to - start);
        let got = self.read_at(&mut buffer[..usize::from(partial.tail_len)], partial.to - known)?;
        line.push(&buffer[..got]);
        if (line.length(), line.hash()) != (partial.tail_len, partial.tail_hash) {
            return Ok(false);
        }
        let mut to = partial.to;
        loop {
            let got = self.read_at(buffer, to)?;
            let hole = self.hole_in(&buffer[..got], to)?;
            let got = hole.unwrap_or(got);
            if skipped(&buffer[..got]).is_some() {
                return Ok(false);
            }
            to += got as u64;
            line.push(&buffer[..got]);
            self.chunk.partial = PartialLine::new(to, &line);
            if to - start > self.reading.line_bytes_max as u64 {
                self.begin_skip(to, line);
                return Ok(false);
            }
            if hole.is_some() || got < buffer.len() {
                return Ok(true);
            }
        }
    }

    fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<()> {
        self.chunk.hole = None;
        // Bytes in the buffer that follow the cursor's offset and are no complete line yet.
        let mut held = 0;
        loop {
            if self.chunk.cursor.skip_to.is_some() {
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
            let got = self.read_at(&mut buffer[held..], self.chunk.cursor.offset + held as u64)?;
            let hole = self.hole_in(&buffer[held..held + got], self.chunk.cursor.offset + held as u64)?;
            let got = hole.unwrap_or(got);
            let full = held + got == buffer.len();
            held += got;
            let taken = self.take_lines(&buffer[..held]);
            buffer.copy_within(taken..held, 0);
            held -= taken;
            let end = self.chunk.cursor.offset + held as u64;
            let mut line = Tail::default();
            line.push(&buffer[..held]);
            self.chunk.partial = PartialLine::new(end, &line);
            if held > self.reading.line_bytes_max {
                self.begin_skip(end, line);
            } else if hole.is_some() || !full {
                if self.reading.count_partial && !self.chunk.more {
                    self.count_partial(&buffer[..held]);
                }
                return Ok(());
            }
            // A line is finished or skipped even beyond the bound: otherwise a longer line would never end.
            if self.budget == 0 && (taken > 0 || self.chunk.cursor.skip_to.is_some()) {
                self.chunk.more = true;
                return Ok(());
            }
        }
    }

    /// The place in a block at `offset` where reading has to stop: before NUL bytes that are waited for, or
    /// that no data follows. A filesystem may show later writes first, and a file may be longer than the data
    /// written to them.
    fn hole_in(&mut self, block: &[u8], offset: u64) -> io::Result<Option<usize>> {
        let mut from = 0;
        while let Some(at) = memchr::memchr(0, &block[from..]) {
            let at = from + at;
            let hole = offset + at as u64;
            if !self.reading.waits_for_holes {
                let known = usize::try_from(self.nuls_to.saturating_sub(hole)).unwrap_or(usize::MAX);
                let rest = &block[at.saturating_add(known).min(block.len())..];
                let nuls = rest.iter().position(|byte| *byte != 0);
                let is_followed = if let Some(nuls) = nuls {
                    from = block.len() - rest.len() + nuls;
                    true
                } else {
                    from = block.len();
                    self.is_followed(offset + from as u64)?
                };
                if is_followed {
                    let is_listed = known > 0 && !self.chunk.passed.is_empty();
                    if !is_listed && self.chunk.passed.len() < PASSED_HOLES_MAX {
                        self.chunk.passed.push(hole);
                    }
                    continue;
                }
            }
            self.chunk.hole = Some(hole);
            return Ok(Some(at));
        }
        Ok(None)
    }

    /// True if the file has other bytes than NUL from here on. Where that takes more than the chunk may read,
    /// the next chunk continues the search.
    fn is_followed(&mut self, from: u64) -> io::Result<bool> {
        self.nuls_to = self.nuls_to.max(from);
        // After an earlier search one byte is enough.
        let mut block = vec![0];
        loop {
            let got = self.file.read_at(&mut block, self.nuls_to)?;
            self.budget = self.budget.saturating_sub(got as u64);
            self.chunk.read_bytes += got as u64;
            if let Some(nuls) = block[..got].iter().position(|byte| *byte != 0) {
                self.nuls_to += nuls as u64;
                return Ok(true);
            }
            self.nuls_to += got as u64;
            if got < block.len() {
                return Ok(false);
            }
            // One byte is no progress.
            if self.budget == 0 && got > 1 {
                self.chunk.more = true;
                return Ok(false);
            }
            // Ranges that the filesystem does not store need not be read.
            self.nuls_to = self.file.next_data(self.nuls_to);
            block.resize(BLOCK_BYTES, 0);
        }
    }

    /// Parses the complete lines of a block that starts at the cursor, and moves the cursor over them.
    fn take_lines(&mut self, block: &[u8]) -> usize {
        let mut lines = LineIter::new(block);
        let start = self.chunk.cursor.offset;
        for Line { start: at, bytes } in lines.by_ref() {
            let offset = start + at as u64;
            if bytes.len() > self.reading.line_bytes_max {
                self.chunk.lines.read += 1;
                self.chunk.lines.oversized += 1;
            } else if !self.is_counted_partial(offset, bytes) {
                self.take_line(offset, bytes);
            }
        }
        let taken = lines.rest();
        self.tail.push(&block[..taken]);
        self.pass_to(start + taken as u64);
        taken
    }

    /// True if a line was counted before its line end was written.
    fn is_counted_partial(&self, offset: u64, line: &[u8]) -> bool {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        !line.is_empty() && self.chunk.cursor.partial_end == offset + line.len() as u64
    }

    fn take_line(&mut self, offset: u64, bytes: &[u8]) {
        let place = LineContext {
            scope: self.scope,
            origin: self.chunk.cursor.origin,
            offset,
        };
        let before = self.chunk.observations.len();
        let records_before = self.chunk.records.len();
        let chunk = &mut self.chunk;
        let before_line = self.parser.latest_time();
        let parsed = (self.parser).line(bytes, place, &mut chunk.records, &mut chunk.observations);
        let time = parsed.time.or(before_line);
        let is_later = |until| time.is_some_and(|time| time > until);
        if self.reading.lines_until.is_some_and(is_later) {
            chunk.records.truncate(records_before);
            chunk.observations.truncate(before);
            if before_line.is_none() {
                // No line before it had a time, so all of them belong to this line.
                chunk.records.clear();
                chunk.observations.clear();
                chunk.lines = LineCounts::default();
            }
            return;
        }
        chunk.lines.read += 1;
        if let Some(report) = parsed.report {
            match chunk.reports.last_mut() {
                Some(last) if last.session == report.session => {
                    last.reported = last.reported.max(report.reported);
                }
                _ => chunk.reports.push(report),
            }
        }
        match parsed.class {
            LineKind::Usage => chunk.lines.usage += 1,
            LineKind::Ignored => chunk.lines.ignored += 1,
            LineKind::Malformed => chunk.lines.malformed += 1,
        }
        let believed = |time: &Millis| *time <= model::believed_until(self.reading.now);
        // A time that is not credible is counted separately.
        if let ([.., last], [copy]) = chunk.records.split_at_mut(records_before)
            && [&*last, copy]
                .into_iter()
                .all(|record| record.time.as_ref().is_some_and(believed))
            && dedup::coalesce(last, copy)
        {
            chunk.records.pop();
        }
        // A line without a time has that of the line before it. None is later than the time of reading,
        // because such a time would make all correct ones after it look late.
        for observation in &mut chunk.observations[before..] {
            observation.observed_at = (observation.observed_at.filter(believed))
                .or(before_line)
                .map(|time| model::not_after(self.reading.now, time));
        }
        // `None` is less than any time.
        chunk.latest = chunk.latest.max(parsed.time);
        chunk.earliest = [chunk.earliest, parsed.time].into_iter().flatten().min();
    }

    /// Counts the bytes up to `offset`, those of a counted partial line only once, and moves the cursor there.
    fn pass_to(&mut self, offset: u64) {
        if offset > self.chunk.cursor.offset {
            self.chunk.bytes +=
                offset.saturating_sub(self.chunk.cursor.offset.max(self.chunk.cursor.partial_end));
            self.move_to(offset);
        }
    }

    /// **Invariant**: the offset is only ever set here, to 0 or directly after a `\n`.
    fn move_to(&mut self, offset: u64) {
        let cursor = &mut self.chunk.cursor;
        if offset == cursor.offset {
            return;
        }
        cursor.offset = offset;
        cursor.tail_len = self.tail.length();
        cursor.tail_hash = self.tail.hash();
        cursor.partial_end = 0;
    }

    /// Counts a line that is longer than the bound, once, and skips it from here on.
    /// `line` is the last part that was skipped: until the line ends the cursor identifies the content by it.
    fn begin_skip(&mut self, to: u64, line: Tail) {
        self.tail = line;
        self.skip_on(to);
        self.chunk.lines.read += 1;
        self.chunk.lines.oversized += 1;
    }

    fn skip_on(&mut self, to: u64) {
        let cursor = &mut self.chunk.cursor;
        cursor.skip_to = NonZeroU64::new(to);
        cursor.tail_len = self.tail.length();
        cursor.tail_hash = self.tail.hash();
    }

    /// Skips a part of an oversized line; true if the chunk continues.
    fn skip(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        let Some(from) = self.chunk.cursor.skip_to else {
            return Ok(true);
        };
        let got = self.read_at(buffer, from.get())?;
        let hole = self.hole_in(&buffer[..got], from.get())?;
        let got = hole.unwrap_or(got);
        if let Some(end) = skipped(&buffer[..got]) {
            let offset = from.get() + end as u64;
            self.tail.push(&buffer[..end]);
            self.chunk.cursor.skip_to = None;
            self.pass_to(offset);
        } else {
            self.tail.push(&buffer[..got]);
            self.skip_on(from.get() + got as u64);
            if hole.is_some() || got < buffer.len() {
                return Ok(false);
            }
        }
        if self.budget == 0 {
            self.chunk.more = true;
        }
        Ok(!self.chunk.more)
    }

    /// Counts the unterminated rest of a file if it parses. The cursor stays before it, and stores its end.
    fn count_partial(&mut self, rest: &[u8]) {
        let end = self.chunk.cursor.offset + rest.len() as u64;
        if rest.trim_ascii().is_empty() || self.chunk.cursor.partial_end == end {
            return;
        }
        // Only its kind is needed here; its contents are counted below, once.
        let mut parser = Parser::new(&self.parser.state(), Millis::MAX);
        let (records, observations) = (&mut Vec::new(), &mut Vec::new());
        let parsed = parser.line(rest, LineContext::default(), records, observations);
        if parsed.class == LineKind::Malformed {
            return;
        }
        self.take_line(self.chunk.cursor.offset, rest);
        self.chunk.bytes += end.saturating_sub(self.chunk.cursor.offset.max(self.chunk.cursor.partial_end));
        let mut counted = self.tail.clone();
        counted.push(rest);
        let cursor = &mut self.chunk.cursor;
        cursor.partial_end = end;
        cursor.tail_len = counted.length();
        cursor.tail_hash = counted.hash();
    }
}

#[cfg(test)]
mod tests;
