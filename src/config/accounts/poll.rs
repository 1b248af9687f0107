//! The table `[account.poll]`: the way to an account's own numbers.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::super::units::{List, Period};
use super::super::{Key, key};
use crate::quota::poll::settings::{PollSettings, PollVia};

/// Every key of the table; without a default it must be given where the way needs it.
pub const POLL_KEYS: &[Key] = &[
    key(
        "via",
        "",
        "claude-cli: runs the client, which costs no tokens, and reads the cache that it writes. cache-file: reads that cache. usage-api: requests the provider with a login of Claude Code. wham: the same with a login of Codex.",
    ),
    key(
        "interval",
        "\"5m\"",
        "Time between two polls, 1m to 24h, a tenth more or less by chance.",
    ),
    key(
        "credentials",
        "",
        "File with the login, by its absolute path: .claude/.credentials.json, or auth.json of Codex. For usage-api and wham.",
    ),
    key(
        "cache",
        "",
        "The client's .claude.json, by its absolute path. For claude-cli and cache-file; with usage-api, what it has that is fresh is taken instead of a request.",
    ),
    key(
        "command",
        "[\"claude\", \"-p\", \"/usage\"]",
        "The client and its arguments, no shell, for claude-cli; killed after 60s.",
    ),
    key(
        "user_agent",
        "\"tokentail/VERSION\"",
        "The header of this name, for usage-api and wham.",
    ),
    key(
        "base_url",
        "",
        "Address of the server, if it is not the provider's: https, or http on this host.",
    ),
];

/// `poll` of an account: `false`, or a table.
#[derive(Clone, Debug, PartialEq)]
pub enum PollTable {
    Off,
    On(PartialPoll),
}

/// The table as written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table with the keys of a poll")]
pub struct PartialPoll {
    pub via: Option<PollVia>,
    pub interval: Option<Period>,
    pub credentials: Option<PathBuf>,
    pub cache: Option<PathBuf>,
    pub command: Option<List>,
    pub user_agent: Option<String>,
    pub base_url: Option<String>,
}

impl<'de> Deserialize<'de> for PollTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;

        impl<'de> Visitor<'de> for Form {
            type Value = PollTable;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("false, or a table [account.poll] with `via`")
            }

            fn visit_bool<E: serde::de::Error>(self, is_on: bool) -> Result<PollTable, E> {
                if is_on {
                    return Err(E::custom(
                        "the way is missing: write a table, as in { via = \"claude-cli\", cache = \"/home/u/.claude.json\" }",
                    ));
                }
                Ok(PollTable::Off)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PollTable, A::Error> {
                PartialPoll::deserialize(MapAccessDeserializer::new(map)).map(PollTable::On)
            }
        }

        deserializer.deserialize_any(Form)
    }
}

/// The poll as text: `false`, or every key that the way uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum DescribedPoll {
    Off(bool),
    On {
        via: PollVia,
        interval: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        credentials: Option<PathBuf>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache: Option<PathBuf>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        command: Vec<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        user_agent: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        base_url: Option<String>,
    },
}

impl From<Option<&PollSettings>> for DescribedPoll {
    fn from(settings: Option<&PollSettings>) -> Self {
        let Some(settings) = settings else {
            return Self::Off(false);
        };
        Self::On {
            via: settings.via,
            interval: Period(Duration::from_millis(settings.interval.unsigned_abs())).to_string(),
            credentials: settings.credentials.clone(),
            cache: settings.cache.clone(),
            command: settings.command.clone(),
            user_agent: settings.user_agent.clone(),
            base_url: settings.base_url.clone(),
        }
    }
}
