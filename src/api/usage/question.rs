//! The parsed usage question: a range of time, filters and groupings.

use std::collections::HashSet;
use std::ops::Range;

use jiff::tz::TimeZone;

use super::UsageQuery;
use super::group::{Group, NO_RUN_KEY, PartsApart};
use super::times::{TimeUnit, period, time, zone_named};
use crate::api::http::problem::Problem;
use crate::model::{
    AccountId, Millis, ModelNumber, QUARTER_MS, RouteNames, RouteNumber, RunId, RunNumber, SessionPlace,
    check_label, split_label,
};
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
    model: Option<Box<str>>,
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
        let at = |field, text: &Option<String>| {
            let text = text.as_deref();
            text.map(|text| time(field, text, &zone)).transpose()
        };
        let (mut from, mut to) = (at("from", &query.from)?, at("to", &query.to)?);
        if let Some(text) = &query.period {
            if from.is_some() || to.is_some() {
                return Err(Problem::bad("period", "with it, from and to are not possible"));
            }
            let (first, after) = period(text, &zone, now)?;
            (from, to) = (Some(first), Some(after));
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
            groups: Group::list(query.group_by.as_deref().unwrap_or("day"))?,
            model: query.model.map(Into::into),
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
        PartsApart::of(&self.groups, places, self.label.is_some())
    }

    /// True if a place passes the filter.
    pub fn wants_place(&self, place: Option<&SessionPlace>) -> bool {
        let session = place.map(|place| &place.session);
        let project = place.and_then(|place| place.project.as_ref());
        (self.session.as_ref()).is_none_or(|wanted| session == Some(wanted))
            && (self.project.as_ref()).is_none_or(|wanted| project == Some(wanted))
    }

    /// True if a run passes the filter; of a forgotten run no label is known.
    pub fn wants_run(&self, run: RunNumber, runs: &RunNames) -> bool {
        let known = || runs.get(&run);
        (self.label.as_ref())
            .is_none_or(|(key, value)| known().is_some_and(|(_, info)| info.labels.get(key) == Some(value)))
    }

    /// The numbers that the filter lets pass; `None` if nothing can.
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
            let number = (0..).zip(&names.models).find(|(_, name)| ***name == **wanted);
            let Some((number, _)) = number else {
                return Ok(None);
            };
            filter.model = Some(number);
        }
        if self.account.is_some() || self.provider.is_some() {
            let passes = |account: &AccountId| {
                (self.account.as_ref())
                    .is_none_or(|(provider, name)| account.provider == *provider && account.name == *name)
                    && (self.provider.as_ref()).is_none_or(|provider| account.provider == *provider)
            };
            filter.accounts = Some(names.accounts.iter().map(passes).collect());
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
    model: Option<ModelNumber>,
    /// By their numbers.
    accounts: Option<Vec<bool>>,
    dialect: Option<Box<str>>,
    routes: Option<HashSet<RouteNumber>>,
}

impl SeriesFilter {
    pub fn wants(&self, series: &SeriesRow) -> bool {
        self.run.is_none_or(|run| series.run == run)
            && self.model.is_none_or(|model| series.model == model)
            && (self.accounts.as_ref())
                .is_none_or(|passes| passes.get(series.account as usize).is_some_and(|passes| *passes))
            && (self.dialect.as_ref())
                .is_none_or(|wanted| series.dialect.is_some_and(|dialect| dialect.name() == &**wanted))
            && (self.routes.as_ref()).is_none_or(|routes| routes.contains(&series.route))
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
            ("group_by=year", Some("group_by")),
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
            ("week", Some(TimeUnit::Week)),
            ("month,model", Some(TimeUnit::Month)),
            ("month,week", Some(TimeUnit::Day)),
            ("month,day", Some(TimeUnit::Day)),
            ("day,hour", Some(TimeUnit::Hour)),
        ] {
            let query = UsageQuery {
                group_by: Some(group_by.to_owned()),
                ..UsageQuery::default()
            };
            assert_eq!(Question::of(query, 0).unwrap().unit(), unit, "{group_by}");
        }
    }
}
