//! Events of one commit as text, with the data that filters need.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::Range;
use std::str::FromStr;

use serde::Serialize;

use super::event::{self, CommitStamp};
use crate::api::http::problem::Problem;
use crate::config::Accounts;
use crate::live::Update;
use crate::model::{AccountId, Millis, RunId};
use crate::store::KnownAccounts;

/// The kinds of events that a filter may name.
const KINDS: [&str; 9] = [
    "usage",
    "window",
    "threshold",
    "account",
    "run",
    "health",
    "lease",
    "probe",
    "notify",
];
/// Most names in one filter.
const FILTER_NAMES_MAX: usize = 256;

/// One event.
#[derive(Debug)]
pub struct Frame {
    kind: &'static str,
    run: Option<RunId>,
    account: AccountId,
    /// Its place in the text of all events of the commit.
    json: Range<usize>,
}

/// The events of a commit while they are made. Thousands of texts are kept, so they are joined: one by one they would
/// divide the memory among which they lie.
#[derive(Default)]
struct FrameWriter {
    frames: Vec<Frame>,
    text: String,
}

impl FrameWriter {
    fn add(
        &mut self,
        kind: &'static str,
        run: Option<&RunId>,
        account: &AccountId,
        document: &impl Serialize,
    ) {
        let begin = self.text.len();
        // Strings, numbers and maps with string keys: serialization cannot fail.
        self.text
            .push_str(&serde_json::to_string(document).unwrap_or_default());
        self.frames.push(Frame {
            kind,
            run: run.cloned(),
            account: account.clone(),
            json: begin..self.text.len(),
        });
    }
}

/// The events of one commit.
#[derive(Debug)]
pub struct CommitEvents {
    pub sequence: u64,
    frames: Box<[Frame]>,
    text: Box<str>,
    /// Memory of all frames, in bytes.
    pub bytes: usize,
}

/// A position in the stream: everything before commit `sequence`, and the first `frames` events of that
/// commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventId {
    pub sequence: u64,
    /// `usize::MAX` for all.
    pub frames: usize,
}

impl EventId {
    /// The position after all events of a commit.
    #[must_use]
    pub fn behind(sequence: u64) -> Self {
        Self {
            sequence,
            frames: usize::MAX,
        }
    }
}

impl FromStr for EventId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (sequence, frames) = text.split_once('.').map_or((text, None), |(a, b)| (a, Some(b)));
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let read = is_number(sequence) && frames.is_none_or(is_number);
        let position = || {
            Some(Self {
                sequence: sequence.parse().ok()?,
                frames: frames.map_or(Some(usize::MAX), |frames| frames.parse().ok())?,
            })
        };
        read.then(position)
            .flatten()
            .ok_or_else(|| format!("{text:?} is not an event id, as in 1795486882450 or 1795486882450.2"))
    }
}

/// The filter of a subscriber.
#[derive(Debug, Default)]
pub struct Filter {
    runs: Option<BTreeSet<String>>,
    accounts: Option<BTreeSet<String>>,
    kinds: Option<BTreeSet<String>>,
}

impl Filter {
    /// Parses comma-separated lists; `None` matches any.
    ///
    /// # Errors
    /// A problem that names the invalid list.
    pub fn new(runs: Option<&str>, accounts: Option<&str>, kinds: Option<&str>) -> Result<Self, Problem> {
        let list = |field: &str, text: Option<&str>| -> Result<Option<BTreeSet<String>>, Problem> {
            let Some(text) = text else {
                return Ok(None);
            };
            let names: BTreeSet<String> = text.split(',').map(str::to_owned).collect();
            if names.len() > FILTER_NAMES_MAX || names.contains("") {
                let detail = format!("1 to {FILTER_NAMES_MAX} names separated by commas");
                return Err(Problem::bad(field, detail));
            }
            Ok(Some(names))
        };
        let filter = Self {
            runs: list("run", runs)?,
            accounts: list("account", accounts)?,
            kinds: list("kinds", kinds)?,
        };
        for run in filter.runs.iter().flatten() {
            RunId::new(run).map_err(|error| Problem::bad("run", error))?;
        }
        let mut kinds = filter.kinds.iter().flatten();
        if let Some(kind) = kinds.find(|kind| !KINDS.contains(&kind.as_str())) {
            return Err(Problem::bad(
                "kinds",
                format!("{kind:?} is none of {}", KINDS.join(", ")),
            ));
        }
        Ok(filter)
    }

    /// True if health events pass.
    #[must_use]
    pub fn wants_health(&self) -> bool {
        self.kinds.as_ref().is_none_or(|kinds| kinds.contains("health"))
    }

