//! `watch`: prints the collector's events until standard output is closed.

mod line;
pub mod parser;

use std::ops::ControlFlow;
use std::time::Duration;

use super::args::{self, Global};
use super::client::{self, ClientError};
use super::exit::{Exit, Failure};
use super::print::output;
use super::settings;
use crate::api::wire;
use parser::{FrameParser, ReceivedEvent};

/// First pause before a reconnection, doubled each time.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// Longest pause before a reconnection.
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(10);

/// Prints events. Requested names that do not exist yet are reported once.
///
/// # Errors
/// No collector answers at first, or the request is refused.
pub fn watch(global: &Global, command: &args::WatchArgs) -> Result<Exit, Failure> {
    let socket = settings::asking(global)?.socket;
    let list = |names: Vec<&str>| (!names.is_empty()).then(|| names.join(","));
    let runs = list(command.runs.iter().map(crate::model::RunId::as_str).collect());
    let accounts = list(command.accounts.iter().map(String::as_str).collect());
    let parameters = [
        ("run", runs.as_deref()),
        ("account", accounts.as_deref()),
        ("kinds", command.kinds.as_deref()),
    ];
    let path = format!("/v1/events{}", client::query(&parameters));
    let width = output::Screen::stdout().columns;
    let mut parser = FrameParser::default();
    let mut printed = Ok(true);
    let mut pause = AGAIN_AFTER;
    let mut was_connected = false;
    let mut looked = false;
    let following = async {
        loop {
            let mut is_connected = false;
            let last_id = parser.last_id().to_owned();
            let followed = client::follow(&socket, &path, &last_id, |bytes| {
                is_connected = true;
                parser.take(bytes, |received| {
                    if received.kind == "snapshot" && !std::mem::replace(&mut looked, true) {
                        for one in absent(command, &received) {
                            note(global, &one);
                        }
                    }
                    printed = print(global, &received, width);
                    matches!(printed, Ok(true))
                });
                match (&printed, parser.is_too_long()) {
                    (Ok(true), false) => ControlFlow::Continue(()),
                    _ => ControlFlow::Break(()),
                }
            })
            .await;
            if !std::mem::replace(&mut printed, Ok(true))? {
                // Standard output is closed.
                return Ok(Exit::Ok);
            }
            was_connected |= is_connected;
            let why = match followed {
                Err(error) if !was_connected || error.is_refusal() => return Err(error.into()),
                Err(error) => error.to_string(),
                Ok(()) => "the collector ended the stream".to_owned(),
            };
            if is_connected {
                pause = AGAIN_AFTER;
                note(global, &format!("{why}; asking again"));
            }
            parser.start_again();
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(AGAIN_AFTER_MAX);
        }
    };
    client::runtime(&socket)?.block_on(async {
        tokio::select! {
            biased;
            ended = following => ended,
            // The next event may be far away.
            () = output::closed() => Ok(Exit::Ok),
        }
    })
}

/// The message about requested runs and accounts that are not in the first snapshot. They may come later.
fn absent(command: &args::WatchArgs, snapshot: &ReceivedEvent<'_>) -> Vec<String> {
    let Ok(wire::SnapshotEvent { snapshot, .. }) = serde::Deserialize::deserialize(&snapshot.data) else {
        return Vec::new();
    };
    let wire::StreamSnapshot::Full(summary) = snapshot else {
        return Vec::new();
    };
    let wire::Summary { by_run, quota, .. } = *summary;
    let runs = command
        .runs
        .iter()
        .filter(|run| !by_run.contains_key(run.as_str()));
    let is_there = |name: &String| {
        let called = |one: &wire::Account| {
            *name == one.account || *name == format!("{}/{}", one.provider, one.account)
        };
        quota.accounts.iter().any(called)
    };
    let accounts = command.accounts.iter().filter(|name| !is_there(name));
    runs.map(|run| format!("no run {run} yet; waiting for it. `tokentail runs` lists all runs"))
        .chain(accounts.map(|name| {
            format!("no account {name} yet; waiting for it. `tokentail quota` lists all accounts")
        }))
        .collect()
}

/// Prints an event; `false` if standard output is closed.
fn print(global: &Global, received: &ReceivedEvent<'_>, width: Option<usize>) -> Result<bool, Failure> {
    output::line(|out| {
        if global.json {
            let ReceivedEvent { kind, id, data } = received;
            writeln!(
                out,
                "{}",
                serde_json::json!({ "event": kind, "id": id, "data": data })
            )
        } else {
            line::write(out, received, width)
        }
    })
}

/// Prints a message beside the events.
fn note(global: &Global, text: &str) {
    output::warn(global.json, text);
}

impl ClientError {
    /// True if a retry is of no use.
    fn is_refusal(&self) -> bool {
        matches!(self, Self::Status(status, _) if status.is_client_error())
    }
}
