//! Tags and refusals that operations of the contract name.

use utoipa::ToResponse;

use crate::api::wire;

/// Tag: sums of everything.
pub const USAGE: &str = "usage";
/// Tag: runs.
pub const RUNS: &str = "runs";
/// Tag: windows, accounts and the question of admission.
pub const QUOTA: &str = "quota";
/// Tag: what happens, as it happens.
pub const EVENTS: &str = "events";
/// Tag: what a web client that is there already asks.
pub const WEB: &str = "web client";
/// Tag: the collector itself.
pub const COLLECTOR: &str = "collector";

/// A part of the request cannot be meant so; `field` says which.
#[derive(ToResponse)]
#[response(content_type = "application/problem+json")]
pub struct BadRequest(#[expect(dead_code, reason = "the shape of what is answered")] wire::Problem);

/// Nothing is known under this name; `field` says which.
#[derive(ToResponse)]
#[response(content_type = "application/problem+json")]
pub struct NotFound(#[expect(dead_code, reason = "the shape of what is answered")] wire::Problem);

/// It cannot be done as things are; `field` says what stands against it.
#[derive(ToResponse)]
#[response(content_type = "application/problem+json")]
pub struct Conflict(#[expect(dead_code, reason = "the shape of what is answered")] wire::Problem);

/// The store does not answer at the moment, or the collector is shutting down; `Retry-After` says when to ask again.
#[derive(ToResponse)]
#[response(content_type = "application/problem+json")]
pub struct Unavailable(#[expect(dead_code, reason = "the shape of what is answered")] wire::Problem);

/// Any other answer that is no success.
#[derive(ToResponse)]
#[response(content_type = "application/problem+json")]
pub struct Refused(#[expect(dead_code, reason = "the shape of what is answered")] wire::Problem);
