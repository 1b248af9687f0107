//! `verify` names changes made in a database, `verify --repair` corrects it from the logs, and the collector
//! continues.

use redb::{Database, ReadableTable as _, TableDefinition};

use crate::harness::{Place, append, response, text};
use crate::scenario::{ended, figures};

const RESPONSES: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("responses");
const QUARTERS: TableDefinition<'_, (u32, u32), &[u8]> = TableDefinition::new("quarters");
const TOTALS: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("totals");

#[test]
fn a_changed_database_is_mended_from_the_logs_and_goes_on() {
    let place = Place::new();
    let log = place.log("one", "a.jsonl");
    append(
        &log,
        (0..50)
            .map(|id| response(&id.to_string(), 3, id))
            .collect::<String>(),
    );
    append(&place.log("two", "b.jsonl"), response("b", 5, 0));
    let mut collector = place.serve();
    let before = collector.wait_for_messages(51);
    collector.stop_cleanly();
    place.assert_verified();
    {
        let database = Database::open(place.db()).unwrap();
        let write = database.begin_write().unwrap();
        write.open_table(RESPONSES).unwrap().pop_first().unwrap();
        write.open_table(QUARTERS).unwrap().pop_last().unwrap();
        write.commit().unwrap();
    }
    let (code, stdout, _) = ended(&place.run(&["verify"]));
    assert_eq!(code, Some(1), "{stdout}");
    for words in [
        "the store does not have it",
        "quarter-hour 2026-10-05T09:00 of run ",
        "prompt_100k/standard/other/unknown: the store keeps nothing, its responses sum up to",
    ] {
        assert!(stdout.contains(words), "{words}: {stdout}");
    }
    let told = stdout;
    let (code, stdout, stderr) = ended(&place.run(&["verify", "--repair"]));
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert!(stdout.contains("repaired: 1 response, "), "{stdout}");
    assert!(stdout.contains("0 differences left"), "{stdout}");
    let kept = stdout
        .lines()
        .find_map(|line| line.strip_prefix("the database as it was: "));
    let mut verify = place.command(&["verify"]);
    verify.arg("--db").arg(kept.unwrap());
    let (code, of_copy, stderr) = ended(&verify.output().unwrap());
    assert_eq!((code, &of_copy), (Some(1), &told), "{stderr}");
    place.assert_verified();
    let (code, stdout, _) = ended(&place.run(&["verify", "--repair"]));
    assert_eq!(code, Some(0));
    assert!(!stdout.contains("repaired"), "{stdout}");

    let mut collector = place.serve();
    assert_eq!(figures(&collector.summary()), figures(&before));
    append(&log, response("more", 7, 51));
    collector.wait_for_messages(52);
    let (code, stdout, stderr) = ended(&place.run(&["verify", "--repair"]));
    assert_eq!(code, Some(69), "{stdout}");
    assert!(stderr.contains("stop the collector first"), "{stderr}");
    collector.stop_cleanly();
    place.assert_verified();
}

/// Swaps two rows of a table.
fn exchange(database: &Database, table: TableDefinition<'_, u32, &[u8]>, one: u32, other: u32) {
    let write = database.begin_write().unwrap();
    {
        let mut table = write.open_table(table).unwrap();
        let row = |key: u32| table.get(key).unwrap().unwrap().value().to_vec();
        let (first, second) = (row(one), row(other));
        assert_ne!(first, second);
        table.insert(one, second.as_slice()).unwrap();
        table.insert(other, first.as_slice()).unwrap();
    }
    write.commit().unwrap();
}

#[test]
fn changed_totals_are_named_in_words_and_mended() {
    let place = Place::new();
    append(&place.log("one", "a.jsonl"), response("1", 3, 0));
    let mut collector = place.serve();
    collector.wait_for_messages(1);
    append(
        &place.log("one", "b.jsonl"),
        response("2", 5, 0) + &response("3", 7, 0),
    );
    collector.wait_for_messages(3);
    append(&place.log("two", "c.jsonl"), response("4", 9, 0));
    let before = collector.wait_for_messages(4);
    collector.stop_cleanly();
    let database = Database::open(place.db()).unwrap();
    exchange(&database, TOTALS, 0, 1);
    drop(database);

    let (code, stdout, _) = ended(&place.run(&["verify"]));
    assert_eq!(code, Some(1), "{stdout}");
    for words in [
        "total of run one: the store keeps messages 1, input 10, output 9, its responses sum up to messages 3, input 30, output 15\n",
        "run two: the store keeps 3 lines read, the logs give 1\n",
        "run two: the store keeps 2 files, the logs give 1\n",
        " differences\n",
    ] {
        assert!(stdout.contains(words), "{words}: {stdout}");
    }
    let (code, stdout, stderr) = ended(&place.run(&["verify", "--repair"]));
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert!(stdout.contains("0 differences left\n"), "{stdout}");
    place.assert_verified();
    let mut collector = place.serve();
    append(&place.log("one", "a.jsonl"), response("5", 11, 1));
    let summary = collector.wait_for_messages(5);
    let (messages, output, lines) = figures(&before);
    assert_eq!(figures(&summary), (messages + 1, output + 11, lines + 1));
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_is_compared() {
    let place = Place::new();
    append(&place.log("one", "a.jsonl"), response("1", 3, 0));
    append(&place.log("two", "b.jsonl"), response("2", 5, 0));
    let mut collector = place.serve();
    collector.wait_for_messages(2);
    collector.stop_cleanly();
    let Some(mut command) = crate::surroundings::like_others(&place.command(&["verify"])) else {
        return;
    };
    crate::surroundings::mode(&place.runs().join("one"), 0);
    let output = command.output().unwrap();
    crate::surroundings::mode(&place.runs().join("one"), 0o755);
    assert_eq!(output.status.code(), Some(74), "{}", text(&output.stderr));
    let stdout = text(&output.stdout);
    assert!(stdout.contains("not compared: run one: "), "{stdout}");
    assert!(
        stdout.contains("1 response recounted from the logs: no difference"),
        "{stdout}"
    );
    place.assert_verified();
}
