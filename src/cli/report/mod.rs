//! `report`: usage and list prices by time, run, session, project, model or account, as tables and documents.

mod blocks;
mod ccusage;
mod document;
mod names;
mod routes;
mod rows;
mod source;
mod table;
mod words;

use std::cmp::Reverse;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::args::{Global, ReportArgs, ReportFormat, ReportKind, RowOrder};
use super::exit::{Exit, Failure};
use super::print::output;
use crate::api::document::time;
use crate::api::usage::UsageQuery;
use crate::api::wire::Usage;
use crate::clock::Clock;
use crate::periods::{TimeSpan, WeekStart};
use rows::{DAY, MODEL, ReportRow};
use source::{Asked, with_source};

/// A report before it is printed.
#[expect(clippy::struct_excessive_bools, reason = "what was asked for")]
pub struct UsageReport {
    pub kind: ReportKind,
    /// The groupings of the rows.
    pub dims: Vec<String>,
    pub rows: Vec<ReportRow>,
    /// Number of rows left out by `--limit`.
    pub left_out: usize,
    /// The answer, with the sums of all rows.
    pub usage: Usage,
    pub span: TimeSpan,
    pub zone: TimeZone,
    /// The groupings are those of the report's name.
    pub has_own_dims: bool,
    /// Only this instance of a router.
    pub instance: Option<String>,
    pub breakdown: bool,
    pub costs: bool,
    pub compact: bool,
}

/// Prints a report.
///
/// # Errors
/// The words or flags are invalid, or nothing answers.
pub fn report(global: &Global, args: &ReportArgs) -> Result<Exit, Failure> {
    let (kind, period) = words::kind_and_period(&args.words)?;
    let format = format(global, args);
    words::check(args, period)?;
    if kind == ReportKind::Blocks {
        blocks::check(args)?;
        let report = with_source(global, args, |asked| blocks::ask(asked, args, period, format))?;
        match format {
            ReportFormat::Ccusage => output::json(&ccusage::blocks(&report))?,
            format => blocks::print(&report, format)?,
        }
        return Ok(Exit::Ok);
    }
    only_blocks(args)?;
    let report = with_source(global, args, |asked| ask(asked, args, kind, period, format))?;
    print(&report, format)?;
    Ok(Exit::Ok)
}

/// Refuses flags that only blocks have.
fn only_blocks(args: &ReportArgs) -> Result<(), Failure> {
    let given = [
        ("--active", args.active),
        ("--recent", args.recent),
        ("--token-limit", args.token_limit.is_some()),
    ];
    match given.into_iter().find(|(_, is_given)| *is_given) {
        None => Ok(()),
        Some((flag, _)) => {
            let message = format!("{flag} is for `tokentail report blocks`");
            Err(Failure::new(Exit::Usage, message))
        }
    }
}

fn format(global: &Global, args: &ReportArgs) -> ReportFormat {
    match args.format {
        Some(format) => format,
        None if global.json => ReportFormat::Json,
        None if args.csv => ReportFormat::Csv,
        None if args.ndjson => ReportFormat::Ndjson,
        None => ReportFormat::Table,
    }
}

fn ask(
    asked: &Asked<'_>,
    args: &ReportArgs,
    kind: ReportKind,
    period: Option<&str>,
    format: ReportFormat,
) -> Result<UsageReport, Failure> {
    let is_ccusage = format == ReportFormat::Ccusage;
    let zone = words::zone(args, asked.settings)?;
    // Its weeks begin on Sunday.
    let week = words::week_start(
        args,
        if is_ccusage {
            WeekStart::Sunday
        } else {
            WeekStart::Monday
        },
    );
    let span = words::span(args, period, Clock::SYSTEM.now(), &zone, week)?;
    let dims = dims(args, kind, is_ccusage);
    let by_model = !dims.iter().any(|dim| dim == MODEL);
    let hidden = hidden_time(kind, &dims, is_ccusage);
    let mut groups: Vec<&str> = dims.iter().map(String::as_str).collect();
    groups.extend(hidden);
    let is_by_route = kind == ReportKind::Routes && args.by.is_none();
    groups.extend(is_by_route.then_some(routes::PROVIDER));
    groups.extend(by_model.then_some(MODEL));
    let query = query(args, span, &zone, week, &groups.join(","));
    let mut usage = asked.source.usage(&query)?;
    // An empty document of ccusage's is what its readers expect.
    if usage.rows.is_empty() && !is_ccusage {
        names::check(asked, args)?;
    }
    if is_by_route {
        routes::only_routed(&mut usage);
    }
    let mut rows = rows::collect(&usage, &dims, hidden);
    order(&mut rows, kind, &dims, args.order);
    let shown = args.limit.map_or(rows.len(), |limit| limit.get().min(rows.len()));
    let left_out = rows.len() - shown;
    rows.truncate(shown);
    Ok(UsageReport {
        kind,
        dims,
        rows,
        left_out,
        usage,
        span,
        zone,
        has_own_dims: args.by.is_none() && !args.instances,
        instance: args.instance.clone(),
        breakdown: args.breakdown,
        costs: !args.no_cost,
        compact: args.compact,
    })
}

