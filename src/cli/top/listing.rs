//! The rows of the tables, filtered and in their order.

use std::cmp::{Ordering, Reverse};

use super::model::{PeriodSums, TopModel, TopRun, WindowKey, millis};
use super::scope::TopScope;
use super::theme::{BAD_FROM, WARNING_FROM};
use super::ui::{TopSort, TopUi};
use crate::api::wire;
use crate::cli::runs::document::by_id;
use crate::model::{MINUTE_MS, Millis};

/// A run with activity in this time works right now.
const WORKING_MS: Millis = 2 * MINUTE_MS;

/// A row of the accounts.
#[derive(Clone, Copy, Debug)]
pub enum WindowRow<'m> {
    Window(&'m wire::Window),
    /// An account that something else than a window blocks: a budget, a mark, a cool-down.
    Blocked(&'m wire::Account, &'m wire::Cause),
    /// An account without windows.
    Unobserved(&'m wire::Account),
}

impl WindowRow<'_> {
    /// The account's provider and name.
    #[must_use]
    pub fn account(&self) -> (&str, &str) {
        match self {
            Self::Window(window) => (&window.provider, &window.account),
            Self::Blocked(account, _) | Self::Unobserved(account) => (&account.provider, &account.account),
        }
    }

    /// What is blocked first, then what is nearly used up, then the others.
    #[must_use]
    pub fn trouble_rank(&self) -> u8 {
        let window = match self {
            Self::Window(window) => window,
            Self::Blocked(..) => return 0,
            Self::Unobserved(_) => return 3,
        };
        let share = window.utilization.filter(|_| window.state != "expired");
        match share {
            _ if window.refused || window.exhausted_until.is_some() => 0,
            Some(share) if share >= BAD_FROM => 1,
            Some(share) if share >= WARNING_FROM => 2,
            _ => 3,
        }
    }

    #[must_use]
    pub fn key(&self) -> WindowKey {
        let (provider, account) = self.account();
        let window = match self {
            Self::Window(window) => window.window.clone(),
            Self::Blocked(_, cause) => cause.code.clone(),
            Self::Unobserved(_) => String::new(),
        };
        (provider.to_owned(), account.to_owned(), window)
    }
}

/// The rows of the accounts, in the order of the configuration: each account with its windows.
#[must_use]
pub fn windows<'m>(model: &'m TopModel, scope: &TopScope) -> Vec<WindowRow<'m>> {
    let Some(quota) = &model.quota else {
        return Vec::new();
    };
    let mut rows = Vec::new();
    let is_known = |window: &&wire::Window| {
        let of_it = |account: &wire::Account| {
            account.provider == window.provider && account.account == window.account
        };
        quota.accounts.iter().any(of_it)
    };
    for account in &quota.accounts {
        if !scope.wants_account(&account.provider, &account.account) {
            continue;
        }
        let before = rows.len();
        let mut own: Vec<&wire::Window> = (quota.windows.iter())
            .filter(|window| window.provider == account.provider && window.account == account.account)
            .collect();
        own.sort_by_key(|window| length_rank(&window.window));
        rows.extend(own.into_iter().map(WindowRow::Window));
        let others = account.causes.iter().filter(|cause| cause.window.is_none());
        rows.extend(others.map(|cause| WindowRow::Blocked(account, cause)));
        if rows.len() == before {
            rows.push(WindowRow::Unobserved(account));
        }
    }
    let unlisted = quota.windows.iter().filter(|window| !is_known(window));
    let wanted = unlisted.filter(|window| scope.wants_account(&window.provider, &window.account));
    rows.extend(wanted.map(WindowRow::Window));
    rows
}

/// Short windows come first.
fn length_rank(window: &str) -> (u8, &str) {
    let rank = match window {
        crate::model::window_name::FIVE_HOUR => 0,
        name if name.starts_with(crate::model::window_name::SEVEN_DAY) => 1,
        _ => 2,
    };
    (rank, window)
}

/// The number of runs that pass the filter.
#[must_use]
pub fn runs_count(model: &TopModel, ui: &TopUi) -> usize {
    model.known_runs().filter(|run| passes(run, &ui.filter)).count()
}

