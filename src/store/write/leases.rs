//! Writes leases: grants, renewals and ends by requests, bindings and ends by runs.
//!
//! **Invariant**: a lease is bound in the transaction that registers its run, and ends in the one that stops it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use redb::{ReadableTable, ReadableTableMetadata, Table, WriteTransaction};

use super::outcome::Committed;
use super::{Writer, next_sequence};
use crate::model::{AccountId, Millis, RunId};
use crate::quota::lease::{
    KEPT_MS, KeyedAnswer, Lease, LeaseBook, LeaseChange, LeaseEnd, LeaseNumber, LeasePhase, LeaseUpdate,
    ProbeUpdate,
};
use crate::store::StoreError;
use crate::store::error::DbError;
use crate::store::read::{KnownAccounts, Snapshot};
use crate::store::schema::{
    LEASE_ANSWERS, LEASE_ENDS, LEASE_KEYS, LEASES, LeaseEndRow, LeaseRow, META, META_LEASE, PROBES, ProbeRow,
    RunTotalsRow,
};
use crate::store::table::{decode_row, get, put};

/// Ends of leases, and answers to keys, that are kept at most.
const KEPT_MAX: u64 = 100_000;

/// Makes the changes of one request from what is stored. It may be called again after an error of the database.
pub type DecideLeases = Box<dyn FnMut(&LeaseDesk<'_>, &LeaseBook) -> Result<LeaseChange, StoreError> + Send>;

/// What requests of one transaction read: the figures of accounts are read once for all of them.
pub struct LeaseDesk<'a> {
    pub snapshot: Snapshot<'a>,
    /// With the time from which on they are.
    known: RefCell<Option<(Millis, Rc<KnownAccounts>)>>,
}

impl LeaseDesk<'_> {
    /// The figures of accounts, with minutes from `since` on, or earlier.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn known(&self, since: Millis) -> Result<Rc<KnownAccounts>, StoreError> {
        if let Some((from, known)) = &*self.known.borrow()
            && *from <= since
        {
            return Ok(Rc::clone(known));
        }
        let known = Rc::new(self.snapshot.accounts(since)?);
        *self.known.borrow_mut() = Some((since, Rc::clone(&known)));
        Ok(known)
    }
}

/// Why a run cannot be bound to the lease that its start names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotBound {
    /// There is no such lease.
    Unknown,
    Ended(LeaseEnd),
    /// It is of another run.
    OfAnother,
    /// It is for another account than that of the run.
    OtherAccount,
    /// The run has another lease.
    HasAnother,
}

impl Writer {
    /// Has requests decided one after the other, each with the changes of those before, and writes all changes in
    /// one transaction.
    ///
    /// # Errors
    /// As [`Writer::commit`].
    pub fn leases(&mut self, decide: &mut [DecideLeases], now: Millis) -> Result<Committed, StoreError> {
        // Nobody else writes, so what the snapshot has is what the transaction begins with.
        let changes = {
            let desk = LeaseDesk {
                snapshot: self.reader().snapshot()?,
                known: RefCell::default(),
            };
            let mut book = desk.snapshot.lease_book()?;
            let mut changes = Vec::new();
            for decide in decide {
                let change = decide(&desk, &book)?;
                book.apply(&change);
                changes.push(change);
            }
            changes
        };
        if changes.iter().all(LeaseChange::is_empty) {
            return Ok(Committed::default());
        }
        self.transact(|write| {
            let mut committed = Committed::default();
            let mut meta = write.open_table(META)?;
            committed.sequence = next_sequence(&mut meta)?;
            let mut tables = LeaseTables::new(write)?;
            for change in &changes {
                tables.write(change, &mut meta, now)?;
            }
            tables.write_probes(write, &changes)?;
            committed.leases = tables.updates;
            committed.probes = tables.probes;
            Ok(committed)
        })
    }
}

/// The tables of leases in a transaction.
pub struct LeaseTables<'t> {
    leases: Table<'t, u64, &'static [u8]>,
    ends: Table<'t, u64, &'static [u8]>,
    answers: Table<'t, u64, &'static [u8]>,
    keys: Table<'t, &'static str, u64>,
    /// Leases of runs, read when one is needed first.
    by_run: Option<HashMap<RunId, Vec<LeaseNumber>>>,
    pub updates: Vec<LeaseUpdate>,
    pub probes: Vec<ProbeUpdate>,
}

