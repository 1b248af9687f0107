//! Posted records: calls that no transcript contains.
//!
//! **Invariant**: a record is stored under its key in the transaction that adds it to the sums, so a record that
//! is posted again adds nothing. A transcript of the same response is a better copy of it, in either order of
//! arrival; the names of the route, the fallbacks and the failed attempts stay those of the record.

use std::sync::Arc;

use redb::ReadableTable;
use xxhash_rust::xxh3::xxh3_128;

use super::accounts::{account_with_room, by_provider};
use super::commit::CommitTx;
use super::outcome::PostOutcome;
use super::record_table::{NewPart, NewRecord};
use super::responses::{ResponseDelta, ResponseSource, StoredResponse};
use crate::dedup::{Response, merge_copy};
use crate::model::{
    AccountId, DAY_MS, Dating, FailedAttempt, Kind, Millis, PostedRecord, PriceClass, Rank, RecordId,
    ResponseKey, RunNumber, Service, SessionPlace,
};
use crate::parse::claude::key_of_message;
use crate::quota::account::scope;
use crate::store::error::DbError;
use crate::store::schema::{META_HORIZON, NO_RUN, SeriesRow};

/// The key of a record by its source's id.
fn key_of_record(source: &str, id: &str) -> ResponseKey {
    let mut text = Vec::with_capacity(32 + source.len() + id.len());
    for part in ["record", source, id] {
        text.extend_from_slice(&(part.len() as u64).to_le_bytes());
        text.extend_from_slice(part.as_bytes());
    }
    ResponseKey(xxh3_128(&text))
}

impl CommitTx<'_, '_> {
    /// Merges a posted record, or refuses it.
    pub fn apply_posted(&mut self, record: &PostedRecord, now: Millis) -> Result<PostOutcome, DbError> {
        self.read_at = self.read_at.max(now);
        let run = match &record.run {
            None => NO_RUN,
            Some(id) => match self.registry.known(id)? {
                Some((row, _)) => {
                    self.runs.note_name(row.number, id);
                    row.number
                }
                None => return Ok(PostOutcome::NoRun),
            },
        };
        let key = self.key_of(record, run);
        if let Some(content) = self.records.content(key)? {
            return Ok(if content == record.content {
                PostOutcome::Duplicate
            } else {
                PostOutcome::Conflict
            });
        }
        let stored = if self.places.contains_key(&key) {
            None
        } else {
            (self.responses).stored(self.names, &mut self.series, key)?
        };
        if stored.is_some() && matches!(record.id, RecordId::Own { .. }) {
            // Posted once, and its details are gone.
            return Ok(PostOutcome::Duplicate);
        }
        if let Some(horizon) = self.horizon()?.filter(|horizon| record.time < *horizon) {
            return Ok(PostOutcome::TooOld(horizon));
        }
        let Some(copy) = self.copy_of(record, run)? else {
            return Ok(PostOutcome::NoAccount);
        };
        let Some(parts) = self.parts_of(record, run, &copy)? else {
            return Ok(PostOutcome::NoAccount);
        };
        let new = NewRecord {
            content: record.content,
            at: record.time,
            parts,
        };
        self.records.insert(key, new);
        self.merge_posted(key, copy, stored);
        Ok(PostOutcome::Counted)
    }

    /// The time from which details are kept: an older record cannot be told from one that was posted before.
    fn horizon(&self) -> Result<Option<Millis>, DbError> {
        let horizon = self.meta.get(META_HORIZON)?;
        let start = |day: u64| {
            Millis::try_from(day)
                .unwrap_or(Millis::MAX)
                .saturating_mul(DAY_MS)
        };
        Ok(horizon.map(|day| start(day.value())))
    }

    /// The key of a response has the scope of the run's own account, as that of a transcript's line.
    fn key_of(&self, record: &PostedRecord, run: RunNumber) -> ResponseKey {
        match &record.id {
            RecordId::Own { source, id } => key_of_record(source, id),
            RecordId::Message(id) => {
                let own = self.names.accounts.get(self.names.account_of(run) as usize);
                let account = own.filter(|_| run != NO_RUN).unwrap_or(&record.account);
                key_of_message(scope(account), id)
            }
        }
    }