/// The runs that pass the filter, in their order.
#[must_use]
pub fn runs<'m>(model: &'m TopModel, ui: &TopUi) -> Vec<&'m TopRun> {
    let mut runs: Vec<&TopRun> = (model.known_runs().filter(|run| passes(run, &ui.filter))).collect();
    runs.sort_by(|a, b| by_id(&a.row.id, &b.row.id));
    match ui.sort {
        TopSort::Name => {}
        // Reading a time takes longer than comparing: once for each run, as a frame may be drawn ten times a second.
        TopSort::Active => runs.sort_by_cached_key(|run| Reverse(activity(run, model.now))),
        TopSort::Total => runs.sort_by_key(|run| Reverse(run.row.totals.totals.total_tokens)),
        TopSort::Input => runs.sort_by_key(|run| Reverse(run.row.totals.totals.input_tokens)),
        TopSort::Output => runs.sort_by_key(|run| Reverse(run.row.totals.totals.output_tokens)),
        TopSort::Cost => runs.sort_by(|a, b| by_cost(&a.row.cost, &b.row.cost)),
    }
    if ui.is_reversed {
        runs.reverse();
    }
    runs
}

/// The time of the last activity. Runs that work right now are equal, so that they keep their places.
fn activity(run: &TopRun, now: Millis) -> Millis {
    let last = run.row.last_activity.as_deref().and_then(millis);
    last.unwrap_or(Millis::MIN).min(now - WORKING_MS)
}

/// Runs whose model is not known, so that a filter cannot find them by it.
#[must_use]
pub fn unnamed_count(model: &TopModel) -> usize {
    let is_unnamed = |run: &&TopRun| run.model.is_none() && run.row.totals.totals.total_tokens > 0;
    model.known_runs().filter(is_unnamed).count()
}

/// True if the id, the model that is shown, the account or a label contains the filter, in letters of any case.
fn passes(run: &TopRun, filter: &str) -> bool {
    if filter.is_empty() {
        return true;
    }
    let filter = filter.to_lowercase();
    let has = |text: &str| text.to_lowercase().contains(&filter);
    has(&run.row.id)
        || run.model.as_deref().is_some_and(has)
        || has(&format!("{}/{}", run.row.provider, run.row.account))
        || (run.row.labels.iter()).any(|(name, value)| has(&format!("{name}={value}")))
}

/// The rows of sums that pass the filter, in their order.
#[must_use]
pub fn sums<'m>(sums: &'m PeriodSums, ui: &TopUi) -> Vec<&'m wire::UsageRow> {
    let filter = ui.filter.to_lowercase();
    let has = |row: &&wire::UsageRow| filter.is_empty() || name(row).to_lowercase().contains(&filter);
    let mut rows: Vec<&wire::UsageRow> = sums.usage.rows.iter().filter(has).collect();
    rows.sort_by_key(|row| Reverse(row.sums.totals.total_tokens));
    match ui.sort {
        TopSort::Active | TopSort::Total => {}
        TopSort::Name => rows.sort_by_key(|row| name(row)),
        TopSort::Input => rows.sort_by_key(|row| Reverse(row.sums.totals.input_tokens)),
        TopSort::Output => rows.sort_by_key(|row| Reverse(row.sums.totals.output_tokens)),
        TopSort::Cost => rows.sort_by(|a, b| by_cost(&a.sums.cost, &b.sums.cost)),
    }
    if ui.is_reversed {
        rows.reverse();
    }
    rows
}

/// The name of a row with one grouping.
#[must_use]
pub fn name(row: &wire::UsageRow) -> String {
    let key = row.key.clone().flatten();
    key.unwrap_or_else(|| "(none)".to_owned())
}

/// The most expensive first, those without a known price last.
fn by_cost(a: &wire::Cost, b: &wire::Cost) -> Ordering {
    let of = |cost: &wire::Cost| cost.estimated_cost_usd.unwrap_or(-1.0);
    of(b).total_cmp(&of(a))
}
