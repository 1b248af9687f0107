//! Which copy of a response wins, and what that changes in the totals.
//!
//! Pure. **Invariant**: the fold of any set of copies does not depend on their order, except for the owner run
//! of copies with equal times, where the run that was committed first stays the owner.

use std::sync::Arc;

use crate::model::{Dating, HOUR_MS, Kind, Millis, Rank, Record, RunNumber, SessionNumber, Tier, Usage};

/// A response as it is counted: the best copy's figures, the earliest copy's time and run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub kind: Kind,
    pub rank: Rank,
    pub tier: Tier,
    pub model: Arc<str>,
    pub usage: Usage,
    /// The run whose line has the earliest time.
    pub run: RunNumber,
    pub time: Millis,
    /// Where `time` comes from; one of a worse source gives way to any of a better one.
    pub dating: Dating,
    /// Whether any copy says that the response was over.
    pub is_final: bool,
    /// The session of the first copy read; 0 if none named one.
    pub session: SessionNumber,
    /// Whether other sessions have copies too.
    pub is_shared: bool,
}

impl Response {
    /// The hour since 1970 the response belongs to.
    #[must_use]
    pub fn hour(&self) -> u32 {
        u32::try_from(self.time / HOUR_MS).unwrap_or(u32::MAX)
    }

    /// A better copy compares greater. All figures take part, so that equals are truly equal.
    fn merit(&self) -> impl Ord + '_ {
        (
            self.kind == Kind::Duplicate,
            !self.usage.is_empty(),
            self.rank,
            self.usage.output,
            self.usage.total(),
            self.usage,
            &self.model,
            self.tier,
        )
    }

    /// Earlier claims compare less.
    fn claim(&self) -> (Dating, Millis) {
        (self.dating, self.time)
    }
}

/// Folds one more copy into what is known of a response.
///
/// `in_run_order` says that, on equal times, the run with the lower number owns the response instead of the run
/// that is already there: for a backlog that several readers work off at once.
pub fn fold(known: &mut Response, copy: Response, in_run_order: bool) {
    let earlier = copy.claim() < known.claim()
        || (in_run_order && copy.claim() == known.claim() && copy.run < known.run);
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
    if copy.merit() > known.merit() {
        *known = copy;
    }
    (known.run, known.time, known.dating) = (run, time, dating);
    (known.is_final, known.session, known.is_shared) = (is_final, session, is_shared);
}

/// Takes a copy into one that was read before it from the same file, if they differ in nothing but their times; says
/// whether it did. Most do not: a response is
/// written in parts, which have the same figures until the last.
pub fn join(known: &mut Record, copy: &Record) -> bool {
    let (Some(time), Some(other)) = (known.time, copy.time) else {
        return false;
    };
    let is_same = known.key == copy.key
        && known.usage == copy.usage
        && (known.kind, known.rank, known.tier, known.dating)
            == (copy.kind, copy.rank, copy.tier, copy.dating)
        && known.model == copy.model
        && known.session == copy.session;
    if is_same {
        known.is_final |= copy.is_final;
        known.time = Some(time.min(other));
        known.copies = known.copies.saturating_add(copy.copies);
    }
    is_same
}

/// Sums over responses; also the difference of two sums, so fields may be negative in between.
///
/// 128 bits hold the sum of 2^64 responses of `i64::MAX` tokens: nothing wraps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub messages: i64,
    /// Responses of which no figures are known: neither messages nor calls.
    pub without_figures: i64,
    /// Messages of which no line says that they were over: their output may be that of their beginning.
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
}

impl Totals {
    /// What one response adds to every sum it belongs to.
    #[must_use]
    #[inline]
    pub fn of(response: &Response) -> Self {
        Self::of_usage(response.kind, &response.usage, response.is_final)
    }

    /// As [`Totals::of`], of the three things it needs.
    #[must_use]
    #[inline]
    pub fn of_usage(kind: Kind, usage: &Usage, is_final: bool) -> Self {
        let is_message = kind == Kind::Message && !usage.is_empty();
        Self {
            messages: i64::from(is_message),
            unfinished: i64::from(is_message && !is_final),
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
        }
    }

    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    /// Whether there is anything beside responses without figures, or without an end.
    #[must_use]
    pub fn has_figures(&self) -> bool {
        let Self {
            without_figures,
            unfinished,
            ..
        } = *self;
        *self
            != Self {
                without_figures,
                unfinished,
                ..Self::default()
            }
    }

    /// In place: there is a sum for each row of many tables.
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
