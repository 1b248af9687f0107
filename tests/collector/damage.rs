//! A damaged database is set aside and rebuilt; one from a newer program is kept.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use fastrand::Rng;
use serde_json::Value;
use tokentail::store::schema::{LAST_UNRELEASED, META, META_SCHEMA, STORED_SCHEMA};

use crate::harness::{Collector, Place, append, response, text};

/// redb's page.
const PAGE_BYTES: usize = 4096;
/// Pages of which one bit is flipped, one after another.
const PAGES_FLIPPED_MAX: usize = 48;
/// Lengths the file is cut to.
const CUTS_MAX: usize = 12;

/// A place with some logs, their totals, and a sound database.
struct Sound {
    place: Place,
    summary: Value,
    bytes: Vec<u8>,
}

impl Sound {
    fn new() -> Self {
        let place = Place::new();
        for run in 0..3 {
            for file in 0..4 {
                let log = place.log(&format!("run-{run}"), &format!("{file}.jsonl"));
                for line in 0..40 {
                    append(&log, response(&format!("{run}-{file}-{line}"), line + 1, 7));
                }
            }
        }
        let mut collector = place.serve();
        let summary = collector.wait_for_messages(480);
        collector.stop_cleanly();
        let bytes = fs::read(place.db()).unwrap();
        Self {
            place,
            summary,
            bytes,
        }
    }

    fn set_aside(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.place.db().parent().unwrap()).unwrap();
        files
            .map(|file| file.unwrap().path())
            .filter(|path| path.to_string_lossy().contains("t.redb.damaged"))
            .collect()
    }

    /// Starts on these bytes: the totals are right, and damage is reported. Returns true if the file was set
    /// aside.
    fn starts_on(&self, what: &str, bytes: &[u8]) -> bool {
        for old in self.set_aside() {
            fs::remove_file(old).unwrap();
        }
        fs::write(self.place.db(), bytes).unwrap();
        let mut collector = self.place.serve();
        collector.wait_for_log("the backlog is read; live from here on");
        let summary = collector.summary();
        for part in [
            "messages", "totals", "by_run", "by_model", "by_day", "lines", "files", "bytes",
        ] {
            assert_eq!(summary[part], self.summary[part], "{what}: {part}");
        }
        let aside = self.set_aside();
        let health = collector.health();
        let reasons = health["reasons"].to_string();
        if let Some(aside) = aside.first() {
            assert_eq!(health["status"], "degraded", "{what}: {health}");
            assert!(reasons.contains(aside.to_str().unwrap()), "{what}: {health}");
            assert_eq!(fs::read(aside).unwrap().len(), bytes.len(), "{what}");
        } else {
            assert_eq!(health["status"], "ok", "{what}: {health}");
        }
        collector.stop_cleanly();
        self.place.assert_verified();
        !aside.is_empty()
    }
}

#[test]
fn a_file_that_is_no_database_is_set_aside_and_rebuilt_from_the_logs() {
    let sound = Sound::new();
    let length = sound.bytes.len();
    let mut rng = Rng::with_seed(9);
    let random: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(length).collect();
    for (what, bytes) in [
        ("nothing but NULs", vec![0; length]),
        ("an empty file", Vec::new()),
        ("random bytes", random),
        ("one byte", b"x".to_vec()),
        ("text", b"not a database\n".repeat(1000)),
    ] {
        assert!(sound.starts_on(what, &bytes), "{what} was taken for a database");
    }
    assert!(!sound.starts_on("the sound file", &sound.bytes));
}

#[test]
fn a_database_that_was_cut_off_is_set_aside_and_rebuilt_from_the_logs() {
    let sound = Sound::new();
    let pages = sound.bytes.len() / PAGE_BYTES;
    let first = 1..=4.min(pages - 1);
    let spread = (1..CUTS_MAX)
        .map(|cut| cut * pages / CUTS_MAX)
        .filter(|pages| *pages > 4);
    for pages in first.chain(spread) {
        let what = format!("cut to {pages} pages");
        assert!(
            sound.starts_on(&what, &sound.bytes[..pages * PAGE_BYTES]),
            "{what}"
        );
    }
}

