//! `statusline`: prints the line that an agent shows below its prompt, and passes the limits in its input on to the
//! collector.
//!
//! An agent shows whatever is printed and runs the command after every answer: so it never fails, and it never waits
//! long for a collector.

mod line;

use std::io::{self, IsTerminal, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use jiff::tz::TimeZone;
use serde_json::Value;

use super::args::{Global, StatuslineArgs};
use super::client;
use super::exit::Exit;
use super::print::output;
use super::settings::find_collector;
use crate::api::wire;
use crate::clock::Clock;
use crate::stderr;
use line::LineFigures;

/// Longest input, in bytes; a usual one has some 2,000.
const INPUT_BYTES_MAX: u64 = 1 << 20;
/// Longest wait for the collector.
const ANSWER_WITHIN: Duration = Duration::from_millis(50);

/// Prints the line. A collector that does not answer leaves out what only it knows.
pub fn statusline(global: &Global, args: &StatuslineArgs) -> Exit {
    let mut stdin = io::stdin();
    if stdin.is_terminal() {
        output::warn(
            global.json,
            "`statusline` reads what an agent passes to its status line command; see `tokentail statusline --help`",
        );
        return Exit::Ok;
    }
    let mut input = Vec::new();
    // What was read until an error is all there is.
    let _ = stdin.by_ref().take(INPUT_BYTES_MAX).read_to_end(&mut input);
    let child = args.then.as_deref().map(|command| start(command, &input));
    let answer = ask(global, &input);
    let input: Value = serde_json::from_slice(&input).unwrap_or_default();
    let figures = LineFigures::new(&input, answer.as_ref(), Clock::SYSTEM.timestamp());
    // Who reads the line may be gone, which is no failure of the agent's.
    let _ = if global.json {
        output::json(&serde_json::json!({ "line": figures.line(&args.format, false), "collector": answer }))
    } else {
        let line = figures.line(&args.format, !super::log::no_colour());
        let shown = if line.is_empty() { line } else { line + "\n" };
        output::raw(shown.as_bytes())
    };
    if let Some(child) = child {
        finish(child);
    }
    Exit::Ok
}

/// The collector's answer, if it comes in time. It commits the limits in the input.
fn ask(global: &Global, input: &[u8]) -> Option<wire::Statusline> {
    let socket = find_collector(global).ok()?.0.socket;
    let zone = TimeZone::system();
    let path = format!("/v1/statusline{}", client::query(&[("zone", zone.iana_name())]));
    let asked = client::post_bytes(&socket, &path, input.to_vec(), ANSWER_WITHIN);
    client::runtime(&socket).ok()?.block_on(asked).ok()
}

/// Starts a command of the user's in a shell and gives it the input.
fn start(command: &str, input: &[u8]) -> io::Result<Child> {
    let mut child = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that reads nothing closes its end.
        let _ = stdin.write_all(input);
    }
    Ok(child)
}

/// Waits for the user's command and prints its output.
fn finish(child: io::Result<Child>) {
    match child.and_then(Child::wait_with_output) {
        Ok(ended) => {
            let _ = output::raw(&ended.stdout);
            if !ended.status.success() {
                complain(&ended.status);
            }
        }
        Err(error) => complain(&error),
    }
}

fn complain(why: &dyn std::fmt::Display) {
    stderr::print(format!("tokentail: the command of --then: {why}\n").as_bytes());
}
