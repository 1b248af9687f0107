//! Differences between logs and database: each is reported and repaired from the logs, and no data is lost
//! whose log is gone.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::config::{Environment, Partial};
use crate::dedup::Response;
use crate::model::{AccountId, Cursor, Millis, Position, ResponseKey};
use crate::reader::{self, PartialLine, ReadOptions};
use crate::store::audit::{ResponseFix, RunFix};
use crate::store::{Recorded, ResponseOrigin};

/// 2026-10-05T09:00:00Z
const NOW: Millis = 1_791_190_800_000;

fn line(id: u32, output: u64) -> String {
    format!(
        "{{\"type\":\"assistant\",\"timestamp\":\"2026-10-05T09:00:{id:02}.000Z\",\"message\":{{\"id\":\"msg_{id}\",\"model\":\"m\",\"usage\":{{\"input_tokens\":1,\"output_tokens\":{output}}}}}}}\n"
    )
}

/// A response to add or to remove.
fn fix(key: ResponseKey, response: Option<Response>) -> ResponseFix {
    let origin = ResponseOrigin {
        place: crate::model::SessionPlace::default(),
        account: AccountId::default(),
        dialect: Some(crate::model::Dialect::Claude),
    };
    ResponseFix {
        key,
        response,
        origin: Some(origin),
    }
}

/// A runs directory, a database beside it, and a reader from one into the other.
struct Place {
    directory: tempfile::TempDir,
    settings: Settings,
    store: Writer,
}

impl Place {
    /// Run `one` with three responses, and run `two` with one and a half line; all read.
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let flags = Partial {
            runs_dir: Some(directory.path().join("runs")),
            db: Some(directory.path().join("t.redb")),
            socket: Some("unused".into()),
            ..Partial::default()
        };
        let environment = Environment {
            vars: [].into(),
            cwd: directory.path().to_owned(),
            system_file: directory.path().join("none"),
            has_files: true,
        };
        let settings = Settings::load(flags, None, &environment).unwrap();
        let (_, store) = store::open(StoreOptions {
            path: Some(settings.db.clone()),
            cache_bytes: 1 << 20,
            clock: Clock::at(NOW),
        })
        .unwrap();
        let mut place = Self {
            directory,
            settings,
            store,
        };
        place.write(
            "one",
            line(1, 5) + "{\"type\":\"mode\"}\n" + &line(2, 6) + &line(3, 7),
        );
        place.write("two", line(4, 8) + "{\"type\":\"half");
        place.read("one");
        place.read("two");
        place
    }

    fn log(&self, run: &str) -> PathBuf {
        self.directory.path().join("runs").join(run).join("mount/a.jsonl")
    }

    fn write(&self, run: &str, text: String) {
        fs::create_dir_all(self.log(run).parent().unwrap()).unwrap();
        fs::write(self.log(run), text).unwrap();
    }

    fn read(&mut self, run: &str) {
        self.read_file(run, "mount/a.jsonl", None);
    }

    /// Reads and commits one chunk, as a tailer does; `renamed_from` is the name before a rename.
    fn read_file(&mut self, run: &str, path: &str, renamed_from: Option<&str>) {
        let id = RunId::new(run).unwrap();
        self.store
            .register(&[(id.clone(), AccountId::default())], false, 0)
            .unwrap();
        let root = Root::open(&self.directory.path().join("runs").join(run)).unwrap();
        let path: crate::model::RelativePath = Path::new(path).into();
        let renamed_from: Option<crate::model::RelativePath> =
            renamed_from.map(|path| Path::new(path).into());
        let file = root.open_file(&path).unwrap();
        let stat = file.stat().unwrap();
        let mut positions = self.snapshot().positions(&id).unwrap();
        let stored = positions.remove(renamed_from.as_ref().unwrap_or(&path));
        let (position, tail) = reader::start(&file, &stat, stored.as_ref(), &id, &path).unwrap();
        let reading = ReadOptions {
            line_bytes_max: 1 << 20,
            turn_bytes_max: 1 << 20,
            count_partial: false,
            until: u64::MAX,
            lines_until: None,
            waits_for_holes: false,
            is_project: false,
            accounts: Arc::default(),
            now: NOW,
        };
        let chunk = reader::read(
            &file,
            position,
            tail,
            PartialLine::default(),
            &reading,
            &mut Vec::new(),
        )
        .unwrap();
        let mut batch = chunk.into_batch(id, path, stored.map(|stored| stored.cursor), &reading);
        batch.renamed_from = renamed_from;
        self.store.commit(&[batch]).unwrap();
    }

    fn snapshot(&self) -> Snapshot<'_> {
        self.store.reader().snapshot().unwrap()
    }

    fn put_in(&mut self, fixes: &Fixes) {
        self.store.repair(fixes).unwrap();
    }

    fn position(&self, run: &str) -> Position {
        let positions = self.snapshot().positions(&RunId::new(run).unwrap()).unwrap();
        positions[OsStr::new("mount/a.jsonl")].clone()
    }

    fn cursor(&self, run: &str) -> Cursor {
        self.position(run).cursor
    }

    fn move_to(&mut self, run: &str, offset: u64) {
        let mut position = self.position(run);
        position.cursor.offset = offset;
        self.put_in(&Fixes {
            positions: vec![(
                RunId::new(run).unwrap(),
                Path::new("mount/a.jsonl").into(),
                position,
            )],
            ..Fixes::default()
        });
    }

    fn responses(&self) -> Vec<(ResponseKey, Response)> {
        let (nothing, _) = store::open(StoreOptions {
            path: None,
            cache_bytes: 1 << 20,
            clock: Clock::at(NOW),
        })
        .unwrap();
        let mut all = Vec::new();
        let each = |key, response: Option<Recorded>, _| {
            all.extend(
                response
                    .and_then(Recorded::response)
                    .map(|response| (key, response)),
            );
        };
        let nothing = nothing.snapshot().unwrap();
        self.snapshot().merge_join(&nothing, each).unwrap();
        all
    }

    /// The difference is reported in these words and repaired; the database is then as before.
    fn assert_reported_and_repaired(
        &mut self,
        words: &str,
        before: &[(ResponseKey, Response)],
        cursors: [Cursor; 2],
    ) {
        let found = verify(self.store.reader(), &self.settings, Clock::at(NOW)).unwrap();
        assert!(
            found.differences.iter().any(|sentence| sentence.contains(words)),
            "{words}: {found:?}"
        );
        let repaired = repair(&mut self.store, &self.settings, Clock::at(NOW)).unwrap();
        let repair = repaired.repair.unwrap();
        assert_eq!(repair.left, 0, "{words}: {:?}", repaired.notes);
        // Each repair keeps a copy of the database before it; the name has the second.
        assert!(
            repair.backup.ends_with("t.redb.before-repair-1791190800"),
            "{:?}",
            repair.backup
        );
        fs::remove_file(&repair.backup).unwrap();
        assert_eq!(self.responses(), before, "{words}");
        assert_eq!([self.cursor("one"), self.cursor("two")], cursors, "{words}");
        assert_eq!(
            verify(self.store.reader(), &self.settings, Clock::at(NOW))
                .unwrap()
                .differences_total,
            0
        );
    }
}

