//! The checks of `[account.poll]`: each way with its own keys, and a token that goes to one server, encrypted.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::super::units::{List, Period, within};
use super::super::url::check_url;
use super::poll::{PartialPoll, PollTable};
use super::table::Table;
use crate::model::Millis;
use crate::quota::poll::settings::{INTERVAL_DEFAULT_MS, INTERVAL_MIN_MS, PollSettings, PollVia};

const INTERVAL_RANGE: RangeInclusive<Period> =
    Period(Duration::from_millis(INTERVAL_MIN_MS.unsigned_abs()))..=Period(Duration::from_hours(24));
/// The command that makes Claude Code write its cache; it calls no model.
const COMMAND_DEFAULT: [&str; 3] = ["claude", "-p", "/usage"];
/// Most words of a command, and most bytes of a word, of a header and of an address.
const WORDS_MAX: usize = 64;
const TEXT_BYTES_MAX: usize = 1024;

impl Table<'_> {
    /// The poll of the account; `None` without one.
    pub(super) fn poll(&mut self) -> Option<PollSettings> {
        let PollTable::On(given) = self.given.poll.as_ref()? else {
            return None;
        };
        let Some(via) = given.via else {
            let ways = "claude-cli, cache-file, usage-api or wham";
            self.miss("poll.via", format!("it is missing: {ways}"));
            return None;
        };
        self.check_fitting(given, via);
        if via.has_credentials() && !cfg!(feature = "outbound") {
            let problem = "this program was built without the feature `outbound`, so it sends no requests; use \
                           claude-cli or cache-file";
            self.refuse("poll.via", problem.to_owned());
        }
        let default = Period(Duration::from_millis(INTERVAL_DEFAULT_MS.unsigned_abs()));
        let interval = given.interval.unwrap_or(default);
        if let Err(problem) = within(&interval, &INTERVAL_RANGE) {
            self.refuse("poll.interval", problem);
        }
        let command = match (&given.command, via) {
            (Some(List(words)), PollVia::ClaudeCli) => self.command(words),
            (None, PollVia::ClaudeCli) => COMMAND_DEFAULT.map(str::to_owned).to_vec(),
            _ => Vec::new(),
        };
        if let Some(agent) = &given.user_agent {
            let is_plain = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
            if agent.trim().is_empty() || agent.len() > TEXT_BYTES_MAX || !agent.bytes().all(is_plain) {
                let problem =
                    format!("{agent:?} is no header: 1 to {TEXT_BYTES_MAX} visible ASCII characters");
                self.refuse("poll.user_agent", problem);
            }
        }
        let base_url = given.base_url.as_deref().map(|url| url.trim_end_matches('/'));
        if let Some(Err(problem)) = base_url.map(|url| check_url(url, false)) {
            self.refuse("poll.base_url", problem);
        }
        Some(PollSettings {
            via,
            interval: Millis::try_from(interval.0.as_millis()).unwrap_or(Millis::MAX),
            credentials: self.absolute("poll.credentials", given.credentials.as_ref()),
            cache: self.absolute("poll.cache", given.cache.as_ref()),
            command,
            user_agent: given.user_agent.clone(),
            base_url: base_url.map(str::to_owned),
        })
    }

    /// Refuses keys that the way does not use, and missing ones that it needs.
    fn check_fitting(&mut self, given: &PartialPoll, via: PollVia) {
        let word = via.into_str();
        let asks = via.has_credentials();
        for (key, is_given, fits) in [
            ("credentials", given.credentials.is_some(), asks),
            ("cache", given.cache.is_some(), via != PollVia::Wham),
            ("command", given.command.is_some(), via == PollVia::ClaudeCli),
            ("user_agent", given.user_agent.is_some(), asks),
            ("base_url", given.base_url.is_some(), asks),
        ] {
            if is_given && !fits {
                self.refuse(
                    &format!("poll.{key}"),
                    format!("via = \"{word}\" does not use it"),
                );
            }
        }
        if asks && given.credentials.is_none() {
            let example = if via == PollVia::Wham {
                ".codex/auth.json"
            } else {
                ".claude/.credentials.json"
            };
            let problem =
                format!("via = \"{word}\" needs the file of the login, as in \"/home/u/{example}\"");
            self.miss("poll.credentials", problem);
        }
        if !asks && given.cache.is_none() {
            let problem =
                format!("via = \"{word}\" needs the file of the client, as in \"/home/u/.claude.json\"");
            self.miss("poll.cache", problem);
        }
    }

    /// Refuses a key that is missing, unless it may be among those with a mistake.
    fn miss(&mut self, key: &str, problem: String) {
        if self.is_whole {
            self.refuse(key, problem);
        }
    }

    fn command(&mut self, words: &[String]) -> Vec<String> {
        let is_word = |word: &String| word.len() <= TEXT_BYTES_MAX && !word.contains('\0');
        if !(1..=WORDS_MAX).contains(&words.len()) || words[0].is_empty() || !words.iter().all(is_word) {
            let problem = format!(
                "give the program and its arguments, as in [\"claude\", \"-p\", \"/usage\"]: at most {WORDS_MAX} words of \
                 {TEXT_BYTES_MAX} bytes"
            );
            self.refuse("poll.command", problem);
        }
        words.to_vec()
    }

    fn absolute(&mut self, key: &str, path: Option<&PathBuf>) -> Option<PathBuf> {
        let path = path?;
        if !path.is_absolute() {
            let problem = format!("{:?} is not an absolute path", path.display().to_string());
            self.refuse(key, problem);
        }
        Some(path.clone())
    }
}