/// A flipped bit in an unused page may go unnoticed; then the file is sound. The counts are right either way.
#[test]
fn a_flipped_bit_in_any_page_leaves_the_totals_right() {
    let sound = Sound::new();
    let seed = fastrand::u64(..);
    println!("the seed is {seed}");
    let mut rng = Rng::with_seed(seed);
    // Pages that were never written are skipped.
    let is_used = |page: &usize| {
        let page = page * PAGE_BYTES;
        sound.bytes[page..sound.bytes.len().min(page + PAGE_BYTES)]
            .iter()
            .any(|byte| *byte != 0)
    };
    let used: Vec<usize> = (0..sound.bytes.len().div_ceil(PAGE_BYTES))
        .filter(is_used)
        .collect();
    let count = used.len().min(PAGES_FLIPPED_MAX);
    let mut noticed = 0;
    for number in 0..count {
        let start = used[number * used.len() / count] * PAGE_BYTES;
        let end = sound.bytes.len().min(start + PAGE_BYTES);
        // A byte in use, where there is one.
        let at = loop {
            let at = rng.usize(start..end);
            if sound.bytes[at] != 0 {
                break at;
            }
        };
        let bit = rng.u8(..8);
        let mut bytes = sound.bytes.clone();
        bytes[at] ^= 1 << bit;
        noticed += usize::from(sound.starts_on(&format!("bit {bit} of byte {at} flipped"), &bytes));
    }
    assert!(noticed > 0, "none of {count} flipped bits was noticed");
}

/// Overwritten pages may be noticed at the next commit or the next start, or be unused.
#[test]
fn a_database_that_is_overwritten_while_it_is_used_costs_no_message() {
    let mut noticed = 0;
    for share in [1, 2, 8] {
        let sound = Sound::new();
        let mut collector = sound.place.serve();
        collector.wait_for_messages(480);
        let file = fs::OpenOptions::new().write(true).open(sound.place.db()).unwrap();
        file.write_all_at(&vec![0xa5; sound.bytes.len() / share], 0)
            .unwrap();
        let log = sound.place.log("run-1", "1.jsonl");
        for more in 0..20 {
            append(&log, response(&format!("more-{more}"), 1, 8));
            collector.wait_for_messages(481 + more);
        }
        collector.kill();
        let mut collector = sound.place.serve();
        let summary = collector.wait_for_messages(500);
        assert_eq!(summary["lines"]["read"], 500);
        assert_eq!(summary["lines"]["duplicate"], 0);
        let aside = sound.set_aside();
        let status = if aside.is_empty() { "ok" } else { "degraded" };
        assert_eq!(collector.health()["status"], status, "{aside:?}");
        noticed += aside.len();
        collector.stop_cleanly();
        sound.place.assert_verified();
    }
    assert!(
        noticed > 0,
        "nothing that was written over a database was noticed"
    );
}

impl Sound {
    /// Sets another schema version in the database.
    fn claim_schema(&self, schema: u64) {
        let database = redb::Database::open(self.place.db()).unwrap();
        let write = database.begin_write().unwrap();
        write
            .open_table(META)
            .unwrap()
            .insert(META_SCHEMA, schema)
            .unwrap();
        write.commit().unwrap();
    }
}

#[test]
fn a_database_of_an_unreleased_program_is_refused_with_what_to_do_and_what_is_done_helps() {
    let sound = Sound::new();
    sound.claim_schema(LAST_UNRELEASED - 1);
    let db = sound.place.db();
    let aside = format!("{}.schema{}", db.display(), LAST_UNRELEASED - 1);
    let advice = format!("set it aside (mv {} {aside})", db.display());
    let (code, said) = Collector::spawn(sound.place.command(&["serve"]), sound.place.socket()).wait_for_end();
    assert_eq!(code, Some(65), "{said}");
    assert!(said.contains(&advice), "{said}");
    let runs = sound.place.runs();
    let replay = ["replay", runs.to_str().unwrap(), "--db", db.to_str().unwrap()];
    for command in [["status"].as_slice(), &["verify"], &replay] {
        let output = sound.place.run(command);
        assert_eq!(output.status.code(), Some(65), "{command:?}");
        assert!(text(&output.stderr).contains(&advice), "{command:?}");
    }
    assert_eq!(sound.set_aside(), Vec::<PathBuf>::new());
    fs::rename(&db, aside).unwrap();
    let mut collector = sound.place.serve();
    assert_eq!(
        collector.wait_for_messages(480)["totals"],
        sound.summary["totals"]
    );
    collector.stop_cleanly();
}

#[test]
fn a_database_of_a_newer_program_is_refused_and_left_as_it_is() {
    let sound = Sound::new();
    sound.claim_schema(STORED_SCHEMA + 1);

    let (code, said) = Collector::spawn(sound.place.command(&["serve"]), sound.place.socket()).wait_for_end();
    assert_eq!(code, Some(65), "{said}");
    assert!(said.contains("use the newer program"), "{said}");
    assert!(said.contains(sound.place.db().to_str().unwrap()), "{said}");
    assert_eq!(sound.set_aside(), Vec::<PathBuf>::new());
    let status = sound.place.run(&["status"]);
    assert_eq!(status.status.code(), Some(65), "{}", text(&status.stderr));
    assert!(text(&status.stderr).contains("use the newer program"));
}
