//! Metrics: `GET /metrics`, in the format the client accepts.

mod accounts;
mod cost;
pub mod counters;
mod encode;
mod families;
mod leases;
mod notifications;
mod process;

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::health::hanging_store;
use crate::api::http::accept::media_ranges;
use crate::api::http::problem::{Problem, blocking};
use crate::api::openapi::COLLECTOR;
use crate::api::state::ApiState;
use encode::{Format, encode};

/// The routes of this file.
#[must_use]
pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::default().routes(routes!(get_metrics))
}

/// Metrics for Prometheus
///
/// The text format 0.0.4, or OpenMetrics 1.0 if `Accept` prefers it. Counted figures are read from the store,
/// so that a restart counts nothing twice. A counter never falls: where a better copy of a response has less,
/// it stays until the difference is made up.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = COLLECTOR,
    responses((
        status = 200,
        content(
            (String = "text/plain; version=0.0.4; charset=utf-8"),
            (String = "application/openmetrics-text; version=1.0.0; charset=utf-8")
        )
    ))
)]
async fn get_metrics(State(sources): State<Arc<ApiState>>, headers: HeaderMap) -> Result<Response, Problem> {
    let format = wanted(&headers);
    let text = if hanging_store(&sources).is_some() {
        encode(families::without_store(&sources), format)
    } else {
        // Locked before the store is read: of two simultaneous scrapes the later one shows the later state.
        // One thread at most waits for the store.
        let mut held = Arc::clone(&sources.counters.0).lock_owned().await;
        blocking(move || {
            let mut families = families::collect(&sources, &mut held.costs);
            held.peaks.hold(&mut families);
            drop(held);
            Ok(encode(families, format))
        })
        .await?
    };
    let kind = HeaderValue::from_static(format.content_type());
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

/// The preferred format: OpenMetrics only if it is named and preferred. A weight that is no number counts
/// as 0.
fn wanted(headers: &HeaderMap) -> Format {
    let (mut open, mut text) = (0.0_f32, 0.0_f32);
    for range in media_ranges(headers) {
        let quality = range.quality.unwrap_or(0.0);
        match (range.kind.to_ascii_lowercase().as_str(), range.version) {
            ("application/openmetrics-text", "" | "1.0.0") => open = open.max(quality),
            ("text/plain", "" | "0.0.4") | ("text/*" | "*/*", _) => text = text.max(quality),
            _ => {}
        }
    }
    if open > text {
        Format::OpenMetrics
    } else {
        Format::Text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_written_to_those_who_prefer_it() {
        for (accept, wished) in [
            (None, Format::Text),
            (Some("*/*"), Format::Text),
            (Some("text/plain"), Format::Text),
            (Some("application/json"), Format::Text),
            (Some("application/openmetrics-text"), Format::OpenMetrics),
            (
                Some("Application/OpenMetrics-Text; Version=\"1.0.0\"; charset=utf-8"),
                Format::OpenMetrics,
            ),
            (Some("application/openmetrics-text; version=0.0.1"), Format::Text),
            (
                Some("application/openmetrics-text;q=0.4, text/plain;q=0.5"),
                Format::Text,
            ),
            (Some("application/openmetrics-text;q=bad"), Format::Text),
            (
                Some(
                    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                ),
                Format::OpenMetrics,
            ),
            (Some(",;=;,q"), Format::Text),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(header::ACCEPT, accept.parse().unwrap());
            }
            assert_eq!(wanted(&headers), wished, "{accept:?}");
        }
    }
}
