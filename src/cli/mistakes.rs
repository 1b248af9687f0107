//! Configuration mistakes drawn like compiler errors: the place, the line, and a mark below the invalid part.

use std::fmt::Write as _;
use std::io;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde::Serialize;

use super::exit::{Exit, Failure};
use crate::config::{ConfigError, FilePlace, Mistakes};

/// Widest drawn line; a longer line is shown in part.
const COLUMNS_MAX: usize = 100;

/// All mistakes, one below the other.
#[must_use]
fn drawn(mistakes: &Mistakes) -> String {
    let mut text = String::new();
    let several = mistakes.list.len() + mistakes.left_out;
    if several > 1 {
        let _ = writeln!(text, "the configuration has {several} mistakes\n");
    }
    for mistake in &mistakes.list {
        text.push_str(&one(mistake));
        text.push('\n');
    }
    if mistakes.left_out > 0 {
        let _ = writeln!(text, "and {} more", mistakes.left_out);
    }
    text.trim_end().to_owned()
}

/// One mistake: `file:line:column: cause`, with the line below.
#[must_use]
pub fn one(mistake: &ConfigError) -> String {
    let ConfigError::File { place, problem } = mistake else {
        return format!("{mistake}\n");
    };
    let (path, line, column) = (place.path.display(), place.line, place.column);
    let head = format!("{path}:{line}:{column}: {}\n", problem.what);
    head + &picture(place, problem.hint.as_deref())
}

fn picture(place: &FilePlace, hint: Option<&str>) -> String {
    let mark = AnnotationKind::Primary.span(place.marked.clone());
    let mark = match hint {
        Some(hint) => mark.label(hint),
        None => mark,
    };
    let snippet = Snippet::source(&*place.excerpt)
        .line_start(place.line)
        .annotation(mark);
    let group = Group::with_level(Level::ERROR).element(snippet);
    let drawn = Renderer::plain().term_width(COLUMNS_MAX).render(&[group]);
    drawn + "\n"
}

/// One mistake as a document.
#[derive(Debug, Default, Serialize)]
pub struct MistakeDocument<'a> {
    pub file: Option<String>,
    pub line: Option<usize>,
    pub column: Option<usize>,
    /// The variable it came from, unless it is in the file.
    pub variable: Option<&'a str>,
    pub problem: String,
    pub hint: Option<&'a str>,
}

impl<'a> MistakeDocument<'a> {
    #[must_use]
    pub fn of(mistake: &'a ConfigError) -> Self {
        let problem = mistake.problem();
        let path = match mistake {
            ConfigError::File { place, .. } => Some(&place.path),
            ConfigError::Read { path, .. } | ConfigError::Long { path } => Some(path),
            _ => None,
        };
        let place = match mistake {
            ConfigError::File { place, .. } => Some(place),
            _ => None,
        };
        Self {
            file: path.map(|path| path.display().to_string()),
            line: place.map(|place| place.line),
            column: place.map(|place| place.column),
            variable: match mistake {
                ConfigError::Variable { name, .. } => Some(name),
                _ => None,
            },
            problem: problem.map_or_else(|| mistake.to_string(), |problem| problem.what.clone()),
            hint: problem.and_then(|problem| problem.hint.as_deref()),
        }
    }
}

/// The exit code of a command without valid settings.
#[must_use]
pub fn exit(mistakes: &Mistakes) -> Exit {
    let is_closed = |mistake: &ConfigError| matches!(mistake, ConfigError::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied);
    let is_flag = |mistake: &ConfigError| matches!(mistake, ConfigError::Flag { .. });
    if mistakes.list.iter().any(is_closed) {
        Exit::Permission
    } else if mistakes.list.iter().all(is_flag) {
        Exit::Usage
    } else {
        Exit::Config
    }
}

impl From<Mistakes> for Failure {
    fn from(mistakes: Mistakes) -> Self {
        let lines: Vec<String> = mistakes.list.iter().map(ToString::to_string).collect();
        Self {
            code: exit(&mistakes),
            message: lines.join("\n"),
            drawn: Some(drawn(&mistakes)),
        }
    }
}
