//! The sentences in which the CLI tells a person that a limit is reached.
//!
//! They are looked for only at the start of a text that the CLI wrote itself: everybody else quotes them.

use super::{
    BUCKET_UNKNOWN, FIVE_HOUR, MONTHLY_SPEND, SEVEN_DAY, SEVEN_DAY_OPUS, SEVEN_DAY_OVERAGE_INCLUDED,
    SEVEN_DAY_SONNET, Window, time,
};
use crate::parse::json::{self, Members, Raw};
use crate::parse::scan::{NotJson, Scanner};
use crate::record::{LimitStatus, Millis};

/// How much of a text is looked at, in bytes: a sentence.
const OPENING_BYTES_MAX: usize = 512;
/// Longest name of a limit in a sentence, in bytes.
const NAME_BYTES_MAX: usize = 32;

/// How the sentences of 2025 begin.
const REACHED: [&str; 2] = ["Claude AI usage limit reached", "Claude usage limit reached"];
/// How the newer ones begin.
const YOUR: [&str; 4] = [
    "You've hit your ",
    "You've reached your ",
    "You\u{2019}ve hit your ",
    "You\u{2019}ve reached your ",
];

/// The start of a line's first text. Another pass over the line, for the few that the CLI wrote itself.
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

/// The window that is used up, if a text begins with such a sentence.
pub fn window(text: &str, time: Option<Millis>) -> Option<Window> {
    let after = |starts: &[&str]| starts.iter().find_map(|start| text.strip_prefix(start));
    let (bucket, rest) = if let Some(rest) = after(&REACHED) {
        (FIVE_HOUR, rest)
    } else {
        let (name, rest) = after(&YOUR)?.split_once("limit")?;
        let is_name = name.len() <= NAME_BYTES_MAX
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b" -".contains(&byte));
        (is_name && (name.is_empty() || name.ends_with(' '))).then_some(())?;
        (bucket(name.trim()), rest)
    };
    if rest.starts_with(char::is_alphanumeric) {
        return None;
    }
    Some(Window {
        reset_at: reset(rest, time),
        status: LimitStatus::Rejected,
        ..Window::new(bucket.into())
    })
}

/// The window of a name in a sentence. What else stands there is a person's word, not a window's name.
fn bucket(name: &str) -> &'static str {
    match name.to_ascii_lowercase().as_str() {
        "session" => FIVE_HOUR,
        "weekly" => SEVEN_DAY,
        "opus" => SEVEN_DAY_OPUS,
        "sonnet" => SEVEN_DAY_SONNET,
        "fable" => SEVEN_DAY_OVERAGE_INCLUDED,
        "monthly spend" => MONTHLY_SPEND,
        _ => BUCKET_UNKNOWN,
    }
}

/// `|<seconds>` directly after the sentence, or `resets <when>` further on.
fn reset(rest: &str, time: Option<Millis>) -> Option<Millis> {
    if let Some(number) = rest.strip_prefix('|') {
        let digits = number.bytes().take_while(u8::is_ascii_digit).count();
        return time::reset_text(&number[..digits]);
    }
    let when = ["resets ", "reset at "]
        .iter()
        .find_map(|word| Some(rest.split_once(word)?.1))?;
    time::spoken(when, time?)
}

/// An object of which one member is wanted.
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
