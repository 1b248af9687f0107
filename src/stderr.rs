//! Standard error of a process that must not wait for its reader: a bounded queue, and a thread that writes.
//!
//! A pipe without a reader and a stopped terminal accept no bytes and return no error: a write there hangs.
//! Until [`start`] is called, writes are direct, which suits short commands.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use crate::model::format::length;
use crate::sync::{lock, unpoisoned};

/// Queue bound of lines of the log, in bytes. Lines beyond it are dropped and counted.
const QUEUE_BYTES_MAX: usize = 1 << 20;
/// Queue bound of other text: failures, and output of a command beside its answer.
const QUEUE_BYTES_MAX_KEPT: usize = 2 * QUEUE_BYTES_MAX;
/// Dropped lines are reported once the queue has shrunk to this size.
const QUEUE_BYTES_CALM: usize = QUEUE_BYTES_MAX / 2;
/// A write that takes longer is reported by health.
const STUCK_AFTER: Duration = Duration::from_secs(5);
/// Maximum time that the end of the process waits until everything is written.
const FINISH_WITHIN: Duration = Duration::from_millis(300);
/// The same for an immediate end.
const LAST_WORDS_WITHIN: Duration = Duration::from_millis(100);

static QUEUE: OnceLock<Queue> = OnceLock::new();

/// From now on no write to standard error through this module waits for its reader.
///
/// # Errors
/// The thread cannot be created.
pub fn start() -> io::Result<()> {
    if QUEUE.get().is_some() {
        return Ok(());
    }
    // It is not joined: it may hang forever, and `finish` waits for its output.
    thread::Builder::new()
        .name("stderr".to_owned())
        .spawn(|| QUEUE.get_or_init(Queue::default).run(&mut Descriptor))?;
    QUEUE.get_or_init(Queue::default);
    Ok(())
}

/// True after [`start`] was called.
#[must_use]
pub fn is_queued() -> bool {
    QUEUE.get().is_some()
}

/// Writes a failure or output of a command beside its answer; it is not dropped as lines of the log are.
pub fn print(bytes: &[u8]) {
    match QUEUE.get() {
        Some(queue) => queue.push(bytes, QUEUE_BYTES_MAX_KEPT),
        // Standard error may be closed; there is no other place to report that.
        None => drop(io::stderr().write_all(bytes)),
    }
}

/// Writes text that is of no use later, such as a progress bar: only if the queue is empty.
pub fn draw(bytes: &[u8]) {
    if let Some(queue) = QUEUE.get() {
        queue.push_if_idle(bytes);
    }
}

/// Writes a last line before an end without destructors; waits for it only briefly.
pub fn last_words(line: &str) {
    if let Some(queue) = QUEUE.get() {
        queue.push(format!("{line}\n").as_bytes(), QUEUE_BYTES_MAX_KEPT);
        queue.flush(Some(LAST_WORDS_WITHIN));
    }
}

/// Waits until everything is written, however long that takes.
pub fn flush() {
    if let Some(queue) = QUEUE.get() {
        queue.flush(None);
    }
}

/// Waits until everything is written, for a bounded time: the last step of a process.
pub fn finish() {
    if let Some(queue) = QUEUE.get() {
        queue.flush(Some(FINISH_WITHIN));
    }
}

/// Lines of the log that were not written and that the log has not reported yet; 0 while it accepts nothing.
#[must_use]
pub fn take_unreported() -> u64 {
    QUEUE.get().map_or(0, Queue::take_unreported)
}

/// Number of lines dropped since the start.
#[must_use]
pub fn dropped() -> u64 {
    QUEUE.get().map_or(0, |queue| queue.lock().dropped)
}

/// Reason for which the log is not written; `None` while it is written.
#[must_use]
pub fn trouble() -> Option<String> {
    QUEUE.get().and_then(|queue| queue.trouble(Instant::now()))
}

