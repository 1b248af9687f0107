//! Programs as targets: no shell, a short environment, the event on standard input, a process group of their own.
//!
//! What a program started ends with it: the group is ended when the program has ended or its time is over.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::schedule::{TryResult, of_exit};

/// Bytes kept of standard output and standard error together.
const OUTPUT_BYTES_MAX: usize = 4 << 10;
/// Time between TERM and KILL.
const TERM_WITHIN: Duration = Duration::from_secs(1);

/// The end of a program, and the beginning of its output.
#[derive(Debug, PartialEq, Eq)]
pub struct ExecEnd {
    pub result: TryResult,
    pub output: String,
}

/// Runs a program until it ends, or until its time is over. Blocks.
pub fn run(
    words: &[String],
    variables: &BTreeMap<String, OsString>,
    input: &str,
    within: Duration,
) -> ExecEnd {
    let failed = |why: String| ExecEnd {
        result: TryResult::Failed { why },
        output: String::new(),
    };
    let Some((program, arguments)) = words.split_first() else {
        return failed("the command is empty".to_owned());
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(variables)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return failed(format!("cannot run {program:?}: {error}")),
    };
    match Running::new(child).and_then(|running| running.finish(input, within)) {
        Ok(end) => end,
        Err(error) => failed(format!("cannot wait for {program:?}: {error}")),
    }
}

/// A program that runs. Its group is killed when this goes out of scope before it ended.
struct Running {
    child: Child,
    group: Option<Pid>,
    ended: OwnedFd,
    output: Vec<u8>,
}

impl Running {
    fn new(mut child: Child) -> io::Result<Self> {
        let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let group = id.ok_or(io::ErrorKind::InvalidData)?;
        match pidfd_open(group, PidfdFlags::empty()) {
            Ok(ended) => Ok(Self {
                child,
                group: Some(group),
                ended,
                output: Vec::new(),
            }),
            Err(error) => {
                let _ = kill_process_group(group, Signal::KILL);
                let _ = child.wait();
                Err(error.into())
            }
        }
    }

    fn finish(mut self, input: &str, within: Duration) -> io::Result<ExecEnd> {
        let deadline = Instant::now() + within;
        if let Some(mut stdin) = self.child.stdin.take() {
            unblock(&stdin)?;
            // An event fits into the pipe; a program that does not read it needs none.
            let _ = stdin.write_all(input.as_bytes());
        }
        let is_ended = self.follow(deadline)?;
        if !is_ended {
            self.signal(Signal::TERM);
            self.follow(Instant::now() + TERM_WITHIN)?;
        }
        // Before its number is given back: what it left behind ends too.
        self.signal(Signal::KILL);
        let status = self.child.wait()?;
        self.group = None;
        let result = if is_ended {
            of_exit(code_of(status))
        } else {
            TryResult::Retry {
                why: format!("it did not end within {} ms and was ended", within.as_millis()),
                after: None,
            }
        };
        let output = String::from_utf8_lossy(&self.output).into_owned();
        Ok(ExecEnd { result, output })
    }

    /// Reads its output until it ends; false at the deadline.
    fn follow(&mut self, deadline: Instant) -> io::Result<bool> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut fds = vec![PollFd::new(&self.ended, PollFlags::IN)];
            fds.extend(
                self.child
                    .stdout
                    .iter()
                    .map(|pipe| PollFd::new(pipe, PollFlags::IN)),
            );
            fds.extend(
                self.child
                    .stderr
                    .iter()
                    .map(|pipe| PollFd::new(pipe, PollFlags::IN)),
            );
            let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
            let count = match poll(&mut fds, Some(&timeout)) {
                Err(rustix::io::Errno::INTR) => continue,
                count => count?,
            };
            let is_ended = !fds[0].revents().is_empty();
            let is_over = count == 0 || Instant::now() >= deadline;
            drop(fds);
            let mut stdout = self.child.stdout.take();
            let mut stderr = self.child.stderr.take();
            drain(&mut stdout, &mut self.output, is_ended)?;
            drain(&mut stderr, &mut self.output, is_ended)?;
            (self.child.stdout, self.child.stderr) = (stdout, stderr);
            if is_ended || is_over {
                return Ok(is_ended);
            }
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // It may have ended already.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.group.is_some() {
            self.signal(Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

fn code_of(status: ExitStatus) -> Option<i32> {
    status.code()
}

fn unblock(fd: &impl AsFd) -> io::Result<()> {
    let flags = fcntl_getfl(fd)?;
    Ok(fcntl_setfl(fd, flags | OFlags::NONBLOCK)?)
}

/// Reads what is there, once or, at the end, a few times; what is beyond the bound is thrown away. A pipe at its end
/// is dropped.
fn drain<P: Read + AsFd>(pipe: &mut Option<P>, output: &mut Vec<u8>, is_ended: bool) -> io::Result<()> {
    let Some(open) = pipe else {
        return Ok(());
    };
    unblock(open)?;
    let mut bytes = [0; 4096];
    for _ in 0..if is_ended { 16 } else { 1 } {
        match open.read(&mut bytes) {
            Ok(0) => {
                *pipe = None;
                return Ok(());
            }
            Ok(count) => {
                let room = OUTPUT_BYTES_MAX.saturating_sub(output.len());
                output.extend_from_slice(&bytes[..count.min(room)]);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
