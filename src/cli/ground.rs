//! Ground: what the settings find on this machine. It looks, and changes nothing.

use std::path::{Path, PathBuf};

use super::access::{self, PASS, READ, Stop, WRITE, Who};
use super::print::numbers::counted;
use crate::config::Settings;
use crate::config::web::{Token, TokenError};
use crate::globs::Globs;
use crate::globs::layout::Layout;
use crate::logfile::shape::Shape;
use crate::logfile::{Entry, EntryKind, LogFileError, Root};

/// Most entries of directories that are looked at.
const ENTRIES_MAX: usize = 100_000;
/// Most directories that are named because they cannot be read.
const UNREADABLE_MAX: usize = 3;

/// Something that is not as it was probably meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub what: String,
    /// What to do about it.
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

/// What there is in the runs directory.
#[derive(Debug, Default)]
pub struct Runs {
    pub runs: u64,
    /// Files that are read.
    pub files: u64,
    /// Includes that no file matches. Empty if not everything was looked at.
    pub idle_includes: Vec<String>,
    pub idle_excludes: Vec<String>,
    pub unreadable: Vec<LogFileError>,
    /// Whether there is more than was looked at: very many entries, or links.
    pub is_partial: bool,
    /// What to set so that more is read.
    pub advice: Option<String>,
}

impl Runs {
    /// Looks through the runs directory, for someone who reads it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn scan(settings: &Settings, who: &Who) -> Result<Self, LogFileError> {
        let root = Root::open_given(&settings.runs_dir)?;
        let globs = &settings.watch.globs;
        let entries = root.list(Path::new(""))?;
        let shape = Shape::of_entries(&settings.runs_dir, &root, &entries);
        let mut found = Self {
            advice: shape.advice(&settings.runs_dir, |log| globs.reads(log)),
            ..Self::default()
        };
        let mut includes = waiting(&settings.watch.include, |one| Globs::new(one, &[]));
        let every = ["**/*".to_owned()];
        let mut excludes = waiting(&settings.watch.exclude, |one| Globs::new(&every, one));
        let mut pending: Vec<PathBuf> = Vec::new();
        let mut left = ENTRIES_MAX;
        // Whoever asks may see more than the one who reads.
        let closed = |path: &Path, rights: u32| {
            let path = settings.runs_dir.join(path);
            let is_closed = matches!(who.may(&path, rights), Ok(false));
            is_closed.then(|| LogFileError::Io {
                path,
                source: std::io::ErrorKind::PermissionDenied.into(),
            })
        };
        let mut add = |entries: Vec<Entry>, pending: &mut Vec<PathBuf>, found: &mut Self| {
            for entry in entries {
                let rights = match entry.kind {
                    EntryKind::Directory if globs.may_contain(&entry.path) => Some(READ | PASS),
                    EntryKind::File if globs.reads(&entry.path) => Some(READ),
                    _ => None,
                };
                if found.unreadable.len() < UNREADABLE_MAX
                    && let Some(error) = rights.and_then(|rights| closed(&entry.path, rights))
                {
                    found.unreadable.push(error);
                }
                match entry.kind {
                    EntryKind::Directory => {
                        excludes.retain(|(_, globs)| globs.may_contain(&entry.path));
                        if globs.may_contain(&entry.path) {
                            pending.push(entry.path);
                        }
                    }
                    EntryKind::File => {
                        found.files += u64::from(globs.reads(&entry.path));
                        includes.retain(|(_, globs)| !globs.reads(&entry.path));
                        excludes.retain(|(_, globs)| globs.reads(&entry.path));
                    }
                    // What is behind a link is read where it may be; that is not looked at here.
                    EntryKind::Link | EntryKind::Unknown => found.is_partial = true,
                    _ => {}
                }
            }
        };
        found.runs = entries
            .iter()
            .filter(|entry| entry.kind == EntryKind::Directory)
            .count() as u64;
        add(entries, &mut pending, &mut found);
        while let Some(directory) = pending.pop() {
            match root.list(&directory) {
                Ok(entries) if entries.len() <= left => {
                    left -= entries.len();
                    add(entries, &mut pending, &mut found);
                }
                Ok(_) => {
                    found.is_partial = true;
                    break;
                }
                Err(LogFileError::Gone(_) | LogFileError::Refused(_)) => found.is_partial = true,
                // It was found closed when its parent was looked at.
                Err(LogFileError::Io { source, .. })
                    if source.kind() == std::io::ErrorKind::PermissionDenied => {}
                Err(error) if found.unreadable.len() < UNREADABLE_MAX => found.unreadable.push(error),
                Err(_) => found.is_partial = true,
            }
        }
        if !found.is_partial && found.unreadable.is_empty() {
            found.idle_includes = includes.into_iter().map(|(pattern, _)| pattern).collect();
            found.idle_excludes = excludes.into_iter().map(|(pattern, _)| pattern).collect();
        }
        Ok(found)
    }

    /// `12 runs, 40 files`.
    #[must_use]
    pub fn sentence(&self, layout: Layout) -> String {
        let what = match layout {
            Layout::Runs => "run",
            Layout::Projects => "project",
        };
        let more = if self.is_partial { " or more" } else { "" };
        let runs = counted(self.runs, what);
        format!("{runs}, {}{more} to read", counted(self.files, "file"))
    }

    /// What the one who reads cannot read, and how to let them.
    #[must_use]
    pub fn closed(&self, who: &Who) -> Vec<Finding> {
        let finding = |error: &LogFileError| match error {
            LogFileError::Io { path, source } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                let what = format!("user {} cannot read {}", who.name, path.display());
                Finding::new(what, right(path, &who.name, READ | PASS))
            }
            error => Finding::bare(error.to_string()),
        };
        self.unreadable.iter().map(finding).collect()
    }

    /// What is not as it was probably meant.
    #[must_use]
    pub fn findings(&self, settings: &Settings) -> Vec<Finding> {
        let directory = settings.runs_dir.display();
        let mut findings: Vec<Finding> = self.advice.iter().map(Finding::bare).collect();
        if self.advice.is_some() || self.is_partial || !self.unreadable.is_empty() {
            return findings;
        }
        if self.runs == 0 {
            if settings.runs.mount_roots.is_empty() {
                let what = format!("{directory} holds no directory, so there is no run yet");
                findings.push(Finding::bare(what));
            }
            return findings;
        }
        let has_default = |pattern: &String| settings.runs.layout.include_default().contains(&&**pattern);
        if self.files == 0 {
            let patterns = settings.watch.include.join(", ");
            let runs = counted(self.runs, "directory").replace("directorys", "directories");
            let what = format!("of {runs} in {directory}, none has a file that matches {patterns}");
            let todo = match settings.runs.layout {
                Layout::Runs => {
                    "each is to be a run with its logs in its directory `mount`; if they hold logs themselves, set runs.layout = \"projects\"; else see watch.include"
                }
                Layout::Projects => "see watch.include",
            };
            findings.push(Finding::new(what, todo));
            return findings;
        }
        for pattern in self.idle_includes.iter().filter(|pattern| !has_default(pattern)) {
            let what = format!("watch.include: no file in {directory} matches `{pattern}`");
            findings.push(Finding::new(
                what,
                "check its spelling, or leave it for files to come",
            ));
        }
        for pattern in &self.idle_excludes {
            let what = format!("watch.exclude: no file in {directory} matches `{pattern}`");
            findings.push(Finding::new(
                what,
                "check its spelling, or leave it for files to come",
            ));
        }
        findings
    }
}

