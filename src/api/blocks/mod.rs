//! Blocks of five hours, with the usage in each.

mod spans;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::document::{cost, time};
use crate::api::http::problem::{Problem, blocking};
use crate::api::http::query::StrictQuery;
use crate::api::openapi::{BadRequest, USAGE, Unavailable};
use crate::api::state::ApiState;
use crate::api::usage::{CellSum, UsageQuery, UsageQuestion};
use crate::api::wire;
use crate::dedup::Totals;
use crate::model::{AccountId, DAY_QUARTERS, MINUTE_MS, Millis, QUARTER_MS};
use crate::prices::{PriceList, Pricer};
use crate::quota::window_name::FIVE_HOUR;
use crate::store::schema::SeriesRow;
use crate::store::{SeriesNames, Snapshot};
use spans::{BLOCK_MS, BLOCK_QUARTERS, BlockSpan, spans, windows};

/// Minutes in an hour, as a rate needs it.
const MINUTES_PER_HOUR: f64 = 60.0;
/// Days before the range in which the start of its first block is searched, at first; four times as many each time.
const LOOKBACK_DAYS: u32 = 1;

/// The routes of this file.
#[must_use]
pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::default().routes(routes!(get_blocks))
}

/// The range and the accounts.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct BlocksQuery {
    /// Blocks that end after this time: an RFC 3339 time on a full quarter of an hour, or a date, a day of the zone.
    pub from: Option<String>,
    /// Blocks that begin before this time, likewise.
    pub to: Option<String>,
    /// Instead of from and to, as in `/v1/usage`.
    pub period: Option<String>,
    /// The time zone of dates and periods, by its IANA name. Default: UTC.
    pub zone: Option<String>,
    /// Only accounts of this provider.
    pub provider: Option<String>,
    /// Only this account, as PROVIDER/NAME.
    pub account: Option<String>,
}

impl BlocksQuery {
    /// The names and values of its parameters.
    #[must_use]
    pub fn parameters(&self) -> [(&'static str, Option<&str>); 6] {
        [
            ("from", &self.from),
            ("to", &self.to),
            ("period", &self.period),
            ("zone", &self.zone),
            ("provider", &self.provider),
            ("account", &self.account),
        ]
        .map(|(name, value)| (name, value.as_deref()))
    }
}

/// Blocks of five hours
///
/// The usage of each account in its windows of five hours. A window that was observed has its own end; else a block
/// begins with the hour of the first usage and has five hours, as `source: derived`. Sums are by quarters of an hour, so
/// an observed window is cut at the nearest one; first and last use are known to the minute.
#[utoipa::path(
    get,
    path = "/v1/blocks",
    tag = USAGE,
    params(BlocksQuery),
    responses(
        (status = 200, body = wire::Blocks),
        (status = 400, response = BadRequest),
        (status = 503, response = Unavailable)
    )
)]
async fn get_blocks(
    State(api): State<Arc<ApiState>>,
    StrictQuery(query): StrictQuery<BlocksQuery>,
) -> Result<Json<wire::Blocks>, Problem> {
    let now = api.clock.now();
    let answer = move || {
        let prices = Arc::clone(&api.settings.borrow().prices);
        Ok(Json(blocks_in(&api.store.snapshot()?, &query, &prices, now)?))
    };
    blocking(answer).await
}

/// The answer to a query at `now`, as the route gives it.
///
/// # Errors
/// As those of the route.
pub fn blocks_in(
    snapshot: &Snapshot<'_>,
    query: &BlocksQuery,
    prices: &PriceList,
    now: Millis,
) -> Result<wire::Blocks, Problem> {
    let question = UsageQuestion::of(
        UsageQuery {
            from: query.from.clone(),
            to: query.to.clone(),
            period: query.period.clone(),
            zone: query.zone.clone(),
            provider: query.provider.clone(),
            account: query.account.clone(),
            ..UsageQuery::default()
        },
        now,
    )?;
    let names = snapshot.series_names()?;
    let mut pricer = Pricer::new(prices);
    let mut blocks = Vec::new();
    if let Some((first, last)) = snapshot.days_recorded()? {
        let recorded =
            first.saturating_mul(DAY_QUARTERS)..last.saturating_add(1).saturating_mul(DAY_QUARTERS);
        let start = recorded.start.max(question.quarters.start);
        let range = start..recorded.end.min(question.quarters.end);
        for (number, account) in (0..).zip(&names.accounts) {
            if question.wants_account(account) {
                let of_account = AccountBlocks {
                    snapshot,
                    names: &names,
                    number,
                    account,
                    recorded: recorded.clone(),
                    now,
                };
                blocks.extend(of_account.between(&range, &mut pricer)?);
            }
        }
    }
    Ok(wire::Blocks {
        now: time(now),
        blocks,
        pricing: cost::pricing(&pricer),
    })
}

