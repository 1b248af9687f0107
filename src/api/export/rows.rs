//! The rows of each kind of export.

use std::borrow::Cow;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use serde::Serialize;

use super::ExportKind;
use super::writer::ExportWriter;
use crate::api::document::{self, cost::price_number};
use crate::api::state::ApiState;
use crate::api::usage::{CellSum, NO_RUN_KEY};
use crate::dedup::{Response, is_complete};
use crate::model::{
    AccountId, DAY_MS, Dialect, Kind, Millis, PlaceNumber, QUARTER_MS, RunNumber, SessionPlace,
};
use crate::periods::TimeSpan;
use crate::prices::Pricer;
use crate::store::schema::{NO_RUN, SeriesRow};
use crate::store::{SeriesNames, Snapshot, StoreError};

/// Quarters of an hour in an hour.
const HOUR_QUARTERS: u32 = 4;

#[derive(Serialize)]
struct UsageExport<'a> {
    hour: String,
    run: Option<Cow<'a, str>>,
    provider: Cow<'a, str>,
    account: Cow<'a, str>,
    model: Cow<'a, str>,
    price_class: String,
    messages: u64,
    advisor_calls: u64,
    input_tokens: u64,
    output_tokens: u64,
    cache_creation_input_tokens: u64,
    cache_read_input_tokens: u64,
    cache_creation_5m: u64,
    cache_creation_1h: u64,
    web_search_requests: u64,
    thinking_tokens: u64,
    total_tokens: u64,
    fallbacks: u64,
    failed_attempts: u64,
    estimated_tokens: u64,
    estimated_cost_usd: Option<f64>,
}

#[derive(Serialize)]
struct ResponseExport<'a> {
    key: String,
    at: String,
    run: Option<Cow<'a, str>>,
    session: Option<Cow<'a, str>>,
    project: Option<Cow<'a, str>>,
    provider: Cow<'a, str>,
    account: Cow<'a, str>,
    model: Cow<'a, str>,
    dialect: Option<&'static str>,
    price_class: String,
    kind: &'static str,
    profile: Option<Cow<'a, str>>,
    route: Option<Cow<'a, str>>,
    instance: Option<Cow<'a, str>>,
    input_tokens: u64,
    output_tokens: u64,
    cache_creation_input_tokens: u64,
    cache_read_input_tokens: u64,
    cache_creation_5m: u64,
    cache_creation_1h: u64,
    web_search_requests: u64,
    thinking_tokens: u64,
    estimated: bool,
    complete: bool,
}

#[derive(Serialize)]
struct RecordExport<'a> {
    key: String,
    at: String,
    run: Option<Cow<'a, str>>,
    provider: Cow<'a, str>,
    account: Cow<'a, str>,
    model: Cow<'a, str>,
    profile: Option<Cow<'a, str>>,
    route: Option<Cow<'a, str>>,
    instance: Option<Cow<'a, str>>,
    fallbacks: u32,
    failed_attempts: u32,
}

#[derive(Serialize)]
struct WindowExport<'a> {
    at: String,
    provider: Cow<'a, str>,
    account: Cow<'a, str>,
    window: Cow<'a, str>,
    utilization: Option<f64>,
    reset_at: Option<String>,
    status: &'static str,
    source: &'static str,
}

#[derive(Serialize)]
struct EventExport<'a> {
    at: String,
    kind: &'static str,
    provider: Cow<'a, str>,
    account: Cow<'a, str>,
    window: Cow<'a, str>,
    percent: Option<u8>,
    utilization: Option<f64>,
    reset_at: Option<String>,
    source: Option<&'static str>,
}

/// Writes the rows of one snapshot in this span. Ends early if the client is gone.
pub fn write(
    api: &ApiState,
    kind: ExportKind,
    span: TimeSpan,
    writer: &mut ExportWriter,
) -> Result<(), StoreError> {
    let snapshot = api.store.snapshot()?;
    match kind {
        ExportKind::Usage => {
            let prices = Arc::clone(&api.settings.borrow().prices);
            usage(&snapshot, span, &mut Pricer::new(&prices), writer)
        }
        ExportKind::Responses => responses(&snapshot, span, writer),
        ExportKind::Records => records(&snapshot, span, writer),
        ExportKind::Windows => windows(&snapshot, span, writer),
        ExportKind::Events => events(&snapshot, span, writer),
    }
}

fn is_in(span: TimeSpan, at: Millis) -> bool {
    span.from.is_none_or(|from| at >= from) && span.to.is_none_or(|to| at < to)
}

/// The names of the parts of series.
struct ExportNames {
    series: SeriesNames,
    runs: HashMap<RunNumber, String>,
}

