//! The socket of the windows: their state at first and when it changes, and thresholds as they are reached.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::socket::{self, Tells, text};
use super::{AccountQuery, documents};
use crate::api::openapi::{BadRequest, NotFound, Refused, Unavailable, WEB};
use crate::api::problem::{Problem, blocking};
use crate::api::query::Asked;
use crate::api::routes::{Sources, now};
use crate::api::wire;
use crate::live::Event;
use crate::record::AccountId;

/// The routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Sources>> {
    OpenApiRouter::default().routes(routes!(get_socket))
}

/// How full the windows are, as a WebSocket
///
/// Text frames: `{"type":"snapshot","state":...}` with the document of `GET /api/usage` at first and whenever it changes,
/// and `{"type":"threshold_crossed","bucket_id":...,"threshold":75,"reset_at":...}`.
#[utoipa::path(
    get,
    path = "/api/ws/usage",
    operation_id = "web_usage_socket",
    tag = WEB,
    params(AccountQuery),
    responses(
        (status = 101, description = "The connection is a WebSocket now."),
        (status = 400, response = BadRequest),
        (status = 404, response = NotFound),
        (status = 426, response = Refused),
        (status = 503, response = Unavailable)
    )
)]
async fn get_socket(
    State(sources): State<Arc<Sources>>,
    Asked(query): Asked<AccountQuery>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let account = query.account(&sources).await?;
    socket::open(&sources, upgrade, |sources| Windows {
        sources,
        account,
        told: wire::WebUsage::default(),
    })
}

struct Windows {
    sources: Arc<Sources>,
    account: AccountId,
    /// As last told.
    told: wire::WebUsage,
}

impl Windows {
    /// The state, if it is another now; how the pace goes with the clock is no change.
    async fn state(&mut self, is_first: bool) -> Result<Vec<String>, Problem> {
        let (sources, account) = (Arc::clone(&self.sources), self.account.clone());
        let state = blocking(move || Ok(documents::usage(&sources.store, &account, now())?)).await?;
        let is_same = state.buckets == self.told.buckets && state.observed_at == self.told.observed_at;
        if is_same && !is_first {
            return Ok(Vec::new());
        }
        self.told = state.clone();
        Ok(vec![text(&wire::WebSnapshot {
            kind: "snapshot".to_owned(),
            state,
        })])
    }
}

impl Tells for Windows {
    async fn first(&mut self) -> Result<Vec<String>, Problem> {
        self.state(true).await
    }

    async fn after(&mut self, event: Option<&Event>) -> Result<Vec<String>, Problem> {
        let Some(Event::Update(update)) = event else {
            // Too slow for what was told, or time has passed and a window may be over.
            return self.state(false).await;
        };
        let mut texts = Vec::new();
        if update.windows.iter().any(|window| window.account == self.account) {
            texts = self.state(false).await?;
        }
        let fired = update.fired.iter().filter(|fired| fired.account == self.account);
        texts.extend(fired.map(|fired| {
            text(&wire::WebThreshold {
                kind: "threshold_crossed".to_owned(),
                bucket_id: documents::bucket_id(&fired.bucket).to_owned(),
                threshold: fired.percent,
                reset_at: fired.reset_at,
            })
        }));
        Ok(texts)
    }
}
