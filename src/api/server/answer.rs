//! Handling of one request: its body and its answer in bounded time.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Method, Request, StatusCode, header};
use axum::response::Response;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as _;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

use crate::api::http::problem::Problem;
use crate::api::records::RECORDS_PATH;
use crate::model::format::length;

/// Largest request body.
const BODY_BYTES_MAX: usize = 64 << 10;
/// The same of a request with records.
const RECORDS_BODY_BYTES_MAX: usize = 1 << 20;
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of an oversized body that are read and dropped before the answer: a client that is still sending
/// when the connection ends may never see the error.
const DRAINED_BYTES_MAX: usize = 1 << 20;
const DRAINED_WITHIN: Duration = Duration::from_secs(1);
/// Longest time until the answer begins; a stream may then continue.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// The same for a stop that waits for the end of a run and has a bound of its own.
const STOP_WITHIN: Duration = Duration::from_hours(1);

/// The routes, called without a server around them.
#[derive(Clone)]
pub struct Routes(TowerToHyperService<Router>);

impl std::fmt::Debug for Routes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Routes")
    }
}

impl Routes {
    pub fn new(router: Router) -> Self {
        Self(TowerToHyperService::new(router))
    }

    pub async fn answer(&self, request: Request<Body>) -> Result<Response, Problem> {
        let request = with_body(request).await?;
        let within = match *request.method() {
            Method::POST if request.uri().path().ends_with("/stop") => STOP_WITHIN,
            _ => ANSWER_WITHIN,
        };
        match tokio::time::timeout(within, self.0.call(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(never)) => match never {},
            Err(_) => Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "no answer in time",
                format!(
                    "there was no answer within {}; try again",
                    length(within.as_secs())
                ),
            )
            .retry_after(1)),
        }
    }
}

/// Reads the whole body, if the request has one.
async fn with_body(request: Request<Body>) -> Result<Request<Body>, Problem> {
    if request.body().is_end_stream() {
        return Ok(request);
    }
    let (parts, body) = request.into_parts();
    // A client that waits for `100 Continue` sends nothing until the body is read.
    let waits = parts.headers.contains_key(header::EXPECT);
    if matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS) {
        // An empty body; left unread, it would end the connection without an answer.
        if !waits {
            drain(body).await;
        }
        return Ok(Request::from_parts(parts, Body::empty()));
    }
    let bytes_max = if parts.uri.path() == RECORDS_PATH {
        RECORDS_BODY_BYTES_MAX
    } else {
        BODY_BYTES_MAX
    };
    let too_large = || {
        let detail = format!("body: at most {bytes_max} bytes are accepted");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large", detail).field("body")
    };
    // The announced length is checked before the body is read.
    if body.size_hint().lower() > bytes_max as u64 {
        if !waits {
            drain(body).await;
        }
        return Err(too_large());
    }
    let mut body = body;
    let collected = Limited::new(&mut body, bytes_max).collect();
    match tokio::time::timeout(BODY_WITHIN, collected).await {
        Ok(Ok(taken)) => Ok(Request::from_parts(parts, Body::from(taken.to_bytes()))),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            drain(body).await;
            Err(too_large())
        }
        Ok(Err(error)) => Err(Problem::bad("body", format!("it cannot be read: {error}"))),
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "the body came too slowly",
            format!("body: it did not arrive within {}", length(BODY_WITHIN.as_secs())),
        )
        .field("body")),
    }
}

/// Reads and drops what a client still sends, for a limited time.
async fn drain(mut body: Body) {
    let dropped = async {
        let mut bytes = 0;
        while let Some(Ok(frame)) = body.frame().await {
            bytes += frame.data_ref().map_or(0, Bytes::len);
            if bytes > DRAINED_BYTES_MAX {
                break;
            }
        }
    };
    // A client that keeps sending still gets the answer.
    let _ = tokio::time::timeout(DRAINED_WITHIN, dropped).await;
}
