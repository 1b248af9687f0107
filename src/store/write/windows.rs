//! Writes limit observations into the tables: windows, their history, rejections, thresholds that fired.
//!
//! **Invariant**: everything here happens in the transaction that moves the read position over the lines the
//! observations came from; a threshold that fired is latched in that same transaction.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use redb::{ReadableTable, ReadableTableMetadata, Table, WriteTransaction};

use super::deferred::{DeferredTables, MergeOrder};
use super::next_number;
use super::outcome::LimitChanges;
use crate::model::{
    AccountId, DAY_MS, HOUR_MS, LimitStatus, MINUTE_MS, Millis, Observation, QUARTER_MS, WindowUpdate,
};
use crate::quota::notice::Notice;
use crate::quota::notice::causes::{WindowSubject, of_window};
use crate::quota::overage::Overage;
use crate::quota::window::{RESET_JITTER_MS, merge};
use crate::quota::window_name;
use crate::store::database::DatabaseSlot;
use crate::store::error::DbError;
use crate::store::schema::{
    ACCOUNT_LIMITS, AccountLimitsRow, FIRED, FiredRow, HistoryRow, LIMIT_EVENTS, LimitEventRow, META_FIRED,
    OBSERVATIONS, WINDOWS, WindowRow,
};
use crate::store::table::{decode_row, get, put};

/// Maximum number of windows kept separately for one account, beside those with fixed names; a provider has a
/// few, a hostile log could name any number.
pub const WINDOWS_PER_ACCOUNT_MAX: u32 = 64;
/// Maximum number of points kept of one window's history. In order of time there are never so many: with one for each
/// minute of a day and one for each quarter of an hour of 14 days there are 2,800.
pub const HISTORY_ROWS_MAX: u32 = 4096;
/// Time for which each minute with an observation has a point in a window's history, in milliseconds; of an older
/// quarter of an hour one point is kept.
pub const HISTORY_MINUTES_MS: Millis = DAY_MS;
/// Minutes in a quarter of an hour.
const QUARTER_MINUTES: u32 = 15;
/// Time for which a point of a window's history is kept after it was observed, in milliseconds.
pub const HISTORY_AGE_MAX_MS: Millis = 15 * DAY_MS;
/// Maximum number of rejections kept, of all accounts together.
pub const LIMIT_EVENTS_MAX: u64 = 1000;
/// Maximum number of fired thresholds kept for clients that were disconnected.
const FIRED_MAX: u64 = 1000;
/// Refusals of one session by one window that are no further apart are tries of one request, if they do not
/// name their request, in milliseconds.
const RETRY_SPAN_MS: Millis = 10 * MINUTE_MS;
/// Time for which one request may be tried, in milliseconds.
const TRIES_AGE_MAX_MS: Millis = HOUR_MS;

/// An observation that is merged at the end of the transaction.
struct Waiting {
    order: MergeOrder,
    account: u32,
    observation: Observation,
    at: Millis,
}

/// A window that this transaction changes.
struct OpenWindow {
    row: WindowRow,
    changed: bool,
    rolled_over: bool,
}

/// Changes of one transaction to the limits.
pub struct WindowChanges<'s, 't> {
    slot: &'s DatabaseSlot,
    windows: Table<'t, (u32, &'static str), &'static [u8]>,
    history: Table<'t, (u32, &'static str, u32), &'static [u8]>,
    events: Table<'t, (u64, u32, &'static str), &'static [u8]>,
    fired: Table<'t, u64, &'static [u8]>,
    pub deferred: DeferredTables<'t>,
    waiting: Vec<Waiting>,
    open: BTreeMap<(u32, Box<str>), OpenWindow>,
    accounts: Table<'t, u32, &'static [u8]>,
    /// Accounts whose row in `accounts` changed.
    accounts_changed: BTreeSet<(u32, &'static str)>,
    newly_fired: Vec<(u64, FiredRow)>,
    /// Events for the outbox.
    notices: Vec<Notice>,
    /// True if there is a target for them.
    has_targets: bool,
    /// Observations of windows beyond [`WINDOWS_PER_ACCOUNT_MAX`].
    left_out: u64,
}