impl<'t> LeaseTables<'t> {
    pub fn new(write: &'t WriteTransaction) -> Result<Self, DbError> {
        Ok(Self {
            leases: write.open_table(LEASES)?,
            ends: write.open_table(LEASE_ENDS)?,
            answers: write.open_table(LEASE_ANSWERS)?,
            keys: write.open_table(LEASE_KEYS)?,
            by_run: None,
            updates: Vec::new(),
            probes: Vec::new(),
        })
    }

    /// Binds a run of this account that is registered to the lease that its start names, else to the one that names
    /// the run; returns the class of the lease that the run has then.
    pub fn bind(
        &mut self,
        run: &RunId,
        account: &AccountId,
        wanted: Option<LeaseNumber>,
        before: &RunTotalsRow,
        now: Millis,
    ) -> Result<Result<Option<Box<str>>, NotBound>, DbError> {
        if wanted.is_none() && self.leases.is_empty()? {
            return Ok(Ok(None));
        }
        let of_run = self.of_run(run)?;
        let is_bound = |lease: &Lease| lease.bound_at.is_some();
        let lease = match wanted {
            // A run of another account does not take the place: it counts where it is.
            None => of_run.first().filter(|lease| lease.account == *account).cloned(),
            Some(number) => match self.lease(number)? {
                None => return Ok(Err(self.not_there(number)?)),
                Some(lease) if lease.run.as_ref().is_some_and(|of| of != run) => {
                    return Ok(Err(NotBound::OfAnother));
                }
                Some(lease) if lease.account != *account => return Ok(Err(NotBound::OtherAccount)),
                Some(_)
                    if of_run
                        .iter()
                        .any(|other| other.number != number && is_bound(other)) =>
                {
                    return Ok(Err(NotBound::HasAnother));
                }
                Some(lease) => Some(lease),
            },
        };
        let Some(mut lease) = lease else {
            return Ok(Ok(None));
        };
        let class = lease.class.clone();
        if is_bound(&lease) {
            return Ok(Ok(class));
        }
        if lease.is_expired(now) {
            self.end(&lease, LeaseEnd::Expired, now)?;
            let refused = wanted.map(|_| NotBound::Ended(LeaseEnd::Expired));
            return Ok(refused.map_or(Ok(None), Err));
        }
        // A run has one place.
        for other in of_run.iter().filter(|other| other.number != lease.number) {
            self.end(other, LeaseEnd::Released, now)?;
        }
        lease.bind(run, before.bytes, before.totals.fresh_tokens(), now);
        self.put(&lease)?;
        self.updates.push(LeaseUpdate::new(lease, LeasePhase::Bound, now));
        Ok(Ok(class))
    }

    /// Writes a lease.
    fn put(&mut self, lease: &Lease) -> Result<(), DbError> {
        if let (Some(by_run), Some(run)) = (&mut self.by_run, &lease.run) {
            let numbers = by_run.entry(run.clone()).or_default();
            if !numbers.contains(&lease.number) {
                numbers.push(lease.number);
            }
        }
        put(&mut self.leases, lease.number, &LeaseRow::new(lease))
    }

    /// Ends the leases that are bound to a run.
    pub fn run_ended(&mut self, run: &RunId, now: Millis) -> Result<(), DbError> {
        if self.leases.is_empty()? {
            return Ok(());
        }
        for lease in self.of_run(run)? {
            if lease.bound_at.is_some() {
                self.end(&lease, LeaseEnd::RunEnded, now)?;
            }
        }
        Ok(())
    }

    fn not_there(&self, number: LeaseNumber) -> Result<NotBound, DbError> {
        let row: Option<LeaseEndRow> = get(&self.ends, number)?;
        Ok(row.map_or(NotBound::Unknown, |row| NotBound::Ended(row.end)))
    }

    fn lease(&self, number: LeaseNumber) -> Result<Option<Lease>, DbError> {
        let row: Option<LeaseRow> = get(&self.leases, number)?;
        let lease = row.map(|row| row.lease(number)).transpose();
        lease.map_err(|error| DbError::row("leases", error))
    }

