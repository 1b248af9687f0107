//! Selection of the best copy of a response, and its effect on the totals.
//!
//! Pure. **Invariant**: merging any set of copies does not depend on their order, except for the owner run of
//! copies with equal times, where the run that was committed first stays the owner.

use std::sync::Arc;

use crate::model::{Dating, Kind, Millis, Rank, Record, RunNumber, Service, SessionNumber, Usage};

/// A counted response: the best copy's figures, the earliest copy's time and run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub kind: Kind,
    pub rank: Rank,
    pub service: Service,
    pub model: Arc<str>,
    pub usage: Usage,
    /// The run whose line has the earliest time.
    pub run: RunNumber,
    pub time: Millis,
    /// The source of `time`; a time from a better source replaces one from a worse source.
    pub dating: Dating,
    /// True if any line of it is from the end of the response; of a posted record alone it is false.
    pub is_final: bool,
    /// The session of the first copy read; 0 without one.
    pub session: SessionNumber,
    /// True if other sessions have copies too.
    pub is_shared: bool,
    /// True if a client estimated the figures.
    pub is_estimated: bool,
}

impl Response {
    /// Sort key of quality: a better copy is greater. All figures take part, so equal keys mean equal copies.
    fn rank_key(&self) -> impl Ord + '_ {
        (
            self.kind == Kind::Duplicate,
            !self.usage.is_empty(),
            self.rank,
            self.usage.output,
            self.usage.total(),
            self.usage,
            &self.model,
            self.service,
            !self.is_estimated,
        )
    }

    /// Sort key of ownership: an earlier claim is less.
    fn owner_key(&self) -> (Dating, Millis) {
        (self.dating, self.time)
    }
}

/// Merges one more copy into a response; returns true if the copy is its owner now.
///
/// With `in_run_order`, of copies with equal times the run with the lower number owns the response instead of
/// the run already stored: for a backlog that several readers process at once.
pub fn merge_copy(known: &mut Response, copy: Response, in_run_order: bool) -> bool {
    let earlier = copy.owner_key() < known.owner_key()
        || (in_run_order && copy.owner_key() == known.owner_key() && copy.run < known.run);
    let (run, time, dating) = if earlier {
        (copy.run, copy.time, copy.dating)
    } else {
        (known.run, known.time, known.dating)
    };
    let is_final = known.is_final || copy.is_final;
    let session = if known.session == 0 {
        copy.session
    } else {
        known.session
    };
    let is_shared = known.is_shared;
    if copy.rank_key() > known.rank_key() {
        *known = copy;
    }
    (known.run, known.time, known.dating) = (run, time, dating);
    (known.is_final, known.session, known.is_shared) = (is_final, session, is_shared);
    earlier
}

/// Merges a copy into the previous one of the same file if they differ only in their times; returns true if
/// it did. A response is written in parts, which mostly have different figures only at the last.
pub fn coalesce(known: &mut Record, copy: &Record) -> bool {
    let (Some(time), Some(other)) = (known.time, copy.time) else {
        return false;
    };
    let is_same = known.key == copy.key
        && known.usage == copy.usage
        && (known.kind, known.rank, known.service, known.dating)
            == (copy.kind, copy.rank, copy.service, copy.dating)
        && known.model == copy.model
        && known.session == copy.session;
    if is_same {
        known.is_final |= copy.is_final;
        known.time = Some(time.min(other));
        known.copies = known.copies.saturating_add(copy.copies);
    }
    is_same
}

/// True if the figures of a response are those of its end: a posted record is made after the call, and says
/// nothing about the lines of a transcript.
#[must_use]
#[inline]
pub fn is_complete(is_final: bool, rank: Rank) -> bool {
    is_final || rank == Rank::Posted
}