/// Accepts one event of the log: a line, or several.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match QUEUE.get() {
            Some(queue) => queue.push(bytes, QUEUE_BYTES_MAX),
            None => io::stderr().write_all(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The queue of text to write.
#[derive(Debug, Default)]
struct Queue {
    state: Mutex<WriterState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct WriterState {
    lines: VecDeque<Box<[u8]>>,
    bytes: usize,
    /// Start of the write in which the thread is now.
    writing_since: Option<Instant>,
    dropped: u64,
    unreported: u64,
    /// Error of the last write.
    error: Option<String>,
}

impl WriterState {
    fn drop_line(&mut self) {
        self.dropped += 1;
        self.unreported += 1;
    }

    fn is_idle(&self) -> bool {
        self.lines.is_empty() && self.writing_since.is_none()
    }

    fn add(&mut self, line: &[u8]) {
        self.bytes += line.len();
        self.lines.push_back(line.into());
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, WriterState> {
        lock(&self.state)
    }

    fn push(&self, line: &[u8], bytes_max: usize) {
        let mut state = self.lock();
        if state.bytes + line.len() > bytes_max {
            state.drop_line();
            return;
        }
        state.add(line);
        self.changed.notify_all();
    }

    fn push_if_idle(&self, bytes: &[u8]) {
        let mut state = self.lock();
        if state.is_idle() {
            state.add(bytes);
            self.changed.notify_all();
        }
    }

    /// Writes the queue, forever.
    fn run(&self, out: &mut dyn Write) {
        let mut state = self.lock();
        loop {
            let Some(line) = state.lines.pop_front() else {
                self.changed.notify_all();
                state = unpoisoned(self.changed.wait(state));
                continue;
            };
            state.bytes -= line.len();
            state.writing_since = Some(Instant::now());
            drop(state);
            let written = out.write_all(&line);
            state = self.lock();
            state.writing_since = None;
            state.error = written.err().map(|error| error.to_string());
            if state.error.is_some() {
                state.drop_line();
            }
        }
    }

    fn flush(&self, within: Option<Duration>) {
        let deadline = within.map(|within| Instant::now() + within);
        let mut state = self.lock();
        while !state.is_idle() {
            let Some(deadline) = deadline else {
                state = unpoisoned(self.changed.wait(state));
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = unpoisoned(waited).0;
        }
    }

    fn take_unreported(&self) -> u64 {
        let mut state = self.lock();
        if state.bytes > QUEUE_BYTES_CALM || state.error.is_some() {
            return 0;
        }
        std::mem::take(&mut state.unreported)
    }

    fn trouble(&self, now: Instant) -> Option<String> {
        let state = self.lock();
        let stuck = state
            .writing_since
            .map(|since| now.saturating_duration_since(since));
        let why = match (&state.error, stuck.filter(|stuck| *stuck >= STUCK_AFTER)) {
            (_, Some(stuck)) => format!("standard error has taken nothing for {}", length(stuck.as_secs())),
            (Some(error), None) => format!("standard error takes nothing: {error}"),
            (None, None) => return None,
        };
        Some(format!(
            "the log is not written: {why}; {} lines were dropped, and counting goes on; read it, or start again with \
             another standard error",
            state.dropped
        ))
    }
}

/// The descriptor itself: without the lock of the standard library, which a hanging write would hold.
struct Descriptor;

impl Write for Descriptor {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let stderr = io::stderr();
        loop {
            match rustix::io::write(stderr.as_fd(), bytes) {
                // Another process that shares it set this.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let mut ends = [PollFd::new(&stderr, PollFlags::OUT)];
                    match poll(&mut ends, None) {
                        Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
                        _ => {}
                    }
                }
                written => return Ok(written?),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    /// Accepts a line when it is permitted.
    struct Gate {
        entered: SyncSender<()>,
        open: Receiver<io::Result<()>>,
        taken: SyncSender<Vec<u8>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.entered.send(());
            // No reader opens it any more: the test is over, the thread remains until the end of the process.
            self.open.recv().unwrap_or(Ok(()))?;
            let _ = self.taken.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Stage {
        queue: &'static Queue,
        entered: Receiver<()>,
        open: SyncSender<io::Result<()>>,
        taken: Receiver<Vec<u8>>,
    }

    fn stage() -> Stage {
        let queue: &'static Queue = Box::leak(Box::default());
        let (entered, of_entered) = sync_channel(1 << 16);
        let (open, of_open) = sync_channel(1 << 16);
        let (taken, of_taken) = sync_channel(1 << 16);
        let mut gate = Gate {
            entered,
            open: of_open,
            taken,
        };
        thread::Builder::new()
            .name("gate".to_owned())
            .spawn(move || queue.run(&mut gate))
            .unwrap();
        Stage {
            queue,
            entered: of_entered,
            open,
            taken: of_taken,
        }
    }

    #[test]
    fn nobody_waits_for_a_reader_and_what_does_not_fit_is_counted() {
        let Stage {
            queue,
            entered,
            open,
            taken,
        } = stage();
        queue.push(b"first", QUEUE_BYTES_MAX);
        entered.recv().unwrap();
        let line = [b'x'; 1024];
        for _ in 0..2000 {
            queue.push(&line, QUEUE_BYTES_MAX);
        }
        queue.push(b"a failure", QUEUE_BYTES_MAX_KEPT);
        queue.push_if_idle(b"a bar");
        assert_eq!(queue.lock().dropped, 2000 - 1024);
        // It hangs: it accepts no report, and no end waits for it.
        assert_eq!(queue.take_unreported(), 0);
        queue.flush(Some(Duration::from_millis(1)));
        assert_eq!(queue.trouble(Instant::now()), None);
        let said = queue.trouble(Instant::now() + STUCK_AFTER).unwrap();
        assert!(
            said.contains("taken nothing for 5 s; 976 lines were dropped"),
            "{said}"
        );

        for _ in 0..1026 {
            open.send(Ok(())).unwrap();
        }
        queue.flush(None);
        let written: Vec<_> = taken.try_iter().collect();
        assert_eq!(written.len(), 1026);
        assert_eq!(written[0], b"first");
        assert_eq!(written[1025], b"a failure");
        assert_eq!((queue.take_unreported(), queue.take_unreported()), (976, 0));
        assert_eq!(queue.trouble(Instant::now() + STUCK_AFTER), None);
    }

    #[test]
    fn a_line_that_cannot_be_written_is_counted_and_the_reason_is_said() {
        let Stage { queue, open, .. } = stage();
        open.send(Err(ErrorKind::StorageFull.into())).unwrap();
        queue.push(b"lost", QUEUE_BYTES_MAX);
        queue.flush(None);
        let said = queue.trouble(Instant::now()).unwrap();
        assert!(
            said.contains("takes nothing: no storage space; 1 lines"),
            "{said}"
        );
        assert_eq!(queue.take_unreported(), 0);
        open.send(Ok(())).unwrap();
        queue.push(b"written", QUEUE_BYTES_MAX);
        queue.flush(None);
        assert_eq!(queue.trouble(Instant::now()), None);
        assert_eq!(queue.take_unreported(), 1);
    }
}