/// Under renames one after another a tailer may see the new name of one file before that of the other: the
/// previous file of that name counts as gone, and is read again when it is seen.
#[test]
fn a_file_whose_name_was_taken_is_no_difference() {
    let mut place = Place::new();
    let mount = place.log("one").parent().unwrap().to_owned();
    fs::write(mount.join("b.jsonl"), line(5, 1) + &line(6, 1)).unwrap();
    place.read_file("one", "mount/b.jsonl", None);
    fs::rename(mount.join("a.jsonl"), mount.join("c.jsonl")).unwrap();
    fs::rename(mount.join("b.jsonl"), mount.join("a.jsonl")).unwrap();
    place.read_file("one", "mount/a.jsonl", Some("mount/b.jsonl"));
    place.read_file("one", "mount/c.jsonl", None);
    let report = verify(place.store.reader(), &place.settings, Clock::at(NOW)).unwrap();
    assert_eq!(report.differences, [""; 0]);
    // It is read further.
    fs::write(mount.join("a.jsonl"), line(5, 1) + &line(6, 1) + &line(7, 1)).unwrap();
    place.read_file("one", "mount/a.jsonl", None);
    let report = verify(place.store.reader(), &place.settings, Clock::at(NOW)).unwrap();
    assert_eq!((report.differences.len(), report.responses), (0, 7));
}

#[test]
fn what_agrees_is_left_alone() {
    let mut place = Place::new();
    let report = repair(&mut place.store, &place.settings, Clock::at(NOW)).unwrap();
    assert_eq!((report.responses, report.differences_total), (4, 0));
    assert!(report.repair.is_none());
    assert_eq!(report.notes, ["run two: 13 bytes in 1 files are not read yet"]);
}

