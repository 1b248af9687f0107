//! `record`: posts records of calls from a file or standard input, and keeps them while the collector is away.

mod spool;

use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anstyle::AnsiColor;
use serde::Serialize;
use serde_json::Value;

use super::args::{Global, RecordArgs};
use super::client::{self, ClientError};
use super::exit::{Exit, Failure, OnPath};
use super::print::numbers::{counted, grouped};
use super::print::{output, text};
use super::settings::{CollectorAddress, asking};
use crate::api::wire::Posted;
use crate::clock::Clock;
use spool::{LockedSpool, Spool};

/// Most records of one request, and their bytes with line ends.
const RECORDS_MAX: usize = 1000;
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// Longest line, in bytes; a longer one is rejected here.
const LINE_BYTES_MAX: usize = 64 << 10;
/// Longest exchange of one request: the collector answers within 10 s.
const ANSWERED_WITHIN: Duration = Duration::from_secs(15);
/// First pause before a request is sent again, doubled up to the longest; a random part of it is left out.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(2);
/// Time after which a collector that does not take a request counts as away.
const AWAY_AFTER: Duration = Duration::from_secs(10);
/// Rejected records that are listed for people.
const LISTED_MAX: usize = 20;
/// The spool's name beside the database.
const SPOOL_NAME: &str = "records.spool";

const WARNING: anstyle::Style = AnsiColor::Yellow.on_default();

/// A record that was rejected.
#[derive(Clone, Debug, Serialize)]
struct Rejected {
    /// From 1; in the spool for what was kept there before.
    line: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    in_spool: bool,
    id: Option<String>,
    status: String,
    detail: String,
}

/// The document of `record --json`.
#[derive(Clone, Debug, Default, Serialize)]
struct RecordResult {
    counted: u64,
    duplicate: u64,
    rejected: u64,
    clock_suspect: u64,
    /// Records of this call that wait in the spool.
    spooled: u64,
    spool: Option<PathBuf>,
    items: Vec<Rejected>,
}

/// A line with its number.
struct InputLine {
    number: u64,
    bytes: Vec<u8>,
}

/// Posts records.
///
/// # Errors
/// The input cannot be read, the collector refuses the requests, or the spool is full or cannot be written.
pub fn record(global: &Global, command: &RecordArgs) -> Result<Exit, Failure> {
    let CollectorAddress { socket, settings } = asking(global)?;
    let mut input: Box<dyn BufRead> = match &command.file {
        Some(path) => Box::new(BufReader::new(File::open(path).on_path("read", path)?)),
        None => Box::new(io::stdin().lock()),
    };
    let path = match (&command.spool, settings) {
        (Some(path), _) => Ok(path.clone()),
        (None, Ok(settings)) => Ok(settings.db.with_file_name(SPOOL_NAME)),
        (None, Err(failure)) => Err(failure),
    };
    let mut sender = Sender {
        runtime: client::runtime(&socket)?,
        socket,
        away: None,
        result: RecordResult::default(),
    };
    let spool = path.map(|path| Spool {
        path,
        bytes_max: command.spool_max << 20,
    });
    if let Ok(spool) = &spool {
        sender.send_spool(spool)?;
    }
    let mut number = 0;
    while let Some(lines) = sender.next_lines(&mut *input, &mut number)? {
        if sender.away.is_none() && sender.send(&lines, false)? {
            continue;
        }
        let spool = spool.as_ref().map_err(|failure| sender.no_spool(failure))?;
        sender.keep(spool, lines)?;
    }
    let Sender { result, away, .. } = sender;
    if let Some(why) = away.filter(|_| result.spooled > 0 && !global.json) {
        output::warn(false, &why);
    }
    output::document(global.json, &result, |out| print(&result, out))?;
    Ok(if result.rejected > 0 {
        Exit::BadData
    } else {
        Exit::Ok
    })
}

/// The requests of one call.
struct Sender {
    socket: PathBuf,
    runtime: tokio::runtime::Runtime,
    /// Why the collector takes no requests.
    away: Option<String>,
    result: RecordResult,
}

