//! The cases of `fixtures/cases`: a replay of each must give the document beside it.

use std::fs;
use std::path::Path;

use crate::harness::Place;
use crate::scenario::ended;

#[test]
fn each_case_is_replayed_as_expected() {
    let place = Place::new();
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/cases");
    let mut wrong = Vec::new();
    let mut tried = 0;
    for case in fs::read_dir(cases).unwrap() {
        let case = case.unwrap().path();
        let (input, expected) = (case.join("input"), case.join("expected.json"));
        let mut words = vec![
            "replay",
            input.to_str().unwrap(),
            "--expect",
            expected.to_str().unwrap(),
        ];
        // One argument a line, relative to the project where it is a path.
        let arguments = fs::read_to_string(case.join("args")).unwrap_or_default();
        words.extend(arguments.lines());
        let mut replay = place.command(&words);
        let (code, out, err) = ended(&replay.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap());
        if code != Some(0) {
            wrong.push(format!("{}: {code:?}\n{out}{err}", case.display()));
        }
        tried += 1;
    }
    assert!(tried > 0);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
