//! Which program answers.

use std::sync::Arc;

use axum::Json;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::openapi::COLLECTOR;
use super::routes::Sources;
use super::wire;
use crate::store::tables::SCHEMA_VERSION;

/// The routes of this file.
#[must_use]
pub fn routes() -> OpenApiRouter<Arc<Sources>> {
    OpenApiRouter::default().routes(routes!(get_version))
}

/// Which program answers
///
/// And which versions of documents and database it speaks.
#[utoipa::path(get, path = "/version", tag = COLLECTOR, responses((status = 200, body = wire::Version)))]
async fn get_version() -> Json<wire::Version> {
    Json(wire::Version {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        api: "v1".to_owned(),
        summary_schema: wire::SCHEMA,
        store_schema: SCHEMA_VERSION,
        // Set by whoever builds it, if at all.
        commit: option_env!("TOKENTAIL_COMMIT").map(str::to_owned),
    })
}
