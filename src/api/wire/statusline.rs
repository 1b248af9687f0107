//! The figures of a status line.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Cost, Window};

/// `POST /v1/statusline`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Statusline {
    /// The account of the session's run, else the only one of the provider; `null` if several could be meant. The
    /// windows in the input are observations of it.
    pub provider: Option<String>,
    pub account: Option<String>,
    /// Tokens of the responses with a line in the session; `null` if no line of it was read.
    pub session_tokens: Option<u64>,
    /// Tokens of the run that the session belongs to; `null` likewise.
    pub run_tokens: Option<u64>,
    /// Tokens of all runs, today in the requested zone.
    pub today_tokens: u64,
    /// Their cost.
    #[serde(flatten)]
    pub today_cost: Cost,
    /// The windows of the account, those of the input included. Without an account there are none.
    pub windows: Vec<Window>,
    /// `ok`, `degraded` or `unhealthy`, as in `/healthz`.
    pub health: String,
}
