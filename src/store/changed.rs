//! What a transaction makes of responses, and what that comes to in rows and sums.

use super::error::DbError;
use super::rows::Rows;
use super::schema::{ResponseParts, ResponseRow};
use crate::dedup::{Response, Totals};
use crate::model::{Dating, MINUTE_MS, ModelNumber, ResponseKey, RunNumber};

/// A response with the number of its model.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredResponse {
    pub response: Response,
    pub model: ModelNumber,
}

/// What this transaction makes of one response.
pub struct Changed {
    pub key: ResponseKey,
    /// As it is stored.
    pub before: Option<Box<StoredResponse>>,
    pub after: StoredResponse,
}

impl Changed {
    pub(super) fn new(key: ResponseKey, after: StoredResponse) -> Self {
        let before = None;
        Self { key, before, after }
    }

    /// One that is as it is stored, so far.
    pub(super) fn stored(key: ResponseKey, after: StoredResponse) -> Self {
        let before = Some(Box::new(after.clone()));
        Self { key, before, after }
    }

    /// Whether it is no longer as it is stored.
    pub(super) fn is_change(&self) -> bool {
        self.before.as_deref() != Some(&self.after)
    }
}

/// The rows of all that changed.
pub fn rows_of(changed: &[Changed]) -> Result<Rows<u128>, DbError> {
    let mut rows = Rows::with_capacity(changed.len());
    for it in changed.iter().filter(|it| it.is_change()) {
        rows.push(it.key.0, &it.after.row())?;
    }
    Ok(rows)
}

/// New responses that have no time.
pub fn undated(changed: &[Changed]) -> impl Iterator<Item = ResponseKey> {
    let is_new = |it: &&Changed| it.before.is_none() && it.after.response.dating == Dating::Unknown;
    changed.iter().filter(is_new).map(|it| it.key)
}

/// What changed, in the order of the keys of a table of sums. Sorted, not gathered in a map: with a row for each minute
/// a map takes more memory than all responses.
pub struct Parts<'c, K>(Vec<(K, Part<'c>)>);

/// What a response adds to a sum, or takes away.
enum Part<'c> {
    More(&'c Response),
    Less(&'c Response),
}

impl<'c, K: Ord + Copy> Parts<'c, K> {
    /// What changed; a response without a key is in no sum.
    pub fn of(changed: &'c [Changed], key_of: impl Fn(&StoredResponse) -> Option<K>) -> Self {
        let mut parts = Vec::with_capacity(changed.len());
        for it in changed.iter().filter(|it| it.is_change()) {
            if let Some(before) = &it.before {
                parts.extend(key_of(before).map(|key| (key, Part::Less(&before.response))));
            }
            parts.extend(key_of(&it.after).map(|key| (key, Part::More(&it.after.response))));
        }
        parts.sort_unstable_by_key(|(key, _)| *key);
        Self(parts)
    }

    /// What is added to each row.
    pub fn sums(&self) -> impl Iterator<Item = (K, Totals)> {
        let same = self.0.chunk_by(|(one, _), (other, _)| one == other);
        same.map(|parts| {
            let mut sum = Totals::default();
            for (_, part) in parts {
                match part {
                    Part::More(response) => sum += Totals::of(response),
                    Part::Less(response) => sum -= Totals::of(response),
                }
            }
            (parts[0].0, sum)
        })
    }
}

impl StoredResponse {
    /// The minute since 1970 in which it counts as a call; none if nothing says when it was made.
    pub fn minute(&self) -> Option<u32> {
        let minute = u32::try_from(self.response.time / MINUTE_MS).unwrap_or(u32::MAX);
        (self.response.dating != Dating::Unknown).then_some(minute)
    }

    /// The row of sums it belongs to.
    pub fn cell(&self) -> (u32, RunNumber, ModelNumber) {
        (self.response.hour(), self.response.run, self.model)
    }

    fn row(&self) -> ResponseRow {
        let Response {
            kind,
            rank,
            tier,
            dating,
            usage,
            run,
            time,
            is_final,
            session,
            is_shared,
            ..
        } = self.response;
        let parts = ResponseParts {
            kind,
            rank,
            tier,
            dating,
            usage,
            is_final,
            session,
            is_shared,
        };
        ResponseRow::new(&parts, self.model, run, time)
    }
}
