//! Facilities of the machine: a shell before the program, a mount namespace around it, and /proc.
//!
//! Not every machine allows namespaces. A test that needs one checks first, and reports why it is skipped.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::harness::{Collector, WAIT_MAX, text};

/// Directories of the tools; the tester's environment is left out.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `command` as the last arguments of `wrapper`, with its own environment and directory.
pub fn wrapped(mut wrapper: Command, command: &Command) -> Command {
    wrapper.arg(command.get_program()).args(command.get_args());
    wrapper.env_clear().env("PATH", PATH).stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            wrapper.env(name, value);
        }
    }
    if let Some(directory) = command.get_current_dir() {
        wrapper.current_dir(directory);
    }
    wrapper
}

/// `command` in the process of a shell that ran `script` first.
pub fn after(script: &str, command: &Command) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &format!("{script}\nexec \"$@\""), "sh"]);
    wrapped(shell, command)
}

/// Reports, past the test harness, which test is skipped and why.
pub fn skipped(reason: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    writeln!(std::io::stderr(), "skipped: {test}: {reason}").expect("standard error takes a line");
}

/// A mount namespace of its own, as long as this value lives.
pub struct Namespace {
    holder: Child,
    has_user: bool,
}

impl Namespace {
    /// `None`, and a line with the reason, on a machine that does not allow it.
    pub fn or_skip() -> Option<Self> {
        let mut reasons = Vec::new();
        for has_user in [true, false] {
            match Self::hold(has_user) {
                Ok(namespace) => return Some(namespace),
                Err(reason) => reasons.push(reason),
            }
        }
        skipped(&format!(
            "no namespace with mounts of its own: {}",
            reasons.join("; ")
        ));
        None
    }

    /// With a user namespace too, where limits can be set without affecting other processes.
    pub fn of_user_or_skip() -> Option<Self> {
        match Self::hold(true) {
            Ok(namespace) => Some(namespace),
            Err(reason) => {
                skipped(&format!("no user namespace: {reason}"));
                None
            }
        }
    }

    fn hold(has_user: bool) -> Result<Self, String> {
        let mut unshare = Command::new("unshare");
        if has_user {
            unshare.args(["--user", "--map-root-user"]);
        }
        // The mount is the probe: a namespace alone does not prove that mounts are allowed.
        let script = "mount -t tmpfs none /tmp && umount /tmp && echo held && exec cat";
        unshare.args(["--mount", "/bin/sh", "-c", script]);
        unshare.env_clear().env("PATH", PATH);
        unshare
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut holder = unshare.spawn().map_err(|error| format!("unshare: {error}"))?;
        let mut said = *b"....\n";
        let answered = holder.stdout.take().unwrap().read_exact(&mut said).is_ok();
        if answered && said == *b"held\n" {
            return Ok(Self { holder, has_user });
        }
        drop(holder.stdin.take());
        let output = holder.wait_with_output().unwrap();
        Err(text(&output.stderr).trim().replace('\n', ", "))
    }

    /// `command` inside.
    pub fn command(&self, command: &Command) -> Command {
        let mut nsenter = Command::new("nsenter");
        nsenter.args(["--target", &self.holder.id().to_string(), "--mount"]);
        if self.has_user {
            nsenter.args(["--user", "--preserve-credentials"]);
        }
        nsenter.arg("--");
        wrapped(nsenter, command)
    }

    /// A shell script inside, with arguments; it must succeed.
    pub fn sh(&self, script: &str, arguments: &[&Path]) {
        let output = self.try_sh(script, arguments);
        assert!(output.status.success(), "{script}: {}", text(&output.stderr));
    }

    pub fn try_sh(&self, script: &str, arguments: &[&Path]) -> Output {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", script, "sh"]).args(arguments);
        self.command(&shell).output().unwrap()
    }

    /// The path, from outside, of a path inside.
    pub fn path(&self, inside: &Path) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(inside.strip_prefix("/").unwrap())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// The open files of a process.
pub fn open_files(pid: u32) -> Vec<PathBuf> {
    fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .collect()
}

/// Waits until a collector has no open file whose path contains `part`; each check follows an answer.
pub fn wait_until_closed(collector: &Collector, part: &str) {
    let deadline = std::time::Instant::now() + WAIT_MAX;
    loop {
        let held: Vec<_> = open_files(collector.pid())
            .into_iter()
            .filter(|path| path.to_string_lossy().contains(part))
            .collect();
        if held.is_empty() {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "still open: {held:?}");
        collector.health();
    }
}

/// A line of `/proc/<pid>/<file>` such as `VmHWM:  1234 kB`; `None` if the kernel does not report it.
pub fn proc_number(pid: u32, file: &str, name: &str) -> Option<u64> {
    let lines = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
    let line = lines.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim_start_matches(':')
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}