impl<'s, 't> WindowChanges<'s, 't> {
    pub fn new(slot: &'s DatabaseSlot, write: &'t WriteTransaction) -> Result<Self, DbError> {
        macro_rules! open {
            ($table:expr) => {
                write.open_table($table)?
            };
        }
        Ok(Self {
            slot,
            windows: open!(WINDOWS),
            history: open!(OBSERVATIONS),
            events: open!(LIMIT_EVENTS),
            fired: open!(FIRED),
            deferred: DeferredTables::new(write)?,
            waiting: Vec::new(),
            open: BTreeMap::new(),
            accounts: open!(ACCOUNT_LIMITS),
            accounts_changed: BTreeSet::new(),
            newly_fired: Vec::new(),
            notices: Vec::new(),
            has_targets: !slot.targets().is_empty(),
            left_out: 0,
        })
    }

    /// Keeps an observation until [`WindowChanges::merge_waiting`].
    pub fn wait(&mut self, account: u32, observation: Observation, at: Millis, order: MergeOrder) {
        self.waiting.push(Waiting {
            order,
            account,
            observation,
            at,
        });
    }

    /// Merges the waiting observations, in their order, and stores the last number deferred.
    pub fn merge_waiting(
        &mut self,
        meta: &mut Table<'_, &'static str, u64>,
        accounts: &[AccountId],
    ) -> Result<(), DbError> {
        self.deferred.store_number(meta)?;
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.sort_by_key(|one| one.order);
        for one in waiting {
            self.take(meta, accounts, one.account, &one.observation, one.at)?;
        }
        Ok(())
    }

    /// Merges the deferred observations. Observations without a time count as made `now`.
    pub fn apply_deferred(
        &mut self,
        meta: &mut Table<'_, &'static str, u64>,
        accounts: &[AccountId],
        now: Millis,
    ) -> Result<(), DbError> {
        self.deferred.end()?;
        while let Some(row) = self.deferred.pop()? {
            let account = row.account;
            let observation = row.observation();
            let at = observation.observed_at.unwrap_or(now);
            self.take(meta, accounts, account, &observation, at)?;
        }
        Ok(())
    }

    /// Merges one observation.
    fn take(
        &mut self,
        meta: &mut Table<'_, &'static str, u64>,
        accounts: &[AccountId],
        account: u32,
        observation: &Observation,
        at: Millis,
    ) -> Result<(), DbError> {
        let name = window_name::canonical(&observation.window);
        for of_account in [window_name::COOL_DOWN, window_name::OVERAGE_IN_USE] {
            if name == of_account {
                return self.take_of_account(account, of_account, observation, at);
            }
        }
        let key = (account, Box::from(name));
        let known = match self.open.remove(&key) {
            Some(open) => Some(open),
            None => self
                .windows
                .get((account, name))?
                .map(|row| decode_row("windows", row.value()))
                .transpose()?
                .map(|row| OpenWindow {
                    row,
                    changed: false,
                    rolled_over: false,
                }),
        };
        // Fixed window names always have room, whatever names a log invents.
        let invented = known.is_none() && !window_name::is_fixed(name);
        if invented && self.windows_of(account)? >= WINDOWS_PER_ACCOUNT_MAX {
            self.left_out += 1;
            return Ok(());
        }
        if observation.status == LimitStatus::Rejected {
            self.reject(account, name, observation, at)?;
        }
        let newest_before = known.as_ref().map(|open| open.row.track.state.observed_at);
        let thresholds = accounts
            .get(account as usize)
            .map_or_else(Vec::new, |id| self.slot.thresholds(id));
        let merged = merge(
            known.as_ref().map(|open| &open.row.track),
            observation,
            at,
            &thresholds,
        );
        if self.has_targets
            && let Some(account) = accounts.get(account as usize)
        {
            self.notices.extend(of_window(
                WindowSubject { account, name },
                known.as_ref().map(|open| &open.row.track.state),
                &merged.track.state,
                (merged.rolled_over, &merged.crossed),
                at,
            ));
        }
        let mut open = match known {
            Some(mut open) => {
                open.changed |= open.row.track != merged.track;
                open.rolled_over |= merged.rolled_over;
                open.row.track = merged.track;
                open
            }
            None => OpenWindow {
                row: WindowRow {
                    track: merged.track,
                    history_rows: 0,
                },
                changed: true,
                rolled_over: merged.rolled_over,
            },
        };
        for percent in merged.crossed {
            let fired = FiredRow {
                account,
                window: name.into(),
                percent,
                utilization: open.row.track.state.utilization.unwrap_or(0.0),
                reset_at: open.row.track.state.reset_at,
                observed_at: at,
            };
            let number = next_number(meta, META_FIRED)?;
            meta.insert(META_FIRED, number)?;
            self.newly_fired.push((number, fired));
        }
        if merged.history {
            self.remember((account, name), observation, at, newest_before, &mut open)?;
        }
        self.open.insert(key, open);
        Ok(())
    }

