//! `report blocks`: windows of five hours as a table and as documents.

use std::io::{self, Write};

use anstyle::Style;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use super::document::print_csv;
use super::names;
use super::rows;
use super::source::Asked;
use super::table::{self, ModelNames};
use super::words;
use crate::api::blocks::BlocksQuery;
use crate::api::document::time;
use crate::api::usage::{CSV_COLUMNS, csv_cell, csv_values};
use crate::api::wire::{Blocks, Cost, UsageBlock, UsageSums};
use crate::cli::args::{ReportArgs, ReportFormat, RowOrder, TokenLimit};
use crate::cli::exit::{Exit, Failure};
use crate::cli::print::cost::{self, dollars};
use crate::cli::print::grid::{self, Column, GridCell, GridRow};
use crate::cli::print::numbers::{grouped, length, percent, report_style};
use crate::cli::print::{output, text};
use crate::clock::Clock;
use crate::model::{DAY_MS, PROVIDER_DEFAULT};
use crate::periods::WeekStart;

/// Age of the blocks that `--recent` shows.
const RECENT_DAYS: i64 = 3;

const STRONG: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

/// The blocks of a report.
#[expect(clippy::struct_excessive_bools, reason = "what was asked for")]
pub struct BlockReport {
    pub blocks: Blocks,
    pub zone: TimeZone,
    /// Tokens that are 100 %.
    pub limit: Option<u64>,
    /// The limit was asked for.
    pub is_limit_given: bool,
    pub costs: bool,
    pub compact: bool,
    left_out: usize,
    has_several_accounts: bool,
}

/// Asks for the blocks.
///
/// # Errors
/// Nothing answers.
pub fn ask(
    asked: &Asked<'_>,
    args: &ReportArgs,
    period: Option<&str>,
    format: ReportFormat,
) -> Result<BlockReport, Failure> {
    let zone = words::zone(args, asked.settings)?;
    let now = Clock::SYSTEM.now();
    let mut span = words::span(
        args,
        period,
        now,
        &zone,
        words::week_start(args, WeekStart::Monday),
    )?;
    if args.recent && span.from.is_none() {
        // Full days, of UTC: the blocks are chosen by their own times below.
        span.from = Some((now - (RECENT_DAYS + 1) * DAY_MS).div_euclid(DAY_MS) * DAY_MS);
    }
    let query = BlocksQuery {
        from: span.from.map(time),
        to: span.to.map(time),
        zone: zone.iana_name().map(str::to_owned),
        account: args.account.clone(),
        // It has blocks of Claude alone.
        provider: (format == ReportFormat::Ccusage).then(|| PROVIDER_DEFAULT.to_owned()),
        ..BlocksQuery::default()
    };
    let mut blocks = asked.source.blocks(&query)?;
    if blocks.blocks.is_empty() && format != ReportFormat::Ccusage {
        names::check(asked, args)?;
    }
    let most = blocks.blocks.iter().filter(|block| !block.is_active);
    let most = most
        .map(|block| block.sums.totals.total_tokens)
        .max()
        .filter(|most| *most > 0);
    let limit = match args.token_limit {
        Some(TokenLimit::Tokens(tokens)) => Some(tokens),
        Some(TokenLimit::Max) | None => most,
    };
    if args.recent {
        let since = time(now - RECENT_DAYS * DAY_MS);
        blocks
            .blocks
            .retain(|block| block.started_at >= since || block.is_active);
    }
    if args.active {
        blocks.blocks.retain(|block| block.is_active);
    }
    let accounts: std::collections::BTreeSet<&str> =
        blocks.blocks.iter().map(|block| block.account.as_str()).collect();
    let has_several_accounts = accounts.len() > 1;
    blocks
        .blocks
        .sort_by(|one, other| one.started_at.cmp(&other.started_at));
    if args.order == Some(RowOrder::Desc) {
        blocks.blocks.reverse();
    }
    let shown = args
        .limit
        .map_or(usize::MAX, std::num::NonZero::get)
        .min(blocks.blocks.len());
    let left_out = blocks.blocks.len() - shown;
    blocks.blocks.truncate(shown);
    Ok(BlockReport {
        blocks,
        zone,
        limit,
        is_limit_given: args.token_limit.is_some(),
        costs: !args.no_cost,
        compact: args.compact,
        left_out,
        has_several_accounts,
    })
}

