//! Keys change what a person chose. Pure: what else they ask for is returned.

use super::listing;
use super::model::TopModel;
use super::ui::{Opened, TopPane, TopSort, TopTable, TopUi};
use crate::cli::args::TopPeriod;

/// Longest filter, in characters.
const FILTER_CHARS_MAX: usize = 64;
/// Rows that a page key moves by.
const PAGE_ROWS: usize = 10;

/// A key of the keyboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopKey {
    Char(char),
    Enter,
    Backspace,
    Escape,
    Tab,
    BackTab,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Interrupt,
    Suspend,
}

/// What a key asks of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyEffect {
    Nothing,
    Draw,
    /// Other documents are needed.
    Ask,
    /// All documents are requested again.
    Reload,
    Suspend,
    Quit,
}

impl TopUi {
    /// Takes a key.
    pub fn key(&mut self, key: TopKey, model: &TopModel) -> KeyEffect {
        match key {
            TopKey::Interrupt => return KeyEffect::Quit,
            TopKey::Suspend => return KeyEffect::Suspend,
            _ => {}
        }
        if self.is_filtering {
            return self.filter_key(key);
        }
        match key {
            TopKey::Char('q') => KeyEffect::Quit,
            TopKey::Escape => self.back(true),
            TopKey::Backspace => self.back(false),
            TopKey::Char('?') => {
                self.has_help = !self.has_help;
                self.lines_skipped = 0;
                KeyEffect::Draw
            }
            TopKey::Up | TopKey::Char('k') => self.step(model, -1),
            TopKey::Down | TopKey::Char('j') => self.step(model, 1),
            TopKey::PageUp => self.step(model, -isize::try_from(PAGE_ROWS).unwrap_or(1)),
            TopKey::PageDown => self.step(model, isize::try_from(PAGE_ROWS).unwrap_or(1)),
            TopKey::Home => self.step(model, isize::MIN),
            TopKey::End => self.step(model, isize::MAX),
            TopKey::Tab => self.turn_to_pane(true),
            TopKey::BackTab => self.turn_to_pane(false),
            TopKey::Enter => self.open(model),
            TopKey::Char(letter) => self.letter(letter, model),
            TopKey::Interrupt | TopKey::Suspend => KeyEffect::Nothing,
        }
    }

    fn letter(&mut self, letter: char, model: &TopModel) -> KeyEffect {
        match letter {
            '1' => self.turn_to_period(TopPeriod::Today),
            '2' => self.turn_to_period(TopPeriod::Week),
            '3' => self.turn_to_period(TopPeriod::Month),
            '4' => self.turn_to_period(TopPeriod::Ytd),
            '5' => self.turn_to_period(TopPeriod::Ttm),
            't' => self.sort_by(TopSort::Total),
            'i' => self.sort_by(TopSort::Input),
            'o' => self.sort_by(TopSort::Output),
            'c' => self.sort_by(TopSort::Cost),
            'n' => self.sort_by(TopSort::Name),
            'a' => self.sort_by(TopSort::Active),
            's' => self.sort_by(self.sort.next()),
            'm' => {
                self.table = self.table.next();
                KeyEffect::Ask
            }
            'p' => {
                self.paused = match self.paused.take() {
                    Some(_) => None,
                    None => Some(Box::new(model.clone())),
                };
                KeyEffect::Draw
            }
            '/' => {
                self.is_filtering = true;
                self.pane = TopPane::Runs;
                KeyEffect::Draw
            }
            'r' => KeyEffect::Reload,
            _ => KeyEffect::Nothing,
        }
    }

    fn filter_key(&mut self, key: TopKey) -> KeyEffect {
        match key {
            TopKey::Char(letter) if self.filter.chars().count() < FILTER_CHARS_MAX => {
                self.filter.push(letter);
            }
            TopKey::Backspace => drop(self.filter.pop()),
            TopKey::Enter => self.is_filtering = false,
            TopKey::Escape => {
                self.is_filtering = false;
                self.filter.clear();
            }
            _ => return KeyEffect::Nothing,
        }
        KeyEffect::Draw
    }

