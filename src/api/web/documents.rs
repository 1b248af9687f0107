//! The web client's documents, built from the store.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::api::document::summary;
use crate::api::runs;
use crate::api::wire;
use crate::model::{AccountId, Millis, RunId, window_name};
use crate::quota::window::Freshness;
use crate::quota::{pace, window};
use crate::sources::board::PollBoard;
use crate::store::{AccountSums, RunInfo, RunView, Snapshot, StoreError};
use crate::tailer::status::RunStatus;

/// The windows of an account, and the error of its poll.
pub fn usage(
    snapshot: &Snapshot<'_>,
    account: &AccountId,
    polls: &PollBoard,
    now: Millis,
) -> Result<wire::WebUsage, StoreError> {
    let known = snapshot.accounts(Millis::MAX)?;
    let sums = known.get(account);
    let mut document = sums.map_or_else(wire::WebUsage::default, |sums| of_account(sums, now));
    if let Some(failure) = polls.of(account).and_then(|poll| poll.failure) {
        document.last_error = Some(failure.kind.web_word().to_owned());
        document.last_error_at = Some(failure.at);
    }
    Ok(document)
}

/// The same from an account's stored sums.
pub fn of_account(sums: &AccountSums, now: Millis) -> wire::WebUsage {
    let AccountSums { windows, mark, .. } = sums;
    let is_marked = mark.as_ref().is_some_and(|cause| now < cause.until);
    let mut document = wire::WebUsage {
        observed_at: windows.values().map(|state| state.observed_at).max(),
        ..wire::WebUsage::default()
    };
    for (name, state) in windows {
        let seen = window::view(state, now);
        if seen.freshness == Freshness::Expired {
            continue;
        }
        // No other field of this contract expresses a block.
        let is_blocked = is_marked || seen.blocked_until.is_some();
        let used_up = is_blocked.then(|| seen.utilization.unwrap_or(1.0).max(1.0));
        let Some(utilization) = used_up.or(seen.utilization) else {
            continue;
        };
        let id = bucket_id(name).to_owned();
        let pace = pace::pace(state, now);
        document.pacing.insert(
            id.clone(),
            wire::WebPace {
                delta: pace.delta.unwrap_or(0.0),
                zone: pace.zone.into_str().to_owned(),
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
    document
}

/// The web client's name of a window.
pub fn bucket_id(name: &str) -> &str {
    match name {
        window_name::SEVEN_DAY => "weekly",
        window_name::SEVEN_DAY_SONNET => "sonnet_weekly",
        name => name,
    }
}

/// Usage of a run by model.
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

/// A page of the runs, newest first.
///
/// Runs first seen at the same moment, such as all runs present at the first start, are ordered by first
/// activity; a run without activity has only begun. Then by id: of `9` and `24` the 24 comes first.
pub fn runs(
    snapshot: &Snapshot<'_>,
    statuses: &BTreeMap<RunId, RunStatus>,
    limit: usize,
    offset: usize,
) -> Result<wire::WebRuns, StoreError> {
    let figures = snapshot.summary()?;
    let infos = snapshot.run_infos()?;
    let mut rows: Vec<_> = infos
        .iter()
        .filter_map(|(id, info)| Some((id, info, figures.runs.get(id.as_str())?)))
        .collect();
    rows.sort_by_cached_key(|(id, info, _)| {
        let started = started_at(info);
        let active = info.earliest.unwrap_or(started);
        Reverse((started, active, natural(id.as_str()), *id))
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
            started_at: started_at(info),
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

fn started_at(info: &RunInfo) -> Millis {
    info.registered_at.unwrap_or(info.first_seen)
}

/// A part of an id: digits or other characters.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Piece<'t> {
    /// Length and digits without leading zeros; the longer number is the larger.
    Number(usize, &'t [u8]),
    Text(&'t [u8]),
}

/// The parts of an id for natural order: digits compare as numbers.
fn natural(id: &str) -> Vec<Piece<'_>> {
    let pieces = (id.as_bytes()).chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit());
    pieces
        .map(|piece| {
            if !piece[0].is_ascii_digit() {
                return Piece::Text(piece);
            }
            let zeros = piece.iter().take_while(|digit| **digit == b'0').count();
            let digits = &piece[zeros..];
            Piece::Number(digits.len(), digits)
        })
        .collect()
}

/// A JSON number if the text is one as JSON writes it, else a string.
fn number(text: &str) -> serde_json::Value {
    let is_plain = |number: &u64| *number <= JSON_INTEGER_MAX && number.to_string() == text;
    match text.parse::<u64>().ok().filter(is_plain) {
        Some(number) => number.into(),
        None => text.into(),
    }
}

/// The largest integer that every JSON reader keeps exact.
const JSON_INTEGER_MAX: u64 = 1 << 53;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_in_ids_count_as_numbers() {
        let sorted = [
            "", "0", "9", "10", "24", "100", "a", "a2", "a10", "a10-2", "a10-10", "b1",
        ];
        let mut shuffled = sorted;
        shuffled.sort_unstable();
        assert_ne!(shuffled, sorted);
        shuffled.sort_by_key(|id| natural(id));
        assert_eq!(shuffled, sorted);
        let huge = ["99999999999999999999999998", "99999999999999999999999999"];
        assert!(natural(huge[0]) < natural(huge[1]));
        // Equal as numbers: the texts decide.
        assert!(natural("007") == natural("7"));
    }

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
