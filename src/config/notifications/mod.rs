//! The targets of notifications: the `[[notify]]` tables of the file, their checks, and their secrets.

mod rules;
pub mod secret;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::mistakes::MistakeText;
use super::units::{Count, List, Period};
use super::{Key, key};
use crate::quota::notice::target::{HIDDEN, NoticeFormat, NoticeRoute, NoticeTarget};

pub(super) use rules::check_targets;

/// Every key of a target, in the order of the example.
pub(super) const KEYS: &[Key] = &[
    key(
        "name",
        "\"oncall\"",
        "Name of the target: 1 to 64 of A-Z a-z 0-9 . _ -; each has its own.",
    ),
    key(
        "events",
        "[\"window.threshold\", \"account.*\", \"health.*\"]",
        "Events that it gets; `*` at the end stands for the rest of a name. run.stopped only by its full name.",
    ),
    key(
        "match",
        "{}",
        "Conditions, each on the events that have the property: provider, account, bucket, run with `*`, and the least threshold, as in { account = \"max-*\", threshold = 90 }",
    ),
    key(
        "url",
        "\"https://example.org/hook\"",
        "Address of a webhook: https, or http on this host. This or exec.",
    ),
    key(
        "exec",
        "[]",
        "A program by its absolute path, and its arguments, as in [\"/usr/local/bin/page\", \"--quiet\"]; no shell.",
    ),
    key(
        "secret_file",
        "\"\"",
        "File with the secret of a webhook, one or more lines whsec_... that sign; relative to $CREDENTIALS_DIRECTORY if that is set, else to the folder of this file.",
    ),
    key(
        "token_file",
        "\"\"",
        "File with an access token, one line that is sent as `Authorization: Bearer ...`; relative like secret_file.",
    ),
    key(
        "format",
        "\"standard\"",
        "Body of a webhook: standard (Standard Webhooks), alertmanager, ntfy or slack.",
    ),
    key("timeout", "\"10s\"", "Time for one try as a whole, 100ms to 20s."),
    key(
        "max_age",
        "\"1h\"",
        "Age from which an event is dropped instead of sent, 1m to 168h.",
    ),
];

/// One table of the file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "a table with the keys of a target of notifications"
)]
pub struct PartialNotify {
    pub name: Option<String>,
    pub events: Option<List>,
    #[serde(rename = "match")]
    pub matches: Option<PartialMatch>,
    pub url: Option<String>,
    pub exec: Option<List>,
    pub secret_file: Option<std::path::PathBuf>,
    pub token_file: Option<std::path::PathBuf>,
    pub format: Option<NoticeFormat>,
    pub timeout: Option<Period>,
    pub max_age: Option<Period>,
}

/// The table of `match`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table of conditions")]
pub struct PartialMatch {
    pub provider: Option<String>,
    pub account: Option<String>,
    pub bucket: Option<String>,
    pub run: Option<String>,
    pub threshold: Option<Count>,
}

/// Deserializes the tables; a single table with single brackets gets a hint.
pub(super) fn notify_tables<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<PartialNotify>>, D::Error> {
    struct NotifyTables;

    impl<'de> Visitor<'de> for NotifyTables {
        type Value = Vec<PartialNotify>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a table [[notify]] for each target, in double brackets")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
            let mut targets = Vec::new();
            while let Some(target) = array.next_element()? {
                targets.push(target);
            }
            Ok(targets)
        }

        fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
            Err(A::Error::custom(
                "write [[notify]] with two brackets: there may be several",
            ))
        }
    }
    deserializer.deserialize_any(NotifyTables).map(Some)
}

/// A mistake in one table.
#[derive(Debug)]
pub(super) struct NotifyMistake {
    /// Index of the table, from 0.
    number: usize,
    /// Key in the table.
    key: String,
    problem: MistakeText,
}

impl NotifyMistake {
    /// The place in the file.
    pub(super) fn place(&self) -> String {
        format!("notify[{}].{}", self.number, self.key)
    }

    pub(super) fn problem(&self) -> MistakeText {
        self.problem.clone().of_key(&format!("notify.{}", self.key))
    }
}

/// Every key of a target with its value in TOML. The address ends with its host, since its path may be a secret, and
/// so may arguments.
#[must_use]
pub fn rows(target: &NoticeTarget) -> Vec<(&'static str, String)> {
    let text = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let period = |length: Duration| text(&Period(length).to_string());
    let events: Vec<String> = target.events.iter().map(ToString::to_string).collect();
    let rules = &target.matches;
    let mut matches: BTreeMap<&str, toml::Value> = BTreeMap::new();
    for (name, pattern) in [
        ("provider", &rules.provider),
        ("account", &rules.account),
        ("bucket", &rules.bucket),
        ("run", &rules.run),
    ] {
        if let Some(pattern) = pattern {
            matches.insert(name, pattern.to_string().into());
        }
    }
    if let Some(threshold) = rules.threshold {
        matches.insert("threshold", i64::from(threshold).into());
    }
    let matches = toml::Value::try_from(matches).map_or_else(|_| "{}".to_owned(), |table| table.to_string());
    let mut rows = vec![
        ("name", text(&target.name)),
        ("events", toml::Value::from(events).to_string()),
        ("match", matches),
    ];
    match &target.route {
        NoticeRoute::Url(_) => {
            rows.push(("url", text(&target.route.shown())));
            rows.push(("format", text(target.format.into_str())));
        }
        NoticeRoute::Exec(words) => {
            let mut shown = vec![target.route.shown()];
            shown.extend((words.len() > 1).then(|| HIDDEN.to_owned()));
            rows.push(("exec", toml::Value::from(shown).to_string()));
        }
    }
    for (key, path) in [
        ("secret_file", &target.secret_file),
        ("token_file", &target.token_file),
    ] {
        if let Some(path) = path {
            rows.push((key, text(&path.display().to_string())));
        }
    }
    rows.push(("timeout", period(target.timeout)));
    let max_age = Duration::from_millis(target.max_age.unsigned_abs());
    rows.push(("max_age", period(max_age)));
    rows
}
