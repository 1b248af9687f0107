//! Writes the outbox: a row for each target that wants an event, in the transaction of its cause; and what became of
//! rows.
//!
//! **Invariant**: an event has the id of the commit of its cause, and a cause that is committed again writes none.

use std::collections::BTreeMap;
use std::sync::Arc;

use redb::{ReadableTable, Table, WriteTransaction};

use super::outcome::Committed;
use super::{Writer, next_sequence};
use crate::model::{Millis, Phase};
use crate::quota::notice::causes::{is_said, of_drops, of_stop};
use crate::quota::notice::reach::{reached, unreached};
use crate::quota::notice::target::NoticeTarget;
use crate::quota::notice::{
    LatchChange, Notice, NoticeKind, NoticePhase, NoticeUpdate, NumberedNotice, id_of,
};
use crate::store::StoreError;
use crate::store::database::DatabaseSlot;
use crate::store::error::DbError;
use crate::store::schema::{LATCHES, LatchRow, META, OUTBOX, OutboxPlace, OutboxRow};
use crate::store::table::{decode_row, get, put};

/// Events that wait for one target, at most; the oldest is dropped for a new one.
pub const OUTBOX_ROWS_MAX: usize = 1000;

/// A change of the outbox by the sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutboxChange {
    /// A row is done with.
    Finish {
        target: Box<str>,
        place: OutboxPlace,
        phase: NoticePhase,
    },
    /// Rows of events before this time are dropped.
    DropOlder { target: Box<str>, before: Millis },
    /// Rows of targets that are not configured are dropped.
    DropUnknown,
    /// Nothing reaches a target since a time. Kept over restarts, until something does.
    Unreached { target: Box<str>, since: Millis },
    /// Something reached a target.
    Reached { target: Box<str> },
    /// A target is another one now: whether something reaches it is not known.
    Renewed { target: Box<str> },
}

impl Writer {
    /// Numbers changes that have no table of their own, sets latches, and writes the events that they are.
    ///
    /// # Errors
    /// As [`Writer::commit`].
    pub fn note(&mut self, changes: &[LatchChange], now: Millis) -> Result<Committed, StoreError> {
        let slot = Arc::clone(self.slot());
        self.transact(|write| {
            let sequence = next_sequence(&mut write.open_table(META)?)?;
            let mut numbered = Vec::new();
            {
                let mut latches = write.open_table(LATCHES)?;
                for change in changes {
                    let key = (change.key.kind.into_str(), &*change.key.subject);
                    let there: Option<LatchRow> = get(&latches, key)?;
                    if is_said(there.map(LatchRow::latch), change) {
                        continue;
                    }
                    match change.to {
                        Some(latch) => put(&mut latches, key, &LatchRow::new(latch))?,
                        None => drop(latches.remove(key)?),
                    }
                    if let Some(notice) = &change.notice {
                        numbered.push((change.id.clone(), notice.clone()));
                    }
                }
            }
            Ok(Committed {
                sequence,
                notices: write_notices(&slot, write, numbered, sequence, now)?,
                ..Committed::default()
            })
        })
    }

    /// Changes the outbox.
    ///
    /// # Errors
    /// As [`Writer::commit`].
    pub fn change_outbox(&mut self, change: &OutboxChange, now: Millis) -> Result<Committed, StoreError> {
        let slot = Arc::clone(self.slot());
        self.transact(|write| {
            let mut outbox = Outbox::new(&slot, write, now)?;
            let mut latches = write.open_table(LATCHES)?;
            match change {
                OutboxChange::Finish { target, place, phase } => {
                    if let Some(row) = outbox.take(target, *place)? {
                        outbox.updates.push(update(target, *phase, Some(&row), 1));
                        match phase {
                            NoticePhase::Sent => put_reached(&mut latches, target, now)?,
                            NoticePhase::Failed => put_unreached(&mut latches, target, now)?,
                            NoticePhase::Waiting | NoticePhase::Dropped => {}
                        }
                    }
                }
                OutboxChange::Unreached { target, since } => put_unreached(&mut latches, target, *since)?,
                OutboxChange::Reached { target } => put_reached(&mut latches, target, now)?,
                OutboxChange::Renewed { target } => put_renewed(&mut latches, target)?,
                OutboxChange::DropOlder { target, before } => {
                    let old = outbox.rows(target)?.iter();
                    let old = old.filter(|(_, row)| row.notice.at < *before && !is_summary(row));
                    let old: Vec<OutboxPlace> = old.map(|(place, _)| *place).collect();
                    tracing::warn!(
                        target = &**target,
                        "{} waiting events are dropped: they are older than the target's max_age",
                        old.len()
                    );
                    for place in old {
                        outbox.take(target, place)?;
                        outbox.dropped(target, 1);
                    }
                }
                OutboxChange::DropUnknown => {
                    outbox.drop_unknown()?;
                    let targets = slot.targets();
                    latches.retain(|(kind, subject), _| {
                        kind != NoticeKind::NotifyDropped.into_str()
                            || targets.iter().any(|target| *target.name == *subject)
                    })?;
                }
            }
            let mut committed = Committed::default();
            if !outbox.is_unchanged() {
                committed.sequence = next_sequence(&mut write.open_table(META)?)?;
                committed.notices = outbox.finish(committed.sequence)?;
            }
            Ok(committed)
        })
    }
}

