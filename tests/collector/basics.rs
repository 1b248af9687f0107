//! The main path: backlog, live lines, new runs, stop, restart, and the same figures from a replay.

use crate::harness::{Place, append, output_by_run, response};

#[test]
fn counts_the_backlog_then_live_lines_and_new_runs_then_survives_a_restart() {
    let place = Place::new();
    let first = place.log("one", "a.jsonl");
    append(&first, response("1", 5, 0) + &response("1", 50, 1) + "not json\n");
    let mut collector = place.serve();
    let summary = collector.wait_for_messages(1);
    assert_eq!(summary["totals"]["output_tokens"], 50);
    assert_eq!(summary["lines"]["malformed"], 1);

    append(&first, response("2", 7, 2));
    collector.wait_for_messages(2);
    append(&place.log("two", "deep/er/b.jsonl"), response("3", 9, 3));
    let summary = collector.wait_for_messages(3);
    assert_eq!(
        output_by_run(&summary),
        [("one".to_owned(), 57), ("two".to_owned(), 9)].into()
    );
    collector.stop_cleanly();
    place.assert_verified();

    let mut collector = place.serve();
    append(&first, response("4", 1, 4));
    let live = collector.wait_for_messages(4);
    collector.stop_cleanly();
    let replayed = place.replayed();
    for part in [
        "messages", "totals", "by_run", "by_model", "by_day", "lines", "files", "bytes",
    ] {
        assert_eq!(live[part], replayed[part], "{part}");
    }
}