/// The groupings of the rows.
fn dims(args: &ReportArgs, kind: ReportKind, is_ccusage: bool) -> Vec<String> {
    let own: &[&str] = match kind {
        ReportKind::Daily => &["day"],
        ReportKind::Weekly => &["week"],
        ReportKind::Monthly => &["month"],
        ReportKind::Runs => &["run"],
        ReportKind::Sessions => &["session", "project"],
        ReportKind::Projects => &["project"],
        ReportKind::Models => &["model"],
        ReportKind::Accounts => &["account"],
        ReportKind::Routes => &routes::DIMS,
        ReportKind::Blocks => &[],
    };
    let mut dims: Vec<String> = match &args.by {
        Some(by) => by.split(',').map(|dim| dim.trim().to_owned()).collect(),
        None => own.iter().map(|dim| (*dim).to_owned()).collect(),
    };
    if args.instances && !dims.iter().any(|dim| dim == "project") {
        // Below each project its days, as in ccusage.
        dims.insert(if is_ccusage { 0 } else { dims.len() }, "project".to_owned());
    }
    dims
}

/// The time by which sessions are grouped to find when each was last used.
fn hidden_time(kind: ReportKind, dims: &[String], is_ccusage: bool) -> Option<&'static str> {
    let is_wanted = kind == ReportKind::Sessions && dims.iter().any(|dim| dim == "session");
    is_wanted.then_some(if is_ccusage { "hour" } else { DAY })
}

fn query(args: &ReportArgs, span: TimeSpan, zone: &TimeZone, week: WeekStart, groups: &str) -> UsageQuery {
    let project = args.project.as_deref();
    let of_project = project.and_then(|project| project.strip_prefix("label:"));
    let label = (args.label.as_ref()).map(|label| format!("{}={}", label.name, label.value));
    UsageQuery {
        from: span.from.map(time),
        to: span.to.map(time),
        week_start: Some(<&str>::from(week).to_owned()),
        zone: zone.iana_name().map(str::to_owned),
        group_by: Some(groups.to_owned()),
        run: args.run.as_ref().map(ToString::to_string),
        session: args.id.clone(),
        project: project.filter(|_| of_project.is_none()).map(str::to_owned),
        model: args.model.clone(),
        account: args.account.clone(),
        label: label.or_else(|| of_project.map(str::to_owned)),
        instance: args.instance.clone(),
        ..UsageQuery::default()
    }
}

/// True if the rows are of time first.
fn is_of_time(dims: &[String]) -> bool {
    const TIMES: [&str; 6] = ["hour", "day", "week", "month", "quarter", "year"];
    dims.first().is_some_and(|dim| TIMES.contains(&dim.as_str()))
}

/// Time goes upwards; sums go downwards, ties by name; sessions go from the latest to the earliest.
fn order(rows: &mut [ReportRow], kind: ReportKind, dims: &[String], order: Option<RowOrder>) {
    // They come by key.
    let is_up = if is_of_time(dims) {
        true
    } else if kind == ReportKind::Sessions && rows.iter().all(|row| row.times.is_some()) {
        rows.sort_by_key(|row| Reverse(row.times.as_ref().map(|(_, last)| last.clone())));
        false
    } else {
        rows.sort_by_key(|row| Reverse(row.sums.totals.total_tokens));
        false
    };
    let wanted_up = order.map_or(is_up, |order| order == RowOrder::Asc);
    if wanted_up != is_up {
        rows.reverse();
    }
}

fn print(report: &UsageReport, format: ReportFormat) -> Result<(), Failure> {
    match format {
        ReportFormat::Table => {
            let width = output::Screen::stdout().columns;
            output::human(|out| match report.kind {
                ReportKind::Routes if report.has_own_dims => routes::write(out, report, width),
                _ => table::write(out, report, width),
            })
        }
        ReportFormat::Json => output::json(&document::json(report)),
        ReportFormat::Ndjson => document::ndjson(report),
        ReportFormat::Csv => document::csv(report),
        ReportFormat::Ccusage => output::json(&ccusage::document(report)?),
    }
}

/// The time of a bound, for people.
fn bound(at: i64, zone: &TimeZone) -> jiff::Zoned {
    Timestamp::from_millisecond(at)
        .unwrap_or(Timestamp::MAX)
        .to_zoned(zone.clone())
}
