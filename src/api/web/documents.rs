//! The web client's documents, made from the store.

use std::collections::BTreeMap;

use crate::api::{runs, summary, wire};
use crate::quota::{pace, window};
use crate::record::{AccountId, Millis, RunId, bucket};
use crate::store::{RunView, Store, StoreError};
use crate::tailer::board::RunStatus;

/// How full the windows of an account are.
pub fn usage(store: &Store, account: &AccountId, now: Millis) -> Result<wire::WebUsage, StoreError> {
    let mut view = store.quota(Millis::MAX)?;
    let windows = view
        .accounts
        .remove(account)
        .map(|sums| sums.windows)
        .unwrap_or_default();
    let mut document = wire::WebUsage {
        observed_at: windows.values().map(|state| state.observed_at).max(),
        ..wire::WebUsage::default()
    };
    for (name, state) in &windows {
        let seen = window::view(state, now);
        let used_up = seen.blocked_until.map(|_| 1.0);
        let Some(utilization) = seen.utilization.or(used_up) else {
            continue;
        };
        let id = bucket_id(name).to_owned();
        let pace = pace::pace(state, now);
        document.pacing.insert(
            id.clone(),
            wire::WebPace {
                delta: pace.delta.unwrap_or(0.0),
                zone: pace.zone.as_str().to_owned(),
            },
        );
        document.buckets.push(wire::WebBucket {
            id,
            utilization,
            reset_at: state.reset_at,
            window_started_at: state.window_started_at,
        });
    }
    document.buckets.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(document)
}

/// A window's name as the web client has it.
pub fn bucket_id(name: &str) -> &str {
    match name {
        bucket::SEVEN_DAY => "weekly",
        bucket::SEVEN_DAY_SONNET => "sonnet_weekly",
        name => name,
    }
}

/// What a run used, by model.
pub fn models(view: &RunView) -> Vec<wire::WebModel> {
    let models = view.by_model.iter();
    models
        .map(|(model, totals)| {
            let totals = summary::totals(totals);
            wire::WebModel {
                model: model.to_string(),
                input: totals.input_tokens,
                output: totals.output_tokens,
                cache_read: totals.cache_read_input_tokens,
                cache_create: totals.cache_creation_input_tokens,
            }
        })
        .collect()
}

/// A page of the runs, the newest first; of those first seen together the higher id first.
pub fn runs(
    store: &Store,
    statuses: &BTreeMap<RunId, RunStatus>,
    limit: usize,
    offset: usize,
) -> Result<wire::WebRuns, StoreError> {
    let snapshot = store.snapshot()?;
    let infos = store.run_infos()?;
    let mut rows: Vec<_> = infos
        .iter()
        .filter_map(|(id, info)| Some((id, info, snapshot.runs.get(id.as_str())?)))
        .collect();
    rows.sort_by(|(id, info, _), (other, its, _)| {
        (its.registered_at.unwrap_or(its.first_seen), its.number, other).cmp(&(
            info.registered_at.unwrap_or(info.first_seen),
            info.number,
            id,
        ))
    });
    let total = rows.len() as u64;
    let page = rows.into_iter().skip(offset).take(limit);
    let items = page.map(|(id, info, sums)| {
        let totals = summary::totals(&sums.totals);
        wire::WebRun {
            id: number(id.as_str()),
            project_id: info
                .labels
                .get("project")
                .map_or(serde_json::Value::Null, |project| number(project)),
            state: runs::state(info, statuses.get(id)).to_owned(),
            started_at: info.registered_at.unwrap_or(info.first_seen),
            finished_at: info.stopped.map(|(at, _)| at),
            tokens_input: totals.input_tokens,
            tokens_output: totals.output_tokens,
            tokens_cache_read: totals.cache_read_input_tokens,
            tokens_cache_create: totals.cache_creation_input_tokens,
            tokens_total: totals.total_tokens,
            usage_parse_errors: sums.lines.malformed,
        }
    });
    Ok(wire::WebRuns {
        items: items.collect(),
        total,
    })
}

/// A number where the text is one as JSON writes it, else the text.
fn number(text: &str) -> serde_json::Value {
    let is_plain = |number: &u64| *number <= JSON_INTEGER_MAX && number.to_string() == text;
    match text.parse::<u64>().ok().filter(is_plain) {
        Some(number) => number.into(),
        None => text.into(),
    }
}

/// The largest integer that every reader of JSON keeps exact.
const JSON_INTEGER_MAX: u64 = 1 << 53;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_id_is_a_number_where_it_is_one() {
        for (id, expect) in [
            ("42", json!(42)),
            ("0", json!(0)),
            ("007", json!("007")),
            ("-1", json!("-1")),
            ("+1", json!("+1")),
            ("1.0", json!("1.0")),
            ("fix-42", json!("fix-42")),
            ("9007199254740992", json!(9_007_199_254_740_992_u64)),
            ("9007199254740993", json!("9007199254740993")),
            ("99999999999999999999999", json!("99999999999999999999999")),
        ] {
            assert_eq!(number(id), expect);
        }
    }
}
