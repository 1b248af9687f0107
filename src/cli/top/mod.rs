//! `top`: accounts, runs and sums on the terminal as they change.
//!
//! A client of the running collector: documents at the start and after changes, and the stream of events between them.
//! `fold` turns events into a model, `view` draws it; both are pure. The session moves events, keys and signals.

pub mod event;
pub mod feed;
pub mod flow;
pub mod fold;
pub mod keys;
pub mod listing;
pub mod model;
pub mod news;
pub mod once;
pub mod questions;
pub mod scope;
pub mod session;
pub mod terminal;
pub mod theme;
pub mod times;
pub mod ui;
pub mod view;

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use jiff::tz::TimeZone;

use super::args::{Global, TopArgs};
use super::exit::{Exit, Failure};
use super::settings;
use scope::TopScope;
use ui::TopUi;

/// Shows the screen, or prints one frame.
///
/// # Errors
/// No collector answers, or the terminal cannot be used.
pub fn top(global: &Global, args: &TopArgs) -> Result<ExitCode, Failure> {
    let socket = settings::asking(global)?.socket;
    let scope = TopScope::of(args).map_err(|why| Failure::new(Exit::Usage, format!("--run: {why}")))?;
    let ui = TopUi {
        period: args.period,
        scope,
        ..TopUi::default()
    };
    let zone = TimeZone::system();
    let is_screen = io::stdin().is_terminal() && io::stdout().is_terminal() && !terminal::is_dumb();
    if global.json || args.once || !is_screen {
        return once::print(global, args, &socket, &ui, &zone).map(ExitCode::from);
    }
    session::run(args, &socket, ui, &zone)
}
