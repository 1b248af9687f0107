//! The operator's own prices, which override the tables.

use super::Rates;
use super::name;

/// A name as patterns have it.
#[must_use]
pub fn key(name: &str) -> String {
    name::key(&name::bare(name))
}

/// A name of models: one exactly, or all with a prefix. Names are bare, with dashes for dots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern<S> {
    Exactly(S),
    Prefix(S),
}

impl<S: AsRef<str>> Pattern<S> {
    /// How well it matches a name: the longer prefix is better, the exact name best; `None` if it does not match.
    pub fn rank(&self, key: &str) -> Option<usize> {
        match self {
            Self::Exactly(name) => (name.as_ref() == key).then_some(usize::MAX),
            Self::Prefix(start) => key.starts_with(start.as_ref()).then_some(start.as_ref().len()),
        }
    }
}

/// The operator's prices of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorModel {
    pub models: Pattern<Box<str>>,
    /// As the file names it.
    pub name: Box<str>,
    /// The first UTC day with these prices, since 1970; earlier ones are the tables'.
    pub since: u32,
    /// By size of the prompt.
    pub sizes: [Rates; 4],
}

/// The operator's multiplier of models, in thousandths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorFactor {
    pub models: Pattern<Box<str>>,
    pub factor: u32,
}

/// Everything in the operator's file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperatorPrices {
    pub models: Vec<OperatorModel>,
    pub fast: Vec<OperatorFactor>,
    pub us: Vec<OperatorFactor>,
}

/// The best match of a name among rows.
pub fn best<'r, S: AsRef<str> + 'r, R>(
    rows: &'r [R],
    pattern: impl Fn(&'r R) -> &'r Pattern<S>,
    key: &str,
) -> Option<&'r R> {
    let ranked = rows.iter().filter_map(|row| Some((pattern(row).rank(key)?, row)));
    ranked.max_by_key(|(rank, _)| *rank).map(|(_, row)| row)
}
