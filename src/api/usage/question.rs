//! The parsed usage question: a range of time, filters and groupings.

use std::collections::HashSet;
use std::ops::Range;

use jiff::tz::TimeZone;

use super::UsageQuery;
use super::group::{Group, NO_RUN_KEY, PartsApart, project};
use super::times::{TimeUnit, time, zone_named};
use crate::api::http::problem::Problem;
use crate::globs::NamePattern;
use crate::model::{
    AccountId, Millis, QUARTER_MS, RouteNames, RouteNumber, RunId, RunNumber, SessionPlace, check_label,
    split_label,
};
use crate::periods::{self, WeekStart};
use crate::store::schema::{NO_RUN, SeriesRow};
use crate::store::{RunNames, SeriesNames, Snapshot, StoreError};

/// A validated question.
#[derive(Clone, Debug)]
pub struct Question {
    pub from: Option<Millis>,
    pub to: Option<Millis>,
    /// Quarters of an hour since 1970.
    pub quarters: Range<u32>,
    pub zone: TimeZone,
    /// The query names the zone: the answer names it too.
    pub is_zone_named: bool,
    pub groups: Vec<Group>,
    model: Option<NamePattern>,
    run: Option<RunId>,
    /// Only posted records of no run.
    is_no_run: bool,
    session: Option<Box<str>>,
    project: Option<Box<str>>,
    dialect: Option<Box<str>>,
    provider: Option<Box<str>>,
    /// Provider and name.
    account: Option<(Box<str>, Box<str>)>,
    label: Option<(Box<str>, Box<str>)>,
    /// The names that must be equal.
    route: RouteNames,
}

impl Question {
    /// Parses a query.
    ///
    /// # Errors
    /// The name of the invalid parameter.
    pub fn of(query: UsageQuery, now: Millis) -> Result<Self, Problem> {
        let zone = query.zone.as_deref().map_or(Ok(TimeZone::UTC), zone_named)?;
        let week = query
            .week_start
            .as_deref()
            .map_or(Ok(WeekStart::Monday), week_start)?;
        let at = |field, text: &Option<String>| {
            let text = text.as_deref();
            text.map(|text| time(field, text, &zone)).transpose()
        };
        let (mut from, mut to) = (at("from", &query.from)?, at("to", &query.to)?);
        if let Some(text) = &query.period {
            if from.is_some() || to.is_some() {
                return Err(Problem::bad("period", "with it, from and to are not possible"));
            }
            let span = periods::parse(text, now, &zone, week);
            let span = span.map_err(|error| Problem::bad("period", error))?;
            (from, to) = (span.from, span.to);
        }
        if let (Some(from), Some(to)) = (from, to)
            && from >= to
        {
            return Err(Problem::bad("to", "it is not after from"));
        }
        let run = |id: &str| RunId::new(id).map_err(|error| Problem::bad("run", error));
        Ok(Self {
            from,
            to,
            quarters: from.map_or(0, quarter)..to.map_or(u32::MAX, quarter),
            is_zone_named: query.zone.is_some(),
            zone,
            groups: Group::list(query.group_by.as_deref().unwrap_or("day"), week)?,
            model: query.model.as_deref().map(model).transpose()?,
            is_no_run: query.run.as_deref() == Some(NO_RUN_KEY),
            run: (query.run.as_deref().filter(|id| *id != NO_RUN_KEY))
                .map(run)
                .transpose()?,
            session: query.session.map(Into::into),
            project: query.project.map(Into::into),
            dialect: query.dialect.map(Into::into),
            provider: query.provider.map(Into::into),
            account: query.account.as_deref().map(account).transpose()?,
            label: query.label.as_deref().map(label).transpose()?,
            route: RouteNames {
                profile: query.profile.map(Into::into),
                route: query.route.map(Into::into),
                instance: query.instance.map(Into::into),
            },
        })
    }

    /// The unit into which time is divided: the coarsest that all groupings by time are made of.
    pub fn unit(&self) -> Option<TimeUnit> {
        let units = || self.groups.iter().filter_map(Group::unit);
        let finest = units().min()?;
        // A week may be of two months.
        Some(if units().count() > 1 {
            finest.min(TimeUnit::Day)
        } else {
            finest
        })
    }

    /// The parts of series that the answer needs.
    pub fn parts(&self) -> PartsApart {
        let places = self.session.is_some() || self.project.is_some();
        PartsApart::of(
            &self.groups,
            places,
            self.label.is_some() || self.project.is_some(),
        )
    }

