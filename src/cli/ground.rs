//! Findings about the configured paths on this machine. Nothing is changed.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use super::access::{self, PASS, READ, Stop, WRITE, Who};
use super::finding::Finding;
use super::path_checks::{self, PathChecks};
use super::print::numbers::counted;
use crate::config::Settings;
use crate::config::web::{Token, TokenError};
use crate::globs::Globs;
use crate::globs::layout::Layout;
use crate::logfile::shape::Shape;
use crate::logfile::touched::TouchedPath;
use crate::logfile::{Entry, EntryKind, LogFileError, Root};

/// Most directory entries inspected.
const ENTRIES_MAX: usize = 100_000;
/// Most unreadable directories named.
const UNREADABLE_MAX: usize = 3;
/// Most paths named that do not answer.
const SILENT_MAX: usize = 3;

/// Contents of the runs directory.
#[derive(Debug, Default)]
pub struct Runs {
    pub runs: u64,
    /// Files that are read.
    pub files: u64,
    /// Include patterns without a matching file. Empty if not everything was inspected.
    idle_includes: Vec<String>,
    idle_excludes: Vec<String>,
    pub unreadable: Vec<LogFileError>,
    /// Paths in filesystems that do not answer; nothing below them is inspected.
    pub silent: BTreeSet<PathBuf>,
    /// True if not everything was inspected: too many entries, or links.
    is_partial: bool,
    /// A setting that would read more.
    pub advice: Option<String>,
}

impl Runs {
    /// Scans the runs directory with the permissions of `who`, beside runs that do not answer.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn scan(settings: &Settings, who: &Who, checks: &PathChecks) -> Result<Self, LogFileError> {
        let directory = &settings.runs_dir;
        let scan = |silent: BTreeSet<PathBuf>| {
            let (settings, who) = (settings.clone(), who.clone());
            checks.run(directory, move |touched| {
                scan_beside(&settings, &who, silent, touched)
            })
        };
        let first = match scan(BTreeSet::new()) {
            Ok(found) => return found,
            Err(unanswered) => unanswered.path,
        };
        // Others may hang as well. One that is beside the mounts, or in them, is found by a second scan.
        let mut silent = BTreeSet::from_iter(checks.silent_mounts(directory));
        let is_covered = silent.iter().any(|point| first.starts_with(point));
        if !is_covered && (first != *directory || silent.is_empty()) {
            silent.insert(first);
        }
        if !silent.contains(directory) {
            match scan(silent.clone()) {
                Ok(found) => return found,
                Err(unanswered) => silent.insert(unanswered.path),
            };
        }
        Ok(Self {
            silent,
            is_partial: true,
            ..Self::default()
        })
    }

    /// Findings for the paths that do not answer.
    #[must_use]
    pub fn hanging(&self, settings: &Settings) -> Vec<Finding> {
        const WHY: &str = "its filesystem hangs, and nothing there is read until it answers";
        let named = self.silent.iter().take(SILENT_MAX).map(|path| {
            let what = format!("{} does not answer: {WHY}", path.display());
            Finding::new(what, path_checks::remedy(path))
        });
        let more = self.silent.len().saturating_sub(SILENT_MAX) as u64;
        let more = (more > 0).then(|| {
            let paths = counted(more, "further path");
            let directory = settings.runs_dir.display();
            Finding::bare(format!("{paths} below {directory} do not answer either"))
        });
        named.chain(more).collect()
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

    /// Findings for what `who` cannot read, with the commands that grant access.
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

    /// Differences from the probable intention.
    #[must_use]
    pub fn findings(&self, settings: &Settings) -> Vec<Finding> {
        let directory = settings.runs_dir.display();
        let mut findings: Vec<Finding> = self.advice.iter().map(Finding::bare).collect();
        if self.advice.is_some() || self.is_partial || !self.unreadable.is_empty() {
            return findings;
        }
        if self.runs == 0 {
            if settings.runs.mount_roots.is_empty() {
                let what = format!("{directory} contains no directory, so there is no run yet");
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
                    "each must be a run with its logs in its directory `mount`; if they contain logs directly, set runs.layout = \"projects\"; else see watch.include"
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
                "check its spelling, or keep it for future files",
            ));
        }
        for pattern in &self.idle_excludes {
            let what = format!("watch.exclude: no file in {directory} matches `{pattern}`");
            findings.push(Finding::new(
                what,
                "check its spelling, or keep it for future files",
            ));
        }
        findings
    }
}

