//! Reads the data of provider accounts: windows, calls, marks, rejections, thresholds that fired.

use std::collections::BTreeMap;

use redb::{ReadTransaction, ReadableTable};

use super::Snapshot;
use super::leases::book_in;
use crate::dedup::Totals;
use crate::model::{AccountId, Fired, LimitSource, MINUTE_MS, Millis};
use crate::quota::exhaustion::Cause;
use crate::quota::lease::LeaseBook;
use crate::quota::overage::Overage;
use crate::quota::poll::Backoff;
use crate::quota::throttle::Throttles;
use crate::quota::window::{self, WindowState};
use crate::quota::window_name;
use crate::store::StoreError;
use crate::store::error::DbError;
use crate::store::schema::{
    ACCOUNT_LIMITS, ACCOUNTS, AccountLimitsRow, AccountRow, FIRED, FiredRow, HistoryRow, LIMIT_EVENTS,
    LimitEventRow, MARKS, MINUTES, MODELS, MarkRow, OBSERVATIONS, POLLS, PollRow, RowError, SERVED, WINDOWS,
    WindowRow,
};
use crate::store::table::decode_row;

/// The data of all accounts, as of one commit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QuotaView {
    pub accounts: KnownAccounts,
    /// Oldest first.
    pub limit_events: Vec<LimitEvent>,
    /// Oldest first.
    pub fired: Vec<Fired>,
    pub leases: LeaseBook,
}

/// The data of each account.
pub type KnownAccounts = BTreeMap<AccountId, AccountSums>;

/// The data of one account.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AccountSums {
    pub windows: BTreeMap<Box<str>, WindowState>,
    /// By minute since 1970, from the requested minute.
    pub minutes: Vec<(u32, Totals)>,
    /// The operator's mark.
    pub mark: Option<Cause>,
    /// Refusals that named no window.
    pub throttles: Throttles,
    pub overage: Option<Overage>,
    /// The latest response of any model.
    pub served_at: Option<Millis>,
}

/// A rejection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitEvent {
    pub at: Millis,
    pub account: AccountId,
    pub window: Box<str>,
    pub resets_at: Option<Millis>,
    pub source: LimitSource,
}

impl Snapshot<'_> {
    /// The data of all accounts, without limit events and thresholds that fired; minutes from the one that
    /// holds `since`.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn accounts(&self, since: Millis) -> Result<KnownAccounts, StoreError> {
        self.reading(|read| {
            let ids = account_ids(read)?;
            accounts_in(read, &ids, since)
        })
    }

    /// The data of all accounts; minutes from the one that holds `since`.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn quota(&self, since: Millis) -> Result<QuotaView, StoreError> {
        self.reading(|read| quota_in(read, since))
    }

    /// The stored back-offs of polls.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn backoffs(&self) -> Result<BTreeMap<AccountId, Backoff>, StoreError> {
        self.reading(|read| {
            let ids = account_ids(read)?;
            let mut backoffs = BTreeMap::new();
            for entry in read.open_table(POLLS)?.iter()? {
                let (account, row) = entry?;
                let row: PollRow = decode_row("polls", row.value())?;
                backoffs.insert(account_id(&ids, account.value())?, row.backoff);
            }
            Ok(backoffs)
        })
    }

    /// The points kept of a window's history, oldest first.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn history(&self, account: &AccountId, window: &str) -> Result<Vec<HistoryRow>, StoreError> {
        self.reading(|read| {
            let ids = account_ids(read)?;
            let Some(number) = (0u32..).zip(&ids).find(|(_, id)| *id == account) else {
                return Ok(Vec::new());
            };
            let table = read.open_table(OBSERVATIONS)?;
            let mut points = Vec::new();
            for entry in table.range((number.0, window, 0)..=(number.0, window, u32::MAX))? {
                let (_, row) = entry?;
                points.push(decode_row("observations", row.value())?);
            }
            Ok(points)
        })
    }
}