    /// True if the names of runs are needed beside places without a project.
    pub fn names_runs(&self) -> bool {
        self.label.is_some()
            || (self.groups.iter()).any(|group| matches!(group, Group::Run | Group::Label(_)))
    }

    /// True if a place of this run passes the filter.
    pub fn wants_place(&self, place: Option<&SessionPlace>, run: Option<&str>) -> bool {
        let session = place.map(|place| &place.session);
        let project = place.and_then(|place| project(place, run));
        (self.session.as_ref()).is_none_or(|wanted| session == Some(wanted))
            && (self.project.as_deref()).is_none_or(|wanted| project == Some(wanted))
    }

    /// True if a run passes the filter; of a forgotten run no label is known.
    pub fn wants_run(&self, run: RunNumber, runs: &RunNames) -> bool {
        let known = || runs.get(&run);
        (self.label.as_ref())
            .is_none_or(|(key, value)| known().is_some_and(|(_, info)| info.labels.get(key) == Some(value)))
    }

    /// True if an account passes the filter.
    #[must_use]
    pub fn wants_account(&self, account: &AccountId) -> bool {
        (self.account.as_ref())
            .is_none_or(|(provider, name)| account.provider == *provider && account.name == *name)
            && (self.provider.as_ref()).is_none_or(|provider| account.provider == *provider)
    }

    /// The numbers that the filter lets pass; `None` if nothing can.
    ///
    /// # Errors
    /// The store does not answer.
    pub fn filter(
        &self,
        snapshot: &Snapshot<'_>,
        names: &SeriesNames,
    ) -> Result<Option<SeriesFilter>, StoreError> {
        let mut filter = SeriesFilter::default();
        if let Some(run) = &self.run {
            filter.run = snapshot.run_number(run)?;
            if filter.run.is_none() {
                return Ok(None);
            }
        }
        if self.is_no_run {
            filter.run = Some(NO_RUN);
        }
        if let Some(wanted) = &self.model {
            let passes: Vec<bool> = names.models.iter().map(|name| wanted.matches(name)).collect();
            if !passes.contains(&true) {
                return Ok(None);
            }
            filter.models = Some(passes);
        }
        if self.account.is_some() || self.provider.is_some() {
            let passes = names.accounts.iter().map(|account| self.wants_account(account));
            filter.accounts = Some(passes.collect());
        }
        filter.dialect.clone_from(&self.dialect);
        if self.route != RouteNames::default() {
            let is_equal =
                |wanted: &Option<Box<str>>, name: &Option<Box<str>>| wanted.is_none() || wanted == name;
            let passes = |names: &RouteNames| {
                is_equal(&self.route.profile, &names.profile)
                    && is_equal(&self.route.route, &names.route)
                    && is_equal(&self.route.instance, &names.instance)
            };
            let passing = names.routes().filter(|(_, names)| passes(names));
            filter.routes = Some(passing.map(|(number, _)| number).collect());
        }
        Ok(Some(filter))
    }
}

/// The series that pass; a part left out lets all pass.
#[derive(Clone, Debug, Default)]
pub struct SeriesFilter {
    pub run: Option<RunNumber>,
    /// By their numbers.
    models: Option<Vec<bool>>,
    /// By their numbers.
    accounts: Option<Vec<bool>>,
    dialect: Option<Box<str>>,
    routes: Option<HashSet<RouteNumber>>,
}

impl SeriesFilter {
    /// True if it depends on the run or the route of a series.
    pub const fn is_of_parts(&self) -> bool {
        self.run.is_some() || self.routes.is_some()
    }

    pub fn wants(&self, series: &SeriesRow) -> bool {
        let passes = |passing: &Option<Vec<bool>>, number: u32| {
            (passing.as_ref())
                .is_none_or(|passing| passing.get(number as usize).is_some_and(|passes| *passes))
        };
        self.run.is_none_or(|run| series.run == run)
            && passes(&self.models, series.model)
            && passes(&self.accounts, series.account)
            && (self.dialect.as_ref())
                .is_none_or(|wanted| series.dialect.is_some_and(|dialect| dialect.name() == &**wanted))
            && (self.routes.as_ref()).is_none_or(|routes| routes.contains(&series.route))
    }
}

