//! The report of `doctor`: results in their order, as a document or for people.

use std::path::Path;

use serde::Serialize;
use strum::IntoStaticStr;

use crate::cli::args::Global;
use crate::cli::exit::Failure;
use crate::cli::finding::Finding;
use crate::cli::path_checks::PathChecks;
use crate::cli::print::{output, text};

/// Column widths of the marks and of the names of the checks.
const MARK_COLUMNS: usize = 4;
const NAME_COLUMNS: usize = 13;

/// The result of a check, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum CheckMark {
    Ok,
    Warn,
    #[strum(serialize = "FAIL")]
    Fail,
}

/// One check's result.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    mark: CheckMark,
    what: String,
    todo: Option<String>,
}

/// All results, in their order.
#[derive(Debug, Default)]
pub struct DoctorReport(Vec<Check>);

impl DoctorReport {
    /// Adds a result.
    pub fn add(&mut self, name: &'static str, mark: CheckMark, finding: Finding) {
        let Finding { what, todo } = finding;
        self.0.push(Check {
            name,
            mark,
            what,
            todo,
        });
    }

    /// Adds a result without a problem.
    pub fn ok(&mut self, name: &'static str, what: impl Into<String>) {
        self.add(name, CheckMark::Ok, Finding::bare(what));
    }

    /// Runs a check of a path, which may hang: that is a result too.
    pub fn check<T: Send + 'static>(
        &mut self,
        checks: &PathChecks,
        (name, path): (&'static str, &Path),
        check: impl FnOnce(&mut Self) -> T + Send + 'static,
    ) -> Option<T> {
        let checked = checks.run(path, move |_| {
            let mut part = Self::default();
            let found = check(&mut part);
            (found, part.0)
        });
        match checked {
            Ok((found, part)) => {
                self.0.extend(part);
                Some(found)
            }
            Err(unanswered) => {
                self.add(name, CheckMark::Fail, unanswered.finding());
                None
            }
        }
    }

    /// True if a check found a failure.
    #[must_use]
    pub fn fails(&self) -> bool {
        self.0.iter().any(|check| check.mark == CheckMark::Fail)
    }

    /// Prints all results.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn print(&self, global: &Global) -> Result<(), Failure> {
        if global.json {
            let worst = self.0.iter().map(|check| check.mark).max();
            return output::json(&serde_json::json!({ "worst": worst, "checks": self.0 }));
        }
        output::human(|out| {
            for check in &self.0 {
                let (mark, name) = (check.mark.into_str(), check.name);
                let what = text::message(&check.what);
                writeln!(out, "{mark:MARK_COLUMNS$}  {name:NAME_COLUMNS$}  {what}")?;
                if let Some(todo) = &check.todo {
                    let indent = MARK_COLUMNS + NAME_COLUMNS + 4;
                    writeln!(out, "{:indent$}-> {}", "", text::message(todo))?;
                }
            }
            Ok(())
        })
    }
}