/// Each pattern by itself, until something matches it.
fn waiting<E>(patterns: &[String], compile: impl Fn(&[String]) -> Result<Globs, E>) -> Vec<(String, Globs)> {
    let one = |pattern: &String| {
        let globs = compile(std::slice::from_ref(pattern)).ok()?;
        Some((pattern.clone(), globs))
    };
    patterns.iter().filter_map(one).collect()
}

/// Why somebody cannot get to a directory, and what to do.
#[must_use]
pub fn way(stop: &Stop, who: &Who) -> Finding {
    let name = &who.name;
    match stop {
        Stop::Missing(path) => Finding::new(
            format!("{} is not there", path.display()),
            "make it, or set runs_dir to the directory with the runs; it is picked up when it comes",
        ),
        Stop::Denied(path, rights) => Finding::new(
            format!("user {name} has no {} on {}", word(*rights), path.display()),
            right(path, name, *rights),
        ),
        Stop::NoDirectory(path) => Finding::bare(format!("{} is no directory", path.display())),
        Stop::Unseen(path, error) => Finding::new(
            format!("{} cannot be looked at: {error}", path.display()),
            "ask again as root",
        ),
    }
}

/// Rights as `ls` shows them.
fn word(rights: u32) -> String {
    let letters = [(READ, 'r'), (WRITE, 'w'), (PASS, 'x')];
    let has = letters.into_iter().filter(|(bit, _)| rights & bit != 0);
    has.map(|(_, letter)| letter).collect()
}

/// How to give somebody rights: those to read go to what is below too, and to what will be.
#[must_use]
pub fn right(path: &Path, name: &str, rights: u32) -> String {
    let path = access::quoted(path);
    if rights == READ | PASS {
        return format!(
            "setfacl -R -m u:{name}:rX {path}; find {path} -type d -exec setfacl -d -m u:{name}:rX {{}} +"
        );
    }
    format!("setfacl -m u:{name}:{} {path}", word(rights))
}

/// The nearest directory above a file that is there, and whether somebody can make the file in it.
#[must_use]
pub fn place_for(file: &Path, who: &Who) -> Option<Finding> {
    let directory = file.ancestors().skip(1).find(|path| path.exists())?;
    let stop = access::stop_on_the_way(directory, who, READ | WRITE | PASS)?;
    // Rights on a directory far above are nobody's cure.
    match file.parent() {
        Some(own) if own != directory => Some(Finding::new(
            format!(
                "{} is not there, and user {} cannot make it",
                own.display(),
                who.name
            ),
            format!(
                "make it as root and give it to user {}, or name another place",
                who.name
            ),
        )),
        _ => Some(way(&stop, who)),
    }
}

/// What is wrong with the token's file, and whether `serve` stops at it whoever starts it.
#[must_use]
pub fn token(settings: &Settings) -> Option<(Finding, bool)> {
    let path = settings.http.token_file.as_ref()?;
    settings.http.listen?;
    let error = Token::read(path).err()?;
    let is_certain = !matches!(error, TokenError::Read { .. });
    let finding = if is_certain {
        Finding::bare(error.to_string())
    } else {
        Finding::new(
            error.to_string(),
            "`serve` must be able to read it; a relative path begins at $CREDENTIALS_DIRECTORY, which the service alone has",
        )
    };
    Some((finding, is_certain))
}
