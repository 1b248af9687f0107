//! The agents whose transcripts are counted.

use strum::IntoStaticStr;

/// The format of a transcript: that of the agent that wrote it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum Dialect {
    /// Claude Code, and all writers of its format.
    #[default]
    Claude = 0,
    Codex = 1,
    Pi = 2,
    Gemini = 3,
    Qwen = 4,
}

impl Dialect {
    /// Its name in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.into_str()
    }

    /// True for the provider of an agent other than Claude Code.
    #[must_use]
    pub fn is_of_agent(provider: &str) -> bool {
        let others = [Self::Codex, Self::Pi, Self::Gemini, Self::Qwen];
        others.iter().any(|dialect| dialect.provider() == Some(provider))
    }

    /// The provider of its lines that name none; `None` if its lines name theirs.
    #[must_use]
    pub const fn provider(self) -> Option<&'static str> {
        match self {
            Self::Claude => Some("claude"),
            Self::Codex => Some("codex"),
            Self::Gemini => Some("gemini"),
            Self::Qwen => Some("qwen"),
            Self::Pi => None,
        }
    }
}
