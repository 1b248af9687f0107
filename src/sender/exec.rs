//! Programs as targets: no shell, a short environment, the event on standard input, a process group of their own.
//!
//! What a program started ends with it, unless it began a session or a group of its own: the group is ended when the
//! program has ended, when its time is over, or when the collector ends.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::ending::HookEnding;
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

/// Runs a program until it ends, until its time is over, or until the collector ends. Blocks.
pub fn run(
    words: &[String],
    variables: &BTreeMap<String, OsString>,
    input: &str,
    within: Duration,
    ending: &HookEnding,
) -> ExecEnd {
    // A system without memory or descriptors, or a package that is being replaced: it may be put right at any time.
    let later = |why: String| ExecEnd {
        result: TryResult::Retry { why, after: None },
        output: String::new(),
    };
    let Some((program, arguments)) = words.split_first() else {
        return later("the command is empty".to_owned());
    };
    // Counted before the look, so that an end that begins now waits for it.
    let _counted = ending.count();
    if ending.is_begun() {
        return later("the collector ends".to_owned());
    }
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
        Err(error) => return later(format!("cannot run {program:?}: {error}")),
    };
    match HookProcess::new(child).and_then(|running| running.finish(input, within, ending)) {
        Ok(end) => end,
        Err(error) => later(format!("cannot wait for {program:?}: {error}")),
    }
}

/// The reason why a program is not followed any more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Followed {
    Ended,
    TimeOver,
    CollectorEnds,
}

/// A program that runs. Its group is killed when this goes out of scope before it ended.
struct HookProcess {
    child: Child,
    group: Option<Pid>,
    ended: OwnedFd,
    output: Vec<u8>,
}

impl HookProcess {
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

    fn finish(mut self, input: &str, within: Duration, ending: &HookEnding) -> io::Result<ExecEnd> {
        let deadline = Instant::now() + within;
        if let Some(mut stdin) = self.child.stdin.take() {
            unblock(&stdin)?;
            // An event fits into the pipe; a program that does not read it needs none.
            let _ = stdin.write_all(input.as_bytes());
        }
        let followed = self.follow(deadline, Some(ending))?;
        if followed != Followed::Ended {
            self.signal(Signal::TERM);
            self.follow(Instant::now() + TERM_WITHIN, None)?;
        }
        // Before its number is given back: what it left behind ends too.
        self.signal(Signal::KILL);
        let status = self.child.wait()?;
        self.group = None;
        let why = match followed {
            Followed::Ended => None,
            Followed::TimeOver => Some(format!(
                "it did not end within {} ms and was ended",
                within.as_millis()
            )),
            Followed::CollectorEnds => Some("the collector ends, and ended it".to_owned()),
        };
        let result = why.map_or_else(
            || of_exit(status.code()),
            |why| TryResult::Retry { why, after: None },
        );
        let output = String::from_utf8_lossy(&self.output).into_owned();
        Ok(ExecEnd { result, output })
    }