#[test]
fn a_response_that_differs_is_missing_or_was_invented_is_reported_and_repaired() {
    let mut place = Place::new();
    let (before, cursors) = (place.responses(), [place.cursor("one"), place.cursor("two")]);
    let (key, response) = before[1].clone();
    let mut other = response.clone();
    other.usage.output += 1;
    for (words, key, put_in) in [
        ("the logs give", key, Some(other)),
        ("the store does not have it", key, None),
        ("the logs do not have it", ResponseKey(7), Some(response)),
    ] {
        place.put_in(&Fixes {
            responses: vec![fix(key, put_in)],
            ..Fixes::default()
        });
        place.assert_reported_and_repaired(words, &before, cursors);
    }
}

#[test]
fn what_a_wrong_clock_dated_is_reported_and_dated_by_its_line() {
    let mut place = Place::new();
    let (before, cursors) = (place.responses(), [place.cursor("one"), place.cursor("two")]);
    let (key, response) = before[1].clone();
    let misdated = Response {
        time: 600_000,
        dating: crate::model::Dating::Written,
        ..response
    };
    place.put_in(&Fixes {
        responses: vec![fix(key, Some(misdated))],
        ..Fixes::default()
    });
    place.assert_reported_and_repaired("1970-01-01", &before, cursors);
}

#[test]
fn a_position_that_was_moved_is_reported_and_put_back() {
    let first = line(1, 5).len() as u64;
    for offset in [0, 3, first, first + 16] {
        let mut place = Place::new();
        let (before, cursors) = (place.responses(), [place.cursor("one"), place.cursor("two")]);
        place.move_to("one", offset);
        place.assert_reported_and_repaired("the stored offset is", &before, cursors);
    }
}

#[test]
fn counts_of_lines_files_and_bytes_are_reported_and_repaired() {
    let place = Place::new();
    let (before, cursors) = (place.responses(), [place.cursor("one"), place.cursor("two")]);
    let run = || RunId::new("one").unwrap();
    let fix = || RunFix {
        run: run(),
        lines: None,
        files: None,
        bytes: None,
    };
    let lines = place.snapshot().summary().unwrap().runs["one"].lines;
    for (words, put_in) in [
        (
            "9 files",
            RunFix {
                files: Some(9),
                ..fix()
            },
        ),
        (
            "9 bytes",
            RunFix {
                bytes: Some(9),
                ..fix()
            },
        ),
        (
            "9 lines ignored",
            RunFix {
                lines: Some(crate::model::LineCounts { ignored: 9, ..lines }),
                ..fix()
            },
        ),
    ] {
        let mut place = Place::new();
        place.put_in(&Fixes {
            runs: vec![put_in],
            ..Fixes::default()
        });
        let cursors_here = [place.cursor("one"), place.cursor("two")];
        assert_eq!(
            cursors_here.map(|cursor| cursor.offset),
            cursors.map(|cursor| cursor.offset)
        );
        place.assert_reported_and_repaired(words, &before, cursors_here);
    }
}

#[test]
fn what_was_counted_from_logs_that_are_gone_is_kept() {
    let mut place = Place::new();
    let before = place.responses();
    fs::remove_dir_all(place.directory.path().join("runs/one")).unwrap();
    let (key, response) = before
        .iter()
        .find(|(_, response)| response.usage.output == 8)
        .unwrap();
    let mut worse = response.clone();
    worse.usage.output = 1;
    place.put_in(&Fixes {
        responses: vec![fix(*key, Some(worse))],
        ..Fixes::default()
    });
    let report = repair(&mut place.store, &place.settings, Clock::at(NOW)).unwrap();
    assert_eq!((report.differences_total, report.repair.unwrap().left), (1, 0));
    assert_eq!(place.responses(), before);
}

#[test]
fn a_copy_that_cannot_be_kept_leaves_everything_as_it_is() {
    let mut place = Place::new();
    let (key, _) = place.responses()[0];
    place.put_in(&Fixes {
        responses: vec![fix(key, None)],
        ..Fixes::default()
    });
    let damaged = place.responses();
    fs::remove_file(&place.settings.db).unwrap();
    let error = repair(&mut place.store, &place.settings, Clock::at(NOW))
        .unwrap_err()
        .to_string();
    assert!(error.contains("t.redb"), "{error}");
    assert_eq!(place.responses(), damaged);
}