impl Committed {
    /// Writes the events of the changes into the outbox, in the transaction of the changes.
    pub(super) fn queue_notices(
        &mut self,
        slot: &DatabaseSlot,
        write: &WriteTransaction,
        now: Millis,
    ) -> Result<(), DbError> {
        let stopped = self.events.iter().filter_map(|event| match event.phase {
            Phase::Stopped(reason) => Some(of_stop(
                event.run.as_str(),
                &event.account,
                reason.into_str(),
                now,
            )),
            _ => None,
        });
        let notices = std::mem::take(&mut self.limits.notices);
        let notices = notices.into_iter().chain(stopped);
        let notices = notices.map(|notice| (None, notice)).collect();
        self.notices = write_notices(slot, write, notices, self.sequence, now)?;
        Ok(())
    }
}

/// Writes events into the outbox, in the transaction of their cause.
fn write_notices(
    slot: &DatabaseSlot,
    write: &WriteTransaction,
    notices: Vec<(Option<Box<str>>, Notice)>,
    sequence: u64,
    now: Millis,
) -> Result<Vec<NoticeUpdate>, DbError> {
    if notices.is_empty() || slot.targets().is_empty() {
        return Ok(Vec::new());
    }
    let mut outbox = Outbox::new(slot, write, now)?;
    for (id, notice) in notices {
        outbox.add(id, &notice, sequence)?;
    }
    outbox.finish(sequence)
}

fn update(target: &str, phase: NoticePhase, row: Option<&NumberedNotice>, count: u64) -> NoticeUpdate {
    NoticeUpdate {
        target: target.into(),
        phase,
        id: row.map(|row| row.id.clone()),
        kind: row.map(|row| row.notice.kind),
        account: row.and_then(|row| row.notice.account.clone()),
        count,
    }
}

type LatchTable<'t> = Table<'t, (&'static str, &'static str), &'static [u8]>;

/// Notes that something reached a target.
fn put_reached(latches: &mut LatchTable<'_>, target: &str, now: Millis) -> Result<(), DbError> {
    let key = (NoticeKind::NotifyDropped.into_str(), target);
    put(latches, key, &LatchRow::new(reached(now)))
}

/// Notes since when nothing reaches a target, unless that is noted.
fn put_unreached(latches: &mut LatchTable<'_>, target: &str, since: Millis) -> Result<(), DbError> {
    let key = (NoticeKind::NotifyDropped.into_str(), target);
    let there: Option<LatchRow> = get(latches, key)?;
    match unreached(there.map(LatchRow::latch), since) {
        Some(latch) => put(latches, key, &LatchRow::new(latch)),
        None => Ok(()),
    }
}

/// Forgets since when nothing reaches a target, but not when something did.
fn put_renewed(latches: &mut LatchTable<'_>, target: &str) -> Result<(), DbError> {
    let key = (NoticeKind::NotifyDropped.into_str(), target);
    let there: Option<LatchRow> = get(latches, key)?;
    match there.map(LatchRow::latch).filter(|there| there.stage > 0) {
        Some(there) => put(latches, key, &LatchRow::new(reached(there.seen))),
        None => Ok(()),
    }
}

/// True for the event that says what was dropped.
fn is_summary(row: &NumberedNotice) -> bool {
    row.notice.kind == NoticeKind::NotifyDropped
}

/// A row with its place.
type OutboxEntry = (OutboxPlace, NumberedNotice);

/// The outbox in a transaction.
struct Outbox<'t> {
    table: Table<'t, (&'static str, u64, u32), &'static [u8]>,
    targets: Arc<[NoticeTarget]>,
    /// The rows of targets, as of now.
    read: BTreeMap<Box<str>, Vec<OutboxEntry>>,
    now: Millis,
    /// Events of this transaction.
    place: u32,
    /// Events that were dropped, by target; those that were too old when they came are only counted.
    dropped: BTreeMap<Box<str>, u64>,
    old: BTreeMap<Box<str>, u64>,
    updates: Vec<NoticeUpdate>,
}

impl<'t> Outbox<'t> {
    fn new(slot: &DatabaseSlot, write: &'t WriteTransaction, now: Millis) -> Result<Self, DbError> {
        Ok(Self {
            table: write.open_table(OUTBOX)?,
            targets: slot.targets(),
            read: BTreeMap::new(),
            now,
            place: 0,
            dropped: BTreeMap::new(),
            old: BTreeMap::new(),
            updates: Vec::new(),
        })
    }

    fn is_unchanged(&self) -> bool {
        self.updates.is_empty() && self.dropped.is_empty() && self.old.is_empty()
    }

    /// The rows of a target in their order, read once in a transaction.
    fn rows(&mut self, target: &str) -> Result<&mut Vec<OutboxEntry>, DbError> {
        if !self.read.contains_key(target) {
            let rows = self.stored_rows(target)?;
            self.read.insert(target.into(), rows);
        }
        Ok(self.read.entry(target.into()).or_default())
    }