/// Sums over responses; also the difference of two sums, so fields may be negative in between.
///
/// 128 bits hold the sum of 2^64 responses of `i64::MAX` tokens, so nothing overflows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub messages: i64,
    /// Responses without figures: neither messages nor calls.
    pub without_figures: i64,
    /// Messages without a final line: their output may be that of an early copy.
    pub unfinished: i64,
    pub advisor_calls: i64,
    pub input: i128,
    pub output: i128,
    pub cache_read: i128,
    pub cache_creation: i128,
    pub cache_creation_5m: i128,
    pub cache_creation_1h: i128,
    pub web_search: i128,
    pub thinking: i128,
    /// Targets that were passed over before the one that served, of posted records.
    pub fallbacks: i64,
    /// Attempts that failed, of posted records: none is a message or a call.
    pub failed_attempts: i64,
    /// The part of the four token sums that a client estimated.
    pub estimated: i128,
}

impl Totals {
    /// Tokens that were not read from a cache, the larger part of what a provider's window counts.
    #[must_use]
    pub fn fresh_tokens(&self) -> u64 {
        u64::try_from(self.input + self.output + self.cache_creation).unwrap_or(0)
    }

    /// The contribution of one response to every sum it belongs to.
    #[must_use]
    #[inline]
    pub fn of(response: &Response) -> Self {
        let complete = is_complete(response.is_final, response.rank);
        Self::of_usage(response.kind, &response.usage, complete, response.is_estimated)
    }

    /// As [`Totals::of`], from the fields it uses.
    #[must_use]
    #[inline]
    pub fn of_usage(kind: Kind, usage: &Usage, is_complete: bool, is_estimated: bool) -> Self {
        let is_message = kind == Kind::Message && !usage.is_empty();
        let estimated = if is_estimated { usage.total() } else { 0 };
        Self {
            messages: i64::from(is_message),
            unfinished: i64::from(is_message && !is_complete),
            without_figures: i64::from(kind == Kind::Message && usage.is_empty()),
            advisor_calls: i64::from(kind == Kind::Advisor),
            input: usage.input.into(),
            output: usage.output.into(),
            cache_read: usage.cache_read.into(),
            cache_creation: usage.cache_creation.into(),
            cache_creation_5m: usage.cache_creation_5m.into(),
            cache_creation_1h: usage.cache_creation_1h.into(),
            web_search: usage.web_search.into(),
            thinking: usage.thinking.into(),
            fallbacks: 0,
            failed_attempts: 0,
            estimated: i128::try_from(estimated).unwrap_or(i128::MAX),
        }
    }

    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    /// True if there are counts beside responses without figures and unfinished ones, and beside those of records,
    /// which the documents of runs and models do not show.
    #[must_use]
    pub fn has_figures(&self) -> bool {
        let Self {
            without_figures,
            unfinished,
            fallbacks,
            failed_attempts,
            ..
        } = *self;
        *self
            != Self {
                without_figures,
                unfinished,
                fallbacks,
                failed_attempts,
                ..Self::default()
            }
    }

    /// In place, since many tables have a sum in each row.
    fn change(&mut self, other: &Self, sum: impl Fn(&mut i128, i128), count: impl Fn(&mut i64, i64)) {
        count(&mut self.messages, other.messages);
        count(&mut self.without_figures, other.without_figures);
        count(&mut self.unfinished, other.unfinished);
        count(&mut self.advisor_calls, other.advisor_calls);
        sum(&mut self.input, other.input);
        sum(&mut self.output, other.output);
        sum(&mut self.cache_read, other.cache_read);
        sum(&mut self.cache_creation, other.cache_creation);
        sum(&mut self.cache_creation_5m, other.cache_creation_5m);
        sum(&mut self.cache_creation_1h, other.cache_creation_1h);
        sum(&mut self.web_search, other.web_search);
        sum(&mut self.thinking, other.thinking);
        count(&mut self.fallbacks, other.fallbacks);
        count(&mut self.failed_attempts, other.failed_attempts);
        sum(&mut self.estimated, other.estimated);
    }
}

impl std::ops::AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.change(
            &other,
            |sum, more| *sum = sum.saturating_add(more),
            |count, more| *count = count.saturating_add(more),
        );
    }
}

impl std::ops::SubAssign for Totals {
    fn sub_assign(&mut self, other: Self) {
        self.change(
            &other,
            |sum, less| *sum = sum.saturating_sub(less),
            |count, less| *count = count.saturating_sub(less),
        );
    }
}

#[cfg(test)]
mod tests;
