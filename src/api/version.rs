//! Version and settings of the collector.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::http::query::{NoQuery, StrictQuery};
use crate::api::openapi::{BadRequest, COLLECTOR};
use crate::api::state::ApiState;
use crate::api::wire;
use crate::store::schema::SCHEMA_VERSION;

/// The routes of this file.
#[must_use]
pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::default()
        .routes(routes!(get_version))
        .routes(routes!(get_settings))
}

/// Version of the program
///
/// With the versions of its documents and its database.
#[utoipa::path(get, path = "/version", tag = COLLECTOR, responses((status = 200, body = wire::Version)))]
async fn get_version() -> Json<wire::Version> {
    Json(wire::Version {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        api: "v1".to_owned(),
        summary_schema: wire::SCHEMA,
        store_schema: SCHEMA_VERSION,
        // Set by the build, if at all.
        commit: option_env!("TOKENTAIL_COMMIT").map(str::to_owned),
    })
}

/// The settings in effect
///
/// The settings the collector runs with: paths, listeners, limits and accounts. Changes of the configuration
/// that need a restart are not included until then.
#[utoipa::path(
    get,
    path = "/v1/settings",
    tag = COLLECTOR,
    responses((status = 200, body = wire::SettingsInEffect), (status = 400, response = BadRequest))
)]
async fn get_settings(
    State(api): State<Arc<ApiState>>,
    _: StrictQuery<NoQuery>,
) -> Json<wire::SettingsInEffect> {
    let settings = Arc::clone(&api.settings.borrow());
    let config_file = settings.config_file.as_ref();
    Json(wire::SettingsInEffect {
        config_file: config_file.map(|path| path.display().to_string()),
        settings: settings.document(),
    })
}
