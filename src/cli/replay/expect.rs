//! Comparison of a summary with an expected one, number by number.
//!
//! A key that the expected document leaves out is not compared, so that a golden file may contain a part
//! only. The maps by run, model and day are an exception: an additional entry there is a difference.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Number, Value};

use crate::cli::exit::{Exit, Failure, OnPath};
use crate::cli::print::{numbers, text};

/// Largest expected document, in bytes.
const GOLDEN_BYTES_MAX: u64 = 64 << 20;
/// Most differences printed for people.
const DIFFERENCES_SHOWN_MAX: usize = 100;
/// Longest value in a difference, in characters.
const VALUE_CHARS_MAX: usize = 80;
/// Whole numbers below this, 2^53, are exact as floats.
const FLOAT_EXACT_MAX: f64 = 9_007_199_254_740_992.0;
/// The maps whose keys must be the same on both sides.
const KEYED: [&str; 3] = ["by_run", "by_model", "by_day"];

/// One difference of the documents.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExpectedDifference {
    /// The keys from the top, joined by dots: `by_run.run-7.output_tokens`.
    pub path: String,
    #[serde(flatten)]
    pub what: What,
}

/// The kind of difference.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum What {
    Changed { expected: Value, actual: Value },
    Length { expected: usize, actual: usize },
    Missing,
    Unexpected,
}

/// The outcome as a document.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExpectOutcome<'a> {
    pub equal: bool,
    pub differences: &'a [ExpectedDifference],
}

impl<'a> ExpectOutcome<'a> {
    #[must_use]
    pub fn new(differences: &'a [ExpectedDifference]) -> Self {
        Self {
            equal: differences.is_empty(),
            differences,
        }
    }

    /// The exit code of the comparison.
    #[must_use]
    pub fn exit(&self) -> Exit {
        if self.equal { Exit::Ok } else { Exit::No }
    }
}

/// Reads an expected document.
///
/// # Errors
/// The file cannot be read, is too large, or contains no JSON object with something to compare.
pub fn read_golden(path: &Path) -> Result<Value, Failure> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(GOLDEN_BYTES_MAX + 1).read_to_end(&mut bytes))
        .on_path("read the expected document", path)?;
    let bad = |why: String| Failure::new(Exit::BadData, format!("{}: {why}", path.display()));
    if bytes.len() as u64 > GOLDEN_BYTES_MAX {
        return Err(bad(format!("longer than {}", numbers::bytes(GOLDEN_BYTES_MAX))));
    }
    let golden: Value = serde_json::from_slice(&bytes).map_err(|error| {
        bad(format!(
            "not JSON: {error}; make it with `tokentail replay PATH --json`"
        ))
    })?;
    match golden.as_object() {
        Some(object) if !object.is_empty() => Ok(golden),
        Some(_) => Err(bad(
            "an empty object, so nothing would be compared; give at least one key".to_owned(),
        )),
        None => Err(bad(
            "not a JSON object; make it with `tokentail replay PATH --json`".to_owned(),
        )),
    }
}

/// Every difference, sorted by key.
#[must_use]
pub fn compare(golden: &Value, actual: &Value) -> Vec<ExpectedDifference> {
    let mut found = Vec::new();
    let (Value::Object(expected), Value::Object(given)) = (golden, actual) else {
        values("document", golden, actual, &mut found);
        return found;
    };
    for (key, value) in expected {
        match (value, given.get(key)) {
            (_, None) => found.push(ExpectedDifference {
                path: key.clone(),
                what: What::Missing,
            }),
            (Value::Object(wanted), Some(Value::Object(has))) if KEYED.contains(&key.as_str()) => {
                objects(key, wanted, has, &mut found);
                unexpected(key, wanted, has, &mut found);
            }
            (_, Some(other)) => values(key, value, other, &mut found),
        }
    }
    found
}

/// Prints the differences for people, or that there are none.
///
/// # Errors
/// Errors of the writer.
pub fn write_human(out: &mut dyn Write, golden: &Path, differences: &[ExpectedDifference]) -> io::Result<()> {
    let file = text::name(&golden.display().to_string());
    if differences.is_empty() {
        return writeln!(out, "as expected by {file}");
    }
    for difference in differences.iter().take(DIFFERENCES_SHOWN_MAX) {
        writeln!(out, "{difference}")?;
    }
    let rest = differences.len().saturating_sub(DIFFERENCES_SHOWN_MAX);
    if rest > 0 {
        writeln!(
            out,
            "… and {} more (--json lists all)",
            numbers::grouped(rest as u64)
        )?;
    }
    writeln!(
        out,
        "{} from {file}",
        numbers::counted(differences.len() as u64, "difference")
    )
}