    /// Applies an account-wide observation.
    fn take_of_account(
        &mut self,
        account: u32,
        name: &'static str,
        observation: &Observation,
        at: Millis,
    ) -> Result<(), DbError> {
        let mut row: AccountLimitsRow = get(&self.accounts, account)?.unwrap_or_default();
        let is_changed = if name == window_name::COOL_DOWN {
            row.throttles.take(observation, at)
        } else {
            let said = Overage {
                said_at: at,
                in_use: observation.utilization >= Some(1.0),
            };
            let overage = Some(row.overage.map_or(said, |before| before.later(said)));
            std::mem::replace(&mut row.overage, overage) != overage
        };
        if is_changed {
            put(&mut self.accounts, account, &row)?;
            self.accounts_changed.insert((account, name));
        }
        Ok(())
    }

    /// Number of windows of an account whose names are not fixed.
    fn windows_of(&self, account: u32) -> Result<u32, DbError> {
        let mut count = 0;
        let last = account.checked_add(1).map_or_else(
            || self.windows.range((account, "")..),
            |after| self.windows.range((account, "")..(after, "")),
        );
        for entry in last? {
            let (key, _) = entry?;
            count += u32::from(!window_name::is_fixed(key.value().1));
        }
        let new = self.open.keys().filter(|(of, name)| {
            let is_stored = || matches!(self.windows.get((*of, &**name)), Ok(Some(_)));
            *of == account && !window_name::is_fixed(name) && !is_stored()
        });
        Ok(count + u32::try_from(new.count()).unwrap_or(u32::MAX))
    }

    /// Adds an observation to the history: of each minute the best point is kept, as of [`rank`].
    fn remember(
        &mut self,
        (account, name): (u32, &str),
        observation: &Observation,
        at: Millis,
        newest_before: Option<Millis>,
        open: &mut OpenWindow,
    ) -> Result<(), DbError> {
        let newest = open.row.track.state.observed_at.max(at);
        if at < newest.saturating_sub(HISTORY_AGE_MAX_MS) {
            return Ok(());
        }
        let Ok(minute) = u32::try_from(at.div_euclid(MINUTE_MS)) else {
            return Ok(());
        };
        let row = HistoryRow {
            observed_at: at,
            utilization: observation.utilization,
            reset_at: observation.reset_at,
            status: observation.status,
            source: observation.source,
        };
        let key = (account, name, minute);
        let there: Option<HistoryRow> = get(&self.history, key)?;
        if there.is_some_and(|there| rank(&there) >= rank(&row)) {
            return Ok(());
        }
        put(&mut self.history, key, &row)?;
        open.row.history_rows += u32::from(there.is_none());
        open.changed = true;
        let (coarse_before, coarse) = (newest_before.map_or(0, coarse_until), coarse_until(newest));
        if coarse > coarse_before {
            self.thin(account, name, coarse_before..coarse, open)?;
        }
        if minute < coarse {
            let quarter = minute - minute % QUARTER_MINUTES;
            self.thin(account, name, quarter..quarter + QUARTER_MINUTES, open)?;
        }
        self.forget(account, name, newest, open)
    }

