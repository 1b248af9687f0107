//! Panics: reported on standard error; the exit code is that of bugs.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::process::ExitCode;
use std::thread;

use super::exit::{Exit, Failure};
use super::report;

/// Runs the program. A panic of any thread is reported like a failure; an uncaught one ends the program with
/// the exit code of bugs.
pub fn guarded(json: bool, program: impl FnOnce() -> ExitCode) -> ExitCode {
    std::panic::set_hook(Box::new(move |panic| {
        report(&Failure::new(Exit::Bug, said(panic, &Backtrace::capture())), json);
    }));
    catch_unwind(AssertUnwindSafe(program)).unwrap_or_else(|_| Exit::Bug.into())
}

/// The report of a panic, with the backtrace if `RUST_BACKTRACE` is set.
fn said(panic: &PanicHookInfo<'_>, trace: &Backtrace) -> String {
    let current = thread::current();
    let thread = current.name().unwrap_or("without a name");
    let said = format!("a bug, please report it: thread {thread}: {panic}");
    match trace.status() {
        BacktraceStatus::Captured => format!("{said}\n{trace}"),
        _ => said,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::MetadataExt;
    use std::process::Command;

    use super::*;

    /// Set in the panicking process; names the place of the panic.
    const PLACE: &str = "PANICS_IN";

    fn panics_in(place: &str) -> ! {
        let code = guarded(place == "json", || match place {
            "thread" => thread::scope(|scope| {
                let thread = scope.spawn(|| panic!("on purpose\n\nin a thread"));
                std::panic::resume_unwind(thread.join().unwrap_err())
            }),
            "caught" => {
                assert!(catch_unwind(|| panic!("on purpose")).is_err());
                ExitCode::SUCCESS
            }
            _ => panic!("on purpose"),
        });
        let codes = [Exit::Ok, Exit::Bug].map(|exit| (format!("{:?}", ExitCode::from(exit)), exit));
        let found = codes.iter().find(|(shown, _)| *shown == format!("{code:?}"));
        #[expect(
            clippy::disallowed_methods,
            reason = "the test harness has exit codes of its own"
        )]
        std::process::exit(found.map_or(1, |(_, exit)| exit.code().into()))
    }

    #[test]
    fn a_panic_ends_the_program_as_a_bug() {
        #[expect(
            clippy::disallowed_methods,
            reason = "it says that this is the process that panics"
        )]
        if let Ok(place) = std::env::var(PLACE) {
            panics_in(&place);
        }
        let directory = tempfile::tempdir().unwrap();
        for (place, code, begins) in [
            ("main", 70, "tokentail: a bug, please report it: thread "),
            (
                "thread",
                70,
                "tokentail: a bug, please report it: thread without a name: ",
            ),
            ("caught", 0, "tokentail: a bug, please report it: thread "),
            ("json", 70, "{\"error\":\"a bug, please report it: thread "),
        ] {
            for is_journal in [false, true] {
                let path = directory.path().join("stderr");
                let stderr = File::create(&path).unwrap();
                let stream = stderr
                    .metadata()
                    .map(|file| format!("{}:{}", file.dev(), file.ino()));
                let mut command = Command::new(std::env::current_exe().unwrap());
                command
                    .args(["--exact", "cli::panics::tests::a_panic_ends_the_program_as_a_bug"])
                    .env(PLACE, place)
                    .env("RUST_BACKTRACE", "0")
                    .env_remove("JOURNAL_STREAM")
                    .stderr(stderr);
                if is_journal {
                    command.env("JOURNAL_STREAM", stream.unwrap());
                }
                assert_eq!(command.output().unwrap().status.code(), Some(code), "{place}");
                let said = std::fs::read_to_string(&path).unwrap();
                let priority = if is_journal { "<3>" } else { "" };
                assert!(said.starts_with(&format!("{priority}{begins}")), "{said}");
                assert!(said.contains("on purpose"), "{said}");
                let is_marked = |line: &str| line.starts_with("<3>") && line.len() > 3;
                assert!(!is_journal || said.lines().all(is_marked), "{said}");
            }
        }
    }
}
