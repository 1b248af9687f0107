//! A report as a document: JSON in the names of `/v1/usage`, NDJSON, CSV.

use std::collections::BTreeMap;

use serde::Serialize;

use super::UsageReport;
use super::rows::{MODEL, ReportRow};
use crate::api::document::time;
use crate::api::usage::{CSV_COLUMNS, CSV_COST_COLUMNS, csv_cell, csv_values};
use crate::api::wire::{Pricing, UsageSums};
use crate::cli::exit::{Exit, Failure};
use crate::cli::print::output;

/// The document of `report --json`.
#[derive(Debug, Serialize)]
pub struct ReportDocument {
    report: &'static str,
    from: Option<String>,
    to: Option<String>,
    zone: Option<String>,
    group_by: String,
    rows: Vec<RowDocument>,
    /// Rows left out by `--limit`.
    #[serde(skip_serializing_if = "is_zero")]
    rows_left_out: usize,
    /// Of all rows.
    totals: SumsDocument,
    #[serde(flatten)]
    pricing: Option<Pricing>,
}

#[derive(Debug, Serialize)]
struct RowDocument {
    #[serde(flatten)]
    key: RowKey,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_time: Option<String>,
    #[serde(flatten)]
    sums: SumsDocument,
    #[serde(skip_serializing_if = "Option::is_none")]
    by_model: Option<BTreeMap<String, SumsDocument>>,
}

/// The key of a row, by name if there are several groupings.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum RowKey {
    Key(Option<String>),
    Keys(BTreeMap<String, Option<String>>),
}

/// Sums, without their costs if those are not wanted.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum SumsDocument {
    All(UsageSums),
    WithoutCost(serde_json::Map<String, serde_json::Value>),
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_zero(number: &usize) -> bool {
    *number == 0
}

fn sums(report: &UsageReport, sums: &UsageSums) -> SumsDocument {
    if report.costs {
        return SumsDocument::All(sums.clone());
    }
    let mut object = match serde_json::to_value(sums) {
        Ok(serde_json::Value::Object(object)) => object,
        _ => serde_json::Map::new(),
    };
    object.remove("estimated_cost_usd");
    object.remove("unpriced");
    SumsDocument::WithoutCost(object)
}

/// The document.
#[must_use]
pub fn json(report: &UsageReport) -> ReportDocument {
    ReportDocument {
        report: report.kind.into(),
        from: report.span.from.map(time),
        to: report.span.to.map(time),
        zone: report.zone.iana_name().map(str::to_owned),
        group_by: report.dims.join(","),
        rows: report.rows.iter().map(|row| of_row(report, row)).collect(),
        rows_left_out: report.left_out,
        totals: sums(report, &report.usage.totals),
        pricing: report.costs.then(|| report.usage.pricing.clone()),
    }
}

fn of_row(report: &UsageReport, row: &ReportRow) -> RowDocument {
    let key = match row.keys.as_slice() {
        [key] => RowKey::Key(key.clone()),
        keys => RowKey::Keys(report.dims.iter().cloned().zip(keys.iter().cloned()).collect()),
    };
    let (first_time, last_time) = row.times.clone().unzip();
    let models = row
        .models
        .iter()
        .map(|(model, of_model)| (model.clone(), sums(report, of_model)));
    RowDocument {
        key,
        first_time,
        last_time,
        sums: sums(report, &row.sums),
        by_model: (!report.dims.iter().any(|dim| dim == MODEL)).then(|| models.collect()),
    }
}

/// Prints a line for each row.
///
/// # Errors
/// As [`output::raw`].
pub fn ndjson(report: &UsageReport) -> Result<(), Failure> {
    let rows: Vec<RowDocument> = report.rows.iter().map(|row| of_row(report, row)).collect();
    print_lines(&rows)
}

/// Prints each document on a line of its own.
///
/// # Errors
/// As [`output::raw`].
pub fn print_lines(documents: &[impl Serialize]) -> Result<(), Failure> {
    let mut lines = Vec::new();
    for document in documents {
        serde_json::to_writer(&mut lines, document).map_err(unwritten)?;
        lines.push(b'\n');
    }
    output::raw(&lines)
}

/// Prints a CSV as RFC 4180 has it.
///
/// # Errors
/// As [`output::raw`].
pub fn print_csv(
    write: impl FnOnce(&mut csv::Writer<Vec<u8>>) -> Result<(), csv::Error>,
) -> Result<(), Failure> {
    let mut writer = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .from_writer(Vec::new());
    write(&mut writer).map_err(unwritten)?;
    output::raw(&writer.into_inner().map_err(unwritten)?)
}

/// Prints a header and a line for each row, with `--breakdown` for each row and model.
///
/// # Errors
/// As [`output::raw`].
pub fn csv(report: &UsageReport) -> Result<(), Failure> {
    print_csv(|writer| write_csv(writer, report))
}

fn write_csv(writer: &mut csv::Writer<Vec<u8>>, report: &UsageReport) -> Result<(), csv::Error> {
    let by_model = report.breakdown && !report.dims.iter().any(|dim| dim == MODEL);
    for dim in &report.dims {
        writer.write_field(csv_cell(dim).as_ref())?;
    }
    if by_model {
        writer.write_field(MODEL)?;
    }
    let columns = columns(report);
    writer.write_record(columns)?;
    for row in &report.rows {
        let whole = [(None, &row.sums)];
        let parts: Vec<(Option<&str>, &UsageSums)> = if by_model {
            row.models
                .iter()
                .map(|(model, sums)| (Some(model.as_str()), sums))
                .collect()
        } else {
            whole.into()
        };
        for (model, sums) in parts {
            for key in row.keys.iter().map(|key| key.as_deref()).chain(model.map(Some)) {
                writer.write_field(csv_cell(key.unwrap_or("")).as_ref())?;
            }
            writer.write_record(&csv_values(sums)[..columns.len()])?;
        }
    }
    Ok(())
}

/// Costs come last.
fn columns(report: &UsageReport) -> &'static [&'static str] {
    let costs = if report.costs { 0 } else { CSV_COST_COLUMNS.len() };
    &CSV_COLUMNS[..CSV_COLUMNS.len() - costs]
}

fn unwritten(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Bug, format!("the report cannot be written: {error}"))
}