fn values(path: &str, golden: &Value, actual: &Value, found: &mut Vec<ExpectedDifference>) {
    match (golden, actual) {
        (Value::Object(expected), Value::Object(given)) => objects(path, expected, given, found),
        (Value::Array(expected), Value::Array(given)) if expected.len() == given.len() => {
            for (index, (one, other)) in expected.iter().zip(given).enumerate() {
                values(&format!("{path}[{index}]"), one, other, found);
            }
        }
        (Value::Array(expected), Value::Array(given)) => {
            let what = What::Length {
                expected: expected.len(),
                actual: given.len(),
            };
            found.push(ExpectedDifference {
                path: path.to_owned(),
                what,
            });
        }
        (Value::Number(expected), Value::Number(given)) if same_number(expected, given) => {}
        _ if golden == actual => {}
        _ => {
            let what = What::Changed {
                expected: golden.clone(),
                actual: actual.clone(),
            };
            found.push(ExpectedDifference {
                path: path.to_owned(),
                what,
            });
        }
    }
}

fn objects(
    path: &str,
    expected: &Map<String, Value>,
    given: &Map<String, Value>,
    found: &mut Vec<ExpectedDifference>,
) {
    for (key, value) in expected {
        let path = format!("{path}.{key}");
        match given.get(key) {
            Some(other) => values(&path, value, other, found),
            None => found.push(ExpectedDifference {
                path,
                what: What::Missing,
            }),
        }
    }
}

fn unexpected(
    path: &str,
    expected: &Map<String, Value>,
    given: &Map<String, Value>,
    found: &mut Vec<ExpectedDifference>,
) {
    let surplus = given.keys().filter(|key| !expected.contains_key(*key));
    found.extend(surplus.map(|key| ExpectedDifference {
        path: format!("{path}.{key}"),
        what: What::Unexpected,
    }));
}

/// Compares whole numbers by their digits; `300.0` equals 300 as long as a float is exact.
#[expect(clippy::float_cmp, reason = "a golden number is met exactly or not at all")]
fn same_number(one: &Number, other: &Number) -> bool {
    match (integer(one), integer(other)) {
        (Some(one), Some(other)) => one == other,
        (None, None) => one.as_f64() == other.as_f64(),
        _ => match (one.as_f64(), other.as_f64()) {
            (Some(a), Some(b)) => a == b && a.abs() < FLOAT_EXACT_MAX,
            _ => false,
        },
    }
}

fn integer(number: &Number) -> Option<i128> {
    number
        .as_u64()
        .map(i128::from)
        .or_else(|| number.as_i64().map(i128::from))
}

/// The difference of whole numbers: ` (+1)`; empty if one of them is not whole.
fn delta(expected: &Value, actual: &Value) -> String {
    let whole = |value: &Value| value.as_number().and_then(integer);
    match (whole(expected), whole(actual)) {
        (Some(expected), Some(actual)) => format!(" ({:+})", actual - expected),
        _ => String::new(),
    }
}

