//! Events of one commit as text, with the data that filters need.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::str::FromStr;

use serde::Serialize;

use crate::api::document::quota;
use crate::api::document::summary::{self, signed};
use crate::api::document::time;
use crate::api::http::problem::Problem;
use crate::api::wire;
use crate::live::Update;
use crate::model::{AccountId, Millis, Phase, RunId};
use crate::quota::window::WindowState;
use crate::store::QuotaView;

/// The kinds of events that a filter may name.
const KINDS: [&str; 6] = ["usage", "window", "threshold", "account", "run", "health"];
/// Most names in one filter.
const FILTER_NAMES_MAX: usize = 256;

/// One event.
#[derive(Debug)]
pub struct Frame {
    kind: &'static str,
    run: Option<RunId>,
    account: Option<AccountId>,
    json: Box<str>,
}

/// The events of one commit.
#[derive(Debug)]
pub struct CommitEvents {
    pub sequence: u64,
    frames: Box<[Frame]>,
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

    /// The filter's accounts that are not among `known`.
    pub fn accounts_beside<'a>(&self, known: &(impl Iterator<Item = &'a AccountId> + Clone)) -> Vec<&str> {
        let names = self.accounts.iter().flatten().map(String::as_str);
        let is_known = |name: &str| known.clone().any(|account| is_called(account, name));
        names.filter(|name| !is_known(name)).collect()
    }

    fn passes(&self, frame: &Frame) -> bool {
        let run = |run: &RunId| self.runs.as_ref().is_none_or(|runs| runs.contains(run.as_str()));
        let account = |account: &AccountId| {
            (self.accounts.as_ref()).is_none_or(|names| names.iter().any(|name| is_called(account, name)))
        };
        (self.kinds.as_ref()).is_none_or(|kinds| kinds.contains(frame.kind))
            && frame.run.as_ref().is_none_or(run)
            && frame.account.as_ref().is_none_or(account)
    }
}

/// True if `name` or `provider/name` names the account.
fn is_called(account: &AccountId, name: &str) -> bool {
    *account.name == *name || name.split_once('/') == Some((&account.provider, &account.name))
}

impl CommitEvents {
    /// The events of an update; `view` is read after its commit.
    pub fn new(update: &Update, view: &QuotaView, now: Millis) -> Self {
        let mut frames = Vec::new();
        let (sequence, at) = (update.sequence, time(now));
        for event in &update.lifecycle {
            let document = wire::RunEvent {
                sequence,
                at: time(event.at),
                run: event.run.to_string(),
                provider: event.account.provider.to_string(),
                account: event.account.name.to_string(),
                labels: summary::labels(&event.labels),
                phase: phase(event.phase).to_owned(),
                reason: match event.phase {
                    Phase::Stopped(reason) => Some(reason.into_str().to_owned()),
                    _ => None,
                },
                totals: summary::totals_of_run(&event.totals),
            };
            push(
                &mut frames,
                "run",
                Some(&event.run),
                Some(&event.account),
                &document,
            );
        }
        for run in &update.runs {
            if run.models.is_empty() && run.lines.read == 0 {
                continue;
            }
            let mut all = crate::dedup::Totals::default();
            for (_, delta) in &run.models {
                all += *delta;
            }
            let models = run.models.iter();
            let document = wire::UsageEvent {
                sequence,
                at: at.clone(),
                run: run.run.to_string(),
                provider: run.account.provider.to_string(),
                account: run.account.name.to_string(),
                models: models
                    .map(|(model, delta)| (model.to_string(), signed(delta)))
                    .collect(),
                delta: signed(&all),
                lines_read: run.lines.read,
                malformed_lines_read: run.lines.malformed,
                totals: wire::RunTotals {
                    malformed_lines: run.all_lines.malformed,
                    ..summary::totals_of_run(&run.totals)
                },
            };
            push(
                &mut frames,
                "usage",
                Some(&run.run),
                Some(&run.account),
                &document,
            );
        }
        for changed in &update.windows {
            let state: Option<&WindowState> = (view.accounts.get(&changed.account))
                .and_then(|account| account.windows.get(&*changed.window));
            let Some(state) = state else {
                continue;
            };
            let document = wire::WindowEvent {
                sequence,
                at: at.clone(),
                rolled_over: changed.rolled_over,
                window: quota::window(&changed.account, &changed.window, state, now),
            };
            push(&mut frames, "window", None, Some(&changed.account), &document);
        }
        for fired in &update.fired {
            let document = wire::ThresholdEvent {
                sequence,
                threshold: quota::fired(fired),
            };
            push(&mut frames, "threshold", None, Some(&fired.account), &document);
        }
        for changed in &update.accounts {
            let document = wire::AccountEvent {
                sequence,
                at: at.clone(),
                provider: changed.account.provider.to_string(),
                account: changed.account.name.to_string(),
                from: changed.from.as_deref().map(str::to_owned),
                state: changed.state.to_string(),
                until: changed.until.map(time),
                reason: changed.reason.to_string(),
                sentence: changed.sentence.to_string(),
            };
            push(&mut frames, "account", None, Some(&changed.account), &document);
        }
        let texts: usize = frames.iter().map(|frame| frame.json.len()).sum();
        Self {
            sequence,
            bytes: texts + size_of_val(&*frames) + size_of::<Self>(),
            // Without spare capacity, as thousands are kept.
            frames: frames.into(),
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
            let _ = write!(text, "event: {}\ndata: {}\n\n", frame.kind, frame.json);
        }
    }
}

/// Adds an event.
fn push(
    frames: &mut Vec<Frame>,
    kind: &'static str,
    run: Option<&RunId>,
    account: Option<&AccountId>,
    document: &impl Serialize,
) {
    // Strings, numbers and maps with string keys: serialization cannot fail.
    let json = serde_json::to_string(document).unwrap_or_default().into();
    frames.push(Frame {
        kind,
        run: run.cloned(),
        account: account.cloned(),
        json,
    });
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Started => "started",
        Phase::Resumed => "resumed",
        Phase::Stopped(_) => "stopped",
        Phase::Forgotten => "forgotten",
    }
}
