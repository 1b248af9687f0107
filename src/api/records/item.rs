//! One posted record: its members are read by name, so that a refusal names the member and what is wrong.

use std::collections::HashMap;

use jiff::Timestamp;
use serde_json::{Map, Value};
use xxhash_rust::xxh3::xxh3_64;

use crate::config::near;
use crate::model::letters::{is_unsafe, safe};
use crate::model::{
    AccountId, FailedAttempt, Millis, PROVIDER_DEFAULT, PostedRecord, RecordId, RouteNames, RunAccounts,
    RunId, Usage, believed_until, is_account_name,
};
use crate::parse::claude::is_message_id;
use crate::parse::claude::model_name::{MODEL_BYTES_MAX, MODEL_UNKNOWN};

/// Most tokens or searches of each kind in a call: far more is a mistake, and would spoil every sum.
const TOKENS_MAX: u64 = 1_000_000_000_000;
/// Longest id, source, profile, route, instance and error, in bytes.
const NAME_BYTES_MAX: usize = 128;
/// Most failed attempts of one call.
const ATTEMPTS_MAX: usize = 64;
/// Largest number of fallbacks of one call.
const FALLBACKS_MAX: u64 = 1000;
/// The source of a record that names neither itself nor its instance.
const SOURCE_DEFAULT: &str = "api";

const MEMBERS: [&str; 18] = [
    "id",
    "source",
    "time",
    "received_at",
    "provider",
    "account",
    "run",
    "model",
    "message_id",
    "profile",
    "route",
    "instance",
    "outcome",
    "fallbacks",
    "attempts",
    "usage",
    "estimated",
    "duration_ms",
];
const ATTEMPT_MEMBERS: [&str; 4] = ["provider", "account", "model", "error"];
const USAGE_MEMBERS: [&str; 8] = [
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "cache_creation_5m",
    "cache_creation_1h",
    "web_search_requests",
    "thinking_tokens",
];

/// The accounts of a run, or why there are none.
pub type AccountsOfRuns = HashMap<RunId, Result<RunAccounts, String>>;

/// A refusal: the member and what is wrong with it.
type Refusal = String;

/// A checked record, and whether its time was not usable.
#[derive(Debug)]
pub struct CheckedRecord {
    pub record: PostedRecord,
    pub is_clock_suspect: bool,
}

/// The members of an object, at a path for messages.
struct RecordMembers<'v> {
    object: &'v Map<String, Value>,
    path: String,
}

impl<'v> RecordMembers<'v> {
    fn of(value: &'v Value, path: &str, known: &[&str]) -> Result<Self, Refusal> {
        let Value::Object(object) = value else {
            return Err(if path.is_empty() {
                "not a JSON object".to_owned()
            } else {
                format!("{path}: not an object")
            });
        };
        let path = if path.is_empty() {
            String::new()
        } else {
            format!("{path}.")
        };
        if let Some(unknown) = object.keys().find(|name| !known.contains(&name.as_str())) {
            let hint = match near(unknown, known.iter().copied()) {
                Some(meant) => format!("did you mean {meant}?"),
                None => format!("the members are {}", known.join(", ")),
            };
            let unknown: String = cut(unknown).chars().map(safe).collect();
            return Err(format!("{path}{unknown}: there is no such member; {hint}"));
        }
        Ok(Self { object, path })
    }

    fn fail(&self, name: &str, why: impl std::fmt::Display) -> Refusal {
        format!("{}{name}: {why}", self.path)
    }

