//! Tests of the statuses of runs.

use super::*;

#[test]
fn what_was_counted_stays_when_a_run_is_well_again_and_when_it_is_forgotten() {
    let (board, run) = (RunStatuses::default(), RunId::new("one").unwrap());
    board.started(&run, false);
    board.has_read(&run, None, true, true);
    assert_eq!((board.restarts(), board.problems()), (0, 0));
    board.has_read(&run, Some("a.jsonl cannot be read".into()), false, false);
    board.has_read(&run, Some("b.jsonl cannot be read".into()), false, false);
    assert_eq!(board.problems(), 1, "it is as wrong as before");
    board.has_read(&run, None, true, true);
    board.failed(&run, "a panic".into());
    board.started(&run, true);
    board.forget(&run);
    board.runs_directory(Some("gone".into()));
    board.runs_directory(None);
    assert_eq!((board.restarts(), board.problems()), (1, 3));
}

#[test]
fn progress_is_what_every_run_says() {
    let mut random = fastrand::Rng::with_seed(7);
    let board = RunStatuses::default();
    let ids = ["a", "b", "c", "d"].map(|id| RunId::new(id).unwrap());
    for _ in 0..2000 {
        let run = &ids[random.usize(..ids.len())];
        match random.u8(..7) {
            0 => board.started(run, random.bool()),
            1 => board.watched(run),
            2 => board.caught_up(run),
            3 => board.forget(run),
            4 => board.gone(run),
            5 => board.failed(run, "why".to_owned()),
            _ => board.lags(run, 7),
        }
        let runs = board.runs();
        let all = |is: fn(&RunStatus) -> bool| runs.values().all(|run| run.gone || run.failing || is(run));
        assert_eq!(
            board.progress(),
            (all(|run| run.watched), all(|run| run.caught_up))
        );
    }
}

#[test]
fn a_run_that_waits_long_for_its_turn_is_late() {
    let (board, run) = (RunStatuses::default(), RunId::new("one").unwrap());
    board.started(&run, false);
    let begun = Instant::now();
    board.waits(&run, Some(true));
    assert!(board.digest().late.is_empty());
    let status = board.get(&run).unwrap();
    let mut until = None;
    assert_eq!(status.late_at(begun, &mut until), None);
    let due = until.unwrap();
    assert!(due >= begun + LATE_AFTER, "the digest is made again then");
    let late = Late {
        has_lines: true,
        is_slow: false,
    };
    assert_eq!(status.late_at(due, &mut None), Some(late));
    board.waits(&run, None);
    assert_eq!(board.get(&run).unwrap().late_at(due, &mut None), None);
}
