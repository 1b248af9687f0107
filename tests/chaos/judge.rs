//! The judge: compares the collector's answers with the schedule of faults and the writers' books.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::process::ask;
use crate::scene::Shared;

/// A problem is named within this time after it begins, and not for longer after it ends.
pub const NAMED_WITHIN: Duration = Duration::from_secs(10);
/// Longest answer about health.
pub const ANSWERED_WITHIN: Duration = Duration::from_secs(1);
const ASK_EVERY: Duration = Duration::from_millis(100);

/// A fault as the judge sees it.
pub struct Seen {
    pub what: String,
    pub began: Instant,
    pub ended: Option<Instant>,
    pub is_silent: bool,
    /// True if it reaches every run, so that none recovers from another fault meanwhile.
    pub reaches_all: bool,
    /// True if its runs are moved away, so that nothing else can be reported of them.
    pub takes_away: bool,
    /// Reasons that health must have.
    pub demanded: Vec<String>,
    /// Words that health may have because of it, and runs that it may name.
    pub words: &'static [&'static str],
    pub runs: Vec<String>,
}

impl Seen {
    /// True if no answer was required for a request at that time.
    fn silenced(&self, asked: Instant) -> bool {
        self.is_silent && self.ended.is_none_or(|ended| ended + ANSWERED_WITHIN > asked)
    }

    /// True if it explains this reason of health.
    fn explains(&self, reason: &str) -> bool {
        self.is_about(reason) || self.words.iter().any(|words| reason.contains(words))
    }

    /// True if this reason names one of its runs.
    fn is_about(&self, reason: &str) -> bool {
        let run = reason.strip_prefix("run ").and_then(|rest| rest.split_once(": "));
        run.is_some_and(|(run, _)| self.runs.iter().any(|its| its == run))
    }
}

/// Counts of the questions, and the longest time of an answer.
#[derive(Default)]
pub struct JudgeReport {
    pub questions: u64,
    pub answered_in: Duration,
    pub not_ok: u64,
}

pub struct Judge {
    pub shared: Arc<Shared>,
    pub socket: PathBuf,
    /// Nothing comes: it ends with the test.
    pub pace: Receiver<()>,
}

impl Judge {
    pub fn run(self) -> JudgeReport {
        let mut figures = JudgeReport::default();
        while self.pace.recv_timeout(ASK_EVERY) == Err(RecvTimeoutError::Timeout) {
            let asked = Instant::now();
            let answer = ask(&self.socket, "GET", "/healthz", "", ANSWERED_WITHIN);
            let took = asked.elapsed();
            let fault = match answer {
                Ok((_, health)) if health["reasons"].is_array() => {
                    figures.questions += 1;
                    if !self.is_silent(asked) {
                        figures.answered_in = figures.answered_in.max(took);
                    }
                    figures.not_ok += u64::from(health["status"] != "ok");
                    self.judge(asked, &health)
                }
                Ok((status, document)) => self.unanswered(asked, &format!("{status} {document}")),
                Err(error) => self.unanswered(asked, &error.to_string()),
            };
            if let Some(fault) = fault {
                self.shared.fault(fault);
            }
        }
        figures
    }

    /// True if no answer is required.
    fn is_silent(&self, asked: Instant) -> bool {
        let troubles = self.shared.troubles.lock().unwrap();
        troubles.iter().any(|trouble| trouble.silenced(asked))
    }

    fn unanswered(&self, asked: Instant, why: &str) -> Option<String> {
        (!self.is_silent(asked)).then(|| format!("health was not told: {why}"))
    }

    fn judge(&self, asked: Instant, health: &Value) -> Option<String> {
        // The books are read before the schedule: whatever begins in between is known.
        let up_since = *self.shared.up_since.lock().unwrap();
        let owed = self.shared.books.lock().unwrap().owed(NAMED_WITHIN, up_since);
        let troubles = self.shared.troubles.lock().unwrap();
        let reasons: Vec<&str> = health["reasons"]
            .as_array()?
            .iter()
            .filter_map(Value::as_str)
            .collect();
        if (health["status"] == "ok") != reasons.is_empty() {
            return Some(format!("{} with reasons {reasons:?}", health["status"]));
        }
        let is_recent = |trouble: &&Seen| is_recent(trouble, &troubles, asked);
        for reason in &reasons {
            if !troubles
                .iter()
                .filter(is_recent)
                .any(|trouble| trouble.explains(reason))
            {
                return Some(format!("nothing is the matter, and health says {reason:?}"));
            }
        }
        let is_due =
            |trouble: &&Seen| trouble.ended.is_none() && asked > trouble.began.max(up_since) + NAMED_WITHIN;
        // A run whose lines wait for the database is not read either; health reports the database then.
        let ago = asked.checked_sub(NAMED_WITHIN).unwrap_or(asked);
        let hides = |trouble: &&Seen, reason: &str| {
            trouble.ended.is_none_or(|ended| ended > ago)
                && (trouble.reaches_all && reason.starts_with("run ")
                    || trouble.takes_away && trouble.is_about(reason))
        };
        for trouble in troubles.iter().filter(is_due) {
            let others = || troubles.iter().filter(|other| other.what != trouble.what);
            let demanded = trouble.demanded.iter();
            for demanded in demanded.filter(|reason| !others().any(|other| hides(&other, reason))) {
                if !reasons.iter().any(|reason| reason.contains(demanded)) {
                    return Some(format!(
                        "{} lasts {:?}, and health does not say {demanded:?} but {reasons:?}",
                        trouble.what,
                        asked - trouble.began
                    ));
                }
            }
        }
        for (run, suffers) in owed {
            if !suffers {
                return Some(format!(
                    "lines of run {run}, to which nothing happens, are not counted; health says {reasons:?}"
                ));
            }
            if reasons.is_empty() {
                return Some(format!("lines of run {run} are not counted, and health says ok"));
            }
        }
        None
    }
}

/// True if a fault still holds, or ended so recently that health may still name it.
fn is_recent(trouble: &Seen, troubles: &[Seen], asked: Instant) -> bool {
    let Some(mut ended) = trouble.ended else {
        return true;
    };
    // In the order of their beginning.
    for other in troubles.iter().filter(|other| other.reaches_all) {
        if other.began <= ended + NAMED_WITHIN {
            ended = ended.max(other.ended.unwrap_or(asked));
        }
    }
    asked <= ended + NAMED_WITHIN
}