fn week_start(text: &str) -> Result<WeekStart, Problem> {
    WeekStart::named(text)
        .ok_or_else(|| Problem::bad("week_start", format!("{text:?} is neither monday nor sunday")))
}

fn model(text: &str) -> Result<NamePattern, Problem> {
    NamePattern::new(text).map_err(|error| Problem::bad("model", error))
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

/// Quarters of an hour since 1970; earlier times count as 0.
fn quarter(at: Millis) -> u32 {
    u32::try_from(at.max(0) / QUARTER_MS).unwrap_or(u32::MAX)
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
        Question::of(query, 0).map(|question| question.quarters)
    }

    #[test]
    fn times_are_full_quarters_of_an_hour() {
        for (from, to, expect) in [
            ("", "", Some(0..u32::MAX)),
            ("1970-01-02", "", Some(96..u32::MAX)),
            ("", "1970-01-02", Some(0..96)),
            ("1970-01-01T05:00:00Z", "1970-01-01T09:00:00+02:00", Some(20..28)),
            ("1969-01-01", "1970-01-02", Some(0..96)),
            ("1970-01-02T00:00:00.000Z", "", Some(96..u32::MAX)),
            ("1970-01-02T00:45:00Z", "", Some(99..u32::MAX)),
            ("1970-01-02T00:00:00+05:45", "", Some(73..u32::MAX)),
            ("1970-01-02", "1970-01-02", None),
            ("1970-01-02T00:20:00Z", "", None),
            ("1970-01-02T00:00:00.001Z", "", None),
            ("1970-01-02T00:00:00+05:20", "", None),
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
                zone: given("zone"),
                week_start: given("week_start"),
                model: given("model"),
                period: given("period"),
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
            ("group_by=week", None),
            ("group_by=model,day", None),
            ("group_by=model,week,month,label:a,label:b", None),
            ("group_by=year,quarter", None),
            ("group_by=decade", Some("group_by")),
            ("week_start=sunday", None),
            ("week_start=friday", Some("week_start")),
            ("model=claude-opus-*", None),
            ("model=claude-opus-5[1m]", None),
            ("model=[", Some("model")),
            ("group_by=", Some("group_by")),
            ("group_by=day,", Some("group_by")),
            ("group_by=day,model,day", Some("group_by")),
            (
                "group_by=day,week,month,hour,run,session,project,model,dialect",
                Some("group_by"),
            ),
            ("zone=Asia/Kathmandu", None),
            ("zone=Mars/Crater", Some("zone")),
            ("period=7d", None),
            ("period=all-time", None),
            ("period=last-quarter", None),
            ("period=20250231", Some("period")),
            ("period=ever", Some("period")),
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
            let refused = Question::of(query(text), 0).err();
            assert_eq!(refused.as_ref().and_then(Problem::field_name), expect, "{text}");
        }
    }

    #[test]
    fn a_period_stands_for_from_and_to() {
        let query = UsageQuery {
            period: Some("today".to_owned()),
            ..UsageQuery::default()
        };
        let question = Question::of(query.clone(), 90_000_000).unwrap();
        assert_eq!(question.quarters, 96..192);
        assert_eq!(
            (question.from, question.to),
            (Some(86_400_000), Some(172_800_000))
        );
        for (from, to) in [(Some("2026-10-05"), None), (None, Some("2026-10-05"))] {
            let query = UsageQuery {
                from: from.map(str::to_owned),
                to: to.map(str::to_owned),
                ..query.clone()
            };
            let refused = Question::of(query, 0).err();
            assert_eq!(refused.as_ref().and_then(Problem::field_name), Some("period"));
        }
    }

    #[test]
    fn time_is_divided_by_what_all_groupings_by_time_are_made_of() {
        for (group_by, unit) in [
            ("model", None),
            ("week", Some(TimeUnit::Week(WeekStart::Monday))),
            ("month,model", Some(TimeUnit::Month)),
            ("month,week", Some(TimeUnit::Day)),
            ("month,day", Some(TimeUnit::Day)),
            ("day,hour", Some(TimeUnit::Hour)),
            ("quarter", Some(TimeUnit::Quarter)),
            ("year,month", Some(TimeUnit::Day)),
        ] {
            let query = UsageQuery {
                group_by: Some(group_by.to_owned()),
                ..UsageQuery::default()
            };
            assert_eq!(Question::of(query, 0).unwrap().unit(), unit, "{group_by}");
        }
    }
}
