//! The agents whose transcripts are counted.

use strum::{IntoStaticStr, VariantArray};

/// The format of a transcript, named after the agent that wrote it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum Dialect {
    /// Claude Code, and all programs that write its format.
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

    /// The provider of its lines without a provider's name.
    #[must_use]
    pub const fn provider(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Codex => "codex",
            Self::Gemini => "gemini",
            Self::Qwen => "qwen",
            // Its lines name theirs.
            Self::Pi => "pi",
        }
    }

    /// True for the provider of an agent other than Claude Code.
    #[must_use]
    pub fn is_of_agent(provider: &str) -> bool {
        let mut others = Self::VARIANTS.iter().filter(|dialect| **dialect != Self::Claude);
        others.any(|dialect| dialect.provider() == provider)
    }
}
