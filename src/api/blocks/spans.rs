//! The spans of blocks: the provider's windows where they were observed, else five hours from the first use.

use crate::model::{HOUR_MS, LimitSource, Millis, QUARTER_MS};
use crate::quota::window::RESET_JITTER_MS;
use crate::store::schema::HistoryRow;

/// Length of a block.
pub const BLOCK_MS: Millis = 5 * HOUR_MS;
/// Quarters of an hour in a block.
pub const BLOCK_QUARTERS: u32 = 20;

/// A window of the provider.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ObservedWindow {
    pub reset_at: Millis,
    /// The share used, at its last observation.
    pub utilization: Option<f64>,
    /// The source of that.
    pub source: LimitSource,
}

/// The span of a block, in quarters of an hour since 1970.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BlockSpan {
    pub start: u32,
    pub end: u32,
    /// `None` if the span is derived.
    pub window: Option<ObservedWindow>,
}

/// The windows of a history, which is ordered by time.
#[must_use]
pub fn windows(history: &[HistoryRow]) -> Vec<ObservedWindow> {
    let mut windows: Vec<ObservedWindow> = Vec::new();
    for row in history {
        let Some(reset_at) = row.reset_at else {
            continue;
        };
        let seen = ObservedWindow {
            reset_at,
            utilization: row.utilization,
            source: row.source,
        };
        match windows.last_mut() {
            Some(last) if last.reset_at.abs_diff(reset_at) <= RESET_JITTER_MS => {
                // A share never falls within a window, and a refusal has none.
                let most = last.utilization.into_iter().chain(row.utilization);
                *last = ObservedWindow {
                    reset_at: last.reset_at.max(reset_at),
                    utilization: most.reduce(f64::max),
                    ..seen
                };
            }
            _ => windows.push(seen),
        }
    }
    windows.sort_by_key(|window| window.reset_at);
    windows
}

/// The blocks that these quarters of an hour with usage, in order, are in.
#[must_use]
pub fn spans(used: &[u32], windows: &[ObservedWindow]) -> Vec<BlockSpan> {
    let real: Vec<BlockSpan> = windows.iter().map(span_of).collect();
    let mut blocks: Vec<BlockSpan> = Vec::new();
    for quarter in used {
        if blocks.last().is_some_and(|block| *quarter < block.end) {
            continue;
        }
        let before = blocks.last().map_or(0, |block| block.end);
        // Windows are in order of their ends.
        let next = real.partition_point(|window| window.end <= *quarter);
        let block = match real.get(next) {
            Some(window) if window.start <= *quarter => BlockSpan {
                start: window.start.max(before),
                ..*window
            },
            next => {
                let hour = quarter / 4 * 4;
                BlockSpan {
                    start: hour.max(before),
                    end: next
                        .map_or(u32::MAX, |window| window.start)
                        .min(hour + BLOCK_QUARTERS),
                    window: None,
                }
            }
        };
        blocks.push(block);
    }
    blocks
}

/// A window's span, at the nearest quarters of an hour: sums are kept by these.
fn span_of(window: &ObservedWindow) -> BlockSpan {
    let nearest = |at: Millis| u32::try_from((at + QUARTER_MS / 2).div_euclid(QUARTER_MS)).unwrap_or(0);
    BlockSpan {
        start: nearest(window.reset_at - BLOCK_MS),
        end: nearest(window.reset_at),
        window: Some(*window),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LimitStatus;

    /// Hours and quarters of a day.
    fn at(hour: u32, quarter: u32) -> u32 {
        hour * 4 + quarter
    }

    fn row(reset_at: Option<Millis>, utilization: Option<f64>) -> HistoryRow {
        HistoryRow {
            observed_at: 0,
            utilization,
            reset_at,
            status: LimitStatus::Allowed,
            source: LimitSource::Headers,
        }
    }

    fn shown(blocks: &[BlockSpan]) -> Vec<(u32, u32, bool)> {
        blocks
            .iter()
            .map(|block| (block.start, block.end, block.window.is_some()))
            .collect()
    }

    #[test]
    fn a_derived_block_begins_with_the_hour_and_has_five() {
        let used = [at(9, 0), at(13, 3), at(14, 0), at(14, 2), at(23, 3)];
        let blocks = spans(&used, &[]);
        assert_eq!(
            shown(&blocks),
            [
                (at(9, 0), at(14, 0), false),
                (at(14, 0), at(19, 0), false),
                (at(23, 0), at(28, 0), false)
            ]
        );
        assert_eq!(shown(&spans(&[], &[])), []);
    }

    #[test]
    fn an_observed_window_is_the_block_and_others_end_where_it_begins() {
        let reset = Millis::from(at(15, 0)) * QUARTER_MS;
        let history = [
            row(Some(reset - 1_000), Some(0.25)),
            row(None, Some(0.4)),
            row(Some(reset), Some(0.5)),
            row(Some(reset), None),
        ];
        let windows = windows(&history);
        assert_eq!(windows.len(), 1);
        assert_eq!((windows[0].reset_at, windows[0].utilization), (reset, Some(0.5)));
        let used = [at(8, 1), at(10, 0), at(14, 3), at(15, 1)];
        assert_eq!(
            shown(&spans(&used, &windows)),
            [
                (at(8, 0), at(10, 0), false),
                (at(10, 0), at(15, 0), true),
                (at(15, 0), at(20, 0), false)
            ]
        );
    }

    #[test]
    fn a_block_never_begins_before_the_last_one_ends() {
        let reset = Millis::from(at(9, 2)) * QUARTER_MS;
        let windows = windows(&[row(Some(reset), Some(0.1))]);
        let blocks = spans(&[at(9, 0), at(9, 3)], &windows);
        assert_eq!(
            shown(&blocks),
            [(at(4, 2), at(9, 2), true), (at(9, 2), at(14, 0), false)]
        );
    }
}
