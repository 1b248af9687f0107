//! `check-config`: all mistakes, or the settings in effect with findings on this machine.

use serde::Serialize;
use serde_json::Value;

use super::access::{self, PASS, READ, Who};
use super::args::{CheckConfig, Global};
use super::exit::{Exit, Failure};
use super::finding::Finding;
use super::ground::{self, Runs};
use super::mistakes::{self, MistakeDocument};
use super::path_checks::PathChecks;
use super::print::{output, text};
use super::settings;
use super::{target_checks, target_matches};
use crate::config::{Mistakes, Origin, Settings, notify_rows};
use crate::model::AccountId;

/// The document of `check-config --json`.
#[derive(Serialize)]
struct Checked<'a> {
    valid: bool,
    file: Option<String>,
    mistakes: Vec<MistakeDocument<'a>>,
    /// Number of further mistakes.
    mistakes_left_out: usize,
    warnings: Vec<Warning<'a>>,
    /// Every key with its value and its origin; `null` if there are mistakes.
    settings: Option<Value>,
}

/// A value that is allowed but probably not intended.
#[derive(Serialize)]
struct Warning<'a> {
    #[serde(flatten)]
    place: Option<MistakeDocument<'a>>,
    #[serde(flatten)]
    finding: Option<ConfigDocument>,
}

#[derive(Serialize)]
struct ConfigDocument {
    problem: String,
    hint: Option<String>,
}

/// Prints the settings in effect with their origins, or all mistakes.
///
/// # Errors
/// The configuration is invalid.
pub fn check_config(global: &Global, command: CheckConfig) -> Result<Exit, Failure> {
    let prints_json = global.json && !command.quiet;
    let checks = PathChecks::default();
    let (of_load, file) = (global.clone(), settings::named_file(global));
    let settings = match checks.run(file, move |_| settings::load(&of_load))? {
        Ok(settings) => settings,
        Err(mistakes) if prints_json => return refused(&mistakes),
        Err(mistakes) => return Err(mistakes.into()),
    };
    let (errors, warnings) = findings(&settings, &checks);
    if let Some(error) = errors.first().filter(|_| !prints_json) {
        return Err(Failure::new(Exit::Config, sentence(error)));
    }
    if command.quiet {
        return Ok(Exit::Ok);
    }
    let exit = if errors.is_empty() { Exit::Ok } else { Exit::Config };
    if prints_json {
        let found = |finding: &Finding| ConfigDocument {
            problem: finding.what.clone(),
            hint: finding.todo.clone(),
        };
        let doubts = settings
            .doubts
            .iter()
            .map(|doubt| (Some(MistakeDocument::of(doubt)), None));
        let findings = warnings.iter().map(|finding| (None, Some(found(finding))));
        let document = |error: &Finding| MistakeDocument {
            problem: sentence(error),
            ..MistakeDocument::default()
        };
        output::json(&Checked {
            valid: errors.is_empty(),
            file: settings
                .config_file
                .as_ref()
                .map(|path| path.display().to_string()),
            mistakes: errors.iter().map(document).collect(),
            mistakes_left_out: 0,
            warnings: doubts
                .chain(findings)
                .map(|(place, finding)| Warning { place, finding })
                .collect(),
            settings: Some(settings::described(&settings)),
        })?;
        return Ok(exit);
    }
    print(&settings, &warnings)?;
    Ok(exit)
}

fn refused(mistakes: &Mistakes) -> Result<Exit, Failure> {
    let documents: Vec<MistakeDocument> = mistakes.list.iter().map(MistakeDocument::of).collect();
    output::json(&Checked {
        valid: false,
        file: documents.iter().find_map(|one| one.file.clone()),
        mistakes: documents,
        mistakes_left_out: mistakes.left_out,
        warnings: Vec::new(),
        settings: None,
    })?;
    Ok(mistakes::exit(mistakes))
}

/// Paths without a setting. Each process has its own defaults, so these may differ from a service's.
fn default_paths(settings: &Settings) -> Vec<&'static str> {
    let is_default = |key: &&str| matches!(settings.origin(key), Origin::Default(_));
    ["runs_dir", "db", "socket"]
        .into_iter()
        .filter(is_default)
        .collect()
}

