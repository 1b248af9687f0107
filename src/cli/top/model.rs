//! All that is known of the collector, as one value.

use std::collections::{BTreeMap, VecDeque};

use super::flow::TokenFlow;
use crate::api::wire;
use crate::cli::args::TopPeriod;
use crate::model::Millis;

/// Events that are kept for the list.
pub const NEWS_MAX: usize = 200;

/// Identifies a row of the accounts: provider, account and window.
pub type WindowKey = (String, String, String);

/// All that is known. What no document contained yet is `None`, which is drawn as unknown.
#[derive(Clone, Debug, Default)]
pub struct TopModel {
    pub now: Millis,
    pub link: Link,
    pub health: Option<TopHealth>,
    /// The failure of the last request, until one succeeds.
    pub trouble: Option<String>,
    pub quota: Option<wire::Quota>,
    pub runs: BTreeMap<String, TopRun>,
    /// The last commit that is in `runs`.
    pub sequence: u64,
    /// Sums of a period by model, by route and by hour.
    pub sums: Option<PeriodSums>,
    pub routes: Option<PeriodSums>,
    pub hours: Option<PeriodSums>,
    /// The latest first.
    pub news: VecDeque<News>,
    /// What fired before the start is in `news`.
    pub has_history: bool,
    /// Tokens of all runs that pass the filters of the command line.
    pub flow: TokenFlow,
    pub details: Option<Details>,
}

/// The connection to the collector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Link {
    #[default]
    Opening,
    Live,
    Lost {
        why: String,
        retry_at: Millis,
    },
}

/// The collector's health.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopHealth {
    pub status: String,
    pub ready: bool,
    pub reasons: Vec<String>,
}

/// A run.
#[derive(Clone, Debug, Default)]
pub struct TopRun {
    /// Its row of `/v1/runs`, with the totals of the last event.
    pub row: wire::Run,
    /// The commit that its totals are of; 0 if they are those of the list.
    pub sequence: u64,
    /// The model used last, or most.
    pub model: Option<String>,
    pub flow: TokenFlow,
    pub is_forgotten: bool,
}

/// Sums of a period.
#[derive(Clone, Debug, Default)]
pub struct PeriodSums {
    pub period: TopPeriod,
    pub usage: wire::Usage,
}

/// An event in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    pub at: Millis,
    pub kind: &'static str,
    /// The run it is about.
    pub run: Option<String>,
    pub text: String,
    pub weight: Weight,
    /// The end of what the text says: drawn as a time, as a length of time would grow old in the list.
    pub until: Option<Millis>,
    /// It happened before the start of the screen.
    pub is_before: bool,
}

/// The weight of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weight {
    #[default]
    Plain,
    Good,
    Warning,
    Bad,
}

/// What is known of the item whose details are open.
#[derive(Clone, Debug)]
pub enum Details {
    Run {
        id: String,
        run: Box<wire::RunDetail>,
        sessions: Vec<wire::UsageRow>,
        files: Box<wire::RunFiles>,
    },
    Account {
        provider: String,
        account: String,
        window: String,
        points: Vec<wire::HistoryPoint>,
    },
}

impl TopModel {
    /// Runs that were not forgotten.
    pub fn known_runs(&self) -> impl Iterator<Item = &TopRun> {
        self.runs.values().filter(|run| !run.is_forgotten)
    }

    /// True while the numbers are those of a lost connection.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        matches!(self.link, Link::Lost { .. })
    }

    /// Adds an event to the list.
    pub fn note(&mut self, news: News) {
        self.news.push_front(news);
        self.news.truncate(NEWS_MAX);
    }
}

/// A time of a document, in milliseconds.
#[must_use]
pub fn millis(rfc3339: &str) -> Option<Millis> {
    let time: jiff::Timestamp = rfc3339.parse().ok()?;
    Some(time.as_millisecond())
}
