//! What finished runs used of each window: leases learn their cost from it.

use std::collections::HashMap;

use redb::{ReadableTable, Table, WriteTransaction};

use super::registry::Registry;
use crate::dedup::Totals;
use crate::model::{AccountId, CLASS_LABEL, MINUTE_MS, Millis, RunNumber};
use crate::quota::lease::cost::{CostHistory, RunCost, WindowCost};
use crate::store::error::DbError;
use crate::store::schema::{MINUTES, RUN_COSTS, RunInfoRow, WINDOWS, WindowRow};
use crate::store::table::{decode_row, get, put};

/// The windows of an account that are known at the end of a run, with the tokens of the account in each.
type OpenWindows = Vec<(Box<str>, f64, Millis, u64)>;

/// The costs of the runs that a transaction stops.
pub struct RunCosts<'t> {
    windows: Table<'t, (u32, &'static str), &'static [u8]>,
    minutes: Table<'t, (u32, u32), &'static [u8]>,
    table: Table<'t, (&'static str, &'static str, &'static str), &'static [u8]>,
    /// Read once for each account: thousands of runs may stop at once.
    open: HashMap<u32, OpenWindows>,
}

impl<'t> RunCosts<'t> {
    pub fn new(write: &'t WriteTransaction) -> Result<Self, DbError> {
        Ok(Self {
            windows: write.open_table(WINDOWS)?,
            minutes: write.open_table(MINUTES)?,
            table: write.open_table(RUN_COSTS)?,
            open: HashMap::new(),
        })
    }

    /// Notes what a run used of the windows that it was in from its beginning to its end: of the share used, the part
    /// that its tokens are of those of its account.
    pub fn note(
        &mut self,
        registry: &Registry<'_>,
        run: RunNumber,
        account: u32,
        info: &RunInfoRow,
        now: Millis,
    ) -> Result<(), DbError> {
        let sums = registry.sums(run)?;
        let (tokens, Some(earliest)) = (sums.totals.fresh_tokens(), info.earliest) else {
            return Ok(());
        };
        if tokens == 0 {
            return Ok(());
        }
        if !self.open.contains_key(&account) {
            let open = self.windows_of(account, now)?;
            self.open.insert(account, open);
        }
        let windows = self.open.get(&account).into_iter().flatten();
        let inside = windows.filter(|(_, _, began, of_account)| *began <= earliest && *of_account >= tokens);
        #[expect(clippy::cast_precision_loss, reason = "a share of tokens")]
        let windows: Vec<WindowCost> = inside
            .map(|(window, utilization, _, of_account)| WindowCost {
                window: window.clone(),
                share: utilization * (tokens as f64 / *of_account as f64),
            })
            .collect();
        if windows.is_empty() {
            return Ok(());
        }
        let AccountId { provider, name } = registry.account_id(account)?;
        let class = info.labels.get(CLASS_LABEL).map_or("", |class| class);
        let key = (&*provider, &*name, class);
        let mut history: CostHistory = get(&self.table, key)?.unwrap_or_default();
        history.add(RunCost { run, tokens, windows });
        put(&mut self.table, key, &history)
    }

    /// The windows of an account that have not ended, with a share and a beginning.
    fn windows_of(&self, account: u32, now: Millis) -> Result<OpenWindows, DbError> {
        let mut open = Vec::new();
        for entry in self.windows.range((account, "")..(account + 1, ""))? {
            let (key, row) = entry?;
            let state = decode_row::<WindowRow>("windows", row.value())?.track.state;
            let is_open = state.over_at().is_none_or(|over| over > now);
            let (Some(share), Some(began)) = (state.utilization, state.window_started_at) else {
                continue;
            };
            if is_open && began <= now {
                open.push((
                    key.value().1.into(),
                    share,
                    began,
                    self.tokens_since(account, began)?,
                ));
            }
        }
        Ok(open)
    }

    fn tokens_since(&self, account: u32, began: Millis) -> Result<u64, DbError> {
        let first = u32::try_from(began.div_euclid(MINUTE_MS).max(0)).unwrap_or(u32::MAX);
        let mut tokens = 0u64;
        for entry in self.minutes.range((account, first)..=(account, u32::MAX))? {
            let (_, row) = entry?;
            let totals: Totals = decode_row("minutes", row.value())?;
            tokens = tokens.saturating_add(totals.fresh_tokens());
        }
        Ok(tokens)
    }
}
