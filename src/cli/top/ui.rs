//! What a person chose: pane, period, order, filter, selection.

use super::model::{TopModel, WindowKey};
use super::scope::TopScope;
use crate::cli::args::TopPeriod;

/// The choices.
#[derive(Clone, Debug, Default)]
pub struct TopUi {
    pub pane: TopPane,
    pub period: TopPeriod,
    pub sort: TopSort,
    pub is_reversed: bool,
    pub filter: String,
    /// The filter is being written.
    pub is_filtering: bool,
    pub table: TopTable,
    pub has_help: bool,
    /// The model at the time of the pause.
    pub paused: Option<Box<TopModel>>,
    pub selected_run: Option<String>,
    pub selected_window: Option<WindowKey>,
    /// Events that are scrolled over.
    pub news_skipped: usize,
    /// The item whose details are open.
    pub opened: Option<Opened>,
    /// Lines of the details or of the help that are scrolled over.
    pub lines_skipped: usize,
    pub scope: TopScope,
}

/// The panes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TopPane {
    Accounts,
    #[default]
    Runs,
    News,
}

/// The table below the sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TopTable {
    #[default]
    Runs,
    Models,
    Routes,
}

/// The order of runs, models and routes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TopSort {
    /// The latest activity first.
    #[default]
    Active,
    Total,
    Input,
    Output,
    Cost,
    Name,
}

/// An item with details.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    Run(String),
    Account(WindowKey),
}

impl TopUi {
    /// The model that is drawn.
    #[must_use]
    pub fn shown<'m>(&'m self, model: &'m TopModel) -> &'m TopModel {
        self.paused.as_deref().unwrap_or(model)
    }
}

impl TopSort {
    #[must_use]
    pub const fn next(self) -> Self {
        match self {
            Self::Active => Self::Total,
            Self::Total => Self::Input,
            Self::Input => Self::Output,
            Self::Output => Self::Cost,
            Self::Cost => Self::Name,
            Self::Name => Self::Active,
        }
    }

    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Active => "latest",
            Self::Total => "total",
            Self::Input => "in",
            Self::Output => "out",
            Self::Cost => "cost",
            Self::Name => "name",
        }
    }
}

impl TopTable {
    #[must_use]
    pub const fn next(self) -> Self {
        match self {
            Self::Runs => Self::Models,
            Self::Models => Self::Routes,
            Self::Routes => Self::Runs,
        }
    }
}