    /// True if it names runs.
    #[must_use]
    pub fn names_runs(&self) -> bool {
        self.runs.is_some()
    }

    /// True if data of this run pass.
    #[must_use]
    pub fn wants_run(&self, run: &str) -> bool {
        self.runs.as_ref().is_none_or(|runs| runs.contains(run))
    }

    /// True if events of runs or of their usage pass.
    #[must_use]
    pub fn wants_usage(&self) -> bool {
        (self.kinds.as_ref()).is_none_or(|kinds| kinds.contains("usage") || kinds.contains("run"))
    }

    /// The filter's accounts that are not among `known`.
    pub fn accounts_beside<'a>(&self, known: &(impl Iterator<Item = &'a AccountId> + Clone)) -> Vec<&str> {
        let names = self.accounts.iter().flatten().map(String::as_str);
        let is_known = |name: &str| known.clone().any(|account| is_called(account, name));
        names.filter(|name| !is_known(name)).collect()
    }

    fn passes(&self, frame: &Frame) -> bool {
        let run = |run: &RunId| self.wants_run(run.as_str());
        let account = |account: &AccountId| {
            (self.accounts.as_ref()).is_none_or(|names| names.iter().any(|name| is_called(account, name)))
        };
        (self.kinds.as_ref()).is_none_or(|kinds| kinds.contains(frame.kind))
            && frame
                .run
                .as_ref()
                .map_or(frame.kind != "usage" || self.runs.is_none(), run)
            && account(&frame.account)
    }
}

/// True if `name` or `provider/name` names the account.
fn is_called(account: &AccountId, name: &str) -> bool {
    *account.name == *name || name.split_once('/') == Some((&account.provider, &account.name))
}

impl CommitEvents {
    /// The events of an update; `known` is read after its commit, `rules` are those in effect.
    pub fn new(update: &Update, known: &KnownAccounts, rules: &Accounts, now: Millis) -> Self {
        let mut written = FrameWriter::default();
        let sequence = update.sequence;
        let stamp = &CommitStamp::new(sequence, now);
        for changed in &update.lifecycle {
            let document = event::run(changed, stamp);
            written.add("run", Some(&changed.run), &changed.account, &document);
        }
        for run in &update.runs {
            if let Some(document) = event::usage(run, stamp) {
                written.add("usage", run.run.as_ref(), &run.account, &document);
            }
        }
        for changed in &update.windows {
            if let Some(document) = event::window(changed, known, rules, stamp) {
                written.add("window", None, &changed.account, &document);
            }
        }
        for fired in &update.fired {
            let document = event::threshold(fired, stamp);
            written.add("threshold", None, &fired.account, &document);
        }
        for changed in &update.accounts {
            let document = event::account(changed, stamp);
            written.add("account", None, &changed.account, &document);
        }
        for changed in &update.leases {
            let document = event::lease(changed, stamp);
            let lease = &changed.lease;
            written.add("lease", lease.run.as_ref(), &lease.account, &document);
        }
        for changed in &update.probes {
            let document = event::probe(changed, stamp);
            written.add("probe", None, &changed.key.account, &document);
        }
        for changed in &update.notices {
            let document = event::notify(changed, stamp);
            let account = changed.account.clone().unwrap_or_default();
            written.add("notify", None, &account, &document);
        }
        // Without spare capacity, as thousands are kept.
        let (frames, text) = (written.frames.into_boxed_slice(), written.text.into_boxed_str());
        Self {
            sequence,
            bytes: text.len() + size_of_val(&*frames) + size_of::<Self>(),
            frames,
            text,
        }
    }

    /// Writes the events after `after` that pass the filter; returns true if there were any.
    pub fn write(&self, filter: &Filter, after: EventId, text: &mut String) {
        if self.sequence < after.sequence {
            return;
        }
        let heard = if self.sequence == after.sequence {
            after.frames
        } else {
            0
        };
        let mut wanted = (self.frames.iter().enumerate())
            .skip(heard)
            .filter(|(_, frame)| filter.passes(frame))
            .peekable();
        while let Some((place, frame)) = wanted.next() {
            let sequence = self.sequence;
            // After the last event, everything of the commit is delivered.
            let _ = if wanted.peek().is_some() {
                writeln!(text, "id: {sequence}.{}", place + 1)
            } else {
                writeln!(text, "id: {sequence}")
            };
            let json = &self.text[frame.json.clone()];
            let _ = write!(text, "event: {}\ndata: {json}\n\n", frame.kind);
        }
    }
}