    /// Closes what is open; if nothing is, a filter is removed, and `or_quit` ends the program.
    fn back(&mut self, or_quit: bool) -> KeyEffect {
        self.lines_skipped = 0;
        if std::mem::take(&mut self.has_help) || self.opened.take().is_some() {
            return KeyEffect::Draw;
        }
        if !std::mem::take(&mut self.filter).is_empty() {
            return KeyEffect::Draw;
        }
        if or_quit {
            KeyEffect::Quit
        } else {
            KeyEffect::Nothing
        }
    }

    fn turn_to_pane(&mut self, is_next: bool) -> KeyEffect {
        self.pane = match (self.pane, is_next) {
            (TopPane::Accounts, true) | (TopPane::News, false) => TopPane::Runs,
            (TopPane::Runs, true) | (TopPane::Accounts, false) => TopPane::News,
            (TopPane::News, true) | (TopPane::Runs, false) => TopPane::Accounts,
        };
        KeyEffect::Draw
    }

    fn turn_to_period(&mut self, period: TopPeriod) -> KeyEffect {
        self.period = period;
        KeyEffect::Ask
    }

    fn sort_by(&mut self, sort: TopSort) -> KeyEffect {
        self.is_reversed = self.sort == sort && !self.is_reversed;
        self.sort = sort;
        KeyEffect::Draw
    }

    fn step(&mut self, model: &TopModel, by: isize) -> KeyEffect {
        if self.has_help || self.opened.is_some() {
            self.lines_skipped = self.lines_skipped.saturating_add_signed(by);
            return KeyEffect::Draw;
        }
        let model = self.paused.as_deref().unwrap_or(model);
        match self.pane {
            TopPane::Runs => {
                let runs = listing::runs(model, self);
                let ids = runs.iter().map(|run| run.row.id.clone());
                self.selected_run = moved(&ids.collect::<Vec<_>>(), self.selected_run.as_ref(), by);
            }
            TopPane::Accounts => {
                let rows = listing::windows(model, &self.scope);
                let keys = rows.iter().map(listing::WindowRow::key);
                self.selected_window = moved(&keys.collect::<Vec<_>>(), self.selected_window.as_ref(), by);
            }
            TopPane::News => {
                let last = model.news.len().saturating_sub(1);
                self.news_skipped = self.news_skipped.saturating_add_signed(by).min(last);
            }
        }
        KeyEffect::Draw
    }

    fn open(&mut self, model: &TopModel) -> KeyEffect {
        if self.has_help || self.opened.is_some() {
            return KeyEffect::Nothing;
        }
        let model = self.paused.as_deref().unwrap_or(model);
        self.opened = match self.pane {
            TopPane::Runs if self.table == TopTable::Runs => {
                let runs = listing::runs(model, self);
                let chosen = self.selected_run.as_ref();
                let is_there = |id: &&String| runs.iter().any(|run| run.row.id == **id);
                let id = chosen.filter(is_there).or(runs.first().map(|run| &run.row.id));
                id.cloned().map(Opened::Run)
            }
            TopPane::Accounts => {
                let rows = listing::windows(model, &self.scope);
                let chosen = self.selected_window.clone();
                let key = chosen.or_else(|| rows.first().map(listing::WindowRow::key));
                key.map(Opened::Account)
            }
            _ => None,
        };
        self.lines_skipped = 0;
        if self.opened.is_some() {
            KeyEffect::Ask
        } else {
            KeyEffect::Nothing
        }
    }
}

/// The item that is `by` rows further; the first one is marked if none was selected.
fn moved<T: Clone + PartialEq>(all: &[T], from: Option<&T>, by: isize) -> Option<T> {
    let last = all.len().checked_sub(1)?;
    let at = from.and_then(|from| all.iter().position(|one| one == from));
    all.get(at.unwrap_or(0).saturating_add_signed(by).min(last))
        .cloned()
}
