//! Names of models as price lists have them.

/// What agents and gateways put before the names of models.
const PREFIXES: [&str; 9] = [
    "anthropic/",
    "openai/",
    "google/",
    "models/",
    "us.anthropic.",
    "eu.anthropic.",
    "apac.anthropic.",
    "global.anthropic.",
    "anthropic.",
];
/// The end that the collector adds to the names of models in fast mode.
const FAST: &str = "-fast";
/// The end that asks for the long context.
const LONG: &str = "[1m]";

/// The name without what says something else than the model: prefixes of gateways, `[1m]`, `@date`, Bedrock's version.
#[must_use]
pub fn bare(name: &str) -> String {
    let mut name = name.trim().to_ascii_lowercase();
    while let Some(prefix) = PREFIXES.iter().find(|prefix| name.starts_with(**prefix)) {
        name.drain(..prefix.len());
    }
    loop {
        let start = name.strip_suffix(LONG).or_else(|| without_version(&name));
        let start = start.or_else(|| name.rsplit_once('@').map(|(start, _)| start));
        let Some(length) = start.map(str::len) else {
            return name;
        };
        name.truncate(length);
    }
}

/// The name without the mark of fast mode, if it has it.
#[must_use]
pub fn without_fast(name: &str) -> Option<&str> {
    name.strip_suffix(FAST)
}

/// The name without a date at its end, as in `claude-opus-5-20260901` or `gpt-5-2026-04-23`.
#[must_use]
pub fn without_date(name: &str) -> Option<&str> {
    [&[8][..], &[4, 2, 2]].into_iter().find_map(|digits| {
        let mut start = name;
        for count in digits.iter().rev() {
            let (before, part) = start.rsplit_once('-')?;
            if part.len() != *count || !part.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            start = before;
        }
        Some(start)
    })
}

/// The name as the table has it.
#[must_use]
pub fn key(bare: &str) -> String {
    bare.replace('.', "-")
}

/// The name without Bedrock's version, as in `-v1:0`.
fn without_version(name: &str) -> Option<&str> {
    let (start, revision) = name.rsplit_once(':')?;
    let (start, version) = start.rsplit_once("-v")?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(revision) && is_number(version)).then_some(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_model_is_left() {
        for (name, expect) in [
            ("claude-opus-5", "claude-opus-5"),
            ("claude-opus-5[1m]", "claude-opus-5"),
            ("Claude-Opus-5", "claude-opus-5"),
            ("anthropic/claude-opus-5", "claude-opus-5"),
            ("openai/gpt-5.5", "gpt-5.5"),
            (
                "us.anthropic.claude-opus-5-20260901-v1:0",
                "claude-opus-5-20260901",
            ),
            ("anthropic.claude-opus-5-v2:0", "claude-opus-5"),
            ("claude-opus-5@20260901", "claude-opus-5"),
            ("claude-opus-5@20260901[1m]", "claude-opus-5"),
            ("devstral-small:free", "devstral-small:free"),
            ("-v1:0", ""),
        ] {
            assert_eq!(bare(name), expect, "{name}");
        }
    }

    #[test]
    fn dates_are_no_part_of_a_model() {
        for (name, expect) in [
            ("claude-opus-5-20260901", Some("claude-opus-5")),
            ("gpt-5.5-2026-04-23", Some("gpt-5.5")),
            ("claude-opus-5", None),
            ("gpt-4-0613", None),
            ("20260901", None),
        ] {
            assert_eq!(without_date(name), expect, "{name}");
        }
        assert_eq!(without_fast("claude-opus-5-fast"), Some("claude-opus-5"));
        assert_eq!(without_fast("claude-opus-5"), None);
    }
}
