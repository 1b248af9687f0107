//! The names that routers give to calls, and their numbers.

use redb::{Table, WriteTransaction};

use super::name_cache::NameCache;
use crate::model::{RouteNames, RouteNumber};
use crate::store::error::DbError;
use crate::store::schema::{ROUTE_NUMBERS, ROUTES, RouteRow};
use crate::store::table::put;

/// Maximum number of different (profile, route, instance); the rest are counted under [`ROUTE_OTHER`].
pub const ROUTES_MAX: usize = 4096;
/// Profile, route and instance of everything beyond [`ROUTES_MAX`].
pub const ROUTE_OTHER: &str = "(other)";

/// The tables of routes, in a transaction.
pub struct RouteTables<'t> {
    rows: Table<'t, u32, &'static [u8]>,
    numbers: Table<'t, (&'static str, &'static str, &'static str), u32>,
}

impl<'t> RouteTables<'t> {
    pub fn new(write: &'t WriteTransaction) -> Result<Self, DbError> {
        Ok(Self {
            rows: write.open_table(ROUTES)?,
            numbers: write.open_table(ROUTE_NUMBERS)?,
        })
    }

    /// The number of these names, created if they have none and there is room; 0 for no names.
    pub fn number(&mut self, names: &mut NameCache, of: &RouteNames) -> Result<RouteNumber, DbError> {
        if *of == RouteNames::default() {
            return Ok(0);
        }
        if let Some(number) = names.routes.get(of) {
            return Ok(*number);
        }
        let other = other();
        if names.routes.len() >= ROUTES_MAX && *of != other {
            return self.number(names, &other);
        }
        let number = RouteNumber::try_from(names.routes.len())
            .unwrap_or(RouteNumber::MAX)
            .saturating_add(1);
        let part = |name: &Option<Box<str>>| name.as_deref().unwrap_or_default().to_owned();
        let (profile, route, instance) = (part(&of.profile), part(&of.route), part(&of.instance));
        self.numbers
            .insert((profile.as_str(), route.as_str(), instance.as_str()), number)?;
        put(&mut self.rows, number, &RouteRow { names: of.clone() })?;
        names.routes.insert(of.clone(), number);
        Ok(number)
    }

    /// The route that stands for others; none stays none.
    pub fn without_own_name(
        &mut self,
        names: &mut NameCache,
        number: RouteNumber,
    ) -> Result<RouteNumber, DbError> {
        if number == 0 {
            return Ok(0);
        }
        self.number(names, &other())
    }
}

fn other() -> RouteNames {
    let name = || Some(ROUTE_OTHER.into());
    RouteNames {
        profile: name(),
        route: name(),
        instance: name(),
    }
}
