//! The JSON Schema of the configuration file, for editors and for checks without this program.
//!
//! Generated from the keys of the example. It contains keys and types; ranges and combinations are checked by
//! the program only.

use serde_json::{Map, Value, json};

use super::{KEYS, Key, accounts, notifications};

/// The JSON Schema of the configuration file, draft 2020-12.
#[must_use]
pub fn schema() -> Value {
    let mut properties = properties(KEYS);
    let account = json!({
        "type": "object",
        "description": "A provider account; one such table for each.",
        "additionalProperties": false,
        "properties": self::properties(accounts::KEYS),
    });
    properties.insert("account".to_owned(), json!({ "type": "array", "items": account }));
    let target = json!({
        "type": "object",
        "description": "A target of notifications; one such table for each.",
        "additionalProperties": false,
        "properties": self::properties(notifications::KEYS),
    });
    properties.insert("notify".to_owned(), json!({ "type": "array", "items": target }));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "tokentail.toml",
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    })
}

fn properties(keys: &[Key]) -> Map<String, Value> {
    let mut properties = Map::new();
    for key in keys {
        let Some((section, name)) = key.name.split_once('.') else {
            properties.insert(key.name.to_owned(), property(key));
            continue;
        };
        let table = properties
            .entry(section)
            .or_insert_with(|| json!({ "type": "object", "additionalProperties": false, "properties": {} }));
        table["properties"][name] = property(key);
    }
    properties
}

fn property(key: &Key) -> Value {
    let default = default(key);
    let mut property = match &default {
        Value::Bool(_) if key.name == "poll" => poll(),
        Value::Bool(_) => json!({ "type": ["boolean", "string"] }),
        // Digits may be in quotes, with underscores between them.
        Value::Number(_) => json!({ "type": ["integer", "string"], "minimum": 0 }),
        Value::Array(items) if items.first().is_some_and(Value::is_number) => {
            json!({ "type": "array", "items": { "type": "integer", "minimum": 0 } })
        }
        Value::Array(_) => json!({ "type": ["array", "string"], "items": { "type": "string" } }),
        Value::Object(keys) if !keys.is_empty() => {
            let of_key = |value: &Value| match value {
                Value::Number(_) => json!({ "type": ["integer", "string"], "default": value }),
                _ => json!({ "type": "string", "default": value }),
            };
            let keys: Map<String, Value> = (keys.iter())
                .map(|(name, value)| (name.clone(), of_key(value)))
                .collect();
            json!({ "type": "object", "additionalProperties": false, "properties": keys })
        }
        Value::Object(_) if accounts::OF_SHARES.contains(&key.name) => {
            json!({ "type": "object", "additionalProperties": { "type": ["number", "string"] } })
        }
        Value::Object(_) => {
            json!({ "type": "object", "additionalProperties": { "type": ["integer", "string"] } })
        }
        _ if key.is_amount() => json!({ "type": ["string", "integer"] }),
        _ => json!({ "type": "string" }),
    };
    property["description"] = key.help.into();
    property["default"] = default;
    property
}

/// `poll` of an account: `false`, or a table.
fn poll() -> Value {
    let text = || json!({ "type": "string" });
    let mut table = json!({
        "type": ["boolean", "object"],
        "additionalProperties": false,
        "required": ["via"],
        "properties": {
            "via": { "enum": ["claude-cli", "cache-file", "usage-api", "wham"] },
            "interval": text(),
            "credentials": text(),
            "cache": text(),
            "command": { "type": ["array", "string"], "items": text() },
            "user_agent": text(),
            "base_url": text(),
        },
    });
    for key in accounts::POLL_KEYS {
        table["properties"][key.name]["description"] = key.help.into();
    }
    table
}

fn default(key: &Key) -> Value {
    let line = format!("default = {}", key.default);
    let table: Option<Map<String, Value>> = toml::from_str(&line).ok();
    table
        .and_then(|mut table| table.remove("default"))
        .unwrap_or_default()
}

impl Key {
    /// True for an amount with a unit, as in `16MiB`, which may also be a plain number.
    fn is_amount(&self) -> bool {
        self.default.ends_with("iB\"")
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Environment, Partial, Settings};
    use super::*;

    fn is_valid(text: &str) -> bool {
        let document: Value = toml::from_str(text).unwrap();
        jsonschema::is_valid(&schema(), &document)
    }

    /// True if the program accepts the text as its file.
    fn is_taken(text: &str) -> bool {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t.toml");
        std::fs::write(&path, text).unwrap();
        let environment = Environment {
            vars: [("HOME".to_owned(), "/h".into())].into(),
            cwd: "/".into(),
            system_file: directory.path().join("none"),
            has_files: true,
        };
        Settings::load(Partial::default(), Some(&path), &environment).is_ok()
    }

    #[test]
    fn the_example_with_everything_switched_on_fits() {
        let on: String = Settings::example_toml()
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(setting) if !setting.starts_with(' ') => format!("{setting}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        assert!(on.contains("\n[[account]]\n") && on.contains("\ndepth_max = 32\n"));
        assert!(is_valid(&on), "{on}");
    }

    #[test]
    fn every_key_of_a_poll_is_typed_and_explained() {
        for (name, property) in poll()["properties"].as_object().unwrap() {
            let is_typed = !property["type"].is_null() || !property["enum"].is_null();
            assert!(
                is_typed && property["description"].is_string(),
                "{name}: {property}"
            );
        }
    }

    #[test]
    fn it_takes_and_refuses_what_the_program_does() {
        for (text, fits) in [
            ("", true),
            (
                "runs_dir = '/r'\n[limits]\ndepth_max = '1_000'\nline_bytes_max = 65536",
                true,
            ),
            ("[watch]\ninclude = '*/*.jsonl'\nscan_interval = '5s'", true),
            ("[http]\ntls_in_front = 'true'\nhosts = ['a.example']", true),
            (
                "[[account]]\nname = 'a'\nthresholds = [50]\nlabels = { k = 'v' }\nminimum_left = { five_hour = 10 }",
                true,
            ),
            (
                "[[account]]\nconcurrency = 4\nreserve = { high = 0.1, low = 0 }\nramp = { step = 2, every = '1m' }\n\
                 cost = { five_hour = 1 }",
                true,
            ),
            ("[[account]]\nramp = { steps = 2 }", false),
            ("[[account]]\nramp = { every = 30 }", false),
            ("[[account]]\nreserve = { high = true }", false),
            ("[[account]]\nconcurrency = 1.5", false),
            ("depth_max = 1", false),
            ("[limits]\ndepth = 1", false),
            ("[limits]\ndepth_max = -1", false),
            ("[watch]\ninclude = [1]", false),
            ("[watch]\nscan_interval = 5", false),
            ("[[account]]\nnome = 'a'", false),
            ("[[account]]\nthresholds = ['a']", false),
            ("[account]\nname = 'a'", false),
            (
                "[[account]]\n[account.poll]\nvia = 'cache-file'\ncache = '/c'",
                true,
            ),
            ("[[account]]\npoll = false", true),
            ("[[account]]\n[account.poll]\nvia = 'cash'", false),
            ("[[account]]\n[account.poll]\nvai = 'wham'", false),
            ("[[account]]\n[account.poll]\ninterval = '5m'", false),
        ] {
            assert_eq!(is_valid(text), fits, "{text}");
            assert_eq!(is_taken(text), fits, "{text}");
        }
    }
}