/// Findings that stop `serve`, and findings that do not.
fn findings(settings: &Settings, checks: &PathChecks) -> (Vec<Finding>, Vec<Finding>) {
    let this = Who::this();
    let defaults = default_paths(settings);
    let (mut errors, mut warnings) = (Vec::new(), Vec::new());
    if !defaults.contains(&"runs_dir") {
        warnings.extend(runs_directory(settings, &this, checks));
    }
    let places = [("db", &settings.db), ("socket", &settings.socket)];
    for (key, path) in places.into_iter().filter(|(key, _)| !defaults.contains(key)) {
        let (of_check, who) = (path.clone(), this.clone());
        let found = checks.run(path, move |_| ground::place_for(&of_check, &who));
        let found = found.unwrap_or_else(|unanswered| Some(unanswered.finding()));
        warnings.extend(found.map(|finding| Finding {
            what: format!("{key}: {} cannot be made: {}", path.display(), finding.what),
            ..finding
        }));
    }
    match ground::token(settings, checks) {
        Some((finding, true)) => errors.push(finding),
        Some((finding, false)) => warnings.push(finding),
        None => {}
    }
    warnings.extend(target_checks::targets(settings, &this, checks));
    warnings.extend(target_matches::targets(settings));
    (errors, warnings)
}

/// Findings about the runs directory. None stops `serve`, which waits for the directory and its runs.
fn runs_directory(settings: &Settings, this: &Who, checks: &PathChecks) -> Vec<Finding> {
    let of_key = |finding: Finding| Finding {
        what: format!("runs_dir: {}", finding.what),
        ..finding
    };
    let (directory, who) = (settings.runs_dir.clone(), this.clone());
    let way = move |_: &_| access::stop_on_the_way(&directory, &who, READ | PASS);
    match checks.run(&settings.runs_dir, way) {
        Err(unanswered) => return vec![of_key(unanswered.finding())],
        Ok(Some(stop)) => return vec![of_key(ground::way(&stop, this))],
        Ok(None) => {}
    }
    match Runs::scan(settings, this, checks) {
        Ok(runs) => {
            let (hanging, closed) = (runs.hanging(settings), runs.closed(this));
            let findings = runs.findings(settings);
            hanging.into_iter().chain(closed).chain(findings).collect()
        }
        Err(error) => vec![of_key(Finding::bare(error.to_string()))],
    }
}

/// Widest column of values.
const VALUE_COLUMNS_MAX: usize = 60;

fn sentence(finding: &Finding) -> String {
    match &finding.todo {
        Some(todo) => format!("{}; {todo}", finding.what),
        None => finding.what.clone(),
    }
}

fn print(settings: &Settings, warnings: &[Finding]) -> Result<(), Failure> {
    let described = settings.describe();
    let accounts = settings.accounts.describe();
    let accounts_origin = settings.origin("account");
    let width = described.iter().map(|one| one.key.len()).max().unwrap_or(0);
    let longest = described.iter().map(|one| one.value.len()).max().unwrap_or(0);
    // A longer value overflows the column: a list may have thousands of patterns.
    let value_width = longest.min(VALUE_COLUMNS_MAX);
    output::human(|out| {
        match &settings.config_file {
            Some(path) => writeln!(out, "{} is in order", path.display())?,
            None => writeln!(out, "no configuration file; the defaults are in order")?,
        }
        for one in &described {
            writeln!(
                out,
                "{:width$}  {:value_width$}  {}",
                one.key, one.value, one.origin
            )?;
        }
        for account in &accounts {
            writeln!(
                out,
                "\naccount {}/{}  {accounts_origin}",
                account.provider, account.name
            )?;
            let rows = account.rows();
            let width = rows.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
            for (key, value) in rows {
                writeln!(out, "  {key:width$}  {value}")?;
            }
        }
        if settings.accounts.configured {
            writeln!(out, "\nruns of no account above: {}", AccountId::default())?;
        }
        let notify_origin = settings.origin("notify");
        for target in settings.notify.targets.iter() {
            writeln!(out, "\ntarget {}  {notify_origin}", target.name)?;
            for (key, value) in notify_rows(target) {
                writeln!(out, "  {key:11}  {value}")?;
            }
        }
        for doubt in &settings.doubts {
            let drawn = mistakes::one(doubt);
            write!(out, "\nwarning: {}", text::message(&drawn))?;
        }
        for warning in warnings {
            writeln!(out, "\nwarning: {}", text::message(&sentence(warning)))?;
        }
        let defaults = default_paths(settings);
        if !defaults.is_empty() {
            writeln!(
                out,
                "\nnot looked at, as nothing sets them: {}. These are the defaults of this shell; a service has those \
                 of its unit. `tokentail doctor` looks at what is in use.",
                defaults.join(", ")
            )?;
        }
        Ok(())
    })
}
