//! WebSocket of an account's windows: their state at first and on each change, and thresholds.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use tokio::time::Instant;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::socket::{self, SocketFeed, text};
use super::{AccountQuery, THRESHOLDS, documents};
use crate::api::http::problem::{Problem, blocking};
use crate::api::http::query::Lenient;
use crate::api::openapi::{ItemErrors, UpgradeAnswers, WEB};
use crate::api::state::{ApiState, RequestSnapshot};
use crate::api::wire;
use crate::live::Event;
use crate::model::{AccountId, Fired};

/// A pace that moved within its zone is sent again after this time. With a check every 15 s, a client's pace
/// is at most a minute old.
const PACE_AFTER_MIN: Duration = Duration::from_secs(45);

/// The routes of this file.
pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::default().routes(routes!(get_socket))
}

/// Windows of an account as a WebSocket
///
/// Text frames. `{"type":"snapshot","state":...}` with the document of `GET /api/usage`: at first and
/// whenever it changes, also by the clock (a window ends, a block ends, or a pace enters another zone), and
/// once a minute while a pace moves.
/// `{"type":"threshold_crossed","bucket_id":...,"threshold":75,"reset_at":...}` at 75 and 90 percent; if one
/// reading reaches both, only the higher one.
#[utoipa::path(
    get,
    path = "/api/ws/usage",
    operation_id = "web_usage_socket",
    tag = WEB,
    params(AccountQuery),
    responses(UpgradeAnswers, ItemErrors)
)]
async fn get_socket(
    State(api): State<Arc<ApiState>>,
    Lenient(query): Lenient<AccountQuery>,
    upgrade: socket::UpgradeRequest,
) -> Result<Response, Problem> {
    let asked = Arc::clone(&api);
    let account = blocking(move || query.account(&asked, &mut RequestSnapshot::of(&asked))).await?;
    socket::open(&api, upgrade, |api| Windows {
        api,
        account,
        sent: wire::WebUsage::default(),
        sent_at: Instant::now(),
    })
}

struct Windows {
    api: Arc<ApiState>,
    account: AccountId,
    /// As last sent.
    sent: wire::WebUsage,
    sent_at: Instant,
}

impl Windows {
    /// The state frame, if one is due.
    async fn state(&mut self, is_first: bool) -> Result<Vec<String>, Problem> {
        let (api, account) = (Arc::clone(&self.api), self.account.clone());
        let state = blocking(move || {
            Ok(documents::usage(
                &api.store.snapshot()?,
                &account,
                &api.polls,
                api.clock.now(),
            )?)
        })
        .await?;
        if !is_first && !is_news(&self.sent, &state, self.sent_at.elapsed()) {
            return Ok(Vec::new());
        }
        self.sent_at = Instant::now();
        self.sent = state.clone();
        Ok(vec![text(&wire::WebSnapshot {
            kind: "snapshot".to_owned(),
            state,
        })])
    }
}

/// True if the state differs enough to be sent again. A pace moves all the time; within its zone it is sent
/// only after [`PACE_AFTER_MIN`].
fn is_news(sent: &wire::WebUsage, now: &wire::WebUsage, age: Duration) -> bool {
    let zones = |state: &wire::WebUsage| -> Vec<String> {
        (state.pacing.values()).map(|pace| pace.zone.clone()).collect()
    };
    now.buckets != sent.buckets
        || now.observed_at != sent.observed_at
        || zones(now) != zones(sent)
        || (&now.last_error, now.last_error_at) != (&sent.last_error, sent.last_error_at)
        || (age >= PACE_AFTER_MIN && now.pacing != sent.pacing)
}

impl SocketFeed for Windows {
    async fn first(&mut self) -> Result<Vec<String>, Problem> {
        self.state(true).await
    }

    async fn after(&mut self, event: Option<&Event>) -> Result<Vec<String>, Problem> {
        let Some(Event::Update(update)) = event else {
            // Either the client fell behind, or the time has passed, which no event reports while nothing is
            // committed.
            return self.state(false).await;
        };
        let mut texts = Vec::new();
        let is_marked = update.marks.contains(&self.account);
        if is_marked || update.windows.iter().any(|window| window.account == self.account) {
            texts = self.state(false).await?;
        }
        texts.extend(thresholds(&update.fired, &self.account).map(|fired| {
            text(&wire::WebThreshold {
                kind: "threshold_crossed".to_owned(),
                bucket_id: documents::bucket_id(&fired.window).to_owned(),
                threshold: fired.percent,
                reset_at: fired.reset_at,
            })
        }));
        Ok(texts)
    }
}