    /// A member; `null` is like none.
    fn get(&self, name: &str) -> Option<&'v Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    fn text(&self, name: &str, bytes_max: usize) -> Result<Option<&'v str>, Refusal> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let text = value.as_str().ok_or_else(|| self.fail(name, "not a string"))?;
        if !(1..=bytes_max).contains(&text.len()) || text.contains(is_unsafe) {
            let why = format!(
                "1 to {bytes_max} bytes without control characters and marks of direction are allowed"
            );
            return Err(self.fail(name, why));
        }
        Ok(Some(text))
    }

    fn count(&self, name: &str, max: u64) -> Result<Option<u64>, Refusal> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let number = match (value.as_u64(), value.as_f64()) {
            (Some(number), _) => number,
            (None, Some(number)) if number < 0.0 => return Err(self.fail(name, "below zero")),
            (None, Some(_)) => return Err(self.fail(name, "not a whole number")),
            (None, None) => return Err(self.fail(name, "not a number")),
        };
        if number > max {
            return Err(self.fail(name, format!("{number} is too large; at most {max}")));
        }
        Ok(Some(number))
    }

    fn flag(&self, name: &str) -> Result<bool, Refusal> {
        let Some(value) = self.get(name) else {
            return Ok(false);
        };
        value
            .as_bool()
            .ok_or_else(|| self.fail(name, "neither true nor false"))
    }

    fn time(&self, name: &str) -> Result<Option<Millis>, Refusal> {
        let Some(text) = self.text(name, NAME_BYTES_MAX)? else {
            return Ok(None);
        };
        let at = text.parse::<Timestamp>().map_err(|_| {
            let why = format!(
                "{:?} is no RFC 3339 time with an offset, as 2026-11-29T10:00:00Z",
                cut(text)
            );
            self.fail(name, why)
        })?;
        let at = at.as_millisecond();
        if at < 0 {
            return Err(self.fail(name, "before 1970"));
        }
        Ok(Some(at))
    }

    fn account_name(&self, name: &str) -> Result<Option<&'v str>, Refusal> {
        let text = self.text(name, NAME_BYTES_MAX)?;
        if let Some(bad) = text.filter(|text| !is_account_name(text)) {
            let why = format!("{bad:?} is no name: 1 to 64 of A-Z a-z 0-9 . _ -");
            return Err(self.fail(name, why));
        }
        Ok(text)
    }
}

/// The beginning of a text from a client.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(64)]
}

/// The run that a record names; an unusable name is refused by [`check`].
pub fn run_of(value: &Value) -> Option<RunId> {
    value.get("run")?.as_str().and_then(|id| RunId::new(id).ok())
}

/// Resolves the account that a client names, of a provider.
pub type NamedAccount<'a> = &'a mut dyn FnMut(&str, &str) -> Result<AccountId, Refusal>;

/// Checks a record.
///
/// # Errors
/// The member and what is wrong with it.
pub fn check(
    value: &Value,
    runs: &AccountsOfRuns,
    named: NamedAccount<'_>,
    now: Millis,
) -> Result<CheckedRecord, Refusal> {
    let it = RecordMembers::of(value, "", &MEMBERS)?;
    let id = (it.text("id", NAME_BYTES_MAX)?).ok_or_else(|| it.fail("id", "it is missing"))?;
    let names = RouteNames {
        profile: it.text("profile", NAME_BYTES_MAX)?.map(Into::into),
        route: it.text("route", NAME_BYTES_MAX)?.map(Into::into),
        instance: it.text("instance", NAME_BYTES_MAX)?.map(Into::into),
    };
    let source = it.text("source", NAME_BYTES_MAX)?;
    let source = source.or(names.instance.as_deref()).unwrap_or(SOURCE_DEFAULT);
    let is_ok = match it.text("outcome", NAME_BYTES_MAX)? {
        None | Some("ok") => true,
        Some("failed") => false,
        Some(other) => return Err(it.fail("outcome", format!("{:?} is neither ok nor failed", cut(other)))),
    };
    let message = it.text("message_id", NAME_BYTES_MAX)?;
    let id = match message {
        None => RecordId::Own {
            source: source.into(),
            id: id.into(),
        },
        Some(_) if !is_ok => return Err(it.fail("message_id", "a failed call has none")),
        Some(message) if !is_message_id(message) => {
            let why = format!(
                "{:?} may be the id of several responses; leave it out",
                cut(message)
            );
            return Err(it.fail("message_id", why));
        }
        Some(message) => RecordId::Message(message.into()),
    };
    let run = match it.text("run", usize::MAX)? {
        None => None,
        Some(text) => Some(RunId::new(text).map_err(|error| it.fail("run", error))?),
    };
    let accounts = match &run {
        None => None,
        Some(id) => match runs.get(id) {
            Some(Ok(accounts)) => Some(accounts),
            Some(Err(why)) => return Err(it.fail("run", why)),
            None => return Err(it.fail("run", format!("there is no run {id}"))),
        },
    };
    let model = it.text("model", MODEL_BYTES_MAX)?;
    if is_ok && model.is_none() {
        return Err(it.fail("model", "it is missing"));
    }
    let usage = usage(&it, is_ok)?;
    let (account, is_account_named) = account_of(&it, accounts, named)?;
    let fallbacks = it.count("fallbacks", FALLBACKS_MAX)?.unwrap_or(0);
    it.count("duration_ms", u64::MAX)?;
    let attempts = attempts(&it, accounts, named)?;
    let (own, received) = (it.time("time")?, it.time("received_at")?);
    let believed = |at: &Millis| *at <= believed_until(now);
    let own_believed = own.filter(believed);
    Ok(CheckedRecord {
        is_clock_suspect: own != own_believed,
        record: PostedRecord {
            id,
            content: content(it.object),
            run,
            provider: it.account_name("provider")?.map(Into::into),
            account,
            is_account_named,
            model: model.unwrap_or(MODEL_UNKNOWN).into(),
            names,
            usage,
            is_estimated: it.flag("estimated")?,
            fallbacks: u32::try_from(fallbacks).unwrap_or(u32::MAX),
            attempts,
            has_time: own_believed.is_some(),
            time: (own_believed.or_else(|| received.filter(believed))).unwrap_or(now.max(0)),
        },
    })
}