impl ExportNames {
    fn of(snapshot: &Snapshot<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            series: snapshot.series_names()?,
            runs: (snapshot.run_numbers()?.into_iter())
                .map(|(id, number)| (number, id))
                .collect(),
        })
    }

    /// `None` for a forgotten run.
    fn run(&self, number: RunNumber) -> Option<&str> {
        if number == NO_RUN {
            return Some(NO_RUN_KEY);
        }
        self.runs.get(&number).map(String::as_str)
    }

    fn account(&self, of: &SeriesRow) -> AccountId {
        self.series
            .accounts
            .get(of.account as usize)
            .cloned()
            .unwrap_or_default()
    }

    fn model(&self, of: &SeriesRow) -> &str {
        self.series
            .models
            .get(of.model as usize)
            .map_or("", |name| &**name)
    }
}

/// The sums of an hour, by run, account, model and price class: series that differ in nothing else.
type HourSums = BTreeMap<(RunNumber, u32, u32, String), CellSum>;

fn usage(
    snapshot: &Snapshot<'_>,
    span: TimeSpan,
    pricer: &mut Pricer<'_>,
    writer: &mut ExportWriter,
) -> Result<(), StoreError> {
    let names = ExportNames::of(snapshot)?;
    let Some((first, last)) = snapshot.days_recorded()? else {
        return Ok(());
    };
    for day in first..=last {
        let begin = Millis::from(day) * DAY_MS;
        if !is_in(
            TimeSpan {
                from: span.from.map(|from| from - DAY_MS + 1),
                ..span
            },
            begin,
        ) {
            continue;
        }
        let quarter = |at: Millis| u32::try_from(at.max(0) / QUARTER_MS).unwrap_or(u32::MAX);
        let hours: Vec<_> = (0..24)
            .map(|hour| {
                let from = quarter(begin) + hour * HOUR_QUARTERS;
                let (from, to) = (
                    from.max(span.from.map_or(0, quarter)),
                    (from + HOUR_QUARTERS).min(span.to.map_or(u32::MAX, quarter)),
                );
                from..to.max(from)
            })
            .collect();
        let mut sums: BTreeMap<usize, HourSums> = BTreeMap::new();
        snapshot.for_each_usage(&hours, None, |place, totals| {
            let of = place.series;
            let key = (of.run, of.account, of.model, of.class.name());
            let price = price_number(pricer, &names.series, of);
            let sum = sums.entry(place.stretch).or_default().entry(key).or_default();
            sum.add_usage(pricer, price, place.day, totals);
        })?;
        for (hour, rows) in sums {
            let hour = begin + Millis::try_from(hour).unwrap_or(0) * Millis::from(HOUR_QUARTERS) * QUARTER_MS;
            for ((run, account, model, class), sum) in rows {
                let account = names
                    .series
                    .accounts
                    .get(account as usize)
                    .cloned()
                    .unwrap_or_default();
                let model = names.series.models.get(model as usize).map_or("", |name| &**name);
                let sums = sum.document(pricer);
                let totals = sums.totals;
                let row = UsageExport {
                    hour: document::time(hour),
                    run: names.run(run).map(|run| writer.name(run)),
                    provider: writer.name(&account.provider),
                    account: writer.name(&account.name),
                    model: writer.name(model),
                    price_class: class,
                    messages: sums.messages,
                    advisor_calls: sums.advisor_calls,
                    input_tokens: totals.input_tokens,
                    output_tokens: totals.output_tokens,
                    cache_creation_input_tokens: totals.cache_creation_input_tokens,
                    cache_read_input_tokens: totals.cache_read_input_tokens,
                    cache_creation_5m: totals.cache_creation_5m,
                    cache_creation_1h: totals.cache_creation_1h,
                    web_search_requests: totals.web_search_requests,
                    thinking_tokens: totals.thinking_tokens,
                    total_tokens: totals.total_tokens,
                    fallbacks: sums.fallbacks,
                    failed_attempts: sums.failed_attempts,
                    estimated_tokens: sums.estimated_tokens,
                    estimated_cost_usd: sums.cost.estimated_cost_usd,
                };
                if writer.row(&row).is_break() {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

fn responses(snapshot: &Snapshot<'_>, span: TimeSpan, writer: &mut ExportWriter) -> Result<(), StoreError> {
    let names = ExportNames::of(snapshot)?;
    // Places are looked up as they occur: most responses follow others of their session in no order.
    let mut places: BTreeMap<PlaceNumber, SessionPlace> = BTreeMap::new();
    let mut failed = None;
    snapshot.for_each_response(|key, of, response| {
        if !is_in(span, response.time) || response.kind == Kind::Duplicate {
            return ControlFlow::Continue(());
        }
        let place = match places.entry(of.place) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => match snapshot.places([of.place]) {
                Ok(found) => new.insert(found.into_iter().next().unwrap_or_default()),
                Err(error) => {
                    failed = Some(error);
                    return ControlFlow::Break(());
                }
            },
        };
        writer.row(&response_row(&names, key.0, of, response, place, writer))
    })?;
    failed.map_or(Ok(()), Err)
}

fn response_row<'a>(
    names: &'a ExportNames,
    key: u128,
    of: &SeriesRow,
    response: &'a Response,
    place: &'a SessionPlace,
    writer: &ExportWriter,
) -> ResponseExport<'a> {
    let account = names.account(of);
    let route = names.series.route(of.route);
    let part = |name: Option<&'a str>| name.map(|name| writer.name(name));
    let usage = &response.usage;
    let owned = |name: &str| Cow::Owned(writer.name(name).into_owned());
    ResponseExport {
        key: format!("{key:032x}"),
        at: document::time(response.time),
        run: part(names.run(of.run)),
        session: part(Some(&*place.session).filter(|session| !session.is_empty())),
        project: part(place.project.as_deref()),
        provider: owned(&account.provider),
        account: owned(&account.name),
        model: writer.name(names.model(of)),
        dialect: of.dialect.map(Dialect::name),
        price_class: of.class.name(),
        kind: match response.kind {
            Kind::Advisor => "advisor_call",
            Kind::Message | Kind::Duplicate => "message",
        },
        profile: part(route.and_then(|names| names.profile.as_deref())),
        route: part(route.and_then(|names| names.route.as_deref())),
        instance: part(route.and_then(|names| names.instance.as_deref())),
        input_tokens: usage.input,
        output_tokens: usage.output,
        cache_creation_input_tokens: usage.cache_creation,
        cache_read_input_tokens: usage.cache_read,
        cache_creation_5m: usage.cache_creation_5m,
        cache_creation_1h: usage.cache_creation_1h,
        web_search_requests: usage.web_search,
        thinking_tokens: usage.thinking,
        estimated: response.is_estimated,
        complete: is_complete(response.is_final, response.rank),
    }
}

fn records(snapshot: &Snapshot<'_>, span: TimeSpan, writer: &mut ExportWriter) -> Result<(), StoreError> {
    let names = ExportNames::of(snapshot)?;
    snapshot.for_each_record(|key, record, part, of| {
        if !is_in(span, record.at) {
            return ControlFlow::Continue(());
        }
        let account = names.account(of);
        let route = names.series.route(of.route);
        let name = |name: Option<&Box<str>>| name.map(|name| Cow::Owned(writer.name(name).into_owned()));
        let row = RecordExport {
            key: format!("{:032x}", key.0),
            at: document::time(record.at),
            run: names.run(of.run).map(|run| writer.name(run)),
            provider: writer.name(&account.provider),
            account: writer.name(&account.name),
            model: writer.name(names.model(of)),
            profile: name(route.and_then(|names| names.profile.as_ref())),
            route: name(route.and_then(|names| names.route.as_ref())),
            instance: name(route.and_then(|names| names.instance.as_ref())),
            fallbacks: part.fallbacks,
            failed_attempts: part.failed_attempts,
        };
        writer.row(&row)
    })
}

fn windows(snapshot: &Snapshot<'_>, span: TimeSpan, writer: &mut ExportWriter) -> Result<(), StoreError> {
    snapshot.for_each_observation(|account, window, point| {
        if !is_in(span, point.observed_at) {
            return ControlFlow::Continue(());
        }
        let row = WindowExport {
            at: document::time(point.observed_at),
            provider: writer.name(&account.provider),
            account: writer.name(&account.name),
            window: writer.name(window),
            utilization: point.utilization,
            reset_at: point.reset_at.map(document::time),
            status: point.status.into_str(),
            source: point.source.into_str(),
        };
        writer.row(&row)
    })
}

/// Refusals and thresholds, each in the order of time.
fn events(snapshot: &Snapshot<'_>, span: TimeSpan, writer: &mut ExportWriter) -> Result<(), StoreError> {
    let view = snapshot.quota(Millis::MAX)?;
    let refusals = view.limit_events.iter().map(|event| {
        (
            event.at,
            EventExport {
                at: document::time(event.at),
                kind: "refused",
                provider: Cow::Owned(event.account.provider.to_string()),
                account: Cow::Owned(event.account.name.to_string()),
                window: Cow::Owned(event.window.to_string()),
                percent: None,
                utilization: None,
                reset_at: event.resets_at.map(document::time),
                source: Some(event.source.into_str()),
            },
        )
    });
    let thresholds = view.fired.iter().map(|fired| {
        (
            fired.observed_at,
            EventExport {
                at: document::time(fired.observed_at),
                kind: "threshold",
                provider: Cow::Owned(fired.account.provider.to_string()),
                account: Cow::Owned(fired.account.name.to_string()),
                window: Cow::Owned(fired.window.to_string()),
                percent: Some(fired.percent),
                utilization: Some(fired.utilization),
                reset_at: fired.reset_at.map(document::time),
                source: None,
            },
        )
    });
    let mut rows: Vec<(Millis, EventExport<'_>)> = refusals.chain(thresholds).collect();
    rows.sort_by_key(|(at, _)| *at);
    for (at, mut row) in rows {
        row.window = Cow::Owned(writer.name(&row.window).into_owned());
        if is_in(span, at) && writer.row(&row).is_break() {
            return Ok(());
        }
    }
    Ok(())
}
