//! Export of what is stored, row by row: bodies of any length, of one snapshot.

mod rows;
mod writer;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::tz::TimeZone;
use serde::Deserialize;
use strum::{IntoStaticStr, VariantArray};
use tokio::sync::{Semaphore, mpsc};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::http::problem::{Problem, blocking};
use crate::api::http::query::StrictQuery;
use crate::api::openapi::{ItemErrors, Refused, USAGE};
use crate::api::state::{ApiState, Shared};
use crate::api::usage::zone_named;
use crate::periods::{self, TimeSpan, WeekStart};
use writer::{ExportWriter, RowFormat};

/// Most exports at a time: each keeps a thread and a snapshot.
const EXPORTS_MAX: usize = 2;
/// `Retry-After` of further ones, in seconds.
const EXPORT_AGAIN_AFTER_S: u64 = 5;
/// Chunks that wait for a client; a client that takes none stops the walk.
const CHUNKS_WAITING_MAX: usize = 4;

static PLACES: Semaphore = Semaphore::const_new(EXPORTS_MAX);

/// The routes of this file.
#[must_use]
pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::default().routes(routes!(get_export))
}

/// The rows of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum ExportKind {
    Usage,
    Responses,
    Records,
    Windows,
    Events,
}

impl ExportKind {
    /// The kind of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let mut kinds = Self::VARIANTS.iter().copied();
        kinds.find(|kind| <&str>::from(*kind) == name)
    }

    /// All names.
    #[must_use]
    pub fn names() -> Vec<&'static str> {
        Self::VARIANTS.iter().map(Into::into).collect()
    }
}

/// The range and the format.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ExportQuery {
    /// Only this period, as of `/v1/usage`. Default: all-time.
    period: Option<String>,
    /// The time zone of the period, by its IANA name. Default: UTC.
    zone: Option<String>,
    /// `ndjson`, the default, or `csv`.
    format: Option<String>,
}

/// Export rows
///
/// `usage` has a row for each UTC hour, run, account, model and price class; `responses` one for each response that has
/// its details; `records` the fallbacks and failed attempts of posted records; `windows` the history of limit windows;
/// `events` refusals and thresholds. A JSON document for each line, or CSV. A body that ends early is cut off without
/// its last chunk.
#[utoipa::path(
    get,
    path = "/v1/export/{kind}",
    tag = USAGE,
    params(
        ("kind" = String, Path, description = "usage, responses, records, windows or events."),
        ExportQuery
    ),
    responses(
        (status = 200, description = "The rows.", content((String = "application/x-ndjson"), (String = "text/csv"))),
        ItemErrors,
        (status = 429, response = Refused)
    )
)]
async fn get_export(
    State(api): Shared,
    kind: Result<Path<String>, PathRejection>,
    StrictQuery(query): StrictQuery<ExportQuery>,
) -> Result<Response, Problem> {
    let Path(name) = kind.map_err(|rejection| Problem::bad("kind", rejection.body_text()))?;
    let kind = ExportKind::named(&name).ok_or_else(|| {
        let known = ExportKind::names().join(", ");
        Problem::unknown("kind", format!("{name:?} is none of {known}"))
    })?;
    let format = match query.format.as_deref() {
        None | Some("ndjson") => RowFormat::Ndjson,
        Some("csv") => RowFormat::Csv,
        Some(other) => {
            let detail = format!("{other:?} is neither ndjson nor csv");
            return Err(Problem::bad("format", detail));
        }
    };
    let span = span(&query, &api)?;
    let place = PLACES.try_acquire().map_err(|_| {
        let detail = format!("{EXPORTS_MAX} exports are running; wait for one to end");
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too many exports", detail);
        problem.retry_after(EXPORT_AGAIN_AFTER_S)
    })?;
    // A store that does not answer is an answer, and no body that ends early.
    let asked = Arc::clone(&api);
    blocking(move || Ok(asked.store.snapshot().map(drop)?)).await?;
    let (chunks, body) = mpsc::channel(CHUNKS_WAITING_MAX);
    tokio::task::spawn_blocking(move || {
        let _place = place;
        let mut writer = ExportWriter::new(format, chunks);
        let written = rows::write(&api, kind, span, &mut writer);
        if let Err(error) = &written {
            tracing::warn!(kind = name, %error, "an export ends early");
        }
        writer.finish(written.map_err(|error| error.to_string()));
    });
    let kind = match format {
        RowFormat::Ndjson => "application/x-ndjson",
        RowFormat::Csv => "text/csv; charset=utf-8; header=present",
    };
    let body = futures_util::stream::unfold(body, |mut body| async { Some((body.recv().await?, body)) });
    let headers = [(header::CONTENT_TYPE, HeaderValue::from_static(kind))];
    Ok((headers, Body::from_stream(body)).into_response())
}

fn span(query: &ExportQuery, api: &ApiState) -> Result<TimeSpan, Problem> {
    let zone = query.zone.as_deref().map_or(Ok(TimeZone::UTC), zone_named)?;
    let Some(period) = &query.period else {
        return Ok(TimeSpan::default());
    };
    periods::parse(period, api.clock.now(), &zone, WeekStart::Monday)
        .map_err(|error| Problem::bad("period", error))
}