    /// The leases that name a run, the bound one first.
    fn of_run(&mut self, run: &RunId) -> Result<Vec<Lease>, DbError> {
        if self.by_run.is_none() {
            let mut by_run: HashMap<RunId, Vec<LeaseNumber>> = HashMap::new();
            for entry in self.leases.iter()? {
                let (number, row) = entry?;
                let row: LeaseRow = decode_row("leases", row.value())?;
                let lease = row
                    .lease(number.value())
                    .map_err(|error| DbError::row("leases", error))?;
                if let Some(run) = lease.run {
                    by_run.entry(run).or_default().push(lease.number);
                }
            }
            self.by_run = Some(by_run);
        }
        let numbers = self.by_run.as_ref().and_then(|by_run| by_run.get(run)).cloned();
        let mut leases = Vec::new();
        for number in numbers.unwrap_or_default() {
            leases.extend(self.lease(number)?);
        }
        leases.sort_by_key(|lease| lease.bound_at.is_none());
        Ok(leases)
    }

    fn end(&mut self, lease: &Lease, end: LeaseEnd, now: Millis) -> Result<(), DbError> {
        self.leases.remove(lease.number)?;
        let (token, at) = (lease.token, now);
        put(&mut self.ends, lease.number, &LeaseEndRow { token, at, end })?;
        if let (Some(by_run), Some(run)) = (&mut self.by_run, &lease.run)
            && let Some(numbers) = by_run.get_mut(run)
        {
            numbers.retain(|number| *number != lease.number);
        }
        self.updates
            .push(LeaseUpdate::new(lease.clone(), LeasePhase::Ended(end), now));
        self.drop_old_ends(now)
    }

    fn drop_old_ends(&mut self, now: Millis) -> Result<(), DbError> {
        while let Some((number, at)) = first(&self.ends, |row: LeaseEndRow| row.at)? {
            if now.saturating_sub(at) < KEPT_MS && self.ends.len()? <= KEPT_MAX {
                break;
            }
            self.ends.remove(number)?;
        }
        Ok(())
    }

    fn write(
        &mut self,
        change: &LeaseChange,
        meta: &mut Table<'_, &'static str, u64>,
        now: Millis,
    ) -> Result<(), DbError> {
        for (lease, end) in &change.ended {
            self.end(lease, *end, now)?;
        }
        for lease in &change.written {
            let is_new = self.leases.get(lease.number)?.is_none();
            self.put(lease)?;
            if is_new {
                let last = meta.get(META_LEASE)?.map_or(0, |last| last.value());
                meta.insert(META_LEASE, last.max(lease.number))?;
                self.updates
                    .push(LeaseUpdate::new(lease.clone(), LeasePhase::Granted, now));
            }
        }
        if let Some(answer) = &change.answer {
            // Of the new leases, which have the highest numbers: the clock may have changed others.
            let last = change.written.iter().map(|lease| lease.number).max();
            self.keep(answer, last.unwrap_or(0), now)?;
        }
        Ok(())
    }

    /// Keeps an answer, and drops those that are older than a day.
    fn keep(&mut self, answer: &KeyedAnswer, number: LeaseNumber, now: Millis) -> Result<(), DbError> {
        while let Some((old, at)) = first(&self.answers, |row: KeyedAnswer| row.at)? {
            if now.saturating_sub(at) < KEPT_MS && self.answers.len()? < KEPT_MAX {
                break;
            }
            let row: Option<KeyedAnswer> = get(&self.answers, old)?;
            if let Some(row) = row {
                // The key may name a later answer.
                let is_named = self
                    .keys
                    .get(&*row.key)?
                    .is_some_and(|number| number.value() == old);
                if is_named {
                    self.keys.remove(&*row.key)?;
                }
            }
            self.answers.remove(old)?;
        }
        put(&mut self.answers, number, answer)?;
        self.keys.insert(&*answer.key, number)?;
        Ok(())
    }

    fn write_probes(&mut self, write: &WriteTransaction, changes: &[LeaseChange]) -> Result<(), DbError> {
        let mut table = write.open_table(PROBES)?;
        for (key, probe) in changes.iter().flat_map(|change| &change.probes) {
            let names = (&*key.account.provider, &*key.account.name, &*key.scope);
            match probe {
                Some(probe) => put(&mut table, names, &ProbeRow::new(probe))?,
                None => drop(table.remove(names)?),
            }
            self.probes.push(ProbeUpdate {
                key: key.clone(),
                probe: probe.clone(),
            });
        }
        Ok(())
    }
}

/// The first row of a table, with a time in it.
fn first<R: crate::store::schema::Stored>(
    table: &Table<'_, u64, &'static [u8]>,
    at: impl Fn(R) -> Millis,
) -> Result<Option<(u64, Millis)>, DbError> {
    let Some((number, row)) = table.first()? else {
        return Ok(None);
    };
    Ok(Some((number.value(), at(decode_row("leases", row.value())?))))
}
