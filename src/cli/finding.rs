//! Findings of `doctor` and `check-config`.

/// A difference from the probable intention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub what: String,
    /// The remedy.
    pub todo: Option<String>,
}

impl Finding {
    pub fn new(what: impl Into<String>, todo: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            todo: Some(todo.into()),
        }
    }

    pub fn bare(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            todo: None,
        }
    }
}