    /// The account of a call; `None` if there is no room for it.
    fn account_of_call(
        &mut self,
        run: RunNumber,
        provider: Option<&str>,
        account: &AccountId,
        is_named: bool,
    ) -> Result<Option<u32>, DbError> {
        if run == NO_RUN || is_named {
            return account_with_room(&mut self.registry, self.names, account);
        }
        match provider {
            None => Ok(Some(self.names.account_of(run))),
            Some(provider) => by_provider(&mut self.registry, self.names, (run, provider), account),
        }
    }

    /// The response of a record. A call that failed has one that is never counted: it only keeps the key.
    fn copy_of(&mut self, record: &PostedRecord, run: RunNumber) -> Result<Option<StoredResponse>, DbError> {
        let provider = record.provider.as_deref();
        let account = self.account_of_call(run, provider, &record.account, record.is_account_named)?;
        let Some(account) = account else {
            return Ok(None);
        };
        let (name, model) = self.models.number(self.names, &record.model, run)?;
        let place = self.series.place(SessionPlace::default())?;
        let route = self.series.routes.number(self.names, &record.names)?;
        Ok(Some(StoredResponse {
            response: Response {
                kind: match record.usage {
                    Some(_) => Kind::Message,
                    None => Kind::Duplicate,
                },
                rank: Rank::Posted,
                service: Service::default(),
                model: name,
                usage: record.usage.unwrap_or_default(),
                run,
                time: record.time,
                dating: if record.has_time {
                    Dating::Posted
                } else {
                    Dating::Received
                },
                is_final: false,
                session: 0,
                is_shared: false,
                is_estimated: record.is_estimated,
            },
            model,
            source: ResponseSource {
                place,
                account,
                dialect: None,
            },
            route,
            series: 0,
        }))
    }

    /// The parts of a record that do not follow from its response.
    fn parts_of(
        &mut self,
        record: &PostedRecord,
        run: RunNumber,
        copy: &StoredResponse,
    ) -> Result<Option<Vec<NewPart>>, DbError> {
        let mut parts = Vec::new();
        let failed_attempts = u32::from(record.usage.is_none());
        if record.fallbacks > 0 || failed_attempts > 0 {
            parts.push(NewPart {
                series: copy.own_series(),
                fallbacks: record.fallbacks,
                failed_attempts,
            });
        }
        for attempt in &record.attempts {
            let FailedAttempt {
                provider,
                account,
                is_account_named,
                model,
                count,
            } = attempt;
            let account = self.account_of_call(run, Some(provider), account, *is_account_named)?;
            let Some(account) = account else {
                return Ok(None);
            };
            let (_, model) = self.models.number(self.names, model, run)?;
            let series = SeriesRow {
                account,
                model,
                class: PriceClass::default(),
                ..copy.own_series()
            };
            parts.push(NewPart {
                series,
                fallbacks: 0,
                failed_attempts: *count,
            });
        }
        Ok(Some(parts))
    }

    /// Merges the copy with those of transcripts; `stored` is the response's stored state.
    fn merge_posted(&mut self, key: ResponseKey, copy: StoredResponse, stored: Option<StoredResponse>) {
        let next = self.deltas.len();
        let place = *self.places.entry(key).or_insert(next);
        if place == next {
            let Some(before) = stored else {
                self.deltas.push(ResponseDelta::new(key, copy));
                return;
            };
            self.deltas.push(ResponseDelta::stored(key, before));
        }
        let known = &mut self.deltas[place].after;
        known.route = copy.route;
        let name = Arc::clone(&copy.response.model);
        if merge_copy(&mut known.response, copy.response, false) {
            known.source = copy.source;
        }
        // The merge kept the name of one of the two; names are shared, so their addresses show which.
        if Arc::ptr_eq(&known.response.model, &name) {
            known.model = copy.model;
        }
    }
}