impl Sender {
    /// Sends what was kept earlier; it stays in the spool unless all of it was answered.
    fn send_spool(&mut self, spool: &Spool) -> Result<(), Failure> {
        let Some(mut kept) = spool.waiting()? else {
            return Ok(());
        };
        let bytes = kept.read()?;
        let mut rest = bytes.as_slice();
        let mut number = 0;
        while let Some(lines) = self.next_lines(&mut rest, &mut number)? {
            if !self.send(&lines, true)? {
                return Ok(());
            }
        }
        kept.clear()
    }

    /// The lines of the next request; too long ones are rejected. Blank lines are no records.
    fn next_lines(
        &mut self,
        input: &mut dyn BufRead,
        number: &mut u64,
    ) -> Result<Option<Vec<InputLine>>, Failure> {
        let mut lines = Vec::new();
        let mut bytes = 0;
        while lines.len() < RECORDS_MAX && bytes + LINE_BYTES_MAX < REQUEST_BYTES_MAX {
            let mut line = Vec::new();
            let read = bounded_line(input, &mut line);
            if read.map_err(|error| Failure::from(error).while_doing("reading the records"))? == 0 {
                break;
            }
            *number += 1;
            if line.len() > LINE_BYTES_MAX && line.last() != Some(&b'\n') {
                skip_line(input)?;
                self.reject(*number, None, "invalid", "longer than 64 KiB", false);
                continue;
            }
            let text = line.trim_ascii();
            if text.is_empty() {
                continue;
            }
            bytes += text.len() + 1;
            lines.push(InputLine {
                number: *number,
                bytes: text.to_vec(),
            });
        }
        Ok((!lines.is_empty()).then_some(lines))
    }

    fn reject(&mut self, line: u64, id: Option<String>, status: &str, detail: &str, in_spool: bool) {
        self.result.rejected += 1;
        self.result.items.push(Rejected {
            line,
            in_spool,
            id,
            status: status.to_owned(),
            detail: detail.to_owned(),
        });
    }

    /// Sends lines until they are answered; `false` if the collector is away.
    fn send(&mut self, lines: &[InputLine], in_spool: bool) -> Result<bool, Failure> {
        let mut body = Vec::new();
        for line in lines {
            body.extend_from_slice(&line.bytes);
            body.push(b'\n');
        }
        let (began, mut pause) = (Instant::now(), AGAIN_AFTER);
        let posted: Posted = loop {
            let post = client::post_lines(&self.socket, "/v1/records", body.clone().into(), ANSWERED_WITHIN);
            let error = match self.runtime.block_on(post) {
                Ok(posted) => break posted,
                Err(error) => error,
            };
            if !error.may_pass() {
                return Err(error.into());
            }
            let is_gone = matches!(error, ClientError::NotRunning(_));
            if is_gone || began.elapsed() >= AWAY_AFTER {
                self.away = Some(error.to_string());
                return Ok(false);
            }
            self.runtime.block_on(tokio::time::sleep(jittered(pause)));
            pause = (pause * 2).min(AGAIN_AFTER_MAX);
        };
        let result = &mut self.result;
        result.counted += posted.counted;
        result.duplicate += posted.duplicate;
        result.clock_suspect += posted.clock_suspect;
        for item in posted.items.into_iter().filter(|item| item.status != "duplicate") {
            let at = usize::try_from(item.index)
                .ok()
                .and_then(|index| lines.get(index));
            let number = at.map_or(0, |line| line.number);
            let detail = item.detail.unwrap_or_default();
            self.reject(number, item.id, &item.status, &detail, in_spool);
        }
        Ok(true)
    }

