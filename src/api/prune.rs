//! Removal of old rows from the database, while the collector runs.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::document::prune::{PruneFigures, PruneScope, answer};
use crate::api::http::problem::{JsonAnswer, Problem, blocking};
use crate::api::openapi::{BodyErrors, COLLECTOR, ReadErrors};
use crate::api::state::{ApiState, Shared};
use crate::api::wire;
use crate::committer::retention::PruneError;
use crate::dedup::Totals;
use crate::model::Millis;
use crate::store::prune::Pruned;

/// The routes of this file.
#[must_use]
pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::default().routes(routes!(post_prune))
}

/// Prune old rows
///
/// Removes details, sums or everything, in small transactions between commits; the answer comes at the end. Details
/// change no total: a response is left as its key, so that copies of it still count nothing. `totals` and `all` make
/// totals smaller, without a further question.
#[utoipa::path(
    post,
    path = "/v1/prune",
    tag = COLLECTOR,
    request_body = wire::PruneRequest,
    responses((status = 200, body = wire::PruneAnswer), ReadErrors, BodyErrors)
)]
async fn post_prune(
    State(api): Shared,
    request: Result<Json<wire::PruneRequest>, JsonRejection>,
) -> JsonAnswer<wire::PruneAnswer> {
    let Json(request) = request.map_err(|rejection| Problem::body(&rejection))?;
    let scope = PruneScope::of(&request).map_err(|(field, why)| Problem::bad(field, why))?;
    let now = api.clock.now();
    let before = counted(&api).await?;
    let (pruned, after, free) = if request.dry_run {
        let (pruned, after) = would_prune(&api, scope, now, before).await?;
        (pruned, after, None)
    } else {
        let pruned = match scope.goal(now) {
            Some(goal) => api.retention.prune(goal).await?,
            None => api.retention.prune_everything().await?,
        };
        tracing::info!(
            ?scope,
            responses = pruned.responses,
            days = pruned.days,
            "pruned on request"
        );
        (pruned, counted(&api).await?, api.retention.free_bytes())
    };
    let dry_run = request.dry_run;
    Ok(Json(answer(&PruneFigures {
        scope,
        now,
        dry_run,
        pruned,
        before,
        after,
        free,
    })))
}

async fn counted(api: &Arc<ApiState>) -> Result<Totals, Problem> {
    let api = Arc::clone(api);
    blocking(move || Ok(api.store.snapshot()?.counted()?)).await
}

async fn would_prune(
    api: &Arc<ApiState>,
    scope: PruneScope,
    now: Millis,
    mut after: Totals,
) -> Result<(Pruned, Totals), Problem> {
    let api = Arc::clone(api);
    blocking(move || {
        let pruned = api.store.snapshot()?.would_prune(scope.goal(now))?;
        after -= pruned.totals;
        Ok((pruned, after))
    })
    .await
}

impl From<PruneError> for Problem {
    fn from(error: PruneError) -> Self {
        match error {
            PruneError::Store(error) => error.into(),
            PruneError::Gone(error) => error.into(),
            PruneError::Search(why) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error", why),
        }
    }
}
