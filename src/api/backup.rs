//! A backup of the database, while the collector runs.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::http::problem::Problem;
use crate::api::openapi::{COLLECTOR, Unavailable};
use crate::api::state::ApiState;

/// What is read at once.
const CHUNK_BYTES: usize = 256 << 10;

/// The routes of this file.
#[must_use]
pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::default().routes(routes!(post_backup))
}

/// A copy of the database
///
/// As of the last commit; commits wait while it is made, not while it is sent. It is a database like the one that a `kill`
/// leaves: start a collector on it and it reads on from there.
#[utoipa::path(
    post,
    path = "/v1/backup",
    tag = COLLECTOR,
    responses(
        (status = 200, description = "The file.", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 503, response = Unavailable)
    )
)]
async fn post_backup(State(sources): State<Arc<ApiState>>) -> Result<Response, Problem> {
    let file = Arc::new(sources.writes.copy().await??);
    let length = file.metadata().map_err(|error| {
        let detail = format!("the copy cannot be read: {error}");
        Problem::new(axum::http::StatusCode::SERVICE_UNAVAILABLE, "no backup", detail).retry_after(1)
    })?;
    let length = length.len();
    let chunks = unfold(0u64, move |offset| {
        let file = Arc::clone(&file);
        async move {
            let chunk = tokio::task::spawn_blocking(move || read(&file, offset)).await;
            let chunk = chunk.unwrap_or_else(|_| Err(io::Error::other("reading stopped")));
            match chunk {
                Ok(chunk) if chunk.is_empty() => None,
                Ok(chunk) => {
                    let next = offset + chunk.len() as u64;
                    Some((Ok(chunk), next))
                }
                Err(error) => Some((Err(error), offset)),
            }
        }
    });
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        ),
        // A transfer that breaks off does not look like a whole one.
        (header::CONTENT_LENGTH, HeaderValue::from(length)),
    ];
    Ok((headers, Body::from_stream(chunks)).into_response())
}

fn read(file: &std::fs::File, offset: u64) -> io::Result<Bytes> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read_at(&mut chunk, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(count) => {
                chunk.truncate(count);
                return Ok(chunk.into());
            }
        }
    }
}
