//! A record of one call that a client posts, as a router does: no transcript contains it.

use super::account::AccountId;
use super::run::RunId;
use super::time::Millis;
use super::usage::Usage;

/// The number that the store gives a [`RouteNames`]; 0 for none.
pub type RouteNumber = u32;

/// The way that a router chose for a call, in its own names; a name may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteNames {
    pub profile: Option<Box<str>>,
    pub route: Option<Box<str>>,
    pub instance: Option<Box<str>>,
}

/// The identity of a posted record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordId {
    /// The id that its source gave it.
    Own { source: Box<str>, id: Box<str> },
    /// The API's id of the response, which a transcript has too.
    Message(Box<str>),
}

/// A provider's failed attempts within one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedAttempt {
    pub provider: Box<str>,
    /// The account of that provider.
    pub account: AccountId,
    /// True if the client named the account.
    pub is_account_named: bool,
    /// `unknown` if the client did not name it.
    pub model: Box<str>,
    pub count: u32,
}

/// One posted record, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostedRecord {
    pub id: RecordId,
    /// A hash of everything in it but the time at which it was received: equal records have equal contents.
    pub content: u64,
    /// `None` for a call of no run.
    pub run: Option<RunId>,
    /// `None` for that of the run's own account.
    pub provider: Option<Box<str>>,
    pub account: AccountId,
    /// True if the client named the account.
    pub is_account_named: bool,
    pub model: Box<str>,
    pub names: RouteNames,
    /// The tokens of the call; `None` for a call that failed.
    pub usage: Option<Usage>,
    /// True if a client estimated the tokens.
    pub is_estimated: bool,
    /// The index of the target that served the call.
    pub fallbacks: u32,
    pub attempts: Vec<FailedAttempt>,
    /// Its own time, else the time at which it was received.
    pub time: Millis,
    /// True for its own time.
    pub has_time: bool,
}