/// Scans the runs directory without touching the `silent` paths.
fn scan_beside(
    settings: &Settings,
    who: &Who,
    silent: BTreeSet<PathBuf>,
    touched: &TouchedPath,
) -> Result<Runs, LogFileError> {
    let root = Root::open_given(&settings.runs_dir)?;
    let entries = root.list(Path::new(""))?;
    let mut scan = RunsScan::new(settings, who, touched);
    scan.found.silent = silent;
    scan.found.runs = entries
        .iter()
        .filter(|entry| entry.kind == EntryKind::Directory)
        .count() as u64;
    let mut answering = entries.clone();
    answering.retain(|entry| !scan.has_silent(&settings.runs_dir.join(&entry.path)));
    scan.add(entries);
    scan.walk(&root);
    touched.set(&settings.runs_dir);
    let globs = &settings.watch.globs;
    let shape = Shape::of_entries(&settings.runs_dir, &root, &answering);
    scan.found.advice = shape.advice(&settings.runs_dir, |log| globs.reads(log));
    Ok(scan.end())
}

/// A scan of the runs directory.
struct RunsScan<'s> {
    settings: &'s Settings,
    who: &'s Who,
    touched: &'s TouchedPath,
    found: Runs,
    /// Patterns without a match so far.
    includes: Vec<(String, Globs)>,
    excludes: Vec<(String, Globs)>,
    /// Directories to list.
    pending: Vec<PathBuf>,
}

impl<'s> RunsScan<'s> {
    fn new(settings: &'s Settings, who: &'s Who, touched: &'s TouchedPath) -> Self {
        let every = ["**/*".to_owned()];
        Self {
            settings,
            who,
            touched,
            found: Runs::default(),
            includes: waiting(&settings.watch.include, |one| Globs::new(one, &[])),
            excludes: waiting(&settings.watch.exclude, |one| Globs::new(&every, one)),
            pending: Vec::new(),
        }
    }

    /// Lists the pending directories and those below them.
    fn walk(&mut self, root: &Root) {
        let mut left = ENTRIES_MAX;
        while let Some(directory) = self.pending.pop() {
            self.touched.set(&self.settings.runs_dir.join(&directory));
            match root.list(&directory) {
                Ok(entries) if entries.len() <= left => {
                    left -= entries.len();
                    self.add(entries);
                }
                Ok(_) => {
                    self.found.is_partial = true;
                    break;
                }
                Err(LogFileError::Gone(_) | LogFileError::Refused(_)) => self.found.is_partial = true,
                // Already reported as unreadable by its parent.
                Err(LogFileError::Io { source, .. })
                    if source.kind() == std::io::ErrorKind::PermissionDenied => {}
                Err(error) if self.found.unreadable.len() < UNREADABLE_MAX => {
                    self.found.unreadable.push(error);
                }
                Err(_) => self.found.is_partial = true,
            }
        }
    }

    fn add(&mut self, entries: Vec<Entry>) {
        let globs = &self.settings.watch.globs;
        for entry in entries {
            if self
                .found
                .silent
                .contains(&self.settings.runs_dir.join(&entry.path))
            {
                self.found.is_partial = true;
                continue;
            }
            let rights = match entry.kind {
                EntryKind::Directory if globs.may_contain(&entry.path) => Some(READ | PASS),
                EntryKind::File if globs.reads(&entry.path) => Some(READ),
                _ => None,
            };
            if self.found.unreadable.len() < UNREADABLE_MAX
                && let Some(error) = rights.and_then(|rights| self.denied(&entry.path, rights))
            {
                self.found.unreadable.push(error);
            }
            match entry.kind {
                EntryKind::Directory => {
                    self.excludes.retain(|(_, globs)| globs.may_contain(&entry.path));
                    if globs.may_contain(&entry.path) {
                        self.pending.push(entry.path);
                    }
                }
                EntryKind::File => {
                    self.found.files += u64::from(globs.reads(&entry.path));
                    self.includes.retain(|(_, globs)| !globs.reads(&entry.path));
                    self.excludes.retain(|(_, globs)| globs.reads(&entry.path));
                }
                // Targets of links are not inspected.
                EntryKind::Link | EntryKind::Unknown => self.found.is_partial = true,
                _ => {}
            }
        }
    }

    /// True if a path, or one below it, does not answer.
    fn has_silent(&self, path: &Path) -> bool {
        let from = (Bound::Included(path), Bound::Unbounded);
        let mut silent = self.found.silent.range::<Path, _>(from);
        silent.next().is_some_and(|silent| silent.starts_with(path))
    }