/// The sums of a quarter of an hour, by series without run and place.
type QuarterSums = Vec<(SeriesRow, Totals)>;

/// The blocks of one account.
struct AccountBlocks<'a> {
    snapshot: &'a Snapshot<'a>,
    names: &'a SeriesNames,
    number: u32,
    account: &'a AccountId,
    /// The days with usage of any account, in quarters.
    recorded: Range<u32>,
    now: Millis,
}

impl AccountBlocks<'_> {
    /// The blocks that are in a range, with the gaps between them.
    fn between(&self, range: &Range<u32>, pricer: &mut Pricer<'_>) -> Result<Vec<wire::UsageBlock>, Problem> {
        let used = self.used(range)?;
        let quarters: Vec<u32> = used.keys().copied().collect();
        let windows = windows(&self.snapshot.history(self.account, FIVE_HOUR)?);
        let mut blocks = Vec::new();
        let mut last_used: Option<Millis> = None;
        for span in spans(&quarters, &windows) {
            let sums = used.range(span.start..span.end);
            let block = self.block(
                span,
                sums.flat_map(|(quarter, sums)| sums.iter().map(|sum| (*quarter, sum))),
                pricer,
            )?;
            let (first, last) = block.times;
            if let Some(before) = last_used
                && first - before > BLOCK_MS
            {
                let gap = (before + BLOCK_MS, first);
                if is_in(gap, range) {
                    blocks.push(self.gap(gap));
                }
            }
            last_used = Some(last);
            if span.end > range.start && span.start < range.end {
                blocks.push(block.document);
            }
        }
        Ok(blocks)
    }

    /// The sums of the range by quarter. Reads back to a pause of five hours before it, after which a block begins.
    fn used(&self, range: &Range<u32>) -> Result<BTreeMap<u32, QuarterSums>, Problem> {
        let mut days = LOOKBACK_DAYS;
        // A block that begins in the range is whole.
        let end = range.end.saturating_add(BLOCK_QUARTERS).min(self.recorded.end);
        loop {
            let from = range.start.saturating_sub(days.saturating_mul(DAY_QUARTERS));
            let from = from.max(self.recorded.start);
            let used = self.read(from..end)?;
            if from <= self.recorded.start || has_pause(from, range.start, &used) {
                return Ok(used);
            }
            days = days.saturating_mul(4);
        }
    }

    fn read(&self, range: Range<u32>) -> Result<BTreeMap<u32, QuarterSums>, Problem> {
        let stretches: Vec<Range<u32>> = range.clone().map(|quarter| quarter..quarter + 1).collect();
        let mut used: BTreeMap<u32, QuarterSums> = BTreeMap::new();
        self.snapshot
            .for_each_model_usage(&stretches, |at, _, series, totals| {
                if series.account == self.number {
                    let quarter = range.start + u32::try_from(at).unwrap_or(u32::MAX);
                    used.entry(quarter).or_default().push((*series, totals));
                }
            })?;
        Ok(used)
    }

    fn block<'b>(
        &self,
        span: BlockSpan,
        parts: impl Iterator<Item = (u32, &'b (SeriesRow, Totals))>,
        pricer: &mut Pricer<'_>,
    ) -> Result<TimedBlock, Problem> {
        let start = Millis::from(span.start) * QUARTER_MS;
        let end = span
            .window
            .map_or(Millis::from(span.end) * QUARTER_MS, |window| window.reset_at);
        let (mut sum, mut models, mut quarters) = (CellSum::default(), BTreeSet::new(), None);
        for (quarter, (series, totals)) in parts {
            let price = cost::price_number(pricer, self.names, series);
            sum.add_usage(pricer, price, quarter / DAY_QUARTERS, *totals);
            models.insert(series.model);
            let (first, last) = quarters.unwrap_or((quarter, quarter));
            quarters = Some((quarter.min(first), quarter.max(last)));
        }
        let (first, last) = quarters.unwrap_or((span.start, span.start));
        let times = self.minutes(first, last)?;
        let sums = sum.document(pricer);
        let is_active = self.now < end && self.now - times.1 < BLOCK_MS;
        let names = models
            .iter()
            .filter_map(|model| self.names.models.get(*model as usize));
        let burn_rate = is_active.then(|| burn_rate(&sums, times)).flatten();
        let document = wire::UsageBlock {
            account: self.account.to_string(),
            started_at: time(start),
            ends_at: time(end),
            first_used_at: Some(time(times.0)),
            last_used_at: Some(time(times.1)),
            is_active,
            is_gap: false,
            source: span
                .window
                .map_or("derived", |window| window.source.into())
                .to_owned(),
            utilization: span.window.and_then(|window| window.utilization),
            models: names.map(ToString::to_string).collect(),
            projection: burn_rate.map(|rate| projection(&sums, rate, end - self.now)),
            burn_rate,
            sums,
        };
        Ok(TimedBlock { document, times })
    }

    /// The first and the last minute with usage in these quarters, the beginnings of the quarters if no line says it.
    fn minutes(&self, first: u32, last: u32) -> Result<(Millis, Millis), Problem> {
        let minutes = |quarter: u32| {
            let minute = quarter.saturating_mul(15);
            minute..minute.saturating_add(15)
        };
        let of_first = self.snapshot.minutes_used(self.number, minutes(first))?;
        let of_last = self.snapshot.minutes_used(self.number, minutes(last))?;
        let at = |minute: Option<u32>, quarter: u32| {
            minute.map_or(Millis::from(quarter) * QUARTER_MS, |minute| {
                Millis::from(minute) * MINUTE_MS
            })
        };
        Ok((
            at(of_first.map(|(first, _)| first), first),
            at(of_last.map(|(_, last)| last), last),
        ))
    }

    fn gap(&self, (from, to): (Millis, Millis)) -> wire::UsageBlock {
        wire::UsageBlock {
            account: self.account.to_string(),
            started_at: time(from),
            ends_at: time(to),
            is_gap: true,
            source: "derived".to_owned(),
            ..wire::UsageBlock::default()
        }
    }
}

