//! One frame as plain text, or the documents that it shows.

use std::path::Path;

use jiff::tz::TimeZone;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use serde::Serialize;

use super::event::{TopAnswer, TopEvent};
use super::fold::fold;
use super::model::{Link, TopHealth, TopModel};
use super::questions::{self, QuestionContext, TopQuestion};
use super::terminal;
use super::ui::TopUi;
use super::view::{self, TopScene};
use crate::api::wire;
use crate::cli::args::{Global, TopArgs};
use crate::cli::client::{self, ClientError};
use crate::cli::exit::{Exit, Failure};
use crate::cli::print::output;
use crate::clock::Clock;

/// Columns of a frame that is not for a terminal.
const COLUMNS: u16 = 100;

/// The document of `top --json`.
#[derive(Serialize)]
struct TopDocument<'a> {
    quota: &'a Option<wire::Quota>,
    runs: Vec<&'a wire::Run>,
    /// Sums of the period by model.
    usage: Option<&'a wire::Usage>,
    collector: &'a wire::Health,
}

/// Prints the frame.
///
/// # Errors
/// No collector answers, or the account is not known to it.
pub fn print(
    global: &Global,
    args: &TopArgs,
    socket: &Path,
    ui: &TopUi,
    zone: &TimeZone,
) -> Result<Exit, Failure> {
    let (model, health) = client::runtime(socket)?.block_on(gather(socket, ui, zone))?;
    if let Some(name) = &args.account {
        let is_known = ui.scope.account(model.quota.as_ref()).is_some();
        if !is_known {
            let message = format!("no account {name}; `tokentail quota` lists all accounts");
            return Err(Failure::new(Exit::NoInput, message));
        }
    }
    if global.json {
        output::json(&TopDocument {
            quota: &model.quota,
            runs: super::listing::runs(&model, ui)
                .into_iter()
                .map(|run| &run.row)
                .collect(),
            usage: model.sums.as_ref().map(|sums| &sums.usage),
            collector: &health,
        })?;
        return Ok(Exit::Ok);
    }
    let scene = TopScene {
        model: &model,
        ui,
        theme: terminal::theme(args.ascii),
        zone,
        is_printed: true,
    };
    let width = output::Screen::stdout()
        .columns
        .map_or(COLUMNS, |columns| u16::try_from(columns).unwrap_or(u16::MAX));
    let area = Rect::new(0, 0, width, view::printed_height(&scene));
    let mut buffer = Buffer::empty(area);
    view::view(&scene, area, &mut buffer);
    let mut lines = view::plain_lines(&buffer);
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    output::human(|out| lines.iter().try_for_each(|line| writeln!(out, "{line}")))?;
    Ok(Exit::Ok)
}

/// The documents of one frame.
async fn gather(socket: &Path, ui: &TopUi, zone: &TimeZone) -> Result<(TopModel, wire::Health), ClientError> {
    let mut model = TopModel {
        now: Clock::SYSTEM.now(),
        link: Link::Live,
        ..TopModel::default()
    };
    let health: wire::Health = client::get_json(socket, "/healthz", client::TIMEOUT).await?;
    model.health = Some(TopHealth {
        status: health.status.clone(),
        ready: health.ready,
        reasons: health.reasons.clone(),
    });
    for question in [
        TopQuestion::Quota,
        TopQuestion::Runs,
        TopQuestion::Models,
        TopQuestion::Sums(ui.period),
    ] {
        let zone = zone.iana_name().map(str::to_owned);
        let context = QuestionContext::of(&model, ui, zone);
        let answer: TopAnswer = questions::answer(socket, &question, &context).await?;
        model = fold(model, TopEvent::Answer(Box::new(answer)), &ui.scope);
    }
    Ok((model, health))
}
