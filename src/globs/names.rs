//! Patterns of names, such as those of models: `*` and `?` match any letters, a slash too.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// Longest pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 256;

/// A name, or a pattern of names.
#[derive(Clone, Debug)]
pub struct NamePattern {
    /// A name with brackets is also a pattern, which does not match it.
    exact: Box<str>,
    pattern: GlobSet,
}

impl NamePattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// A sentence about the mistake.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(format!("longer than {PATTERN_BYTES_MAX} bytes"));
        }
        let wrong = |kind: &globset::ErrorKind| format!("{text:?} is not a pattern: {kind}");
        let glob = GlobBuilder::new(text).literal_separator(false).build();
        let glob = glob.map_err(|error| wrong(error.kind()))?;
        let pattern = GlobSetBuilder::new().add(glob).build();
        Ok(Self {
            exact: text.into(),
            pattern: pattern.map_err(|error| wrong(error.kind()))?,
        })
    }

    /// True if the name is the one given, or matches the pattern.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        *self.exact == *name || self.pattern.is_match(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_patterns_match() {
        for (pattern, name, is_match) in [
            ("claude-opus-5", "claude-opus-5", true),
            ("claude-opus-5", "claude-opus-5-5", false),
            ("claude-opus-*", "claude-opus-5-5", true),
            ("*opus*", "anthropic/claude-opus-5", true),
            ("claude-opus-5[1m]", "claude-opus-5[1m]", true),
            ("claude-opus-5?", "claude-opus-51", true),
            ("{claude,gpt}-*", "gpt-6.1-sol", true),
            ("*", "", true),
            ("", "", true),
            ("", "x", false),
        ] {
            let compiled = NamePattern::new(pattern).unwrap();
            assert_eq!(compiled.matches(name), is_match, "{pattern} {name}");
        }
        assert!(
            NamePattern::new("[")
                .unwrap_err()
                .contains("\"[\" is not a pattern")
        );
        assert!(NamePattern::new(&"x".repeat(257)).is_err());
    }
}
