//! The checks of `[[notify]]`.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use strum::VariantArray as _;

use super::{NotifyMistake, PartialMatch, PartialNotify};
use crate::config::accounts::check_name;
use crate::config::mistakes::{MistakeText, did_you_mean, near};
use crate::config::units::{Count, List, Period, within};
use crate::config::url::check_url;
use crate::model::{Millis, window_name};
use crate::quota::notice::NoticeKind;
use crate::quota::notice::target::{
    HIDDEN, NoticeFormat, NoticeMatch, NoticeRoute, NoticeTarget, names, ntfy_topic, shown_url,
};

/// Most targets.
const TARGETS_MAX: usize = 32;
/// Most words of a command, and most bytes of a word and of a pattern.
const WORDS_MAX: usize = 64;
const TEXT_BYTES_MAX: usize = 4096;
const TIMEOUT_RANGE: RangeInclusive<Period> =
    Period(Duration::from_millis(100))..=Period(Duration::from_secs(20));
const MAX_AGE_RANGE: RangeInclusive<Period> =
    Period(Duration::from_mins(1))..=Period(Duration::from_hours(168));
const THRESHOLD_RANGE: RangeInclusive<Count> = Count(1)..=Count(200);

/// Checks the tables; relative secrets are files in `base`. Missing keys are mistakes only if the tables are
/// `is_whole`, that is, without a mistake of their own. In tables as shown, `is_shown`, parts are hidden.
pub fn check_targets(
    tables: &[PartialNotify],
    base: &Path,
    is_whole: bool,
    is_shown: bool,
) -> (Vec<NoticeTarget>, Vec<NotifyMistake>) {
    let mut targets: Vec<NoticeTarget> = Vec::new();
    let mut mistakes = Vec::new();
    for (number, given) in tables.iter().enumerate() {
        let mut check = TargetCheck {
            number,
            given,
            is_whole,
            is_shown,
            mistakes: Vec::new(),
        };
        if number == TARGETS_MAX {
            check.refuse("name", format!("at most {TARGETS_MAX} targets are allowed"));
            mistakes.append(&mut check.mistakes);
            break;
        }
        let target = check.target(base);
        if targets.iter().any(|earlier| earlier.name == target.name) && !target.name.is_empty() {
            let problem = format!(
                "{:?} is there already: each target needs its own name",
                target.name
            );
            check.refuse("name", problem);
        }
        mistakes.append(&mut check.mistakes);
        targets.push(target);
    }
    (targets, mistakes)
}

/// A table that is being checked.
struct TargetCheck<'a> {
    number: usize,
    given: &'a PartialNotify,
    is_whole: bool,
    is_shown: bool,
    mistakes: Vec<NotifyMistake>,
}