fn usage(it: &RecordMembers<'_>, is_ok: bool) -> Result<Option<Usage>, Refusal> {
    let Some(value) = it.get("usage") else {
        return if is_ok {
            Err(it.fail("usage", "it is missing"))
        } else {
            Ok(None)
        };
    };
    let of = RecordMembers::of(value, "usage", &USAGE_MEMBERS)?;
    let count = |name| Ok::<_, Refusal>(of.count(name, TOKENS_MAX)?.unwrap_or(0));
    let (five_minutes, hour) = (count("cache_creation_5m")?, count("cache_creation_1h")?);
    let usage = Usage {
        input: count("input_tokens")?,
        output: count("output_tokens")?,
        cache_read: count("cache_read_input_tokens")?,
        cache_creation: count("cache_creation_input_tokens")?.max(five_minutes.saturating_add(hour)),
        cache_creation_5m: five_minutes,
        cache_creation_1h: hour,
        web_search: count("web_search_requests")?,
        thinking: count("thinking_tokens")?,
    };
    if !is_ok && !usage.is_empty() {
        return Err(it.fail(
            "usage",
            "a failed call has no tokens; tokens that were billed are of a call that is ok",
        ));
    }
    Ok(is_ok.then_some(usage))
}

/// The account of a call, or of an attempt: the named one, that of the run, or the provider's default.
fn account_of(
    it: &RecordMembers<'_>,
    accounts: Option<&RunAccounts>,
    named: NamedAccount<'_>,
) -> Result<(AccountId, bool), Refusal> {
    let (provider, name) = (it.account_name("provider")?, it.account_name("account")?);
    if let Some(name) = name {
        let own = accounts.map(|accounts| &*accounts.own().provider);
        let provider = provider.or(own).unwrap_or(PROVIDER_DEFAULT);
        let account = named(provider, name).map_err(|why| it.fail("account", why))?;
        return Ok((account, true));
    }
    let account = match (accounts, provider) {
        (Some(accounts), Some(provider)) => AccountId::clone(&accounts.of_provider(provider)),
        (Some(accounts), None) => accounts.own().clone(),
        (None, provider) => AccountId::default_of(provider.unwrap_or(PROVIDER_DEFAULT)),
    };
    Ok((account, false))
}

fn attempts(
    it: &RecordMembers<'_>,
    accounts: Option<&RunAccounts>,
    named: NamedAccount<'_>,
) -> Result<Vec<FailedAttempt>, Refusal> {
    let Some(value) = it.get("attempts") else {
        return Ok(Vec::new());
    };
    let Value::Array(list) = value else {
        return Err(it.fail("attempts", "not an array"));
    };
    if list.len() > ATTEMPTS_MAX {
        let why = format!("{} attempts, at most {ATTEMPTS_MAX} are accepted", list.len());
        return Err(it.fail("attempts", why));
    }
    let mut attempts = Vec::with_capacity(list.len());
    for (number, value) in list.iter().enumerate() {
        let one = RecordMembers::of(value, &format!("attempts[{number}]"), &ATTEMPT_MEMBERS)?;
        let provider = one.account_name("provider")?;
        let provider = provider.ok_or_else(|| one.fail("provider", "it is missing"))?;
        one.text("error", NAME_BYTES_MAX)?;
        let (account, is_account_named) = account_of(&one, accounts, named)?;
        attempts.push(FailedAttempt {
            provider: provider.into(),
            account,
            is_account_named,
            model: one
                .text("model", MODEL_BYTES_MAX)?
                .unwrap_or(MODEL_UNKNOWN)
                .into(),
            count: 1,
        });
    }
    Ok(attempts)
}

