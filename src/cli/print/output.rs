//! Standard output: printing, terminal size, and a closed reader.

use std::io::{self, BufWriter, ErrorKind, IsTerminal, Write};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, poll};
use serde::Serialize;

use super::text;
use crate::cli::exit::{Exit, Failure, LINE_BREAK};
use crate::cli::log;
use crate::stderr;

/// Size of a terminal that does not report one.
const TERMINAL: (usize, usize) = (80, 24);

/// The available room: the size of the terminal; unknown in a pipe or a file, where nothing is cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Screen {
    pub columns: Option<usize>,
    pub lines: Option<usize>,
}

impl Screen {
    /// The room of standard output.
    #[must_use]
    pub fn stdout() -> Self {
        Self::of(&io::stdout())
    }

    /// The room of standard error.
    #[must_use]
    pub fn stderr() -> Self {
        Self::of(&io::stderr())
    }

    /// `COLUMNS` and `LINES` of the environment, else the size of the terminal.
    fn of(stream: &(impl IsTerminal + AsFd)) -> Self {
        if !stream.is_terminal() {
            return Self::default();
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "a convention of terminals, not a setting of ours"
        )]
        let wanted = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
        let size = rustix::termios::tcgetwinsize(stream).ok();
        let (columns, lines) = size.map_or((0, 0), |size| (size.ws_col.into(), size.ws_row.into()));
        let known = |given: Option<usize>, measured: usize, else_: usize| {
            let mut sizes = given.into_iter().chain([measured]);
            Some(sizes.find(|size| *size > 0).unwrap_or(else_))
        };
        Self {
            columns: known(wanted("COLUMNS"), columns, TERMINAL.0),
            lines: known(wanted("LINES"), lines, TERMINAL.1),
        }
    }
}

/// Prints for people. Colours pass only to a terminal, and not if `NO_COLOR` is set.
///
/// A closed reader (`| head`) is no failure: the command keeps its exit code.
///
/// # Errors
/// Standard output cannot be written, for example on a full disk.
pub fn human(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
    let mut out = BufWriter::new(anstream::AutoStream::auto(io::stdout().lock()));
    to_failure(write(&mut out).and_then(|()| out.flush()))
}

/// Prints a document as JSON or for people, see [`json`] and [`human`].
///
/// # Errors
/// As those.
pub fn document(
    as_json: bool,
    document: &impl Serialize,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), Failure> {
    if as_json { json(document) } else { human(write) }
}

/// Prints for people on standard error, beside the output. A closed reader is no failure.
pub fn aside(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) {
    let mut err = anstream::AutoStream::new(Vec::new(), anstream::AutoStream::choice(&io::stderr()));
    // Writing to a vector cannot fail.
    let _ = write(&mut err);
    stderr::print(&err.into_inner());
}

/// Prints a warning beside the output: a line, or a document with `--json`.
pub fn warn(json: bool, warning: &str) {
    aside(|err| {
        let said = if json {
            serde_json::json!({ "warning": warning }).to_string()
        } else {
            fitted(&format!("tokentail: {}", text::message(warning)))
        };
        writeln!(err, "{}", log::warning(&said))
    });
}

/// Prints a warning of several sentences, each on a line of its own; all of them in one document with `--json`.
pub fn warn_lines(json: bool, lines: &[String]) {
    warn(json, &lines.join(if json { "; " } else { LINE_BREAK }));
}

/// The lines of a message, broken so that they fit the terminal of standard error.
#[must_use]
pub fn fitted(message: &str) -> String {
    let columns = Screen::stderr().columns;
    let lines: Vec<String> = message
        .split('\n')
        .map(|line| text::wrapped(line, columns))
        .collect();
    lines.join("\n")
}

/// Prints one of many lines at once; `false` if standard output is closed.
///
/// # Errors
/// As [`human`].
pub fn line(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<bool, Failure> {
    let mut out = BufWriter::new(anstream::AutoStream::auto(io::stdout().lock()));
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        written => to_failure(written).map(|()| true),
    }
}

/// Waits until the reader of standard output is gone: the other end of the pipe is closed. A file has no
/// other end.
pub async fn closed() {
    let (ended, closed) = tokio::sync::oneshot::channel();
    // A thread of its own, as it may wait for ever: the runtime would wait for one of its threads at the end.
    let waiting = std::thread::Builder::new()
        .name("stdout".to_owned())
        .spawn(move || {
            let stdout = io::stdout();
            loop {
                // No events are requested: errors and hang-ups are still reported.
                let mut ends = [PollFd::new(&stdout, PollFlags::empty())];
                match poll(&mut ends, None) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(_) => return,
                    Ok(_) => {
                        let _ = ended.send(());
                        return;
                    }
                }
            }
        });
    // Without the thread, the next failed write ends the command.
    if waiting.is_err() || closed.await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Prints bytes unchanged.
///
/// # Errors
/// As [`human`].
pub fn raw(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    to_failure(out.write_all(bytes).and_then(|()| out.flush()))
}

/// Prints an indented document with a newline at its end.
///
/// # Errors
/// As [`human`].
pub fn json<T: Serialize>(document: &T) -> Result<(), Failure> {
    let mut out = BufWriter::new(io::stdout().lock());
    to_failure(write_json(&mut out, document).and_then(|()| out.flush()))
}

fn write_json<T: Serialize>(out: &mut impl Write, document: &T) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, document)?;
    writeln!(out)
}

fn to_failure(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            let hint = match error.kind() {
                ErrorKind::StorageFull => "; free some space",
                _ => "; check where it is redirected to",
            };
            let message = format!("cannot write to standard output: {error}{hint}");
            Err(Failure::new(Exit::Io, message))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A writer whose reader is gone, or whose disk is full.
    struct Failing(ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(self.0.into())
        }
    }

    #[test]
    fn a_reader_that_left_is_no_failure() {
        assert_eq!(
            to_failure(write_json(&mut Failing(ErrorKind::BrokenPipe), &1)),
            Ok(())
        );
        let failure = to_failure(write_json(&mut Failing(ErrorKind::StorageFull), &1)).unwrap_err();
        assert_eq!(failure.code, Exit::Io);
    }

    #[test]
    fn a_document_ends_with_a_newline() {
        let mut out = Vec::new();
        write_json(&mut out, &serde_json::json!({"a": 1})).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "{\n  \"a\": 1\n}\n");
    }
}
