//! Process limits: the resources a collector needs are tested before anything is opened.
//!
//! A missing thread or descriptor would later end in a panic of a library, or in a process that does not end.

use std::io;
use std::os::fd::AsFd;
use std::sync::RwLock;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::exit::{Exit, Failure};

/// Threads beside the workers: standard error, signals and their backstop, the watch of the start, committer,
/// events, one for files, one for answers, one spare.
const THREADS_BESIDE: usize = 9;
/// Descriptors for the database, sockets, events and polling, a log, a directory, and some clients.
const DESCRIPTORS: usize = 32;
/// The soft limit of open files is raised to this if it is lower.
const OPEN_FILES_MIN: u64 = 64;
/// Stack of the main thread needed by a build without optimisation.
const STACK_BYTES_MIN: u64 = 512 << 10;
/// Longest time until the kernel releases the threads of the test.
const THREADS_GONE_WITHIN: Duration = Duration::from_millis(500);

pub const THREADS_HINT: &str = "raise the limit on processes and threads (ulimit -u, TasksMax=, pids.max)";

/// Tests the threads and descriptors of a collector.
///
/// # Errors
/// There are too few.
pub fn check() -> Result<(), Failure> {
    let threads = thread::available_parallelism().map_or(1, usize::from) + THREADS_BESIDE;
    try_threads(threads).map_err(|error| {
        let message = format!("too few threads to start, {threads} are needed: {error}; {THREADS_HINT}");
        Failure::new(Exit::Io, message)
    })?;
    raise_open_files();
    try_descriptors(DESCRIPTORS).map_err(|error| {
        let message = format!(
            "too few open files to start, {DESCRIPTORS} more are needed: {error}; raise the limit (ulimit -n, \
             LimitNOFILE=)"
        );
        Failure::new(Exit::Io, message)
    })
}

/// Checks that the stack of the main thread is large enough for a command.
///
/// # Errors
/// It is too small.
pub fn check_stack() -> Result<(), Failure> {
    match getrlimit(Resource::Stack).current {
        Some(bytes) if bytes < STACK_BYTES_MIN => {
            let message = format!(
                "the stack may have {} KiB here, and {} are needed; raise the limit (ulimit -s, LimitSTACK=)",
                bytes >> 10,
                STACK_BYTES_MIN >> 10
            );
            Err(Failure::new(Exit::Io, message))
        }
        _ => Ok(()),
    }
}

/// Starts `count` threads at once, and waits for their end.
fn try_threads(count: usize) -> io::Result<()> {
    let before = threads();
    let gate = RwLock::new(());
    let started = thread::scope(|scope| {
        let _closed = gate.write();
        for _ in 0..count {
            thread::Builder::new()
                .name("limits".to_owned())
                .spawn_scoped(scope, || drop(gate.read()))?;
        }
        Ok(())
    });
    // A joined thread is counted until the kernel has released it.
    let deadline = Instant::now() + THREADS_GONE_WITHIN;
    while threads() > before && Instant::now() < deadline {
        thread::yield_now();
    }
    started
}

/// Threads of this process; 0 without `/proc`.
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit
        .maximum
        .map_or(OPEN_FILES_MIN, |most| most.min(OPEN_FILES_MIN));
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = Rlimit {
            current: Some(wanted),
            maximum: limit.maximum,
        };
        // If this fails, the current limit is used.
        let _ = setrlimit(Resource::Nofile, raised);
    }
}

fn try_descriptors(count: usize) -> io::Result<()> {
    let stderr = io::stderr();
    let copies = (0..count).map(|_| stderr.as_fd().try_clone_to_owned());
    copies.collect::<io::Result<Vec<_>>>().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_as_others_are_has_enough() {
        check_stack().unwrap();
        try_threads(THREADS_BESIDE).unwrap();
        try_descriptors(DESCRIPTORS).unwrap();
    }
}
