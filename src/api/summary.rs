//! The route of the summary.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::document::{quota, summary};
use crate::api::health::{eval_context, snapshot_and_unseen};
use crate::api::http::problem::{JsonAnswer, blocking};
use crate::api::http::query::{NoQuery, StrictQuery};
use crate::api::openapi::{ReadErrors, USAGE};
use crate::api::state::{ApiState, Shared};
use crate::api::wire;

/// The routes of this file.
#[must_use]
pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::default().routes(routes!(get_summary))
}

/// Summary of everything counted
///
/// The sums of all runs, by run, model and UTC day, with lines, files and the limits.
#[utoipa::path(
    get,
    path = "/v1/summary",
    tag = USAGE,
    responses((status = 200, body = wire::Summary), ReadErrors)
)]
async fn get_summary(State(api): Shared, _: StrictQuery<NoQuery>) -> JsonAnswer<wire::Summary> {
    blocking(move || {
        let settings = Arc::clone(&api.settings.borrow());
        // Before the snapshot: the readings of a poll that is shown are in it.
        let polls = api.polls.statuses();
        let (snapshot, unseen) = snapshot_and_unseen(&api)?;
        let context = eval_context(&settings, unseen.as_ref(), api.clock.now());
        let mut document = summary::collect(&snapshot, &context)?;
        quota::add_polls(&mut document.quota, polls);
        Ok(Json(document))
    })
    .await
}