/// The threshold events of an account: those of the contract, and of one reading only the highest.
fn thresholds<'f>(fired: &'f [Fired], account: &'f AccountId) -> impl Iterator<Item = &'f Fired> {
    let is_sent = |fired: &Fired| THRESHOLDS.contains(&fired.percent);
    let of_it = fired
        .iter()
        .filter(move |fired| fired.account == *account && is_sent(fired));
    of_it.filter(move |one| {
        let same = |other: &&Fired| {
            other.account == one.account
                && other.window == one.window
                && other.observed_at == one.observed_at
                && other.reset_at == one.reset_at
        };
        !(fired.iter().filter(same)).any(|other| is_sent(other) && other.percent > one.percent)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{HOUR_MS, LimitSource, LimitStatus, MINUTE_MS, Millis, Observation, window_name};
    use crate::quota::pace;
    use crate::quota::window::merge;
    use crate::store::AccountSums;

    /// 2026-10-05T12:00:00Z
    const NOON: Millis = 1_791_201_600_000;

    #[test]
    fn a_pace_is_sent_when_its_zone_changes_and_each_minute_while_it_moves() {
        let observation = Observation {
            window: window_name::FIVE_HOUR.into(),
            utilization: Some(0.5),
            remaining: None,
            limit: None,
            reset_at: Some(NOON + 5 * HOUR_MS),
            observed_at: None,
            status: LimitStatus::Allowed,
            source: LimitSource::Headers,
            session: None,
            request: None,
        };
        let state = merge(None, &observation, NOON, &[]).track.state;
        let mut sums = AccountSums::default();
        sums.windows.insert(window_name::FIVE_HOUR.into(), state.clone());
        let document = |at: Millis| documents::of_account(&sums, at);
        let zone = |at: Millis| pace::pace(&state, at).zone.into_str();
        let look = 15_000;
        let (mut sent_at, mut zones, mut frames) = (NOON, vec![zone(NOON)], 0);
        let mut at = NOON;
        while at + look < NOON + 5 * HOUR_MS {
            at += look;
            let age = Duration::from_millis(u64::try_from(at - sent_at).unwrap());
            let is_other_zone = zone(at) != *zones.last().unwrap();
            let is_sent = is_news(&document(sent_at), &document(at), age);
            assert!(is_sent || !is_other_zone, "a zone is sent at once");
            if !is_sent {
                // Within the first fifteen minutes a pace does not move.
                assert!(
                    zone(at) == "none" || at - sent_at < MINUTE_MS,
                    "a pace stands still"
                );
                continue;
            }
            assert!(is_other_zone || at - sent_at >= 45_000, "each look is a frame");
            if is_other_zone {
                zones.push(zone(at));
            }
            (sent_at, frames) = (at, frames + 1);
        }
        assert_eq!(zones, ["none", "hot", "on_track", "chill"]);
        // 285 minutes with a pace.
        assert!((285..=385).contains(&frames), "{frames}");
    }

    #[test]
    fn of_one_reading_the_highest_threshold_of_the_contract_is_sent() {
        let account = AccountId::default();
        let other = AccountId {
            name: "other".into(),
            ..AccountId::default()
        };
        let fired = |account: &AccountId, window: &str, percent, observed_at| Fired {
            number: 0,
            account: account.clone(),
            window: window.into(),
            percent,
            utilization: 1.2,
            reset_at: Some(9),
            observed_at,
        };
        let all = [
            fired(&account, "five_hour", 75, 1),
            fired(&account, "five_hour", 90, 1),
            fired(&account, "five_hour", 95, 1),
            fired(&account, "seven_day", 75, 1),
            // Two readings of one commit.
            fired(&account, "opus", 75, 1),
            fired(&account, "opus", 90, 2),
            fired(&account, "own", 50, 1),
            fired(&other, "five_hour", 75, 1),
        ];
        let sent: Vec<_> = thresholds(&all, &account)
            .map(|one| (&*one.window, one.percent))
            .collect();
        assert_eq!(
            sent,
            [("five_hour", 90), ("seven_day", 75), ("opus", 75), ("opus", 90)]
        );
    }
}
