//! Names in the filters of a report that found nothing: one that does not exist is an error, with the name that was
//! meant.

use std::fmt::Write as _;

use super::source::Asked;
use crate::api::usage::UsageQuery;
use crate::cli::args::ReportArgs;
use crate::cli::exit::{Exit, Failure};
use crate::cli::print::text;
use crate::config::{did_you_mean, near};
use crate::globs::NamePattern;

/// Most names that are listed where none is similar.
const LISTED_MAX: usize = 8;

/// Checks each filter by name over all time.
///
/// # Errors
/// There is nothing of this name, or nothing answers.
pub fn check(asked: &Asked<'_>, args: &ReportArgs) -> Result<(), Failure> {
    let run = args.run.as_ref().map(ToString::to_string);
    let project = args.project.as_deref();
    let filters = [
        ("--run", "run", run.as_deref()),
        ("--account", "account", args.account.as_deref()),
        ("--model", "model", args.model.as_deref()),
        (
            "--project",
            "project",
            project.filter(|name| !name.starts_with("label:")),
        ),
        ("--id", "session", args.id.as_deref()),
        ("--instance", "instance", args.instance.as_deref()),
    ];
    for (flag, dim, wanted) in filters {
        if let Some(wanted) = wanted {
            exists(asked, flag, dim, wanted)?;
        }
    }
    Ok(())
}

fn exists(asked: &Asked<'_>, flag: &str, dim: &str, wanted: &str) -> Result<(), Failure> {
    // These are known before they have used anything.
    let is_registered = match dim {
        "run" => asked.source.has_run(wanted)?,
        "account" => asked.settings.is_some_and(|settings| {
            let mut rules = settings.accounts.rules().iter();
            rules.any(|rules| rules.id.to_string() == wanted)
        }),
        _ => false,
    };
    if is_registered {
        return Ok(());
    }
    let query = UsageQuery {
        group_by: Some(dim.to_owned()),
        ..UsageQuery::default()
    };
    let rows = asked.source.usage(&query)?.rows;
    let known: Vec<&str> = rows
        .iter()
        .filter_map(|row| row.key.as_ref()?.as_deref())
        .collect();
    missing(flag, dim, wanted, &known).map_or(Ok(()), Err)
}

/// The failure, unless a known name is the wanted one.
fn missing(flag: &str, dim: &str, wanted: &str, known: &[&str]) -> Option<Failure> {
    let pattern = NamePattern::new(wanted).ok().filter(|_| dim == "model");
    let is_wanted =
        |name: &&str| (pattern.as_ref()).map_or_else(|| *name == wanted, |pattern| pattern.matches(name));
    if known.iter().any(is_wanted) {
        return None;
    }
    let mut message = format!("{flag} {}: there is no such {dim}", text::name(wanted));
    if let Some(word) = near(wanted, known.iter().copied()) {
        let _ = write!(message, "; {}", did_you_mean(&text::name(word)));
    } else if (1..=LISTED_MAX).contains(&known.len()) {
        let names: Vec<String> = known.iter().map(|name| text::name(name)).collect();
        let _ = write!(message, "; known: {}", names.join(", "));
    } else if known.len() > LISTED_MAX {
        let _ = write!(message, "; `tokentail report {dim}s` lists them");
    }
    Some(Failure::new(Exit::NoInput, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_does_not_exist_is_said_with_the_one_that_was_meant() {
        let many: Vec<String> = (0..9).map(|number| format!("run-{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        for (dim, wanted, known, said) in [
            ("run", "fix-1", &["fix-1"][..], None),
            ("model", "claude-*", &["claude-opus-5"], None),
            (
                "run",
                "nope",
                &["nopf"],
                Some("--f nope: there is no such run; did you mean `nopf`?"),
            ),
            (
                "run",
                "other",
                &["fix-1", "a\u{202e}b"],
                Some("--f other: there is no such run; known: fix-1, a\u{fffd}b"),
            ),
            (
                "run",
                "other",
                &many,
                Some("--f other: there is no such run; `tokentail report runs` lists them"),
            ),
            ("model", "gpt-*", &[], Some("--f gpt-*: there is no such model")),
            (
                "project",
                "*",
                &["alpha"],
                Some("--f *: there is no such project; known: alpha"),
            ),
        ] {
            let failure = missing("--f", dim, wanted, known);
            assert_eq!(failure.map(|failure| failure.message).as_deref(), said);
        }
    }
}
