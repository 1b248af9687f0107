//! Names of the numbers in tables of sums, for sentences; and checks of the tables from names to numbers.

use std::collections::BTreeMap;
use std::sync::Arc;

use redb::ReadableTable;

use crate::model::{ModelNumber, PlaceNumber, RouteNumber, RunNumber, SeriesNumber};
use crate::store::error::DbError;
use crate::store::schema::{AccountRow, NO_RUN, PlaceRow, RouteRow, RunRow, SeriesKey, SeriesRow};
use crate::store::table::decode_row;
use crate::store::write::models::MODEL_OTHER;

/// The session and the project of a key that is missing or has the wrong number, and the correct number.
pub type LostPlace = ((String, String), Option<PlaceNumber>);

/// Profile, route and instance of a key that is missing or has the wrong number, and the correct number.
pub type LostRoute = ((String, String, String), Option<RouteNumber>);

/// The names of numbers.
#[derive(Default)]
pub struct SumNames {
    pub runs: BTreeMap<RunNumber, String>,
    models: Vec<Arc<str>>,
    accounts: BTreeMap<u32, String>,
    /// Sessions and projects.
    places: BTreeMap<PlaceNumber, (String, String)>,
    pub series: BTreeMap<SeriesNumber, SeriesRow>,
    /// The model of series that contain other models.
    pub model_other: Option<ModelNumber>,
}

impl SumNames {
    pub fn of(
        runs: &impl ReadableTable<&'static str, &'static [u8]>,
        models: &impl ReadableTable<u32, &'static str>,
        accounts: &impl ReadableTable<u32, &'static [u8]>,
        (series, places): (
            &impl ReadableTable<u32, &'static [u8]>,
            &impl ReadableTable<u32, &'static [u8]>,
        ),
    ) -> Result<Self, DbError> {
        let mut names = Self::default();
        for entry in runs.iter()? {
            let (id, row) = entry?;
            let row: RunRow = decode_row("runs", row.value())?;
            names.runs.insert(row.number, id.value().to_owned());
        }
        for entry in models.iter()? {
            let (number, name) = entry?;
            if name.value() == MODEL_OTHER {
                names.model_other = Some(number.value());
            }
            names.models.push(name.value().into());
        }
        for entry in accounts.iter()? {
            let (number, row) = entry?;
            let row: AccountRow = decode_row("accounts", row.value())?;
            names.accounts.insert(number.value(), row.id().to_string());
        }
        for entry in series.iter()? {
            let (number, row) = entry?;
            let row = decode_row("series", row.value())?;
            names.series.insert(number.value(), row);
        }
        for entry in places.iter()? {
            let (number, row) = entry?;
            let place = decode_row::<PlaceRow>("places", row.value())?.place();
            let project = place.project.unwrap_or_default();
            names
                .places
                .insert(number.value(), (place.session.into(), project.into()));
        }
        Ok(names)
    }

    pub fn run(&self, number: RunNumber) -> &str {
        let unnamed = if number == NO_RUN { "(none)" } else { "(forgotten)" };
        self.runs.get(&number).map_or(unnamed, String::as_str)
    }

    pub fn account(&self, number: u32) -> &str {
        self.accounts.get(&number).map_or("(unknown)", String::as_str)
    }

    /// A description of a series.
    pub fn series(&self, number: SeriesNumber) -> String {
        let Some(series) = self.series.get(&number) else {
            return format!("(unknown series {number})");
        };
        let session = self
            .places
            .get(&series.place)
            .map_or("(unknown)", |place| &place.0);
        let model = self.models.get(series.model as usize);
        format!(
            "run {}, session {session}, model {}, account {}, {}",
            self.run(series.run),
            model.map_or("(unknown)", |name| name),
            self.account(series.account),
            series.class.name()
        )
    }

    /// Keys of `series_numbers` that are missing or have the number of another series; with the correct
    /// number.
    pub fn series_lost(
        &self,
        numbers: &impl ReadableTable<SeriesKey, u32>,
    ) -> Result<Vec<(SeriesKey, Option<SeriesNumber>)>, DbError> {
        let mut wanted = BTreeMap::new();
        for (number, row) in &self.series {
            wanted.entry(row.key()).or_insert(*number);
        }
        let mut lost = Vec::new();
        for entry in numbers.iter()? {
            let (key, number) = entry?;
            let must_be = wanted.remove(&key.value());
            if must_be != Some(number.value()) {
                lost.push((key.value(), must_be));
            }
        }
        lost.extend(wanted.into_iter().map(|(key, number)| (key, Some(number))));
        Ok(lost)
    }

    /// As [`SumNames::series_lost`], for routes: by profile, route and instance.
    pub fn routes_lost(
        rows: &impl ReadableTable<u32, &'static [u8]>,
        numbers: &impl ReadableTable<(&'static str, &'static str, &'static str), u32>,
    ) -> Result<Vec<LostRoute>, DbError> {
        let mut wanted = BTreeMap::new();
        for entry in rows.iter()? {
            let (number, row) = entry?;
            let names = decode_row::<RouteRow>("routes", row.value())?.names;
            let part = |name: Option<Box<str>>| name.map_or_else(String::new, Into::into);
            let key = (part(names.profile), part(names.route), part(names.instance));
            wanted.entry(key).or_insert(number.value());
        }
        let mut lost = Vec::new();
        for entry in numbers.iter()? {
            let (key, number) = entry?;
            let (profile, route, instance) = key.value();
            let names = (profile.to_owned(), route.to_owned(), instance.to_owned());
            let must_be = wanted.remove(&names);
            if must_be != Some(number.value()) {
                lost.push((names, must_be));
            }
        }
        lost.extend(wanted.into_iter().map(|(names, number)| (names, Some(number))));
        Ok(lost)
    }

    /// As [`SumNames::series_lost`], for places: by session and project.
    pub fn places_lost(
        &self,
        numbers: &impl ReadableTable<(&'static str, &'static str), u32>,
    ) -> Result<Vec<LostPlace>, DbError> {
        let mut wanted = BTreeMap::new();
        for (number, names) in &self.places {
            wanted.entry(names.clone()).or_insert(*number);
        }
        let mut lost = Vec::new();
        for entry in numbers.iter()? {
            let (key, number) = entry?;
            let (session, project) = key.value();
            let names = (session.to_owned(), project.to_owned());
            let must_be = wanted.remove(&names);
            if must_be != Some(number.value()) {
                lost.push((names, must_be));
            }
        }
        lost.extend(wanted.into_iter().map(|(names, number)| (names, Some(number))));
        Ok(lost)
    }
}
