//! A backup of the database, while the collector runs.

use std::io::Seek as _;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use tokio::fs::File;
use tokio_util::io::ReaderStream;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::http::problem::Problem;
use crate::api::openapi::{COLLECTOR, Unavailable};
use crate::api::state::ApiState;

/// Bytes read from the file at once.
const CHUNK_BYTES: usize = 256 << 10;

/// The routes of this file.
#[must_use]
pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::default().routes(routes!(post_backup))
}

/// A copy of the database
///
/// A copy of the database as of its last commit. Commits wait while the copy is made, not while it is sent.
/// The copy opens like a database whose collector was killed: a collector started on it reads on from there.
#[utoipa::path(
    post,
    path = "/v1/backup",
    tag = COLLECTOR,
    responses(
        (status = 200, description = "The file.", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 503, response = Unavailable)
    )
)]
async fn post_backup(State(api): State<Arc<ApiState>>) -> Result<Response, Problem> {
    let mut file = api.writes.copy().await??;
    let length = file.rewind().and_then(|()| file.metadata()).map_err(|error| {
        let detail = format!("the copy cannot be read: {error}");
        Problem::new(http::StatusCode::SERVICE_UNAVAILABLE, "no backup", detail).retry_after(1)
    })?;
    let length = length.len();
    let chunks = ReaderStream::with_capacity(File::from_std(file), CHUNK_BYTES);
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        ),
        // Without a length, an interrupted transfer would look complete.
        (header::CONTENT_LENGTH, HeaderValue::from(length)),
    ];
    Ok((headers, Body::from_stream(chunks)).into_response())
}
