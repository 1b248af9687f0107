//! The official client as a command: it runs in a process group of its own, which is killed if it hangs.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
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

/// Kills a process group when it goes out of scope: after a timeout, or where the collector stops meanwhile.
struct ProcessGroup(Option<Pid>);

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may have ended already.
            let _ = kill_process_group(group, Signal::KILL);
        }
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
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    let mut group = ProcessGroup(id.and_then(Pid::from_raw));
    let ended = timeout(COMMAND_WITHIN, child.wait()).await;
    if ended.is_ok() {
        // Its number may be another's from now on.
        group.0 = None;
    }
    match ended {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(format!("{program:?} ended with {status}")),
        Ok(Err(error)) => Err(format!("cannot wait for {program:?}: {error}")),
        Err(_) => Err(format!(
            "{program:?} did not end within {} s and was killed",
            COMMAND_WITHIN.as_secs()
        )),
    }
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

    #[tokio::test]
    async fn what_a_command_started_ends_with_the_poll() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("pid");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .unwrap();
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