/// A hash of the content, whatever the order of members: of all but the time at which it was received. It is
/// stored, so it must stay the same.
fn content(object: &Map<String, Value>) -> u64 {
    let mut text = Vec::new();
    let members = object.iter().filter(|(name, _)| *name != "received_at");
    write_object(members, &mut text);
    xxh3_64(&text)
}

fn write_object<'v>(members: impl Iterator<Item = (&'v String, &'v Value)>, text: &mut Vec<u8>) {
    let mut members: Vec<_> = members.filter(|(_, value)| !value.is_null()).collect();
    members.sort_unstable_by_key(|(name, _)| *name);
    text.push(b'{');
    for (name, value) in members {
        write_text(b'k', name, text);
        write_value(value, text);
    }
    text.push(b'}');
}

fn write_value(value: &Value, text: &mut Vec<u8>) {
    match value {
        Value::Object(object) => write_object(object.iter(), text),
        Value::Array(list) => {
            text.push(b'[');
            for value in list {
                write_value(value, text);
            }
            text.push(b']');
        }
        Value::String(string) => write_text(b's', string, text),
        other => write_text(b'v', &other.to_string(), text),
    }
}

fn write_text(tag: u8, part: &str, text: &mut Vec<u8>) {
    text.push(tag);
    text.extend_from_slice(&(part.len() as u64).to_le_bytes());
    text.extend_from_slice(part.as_bytes());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Millis = 1_791_190_800_000;

    fn checked(value: &Value) -> Result<CheckedRecord, Refusal> {
        let own = AccountId {
            provider: "claude".into(),
            name: "work".into(),
        };
        let codex = AccountId {
            provider: "codex".into(),
            name: "team".into(),
        };
        let accounts = RunAccounts::new(own, [("codex".into(), codex)]);
        let runs = [(RunId::new("one").unwrap(), Ok(accounts))].into();
        let mut named = |provider: &str, name: &str| {
            if name == "nobody" {
                return Err("there is no account nobody".to_owned());
            }
            Ok(AccountId {
                provider: provider.into(),
                name: name.into(),
            })
        };
        check(value, &runs, &mut named, NOW)
    }

    fn with(name: &str, value: Value) -> Value {
        let mut record = json!({"id": "1", "model": "m", "usage": {"input_tokens": 3}});
        record[name] = value;
        record
    }

    #[test]
    fn a_refusal_names_the_member_and_what_is_wrong() {
        for (value, expected) in [
            (json!(7), "not a JSON object"),
            (json!({"model": "m", "usage": {}}), "id: it is missing"),
            (json!({"id": "1", "usage": {}}), "model: it is missing"),
            (json!({"id": "1", "model": "m"}), "usage: it is missing"),
            (
                with("id", json!("")),
                "id: 1 to 128 bytes without control characters and marks of direction are allowed",
            ),
            (with("id", json!(5)), "id: not a string"),
            (with("usage", json!([])), "usage: not an object"),
            (
                with("usage", json!({"input_tokens": -1})),
                "usage.input_tokens: below zero",
            ),
            (
                with("usage", json!({"output_tokens": 1.5})),
                "usage.output_tokens: not a whole number",
            ),
            (
                with("usage", json!({"output_tokens": "1"})),
                "usage.output_tokens: not a number",
            ),
            (
                with("usage", json!({"output_tokens": u64::MAX})),
                "usage.output_tokens: 18446744073709551615 is too large; at most 1000000000000",
            ),
            (
                with("usage", json!({"input_token": 1})),
                "usage.input_token: there is no such member; did you mean input_tokens?",
            ),
            (
                with("fallback", json!(1)),
                "fallback: there is no such member; did you mean fallbacks?",
            ),
            (
                with("fallbacks", json!(1001)),
                "fallbacks: 1001 is too large; at most 1000",
            ),
            (
                with("outcome", json!("maybe")),
                "outcome: \"maybe\" is neither ok nor failed",
            ),
            (
                with("time", json!("2026-11-29 10:00")),
                "time: \"2026-11-29 10:00\" is no RFC 3339 time with an offset, as 2026-11-29T10:00:00Z",
            ),
            (with("time", json!("1969-01-01T00:00:00Z")), "time: before 1970"),
            (with("run", json!("two")), "run: there is no run two"),
            (
                with("run", json!("a/b")),
                "run: a run id has only A-Z a-z 0-9 . _ - in it, this one has '/'",
            ),
            (
                with("provider", json!("a b")),
                "provider: \"a b\" is no name: 1 to 64 of A-Z a-z 0-9 . _ -",
            ),
            (
                with("account", json!("nobody")),
                "account: there is no account nobody",
            ),
            (with("estimated", json!(1)), "estimated: neither true nor false"),
            (with("attempts", json!({})), "attempts: not an array"),
            (
                with("attempts", json!([{"error": "x"}])),
                "attempts[0].provider: it is missing",
            ),
            (
                with("message_id", json!("response")),
                "message_id: \"response\" may be the id of several responses; leave it out",
            ),
        ] {
            assert_eq!(checked(&value).unwrap_err(), expected, "{value}");
        }
        // They would turn the rest of a line around in a terminal.
        for name in ["id", "source", "model", "profile", "route", "instance"] {
            for bad in ["gpt\u{202e}5", "gpt\u{2066}5", "gpt\u{1b}[31m5", "gpt\u{200f}"] {
                let refused = checked(&with(name, json!(bad))).unwrap_err();
                assert!(
                    refused.starts_with(&format!("{name}: 1 to 128 bytes without")),
                    "{refused}"
                );
            }
        }
        let failed = json!({"id": "1", "outcome": "failed", "usage": {"input_tokens": 1}});
        assert!(
            checked(&failed)
                .unwrap_err()
                .starts_with("usage: a failed call has no tokens")
        );
    }

    #[test]
    fn accounts_are_the_named_one_that_of_the_run_or_the_default() {
        let of = |value: Value| {
            let record = checked(&value).unwrap().record;
            (record.account.to_string(), record.is_account_named)
        };
        let record = |members: Value| {
            let mut record = with("id", json!("1"));
            for (name, value) in members.as_object().unwrap() {
                record[name] = value.clone();
            }
            record
        };
        for (members, expected, is_named) in [
            (json!({}), "claude/default", false),
            (json!({"provider": "openai"}), "openai/default", false),
            (json!({"run": "one"}), "claude/work", false),
            (json!({"run": "one", "provider": "codex"}), "codex/team", false),
            (
                json!({"run": "one", "provider": "openai"}),
                "openai/default",
                false,
            ),
            (json!({"run": "one", "account": "other"}), "claude/other", true),
            (
                json!({"provider": "openai", "account": "team"}),
                "openai/team",
                true,
            ),
        ] {
            assert_eq!(
                of(record(members.clone())),
                (expected.to_owned(), is_named),
                "{members}"
            );
        }
    }

    #[test]
    fn a_time_ahead_is_suspect_and_the_receipt_is_used() {
        let at = |value: Value| {
            let it = checked(&value).unwrap();
            (it.record.time, it.record.has_time, it.is_clock_suspect)
        };
        assert_eq!(at(with("id", json!("1"))), (NOW, false, false));
        assert_eq!(
            at(with("time", json!("2026-10-05T09:00:00+02:00"))),
            (1_791_183_600_000, true, false)
        );
        assert_eq!(
            at(with("time", json!("2027-10-05T09:00:00Z"))),
            (NOW, false, true)
        );
        assert_eq!(
            at(with("received_at", json!("2026-10-05T09:00:00+02:00"))),
            (1_791_183_600_000, false, false)
        );
    }

    #[test]
    fn the_content_does_not_depend_on_order_nulls_and_the_receipt() {
        let content = |text: &str| {
            checked(&serde_json::from_str(text).unwrap())
                .unwrap()
                .record
                .content
        };
        let first = content(r#"{"id":"1","model":"m","usage":{"input_tokens":3,"output_tokens":1}}"#);
        let second = content(
            r#"{"usage":{"output_tokens":1,"input_tokens":3},"model":"m","run":null,"id":"1","received_at":"2026-10-05T09:00:00Z"}"#,
        );
        assert_eq!(first, second);
        assert_ne!(
            first,
            content(r#"{"id":"1","model":"m","usage":{"input_tokens":1,"output_tokens":3}}"#)
        );
        // It is stored in databases.
        assert_eq!(first, 18_371_736_060_218_905_306);
    }
}
