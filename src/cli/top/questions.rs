//! Questions: which documents are requested, and when. Sums are asked for again only after a commit.

use std::path::Path;
use std::time::{Duration, Instant};

use super::event::{TopAnswer, TopEvent};
use super::model::{Details, PeriodSums, TopModel};
use super::ui::{Opened, TopTable, TopUi};
use crate::api::wire;
use crate::cli::args::TopPeriod;
use crate::cli::client::{self, ClientError};
use crate::clock::Clock;
use crate::model::HOUR_MS;
use crate::model::window_name::{FIVE_HOUR, SEVEN_DAY};

/// Time between two requests of the same document without any event.
const AT_REST: Duration = Duration::from_secs(30);
/// Least time between two requests for the list of runs, and for tables beside the main one.
const LIST_EVERY: Duration = Duration::from_secs(5);
/// Least time between two requests for the details that are open.
const DETAILS_EVERY: Duration = Duration::from_secs(2);
/// After an answer the same question waits at least this many times as long as the answer took: a large database is not
/// kept busy.
const REST_PER_ANSWER: u32 = 10;
/// Hours of history of a short and of a long window.
const SHORT_HOURS: i64 = 5;
const LONG_HOURS: i64 = 7 * 24;
/// Steps of these histories.
const SHORT_STEP: &str = "2m";
const LONG_STEP: &str = "1h";

/// Hours that the chart of a window shows.
#[must_use]
pub fn history_hours(window: &str) -> i64 {
    if window.starts_with(SEVEN_DAY) {
        LONG_HOURS
    } else {
        SHORT_HOURS
    }
}

/// A question to the collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopQuestion {
    Quota,
    Runs,
    /// Tokens by run and model, once for each connection.
    Models,
    Sums(TopPeriod),
    Routes(TopPeriod),
    Hours,
    Details(Opened),
}

/// When a question was asked last, and whether something happened since.
#[derive(Clone, Copy, Debug, Default)]
struct DueState {
    is_wanted: bool,
    /// Asked again no sooner.
    not_before: Option<Instant>,
    asked: Option<Instant>,
}

/// The schedule of all questions.
#[derive(Debug)]
pub struct QuestionSchedule {
    interval: Duration,
    quota: DueState,
    runs: DueState,
    models: DueState,
    sums: DueState,
    routes: DueState,
    hours: DueState,
    details: DueState,
    /// The period and the item that were asked for.
    period: Option<TopPeriod>,
    opened: Option<Opened>,
}

