//! `prices`: the prices that costs are estimated with, and what a file of the operator would change.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::args::{Global, PricesArgs};
use super::exit::{Exit, Failure};
use super::mistakes;
use super::path_checks::PathChecks;
use super::print::grid::{self, Column, GridCell, GridRow};
use super::print::{output, text};
use super::settings;
use crate::clock::Clock;
use crate::config::{self, ConfigError, Mistakes};
use crate::model::{Geography, PriceClass, Service, Speed, Tier};
use crate::prices::{PriceList, SIZES, price_on};

/// Services of which a named model's prices are shown.
const SERVICES: [(&str, Service); 6] = [
    (
        "standard",
        service(Tier::Standard, Speed::Standard, Geography::Other),
    ),
    ("batch", service(Tier::Batch, Speed::Standard, Geography::Other)),
    (
        "priority",
        service(Tier::Priority, Speed::Standard, Geography::Other),
    ),
    ("flex", service(Tier::Flex, Speed::Standard, Geography::Other)),
    ("fast", service(Tier::Standard, Speed::Fast, Geography::Other)),
    ("us", service(Tier::Standard, Speed::Standard, Geography::Us)),
];
/// Largest prompt of each size but the last, in tokens.
const BOUNDS: [u64; 3] = [100_000, 200_000, 272_000];

const fn service(tier: Tier, speed: Speed, geography: Geography) -> Service {
    Service {
        tier,
        speed,
        geography,
    }
}

/// The prices of a model for one service and for prompts above a length, in dollars per million tokens.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct PriceRow {
    model: String,
    /// `standard`, `batch`, `priority`, `flex`, `fast` or `us`.
    service: &'static str,
    /// For prompts of more tokens than this.
    above: u64,
    /// The first UTC day of this price; `null` if it is the first that is known.
    since: Option<String>,
    input: f64,
    cache_write_5m: f64,
    cache_write_1h: f64,
    cache_read: f64,
    output: f64,
    /// Per thousand; `null` if it is unknown.
    web_search: Option<f64>,
    source: &'static str,
}

/// The document of `prices --json`.
#[derive(Serialize)]
struct PricesDocument {
    price_table: String,
    at: String,
    prices: Vec<PriceRow>,
    unpriced: Vec<String>,
}

/// The document of `prices --check --json`.
#[derive(Serialize)]
struct CheckDocument {
    at: String,
    removed: Vec<PriceRow>,
    added: Vec<PriceRow>,
}

