//! The parsed usage question: hours, filter and grouping.

use std::fmt;
use std::ops::Range;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::{GroupPart, UsageQuery};
use crate::api::document::{self, summary};
use crate::api::http::problem::Problem;
use crate::model::{AccountId, DAY_MS, Millis, QUARTER_MS, RunId, RunNumber, check_label, split_label};
use crate::store::RunNames;

const HOUR_MS: i64 = 3_600_000;
/// The grouping of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Group {
    Day,
    Hour,
    Run,
    Model,
    Account,
    /// The value of this label.
    Label(Box<str>),
}

/// A validated question.
#[derive(Clone, Debug)]
pub struct Question {
    pub from: Option<Millis>,
    pub to: Option<Millis>,
    /// Hours since 1970.
    pub hours: Range<u32>,
    pub group: Group,
    pub model: Option<Box<str>>,
    run: Option<Box<str>>,
    /// Provider and name.
    account: Option<(Box<str>, Box<str>)>,
    label: Option<(Box<str>, Box<str>)>,
}

impl Question {
    /// Parses a query.
    ///
    /// # Errors
    /// The name of the invalid parameter.
    pub fn of(query: UsageQuery) -> Result<Self, Problem> {
        let from = query.from.as_deref().map(|text| time("from", text)).transpose()?;
        let to = query.to.as_deref().map(|text| time("to", text)).transpose()?;
        if let (Some(from), Some(to)) = (from, to)
            && from >= to
        {
            return Err(Problem::bad("to", "it is not after from"));
        }
        Ok(Self {
            from,
            to,
            hours: from.map_or(0, hour)..to.map_or(u32::MAX, hour),
            group: query.group_by.as_deref().map_or(Ok(Group::Day), Group::of)?,
            model: query.model.map(Into::into),
            run: (query.run)
                .map(|id| {
                    RunId::new(&id)
                        .map(|_| id.into())
                        .map_err(|error| Problem::bad("run", error))
                })
                .transpose()?,
            account: query.account.as_deref().map(account).transpose()?,
            label: query.label.as_deref().map(label).transpose()?,
        })
    }

    /// True if the answer depends on the runs of the usage.
    pub fn needs_runs(&self) -> bool {
        !matches!(self.group, Group::Day | Group::Hour | Group::Model)
            || self.run.is_some()
            || self.account.is_some()
            || self.label.is_some()
    }

    /// True if a run's sums pass the filter; of a forgotten run only the account is known.
    pub fn wants(&self, run: Option<RunNumber>, account: Option<&AccountId>, names: &RunNames) -> bool {
        let known = run.and_then(|run| names.get(&run));
        self.run
            .as_ref()
            .is_none_or(|wanted| known.is_some_and(|(id, _)| id.as_str() == &**wanted))
            && self.account.as_ref().is_none_or(|(provider, name)| {
                account.is_some_and(|account| account.provider == *provider && account.name == *name)
            })
            && self
                .label
                .as_ref()
                .is_none_or(|(key, value)| known.is_some_and(|(_, info)| info.labels.get(key) == Some(value)))
    }
}

fn account(text: &str) -> Result<(Box<str>, Box<str>), Problem> {
    (text.split_once('/').filter(|(provider, _)| !provider.is_empty()))
        .map(|(provider, name)| (provider.into(), name.into()))
        .ok_or_else(|| {
            Problem::bad(
                "account",
                format!("{text:?} is not PROVIDER/NAME, as in claude/default"),
            )
        })
}

fn label(text: &str) -> Result<(Box<str>, Box<str>), Problem> {
    let (name, value) = split_label(text)
        .ok_or_else(|| Problem::bad("label", format!("{text:?} is not KEY=VALUE, as in project=alpha")))?;
    check_label(name, value).map_err(|problem| Problem::bad("label", problem))?;
    Ok((name.into(), value.into()))
}

impl Group {
    fn of(text: &str) -> Result<Self, Problem> {
        Ok(match text {
            "day" => Self::Day,
            "hour" => Self::Hour,
            "run" => Self::Run,
            "model" => Self::Model,
            "account" => Self::Account,
            _ => {
                let Some(key) = text.strip_prefix("label:") else {
                    let detail = format!("{text:?} is none of day, hour, run, model, account, label:KEY");
                    return Err(Problem::bad("group_by", detail));
                };
                check_label(key, "").map_err(|problem| Problem::bad("group_by", problem))?;
                Self::Label(key.into())
            }
        })
    }