impl TargetCheck<'_> {
    fn target(&mut self, base: &Path) -> NoticeTarget {
        let given = self.given;
        match &given.name {
            Some(name) => {
                if let Err(problem) = check_name(name) {
                    self.refuse("name", problem);
                }
            }
            None => self.miss("name", "it is missing: a name for the target, as in \"oncall\""),
        }
        let timeout = given.timeout.unwrap_or(Period(Duration::from_secs(10)));
        if let Err(problem) = within(&timeout, &TIMEOUT_RANGE) {
            self.refuse("timeout", problem);
        }
        let max_age = given.max_age.unwrap_or(Period(Duration::from_hours(1)));
        if let Err(problem) = within(&max_age, &MAX_AGE_RANGE) {
            self.refuse("max_age", problem);
        }
        let file = |path: &Option<PathBuf>| {
            let path = path.as_ref().filter(|path| !path.as_os_str().is_empty())?;
            Some(base.join(path))
        };
        NoticeTarget {
            name: given.name.as_deref().unwrap_or_default().into(),
            events: self.events(),
            matches: self.matches(),
            route: self.route(),
            secret_file: file(&given.secret_file),
            token_file: file(&given.token_file),
            format: given.format.unwrap_or_default(),
            timeout: timeout.0,
            max_age: Millis::try_from(max_age.0.as_millis()).unwrap_or(Millis::MAX),
        }
    }

    fn events(&mut self) -> Vec<Box<str>> {
        let Some(List(events)) = &self.given.events else {
            self.miss(
                "events",
                "it is missing: the events, as in [\"window.threshold\", \"account.*\"]",
            );
            return Vec::new();
        };
        if events.is_empty() {
            self.refuse(
                "events",
                "it names no event: the target would get none".to_owned(),
            );
        }
        let known = || NoticeKind::VARIANTS.iter().map(NoticeKind::into_str);
        for pattern in events {
            if NoticeKind::VARIANTS.iter().any(|kind| names(pattern, *kind)) {
                continue;
            }
            let all: Vec<&str> = known().collect();
            let problem = MistakeText {
                what: format!("{pattern:?} is no event: {}", all.join(", ")),
                hint: near(pattern, known()).map(did_you_mean),
            };
            self.refuse("events", problem);
        }
        events.iter().map(|event| event.as_str().into()).collect()
    }

    fn matches(&mut self) -> NoticeMatch {
        let none = PartialMatch::default();
        let given = self.given.matches.as_ref().unwrap_or(&none);
        let mut pattern = |key: &str, given: &Option<String>| -> Option<Box<str>> {
            let given = given.as_deref()?;
            if given.is_empty() || given.len() > TEXT_BYTES_MAX {
                let problem = format!("give 1 to {TEXT_BYTES_MAX} bytes, with `*` for any characters");
                self.refuse(&format!("match.{key}"), problem);
            }
            Some(given.into())
        };
        let matches = NoticeMatch {
            provider: pattern("provider", &given.provider),
            account: pattern("account", &given.account),
            bucket: pattern("bucket", &given.bucket).map(|name| window_name::canonical(&name).into()),
            run: pattern("run", &given.run),
            threshold: given
                .threshold
                .map(|Count(percent)| u8::try_from(percent).unwrap_or(u8::MAX)),
        };
        if let Some(Err(problem)) = given.threshold.map(|percent| within(&percent, &THRESHOLD_RANGE)) {
            self.refuse("match.threshold", problem);
        }
        matches
    }

    fn route(&mut self) -> NoticeRoute {
        let given = self.given;
        let is_hidden = |text: &str| !self.is_shown && text.ends_with(HIDDEN);
        let hidden = "a part of it is hidden, as where the configuration is shown; write it in full";
        let url = given.url.as_deref().filter(|url| !url.is_empty());
        let exec = given
            .exec
            .as_ref()
            .map(|List(words)| words)
            .filter(|words| !words.is_empty());
        match (url, exec) {
            (Some(url), None) => {
                if is_hidden(url) {
                    self.refuse("url", hidden.to_owned());
                } else if let Err(problem) = check_url(url, true) {
                    // The address may be a secret.
                    self.refuse("url", problem.replace(url, &shown_url(url)));
                } else if !cfg!(feature = "outbound") {
                    let problem = "this program was built without the feature `outbound`, so it sends no requests; \
                                   use exec";
                    self.refuse("url", problem.to_owned());
                } else if given.format == Some(NoticeFormat::Ntfy)
                    && ntfy_topic(url).is_none()
                    && !url.ends_with(HIDDEN)
                {
                    let problem = "for ntfy it ends with the topic: https://HOST/TOPIC, a TOPIC of 1 to 64 letters, \
                                   digits, `-` and `_`";
                    self.refuse("url", problem.to_owned());
                }
                NoticeRoute::Url(url.into())
            }
            (None, Some(words)) => {
                if words.last().is_some_and(|word| !self.is_shown && word == HIDDEN) {
                    self.refuse("exec", hidden.to_owned());
                }
                self.exec(words);
                NoticeRoute::Exec(words.clone())
            }
            (Some(_), Some(_)) => {
                self.refuse("exec", "a target has url or exec, not both".to_owned());
                NoticeRoute::Exec(Vec::new())
            }
            (None, None) => {
                self.miss("url", "url or exec is missing: where the events go");
                NoticeRoute::Exec(Vec::new())
            }
        }
    }

    fn exec(&mut self, words: &[String]) {
        let is_word = |word: &String| word.len() <= TEXT_BYTES_MAX && !word.contains('\0');
        if words.len() > WORDS_MAX || !words.iter().all(is_word) {
            let problem = format!("at most {WORDS_MAX} words of {TEXT_BYTES_MAX} bytes are allowed");
            self.refuse("exec", problem);
        }
        if !Path::new(&words[0]).is_absolute() {
            let problem = format!("{:?} is not an absolute path: no shell looks for it", words[0]);
            self.refuse("exec", problem);
        }
        let of_urls = [
            ("secret_file", self.given.secret_file.is_some()),
            ("token_file", self.given.token_file.is_some()),
            (
                "format",
                self.given
                    .format
                    .is_some_and(|format| format != NoticeFormat::Standard),
            ),
        ];
        for (key, is_given) in of_urls {
            if is_given {
                self.refuse(key, "it is for url; exec does not use it".to_owned());
            }
        }
    }

    fn refuse(&mut self, key: &str, problem: impl Into<MistakeText>) {
        self.mistakes.push(NotifyMistake {
            number: self.number,
            key: key.to_owned(),
            problem: problem.into(),
        });
    }

    /// Refuses a key that is missing, unless it may be among those with a mistake.
    fn miss(&mut self, key: &str, problem: &str) {
        if self.is_whole {
            self.refuse(key, problem.to_owned());
        }
    }
}
