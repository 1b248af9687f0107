//! All routes, and the OpenAPI 3.1 document generated from the same declarations.
//!
//! docs/extending.md has the steps to add a route.

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::extract::MatchedPath;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use utoipa::OpenApi;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::{Ref, RefOr};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::http::problem::Problem;
use super::openapi::{
    BadRequest, COLLECTOR, Conflict, EVENTS, Gone, NotFound, PAGE, QUOTA, RUNS, Refused, USAGE, Unavailable,
    WEB,
};
use super::state::ApiState;
use super::web::daily;
use super::{
    backup, blocks, events, export, health, leases, metrics, notifications, page, prune, quota, records,
    runs, statusline, summary, usage, version, web, wire,
};

/// The router with all routes.
pub fn router(api: Arc<ApiState>) -> Router {
    Router::from(declared())
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(api)
}

/// All routes together with their OpenAPI description.
#[must_use]
fn declared() -> OpenApiRouter<Arc<ApiState>> {
    head()
        .merge(summary::routes())
        .merge(quota::routes())
        .merge(leases::routes())
        .merge(statusline::routes())
        .merge(health::routes())
        .merge(runs::routes())
        .merge(backup::routes())
        .merge(prune::routes())
        .merge(web::routes())
        .merge(usage::routes())
        .merge(export::routes())
        .merge(blocks::routes())
        .merge(records::routes())
        .merge(daily::routes())
        .merge(events::routes())
        .merge(metrics::routes())
        .merge(notifications::routes())
        .merge(routes())
        .merge(version::routes())
        .merge(page::routes())
}

async fn not_found(uri: Uri) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "no such route",
        format!("there is no route {}", uri.path()),
    )
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "tokentail",
        description = "Token counts of coding agents, use of the provider's limits, and admission of further runs.\n\nTimes are RFC 3339 in UTC. `null` is unknown, never zero. Documents only gain fields: ignore unknown ones.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    tags(
        (name = USAGE, description = "Sums of usage."),
        (name = RUNS, description = "Runs and their usage."),
        (name = QUOTA, description = "Rate-limit windows, accounts, and whether a run may start."),
        (name = EVENTS, description = "Live events."),
        (name = WEB, description = "The contract of an existing web client: times in milliseconds, names of its own."),
        (name = PAGE, description = "The page for people."),
        (name = COLLECTOR, description = "The collector itself: health, version, metrics."),
    ),
    components(schemas(wire::Problem, wire::SnapshotEvent, wire::GapEvent, wire::UsageEvent, wire::WindowEvent, wire::ThresholdEvent, wire::RunEvent, wire::AccountEvent, wire::HealthEvent, wire::LeaseEvent, wire::ProbeEvent, wire::NotifyEvent, wire::WebSnapshot, wire::WebThreshold, wire::WebRunUsage), responses(BadRequest, NotFound, Conflict, Gone, Unavailable, Refused))
)]
struct Head;

static DOCUMENT: LazyLock<utoipa::openapi::OpenApi> = LazyLock::new(|| {
    let mut document = declared().into_openapi();
    for item in document.paths.paths.values_mut() {
        for operation in operations(item) {
            let responses = &mut operation.responses.responses;
            for response in responses.values_mut() {
                if let RefOr::T(response) = response
                    && response.description.is_empty()
                {
                    response.description = operation.summary.clone().unwrap_or_default();
                }
            }
            let refused = Ref::from_response_name("Refused");
            responses.insert("default".to_owned(), refused.into());
        }
    }
    document
});

/// A router with the head of the document and no routes yet.
#[must_use]
fn head() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::with_openapi(Head::openapi())
}

/// The document as JSON, with its line end.
///
/// # Panics
/// Never panics: the document consists of strings, numbers and maps.
#[must_use]
pub fn json() -> String {
    let json = DOCUMENT.to_pretty_json();
    json.expect("strings, numbers and maps are JSON") + "\n"
}

/// The routes of this file.
#[must_use]
pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::default().routes(routes!(get_openapi))
}

/// This document
///
/// The OpenAPI 3.1 document, generated from the running program.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = COLLECTOR,
    responses((status = 200, description = "The document.", body = Object, content_type = "application/json"))
)]
async fn get_openapi() -> Response {
    static JSON: LazyLock<String> = LazyLock::new(json);
    let kind = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, kind)], JSON.as_str()).into_response()
}

/// The 405 answer with the methods that the document lists for this path.
async fn method_not_allowed(path: MatchedPath) -> Problem {
    let methods = DOCUMENT.paths.paths.get(path.as_str()).map(|item| {
        // A route that answers GET answers HEAD too; a WebSocket is opened by GET alone.
        let head = (item.get.as_ref()).filter(|get| !get.responses.responses.contains_key("101"));
        let methods = [
            ("GET", item.get.as_ref()),
            ("HEAD", head),
            ("PUT", item.put.as_ref()),
            ("POST", item.post.as_ref()),
            ("DELETE", item.delete.as_ref()),
        ];
        let methods = methods.into_iter().filter(|(_, operation)| operation.is_some());
        methods.map(|(method, _)| method).collect::<Vec<_>>().join(", ")
    });
    Problem::only(methods.as_deref().unwrap_or("GET, HEAD"))
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let methods = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete];
    methods.into_iter().flatten()
}