    /// The key of a row.
    pub fn key(&self, part: &GroupPart, account: Option<&AccountId>, names: &RunNames) -> Option<String> {
        let known = part.run.and_then(|run| names.get(&run));
        let start = |quarter: u32| i64::from(quarter) * QUARTER_MS;
        match self {
            Self::Day => part
                .time
                .map(|time| summary::date((start(time) / DAY_MS).try_into().unwrap_or(u32::MAX))),
            Self::Hour => part.time.map(|time| document::time(start(time))),
            Self::Run => known.map(|(id, _)| id.to_string()),
            Self::Model => part.model.as_deref().map(str::to_owned),
            Self::Account => account.map(ToString::to_string),
            Self::Label(key) => known
                .and_then(|(_, info)| info.labels.get(key))
                .map(ToString::to_string),
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Day => f.write_str("day"),
            Self::Hour => f.write_str("hour"),
            Self::Run => f.write_str("run"),
            Self::Model => f.write_str("model"),
            Self::Account => f.write_str("account"),
            Self::Label(key) => write!(f, "label:{key}"),
        }
    }
}

fn time(field: &str, text: &str) -> Result<Millis, Problem> {
    let day = || {
        text.parse::<Date>()
            .ok()?
            .to_zoned(TimeZone::UTC)
            .ok()
            .map(|day| day.timestamp())
    };
    // A date alone is tried first: a time also parses as its date.
    let parsed = if text.len() <= "+002026-10-05".len() {
        day()
    } else {
        None
    };
    let at = parsed
        .or_else(|| text.parse::<Timestamp>().ok())
        .ok_or_else(|| {
            let detail = "neither a date nor an RFC 3339 time with an offset, as in 2026-10-05 or 2026-10-05T09:00:00Z \
                          (in a URL, + is %2B), up to the year 9999";
            Problem::bad(field, format!("{text:?} is {detail}"))
        })?
        .as_nanosecond();
    if at.rem_euclid(i128::from(HOUR_MS) * 1_000_000) != 0 {
        let detail = format!("{text:?} is not a full hour in UTC; sums are hourly");
        return Err(Problem::bad(field, detail));
    }
    Ok(i64::try_from(at / 1_000_000).unwrap_or(i64::MAX))
}

/// Hours since 1970; earlier times count as 0.
fn hour(at: Millis) -> u32 {
    u32::try_from(at.max(0) / HOUR_MS).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(from: &str, to: &str) -> Result<Range<u32>, Problem> {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let query = UsageQuery {
            from: given(from),
            to: given(to),
            ..UsageQuery::default()
        };
        Question::of(query).map(|question| question.hours)
    }

    #[test]
    fn times_are_full_hours() {
        for (from, to, expect) in [
            ("", "", Some(0..u32::MAX)),
            ("1970-01-02", "", Some(24..u32::MAX)),
            ("", "1970-01-02", Some(0..24)),
            ("1970-01-01T05:00:00Z", "1970-01-01T09:00:00+02:00", Some(5..7)),
            ("1969-01-01", "1970-01-02", Some(0..24)),
            ("1970-01-02T00:00:00.000Z", "", Some(24..u32::MAX)),
            ("1970-01-02", "1970-01-02", None),
            ("1970-01-02T00:30:00Z", "", None),
            ("1970-01-02T00:00:00.001Z", "", None),
            // An offset of half an hour is not a full hour.
            ("1970-01-02T00:00:00+05:30", "", None),
            ("1970-01-02T00:00:00", "", None),
            ("yesterday", "", None),
            ("1970-13-01", "", None),
        ] {
            assert_eq!(question(from, to).ok(), expect, "{from} {to}");
        }
    }

    #[test]
    fn names_that_nothing_can_have_are_refused() {
        let query = |text: &str| {
            let (name, value) = text.split_once('=').unwrap_or_default();
            let given = |wanted: &str| (name == wanted).then(|| value.to_owned());
            UsageQuery {
                group_by: given("group_by"),
                run: given("run"),
                account: given("account"),
                label: given("label"),
                ..UsageQuery::default()
            }
        };
        for (text, expect) in [
            ("group_by=label:project", None),
            ("group_by=label:", Some("group_by")),
            ("group_by=label:a\u{7}b", Some("group_by")),
            ("group_by=week", Some("group_by")),
            ("run=r1", None),
            ("run=../r1", Some("run")),
            ("run=", Some("run")),
            ("label=project:alpha", None),
            ("label=project=alpha", None),
            ("label=project:", None),
            ("label=:alpha", Some("label")),
            ("label=a b:alpha", Some("label")),
            ("label=project:a\nb", Some("label")),
            ("account=claude/default", None),
            ("account=default", Some("account")),
        ] {
            let refused = Question::of(query(text)).err();
            assert_eq!(refused.as_ref().and_then(Problem::field_name), expect, "{text}");
        }
    }
}
