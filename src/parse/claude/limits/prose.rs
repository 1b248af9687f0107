//! Sentences with which the CLI reports a reached limit.
//!
//! They are read only at the start of a text that the CLI wrote itself, since others quote them. If the
//! structure of a line shows a refusal, the sentence adds the window and its end, and no sentence can revoke
//! the refusal. Without that structure (in older versions) only known sentences are a refusal.

use super::{
    COOL_DOWN, FIVE_HOUR, MONTHLY_SPEND, OVERAGE, SEVEN_DAY, SEVEN_DAY_FAMILY, SEVEN_DAY_OVERAGE_INCLUDED,
    WINDOW_UNKNOWN, WindowFields, time,
};
use crate::json::scanner::{NotJson, Scanner};
use crate::json::{self, Members, Raw};
use crate::model::window_name;
use crate::model::{LimitStatus, Millis};

/// Inspected start of a text, in bytes: one sentence.
const OPENING_BYTES_MAX: usize = 512;
/// Longest name of a limit in a sentence, in bytes.
const NAME_BYTES_MAX: usize = 32;
/// Most words before `limit` that can be part of its name.
const NAME_WORDS_MAX: usize = 4;

/// Starts of sentences of 2025.
const REACHED: [&str; 2] = ["Claude AI usage limit reached", "Claude usage limit reached"];
/// Starts of newer sentences.
const YOUR: [&str; 4] = [
    "You've hit your ",
    "You've reached your ",
    "You\u{2019}ve hit your ",
    "You\u{2019}ve reached your ",
];
/// Starts of sentences about paid use beyond the windows.
const OUT_OF: [&str; 4] = [
    "You're out of extra usage",
    "You're out of usage credits",
    "You\u{2019}re out of extra usage",
    "You\u{2019}re out of usage credits",
];
/// Prefix of a server's message passed on by the CLI, which names no limit of the provider.
const API_ERROR: &str = "API Error";
/// Words before an end.
const BEFORE_END: [&str; 9] = [
    "resets ",
    "reset at ",
    "reset on ",
    "reset in ",
    "back at ",
    "back on ",
    "again at ",
    "again in ",
    "until ",
];
/// Model families with a limit of their own.
const FAMILIES: [&str; 5] = ["opus", "sonnet", "haiku", "fable", "mythos"];

/// The start of a line's first text. It takes another pass over the line, for the few lines that the CLI
/// wrote itself.
pub fn opening(line: &[u8]) -> Option<String> {
    let line = String::from_utf8_lossy(line);
    let mut outer = Only::new(b"message");
    json::object(line.as_bytes(), &mut outer).ok()?;
    let mut message = Only::new(b"content");
    json::object(outer.value.0?.as_bytes(), &mut message).ok()?;
    let content = message.value.0?;
    let text = if content.starts_with('[') {
        let mut first = None;
        json::each(content.as_bytes(), |block| {
            let mut text = Only::new(b"text");
            let is_object = json::object(block, &mut text).is_ok();
            first = is_object.then(|| text.value.text()).flatten();
            first.is_some()
        });
        first?
    } else {
        Raw(Some(content)).text()?
    };
    let text = text.trim_ascii_start();
    let start = &text[..text.len().min(OPENING_BYTES_MAX)];
    Some(String::from_utf8_lossy(start).into_owned())
}

/// The used-up window, if a text begins with a known sentence.
pub fn known(text: &str, time: Option<Millis>) -> Option<WindowFields> {
    let after = |starts: &[&str]| starts.iter().find_map(|start| text.strip_prefix(start));
    let (name, rest) = if let Some(rest) = after(&REACHED) {
        (FIVE_HOUR.into(), rest)
    } else if let Some(rest) = after(&OUT_OF) {
        (OVERAGE.into(), rest)
    } else if let Some(rest) = after(&YOUR) {
        let (name, rest) = rest.split_once("limit")?;
        (name.is_empty() || name.ends_with(' ')).then_some(())?;
        (is_name(name).then(|| window_of(name.trim()))?, rest)
    } else {
        // "5-hour limit reached", "Opus weekly limit reached"
        let (name, rest) = text.split_once(" limit reached")?;
        let known = is_name(name)
            .then(|| window_of(name))
            .filter(|name| &**name != WINDOW_UNKNOWN);
        (known?, rest)
    };
    if rest.starts_with(char::is_alphanumeric) {
        return None;
    }
    Some(window(name, end(rest, time), time))
}