    /// The error of an access by `who`, if it is denied: this process may have more permissions.
    fn denied(&self, path: &Path, rights: u32) -> Option<LogFileError> {
        let path = self.settings.runs_dir.join(path);
        self.touched.set(&path);
        let is_denied = matches!(self.who.may(&path, rights), Ok(false));
        is_denied.then(|| LogFileError::Io {
            path,
            source: std::io::ErrorKind::PermissionDenied.into(),
        })
    }

    fn end(self) -> Runs {
        let mut found = self.found;
        if !found.is_partial && found.unreadable.is_empty() {
            found.idle_includes = self.includes.into_iter().map(|(pattern, _)| pattern).collect();
            found.idle_excludes = self.excludes.into_iter().map(|(pattern, _)| pattern).collect();
        }
        found
    }
}

/// Each pattern compiled by itself; matched ones are removed later.
fn waiting<E>(patterns: &[String], compile: impl Fn(&[String]) -> Result<Globs, E>) -> Vec<(String, Globs)> {
    let one = |pattern: &String| {
        let globs = compile(std::slice::from_ref(pattern)).ok()?;
        Some((pattern.clone(), globs))
    };
    patterns.iter().filter_map(one).collect()
}

/// The finding for a directory that `who` cannot reach.
#[must_use]
pub fn way(stop: &Stop, who: &Who) -> Finding {
    let name = &who.name;
    match stop {
        Stop::Missing(path) => Finding::new(
            format!("{} does not exist", path.display()),
            "create it, or set runs_dir to the directory with the runs; it is found once it exists",
        ),
        Stop::Denied(path, rights) => Finding::new(
            format!("user {name} has no {} on {}", word(*rights), path.display()),
            right(path, name, *rights),
        ),
        Stop::NoDirectory(path) => Finding::bare(format!("{} is not a directory", path.display())),
        Stop::Unseen(path, error) => Finding::new(
            format!("{} cannot be inspected: {error}", path.display()),
            "run this again as root",
        ),
    }
}

/// Permissions as `ls` shows them.
fn word(rights: u32) -> String {
    let letters = [(READ, 'r'), (WRITE, 'w'), (PASS, 'x')];
    let has = letters.into_iter().filter(|(bit, _)| rights & bit != 0);
    has.map(|(_, letter)| letter).collect()
}

/// The command that grants permissions; read permission is granted recursively and as default.
#[must_use]
fn right(path: &Path, name: &str, rights: u32) -> String {
    let path = access::quoted(path);
    if rights == READ | PASS {
        return format!(
            "setfacl -R -m u:{name}:rX {path}; find {path} -type d -exec setfacl -d -m u:{name}:rX {{}} +"
        );
    }
    format!("setfacl -m u:{name}:{} {path}", word(rights))
}

/// The nearest existing directory above a file, if the user cannot create the file in it.
#[must_use]
pub fn place_for(file: &Path, who: &Who) -> Option<Finding> {
    let directory = file.ancestors().skip(1).find(|path| path.exists())?;
    let stop = access::stop_on_the_way(directory, who, READ | WRITE | PASS)?;
    // Permissions on a directory far above are no remedy.
    match file.parent() {
        Some(own) if own != directory => Some(Finding::new(
            format!(
                "{} does not exist, and user {} cannot create it",
                own.display(),
                who.name
            ),
            format!(
                "create it as root and chown it to user {}, or name another path",
                who.name
            ),
        )),
        _ => Some(way(&stop, who)),
    }
}

/// The finding for the token's file, and true if it stops `serve` for any user.
#[must_use]
pub fn token(settings: &Settings, checks: &PathChecks) -> Option<(Finding, bool)> {
    let path = settings.http.token_file.as_ref()?;
    settings.http.listen?;
    let of_check = path.clone();
    let error = match checks.run(path, move |_| Token::read(&of_check)) {
        Ok(read) => read.err()?,
        Err(unanswered) => return Some((unanswered.finding(), true)),
    };
    let is_certain = !matches!(error, TokenError::Read { .. });
    let finding = if is_certain {
        Finding::bare(error.to_string())
    } else {
        Finding::new(
            error.to_string(),
            "`serve` must be able to read it; a relative path begins at $CREDENTIALS_DIRECTORY, which only the service has",
        )
    };
    Some((finding, is_certain))
}