impl QuestionSchedule {
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        let wanted = DueState {
            is_wanted: true,
            ..DueState::default()
        };
        Self {
            interval,
            quota: wanted,
            runs: wanted,
            models: wanted,
            sums: wanted,
            routes: wanted,
            hours: wanted,
            details: wanted,
            period: None,
            opened: None,
        }
    }

    /// Everything is asked for again at once.
    pub fn restart(&mut self) {
        *self = Self::new(self.interval);
    }

    /// An event makes documents outdated.
    pub fn heed(&mut self, event: &TopEvent) {
        match event {
            TopEvent::Connected => self.restart(),
            TopEvent::Snapshot(event) if event.reason.is_some() => self.restart(),
            TopEvent::Usage(_) => {
                for due in [
                    &mut self.runs,
                    &mut self.sums,
                    &mut self.routes,
                    &mut self.hours,
                    &mut self.details,
                ] {
                    due.is_wanted = true;
                }
            }
            TopEvent::Run(_) => {
                self.runs.is_wanted = true;
                self.quota.is_wanted = true;
            }
            TopEvent::Window(_)
            | TopEvent::Threshold(_)
            | TopEvent::Account(_)
            | TopEvent::Lease(_)
            | TopEvent::Probe(_)
            | TopEvent::Health(_) => {
                self.quota.is_wanted = true;
                self.details.is_wanted = true;
            }
            TopEvent::Snapshot(_) | TopEvent::Tick(_) | TopEvent::Lost { .. } | TopEvent::Answer(_) => {}
        }
    }

    /// A chosen period or item that was not asked for yet is due.
    pub fn choose(&mut self, ui: &TopUi) {
        if self.period != Some(ui.period) {
            self.period = Some(ui.period);
            self.sums = Self::new(self.interval).sums;
            self.routes = self.sums;
        }
        if self.opened != ui.opened {
            self.opened.clone_from(&ui.opened);
            self.details = Self::new(self.interval).details;
        }
    }

    /// The next question that is due.
    pub fn next(&mut self, ui: &TopUi, has_side: bool, now: Instant) -> Option<TopQuestion> {
        self.choose(ui);
        let interval = self.interval;
        let others = interval.max(LIST_EVERY);
        let has_routes = has_side || ui.table == TopTable::Routes;
        let mut all = [
            (&mut self.quota, Some(TopQuestion::Quota), interval),
            (&mut self.sums, Some(TopQuestion::Sums(ui.period)), interval),
            (&mut self.runs, Some(TopQuestion::Runs), others),
            (&mut self.models, Some(TopQuestion::Models), Duration::MAX),
            (
                &mut self.details,
                ui.opened.clone().map(TopQuestion::Details),
                DETAILS_EVERY,
            ),
            (
                &mut self.routes,
                has_routes.then_some(TopQuestion::Routes(ui.period)),
                others,
            ),
            (&mut self.hours, has_side.then_some(TopQuestion::Hours), others),
        ];
        for (due, question, pause) in &mut all {
            let Some(question) = question else {
                continue;
            };
            let is_old = *pause < Duration::MAX && due.asked.is_none_or(|asked| now - asked >= AT_REST);
            let may = due.not_before.is_none_or(|at| now >= at);
            if (due.is_wanted || is_old) && may {
                due.is_wanted = false;
                due.asked = Some(now);
                due.not_before = now.checked_add((*pause).min(AT_REST));
                return Some(question.clone());
            }
        }
        None
    }

    /// The time at which the next wanted question may be asked.
    #[must_use]
    pub fn next_at(&self) -> Option<Instant> {
        let wanted = [self.quota, self.sums, self.runs].into_iter();
        let times = wanted
            .filter(|due| due.is_wanted)
            .filter_map(|due| due.not_before);
        times.min()
    }

    /// An answer, or the failure to get one, took so long.
    pub fn took(&mut self, question: &TopQuestion, is_answered: bool, time: Duration, now: Instant) {
        let due = match question {
            TopQuestion::Quota => &mut self.quota,
            TopQuestion::Runs => &mut self.runs,
            TopQuestion::Models => &mut self.models,
            TopQuestion::Sums(_) => &mut self.sums,
            TopQuestion::Routes(_) => &mut self.routes,
            TopQuestion::Hours => &mut self.hours,
            TopQuestion::Details(_) => &mut self.details,
        };
        let rest = time.saturating_mul(REST_PER_ANSWER);
        due.not_before = if is_answered {
            due.not_before.max(now.checked_add(rest))
        } else {
            due.is_wanted = true;
            now.checked_add(LIST_EVERY)
        };
    }
}

/// What a request needs beside the question.
#[derive(Clone, Debug)]
pub struct QuestionContext {
    /// The zone of days, as a parameter; none is UTC.
    pub zone: Option<String>,
    /// `PROVIDER/NAME`, if one account is shown.
    pub account: Option<String>,
    pub is_by_run: bool,
    /// The last commit that is known.
    pub sequence: u64,
}

impl QuestionContext {
    #[must_use]
    pub fn of(model: &TopModel, ui: &TopUi, zone: Option<String>) -> Self {
        let account = ui.scope.account(model.quota.as_ref());
        Self {
            zone,
            account: account.map(|one| format!("{}/{}", one.provider, one.account)),
            is_by_run: ui.scope.is_by_run(),
            sequence: model.sequence,
        }
    }

    fn usage_path(&self, period: &str, group_by: &str) -> String {
        let parameters = [
            ("period", Some(period)),
            ("zone", self.zone.as_deref()),
            ("account", self.account.as_deref()),
            ("group_by", Some(group_by)),
        ];
        format!("/v1/usage{}", client::query(&parameters))
    }
}