    /// Keeps one point of each quarter of an hour, the best.
    fn thin(
        &mut self,
        account: u32,
        name: &str,
        minutes: Range<u32>,
        open: &mut OpenWindow,
    ) -> Result<(), DbError> {
        let mut rows: Vec<(u32, HistoryRow)> = Vec::new();
        for entry in self
            .history
            .range((account, name, minutes.start)..(account, name, minutes.end))?
        {
            let (key, row) = entry?;
            rows.push((key.value().2, decode_row("observations", row.value())?));
        }
        for quarter in rows.chunk_by(|(one, _), (next, _)| one / QUARTER_MINUTES == next / QUARTER_MINUTES) {
            let best = quarter.iter().max_by(|(_, one), (_, other)| {
                rank(one).partial_cmp(&rank(other)).unwrap_or(Ordering::Equal)
            });
            for (minute, _) in quarter.iter().filter(|row| Some(*row) != best) {
                self.history.remove((account, name, *minute))?;
                open.row.history_rows = open.row.history_rows.saturating_sub(1);
            }
        }
        Ok(())
    }

    /// Removes the oldest points beyond the bounds of the history.
    fn forget(
        &mut self,
        account: u32,
        name: &str,
        newest: Millis,
        open: &mut OpenWindow,
    ) -> Result<(), DbError> {
        let horizon = newest.saturating_sub(HISTORY_AGE_MAX_MS).div_euclid(MINUTE_MS);
        let horizon = u32::try_from(horizon).unwrap_or(0);
        loop {
            let oldest = {
                let mut range = self
                    .history
                    .range((account, name, 0)..=(account, name, u32::MAX))?;
                let first = range.next().transpose()?;
                first.map(|(key, _)| key.value().2)
            };
            match oldest {
                Some(minute) if open.row.history_rows > HISTORY_ROWS_MAX || minute < horizon => {
                    self.history.remove((account, name, minute))?;
                    open.row.history_rows = open.row.history_rows.saturating_sub(1);
                }
                _ => return Ok(()),
            }
        }
    }

    /// Stores a rejection; its copies and tries are one, dated by the first of them.
    fn reject(
        &mut self,
        account: u32,
        name: &str,
        observation: &Observation,
        at: Millis,
    ) -> Result<(), DbError> {
        let millis = |at: Millis| u64::try_from(at).unwrap_or(0);
        let mut row = LimitEventRow {
            resets_at: observation.reset_at,
            source: observation.source,
            session: observation.session,
            request: observation.request,
            last_at: at,
        };
        let range = millis(at.saturating_sub(TRIES_AGE_MAX_MS))..=millis(at.saturating_add(RETRY_SPAN_MS));
        let mut first = millis(at);
        let mut same = Vec::new();
        for entry in self
            .events
            .range((*range.start(), 0, "")..=(*range.end(), u32::MAX, ""))?
        {
            let (key, there) = entry?;
            let (began, of, window) = key.value();
            if of != account || window != name {
                continue;
            }
            let there: LimitEventRow = decode_row("limit_events", there.value())?;
            if is_one(&there, Millis::try_from(began).unwrap_or(Millis::MAX), &row, at) {
                same.push((began, there));
            }
        }
        for (began, there) in &same {
            // A rejection with a reset is more specific than one without; otherwise the order of sources
            // decides, so that the order of lines does not matter.
            let merit = |row: &LimitEventRow| (row.resets_at.is_none(), row.source, row.resets_at);
            let best = if merit(there) < merit(&row) { *there } else { row };
            row = LimitEventRow {
                session: there.session.max(row.session),
                request: there.request.max(row.request),
                last_at: there.last_at.max(row.last_at),
                ..best
            };
            first = first.min(*began);
        }
        for (began, _) in same.iter().filter(|(began, _)| *began != first) {
            self.events.remove((*began, account, name))?;
        }
        put(&mut self.events, (first, account, name), &row)
    }