/// Prints prices, or what a file would change of them.
///
/// # Errors
/// The configuration or the file is invalid.
pub fn prices(global: &Global, command: &PricesArgs) -> Result<Exit, Failure> {
    // Prices must not require a home directory for a database that is not used.
    let in_memory = Global {
        db: Some(PathBuf::from("unused")),
        ..global.clone()
    };
    let settings = settings::settings(if global.db.is_some() { global } else { &in_memory })?;
    let list = settings.prices;
    let today = Timestamp::from_millisecond(Clock::SYSTEM.now()).unwrap_or(Timestamp::UNIX_EPOCH);
    let at = command.at.unwrap_or_else(|| today.to_zoned(TimeZone::UTC).date());
    match &command.check {
        None => show(global, &list, &command.models, at),
        Some(path) => {
            let file = path.clone();
            let read = PathChecks::default().run(path, move |_| config::read_prices(&file))?;
            let checked = PriceList::new(Some(read.map_err(refused)?));
            // The file in use compared with itself would change nothing.
            let is_in_use = settings.prices_file.is_some_and(|used| is_same_file(&used, path));
            let list = if is_in_use {
                Arc::new(PriceList::new(None))
            } else {
                list
            };
            check(global, &list, &checked, &command.models, at)
        }
    }
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    match (std::path::absolute(one), std::path::absolute(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

/// The mistakes of a file of prices, which is no configuration.
fn refused(mistakes: Mistakes) -> Failure {
    match mistakes.list.first() {
        Some(ConfigError::Read { path, source }) => {
            let why = format!("cannot read {}: {source}", path.display());
            Failure::new(mistakes::exit(&mistakes), why)
        }
        _ => mistakes.into(),
    }
}

fn show(global: &Global, list: &PriceList, models: &[String], at: Date) -> Result<Exit, Failure> {
    // Of all models the standard prices alone.
    let services = if models.is_empty() {
        &SERVICES[..1]
    } else {
        &SERVICES
    };
    let names = if models.is_empty() {
        list.names()
    } else {
        models.to_vec()
    };
    let (mut prices, mut unpriced) = (Vec::new(), Vec::new());
    for name in names {
        let rows = rows(list, &name, services, at);
        if rows.is_empty() {
            unpriced.push(name);
        }
        prices.extend(rows);
    }
    let exit = if models.is_empty() || unpriced.is_empty() {
        Exit::Ok
    } else {
        Exit::No
    };
    let document = PricesDocument {
        price_table: list.title(),
        at: at.to_string(),
        prices,
        unpriced,
    };
    let width = output::Screen::stdout().columns;
    output::document(global.json, &document, |out| write(out, &document, width))?;
    Ok(exit)
}

fn write(out: &mut dyn Write, document: &PricesDocument, width: Option<usize>) -> io::Result<()> {
    if !document.prices.is_empty() {
        table(out, &document.prices, width)?;
    }
    for name in &document.unpriced {
        writeln!(out, "no price is known of {}", text::name(name))?;
    }
    let note = format!(
        "US dollars per million tokens and per thousand searches, list price of {} ({})",
        document.at, document.price_table
    );
    writeln!(out, "{}", text::wrapped(&note, width))
}

fn check(
    global: &Global,
    now: &PriceList,
    checked: &PriceList,
    models: &[String],
    at: Date,
) -> Result<Exit, Failure> {
    let names: BTreeSet<String> = if models.is_empty() {
        now.names().into_iter().chain(checked.names()).collect()
    } else {
        models.iter().cloned().collect()
    };
    let of = |list: &PriceList| -> Vec<PriceRow> {
        let rows = names.iter().flat_map(|name| rows(list, name, &SERVICES, at));
        rows.collect()
    };
    let without = |rows: &[PriceRow], others: &[PriceRow]| -> Vec<PriceRow> {
        let is_new = |row: &&PriceRow| !others.contains(row);
        rows.iter().filter(is_new).cloned().collect()
    };
    let (before, after) = (of(now), of(checked));
    let document = CheckDocument {
        at: at.to_string(),
        removed: without(&before, &after),
        added: without(&after, &before),
    };
    let width = output::Screen::stdout().columns;
    output::document(global.json, &document, |out| {
        if document.removed.is_empty() && document.added.is_empty() {
            return writeln!(out, "the file is valid and changes no price of {}", document.at);
        }
        for (title, rows) in [
            ("prices that go:", &document.removed),
            ("prices that come:", &document.added),
        ] {
            if !rows.is_empty() {
                writeln!(out, "{title}")?;
                table(out, rows, width)?;
            }
        }
        Ok(())
    })?;
    Ok(Exit::Ok)
}

/// The prices of a model on a day, a row for each size of prompts that has its own.
fn rows(list: &PriceList, model: &str, services: &[(&'static str, Service)], at: Date) -> Vec<PriceRow> {
    let day = u32::try_from((at - Date::constant(1970, 1, 1)).get_days()).unwrap_or(0);
    let mut rows: Vec<PriceRow> = Vec::new();
    for (service, of) in services {
        let mut last = None;
        for (prompt, above) in SIZES.into_iter().zip([0].into_iter().chain(BOUNDS)) {
            let steps = list.steps(model, PriceClass { prompt, service: *of });
            let Some(price) = price_on(&steps, day).copied() else {
                continue;
            };
            if last == Some(price) {
                continue;
            }
            last = Some(price);
            let since = steps.iter().rev().find(|(from, _)| *from <= day && *from > 0);
            let usd = |rate: u32| dollars(rate, price.factor);
            let rates = price.rates;
            rows.push(PriceRow {
                model: model.to_owned(),
                service,
                above,
                since: since.map(|(from, _)| date(*from)),
                input: usd(rates.input),
                cache_write_5m: usd(rates.write_5m),
                cache_write_1h: usd(rates.write_1h),
                cache_read: usd(rates.cache_read),
                output: usd(rates.output),
                web_search: rates.search.map(|rate| f64::from(rate) / 1e6),
                source: price.source.into(),
            });
        }
    }
    // In the United States most models cost the same.
    let is_standard = |row: &PriceRow, of: &PriceRow| {
        *row == PriceRow {
            service: row.service,
            ..of.clone()
        }
    };
    let standard: Vec<PriceRow> = rows
        .iter()
        .filter(|row| row.service == "standard")
        .cloned()
        .collect();
    rows.retain(|row| row.service != "us" || !standard.iter().any(|of| is_standard(row, of)));
    rows
}

/// A rate in millionths with a factor in millionths, in dollars.
#[expect(clippy::cast_precision_loss, reason = "both are below 2^53")]
fn dollars(rate: u32, factor: u64) -> f64 {
    f64::from(rate) * factor as f64 / 1e12
}

fn date(day: u32) -> String {
    let at = Timestamp::from_second(i64::from(day) * 86_400).unwrap_or(Timestamp::MAX);
    at.to_zoned(TimeZone::UTC).date().to_string()
}

fn table(out: &mut dyn Write, rows: &[PriceRow], width: Option<usize>) -> io::Result<()> {
    let has_services = rows.iter().any(|row| row.service != "standard");
    let mut columns = vec![Column::names("model", 0)];
    columns.extend(has_services.then(|| Column::words("service", 0)));
    columns.extend([
        Column::words("prompt", 0),
        Column::numbers("input", 0),
        Column::numbers("write 5m", 2),
        Column::numbers("write 1h", 3),
        Column::numbers("read", 1),
        Column::numbers("output", 0),
        Column::numbers("search", 5),
        Column::words("since", 6),
        Column::words("source", 4),
    ]);
    let rows: Vec<GridRow> = rows
        .iter()
        .map(|row| {
            let prompt = match row.above {
                0 => String::new(),
                above => format!(">{}k", above / 1_000),
            };
            let mut cells = vec![text::name(&row.model)];
            cells.extend(has_services.then(|| row.service.to_owned()));
            cells.push(prompt);
            let prices = [
                row.input,
                row.cache_write_5m,
                row.cache_write_1h,
                row.cache_read,
                row.output,
            ];
            cells.extend(prices.map(|usd| usd.to_string()));
            cells.extend([
                row.web_search
                    .map_or_else(|| "-".to_owned(), |usd| usd.to_string()),
                row.since.clone().unwrap_or_default(),
                row.source.to_owned(),
            ]);
            GridRow::Cells(cells.into_iter().map(GridCell::from).collect())
        })
        .collect();
    grid::write(out, &columns, &rows, width).map(drop)
}