/// Asks the collector.
pub async fn ask(socket: &Path, question: &TopQuestion, context: &QuestionContext) -> TopEvent {
    let answer = match answer(socket, question, context).await {
        Ok(answer) => answer,
        Err(error) => TopAnswer::Failed(error.to_string()),
    };
    TopEvent::Answer(Box::new(answer))
}

/// As [`ask`].
///
/// # Errors
/// The collector does not answer, or refuses.
pub async fn answer(
    socket: &Path,
    question: &TopQuestion,
    context: &QuestionContext,
) -> Result<TopAnswer, ClientError> {
    let usage = async |path: String| -> Result<wire::Usage, ClientError> {
        client::get_json(socket, &path, client::TIMEOUT).await
    };
    let sums = async |period: TopPeriod, group_by: &str| -> Result<PeriodSums, ClientError> {
        let usage = usage(context.usage_path(period.question(), group_by)).await?;
        Ok(PeriodSums { period, usage })
    };
    Ok(match question {
        TopQuestion::Quota => TopAnswer::Quota(client::get_json(socket, "/v1/quota", client::TIMEOUT).await?),
        TopQuestion::Runs => TopAnswer::Runs {
            rows: client::get_json(socket, "/v1/runs", client::TIMEOUT).await?,
            asked_at: context.sequence,
        },
        TopQuestion::Models => TopAnswer::Models(usage(context.usage_path("last-7d", "run,model")).await?),
        TopQuestion::Sums(period) => {
            let group_by = if context.is_by_run { "run,model" } else { "model" };
            TopAnswer::Sums(sums(*period, group_by).await?)
        }
        TopQuestion::Routes(period) => TopAnswer::Routes(sums(*period, "route").await?),
        TopQuestion::Hours => TopAnswer::Hours(sums(TopPeriod::Today, "hour").await?),
        TopQuestion::Details(opened) => TopAnswer::Details(details(socket, opened).await?),
    })
}

async fn details(socket: &Path, opened: &Opened) -> Result<Details, ClientError> {
    match opened {
        Opened::Run(id) => run_details(socket, id).await,
        Opened::Account((provider, account, window)) => {
            let of = if window.is_empty() { FIVE_HOUR } else { window };
            let hours = history_hours(of);
            let from = Clock::SYSTEM.now() - hours * HOUR_MS;
            let from = jiff::Timestamp::from_millisecond(from)
                .unwrap_or_default()
                .to_string();
            let step = if hours > SHORT_HOURS {
                LONG_STEP
            } else {
                SHORT_STEP
            };
            let parameters = [
                ("provider", Some(provider.as_str())),
                ("account", Some(account.as_str())),
                ("window", Some(of)),
                ("from", Some(&*from)),
                ("step", Some(step)),
            ];
            let path = format!("/v1/quota/history{}", client::query(&parameters));
            Ok(Details::Account {
                provider: provider.clone(),
                account: account.clone(),
                window: window.clone(),
                points: client::get_json(socket, &path, client::TIMEOUT).await?,
            })
        }
    }
}

async fn run_details(socket: &Path, id: &str) -> Result<Details, ClientError> {
    let path = format!("/v1/runs/{}", client::escaped(id));
    let run = client::get_json(socket, &path, client::TIMEOUT).await?;
    let files = format!("{path}/files?limit=10");
    let files = client::get_json(socket, &files, client::TIMEOUT).await?;
    let parameters = [("run", Some(id)), ("group_by", Some("session"))];
    let path = format!("/v1/usage{}", client::query(&parameters));
    let usage: wire::Usage = client::get_json(socket, &path, client::TIMEOUT).await?;
    let mut sessions = usage.rows;
    sessions.sort_by_key(|row| std::cmp::Reverse(row.sums.totals.total_tokens));
    Ok(Details::Run {
        id: id.to_owned(),
        run,
        sessions,
        files,
    })
}
