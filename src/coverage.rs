//! Coverage: the counted part of the usage that agents report of themselves.
//!
//! Pure. An agent's own sums include calls without a line: titles, recaps, compactions, and ends of responses
//! that were never written. They are compared with the counted usage of the session, and never added to it.

use std::collections::BTreeMap;

use crate::model::{Reported, RunNumber, SessionNumber};

/// A session: its agent's report, and its counted usage.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    pub number: SessionNumber,
    /// The first run with a line of this session.
    pub run: RunNumber,
    /// Another session that it shares responses with, for example the one it was forked from; 0 for none.
    /// Links form no cycles.
    pub linked: SessionNumber,
    /// `None` without a report.
    pub reported: Option<Reported>,
    pub counted: Reported,
}

/// The coverage over all sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    pub sessions: u64,
    /// Sessions with a report.
    pub sessions_reported: u64,
    /// The reported sums; of sessions that share responses, those of the session with the most unlogged
    /// tokens.
    pub reported: Reported,
    /// The part of `reported` that was not counted.
    pub unlogged: Reported,
    /// Unlogged tokens by run; only runs that have some.
    pub by_run: BTreeMap<RunNumber, u64>,
}

/// The coverage of sessions in the order of their numbers.
///
/// The report of a fork includes what it copied, so the differences of sessions that share responses are not
/// added: the largest stands for all. It may be too small, never too large.
#[must_use]
pub fn of(sessions: &[Session]) -> Coverage {
    let roots = roots(sessions);
    let mut coverage = Coverage {
        sessions: sessions.len() as u64,
        ..Coverage::default()
    };
    let mut families: BTreeMap<SessionNumber, (Reported, Reported, RunNumber)> = BTreeMap::new();
    for (session, root) in sessions.iter().zip(roots) {
        let Some(reported) = session.reported else {
            continue;
        };
        coverage.sessions_reported += 1;
        let unlogged = unlogged(reported, session.counted);
        let found = (unlogged, reported, session.run);
        let rank =
            |(unlogged, reported, _): &(Reported, Reported, RunNumber)| (total(*unlogged), total(*reported));
        let family = families.entry(sessions[root].number).or_insert(found);
        if rank(&found) > rank(family) {
            *family = found;
        }
    }
    for (unlogged, reported, run) in families.into_values() {
        coverage.reported = sum(coverage.reported, reported);
        coverage.unlogged = sum(coverage.unlogged, unlogged);
        if total(unlogged) > 0 {
            let of_run = coverage.by_run.entry(run).or_default();
            *of_run = of_run.saturating_add(total(unlogged));
        }
    }
    coverage
}

/// The session at the end of each one's links, in one pass however long the chains are.
fn roots(sessions: &[Session]) -> Vec<usize> {
    let place = |number| sessions.binary_search_by_key(&number, |session: &Session| session.number);
    let places = sessions.iter().enumerate();
    let mut next: Vec<usize> = places
        .map(|(own, session)| place(session.linked).unwrap_or(own))
        .collect();
    for start in 0..next.len() {
        let mut at = start;
        while next[at] != at {
            // Path halving shortens later walks.
            next[at] = next[next[at]];
            at = next[at];
        }
        next[start] = at;
    }
    next
}

/// The part of a report that was not counted. A killed agent may report less than was counted: then nothing.
fn unlogged(reported: Reported, counted: Reported) -> Reported {
    Reported {
        input: reported.input.saturating_sub(counted.input),
        output: reported.output.saturating_sub(counted.output),
        cache_read: reported.cache_read.saturating_sub(counted.cache_read),
        cache_creation: reported.cache_creation.saturating_sub(counted.cache_creation),
    }
}

fn sum(one: Reported, other: Reported) -> Reported {
    Reported {
        input: one.input.saturating_add(other.input),
        output: one.output.saturating_add(other.output),
        cache_read: one.cache_read.saturating_add(other.cache_read),
        cache_creation: one.cache_creation.saturating_add(other.cache_creation),
    }
}

/// The sum of the four token fields.
#[must_use]
pub fn total(reported: Reported) -> u64 {
    let Reported {
        input,
        output,
        cache_read,
        cache_creation,
    } = reported;
    input
        .saturating_add(output)
        .saturating_add(cache_read)
        .saturating_add(cache_creation)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn session(number: SessionNumber, linked: SessionNumber, reported: Option<u64>, counted: u64) -> Session {
        Session {
            number,
            run: number * 10,
            linked,
            reported: reported.map(|output| Reported {
                output,
                ..Reported::default()
            }),
            counted: Reported {
                output: counted,
                ..Reported::default()
            },
        }
    }

    #[test]
    fn the_difference_is_unlogged_by_run() {
        let coverage = of(&[
            session(1, 0, Some(100), 80),
            session(2, 0, None, 7),
            session(3, 0, Some(10), 10),
        ]);
        assert_eq!((coverage.sessions, coverage.sessions_reported), (3, 2));
        assert_eq!((coverage.reported.output, coverage.unlogged.output), (110, 20));
        assert_eq!(coverage.by_run, [(10, 20)].into());
    }

    #[test]
    fn a_report_after_a_kill_hides_nothing_that_was_counted() {
        let coverage = of(&[session(1, 0, Some(30), 80)]);
        assert_eq!((coverage.reported.output, coverage.unlogged.output), (30, 0));
        assert_eq!(coverage.by_run, BTreeMap::new());
    }

    #[test]
    fn what_forks_share_is_missing_once() {
        // 20 of the first are in no line; both forks report them again.
        let coverage = of(&[
            session(1, 0, Some(100), 80),
            session(2, 1, Some(130), 110),
            session(3, 2, Some(105), 85),
        ]);
        assert_eq!((coverage.reported.output, coverage.unlogged.output), (130, 20));
        assert_eq!(coverage.by_run, [(20, 20)].into());
    }

    #[test]
    fn a_long_chain_of_forks_is_one_family() {
        let sessions: Vec<Session> = (1..=200_000)
            .map(|number| session(number, number - 1, Some(7), 5))
            .collect();
        let coverage = of(&sessions);
        assert_eq!(
            (coverage.sessions_reported, coverage.unlogged.output),
            (200_000, 2)
        );
    }

    proptest! {
        #[test]
        fn no_more_is_unlogged_than_was_reported(
            parts in proptest::collection::vec((any::<Option<u64>>(), any::<u64>(), any::<bool>()), 0..20),
        ) {
            let sessions: Vec<Session> = (1..)
                .zip(&parts)
                .map(|(number, (reported, counted, is_fork))| {
                    session(number, if *is_fork { number - 1 } else { 0 }, *reported, *counted)
                })
                .collect();
            let coverage = of(&sessions);
            prop_assert!(total(coverage.unlogged) <= total(coverage.reported));
        }
    }
}
