//! Accounts that change under a running collector.

use super::{HOUR, MINUTE, account, fired, now, second, share_line, usage};
use crate::harness::Place;
use crate::scenario::EVENTS_ONLY;

const TAKEN_OVER: &str = "the configuration is in effect";
const STAYS: &str = "it stays with account claude/max-1";

#[test]
fn a_hangup_takes_over_thresholds_and_quotas_and_leaves_known_runs_where_they_are() {
    let place = Place::new();
    let first = format!("{EVENTS_ONLY}[[account]]\nname = \"max-1\"\nthresholds = [90]\n");
    let mut collector = place.live_with(&first);
    let (start, reset) = (now() - 10 * MINUTE, second(now() + HOUR));
    collector.commit_line(&place, "one", &share_line(start, "five_hour", 0.6, reset));
    collector.commit_line(&place, "one", &usage("1", start, 100));
    let quota = collector.get("/v1/quota").1;
    assert!(fired(&quota).is_empty());
    assert_eq!(account(&quota, "max-1")["calls_quota"], serde_json::Value::Null);

    let second_settings = format!(
        "{EVENTS_ONLY}[[account]]\nname = \"max-1\"\nruns = []\nthresholds = [50, 90]\ncalls_quota = 2\ndaily_tokens = 1000000\n\n[[account]]\nname = \"max-2\"\nthresholds = [20]\n"
    );
    place.configure(&second_settings);
    collector.signal("HUP");
    collector.wait_for_logs(TAKEN_OVER, 1);
    collector.wait_for_log(STAYS);
    let quota = collector.get("/v1/quota").1;
    let row = account(&quota, "max-1");
    assert_eq!((&row["calls_5h"], &row["calls_quota"]), (&1.into(), &2.into()));
    assert_eq!(
        (&row["budget"], &row["state"]),
        (&1_000_000.into(), &"available".into())
    );

    // The known run keeps its account; a new one gets the account that matches now.
    collector.commit_line(
        &place,
        "one",
        &share_line(start + MINUTE, "five_hour", 0.61, reset),
    );
    collector.commit_line(&place, "one", &usage("2", start + MINUTE, 100));
    collector.commit_line(
        &place,
        "two",
        &share_line(start + MINUTE, "five_hour", 0.3, reset),
    );
    let summary = collector.commit_line(&place, "two", &usage("3", start + MINUTE, 100));
    let quota = &summary["quota"];
    let fired: Vec<_> = fired(quota).into_iter().map(|one| (one.0, one.2)).collect();
    assert_eq!(fired, [("max-1".to_owned(), 50), ("max-2".to_owned(), 20)]);
    assert_eq!(account(quota, "max-1")["calls_5h"], 2);
    assert_eq!(account(quota, "max-1")["state"], "near_limit");
    assert_eq!(account(quota, "max-2")["calls_5h"], 1);

    // Logged once for each change, and at each start.
    collector.signal("HUP");
    collector.wait_for_logs(TAKEN_OVER, 2);
    collector.settle(&place, "one");
    let said = collector.seen.iter().filter(|line| line.contains(STAYS));
    let said: Vec<_> = said.collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].contains("\"WARN\"") && said[0].contains("\"one\""),
        "{said:?}"
    );
    assert!(
        said[0].contains("new runs of its name go to claude/max-2"),
        "{said:?}"
    );
    collector.stop_cleanly();
    let mut collector = place.resume();
    collector.wait_for_log(STAYS);
    assert_eq!(account(&collector.get("/v1/quota").1, "max-1")["calls_5h"], 2);

    // An account removed from the file is still shown, but cannot be marked.
    place.configure(&format!("{EVENTS_ONLY}[[account]]\nname = \"max-2\"\n"));
    collector.signal("HUP");
    collector.wait_for_logs(TAKEN_OVER, 1);
    let (code, _, stderr) = place.ask(&["quota", "mark", "max-1", "exhausted"]);
    assert_eq!(code, Some(66));
    assert!(stderr.contains("did you mean claude/max-2?"), "{stderr}");
    assert_eq!(account(&collector.get("/v1/quota").1, "max-1")["calls_5h"], 2);
    assert_eq!(
        place.document(0, &["may-start"])["candidates"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    collector.stop_cleanly();
    let (code, stdout, stderr) = place.ask(&["verify"]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
}

#[test]
fn a_hangup_with_wrong_accounts_changes_nothing() {
    let place = Place::new();
    let mut collector = place.live_with("[[account]]\nname = \"max-1\"\nthresholds = [50]\n");
    place.configure("[[account]]\nname = \"max-1\"\nthresholds = [0]\n");
    collector.signal("HUP");
    collector.wait_for_log("the configuration is refused, the old one stays in effect");
    let summary = collector.commit_line(
        &place,
        "one",
        &share_line(now(), "five_hour", 0.6, second(now() + HOUR)),
    );
    assert_eq!(fired(&summary["quota"]).len(), 1);
    collector.stop_cleanly();
}