    /// Keeps lines for the next call. What is not a record is rejected now, since nobody may see it later.
    fn keep(&mut self, spool: &Spool, lines: Vec<InputLine>) -> Result<(), Failure> {
        let received = Clock::SYSTEM.timestamp().to_string();
        let (mut numbers, mut kept) = (Vec::new(), Vec::new());
        for line in lines {
            match with_receipt(&line.bytes, &received) {
                Ok(bytes) => {
                    numbers.push(line.number);
                    kept.push(bytes);
                }
                Err(why) => self.reject(line.number, None, "invalid", &why, false),
            }
        }
        let mut open: LockedSpool<'_> = spool.open()?;
        let taken = open.append(&kept)?;
        self.result.spooled += taken as u64;
        self.result.spool = Some(open.path().to_owned());
        match numbers.get(taken) {
            None => Ok(()),
            Some(line) => Err(open.full(*line, self.result.spooled)),
        }
    }

    fn no_spool(&self, failure: &Failure) -> Failure {
        let away = self.away.as_deref().unwrap_or_default();
        Failure::new(
            Exit::Unavailable,
            format!("{away}; and there is no place for a spool ({failure}); name one with --spool"),
        )
    }
}

/// Half of the pause, and a random part of the other half: clients of one restart come back one by one.
fn jittered(pause: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish() % 1024;
    pause / 2 + pause / 2 * u32::try_from(random).unwrap_or(0) / 1024
}

/// Reads up to a line end, or one byte more than a line may have.
#[expect(clippy::disallowed_methods, reason = "`take` is the bound")]
fn bounded_line(input: &mut dyn BufRead, line: &mut Vec<u8>) -> io::Result<usize> {
    input.take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', line)
}

/// Drops the rest of a line.
fn skip_line(input: &mut dyn BufRead) -> Result<(), Failure> {
    input.skip_until(b'\n')?;
    Ok(())
}

/// A record with the time of receipt, if it has no time of its own: it may be sent days later.
fn with_receipt(line: &[u8], received: &str) -> Result<Vec<u8>, String> {
    let value: Value = serde_json::from_slice(line).map_err(|error| format!("not JSON: {error}"))?;
    let Value::Object(mut record) = value else {
        return Err("not a JSON object".to_owned());
    };
    let has = |name: &str| record.get(name).is_some_and(|value| !value.is_null());
    if has("time") || has("received_at") {
        return Ok(line.to_vec());
    }
    record.insert("received_at".to_owned(), received.into());
    serde_json::to_vec(&record).map_err(|error| error.to_string())
}

/// `1,000 counted, 12 duplicate, 1 rejected: line 37: usage.input_tokens: below zero`.
fn print(result: &RecordResult, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "{} counted", grouped(result.counted))?;
    if result.duplicate > 0 {
        write!(out, ", {} duplicate", grouped(result.duplicate))?;
    }
    if result.spooled > 0 {
        let path: &Path = result.spool.as_deref().unwrap_or(Path::new(""));
        let path = text::name(&path.display().to_string());
        write!(
            out,
            ", {} kept in {path} for the next time",
            grouped(result.spooled)
        )?;
    }
    if result.clock_suspect > 0 {
        let times = counted(result.clock_suspect, "record");
        write!(
            out,
            ", {times} dated by the receipt (their time is more than a day ahead)"
        )?;
    }
    if result.rejected > 0 {
        write!(
            out,
            ", {WARNING}{} rejected{WARNING:#}:",
            grouped(result.rejected)
        )?;
    }
    let is_one = result.items.len() == 1;
    for item in result.items.iter().take(LISTED_MAX) {
        let place = if item.in_spool { " of the spool" } else { "" };
        let start = if is_one { " " } else { "\n  " };
        let (line, detail) = (item.line, text::name(&item.detail));
        let status = if item.status == "conflict" {
            "conflict: "
        } else {
            ""
        };
        write!(out, "{start}line {line}{place}: {status}{detail}")?;
    }
    if let Some(more) = result
        .items
        .len()
        .checked_sub(LISTED_MAX)
        .filter(|more| *more > 0)
    {
        write!(out, "\n  and {} more; --json lists all", grouped(more as u64))?;
    }
    writeln!(out)
}