impl fmt::Display for ExpectedDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = text::message(&self.path).replace(['\n', '\t'], " ");
        let short = |value: &Value| text::shortened(&text::message(&value.to_string()), VALUE_CHARS_MAX);
        match &self.what {
            What::Changed { expected, actual } => write!(
                f,
                "{path}: expected {}, got {}{}",
                short(expected),
                short(actual),
                delta(expected, actual)
            ),
            What::Length { expected, actual } => {
                let wanted = if *expected == 1 {
                    "1 entry".to_owned()
                } else {
                    format!("{expected} entries")
                };
                write!(f, "{path}: expected {wanted}, got {actual}")
            }
            What::Missing => write!(f, "{path}: missing"),
            What::Unexpected => write!(f, "{path}: not expected"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(golden: &Value, actual: &Value, expected: &[&str]) {
        let lines: Vec<String> = compare(golden, actual).iter().map(ToString::to_string).collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn what_the_golden_file_leaves_out_is_not_compared() {
        let actual =
            json!({"messages": 3, "totals": {"input_tokens": 1, "output_tokens": 2}, "by_run": {"a": {}}});
        check(&json!({"totals": {"output_tokens": 2}}), &actual, &[]);
        check(&actual, &actual, &[]);
    }

    #[test]
    fn numbers_compare_to_the_last_digit() {
        check(
            &json!({"totals": {"output_tokens": 300}}),
            &json!({"totals": {"output_tokens": 301}}),
            &["totals.output_tokens: expected 300, got 301 (+1)"],
        );
        check(
            &json!({"bytes": 9_007_199_254_740_993_u64}),
            &json!({"bytes": 9_007_199_254_740_992_u64}),
            &["bytes: expected 9007199254740993, got 9007199254740992 (-1)"],
        );
        let beyond: Value = serde_json::from_str(r#"{"bytes": 18446744073709551616}"#).unwrap();
        assert_eq!(compare(&beyond, &json!({"bytes": u64::MAX})).len(), 1);
        check(
            &json!({"bytes": 300.0, "share": 0.42}),
            &json!({"bytes": 300, "share": 0.42}),
            &[],
        );
    }

    #[test]
    fn the_maps_by_name_must_be_complete() {
        check(
            &json!({"by_run": {"run-7": {"messages": 1}, "b": {"messages": 2}}, "by_day": {}}),
            &json!({"by_run": {"b": {"messages": 2, "input_tokens": 9}, "x": {}}, "by_day": {"2026-10-05": {}}}),
            &[
                "by_day.2026-10-05: not expected",
                "by_run.run-7: missing",
                "by_run.x: not expected",
            ],
        );
    }

    #[test]
    fn a_run_named_like_a_map_is_compared_like_any_run() {
        check(
            &json!({"by_run": {"by_day": {"messages": 1}}}),
            &json!({"by_run": {"by_day": {"messages": 1, "input_tokens": 2}}}),
            &[],
        );
    }

    #[test]
    fn other_values_say_both_sides() {
        check(
            &json!({"now": "a", "quota": {"windows": [{"state": "fresh"}], "accounts": [1]}, "files": 1, "bytes": 1}),
            &json!({"now": "b", "quota": {"windows": [{"state": null}], "accounts": []}, "files": "1"}),
            &[
                "bytes: missing",
                "files: expected 1, got \"1\"",
                "now: expected \"a\", got \"b\"",
                "quota.accounts: expected 1 entry, got 0",
                "quota.windows[0].state: expected \"fresh\", got null",
            ],
        );
        check(
            &json!({"a": 1}),
            &json!([]),
            &["document: expected {\"a\":1}, got []"],
        );
    }

    #[test]
    fn both_forms_are_printed() {
        let found = compare(
            &json!({"files": 1, "by_run": {"a": 1}}),
            &json!({"files": 3, "by_run": {}}),
        );
        assert_eq!(
            serde_json::to_value(ExpectOutcome::new(&found)).unwrap(),
            json!({"equal": false, "differences": [
                {"path": "by_run.a", "kind": "missing"},
                {"path": "files", "kind": "changed", "expected": 1, "actual": 3},
            ]})
        );
        assert_eq!(ExpectOutcome::new(&found).exit(), Exit::No);
        let mut out = Vec::new();
        write_human(&mut out, Path::new("golden.json"), &found).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "by_run.a: missing\nfiles: expected 1, got 3 (+2)\n2 differences from golden.json\n"
        );
    }

    #[test]
    fn a_golden_file_that_cannot_be_used_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("golden.json");
        assert_eq!(read_golden(&path).unwrap_err().code, Exit::NoInput);
        for (content, wanted) in [
            ("{\n  \"a\": x\n}", "line 2 column 8"),
            ("[1]", "JSON object"),
            ("{}", "nothing would be compared"),
            ("", "line 1"),
        ] {
            std::fs::write(&path, content).unwrap();
            let failure = read_golden(&path).unwrap_err();
            assert_eq!(failure.code, Exit::BadData, "{content}");
            assert!(failure.message.contains(wanted), "{content}: {failure}");
            assert!(failure.message.contains("golden.json"), "{failure}");
        }
        std::fs::write(&path, r#"{"messages": 1}"#).unwrap();
        assert_eq!(read_golden(&path).unwrap(), json!({"messages": 1}));
    }
}