fn quota_in(read: &ReadTransaction, since: Millis) -> Result<QuotaView, DbError> {
    let ids = account_ids(read)?;
    let mut view = QuotaView {
        accounts: accounts_in(read, &ids, since)?,
        leases: book_in(read)?,
        ..QuotaView::default()
    };
    let events = read.open_table(LIMIT_EVENTS)?;
    for entry in events.iter()? {
        let (key, row) = entry?;
        let (at, account, window) = key.value();
        let row: LimitEventRow = decode_row("limit_events", row.value())?;
        view.limit_events.push(LimitEvent {
            at: Millis::try_from(at).unwrap_or(Millis::MAX),
            account: account_id(&ids, account)?,
            window: window.into(),
            resets_at: row.resets_at,
            source: row.source,
        });
    }
    let fired = read.open_table(FIRED)?;
    for entry in fired.iter()? {
        let (number, row) = entry?;
        let row: FiredRow = decode_row("fired", row.value())?;
        let account = account_id(&ids, row.account)?;
        view.fired.push(row.fired(number.value(), account));
    }
    Ok(view)
}

/// The figures of accounts from the minute that holds `since`; `ids` are the accounts by number.
fn accounts_in(read: &ReadTransaction, ids: &[AccountId], since: Millis) -> Result<KnownAccounts, DbError> {
    let id = |number: u32| account_id(ids, number);
    let mut accounts: KnownAccounts = (ids.iter().cloned())
        .map(|id| (id, AccountSums::default()))
        .collect();
    let windows = read.open_table(WINDOWS)?;
    for entry in windows.iter()? {
        let (key, row) = entry?;
        let (account, window) = key.value();
        let row: WindowRow = decode_row("windows", row.value())?;
        let sums = accounts.entry(id(account)?).or_default();
        sums.windows.insert(window.into(), row.track.state);
    }
    let models = read.open_table(MODELS)?;
    let served = read.open_table(SERVED)?;
    for entry in served.iter()? {
        let (key, at) = entry?;
        let ((account, model), at) = (key.value(), Some(at.value()));
        let name = models.get(model)?;
        let name = name.ok_or_else(|| DbError::row("served", RowError::Range("model")))?;
        let sums = accounts.entry(id(account)?).or_default();
        sums.served_at = sums.served_at.max(at);
        for (window, state) in &mut sums.windows {
            if window_name::serves(window, name.value()) {
                state.served_at = state.served_at.max(at);
            }
        }
    }
    for sums in accounts.values_mut() {
        let allowed_at = window::allowed_at(sums.windows.values());
        if let Some(state) = sums.windows.get_mut(window_name::UNKNOWN) {
            state.allowed_at = allowed_at;
        }
    }
    let account_limits = read.open_table(ACCOUNT_LIMITS)?;
    for entry in account_limits.iter()? {
        let (account, row) = entry?;
        let row: AccountLimitsRow = decode_row("account_limits", row.value())?;
        let sums = accounts.entry(id(account.value())?).or_default();
        (sums.throttles, sums.overage) = (row.throttles, row.overage);
    }
    let since = u32::try_from(since.div_euclid(MINUTE_MS).max(0)).unwrap_or(u32::MAX);
    let minutes = read.open_table(MINUTES)?;
    for (number, id) in (0u32..).zip(ids) {
        let sums = accounts.entry(id.clone()).or_default();
        for entry in minutes.range((number, since)..=(number, u32::MAX))? {
            let (key, row) = entry?;
            let totals: Totals = decode_row("minutes", row.value())?;
            sums.minutes.push((key.value().1, totals));
        }
    }
    let marks = read.open_table(MARKS)?;
    for entry in marks.iter()? {
        let (account, row) = entry?;
        let row: MarkRow = decode_row("marks", row.value())?;
        accounts.entry(id(account.value())?).or_default().mark = Some(row.cause);
    }
    Ok(accounts)
}

fn account_id(ids: &[AccountId], number: u32) -> Result<AccountId, DbError> {
    let id = ids.get(number as usize).cloned();
    id.ok_or_else(|| DbError::row("accounts", RowError::Range("number")))
}

pub(super) fn account_ids(read: &ReadTransaction) -> Result<Vec<AccountId>, DbError> {
    let table = read.open_table(ACCOUNTS)?;
    let mut ids = Vec::new();
    for entry in table.iter()? {
        let (_, row) = entry?;
        let row: AccountRow = decode_row("accounts", row.value())?;
        ids.push(row.id());
    }
    Ok(ids)
}