    /// Writes the changes and returns them.
    pub fn finish(mut self, accounts: &[AccountId]) -> Result<LimitChanges, DbError> {
        let id = |account: u32| accounts.get(account as usize).cloned().unwrap_or_default();
        let mut changes = LimitChanges {
            notices: std::mem::take(&mut self.notices),
            ..LimitChanges::default()
        };
        if self.left_out > 0 && self.slot.leave_out_windows(self.left_out) == 0 {
            tracing::warn!(
                "an account has more than {WINDOWS_PER_ACCOUNT_MAX} windows of uncommon names; what logs say of further \
                 ones is left out (said once)"
            );
        }
        for ((account, name), open) in std::mem::take(&mut self.open) {
            if !open.changed {
                continue;
            }
            put(&mut self.windows, (account, &*name), &open.row)?;
            changes.windows.push(WindowUpdate {
                account: id(account),
                window: name,
                rolled_over: open.rolled_over,
            });
        }
        for (account, name) in std::mem::take(&mut self.accounts_changed) {
            // Published as no window; listeners read the account again.
            changes.windows.push(WindowUpdate {
                account: id(account),
                window: name.into(),
                rolled_over: false,
            });
        }
        for (number, row) in std::mem::take(&mut self.newly_fired) {
            put(&mut self.fired, number, &row)?;
            let account = id(row.account);
            changes.fired.push(row.fired(number, account));
        }
        while self.fired.len()? > FIRED_MAX {
            self.fired.pop_first()?;
        }
        while self.events.len()? > LIMIT_EVENTS_MAX {
            self.events.pop_first()?;
        }
        Ok(changes)
    }
}

/// The order of points of one stretch of time: a refusal before what is none, then the last, then the fullest.
fn rank(row: &HistoryRow) -> (bool, Millis, f64) {
    let is_refusal = row.status == LimitStatus::Rejected;
    (is_refusal, row.observed_at, row.utilization.unwrap_or(-1.0))
}

/// The first minute of those that have a point each, the first of a quarter of an hour.
fn coarse_until(newest: Millis) -> u32 {
    let quarter = newest.saturating_sub(HISTORY_MINUTES_MS).div_euclid(QUARTER_MS);
    u32::try_from(quarter).map_or(0, |quarter| quarter.saturating_mul(QUARTER_MINUTES))
}

/// True if two refusals by one window are the same: tries of one request or, if one of them does not name its
/// request, refusals of one session with one end that are not far apart.
fn is_one(one: &LimitEventRow, began: Millis, other: &LimitEventRow, at: Millis) -> bool {
    let differ =
        |one: Option<u64>, other: Option<u64>| one.zip(other).is_some_and(|(one, other)| one != other);
    let resets = one.resets_at.zip(other.resets_at);
    let is_near =
        at >= began.saturating_sub(RETRY_SPAN_MS) && at <= one.last_at.saturating_add(RETRY_SPAN_MS);
    let is_copy = began == at;
    let has_one_end = resets.is_none_or(|(one, other)| one.abs_diff(other) <= RESET_JITTER_MS);
    match one.request.zip(other.request) {
        Some((one, other)) => one == other,
        None => is_copy || is_near && has_one_end && !differ(one.session, other.session),
    }
}
