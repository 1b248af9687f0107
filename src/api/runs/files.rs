//! The files of a run.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::no_such_run;
use crate::api::http::problem::{JsonAnswer, Problem, blocking};
use crate::api::http::query::StrictQuery;
use crate::api::http::run_path::{RunParam, RunPath, run_id};
use crate::api::openapi::{ItemErrors, RUNS};
use crate::api::state::{ApiState, Shared};
use crate::api::wire;

/// Files in an answer without `limit`.
const FILES_SHOWN: usize = 50;
/// Most files in an answer.
const FILES_MAX: usize = 1_000;

/// The routes of this file.
#[must_use]
pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::default().routes(routes!(get_run_files))
}

/// The page of a list of files.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct FilesQuery {
    /// Largest number of files returned, up to 1,000; default 50.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// Files of a run
///
/// The transcripts that were read of a run, those that were found last first.
#[utoipa::path(
    get,
    path = "/v1/runs/{id}/files",
    tag = RUNS,
    params(RunParam, FilesQuery),
    responses((status = 200, body = wire::RunFiles), ItemErrors)
)]
async fn get_run_files(
    State(api): Shared,
    id: RunPath,
    StrictQuery(query): StrictQuery<FilesQuery>,
) -> JsonAnswer<wire::RunFiles> {
    let run = run_id(id)?;
    let limit = query.limit.unwrap_or(FILES_SHOWN);
    if !(1..=FILES_MAX).contains(&limit) {
        let detail = format!("{limit} is out of bounds: 1 to {FILES_MAX} is allowed");
        return Err(Problem::bad("limit", detail));
    }
    blocking(move || {
        let snapshot = api.store.snapshot()?;
        let Some((total, newest)) = snapshot.newest_files(&run, limit)? else {
            return Err(Problem::unknown("id", no_such_run(&snapshot, &run)?));
        };
        let files = newest.into_iter().map(|(path, cursor)| wire::RunFile {
            path: path.display().to_string(),
            bytes_read: cursor.read_to(),
        });
        Ok(Json(wire::RunFiles {
            run: run.to_string(),
            total,
            files: files.collect(),
        }))
    })
    .await
}
