//! The explained keys of the configuration file, by table: the example file and the manual page are made of them.

use std::fmt::Write as _;

use super::accounts::POLL_KEYS;
use super::{KEYS, Key, Settings, accounts, notifications};

/// A table of the file with its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyTable {
    /// As in the file, such as `[watch]`; empty for the keys before the first table.
    pub heading: String,
    /// Sentences on the table as a whole, in lines.
    pub about: &'static [&'static str],
    pub keys: Vec<KeyHelp>,
    /// True for a part of another table, which the example does not spell out.
    is_part: bool,
}

/// A key of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHelp {
    pub name: &'static str,
    /// In TOML.
    pub default: &'static str,
    pub help: &'static str,
    /// True if a new value needs a restart.
    pub is_fixed: bool,
}

const OF_ACCOUNT: &[&str] = &[
    "A provider account; one such table for each, in this file only. Of several that match a run, the",
    "first has it. Runs that match none belong to claude/default, as all do without such a table.",
];
const OF_POLL: &[&str] = &["The way to the account's own numbers, below its [[account]]."];
const OF_NOTIFY: &[&str] = &[
    "A target of notifications; one such table for each, in this file only. docs/notify.md has examples;",
    "with the package it is /usr/share/doc/tokentail/docs/notify.md.",
];

/// Every table of the file, in the order of the example.
#[must_use]
pub fn key_tables() -> Vec<KeyTable> {
    let mut tables: Vec<KeyTable> = Vec::new();
    for key in KEYS {
        let (section, name) = key.name.rsplit_once('.').unwrap_or(("", key.name));
        let heading = match section {
            "" => String::new(),
            section => format!("[{section}]"),
        };
        if tables.last().is_none_or(|table| table.heading != heading) {
            tables.push(KeyTable {
                heading,
                about: &[],
                keys: Vec::new(),
                is_part: false,
            });
        }
        if let Some(table) = tables.last_mut() {
            table.keys.push(KeyHelp {
                name,
                ..key.as_help()
            });
        }
    }
    let table = |heading: &str, about, keys: &[Key], is_part| KeyTable {
        heading: heading.to_owned(),
        about,
        keys: keys.iter().map(Key::as_help).collect(),
        is_part,
    };
    tables.push(table("[[account]]", OF_ACCOUNT, accounts::KEYS, false));
    tables.push(table("[account.poll]", OF_POLL, POLL_KEYS, true));
    tables.push(table("[[notify]]", OF_NOTIFY, notifications::KEYS, false));
    tables
}

impl Key {
    const fn as_help(&self) -> KeyHelp {
        KeyHelp {
            name: self.name,
            default: self.default,
            help: self.help,
            is_fixed: self.fixed,
        }
    }
}

impl Settings {
    /// A configuration file in which every key is explained and commented out.
    #[must_use]
    pub fn example_toml() -> String {
        let mut text = String::from(
            "# tokentail: every key with its default, as it is for the service.\n\
             # A flag overrides a variable (TOKENTAIL__LIMITS__DEPTH_MAX=8), a variable overrides this file.\n",
        );
        for table in key_tables().iter().filter(|table| !table.is_part) {
            if !table.heading.is_empty() {
                text.push('\n');
            }
            for line in table.about {
                let _ = writeln!(text, "# {line}");
            }
            // An empty table is a table; one of an array would be an account or a target.
            let mark = if table.heading.starts_with("[[") { "#" } else { "" };
            if !table.heading.is_empty() {
                let _ = writeln!(text, "{mark}{}", table.heading);
            }
            for key in &table.keys {
                let _ = write!(text, "\n# {}\n#{} = {}\n", key.help, key.name, key.default);
            }
        }
        text
    }
}
