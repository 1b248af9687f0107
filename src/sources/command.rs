//! The official client as a command: it runs in a process group of its own, which ends with it, or is killed if it hangs.

use std::process::Stdio;
use std::time::Duration;

use rustix::io::retry_on_intr;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::process::Command;
use tokio::time::timeout;

/// Time within which the command must end; then its process group is killed.
const COMMAND_WITHIN: Duration = Duration::from_mins(1);
/// Variables by which the service manager talks to the collector alone.
const OWN_VARIABLES: [&str; 5] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
];

/// Kills a process group when it goes out of scope: after the end of its leader, which may have left others behind, after
/// a timeout, or where the collector stops meanwhile. **Invariant**: its leader's status is not read before, so the number
/// is no other group's.
struct ProcessGroup(Pid);

impl ProcessGroup {
    /// Waits until the leader has ended, and leaves its status to be read.
    async fn leader_ended(&self) -> std::io::Result<()> {
        let leader = self.0;
        let (tell, ended) = tokio::sync::oneshot::channel();
        // A thread of its own: it ends with the leader, at the latest when the group is killed.
        let thread = std::thread::Builder::new().name("poll-command".to_owned());
        thread.spawn(move || {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            // Without a process there is nothing to wait for.
            let _ = retry_on_intr(|| waitid(WaitId::Pid(leader), options));
            let _ = tell.send(());
        })?;
        let _ = ended.await;
        Ok(())
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = kill_process_group(self.0, Signal::KILL);
    }
}

/// Runs a command without input and output until it ends.
pub async fn run(words: &[String]) -> Result<(), String> {
    let (program, arguments) = words.split_first().ok_or("the command is empty")?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true);
    for name in OWN_VARIABLES {
        command.env_remove(name);
    }
    let mut child = command
        .spawn()
        .map_err(|error| format!("cannot run {program:?}: {error}"))?;
    let cannot_wait = |error: std::io::Error| format!("cannot wait for {program:?}: {error}");
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    let group = ProcessGroup(id.and_then(Pid::from_raw).ok_or("the command has no process")?);
    let Ok(ended) = timeout(COMMAND_WITHIN, group.leader_ended()).await else {
        let seconds = COMMAND_WITHIN.as_secs();
        return Err(format!(
            "{program:?} did not end within {seconds} s and was killed"
        ));
    };
    ended.map_err(cannot_wait)?;
    drop(group);
    let status = child.wait().await.map_err(cannot_wait)?;
    if status.success() {
        return Ok(());
    }
    Err(format!("{program:?} ended with {status}"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[tokio::test]
    async fn the_end_of_a_command_is_its_result() {
        assert_eq!(run(&words(&["true"])).await, Ok(()));
        for (command, why) in [
            (&["false"][..], "\"false\" ended with exit status: 1"),
            (
                &["/no/such/program"],
                "cannot run \"/no/such/program\": No such file or directory (os error 2)",
            ),
            (&[], "the command is empty"),
        ] {
            assert_eq!(run(&words(command)).await, Err(why.to_owned()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_that_hangs_is_killed() {
        let why = run(&words(&["sleep", "1000"])).await.unwrap_err();
        assert_eq!(why, "\"sleep\" did not end within 60 s and was killed");
    }

    /// A directory with a FIFO in it.
    fn fifo() -> (tempfile::TempDir, std::path::PathBuf) {
        use rustix::fs::{CWD, FileType, Mode, mknodat};

        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("pid");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RWXU, 0).unwrap();
        (directory, fifo)
    }

    #[tokio::test]
    async fn what_a_command_left_running_ends_with_it() {
        for (end, result) in [
            (0, Ok(())),
            (3, Err("\"sh\" ended with exit status: 3".to_owned())),
        ] {
            let (_directory, fifo) = fifo();
            // The sleeper holds the FIFO open as long as it lives.
            let script = format!(
                "exec 3>{}; sleep 1000 & echo started >&3; exit {end}",
                fifo.display()
            );
            let read = tokio::task::spawn_blocking(move || fs::read(fifo).unwrap());
            assert_eq!(run(&words(&["sh", "-c", &script])).await, result);
            assert_eq!(read.await.unwrap(), b"started\n");
        }
    }

    #[tokio::test]
    async fn what_a_command_started_ends_with_the_poll() {
        let (_directory, fifo) = fifo();
        // The sleeper holds the FIFO open as long as it lives.
        let script = format!("exec 3>{0}; sleep 1000 & echo started >&3; wait", fifo.display());
        let command = words(&["sh", "-c", &script]);
        let running = tokio::task::spawn_blocking({
            let fifo = fifo.clone();
            move || {
                let mut first = [0; 8];
                let mut read = fs::File::open(fifo).unwrap();
                std::io::Read::read_exact(&mut read, &mut first).unwrap();
                read
            }
        });
        let mut read = tokio::select! {
            ended = run(&command) => panic!("{ended:?}"),
            read = running => read.unwrap(),
        };
        // The poll was given up: the end of the file comes once the last process of the group is gone.
        let mut rest = Vec::new();
        std::io::Read::read_to_end(&mut read, &mut rest).unwrap();
        assert_eq!(rest, b"");
    }
}
