//! WebSocket of a run's usage.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::socket::{self, SocketFeed, text};
use crate::api::document::summary;
use crate::api::http::problem::{Problem, blocking};
use crate::api::http::run_path::{RunPath, run_id};
use crate::api::openapi::{ReadErrors, UpgradeAnswers, WEB};
use crate::api::state::ApiState;
use crate::api::wire;
use crate::dedup::Totals;
use crate::live::Event;
use crate::model::RunId;

/// The routes of this file.
pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::default()
        .routes(routes!(get_socket))
        .routes(routes!(get_shell))
}

/// Usage of a run as a WebSocket
///
/// Text frames: `{"type":"usage","snapshot":{"model":...,"input_tokens":...}}`, one for each model of a
/// commit. They are differences: added to the totals at connect they give the new totals, and they are
/// negative where a better copy of a response has less. The run need not exist yet.
#[utoipa::path(
    get,
    path = "/api/ws/runs/{id}",
    operation_id = "web_run_socket",
    tag = WEB,
    params(("id" = String, Path, description = "The run.")),
    responses(UpgradeAnswers, ReadErrors)
)]
async fn get_socket(
    State(api): State<Arc<ApiState>>,
    id: RunPath,
    upgrade: socket::UpgradeRequest,
) -> Result<Response, Problem> {
    let run = run_id(id)?;
    socket::open(&api, upgrade, |api| OfRun {
        api,
        run,
        sent_until: 0,
        sent: BTreeMap::new(),
    })
}

/// Usage of a run as a WebSocket, under its other path
///
/// Same as `/api/ws/runs/{id}`.
#[utoipa::path(
    get,
    path = "/api/runs/{id}/shell",
    operation_id = "web_run_socket_under_its_other_name",
    tag = WEB,
    params(("id" = String, Path, description = "The run.")),
    responses(UpgradeAnswers, ReadErrors)
)]
async fn get_shell(
    api: State<Arc<ApiState>>,
    id: RunPath,
    upgrade: socket::UpgradeRequest,
) -> Result<Response, Problem> {
    get_socket(api, id, upgrade).await
}

struct OfRun {
    api: Arc<ApiState>,
    run: RunId,
    /// The number of the commit up to which sums were sent.
    sent_until: u64,
    /// The sums by model as the client has them.
    sent: BTreeMap<Arc<str>, Totals>,
}

impl OfRun {
    /// Reads the current sums and returns the differences to those sent.
    async fn catch_up(&mut self) -> Result<Vec<(Arc<str>, Totals)>, Problem> {
        let (api, run) = (Arc::clone(&self.api), self.run.clone());
        let view = blocking(move || Ok(api.store.snapshot()?.run(&run)?)).await?;
        let Some(view) = view else {
            // The run does not exist yet: everything later is new.
            return Ok(Vec::new());
        };
        self.sent_until = view.sequence;
        let before = std::mem::replace(&mut self.sent, view.by_model);
        let models = self.sent.iter();
        Ok(models
            .map(|(model, now)| {
                let mut added = *now;
                added -= before.get(model).copied().unwrap_or_default();
                (Arc::clone(model), added)
            })
            .collect())
    }
}

/// One frame for each model with a difference.
fn frames(models: &[(Arc<str>, Totals)]) -> Vec<String> {
    let models = models
        .iter()
        .map(|(model, added)| (model, summary::signed(added)));
    models
        .filter(|(_, added)| {
            let tokens = [
                added.input_tokens,
                added.output_tokens,
                added.cache_read_input_tokens,
                added.cache_creation_input_tokens,
            ];
            tokens != [0; 4]
        })
        .map(|(model, added)| {
            text(&wire::WebRunUsage {
                kind: "usage".to_owned(),
                snapshot: wire::WebDelta {
                    model: model.to_string(),
                    input_tokens: added.input_tokens,
                    output_tokens: added.output_tokens,
                    cache_read_tokens: added.cache_read_input_tokens,
                    cache_create_tokens: added.cache_creation_input_tokens,
                },
            })
        })
        .collect()
}

impl SocketFeed for OfRun {
    async fn first(&mut self) -> Result<Vec<String>, Problem> {
        // The client reads the first totals itself.
        self.catch_up().await?;
        Ok(Vec::new())
    }

    async fn after(&mut self, event: Option<&Event>) -> Result<Vec<String>, Problem> {
        match event {
            Some(Event::Update(update)) if update.sequence > self.sent_until => {
                self.sent_until = update.sequence;
                let mut texts = Vec::new();
                for of_run in update
                    .runs
                    .iter()
                    .filter(|one| one.run.as_ref() == Some(&self.run))
                {
                    for (model, added) in &of_run.models {
                        *self.sent.entry(Arc::clone(model)).or_default() += *added;
                    }
                    texts.extend(frames(&of_run.models));
                }
                Ok(texts)
            }
            Some(Event::StartOver { .. }) => {
                let missed = self.catch_up().await?;
                Ok(frames(&missed))
            }
            _ => Ok(Vec::new()),
        }
    }
}
