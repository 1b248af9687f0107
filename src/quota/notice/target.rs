//! Targets: who gets which events, and how.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

use super::{Notice, NoticeKind};
use crate::model::{AccountId, Millis, window_name};

/// The form of a webhook's body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, IntoStaticStr, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase", const_into_str)]
pub enum NoticeFormat {
    /// Standard Webhooks.
    #[default]
    Standard,
    /// The webhook of Alertmanager, version 4.
    Alertmanager,
    Ntfy,
    /// Slack, Mattermost, and others that take `text`.
    Slack,
}

/// The way to a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoticeRoute {
    Url(Box<str>),
    /// A program by its absolute path, and its arguments.
    Exec(Vec<String>),
}

impl NoticeRoute {
    /// The way as shown: the path and the query of an address may be a secret.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::Url(url) => shown_url(url),
            Self::Exec(words) => words.first().cloned().unwrap_or_default(),
        }
    }
}

/// The mark in the place of what is not shown.
pub const HIDDEN: &str = "...";

/// An address up to its host, with [`HIDDEN`] for what follows.
#[must_use]
pub fn shown_url(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let more = if rest.len() > host.len() { "/..." } else { "" };
    format!("{scheme}://{host}{more}")
}

/// The address that takes messages as JSON, and the topic, of an address of ntfy: `https://host/topic`. `None` if its
/// last part is no topic.
#[must_use]
pub fn ntfy_topic(url: &str) -> Option<(String, &str)> {
    let (address, query) = url.find('?').map_or((url, ""), |at| url.split_at(at));
    let (_, path) = address.split_once("://")?.1.split_once('/')?;
    let topic = path.rsplit('/').next().unwrap_or(path);
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_topic = (1..=64).contains(&topic.len()) && topic.bytes().all(is_letter);
    let server = address.strip_suffix(topic)?;
    is_topic.then(|| (format!("{server}{query}"), topic))
}

/// Conditions on events. Each applies to the events that have the property, and to no other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoticeMatch {
    pub provider: Option<Box<str>>,
    /// With a `/` for the provider and the name together.
    pub account: Option<Box<str>>,
    /// A window by its canonical name.
    pub bucket: Option<Box<str>>,
    pub run: Option<Box<str>>,
    /// The least threshold, in percent.
    pub threshold: Option<u8>,
}

impl NoticeMatch {
    /// True if the events of this account fit.
    #[must_use]
    pub fn takes_account(&self, id: &AccountId) -> bool {
        let is_account = |pattern: &str| {
            if pattern.contains('/') {
                fits(pattern, &id.to_string())
            } else {
                fits(pattern, &id.name)
            }
        };
        self.provider
            .as_deref()
            .is_none_or(|pattern| fits(pattern, &id.provider))
            && self.account.as_deref().is_none_or(is_account)
    }

    /// True if the events of this window fit.
    #[must_use]
    pub fn takes_window(&self, name: &str) -> bool {
        let name = window_name::canonical(name);
        self.bucket.as_deref().is_none_or(|pattern| fits(pattern, name))
    }
}

/// A configured target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoticeTarget {
    pub name: Box<str>,
    /// Names of events; `account.*` stands for all that begin so, `*` for all.
    pub events: Vec<Box<str>>,
    pub matches: NoticeMatch,
    pub route: NoticeRoute,
    /// Secrets that sign.
    pub secret_file: Option<PathBuf>,
    /// A bearer token.
    pub token_file: Option<PathBuf>,
    pub format: NoticeFormat,
    /// Of one try as a whole.
    pub timeout: Duration,
    /// Age at which an event is dropped, in milliseconds.
    pub max_age: Millis,
}

impl NoticeTarget {
    /// True if the target asks for events of this kind.
    #[must_use]
    pub fn names(&self, kind: NoticeKind) -> bool {
        self.events.iter().any(|pattern| names(pattern, kind))
    }

    /// True if the target gets this event.
    #[must_use]
    pub fn wants(&self, notice: &Notice) -> bool {
        // What a target lost is said to it whatever it asked for.
        if notice.kind == NoticeKind::NotifyDropped {
            return true;
        }
        let rules = &self.matches;
        self.names(notice.kind)
            && notice.account.as_ref().is_none_or(|id| rules.takes_account(id))
            && notice
                .bucket
                .as_deref()
                .is_none_or(|name| rules.takes_window(name))
            && (rules.run.as_deref().zip(notice.run.as_deref()))
                .is_none_or(|(pattern, run)| fits(pattern, run))
            && (rules.threshold.zip(notice.threshold)).is_none_or(|(least, is)| is >= least)
    }
}

/// True if a pattern names a kind. `run.stopped` is named by its full name alone.
#[must_use]
pub fn names(pattern: &str, kind: NoticeKind) -> bool {
    let name = kind.into_str();
    match pattern.strip_suffix('*') {
        None => pattern == name,
        Some(_) if kind == NoticeKind::RunStopped => false,
        Some(prefix) => name.starts_with(prefix),
    }
}

/// True if a value fits a pattern, in which `*` stands for any characters.
fn fits(pattern: &str, value: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| value.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    true
}
