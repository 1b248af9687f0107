//! Sessions: the counted totals of each, beside the totals that its agent reports.
//!
//! A response belongs to the session of its first copy. A fork copies lines of another session, and its agent's report
//! covers them: such a response counts in the sums of both. The two are then linked, as their reports overlap.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::{NonZeroU32, NonZeroU64};

use redb::{ReadableTable, Table, WriteTransaction};

use super::responses::{Contributions, ResponseDelta, StoredResponse};
use super::sorted_rows::add_all;
use crate::dedup::Totals;
use crate::model::{Report, ResponseKey, RunNumber, SessionNumber};
use crate::store::error::DbError;
use crate::store::schema::{SESSION_COPIES, SESSION_NUMBERS, SESSION_SUMS, SESSIONS, SessionRow};
use crate::store::table::{get, put};

/// The tables of sessions, in a transaction.
pub struct Sessions<'t> {
    numbers: Table<'t, u64, u32>,
    rows: Table<'t, u32, &'static [u8]>,
    sums: Table<'t, u32, &'static [u8]>,
    copies: Table<'t, (u128, u32), ()>,
    /// The sessions looked up in this transaction, by their hashes.
    known: HashMap<u64, SessionNumber>,
    /// The session looked up last: consecutive lines mostly have the same one.
    last: Option<(u64, SessionNumber)>,
    /// New copies in other sessions.
    copied: BTreeSet<(ResponseKey, SessionNumber)>,
}

impl<'t> Sessions<'t> {
    pub fn new(write: &'t WriteTransaction) -> Result<Self, DbError> {
        Ok(Self {
            numbers: write.open_table(SESSION_NUMBERS)?,
            rows: write.open_table(SESSIONS)?,
            sums: write.open_table(SESSION_SUMS)?,
            copies: write.open_table(SESSION_COPIES)?,
            known: HashMap::new(),
            last: None,
            copied: BTreeSet::new(),
        })
    }

    /// The number of a session, created if it has none; 0 for no session.
    pub fn number(&mut self, hash: Option<NonZeroU64>, run: RunNumber) -> Result<SessionNumber, DbError> {
        let Some(hash) = hash.map(NonZeroU64::get) else {
            return Ok(0);
        };
        if let Some((last, number)) = self.last
            && last == hash
        {
            return Ok(number);
        }
        let number = match self.known.get(&hash) {
            Some(number) => *number,
            None => self.stored_number(hash, run)?,
        };
        self.known.insert(hash, number);
        self.last = Some((hash, number));
        Ok(number)
    }

    fn stored_number(&mut self, hash: u64, run: RunNumber) -> Result<SessionNumber, DbError> {
        if let Some(number) = self.numbers.get(hash)? {
            return Ok(number.value());
        }
        let last = self.rows.last()?;
        let number = last.map_or(0, |(last, _)| last.value()).saturating_add(1);
        self.numbers.insert(hash, number)?;
        let row = SessionRow {
            run,
            ..SessionRow::default()
        };
        put(&mut self.rows, number, &row)?;
        Ok(number)
    }

    fn row(&self, number: SessionNumber) -> Result<SessionRow, DbError> {
        Ok(get(&self.rows, number)?.unwrap_or_default())
    }

    /// Stores the totals that an agent reports.
    pub fn report(&mut self, report: &Report, run: RunNumber) -> Result<(), DbError> {
        let number = self.number(Some(report.session), run)?;
        let mut row = self.row(number)?;
        let reported = row.reported().unwrap_or_default();
        let reported = reported.max(report.reported);
        if row.reported() != Some(reported) {
            row.set_reported(reported);
            put(&mut self.rows, number, &row)?;
        }
        Ok(())
    }

    /// Adds a copy, in another session, of a response of session `first`.
    pub fn copied(
        &mut self,
        key: ResponseKey,
        first: SessionNumber,
        session: SessionNumber,
    ) -> Result<(), DbError> {
        if self.copied.contains(&(key, session)) {
            return Ok(());
        }
        let stored = self.copies.get((key.0, session))?;
        if stored.is_none() {
            drop(stored);
            self.copied.insert((key, session));
            self.link(session, first)?;
        }
        Ok(())
    }

    /// Notes that a session has a copy of a pruned response, which is not in its sums: its agent's report is not
    /// compared with them any more.
    pub fn note_pruned(&mut self, session: SessionNumber) -> Result<(), DbError> {
        if session == 0 {
            return Ok(());
        }
        let mut row = self.row(session)?;
        if row.has_pruned {
            return Ok(());
        }
        row.has_pruned = true;
        put(&mut self.rows, session, &row)
    }

    /// Merges the families of two sessions; the result is the same in any order of reading.
    fn link(&mut self, session: SessionNumber, to: SessionNumber) -> Result<(), DbError> {
        let (one, other) = (self.root(session)?, self.root(to)?);
        if one == other {
            return Ok(());
        }
        let (root, below) = (one.min(other), one.max(other));
        let mut row = self.row(below)?;
        row.linked = root;
        put(&mut self.rows, below, &row)
    }

    /// The session at the end of the links. The sessions on the way are linked to it at once: a chain of
    /// sessions that each copied the one before is walked once.
    fn root(&mut self, session: SessionNumber) -> Result<SessionNumber, DbError> {
        let mut passed = Vec::new();
        let mut root = session;
        loop {
            let row = self.row(root)?;
            if row.linked == 0 {
                break;
            }
            passed.push((root, row));
            root = row.linked;
        }
        // The last one is linked to it already.
        passed.pop();
        for (number, mut row) in passed {
            row.linked = root;
            put(&mut self.rows, number, &row)?;
        }
        Ok(root)
    }

    /// Adds the changes to the sums; `places` has the index of each response in `changed`.
    pub fn finish(
        &mut self,
        changed: &[ResponseDelta],
        places: &HashMap<ResponseKey, usize>,
    ) -> Result<(), DbError> {
        let of_session = |known: &StoredResponse| NonZeroU32::new(known.response.session);
        let mut deltas: BTreeMap<SessionNumber, Totals> = (Contributions::of(changed, of_session).sums())
            .map(|(session, delta)| (session.get(), delta))
            .collect();
        let is_shared = |it: &&ResponseDelta| it.after.response.is_shared && it.is_change();
        for it in changed.iter().filter(is_shared) {
            // The copies of this transaction are not among the stored ones.
            let Some(before) = &it.before else { continue };
            let mut delta = Totals::of(&it.after.response);
            delta -= Totals::of(&before.response);
            let others = (it.key.0, 0)..=(it.key.0, u32::MAX);
            for entry in self.copies.range(others)? {
                let (key, _) = entry?;
                *deltas.entry(key.value().1).or_default() += delta;
            }
        }
        for (key, session) in std::mem::take(&mut self.copied) {
            self.copies.insert((key.0, session), ())?;
            if let Some(place) = places.get(&key) {
                *deltas.entry(session).or_default() += Totals::of(&changed[*place].after.response);
            }
        }
        add_all(&mut self.sums, deltas.into_iter())
    }
}
