//! A report in the JSON of ccusage, for scripts that read that.
//!
//! The members are those of `ccusage claude daily --json` and its siblings. An unknown cost is 0 there, marked with
//! `missingPricing` and `unpricedModels`.

use serde_json::{Map, Value, json};

use super::UsageReport;
use super::blocks::BlockReport;
use super::rows::ReportRow;
use crate::api::wire::{UsageBlock, UsageSums};
use crate::cli::args::ReportKind;
use crate::cli::exit::{Exit, Failure};

/// From this share of a limit on its status is a warning there.
const WARNING_PERCENT: f64 = 80.0;

/// The document.
///
/// # Errors
/// ccusage has no such report.
pub fn document(report: &UsageReport) -> Result<Value, Failure> {
    let (list, key) = match report.kind {
        ReportKind::Daily => ("daily", "date"),
        ReportKind::Weekly => ("weekly", "week"),
        ReportKind::Monthly => ("monthly", "month"),
        ReportKind::Sessions => ("sessions", "sessionId"),
        _ => return Err(no_such_report()),
    };
    let totals = totals(report);
    if report.kind == ReportKind::Sessions {
        let mut rows: Vec<&ReportRow> = report.rows.iter().collect();
        // The costliest first.
        rows.sort_by(|one, other| cost(&other.sums).total_cmp(&cost(&one.sums)));
        let rows: Vec<Value> = rows.into_iter().map(|row| session(report, row)).collect();
        return Ok(json!({ list: rows, "totals": totals }));
    }
    match report.dims.as_slice() {
        [_] => {
            let rows: Vec<Value> = report.rows.iter().map(|row| dated(report, row, key, 0)).collect();
            Ok(json!({ list: rows, "totals": totals }))
        }
        [project, _] if project == "project" => {
            let mut projects: Map<String, Value> = Map::new();
            for row in &report.rows {
                let name = row.keys[0].clone().unwrap_or_default();
                let mut value = dated(report, row, key, 1);
                value["project"] = json!(name);
                let rows = projects.entry(name).or_insert_with(|| json!([]));
                if let Value::Array(rows) = rows {
                    rows.push(value);
                }
            }
            Ok(json!({ "projects": projects, "totals": totals }))
        }
        _ => Err(no_such_report()),
    }
}

fn no_such_report() -> Failure {
    let message = "--format ccusage is for daily, weekly, monthly, sessions and blocks, without --by; use --json for others";
    Failure::new(Exit::Usage, message)
}

/// A row of a day, week or month, whose name is at `at` of its key.
fn dated(report: &UsageReport, row: &ReportRow, key: &str, at: usize) -> Value {
    let mut value = sums(report, row);
    value[key] = json!(row.keys.get(at).cloned().flatten());
    value
}

fn session(report: &UsageReport, row: &ReportRow) -> Value {
    let mut value = sums(report, row);
    let [session, project] = [0, 1].map(|at| row.keys.get(at).cloned().flatten());
    value["sessionId"] = json!(session);
    value["projectPath"] = json!(project.unwrap_or_default());
    if let Some((first, last)) = &row.times {
        // Hours of a zone; there they are in UTC.
        let utc = |time: &str| time.parse::<jiff::Timestamp>().map(|at| format!("{at:.3}"));
        value["firstActivity"] = json!(utc(first).ok());
        value["lastActivity"] = json!(utc(last).ok());
    }
    value
}

/// The members that all rows have.
fn sums(report: &UsageReport, row: &ReportRow) -> Value {
    let mut value = tokens(&row.sums);
    value["totalTokens"] = json!(row.sums.totals.total_tokens);
    let models: Vec<&str> = row.models.iter().map(|(model, _)| model.as_str()).collect();
    value["modelsUsed"] = json!(models);
    let breakdowns = row.models.iter().map(|(model, of_model)| {
        let mut value = tokens(of_model);
        value["modelName"] = json!(model);
        if report.costs {
            value["cost"] = json!(cost(of_model));
            if of_model.cost.unpriced.is_some() {
                value["missingPricing"] = json!(true);
            }
        }
        value
    });
    value["modelBreakdowns"] = breakdowns.collect();
    if report.costs {
        value["totalCost"] = json!(cost(&row.sums));
    }
    value
}

fn totals(report: &UsageReport) -> Value {
    let all = &report.usage.totals;
    let mut value = tokens(all);
    value["totalTokens"] = json!(all.totals.total_tokens);
    if report.costs {
        value["totalCost"] = json!(cost(all));
        if let Some(unpriced) = &all.cost.unpriced {
            value["unpricedModels"] = json!(unpriced.models);
        }
    }
    value
}

fn tokens(sums: &UsageSums) -> Value {
    let totals = &sums.totals;
    json!({
        "inputTokens": totals.input_tokens,
        "outputTokens": totals.output_tokens,
        "cacheCreationTokens": totals.cache_creation_input_tokens,
        "cacheReadTokens": totals.cache_read_input_tokens,
    })
}

fn cost(sums: &UsageSums) -> f64 {
    sums.cost.estimated_cost_usd.unwrap_or(0.0)
}

/// The document of the blocks.
#[must_use]
pub fn blocks(report: &BlockReport) -> Value {
    let blocks = report.blocks.blocks.iter().map(|block| block_of(report, block));
    json!({ "blocks": blocks.collect::<Vec<_>>() })
}

fn block_of(report: &BlockReport, block: &UsageBlock) -> Value {
    let totals = &block.sums.totals;
    let id = if block.is_gap {
        format!("gap-{}", block.started_at)
    } else {
        block.started_at.clone()
    };
    let rate = block.burn_rate.map(|rate| {
        json!({
            "tokensPerMinute": rate.tokens_per_minute,
            "tokensPerMinuteForIndicator": rate.new_tokens_per_minute,
            "costPerHour": rate.cost_usd_per_hour.unwrap_or(0.0),
        })
    });
    let projection = block.projection.map(|projection| {
        json!({
            "remainingMinutes": projection.remaining_minutes,
            "totalTokens": projection.total_tokens,
            "totalCost": cents(projection.estimated_cost_usd.unwrap_or(0.0)),
        })
    });
    let mut value = json!({
        "id": id,
        "startTime": block.started_at,
        "endTime": block.ends_at,
        "actualEndTime": block.last_used_at,
        "isActive": block.is_active,
        "isGap": block.is_gap,
        "entries": block.sums.messages + block.sums.advisor_calls,
        "tokenCounts": {
            "inputTokens": totals.input_tokens,
            "outputTokens": totals.output_tokens,
            "cacheCreationInputTokens": totals.cache_creation_input_tokens,
            "cacheReadInputTokens": totals.cache_read_input_tokens,
        },
        "totalTokens": totals.total_tokens,
        "costUSD": cost(&block.sums),
        "models": block.models,
        "burnRate": rate,
        "projection": projection,
    });
    if let (true, Some(limit), Some(projection)) = (report.is_limit_given, report.limit, block.projection) {
        value["tokenLimitStatus"] = limit_status(limit, projection.total_tokens);
    }
    value
}

/// The state of an active block that ends with so many tokens.
fn limit_status(limit: u64, projected: u64) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "a share for scripts")]
    let percent = projected as f64 / limit as f64 * 100.0;
    let status = if projected > limit {
        "exceeds"
    } else if percent > WARNING_PERCENT {
        "warning"
    } else {
        "ok"
    };
    json!({ "limit": limit, "projectedUsage": projected, "percentUsed": percent, "status": status })
}

fn cents(usd: f64) -> f64 {
    (usd * 100.0).round() / 100.0
}
