//! The words of the command line: which report, of which period, in which zone.

use jiff::Span;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use strum::IntoEnumIterator;

use crate::cli::args::{ReportArgs, ReportKind, WeekDay};
use crate::cli::exit::{Exit, Failure};
use crate::config::{Settings, did_you_mean, near};
use crate::model::Millis;
use crate::periods::{self, TimeSpan, WeekStart};

/// The report and the text of its period.
///
/// # Errors
/// The first word is neither a report nor a period.
pub fn kind_and_period(words: &[String]) -> Result<(ReportKind, Option<&str>), Failure> {
    let (first, second) = (
        words.first().map(String::as_str),
        words.get(1).map(String::as_str),
    );
    let Some(first) = first else {
        return Ok((ReportKind::Daily, None));
    };
    let names = ReportKind::iter().map(<&str>::from);
    if let Some(kind) = ReportKind::iter().find(|kind| <&str>::from(*kind) == singular_too(first)) {
        return Ok((kind, second));
    }
    let is_period = periods::parse(first, 0, &TimeZone::UTC, WeekStart::Monday);
    match (is_period, second) {
        (Ok(_), None) => Ok((ReportKind::Daily, Some(first))),
        (Ok(_), Some(second)) => {
            let message = format!("the report comes before the period: `tokentail report {second} {first}`");
            Err(Failure::new(Exit::Usage, message))
        }
        // It has the form of a period.
        (Err(error), _) if !matches!(error, periods::PeriodError::Unknown(_)) => {
            Err(Failure::new(Exit::Usage, error.to_string()))
        }
        (Err(_), _) => {
            let names: Vec<&str> = names.collect();
            let all = names.iter().copied().chain(periods::WORDS);
            let hint =
                near(first, all).map_or_else(|| ":".to_owned(), |word| format!("; {}", did_you_mean(word)));
            let message = format!(
                "{first:?} is no report and no period{hint} a report is one of {}; a period is one of {}",
                names.join(", "),
                periods::FORMS
            );
            Err(Failure::new(Exit::Usage, message))
        }
    }
}

/// ccusage has `session`; the plural is ours.
fn singular_too(word: &str) -> &str {
    match word {
        "run" => "runs",
        "session" => "sessions",
        "project" => "projects",
        "model" => "models",
        "account" => "accounts",
        "route" => "routes",
        "block" => "blocks",
        word => word,
    }
}

/// Checks the words before anything is asked, which may take a while.
///
/// # Errors
/// The period or the zone is invalid.
pub fn check(args: &ReportArgs, period: Option<&str>) -> Result<(), Failure> {
    let zone = zone(args, None)?;
    span(args, period, 0, &zone, WeekStart::Monday).map(|_| ())
}

/// The zone of days: the flag's, else that of the configuration.
///
/// # Errors
/// There is no such zone.
pub fn zone(args: &ReportArgs, settings: Option<&Settings>) -> Result<TimeZone, Failure> {
    let Some(name) = &args.timezone else {
        return Ok(settings.map_or(TimeZone::UTC, |settings| settings.quota_zone.clone()));
    };
    periods::zone_named(name).ok_or_else(|| {
        let names = periods::zone_names();
        let hint = near(name, names.iter().map(String::as_str));
        let hint = hint.map_or_else(String::new, |word| format!("; {}", did_you_mean(word)));
        let message = format!(
            "--timezone {name:?} is not a time zone: the name of one in the IANA database, as in UTC or Europe/Berlin{hint}"
        );
        Failure::new(Exit::Usage, message)
    })
}

/// The first day of a week.
#[must_use]
pub fn week_start(args: &ReportArgs, default: WeekStart) -> WeekStart {
    match args.week_start {
        None => default,
        Some(WeekDay::Monday) => WeekStart::Monday,
        Some(WeekDay::Sunday) => WeekStart::Sunday,
    }
}

/// The range of time of a report.
///
/// # Errors
/// The period is invalid, or given in two ways.
pub fn span(
    args: &ReportArgs,
    period: Option<&str>,
    now: Millis,
    zone: &TimeZone,
    week: WeekStart,
) -> Result<TimeSpan, Failure> {
    let usage = |message: String| Failure::new(Exit::Usage, message);
    if args.since.is_none() && args.until.is_none() {
        let span = periods::parse(period.unwrap_or("all-time"), now, zone, week);
        return span.map_err(|error| usage(error.to_string()));
    }
    if let Some(period) = period {
        return Err(usage(format!(
            "the period {period:?} and --since or --until both say when; give one of the two"
        )));
    }
    if let (Some(since), Some(until)) = (args.since, args.until)
        && until < since
    {
        return Err(usage(format!("--until {until} is before --since {since}")));
    }
    let at = |day: Option<Date>| {
        let start = periods::start_of(day?, zone);
        start.map(jiff::Timestamp::as_millisecond)
    };
    let after = args
        .until
        .and_then(|day| day.checked_add(Span::new().days(1)).ok());
    Ok(TimeSpan {
        from: at(args.since),
        to: at(after),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Result<(ReportKind, Option<String>), String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        kind_and_period(&words)
            .map(|(kind, period)| (kind, period.map(str::to_owned)))
            .map_err(|failure| failure.message)
    }

    #[test]
    fn the_first_word_is_a_report_or_a_period() {
        for (line, kind, period) in [
            ("", ReportKind::Daily, None),
            ("weekly", ReportKind::Weekly, None),
            ("session", ReportKind::Sessions, None),
            ("blocks last-7d", ReportKind::Blocks, Some("last-7d")),
            ("last-month", ReportKind::Daily, Some("last-month")),
            ("2026-10", ReportKind::Daily, Some("2026-10")),
        ] {
            assert_eq!(of(line), Ok((kind, period.map(str::to_owned))), "{line}");
        }
    }

    #[test]
    fn an_unknown_first_word_is_an_error_with_a_suggestion() {
        for (line, said) in [
            (
                "mothly",
                "\"mothly\" is no report and no period; did you mean `monthly`?",
            ),
            ("yesterdy", "did you mean `yesterday`?"),
            ("inst1", "\"inst1\" is no report and no period"),
            ("today daily", "`tokentail report daily today`"),
            ("20250231", "there is no day 20250231"),
        ] {
            let message = of(line).unwrap_err();
            assert!(message.contains(said), "{line}: {message}");
        }
    }
}