/// Windows are an account's: nothing smaller has blocks.
///
/// # Errors
/// A flag is not for blocks.
pub fn check(args: &ReportArgs) -> Result<(), Failure> {
    let given = [
        ("--by", args.by.is_some()),
        ("--breakdown", args.breakdown),
        ("--instances", args.instances),
        ("--project", args.project.is_some()),
        ("--label", args.label.is_some()),
        ("--run", args.run.is_some()),
        ("--model", args.model.is_some()),
        ("--id", args.id.is_some()),
        ("--instance", args.instance.is_some()),
    ];
    match given.into_iter().find(|(_, is_given)| *is_given) {
        None => Ok(()),
        Some((flag, _)) => Err(Failure::new(
            Exit::Usage,
            format!("{flag} is not for blocks: a block is of an account as a whole; --account chooses one"),
        )),
    }
}

/// Prints the report, as a table if its form is not one of these.
///
/// # Errors
/// Standard output cannot be written.
pub fn print(report: &BlockReport, format: ReportFormat) -> Result<(), Failure> {
    match format {
        ReportFormat::Table | ReportFormat::Ccusage => {
            let width = output::Screen::stdout().columns;
            output::human(|out| write(out, report, width))
        }
        ReportFormat::Json => output::json(&report.blocks),
        ReportFormat::Ndjson => super::document::print_lines(&report.blocks.blocks),
        ReportFormat::Csv => csv(report),
    }
}

fn csv(report: &BlockReport) -> Result<(), Failure> {
    let head = [
        "account",
        "started_at",
        "ends_at",
        "source",
        "is_active",
        "is_gap",
        "utilization",
    ];
    print_csv(|writer| {
        writer.write_record(head.iter().chain(&CSV_COLUMNS))?;
        for block in &report.blocks.blocks {
            let share = block
                .utilization
                .map_or_else(String::new, |share| share.to_string());
            let (active, gap) = (block.is_active.to_string(), block.is_gap.to_string());
            let cells = [
                &block.account,
                &block.started_at,
                &block.ends_at,
                &block.source,
                &active,
                &gap,
                &share,
            ];
            for cell in cells {
                writer.write_field(csv_cell(cell).as_ref())?;
            }
            writer.write_record(csv_values(&block.sums))?;
        }
        Ok(())
    })
}

/// Prints the table.
fn write(out: &mut dyn Write, report: &BlockReport, width: Option<usize>) -> io::Result<()> {
    let zone = report.zone.iana_name().unwrap_or("UTC");
    writeln!(out, "{STRONG}Blocks of five hours, {zone}{STRONG:#}")?;
    if report.blocks.blocks.is_empty() {
        return writeln!(out, "no block");
    }
    let columns = columns(report, width);
    let models = report.blocks.blocks.iter().flat_map(|block| &block.models);
    let names = ModelNames::of(models.map(String::as_str));
    let mut rows = Vec::new();
    for block in &report.blocks.blocks {
        rows.push(GridRow::Cells(cells(report, block, &names, width.is_none())));
        if block.is_active {
            rows.extend(outlook(report, block, width.is_none()));
        }
    }
    if report.left_out > 0 {
        rows.push(GridRow::Note(format!(
            "… and {} more",
            grouped(report.left_out as u64)
        )));
    }
    grid::write(out, &columns, &rows, width)?;
    for line in notes(report) {
        writeln!(out, "{DIM}{}{DIM:#}", text::wrapped(&line, width))?;
    }
    Ok(())
}

fn columns(report: &BlockReport, width: Option<usize>) -> Vec<Column> {
    let is_narrow = report.compact || width.is_some_and(|width| width < table::WIDE_COLUMNS);
    let mut columns = vec![
        Column::words("Block Start", 0),
        Column::words("Duration/Status", 0),
    ];
    if report.has_several_accounts {
        columns.push(Column::names("Account", 2));
    }
    columns.extend([
        Column::names("Models", if is_narrow { 7 } else { 5 }),
        Column::numbers("Tokens", 0),
        Column::numbers("%", 6),
    ]);
    if report.costs {
        columns.push(Column::numbers("Cost (USD)", 0));
    }
    columns.push(Column::words("Window", 3));
    columns
}

