//! Findings about the targets of notifications. Nothing is sent and nothing is run.

use std::path::{Path, PathBuf};

use super::access::{PASS, Who};
use super::finding::Finding;
use super::path_checks::PathChecks;
use crate::config::Settings;
use crate::quota::notice::target::NoticeRoute;
use crate::sender::delivery::secret_problem;

/// Findings about the targets of notifications: secrets that cannot be used, and programs that cannot be executed.
/// None stops `serve`, which tries again.
#[must_use]
pub fn targets(settings: &Settings, this: &Who, checks: &PathChecks) -> Vec<Finding> {
    let mut found = Vec::new();
    for target in settings.notify.targets.iter() {
        let of_target = |finding: Finding| Finding {
            what: format!("notify {}: {}", target.name, finding.what),
            ..finding
        };
        if let Some(path) = &target.secret_file {
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
        Ok(true) => None,
        Ok(false) => Some(format!("{shown} cannot be executed by {}; chmod +x it", who.name)),
        Err(error) => Some(format!("{shown}: {error}")),
    }
}