/// A block with its first and its last use.
struct TimedBlock {
    document: wire::UsageBlock,
    times: (Millis, Millis),
}

/// True if five hours without usage are between `from` and the end of the lookback.
fn has_pause(from: u32, until: u32, used: &BTreeMap<u32, QuarterSums>) -> bool {
    let mut quiet_since = from;
    for quarter in used
        .range(from..until)
        .map(|(quarter, _)| *quarter)
        .chain([until])
    {
        if quarter.saturating_sub(quiet_since) >= BLOCK_QUARTERS {
            return true;
        }
        quiet_since = quarter + 1;
    }
    false
}

fn is_in((from, to): (Millis, Millis), range: &Range<u32>) -> bool {
    to > Millis::from(range.start) * QUARTER_MS && from < Millis::from(range.end) * QUARTER_MS
}

fn burn_rate(sums: &wire::UsageSums, (first, last): (Millis, Millis)) -> Option<wire::BurnRate> {
    if last <= first {
        return None;
    }
    let minutes = float(u64::try_from(last - first).unwrap_or(0)) / float(MINUTE_MS.unsigned_abs());
    let totals = &sums.totals;
    let new = totals.input_tokens.saturating_add(totals.output_tokens);
    let cost = sums.cost.estimated_cost_usd;
    Some(wire::BurnRate {
        tokens_per_minute: float(totals.total_tokens) / minutes,
        new_tokens_per_minute: float(new) / minutes,
        cost_usd_per_hour: cost.map(|usd| usd / minutes * MINUTES_PER_HOUR),
    })
}

fn projection(sums: &wire::UsageSums, rate: wire::BurnRate, remaining: Millis) -> wire::Projection {
    let remaining_minutes = u64::try_from(remaining / MINUTE_MS).unwrap_or(0);
    let minutes = float(remaining_minutes);
    let more = rate.tokens_per_minute * minutes;
    let cost = sums.cost.estimated_cost_usd.zip(rate.cost_usd_per_hour);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a projection; beyond the range it saturates"
    )]
    let more = more.round() as u64;
    wire::Projection {
        remaining_minutes,
        total_tokens: sums.totals.total_tokens.saturating_add(more),
        estimated_cost_usd: cost.map(|(usd, rate)| usd + rate / MINUTES_PER_HOUR * minutes),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
const fn float(number: u64) -> f64 {
    number as f64
}
