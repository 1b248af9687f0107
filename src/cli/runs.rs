//! `runs`, `stop` and `forget`: runs of the collector.

pub mod document;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::args::{self, Global};
use super::client::{self, ClientError};
use super::exit::{Exit, Failure};
use super::print::output;
use super::settings;
use crate::model::RunId;
use document::Document;

/// Longest wait for one answer to a stop. The collector answers sooner, also while the stop is still running.
const STOP_ANSWER_WITHIN: Duration = Duration::from_secs(90);
/// Most requests for a stop that is still running.
const STOP_ASKS_MAX: u32 = 10;
/// Pause between them.
const STOP_ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Longest wait for a collector that is away, and the pause between two attempts.
const BACK_WITHIN: Duration = Duration::from_secs(30);
const AWAY_ASK_AGAIN_AFTER: Duration = Duration::from_millis(250);

/// The registration of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StartBody {
    #[serde(skip)]
    pub run: RunId,
    pub labels: BTreeMap<String, String>,
    /// An absolute path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mount: Option<PathBuf>,
    /// The lease that it starts with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<String>,
}

/// Registers a run in the collector.
///
/// # Errors
/// No collector answers, or the run is refused.
pub async fn start(socket: &Path, start: &StartBody) -> Result<Document, ClientError> {
    client::send_json(
        socket,
        (client::Method::PUT, &path(&start.run)),
        start,
        client::TIMEOUT,
    )
    .await
}

/// [`start`], or [`stop`], of a run that holds a place: if the collector is away, its return is waited for.
///
/// # Errors
/// As those.
pub async fn patiently<F: Future<Output = Result<Document, ClientError>>>(
    exchange: impl Fn() -> F,
) -> Result<Document, ClientError> {
    let began = Instant::now();
    loop {
        match exchange().await {
            Err(error) if error.is_away() && began.elapsed() < BACK_WITHIN => {
                tokio::time::sleep(AWAY_ASK_AGAIN_AFTER).await;
            }
            answer => return answer,
        }
    }
}

/// Stops a run in the collector; returns its document once everything is counted.
///
/// # Errors
/// No collector answers, the run is unknown, or not everything can be read and `incomplete` is not set.
pub async fn stop(socket: &Path, run: &RunId, incomplete: bool) -> Result<Document, ClientError> {
    let incomplete = if incomplete { "&incomplete=true" } else { "" };
    let path = format!("{}/stop?wait=true{incomplete}", path(run));
    let mut asks = 1;
    loop {
        match client::post(socket, &path, STOP_ANSWER_WITHIN).await {
            Err(error) if error.is_not_yet() && asks < STOP_ASKS_MAX => {
                asks += 1;
                tokio::time::sleep(STOP_ASK_AGAIN_AFTER).await;
            }
            answer => return answer,
        }
    }
}

/// A run id needs no escaping.
fn path(run: &RunId) -> String {
    format!("/v1/runs/{run}")
}

/// Stops a run and prints its totals.
///
/// # Errors
/// As [`stop`].
pub fn stop_command(global: &Global, command: &args::StopArgs) -> Result<Exit, Failure> {
    let socket = settings::asking(global)?.socket;
    let document = client::runtime(&socket)?.block_on(stop(&socket, &command.id, command.incomplete))?;
    let width = output::Screen::stdout().columns;
    output::document(global.json, &document.whole, |out| {
        document::totals(out, &document.run, width)
    })?;
    Ok(Exit::Ok)
}

/// Prints the runs.
///
/// # Errors
/// No collector answers.
pub fn runs_command(global: &Global, command: &args::RunsArgs) -> Result<Exit, Failure> {
    let socket = settings::asking(global)?.socket;
    let label = (command.label.as_ref()).map(|label| format!("{}:{}", label.name, label.value));
    let parameters = [("state", command.state.as_deref()), ("label", label.as_deref())];
    let path = format!("/v1/runs{}", client::query(&parameters));
    let mut runs: Vec<Document> = client::get_json_blocking(&socket, &path, client::TIMEOUT)?;
    if let Some(sort) = command.sort {
        document::sort(&mut runs, sort);
    }
    let shown = (command.limit).map_or(runs.len(), |limit| limit.get().min(runs.len()));
    let left_out = runs.len() - shown;
    runs.truncate(shown);
    if global.json {
        let whole: Vec<_> = runs.iter().map(|run| &run.whole).collect();
        output::json(&whole)?;
        return Ok(Exit::Ok);
    }
    let runs: Vec<_> = runs.into_iter().map(|document| document.run).collect();
    output::human(|out| document::list(out, &runs, left_out, output::Screen::stdout().columns))?;
    Ok(Exit::Ok)
}

/// Forgets a run.
///
/// # Errors
/// No collector answers, or the run is unknown or not stopped.
pub fn forget_command(global: &Global, command: &args::Forget) -> Result<Exit, Failure> {
    let socket = settings::asking(global)?.socket;
    let run = &command.id;
    client::runtime(&socket)?.block_on(client::delete(&socket, &path(run), client::TIMEOUT))?;
    let document = serde_json::json!({ "forgotten": run.as_str() });
    output::document(global.json, &document, |out| {
        writeln!(
            out,
            "run {run} is forgotten; what it used stays in the sums over all runs"
        )
    })?;
    Ok(Exit::Ok)
}
