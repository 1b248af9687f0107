//! Tags and error responses shared by the operations of the OpenAPI document.

use utoipa::ToResponse;

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

/// Any other response without success.
#[derive(ToResponse)]
#[response(content_type = "application/problem+json")]
pub struct Refused(#[expect(dead_code, reason = "the shape of what is answered")] wire::Problem);
