//! Findings about the targets of notifications. Nothing is sent and nothing is run.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::access::{PASS, Who};
use super::finding::Finding;
use super::path_checks::PathChecks;
use crate::config::Settings;
use crate::logfile::run_dir::resolve;
use crate::quota::notice::target::NoticeRoute;
use crate::sender::delivery::secret_problem;

/// Bits of a mode.
const MODE_OTHERS_WRITE: u32 = 0o002;
const MODE_STICKY: u32 = 0o1000;

/// Findings about the targets of notifications: secrets that cannot be used, and programs that cannot be executed or
/// that other users may replace. None stops `serve`, which tries again.
#[must_use]
pub fn targets(settings: &Settings, this: &Who, checks: &PathChecks) -> Vec<Finding> {
    let mut found = Vec::new();
    for target in settings.notify.targets.iter() {
        let of_target = |finding: Finding| Finding {
            what: format!("notify {}: {}", target.name, finding.what),
            ..finding
        };
        // One check reads both files.
        if let Some(path) = target.secret_file.as_ref().or(target.token_file.as_ref()) {
            let of_check = target.clone();
            match checks.run(path, move |_| secret_problem(&of_check)) {
                Ok(problem) => found.extend(problem.map(|why| of_target(Finding::bare(why)))),
                Err(unanswered) => found.push(of_target(unanswered.finding())),
            }
        }
        if let NoticeRoute::Exec(words) = &target.route
            && let Some(program) = words.first()
        {
            let (path, who) = (PathBuf::from(program), this.clone());
            let of_check = path.clone();
            match checks.run(&path, move |_| no_program(&of_check, &who)) {
                Ok(problem) => found.extend(problem.map(|why| of_target(Finding::bare(why)))),
                Err(unanswered) => found.push(of_target(unanswered.finding())),
            }
        }
    }
    found
}

/// The reason why a program cannot be executed.
fn no_program(path: &Path, who: &Who) -> Option<String> {
    let shown = path.display();
    match std::fs::metadata(path) {
        Err(error) => return Some(format!("{shown}: {error}")),
        Ok(found) if !found.is_file() => return Some(format!("{shown} is no file")),
        Ok(_) => {}
    }
    match who.may(path, PASS) {
        Ok(true) => open_to_others(path, who),
        Ok(false) => Some(format!("{shown} cannot be executed by {}; chmod +x it", who.name)),
        Err(error) => Some(format!("{shown}: {error}")),
    }
}

/// Who may replace a program: it runs as the collector, so that would be to be the collector.
fn open_to_others(path: &Path, who: &Who) -> Option<String> {
    resolve(path).ancestors().find_map(|place| {
        let found = match std::fs::metadata(place) {
            Ok(found) => found,
            Err(error) => return Some(format!("{}: {error}", place.display())),
        };
        let (mode, owner, shown) = (found.mode(), found.uid(), place.display());
        // In a sticky directory everybody may write, but not replace the files of others.
        let is_open = mode & MODE_OTHERS_WRITE != 0 && (found.is_file() || mode & MODE_STICKY == 0);
        if is_open {
            let program = path.display();
            return Some(format!(
                "every user may write {shown} (mode {:04o}), and so decide what {program} does; chmod o-w {shown}",
                mode & 0o7777
            ));
        }
        (owner != 0 && owner != who.uid).then(|| {
            format!(
                "{shown} belongs to the user {owner}, who decides what {} does as {}; chown root {shown}",
                path.display(),
                who.name
            )
        })
    })
}
