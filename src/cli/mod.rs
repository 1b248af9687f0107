//! The command line program: arguments in, documents or tables out, an exit code at the end.

use std::ffi::OsString;
use std::process::ExitCode;

pub mod access;
pub mod args;
pub mod backup;
pub mod check_config;
pub mod client;
pub mod compact;
pub mod completions;
pub mod doctor;
pub mod exit;
pub mod export;
pub mod finding;
pub mod ground;
pub mod lease;
pub mod limits;
pub mod log;
pub mod manual;
pub mod mistakes;
pub mod notifications;
pub mod panics;
pub mod path_checks;
pub mod prices;
pub mod print;
pub mod prune;
pub mod quota;
pub mod record;
pub mod reload;
pub mod replay;
pub mod report;
pub mod run;
pub mod runs;
pub mod serve;
pub mod settings;
pub mod start_watch;
pub mod status;
pub mod statusline;
pub mod target_checks;
pub mod target_matches;
pub mod tools;
#[cfg(feature = "top")]
pub mod top;
pub mod verify;
pub mod waiting;
pub mod watch;

use clap::error::ErrorKind;

use crate::{signals, stderr, systemd};
use args::{Args, Command};
use exit::{Exit, Failure};

/// Entry point.
#[must_use]
pub fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    signals::outlive_file_limit();
    let code = panics::guarded(args::wants_json(&words), || run_words(&words));
    stderr::finish();
    code
}

fn run_words(words: &[OsString]) -> ExitCode {
    if let Err(failure) = limits::check_stack() {
        report(&failure, args::wants_json(words));
        return failure.code.into();
    }
    let args = match args::parse(words) {
        Ok(args) => args,
        Err(error) => return not_a_command(&error, words).into(),
    };
    let json = args.global.json;
    match dispatch(args) {
        Ok(code) => code,
        Err(failure) => {
            report(&failure, json);
            failure.code.into()
        }
    }
}

fn dispatch(Args { global, command }: Args) -> Result<ExitCode, Failure> {
    let exit = match command {
        // Its exit code is that of the started command.
        Command::Run(command) => return run::run(&global, &command),
        Command::Stop(command) => runs::stop_command(&global, &command),
        Command::Runs(command) => runs::runs_command(&global, &command),
        Command::Watch(command) => watch::watch(&global, &command),
        #[cfg(feature = "top")]
        // Its exit code may be that of a signal.
        Command::Top(command) => return top::top(&global, &command),
        Command::Forget(command) => runs::forget_command(&global, &command),
        Command::Serve => serve::serve(&global),
        Command::Record(command) => record::record(&global, &command),
        Command::Replay(command) => replay::replay(&global, &command),
        Command::Status => status::status(&global),
        Command::Report(command) => report::report(&global, &command),
        Command::Export(command) => export::export(&global, &command),
        Command::Statusline(command) => Ok(statusline::statusline(&global, &command)),
        Command::Quota(command) => quota::quota(&global, &command),
        Command::MayStart(command) => quota::may_start(&global, &command),
        Command::Lease(command) => lease::lease(&global, &command),
        Command::Capacity(command) => lease::capacity(&global, &command),
        Command::Notify(command) => notifications::notify(&global, &command),
        Command::Backup(command) => backup::backup(&global, &command),
        Command::Prune(command) => prune::prune(&global, command),
        Command::Compact => compact::compact(&global),
        Command::Verify(command) => verify::verify(&global, command),
        Command::Doctor => doctor::doctor(&global),
        Command::CheckConfig(command) => check_config::check_config(&global, command),
        Command::Prices(command) => prices::prices(&global, &command),
        Command::Openapi => tools::openapi(),
        Command::Config(command) => tools::config(&global, &command),
        Command::Completions(command) => tools::completions(&command),
        Command::Words(command) => completions::words(&global, &command),
        Command::Man(command) => tools::man(&command),
    };
    exit.map(ExitCode::from)
}

/// Prints a usage error, or the text of `--help` and `--version`.
fn not_a_command(error: &clap::Error, words: &[OsString]) -> Exit {
    if !error.use_stderr() {
        // Standard output may be closed; that is no failure.
        let _ = error.print();
        return Exit::Ok;
    }
    let json = args::wants_json(words);
    let text = match args::no_text(words).filter(|_| error.kind() == ErrorKind::InvalidUtf8) {
        Some(word) => format!("{word:?} is not valid UTF-8"),
        None => error.to_string(),
    };
    if json || error.kind() == ErrorKind::InvalidUtf8 {
        let message = text.trim().trim_start_matches("error: ");
        report(&Failure::new(Exit::Usage, message), json);
    } else if systemd::is_stderr_the_journal() {
        stderr::print((log::failure(&text) + "\n").as_bytes());
    } else {
        // With colours where they are allowed.
        let _ = error.print();
    }
    Exit::Usage
}

/// Prints a failure on stderr. If that is closed too, only the exit code is left.
fn report(failure: &Failure, json: bool) {
    let said = if json {
        failure.to_json()
    } else {
        match &failure.drawn {
            Some(picture) => format!("tokentail: {}", print::text::message(picture)),
            None => print::output::fitted(&format!("tokentail: {}", print::text::message(&failure.message))),
        }
    };
    stderr::print((log::failure(&said) + "\n").as_bytes());
}
