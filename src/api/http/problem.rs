//! Error answers: JSON problem documents that name the field and the cause.

use axum::Json;
use axum::extract::rejection::{BytesRejection, JsonRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::api::wire;
use crate::committer::handle::CommitterGone;
use crate::store::StoreError;
use crate::supervisor::handle::ShuttingDown;

/// The answer of a route: its document, or why there is none.
pub type JsonAnswer<T> = Result<Json<T>, Problem>;

/// `Retry-After` of a subscriber without a place, in seconds.
const SUBSCRIBE_AGAIN_AFTER_S: u64 = 5;

/// An error answer.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    document: wire::Problem,
    allow: Option<Box<str>>,
    retry_after_s: Option<u64>,
}

impl Problem {
    pub fn new(status: StatusCode, title: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            status,
            document: wire::Problem {
                status: status.as_u16(),
                title: title.into(),
                detail: detail.into(),
                field: None,
            },
            allow: None,
            retry_after_s: None,
        }
    }

    /// 400: an invalid request, with the field of its path, query or body.
    pub fn bad(field: &str, detail: impl std::fmt::Display) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "bad request",
            format!("{field}: {detail}"),
        )
        .field(field)
    }

    /// 404: no item has this name.
    pub fn unknown(field: &str, detail: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not found", format!("{field}: {detail}")).field(field)
    }

    /// 409: the current state does not allow the operation.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", detail)
    }

    /// 410: the item has ended, for this reason.
    pub fn gone(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, "gone", detail)
    }

    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.status == StatusCode::GONE
    }

    /// 405: the route takes only these methods.
    pub fn only(methods: impl Into<Box<str>>) -> Self {
        let methods = methods.into();
        let mut problem = Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method not allowed",
            format!("this route takes {methods}"),
        );
        problem.allow = Some(methods);
        problem
    }

    /// The status and the sentence, for a command that asks without a collector.
    #[must_use]
    pub fn into_parts(self) -> (StatusCode, String) {
        (self.status, self.document.detail)
    }

    /// What is wrong with this field, without its name.
    #[must_use]
    pub fn reason(&self, field: &str) -> &str {
        let detail = self.document.detail.as_str();
        let rest = detail
            .strip_prefix(field)
            .and_then(|rest| rest.strip_prefix(": "));
        rest.unwrap_or(detail)
    }

    /// True if the collector cannot answer, whatever the request is.
    #[must_use]
    pub fn is_of_server(&self) -> bool {
        self.status.is_server_error()
    }

    /// The field of the request that the problem is about.
    #[cfg(test)]
    pub fn field_name(&self) -> Option<&str> {
        self.document.field.as_deref()
    }

    /// Sets the field of the request that the problem is about.
    #[must_use]
    pub fn field(mut self, field: &str) -> Self {
        self.document.field = Some(field.to_owned());
        self
    }

    /// Sets the list element that the problem is about, counted from 0.
    #[must_use]
    pub fn in_part(mut self, number: usize) -> Self {
        self.document.detail = format!("[{number}] {}", self.document.detail);
        self.document.field = self.document.field.map(|field| format!("[{number}].{field}"));
        self
    }

    /// Sets the delay before a retry.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// 503: no place for another stream or WebSocket.
    pub fn too_many_subscribers() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many subscribers",
            "http.subscribers_max are connected already",
        )
        .retry_after(SUBSCRIBE_AGAIN_AFTER_S)
    }

    /// 503: the store does not answer, for this reason.
    pub fn store(why: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the store does not answer", why).retry_after(1)
    }

    /// A query that does not fit its route.
    pub fn not_a_query(parameter: &str, detail: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "not a query of this route", detail).field(parameter)
    }

    /// A body that cannot be received.
    #[must_use]
    pub fn no_body(rejection: &BytesRejection) -> Self {
        let detail = rejection.body_text();
        Self::new(rejection.status(), "not a body of this route", detail).field("body")
    }

    /// A body that does not fit its route.
    pub fn body(rejection: &JsonRejection) -> Self {
        Self::new(
            rejection.status(),
            "not a body of this route",
            rejection.body_text(),
        )
        .field("body")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.document)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(allow) = self.allow.and_then(|methods| methods.parse().ok()) {
            headers.insert(header::ALLOW, allow);
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "the store did not answer");
        Self::store(error.to_string())
    }
}

impl From<ShuttingDown> for Problem {
    fn from(_: ShuttingDown) -> Self {
        CommitterGone.into()
    }
}

impl From<CommitterGone> for Problem {
    fn from(_: CommitterGone) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "shutting down",
            "the collector is shutting down; try again when it is up",
        )
        .retry_after(1)
    }
}

/// Computes an answer on a thread that may block.
///
/// # Errors
/// Errors of `work`, and 500 if it panicked.
pub async fn blocking<T: Send + 'static>(
    answer: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(answer).await.unwrap_or_else(|error| {
        tracing::error!(%error, "an answer failed");
        Err(Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal error",
            "see the collector's log",
        ))
    })
}