    fn stored_rows(&self, target: &str) -> Result<Vec<OutboxEntry>, DbError> {
        let mut rows = Vec::new();
        for entry in self.table.range((target, 0, 0)..=(target, u64::MAX, u32::MAX))? {
            let (key, row) = entry?;
            let (_, sequence, place) = key.value();
            let row: OutboxRow = decode_row("outbox", row.value())?;
            rows.push(((sequence, place), row.notice()));
        }
        Ok(rows)
    }

    fn take(&mut self, target: &str, place: OutboxPlace) -> Result<Option<NumberedNotice>, DbError> {
        let row = self.table.remove((target, place.0, place.1))?;
        let row: Option<OutboxRow> = row.map(|row| decode_row("outbox", row.value())).transpose()?;
        if let Some(rows) = self.read.get_mut(target) {
            rows.retain(|(known, _)| *known != place);
        }
        Ok(row.map(OutboxRow::notice))
    }

    /// Writes an event for each target that wants it.
    fn add(&mut self, id: Option<Box<str>>, notice: &Notice, sequence: u64) -> Result<(), DbError> {
        let id = id.unwrap_or_else(|| id_of(sequence, self.place));
        let targets = Arc::clone(&self.targets);
        for target in targets.iter().filter(|target| target.wants(notice)) {
            if self.now.saturating_sub(notice.at) > target.max_age {
                *self.old.entry(target.name.clone()).or_default() += 1;
                continue;
            }
            let numbered = NumberedNotice {
                id: id.clone(),
                notice: notice.clone(),
            };
            self.insert(&target.name, &numbered, sequence)?;
        }
        self.place += 1;
        Ok(())
    }

    fn insert(&mut self, target: &str, numbered: &NumberedNotice, sequence: u64) -> Result<(), DbError> {
        let rows = self.rows(target)?;
        let replaced: Vec<OutboxPlace> = (rows.iter())
            .filter(|(_, earlier)| numbered.notice.replaces(&earlier.notice))
            .map(|(place, _)| *place)
            .collect();
        for place in replaced {
            self.take(target, place)?;
        }
        // The event that says what was dropped has a place of its own.
        let events = self.rows(target)?.iter().filter(|(_, row)| !is_summary(row));
        let places: Vec<OutboxPlace> = events.map(|(place, _)| *place).collect();
        if !is_summary(numbered) && places.len() >= OUTBOX_ROWS_MAX {
            for place in &places[..=places.len() - OUTBOX_ROWS_MAX] {
                self.take(target, *place)?;
                self.dropped(target, 1);
            }
        }
        let place = (sequence, self.place);
        self.rows(target)?.push((place, numbered.clone()));
        put(
            &mut self.table,
            (target, sequence, self.place),
            &OutboxRow::new(numbered),
        )?;
        self.updates
            .push(update(target, NoticePhase::Waiting, Some(numbered), 1));
        Ok(())
    }

    fn dropped(&mut self, target: &str, count: u64) {
        if count > 0 {
            *self.dropped.entry(target.into()).or_default() += count;
        }
    }

    /// Drops the rows of targets that are not configured.
    fn drop_unknown(&mut self) -> Result<(), DbError> {
        let mut unknown: BTreeMap<Box<str>, u64> = BTreeMap::new();
        let targets = Arc::clone(&self.targets);
        let is_known = |name: &str| targets.iter().any(|target| *target.name == *name);
        self.table.retain(|(target, _, _), _| {
            let is_kept = is_known(target);
            if !is_kept {
                *unknown.entry(target.into()).or_default() += 1;
            }
            is_kept
        })?;
        for (target, count) in unknown {
            tracing::warn!(
                target = &*target,
                "{count} waiting events are dropped: the configuration has no such target any more"
            );
            self.updates
                .push(update(&target, NoticePhase::Dropped, None, count));
        }
        Ok(())
    }

    /// Says to each target what it lost, once, with the sum of what was not said yet.
    fn finish(mut self, sequence: u64) -> Result<Vec<NoticeUpdate>, DbError> {
        for (target, count) in std::mem::take(&mut self.dropped) {
            self.updates
                .push(update(&target, NoticePhase::Dropped, None, count));
            let rows = self.rows(&target)?;
            let unsaid = rows.iter().filter(|(_, row)| is_summary(row));
            let unsaid: u64 = unsaid.filter_map(|(_, row)| row.notice.count).sum();
            let numbered = NumberedNotice {
                id: id_of(sequence, self.place),
                notice: of_drops(count + unsaid, self.now),
            };
            self.insert(&target, &numbered, sequence)?;
            self.place += 1;
        }
        for (target, count) in std::mem::take(&mut self.old) {
            tracing::info!(
                target = &*target,
                "{count} events are older than the target's max_age and are not sent"
            );
            self.updates
                .push(update(&target, NoticePhase::Dropped, None, count));
        }
        Ok(self.updates)
    }
}
