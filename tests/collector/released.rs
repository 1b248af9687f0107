//! Databases of released schemas, made by `fixtures/databases/make`: each is opened, verified and continued.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, ReadableTableMetadata, TableHandle};
use serde_json::Value;
use tokentail::store::schema::SCHEMA_VERSION;

use crate::harness::{Place, append, response, text};

/// Tables that have rows only while a backlog is read, or after a failure.
const EMPTY: [&str; 4] = ["notes", "parked", "parked_files", "polls"];

fn database(schema: u64) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/databases");
    root.join(format!("schema-{schema}"))
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (entry, to) = entry
            .map(|entry| (entry.path(), to.join(entry.file_name())))
            .unwrap();
        if entry.is_dir() {
            copy_tree(&entry, &to);
        } else {
            fs::copy(&entry, &to).unwrap();
        }
    }
}

/// The database, its transcripts and its configuration in a place of their own.
fn unpacked(schema: u64) -> Place {
    let place = Place::new();
    let from = database(schema);
    copy_tree(&from.join("runs"), &place.runs());
    fs::create_dir_all(place.db().parent().unwrap()).unwrap();
    let packed = fs::read(from.join("t.redb.gz")).unwrap();
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(packed.as_slice())
        .read_to_end(&mut bytes)
        .unwrap();
    fs::write(place.db(), bytes).unwrap();
    let config = place.path(".config/tokentail");
    fs::create_dir_all(&config).unwrap();
    fs::copy(from.join("tokentail.toml"), config.join("tokentail.toml")).unwrap();
    place
}

/// Each member of `expected` stands in `found` with the same value; `found` may have further ones.
fn assert_contains(found: &Value, expected: &Value, at: &str) {
    match expected {
        Value::Object(members) => {
            for (name, expected) in members {
                assert_contains(&found[name], expected, &format!("{at}.{name}"));
            }
        }
        expected => assert_eq!(found, expected, "{at}"),
    }
}

#[test]
fn a_database_of_each_released_schema_is_read_verified_and_continued() {
    for schema in 1..=SCHEMA_VERSION {
        let place = unpacked(schema);
        let sums = fs::read(database(schema).join("sums.json")).unwrap();
        let sums: Value = serde_json::from_slice(&sums).unwrap();
        let messages = sums["messages"].as_u64().unwrap();
        assert!(messages > 0);
        let unopened = fs::read(place.db()).unwrap();
        assert_contains(&place.status(), &sums, "status");
        place.assert_verified();
        assert_eq!(fs::read(place.db()).unwrap(), unopened, "readers write nothing");

        let mut collector = place.serve();
        assert_contains(&collector.summary(), &sums, "summary");
        let (status, leases) = collector.get("/v1/leases");
        assert_eq!((status, leases.is_array()), (200, true));
        // A record that is in the database, and a run that was forgotten, count no second time.
        let record = "{\"id\":\"call-1\",\"source\":\"router-1\",\"provider\":\"openai\",\"model\":\"gpt-6\",\"route\":\"cheap\",\"profile\":\"team\",\"instance\":\"a\",\"usage\":{\"input_tokens\":100,\"output_tokens\":7}}";
        let (status, answer) = collector.request("POST", "/v1/records", record);
        assert_eq!((status, answer["duplicate"].as_u64()), (200, Some(1)), "{answer}");
        let line = |id: &str| response(id, 7, 1).replace("2026-10-05", "2026-11-20");
        append(&place.log("alpha-1", "-workspace/session.jsonl"), line("more"));
        append(&place.log("new-1", "session.jsonl"), line("new"));
        let summary = collector.wait_for_messages(messages + 2);
        for (run, expected) in sums["by_run"].as_object().unwrap() {
            let more = u64::from(run == "alpha-1") * 7;
            let output = |totals: &Value| totals["output_tokens"].as_u64();
            let found = output(&summary["by_run"][run]);
            assert_eq!(found, output(expected).map(|before| before + more), "{run}");
        }
        collector.stop_cleanly();
        place.assert_verified();
    }
}

#[test]
fn the_database_of_the_current_schema_has_rows_in_its_tables() {
    let place = unpacked(SCHEMA_VERSION);
    let database = Database::open(place.db()).unwrap();
    let read = database.begin_read().unwrap();
    let empty: BTreeSet<String> = read
        .list_tables()
        .unwrap()
        .filter(|table| {
            read.open_untyped_table(table.clone())
                .unwrap()
                .is_empty()
                .unwrap()
        })
        .map(|table| table.name().to_owned())
        .collect();
    assert_eq!(empty, EMPTY.map(str::to_owned).into());
}

#[test]
fn a_database_before_the_first_release_is_continued_by_the_program_of_the_release() {
    let place = unpacked(1);
    {
        use tokentail::store::schema::{LAST_UNRELEASED, META, META_SCHEMA};
        let database = Database::open(place.db()).unwrap();
        let write = database.begin_write().unwrap();
        let mut meta = write.open_table(META).unwrap();
        meta.insert(META_SCHEMA, LAST_UNRELEASED).unwrap();
        drop(meta);
        write.commit().unwrap();
    }
    place.assert_verified();
    let before = place.status();
    let mut collector = place.serve();
    append(&place.log("new-1", "session.jsonl"), response("new", 7, 1));
    let summary = collector.wait_for_messages(before["messages"].as_u64().unwrap() + 1);
    assert_eq!(summary["by_run"]["alpha-1"], before["by_run"]["alpha-1"]);
    collector.stop_cleanly();
    let output = place.run(&["verify"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
}
