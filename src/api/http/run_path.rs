//! The run in the path of a route.

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use serde::Deserialize;

use super::problem::Problem;
use crate::model::RunId;

/// The path of a route that ends in a run, or continues after it.
pub type RunPath = Result<Path<RunParam>, PathRejection>;

/// The run in a path.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Path)]
pub struct RunParam {
    /// The run: 1 to 128 of A-Z a-z 0-9 . _ -, neither . nor ..
    #[param(min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9._-]+$")]
    id: String,
}

/// The run of a path.
///
/// # Errors
/// 400 if it is no run id.
pub fn run_id(path: RunPath) -> Result<RunId, Problem> {
    let Path(RunParam { id }) = path.map_err(|rejection| Problem::bad("id", rejection.body_text()))?;
    RunId::new(&id).map_err(|error| Problem::bad("id", error))
}
