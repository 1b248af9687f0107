//! The parts of a row's key, and those that distinguish series.

use std::fmt;

use super::times::{TimeSlot, TimeUnit};
use crate::api::http::problem::Problem;
use crate::model::{AccountId, PriceClass, RouteNames, SessionPlace, check_label};
use crate::store::RunNames;
use crate::store::schema::{NO_RUN, SeriesRow};

/// Most groupings of one question.
const GROUPS_MAX: usize = 8;

/// The key of posted records of no run: no run can have this name.
pub const NO_RUN_KEY: &str = "(none)";

/// One grouping of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Group {
    Time(TimeUnit),
    Run,
    Session,
    Project,
    Model,
    Dialect,
    Provider,
    Account,
    PriceClass,
    Profile,
    Route,
    Instance,
    /// The value of this label.
    Label(Box<str>),
}

/// The groupings by their names in queries, but of labels.
const GROUPS: [(&str, Group); 15] = [
    ("day", Group::Time(TimeUnit::Day)),
    ("week", Group::Time(TimeUnit::Week)),
    ("month", Group::Time(TimeUnit::Month)),
    ("hour", Group::Time(TimeUnit::Hour)),
    ("run", Group::Run),
    ("session", Group::Session),
    ("project", Group::Project),
    ("model", Group::Model),
    ("dialect", Group::Dialect),
    ("provider", Group::Provider),
    ("account", Group::Account),
    ("price_class", Group::PriceClass),
    ("profile", Group::Profile),
    ("route", Group::Route),
    ("instance", Group::Instance),
];

impl Group {
    /// One or several groupings, each at most once.
    pub fn list(text: &str) -> Result<Vec<Self>, Problem> {
        let mut groups = Vec::new();
        for name in text.split(',') {
            let group = Self::of(name)?;
            if groups.contains(&group) {
                return Err(Problem::bad("group_by", format!("{name:?} is there twice")));
            }
            groups.push(group);
        }
        if groups.len() > GROUPS_MAX {
            let detail = format!("{} groupings, at most {GROUPS_MAX} are possible", groups.len());
            return Err(Problem::bad("group_by", detail));
        }
        Ok(groups)
    }

    fn of(text: &str) -> Result<Self, Problem> {
        if let Some((_, group)) = GROUPS.iter().find(|(name, _)| *name == text) {
            return Ok(group.clone());
        }
        let Some(key) = text.strip_prefix("label:") else {
            let names = GROUPS.map(|(name, _)| name).join(", ");
            let detail = format!("{text:?} is none of {names}, label:KEY");
            return Err(Problem::bad("group_by", detail));
        };
        check_label(key, "").map_err(|problem| Problem::bad("group_by", problem))?;
        Ok(Self::Label(key.into()))
    }

    pub fn unit(&self) -> Option<TimeUnit> {
        match self {
            Self::Time(unit) => Some(*unit),
            _ => None,
        }
    }

    /// The part of a row's key.
    pub fn key(&self, of: &RowOrigin<'_>) -> Option<String> {
        let known = || of.runs.get(&of.series.run);
        let name = |name: Option<&Box<str>>| name.map(ToString::to_string);
        match self {
            Self::Time(unit) => Some(of.slot.name(*unit)),
            Self::Run if of.series.run == NO_RUN => Some(NO_RUN_KEY.to_owned()),
            Self::Run => known().map(|(id, _)| id.to_string()),
            Self::Session => {
                (of.place.map(|place| place.session.to_string())).filter(|name| !name.is_empty())
            }
            Self::Project => of
                .place
                .and_then(|place| place.project.as_deref())
                .map(str::to_owned),
            Self::Model => of.model.map(str::to_owned),
            Self::Dialect => of.series.dialect.map(|dialect| dialect.name().to_owned()),
            Self::Provider => of.account.map(|account| account.provider.to_string()),
            Self::Account => of.account.map(ToString::to_string),
            Self::PriceClass => Some(of.series.class.name()),
            Self::Profile => name(of.route.and_then(|names| names.profile.as_ref())),
            Self::Route => name(of.route.and_then(|names| names.route.as_ref())),
            Self::Instance => name(of.route.and_then(|names| names.instance.as_ref())),
            Self::Label(key) => known()
                .and_then(|(_, info)| info.labels.get(key))
                .map(ToString::to_string),
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Label(key) = self {
            return write!(f, "label:{key}");
        }
        let name = GROUPS.iter().find(|(_, group)| group == self);
        f.write_str(name.map_or("", |(name, _)| name))
    }
}

/// The origin of a row, by names.
pub struct RowOrigin<'r> {
    pub slot: &'r TimeSlot,
    /// Only the parts of it that are distinguished.
    pub series: &'r SeriesRow,
    pub place: Option<&'r SessionPlace>,
    pub route: Option<&'r RouteNames>,
    pub model: Option<&'r str>,
    pub account: Option<&'r AccountId>,
    pub runs: &'r RunNames,
}

/// The parts of a series that are distinguished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "one for each part of a series")]
pub struct PartsApart {
    pub runs: bool,
    pub places: bool,
    models: bool,
    accounts: bool,
    dialects: bool,
    classes: bool,
    pub routes: bool,
}

impl PartsApart {
    pub fn of(groups: &[Group], places: bool, runs: bool) -> Self {
        let mut apart = Self {
            runs,
            places,
            ..Self::default()
        };
        for group in groups {
            match group {
                Group::Time(_) => {}
                Group::Run | Group::Label(_) => apart.runs = true,
                Group::Session | Group::Project => apart.places = true,
                Group::Model => apart.models = true,
                Group::Dialect => apart.dialects = true,
                Group::Provider | Group::Account => apart.accounts = true,
                Group::PriceClass => apart.classes = true,
                Group::Profile | Group::Route | Group::Instance => apart.routes = true,
            }
        }
        apart
    }

    /// A series without the parts that are not distinguished.
    pub fn part(self, series: &SeriesRow) -> SeriesRow {
        let number = |is_apart: bool, number: u32| if is_apart { number } else { 0 };
        SeriesRow {
            run: number(self.runs, series.run),
            place: number(self.places, series.place),
            account: number(self.accounts, series.account),
            model: number(self.models, series.model),
            dialect: if self.dialects { series.dialect } else { None },
            route: number(self.routes, series.route),
            class: if self.classes {
                series.class
            } else {
                PriceClass::default()
            },
        }
    }
}
