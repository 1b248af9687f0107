//! Tags and error responses shared by the operations of the OpenAPI document.

use utoipa::{IntoResponses, ToResponse};

use crate::api::wire;

/// Tag: sums of everything.
pub const USAGE: &str = "usage";
/// Tag: runs.
pub const RUNS: &str = "runs";
/// Tag: windows, accounts and admission.
pub const QUOTA: &str = "quota";
/// Tag: live events.
pub const EVENTS: &str = "events";
/// Tag: the contract of an existing web client.
pub const WEB: &str = "web client";
/// Tag: the page for people.
pub const PAGE: &str = "page";
/// Tag: the collector itself.
pub const COLLECTOR: &str = "collector";

/// Part of the request is not valid; `field` names it.
#[derive(ToResponse)]
#[response(content_type = "application/problem+json")]
pub struct BadRequest(#[expect(dead_code, reason = "the shape of what is answered")] wire::Problem);

/// No item has this name; `field` names the parameter.
#[derive(ToResponse)]
#[response(content_type = "application/problem+json")]
pub struct NotFound(#[expect(dead_code, reason = "the shape of what is answered")] wire::Problem);

/// The current state does not allow the operation; `field` names the obstacle.
#[derive(ToResponse)]
#[response(content_type = "application/problem+json")]
pub struct Conflict(#[expect(dead_code, reason = "the shape of what is answered")] wire::Problem);

/// The store does not answer at the moment, or the collector is shutting down; `Retry-After` gives the delay
/// before a retry.
#[derive(ToResponse)]
#[response(content_type = "application/problem+json")]
pub struct Unavailable(#[expect(dead_code, reason = "the shape of what is answered")] wire::Problem);

/// The item has ended; `detail` has the reason.
#[derive(ToResponse)]
#[response(content_type = "application/problem+json")]
pub struct Gone(#[expect(dead_code, reason = "the shape of what is answered")] wire::Problem);

/// Any other response without success.
#[derive(ToResponse)]
#[response(content_type = "application/problem+json")]
pub struct Refused(#[expect(dead_code, reason = "the shape of what is answered")] wire::Problem);

/// Errors of a route that reads.
#[derive(IntoResponses)]
pub enum ReadErrors {
    #[response(status = 400)]
    BadRequest(#[ref_response] BadRequest),
    #[response(status = 503)]
    Unavailable(#[ref_response] Unavailable),
}

/// Errors of a route about one run or account.
#[derive(IntoResponses)]
pub enum ItemErrors {
    #[response(status = 400)]
    BadRequest(#[ref_response] BadRequest),
    #[response(status = 404)]
    NotFound(#[ref_response] NotFound),
    #[response(status = 503)]
    Unavailable(#[ref_response] Unavailable),
}

/// Errors of the body of a request.
#[derive(IntoResponses)]
pub enum BodyErrors {
    #[response(status = 413)]
    TooLarge(#[ref_response] BadRequest),
    #[response(status = 415)]
    OtherType(#[ref_response] BadRequest),
    #[response(status = 422)]
    OtherContent(#[ref_response] BadRequest),
}

/// Answers to a request for a WebSocket.
#[derive(IntoResponses)]
pub enum UpgradeAnswers {
    /// The connection is a WebSocket now.
    #[response(status = 101)]
    Upgraded,
    #[response(status = 426)]
    Refused(#[ref_response] Refused),
}