    /// Reads its output until it ends, until the deadline, or until the collector ends.
    fn follow(&mut self, deadline: Instant, ending: Option<&HookEnding>) -> io::Result<Followed> {
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
            fds.extend(ending.map(|ending| PollFd::from_borrowed_fd(ending.signal(), PollFlags::IN)));
            let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
            let count = match poll(&mut fds, Some(&timeout)) {
                Err(rustix::io::Errno::INTR) => continue,
                count => count?,
            };
            let is_ended = !fds[0].revents().is_empty();
            let is_over = count == 0 || Instant::now() >= deadline;
            let collector_ends = ending.is_some_and(HookEnding::is_begun);
            drop(fds);
            let mut stdout = self.child.stdout.take();
            let mut stderr = self.child.stderr.take();
            drain(&mut stdout, &mut self.output, is_ended)?;
            drain(&mut stderr, &mut self.output, is_ended)?;
            (self.child.stdout, self.child.stderr) = (stdout, stderr);
            // The end of the collector first: what ends then may have been ended by it.
            if collector_ends {
                return Ok(Followed::CollectorEnds);
            }
            if is_ended {
                return Ok(Followed::Ended);
            }
            if is_over {
                return Ok(Followed::TimeOver);
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

impl Drop for HookProcess {
    fn drop(&mut self) {
        if self.group.is_some() {
            self.signal(Signal::KILL);
            let _ = self.child.wait();
        }
    }
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const WITHIN: Duration = Duration::from_secs(30);

    /// Runs a script, with arguments; its directory, for what it writes.
    fn script(text: &str, arguments: &[&str], within: Duration) -> (ExecEnd, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hook");
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        let mut words = vec![path.display().to_string()];
        words.extend(arguments.iter().map(|word| (*word).to_owned()));
        let variables = [
            ("PATH".to_owned(), "/usr/bin:/bin".into()),
            ("OUT".to_owned(), folder.path().join("out").into()),
        ];
        let ending = HookEnding::new().unwrap();
        (
            run(&words, &variables.into(), "{\"a\":1}\n", within, &ending),
            folder,
        )
    }

    #[test]
    fn arguments_input_and_variables_arrive_as_they_are() {
        let text = "cat; printf '%s|' \"$@\"; env | grep -c .; exit 0";
        let (end, _folder) = script(text, &["one two", "it's \"q\"; $HOME", ""], WITHIN);
        assert_eq!(end.result, TryResult::Sent);
        // The variables that were given, and those of the shell.
        let (said, count) = end.output.trim_end().rsplit_once('|').unwrap();
        assert_eq!(said, "{\"a\":1}\none two|it's \"q\"; $HOME|");
        assert!((2..=5).contains(&count.parse::<u32>().unwrap()), "{count}");
    }

    #[test]
    fn the_exit_code_is_the_result() {
        for (text, expected) in [
            ("exit 0", of_exit(Some(0))),
            ("exit 75", of_exit(Some(75))),
            ("exit 3", of_exit(Some(3))),
            ("kill -9 $$", of_exit(None)),
        ] {
            assert_eq!(script(text, &[], WITHIN).0.result, expected, "{text}");
        }
    }

    #[test]
    fn a_program_that_cannot_be_started_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let busy = folder.path().join("busy");
        fs::copy("/bin/true", &busy).unwrap();
        // Open for writing: ETXTBSY, as while a package is replaced.
        let _open = fs::OpenOptions::new().write(true).open(&busy).unwrap();
        for program in ["/no/such/hook".to_owned(), busy.display().to_string()] {
            let ending = HookEnding::new().unwrap();
            let end = run(
                std::slice::from_ref(&program),
                &BTreeMap::new(),
                "",
                WITHIN,
                &ending,
            );
            let TryResult::Retry { why, .. } = end.result else {
                panic!("{end:?}")
            };
            assert!(why.starts_with(&format!("cannot run {program:?}: ")), "{why}");
        }
    }

    #[test]
    fn a_program_ends_with_the_collector_and_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .unwrap();
        let ending = HookEnding::new().unwrap();
        let words = ["/bin/sh", "-c", "echo > \"$1\"; exec sleep 1000", "hook"];
        let mut words = words.map(str::to_owned).to_vec();
        words.push(fifo.display().to_string());
        let variables = [("PATH".to_owned(), "/usr/bin:/bin".into())].into();
        std::thread::scope(|scope| {
            let hook = scope.spawn(|| run(&words, &variables, "", WITHIN, &ending));
            // It runs.
            fs::read(&fifo).unwrap();
            ending.begin();
            let end = hook.join().unwrap();
            let TryResult::Retry { why, .. } = end.result else {
                panic!("{end:?}")
            };
            assert!(why.contains("the collector ends"), "{why}");
        });
        // None starts any more.
        let end = run(&words, &variables, "", WITHIN, &ending);
        assert!(matches!(end.result, TryResult::Retry { .. }), "{end:?}");
    }

    #[test]
    fn output_beyond_its_bound_is_thrown_away() {
        let (end, _folder) = script("head -c 3000000 /dev/zero | tr '\\0' x; exit 0", &[], WITHIN);
        assert_eq!(end.result, TryResult::Sent);
        assert_eq!(end.output, "x".repeat(OUTPUT_BYTES_MAX));
    }

    #[test]
    fn a_program_that_hangs_is_ended_with_what_it_started() {
        let text = "trap '' TERM; sleep 1000 & echo $! > $OUT; wait; wait";
        let (end, folder) = script(text, &[], Duration::from_millis(300));
        let TryResult::Retry { why, .. } = end.result else {
            panic!("{end:?}")
        };
        assert!(why.contains("did not end within 300 ms"), "{why}");
        assert_gone(folder.path());
    }

    #[test]
    fn what_a_program_leaves_behind_ends_with_it_and_is_not_waited_for() {
        let (end, folder) = script("sleep 1000 & echo $! > $OUT; exit 0", &[], WITHIN);
        assert_eq!(end.result, TryResult::Sent);
        assert_gone(folder.path());
    }

    /// The process whose number is in the file has ended, or does so now.
    fn assert_gone(folder: &std::path::Path) {
        let number: i32 = fs::read_to_string(folder.join("out"))
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let Ok(left) = pidfd_open(Pid::from_raw(number).unwrap(), PidfdFlags::empty()) else {
            return;
        };
        let mut fds = [PollFd::new(&left, PollFlags::IN)];
        let within = Timespec::try_from(WITHIN).unwrap();
        assert_eq!(poll(&mut fds, Some(&within)).unwrap(), 1, "{number} goes on");
    }
}