fn cells(report: &BlockReport, block: &UsageBlock, names: &ModelNames, is_full: bool) -> Vec<GridCell> {
    let style = if block.is_active {
        STRONG
    } else if block.is_gap {
        DIM
    } else {
        Style::new()
    };
    let (start, end) = (
        at(&block.started_at, &report.zone),
        at(&block.ends_at, &report.zone),
    );
    let seconds = |from: Option<&Zoned>, to: Option<&Zoned>| {
        let (from, to) = (from?.timestamp(), to?.timestamp());
        u64::try_from(to.as_second() - from.as_second()).ok()
    };
    let now = at(&report.blocks.now, &report.zone);
    let last = block
        .last_used_at
        .as_deref()
        .and_then(|last| at(last, &report.zone));
    let status = if block.is_gap {
        seconds(start.as_ref(), end.as_ref()).map(|gap| format!("{} gap", length(gap)))
    } else if block.is_active {
        seconds(now.as_ref(), end.as_ref()).map(|left| format!("ACTIVE, {} left", length(left)))
    } else {
        seconds(start.as_ref(), last.as_ref()).map(length)
    };
    let mut cells = vec![
        start.map_or_else(
            || text::name(&block.started_at),
            |start| start.strftime("%Y-%m-%d %H:%M").to_string(),
        ),
        status.unwrap_or_default(),
    ];
    if report.has_several_accounts {
        cells.push(text::name(&block.account));
    }
    if block.is_gap {
        cells.extend(["-", "-", "-"].map(str::to_owned));
        cells.extend(report.costs.then(|| "-".to_owned()));
    } else {
        let tokens = block.sums.totals.total_tokens;
        let models: Vec<String> = block.models.iter().map(|model| names.short(model)).collect();
        cells.extend([
            models.join(", "),
            count(tokens, is_full),
            share(tokens, report.limit),
        ]);
        cells.extend(report.costs.then(|| dollars(&block.sums.cost)));
        cells.push(match block.utilization {
            Some(share) => format!("{} % by {}", percent(share, 0), text::name(&block.source)),
            None => text::name(&block.source),
        });
    }
    cells.into_iter().map(|text| GridCell { text, style }).collect()
}

/// The rows below an active block: what is left of the limit, and the projection.
fn outlook(report: &BlockReport, block: &UsageBlock, is_full: bool) -> Vec<GridRow> {
    let tokens = block.sums.totals.total_tokens;
    let row = |name: &str, tokens: u64, cost: Option<f64>| {
        let mut cells = vec![String::new(), name.to_owned()];
        cells.extend(report.has_several_accounts.then(String::new));
        cells.extend([String::new(), count(tokens, is_full), share(tokens, report.limit)]);
        cells.extend(cost.filter(|_| report.costs).map(|usd| known(usd) + rest(block)));
        let cells = cells.into_iter().map(|text| GridCell { text, style: DIM });
        GridRow::Cells(cells.collect())
    };
    let left = report
        .limit
        .map(|limit| row("REMAINING", limit.saturating_sub(tokens), None));
    let projected = block.projection.map(|projection| {
        row(
            "PROJECTED",
            projection.total_tokens,
            projection.estimated_cost_usd,
        )
    });
    left.into_iter().chain(projected).collect()
}

/// What follows a cost that leaves out models without a price.
fn rest(block: &UsageBlock) -> &'static str {
    if block.sums.cost.unpriced.is_some() {
        " +?"
    } else {
        ""
    }
}

fn notes(report: &BlockReport) -> Vec<String> {
    let mut lines = Vec::new();
    for block in report.blocks.blocks.iter().filter(|block| block.is_active) {
        let Some(rate) = block.burn_rate else { continue };
        let cost = rate.cost_usd_per_hour.filter(|_| report.costs);
        let cost = cost.map_or_else(String::new, |usd| {
            format!(", {}{} an hour", known(usd), rest(block))
        });
        lines.push(format!(
            "{}: {:.0} tokens a minute{cost} since its first use.",
            text::name(&block.account),
            rate.tokens_per_minute
        ));
    }
    if let Some(limit) = report.limit {
        let what = if report.is_limit_given {
            "the limit"
        } else {
            "the largest block that is over"
        };
        lines.push(format!("100 % is {what}, {} tokens.", grouped(limit)));
    }
    if report.costs {
        let mut all = UsageSums::default();
        for block in &report.blocks.blocks {
            rows::add(&mut all, &block.sums);
        }
        lines.extend(cost::note(&report.blocks.pricing, &all.cost));
    }
    lines
}

fn known(usd: f64) -> String {
    dollars(&Cost {
        estimated_cost_usd: Some(usd),
        unpriced: None,
    })
}

fn count(number: u64, is_full: bool) -> String {
    if is_full {
        grouped(number)
    } else {
        report_style(number)
    }
}

fn share(tokens: u64, limit: Option<u64>) -> String {
    let Some(limit) = limit.filter(|limit| *limit > 0) else {
        return "-".to_owned();
    };
    let tenths = (u128::from(tokens) * 1000 + u128::from(limit) / 2) / u128::from(limit);
    format!("{}.{}", tenths / 10, tenths % 10)
}

fn at(text: &str, zone: &TimeZone) -> Option<Zoned> {
    Some(text.parse::<Timestamp>().ok()?.to_zoned(zone.clone()))
}
