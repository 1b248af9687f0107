//! The stream of events: each commit is sent once, streams can be resumed, and no subscriber delays the
//! committer.
//!
//! One task encodes updates as text; all subscribers get the same text. A subscriber that is too slow, or
//! that resumes from further back than is kept, gets a gap event with a snapshot.

mod latches;
pub mod monitor;
mod snapshot;
mod subscriber;
mod trouble;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::feed::encode::{EventId, Filter};
use crate::api::http::problem::{Problem, blocking};
use crate::api::http::query::StrictQuery;
use crate::api::openapi::{EVENTS, ItemErrors};
use crate::api::state::{ApiState, RequestSnapshot};
use crate::model::Millis;
use snapshot::SnapshotShape;

/// Disables buffering in a proxy in front, such as nginx.
const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The routes of this folder.
#[must_use]
pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::default().routes(routes!(get_events))
}

/// The filter of the stream; a parameter left out matches any.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct EventsQuery {
    /// Only events of these runs, separated by commas. Events that belong to no run are always sent.
    run: Option<String>,
    /// Only events of these accounts, as `name` or `provider/name`, separated by commas.
    account: Option<String>,
    /// Only events of these kinds, separated by commas: usage, window, threshold, account, run, health, lease,
    /// probe, notify.
    kinds: Option<String>,
    /// The documents of `snapshot` and `gap`: `full`, the default, or `brief`, without what is by run, model and day.
    snapshot: Option<String>,
    /// The same as the header Last-Event-ID, for clients that cannot send it.
    last_event_id: Option<String>,
}

/// Live events
///
/// Server-sent events. The first event is a `snapshot` of everything, or, with Last-Event-ID, the events
/// after that one; if those are no longer kept, a `gap` with a snapshot. The id is the number of the commit;
/// if a commit has several events, all but the last have `.1`, `.2` and so on appended. After 15 s without an
/// event a comment is sent, with an `id:` and no `data:`: resume from that id. An account that is neither
/// configured nor observed is 404, unless `accounts.open` is set; a run may be created later.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = EVENTS,
    params(
        EventsQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was seen.")
    ),
    responses(
        (status = 200, description = "The stream.", body = String, content_type = "text/event-stream"),
        ItemErrors
    )
)]
async fn get_events(
    State(api): State<Arc<ApiState>>,
    headers: HeaderMap,
    StrictQuery(query): StrictQuery<EventsQuery>,
) -> Result<Response, Problem> {
    let filter = Filter::new(
        query.run.as_deref(),
        query.account.as_deref(),
        query.kinds.as_deref(),
    )?;
    let shape = SnapshotShape::of(query.snapshot.as_deref())?;
    let position = position(&headers, query.last_event_id.as_deref());
    let asked = Arc::clone(&api);
    let (filter, after) = blocking(move || {
        let mut snapshot = RequestSnapshot::of(&asked);
        check_accounts(&asked, &mut snapshot, &filter)?;
        let after = match position? {
            None => None,
            Some(position) => Some((position, snapshot.get()?.sequence()?)),
        };
        Ok((filter, after))
    })
    .await?;
    let permit = (api.subscribers.try_enter()).ok_or_else(Problem::too_many_subscribers)?;
    let stream = subscriber::stream(api, filter, shape, after, permit);
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/event-stream"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (UNBUFFERED, HeaderValue::from_static("no")),
    ];
    Ok((headers, Body::from_stream(stream)).into_response())
}

/// The id of the last event that the client has, from the header or the query.
fn position(headers: &HeaderMap, query_id: Option<&str>) -> Result<Option<EventId>, Problem> {
    let header = headers.get("last-event-id").map(HeaderValue::to_str);
    let header = header
        .transpose()
        .map_err(|_| Problem::bad("Last-Event-ID", "it is not text"))?;
    // A browser sends an empty header after an event without an id.
    let header = header.filter(|id| !id.is_empty()).map(|id| ("Last-Event-ID", id));
    let query_id = query_id.map(|id| ("last_event_id", id));
    match header.or(query_id) {
        None | Some((_, "")) => Ok(None),
        Some((field, id)) => id.parse().map(Some).map_err(|why| Problem::bad(field, why)),
    }
}

/// Checks that the wanted accounts can have events: they are configured or observed, or `accounts.open` is
/// set.
fn check_accounts(
    api: &ApiState,
    snapshot: &mut RequestSnapshot<'_>,
    filter: &Filter,
) -> Result<(), Problem> {
    let accounts = api.settings.borrow().accounts.clone();
    let configured = accounts.rules().iter().map(|rules| &rules.id);
    if accounts.is_open() || filter.accounts_beside(&configured).is_empty() {
        return Ok(());
    }
    let seen = snapshot.get()?.accounts(Millis::MAX)?;
    let unknown = filter.accounts_beside(&configured.chain(seen.keys()));
    let Some(name) = unknown.first() else {
        return Ok(());
    };
    let (provider, name) = name
        .split_once('/')
        .map_or((None, *name), |(provider, name)| (Some(provider), name));
    Err(Problem::unknown(
        "account",
        accounts.unknown(provider, Some(name)),
    ))
}
