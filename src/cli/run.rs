//! `run`: runs a command as a run, from its start to the totals after its last byte.
//!
//! The run is registered before the command starts and is stopped after it has ended, however it ended. The
//! exit code is that of the command. Only a 0 is replaced if not everything could be counted, since it would
//! mean success.

mod admission;
mod child;
mod counter;
mod embedded;

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::pin;
use std::process::ExitCode;

use super::args::{self, Global, Label};
use super::exit::{Exit, Failure};
use super::print::output;
use super::runs::StartBody;
use super::runs::document::{self, Document};
use super::{limits, log, report, serve, settings};
use crate::signals::{EXIT_SIGNAL_BASE, Received, Relay};
use crate::{stderr, systemd};
use admission::RunPlace;
use counter::Counter;

/// Runs the command.
///
/// # Errors
/// The run is refused and the command was not started; or, without a command, the totals cannot be read.
pub fn run(global: &Global, command: &args::RunArgs) -> Result<ExitCode, Failure> {
    limits::check()?;
    serve::queue_stderr()?;
    // Installed early, so that a signal during the start is handled.
    let mut relay =
        Relay::install(stderr::last_words).map_err(|error| Failure::new(Exit::Io, error.to_string()))?;
    let ended = with_relay(global, command, &mut relay).unwrap_or_else(|failure| {
        report(&failure, global.json);
        failure.code.into()
    });
    log::report_losses(true);
    // The totals are printed by then. A slow reader is waited for, and a second signal still ends the
    // process.
    relay.ending();
    stderr::flush();
    Ok(ended)
}

fn with_relay(global: &Global, command: &args::RunArgs, relay: &mut Relay) -> Result<ExitCode, Failure> {
    let asked = settings::asking(global)?;
    let mount = command.mount.as_deref().map(absolute).transpose()?;
    let mut start = StartBody {
        run: command.id.clone(),
        labels: labels(&command.labels)?,
        mount,
        lease: None,
    };
    serve::runtime()?.block_on(async {
        let place = match admitted(global, &asked.socket, command, &start, relay).await? {
            Ok(place) => place,
            Err(signal) => return Ok(code_of(signal).into()),
        };
        start.lease = place.as_ref().map(|place| place.lease().to_owned());
        // A run with a place is one of the collector.
        let embedded = !command.no_embedded && place.is_none();
        let mut begin = pin!(Counter::begin(global, asked, &start, embedded));
        let mut stopped_by = None;
        let counter = loop {
            tokio::select! {
                counter = &mut begin => break counter,
                signal = relay.next(), if stopped_by.is_none() => if signal.asks_to_stop() {
                    stopped_by = Some(signal);
                    relay.ending();
                },
            }
        };
        let counter = match (counter, &place) {
            (Ok(counter), _) => counter,
            (Err(failure), place) => {
                if let Some(place) = place {
                    place.give_back(global.json).await;
                }
                return Err(failure.while_doing(&format!("run {} is not started", start.run)));
            }
        };
        systemd::ready();
        let code = match (stopped_by, &place) {
            (Some(signal), _) => code_of(signal),
            (None, None) => until_ended(global, command, None, relay).await,
            (None, Some(place)) => tokio::select! {
                code = until_ended(global, command, Some(place), relay) => code,
                never = place.keep(global.json) => match never {},
            },
        };
        relay.ending();
        systemd::stopping();
        let ended = counter.end().await;
        let is_short = matches!(&ended, Err(failure) if is_short(failure));
        match ended.and_then(|document| print(global, &document)) {
            Ok(()) => Ok(code.into()),
            Err(failure) if command.command.is_empty() || code == 0 && is_short => Err(failure),
            Err(failure) => {
                report(&failure, global.json);
                Ok(code.into())
            }
        }
    })
}

/// The exit code of the command, or, without one, that of a signal that requests a stop.
async fn until_ended(
    global: &Global,
    command: &args::RunArgs,
    place: Option<&RunPlace>,
    relay: &mut Relay,
) -> u8 {
    if command.command.is_empty() {
        return until_stopped(relay).await;
    }
    let variables = place.map(RunPlace::variables).unwrap_or_default();
    let ended = child::run(&command.command, variables, relay).await;
    ended.unwrap_or_else(|failure| {
        report(&failure, global.json);
        failure.code.code()
    })
}

/// The place of the run with `--admit`; a signal that came first.
///
/// # Errors
/// No place is free, or no collector answers.
async fn admitted(
    global: &Global,
    socket: &Path,
    command: &args::RunArgs,
    start: &StartBody,
    relay: &mut Relay,
) -> Result<Result<Option<RunPlace>, Received>, Failure> {
    if command.admit.is_none() {
        return Ok(Ok(None));
    }
    match admission::admit(socket, command, start, global.json, relay).await {
        Ok(Ok(place)) => Ok(Ok(Some(place))),
        Ok(Err(signal)) => {
            relay.ending();
            output::warn(
                global.json,
                &format!(
                    "run {} is not started: stopped while it waited for a place",
                    start.run
                ),
            );
            Ok(Err(signal))
        }
        Err(mut failure) => {
            if failure.code == Exit::Unavailable {
                failure.message.push_str("; --admit needs a collector");
            }
            Err(failure.while_doing(&format!("run {} is not started", start.run)))
        }
    }
}

/// True if a failure at the end means missing counts. A collector that is down counts the rest when it is up
/// again.
fn is_short(failure: &Failure) -> bool {
    matches!(failure.code, Exit::Io | Exit::TryLater)
}

/// Waits for a stop signal. It is the normal end, not a failure.
async fn until_stopped(relay: &mut Relay) -> u8 {
    while !relay.next().await.asks_to_stop() {}
    Exit::Ok.code()
}

/// The totals: beside the command's output, or after it.
fn print(global: &Global, document: &Document) -> Result<(), Failure> {
    if global.json {
        return output::json(&document.whole);
    }
    let width = output::Screen::stderr().columns;
    output::aside(|err| document::totals(err, &document.run, width));
    Ok(())
}

/// The exit code that a shell gives a process ended by a signal.
fn code_of(signal: Received) -> u8 {
    u8::try_from(EXIT_SIGNAL_BASE + signal.number()).unwrap_or(u8::MAX)
}

fn absolute(path: &Path) -> Result<std::path::PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::on_path("find", path, &error))
}

fn labels(given: &[Label]) -> Result<BTreeMap<String, String>, Failure> {
    let mut labels = BTreeMap::new();
    for Label { name, value } in given {
        if labels.insert(name.clone(), value.clone()).is_some() {
            let message = format!("--label {name} is given twice; a run has one value for each label");
            return Err(Failure::new(Exit::Usage, message));
        }
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_given_once() {
        let label = |name: &str, value: &str| Label {
            name: name.to_owned(),
            value: value.to_owned(),
        };
        let two = labels(&[label("a", "1"), label("b", "1")]).unwrap();
        assert_eq!(two.len(), 2);
        let failure = labels(&[label("a", "1"), label("a", "1")]).unwrap_err();
        assert_eq!(failure.code, Exit::Usage);
        assert!(failure.message.contains("--label a"), "{failure}");
    }
}
