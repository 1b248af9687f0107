//! `status`: the collector's health and the summary, or the summary of the database if no collector answers.

use std::path::PathBuf;

use super::args::Global;
use super::client::{self, ClientError};
use super::exit::{Exit, Failure};
use super::print::{output, summary as render};
use super::settings::{CollectorAddress, asking};
use crate::api::document::summary;
use crate::api::wire::{Health, Summary};
use crate::clock::Clock;
use crate::config::Settings;
use crate::model::Millis;
use crate::quota::admission::{Reason, Unseen};
use crate::store::{self, Reader, StoreError, StoreOptions};
use crate::verdict::EvalContext;

/// The document of `status --json`: the summary, and the collector's health if one answers.
#[derive(serde::Serialize)]
struct Status<'a> {
    #[serde(flatten)]
    summary: &'a Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    collector: Option<&'a Health>,
}

/// Prints the summary of the running collector, or of the database if none is running.
///
/// # Errors
/// Neither is available.
pub fn status(global: &Global) -> Result<Exit, Failure> {
    let CollectorAddress { socket, settings } = asking(global)?;
    let asked = client::get_json_blocking::<Summary>(&socket, "/v1/summary", client::TIMEOUT);
    let mut db = PathBuf::new();
    let (summary, health) = match asked {
        Ok(summary) => {
            let health = client::get_json_blocking::<Health>(&socket, "/healthz", client::TIMEOUT);
            (summary, health.ok())
        }
        Err(error @ ClientError::NotRunning(_)) => {
            let settings = settings?;
            db.clone_from(&settings.db);
            (stored_summary(&settings, Clock::SYSTEM, &error.into())?, None)
        }
        Err(error) => return Err(error.into()),
    };
    let exit = match &health {
        Some(health) if health.status == "ok" => Exit::Ok,
        Some(_) => Exit::No,
        None => Exit::Unavailable,
    };
    if global.json {
        output::json(&Status {
            summary: &summary,
            collector: health.as_ref(),
        })?;
        return Ok(exit);
    }
    let stored = format!(
        "no collector is running; these are the contents of {}",
        db.display()
    );
    let standing = (health.as_ref()).map_or(
        render::StatusSource::Stored(&stored),
        render::StatusSource::Collector,
    );
    output::human(|out| render::status(out, &summary, standing, output::Screen::stdout()))?;
    Ok(exit)
}

/// The summary read from the database.
///
/// # Errors
/// There is no database, or it cannot be read.
pub fn stored_summary(settings: &Settings, clock: Clock, no_answer: &Failure) -> Result<Summary, Failure> {
    let reader = stored(settings, clock, no_answer)?;
    let unseen = Unseen {
        reason: Reason::CollectorBlind,
        why: "no collector is running".to_owned(),
    };
    Ok(summary::collect(
        &reader.snapshot()?,
        &terms(settings, Some(&unseen), clock.now()),
    )?)
}

/// The database, for reading; `no_answer` is why no collector is asked.
///
/// # Errors
/// There is no database, or it cannot be read.
pub fn stored(settings: &Settings, clock: Clock, no_answer: &Failure) -> Result<Reader, Failure> {
    if !settings.db.exists() {
        let message = format!(
            "{}; and there is no database {}",
            no_answer.message,
            settings.db.display()
        );
        return Err(Failure::new(Exit::Unavailable, message));
    }
    let options = StoreOptions {
        path: Some(settings.db.clone()),
        cache_bytes: settings.store.cache_bytes,
        clock,
    };
    store::open_read_only(options).map_err(|error| match error {
        StoreError::InUse(path) => Failure::new(
            Exit::Unavailable,
            format!(
                "{}, but a collector has the database {}; name its socket with --socket",
                no_answer.message,
                path.display()
            ),
        ),
        error => error.into(),
    })
}

/// The evaluation context of an answer from the database.
fn terms<'a>(settings: &'a Settings, unseen: Option<&'a Unseen>, now: Millis) -> EvalContext<'a> {
    EvalContext {
        accounts: &settings.accounts,
        zone: &settings.quota_zone,
        prices: &settings.prices,
        unseen,
        now,
    }
}