/// The window of a refusal with any text. A server's message names no window of the CLI's provider: the
/// account pauses.
pub fn refused(text: &str, time: Option<Millis>) -> WindowFields {
    if let Some(window) = known(text, time) {
        return window;
    }
    if text.starts_with(API_ERROR) {
        return window(COOL_DOWN.into(), None, time);
    }
    window(
        named(text).unwrap_or_else(|| WINDOW_UNKNOWN.into()),
        end(text, time),
        time,
    )
}

fn window(name: Box<str>, reset_at: Option<Millis>, time: Option<Millis>) -> WindowFields {
    // A session cannot end later than its length after a request in it: a later hour has already passed.
    let length = window_name::length(&name).filter(|_| &*name == FIVE_HOUR);
    let is_too_far = |at: &Millis| {
        length
            .zip(time)
            .is_some_and(|(length, time)| *at > time.saturating_add(length))
    };
    WindowFields {
        reset_at: reset_at.filter(|at| !is_too_far(at)),
        status: LimitStatus::Rejected,
        ..WindowFields::new(name)
    }
}

fn is_name(name: &str) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b" -.".contains(&byte);
    // A full stop belongs to a version number, not to the end of a sentence.
    name.len() <= NAME_BYTES_MAX && name.bytes().all(is_fit) && !name.contains(". ")
}

/// The window named before the word `limit` in the first part of an unknown sentence.
fn named(text: &str) -> Option<Box<str>> {
    let part = text.split(['\u{b7}', '\u{2219}', '\u{2022}', '|']).next()?;
    let is_limit = |word: &str| word.trim_end_matches(['.', ',', '!']) == "limit";
    let words: Vec<&str> = part.split_whitespace().collect();
    let at = words.iter().position(|word| is_limit(word))?;
    let name = words[at.saturating_sub(NAME_WORDS_MAX)..at].join(" ");
    Some(window_of(&name))
}

/// The window of a name in a sentence; [`WINDOW_UNKNOWN`] for an unknown name, which may be any text.
fn window_of(name: &str) -> Box<str> {
    let words: Vec<String> = name.split([' ', '-']).map(str::to_ascii_lowercase).collect();
    let has = |names: &[&str]| words.iter().any(|word| names.contains(&word.as_str()));
    if let Some(family) = family(name) {
        return family;
    }
    let known = if has(&["weekly", "week", "day"]) {
        SEVEN_DAY
    } else if has(&["session", "hour", "hourly"]) {
        FIVE_HOUR
    } else if has(&["spend", "spending"]) {
        MONTHLY_SPEND
    } else if has(&["extra", "credit", "credits"]) {
        OVERAGE
    } else {
        WINDOW_UNKNOWN
    };
    known.into()
}

/// The week of a model family: a known one, or a name with a version number as in `Fable 5`.
fn family(name: &str) -> Option<Box<str>> {
    let words: Vec<&str> = name.split_whitespace().collect();
    let is_known = |word: &&&str| FAMILIES.iter().any(|family| word.eq_ignore_ascii_case(family));
    let is_version = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let versioned = words.windows(2).find(|pair| {
        pair[0].starts_with(|letter: char| letter.is_ascii_uppercase())
            && pair[0].bytes().all(|byte| byte.is_ascii_alphabetic())
            && is_version(pair[1])
    });
    let family = (words.iter().find(is_known).copied()).or_else(|| versioned.map(|pair| pair[0]))?;
    if family.eq_ignore_ascii_case("fable") {
        return Some(SEVEN_DAY_OVERAGE_INCLUDED.into());
    }
    Some(format!("{SEVEN_DAY_FAMILY}{}", family.to_ascii_lowercase()).into())
}

/// `|<seconds>` directly after the sentence, or `resets <when>` later in it.
pub fn end(rest: &str, time: Option<Millis>) -> Option<Millis> {
    if let Some(number) = rest.strip_prefix('|') {
        let digits = number.bytes().take_while(u8::is_ascii_digit).count();
        return time::reset_text(&number[..digits]);
    }
    let time = time?;
    BEFORE_END.iter().find_map(|word| {
        // A word that ends in "in" is followed by a length, which is parsed with that word.
        let at = rest.find(word)? + word.len();
        let length = word.strip_suffix("in ").map_or(0, |_| "in ".len());
        time::spoken(&rest[at - length..], time)
    })
}

/// An object of which one member is read.
struct Only<'de> {
    name: &'static [u8],
    value: Raw<'de>,
}

impl Only<'_> {
    fn new(name: &'static [u8]) -> Self {
        Self {
            name,
            value: Raw::default(),
        }
    }
}

impl<'de> Members<'de> for Only<'de> {
    fn member(&mut self, key: &[u8], value: &mut Scanner<'de>) -> Result<(), NotJson> {
        if key != self.name {
            return value.skip();
        }
        self.value.0 = Some(value.raw()?);
        Ok(())
    }
}
