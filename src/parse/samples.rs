//! Sample files of an agent against their right answers, for the tests of a dialect: read in many orders, twice,
//! and with a restart of the parser between any two lines.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::dedup::{Response, merge_copy};
use crate::model::{Observation, Record, ResponseKey, Usage};
use crate::parse::dialect::{self, DialectParser};
use crate::parse::{LineContext, LineKind, Parsed};

/// Up to this many files are read in every order.
const FILES_PERMUTED_MAX: usize = 4;
/// Random orders of more files.
const ORDERS_RANDOM: u64 = 20;

/// The parser of a dialect, for tests.
pub trait SampleParser: DialectParser + Clone + Default + PartialEq + 'static {
    /// Parses a line.
    fn parse(
        &mut self,
        bytes: &[u8],
        place: LineContext,
        records: &mut Vec<Record>,
        observations: &mut Vec<Observation>,
    ) -> Parsed {
        dialect::line(self, bytes, place, records, observations)
    }
}

impl<P: DialectParser + Clone + Default + PartialEq + 'static> SampleParser for P {}

/// The yield of a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SampleYield {
    pub records: Vec<Record>,
    pub observations: Vec<Observation>,
    pub malformed: usize,
}

/// Reads a file. With `restarts`, the state goes through its encoding after each line.
pub fn read<P: SampleParser>(text: &[u8], restarts: bool) -> SampleYield {
    let mut parser = P::default();
    let mut all = SampleYield::default();
    let mut offset = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let place = LineContext {
            offset,
            ..LineContext::default()
        };
        offset += line.len() as u64;
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let before = all.records.len();
        let parsed = parser.parse(line, place, &mut all.records, &mut all.observations);
        assert_eq!(parsed.class == LineKind::Usage, all.records.len() > before);
        all.malformed += usize::from(parsed.class == LineKind::Malformed);
        if restarts {
            let kept = P::decode(&parser.encode());
            assert_eq!(kept.as_ref(), Some(&parser));
            parser = kept.unwrap();
        }
    }
    all
}

/// All files below a directory that have this ending, sorted.
pub fn files_below(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// Compares the count of files with the right answer, an object with the members of [`answer`] and `files`.
pub fn check<P: SampleParser>(name: &str, files: &[PathBuf], expected: &Value) {
    let read_all = |restarts| -> Vec<SampleYield> {
        let texts = files.iter().map(|path| std::fs::read(path).unwrap());
        texts.map(|text| read::<P>(&text, restarts)).collect()
    };
    let once = read_all(false);
    assert_eq!(once, read_all(true), "{name}: a restart changes a file's yield");
    let records: Vec<&[Record]> = once.iter().map(|file| file.records.as_slice()).collect();
    let mut want = expected.clone();
    assert_eq!(want["files"], files.len(), "{name}");
    for order in orders(files.len()) {
        let in_order: Vec<&[Record]> = order.iter().map(|index| records[*index]).collect();
        let answer = answer(&in_order);
        for (member, value) in answer.as_object().unwrap() {
            assert_eq!(*value, want[member], "{name}: {member} in the order {order:?}");
        }
    }
    want["copies"] = json!(2 * want["copies"].as_u64().unwrap() + want["responses"].as_u64().unwrap());
    let twice: Vec<&[Record]> = records.iter().chain(&records).copied().collect();
    for (member, value) in answer(&twice).as_object().unwrap() {
        assert_eq!(
            *value, want[member],
            "{name}: {member} when each file is read twice"
        );
    }
}

/// Counts the records of files in their order.
fn answer(files: &[&[Record]]) -> Value {
    let mut responses = BTreeMap::<ResponseKey, Response>::new();
    let mut copies = 0;
    for record in files.iter().copied().flatten() {
        let copy = response(record);
        let Some(known) = responses.get_mut(&record.key) else {
            responses.insert(record.key, copy);
            continue;
        };
        copies += 1;
        merge_copy(known, copy, false);
    }
    let mut all = Usage::default();
    let mut by_model = BTreeMap::<&str, Usage>::new();
    let mut by_day = BTreeMap::<String, u64>::new();
    for response in responses.values() {
        add(&mut all, &response.usage);
        add(by_model.entry(&response.model).or_default(), &response.usage);
        let day = Timestamp::from_millisecond(response.time)
            .unwrap()
            .strftime("%Y-%m-%d");
        *by_day.entry(day.to_string()).or_default() += u64::try_from(response.usage.total()).unwrap();
    }
    let by_model: BTreeMap<&str, Value> = by_model.iter().map(|(name, sum)| (*name, figures(sum))).collect();
    json!({
        "responses": responses.len(),
        "copies": copies,
        "ours": figures(&all),
        "by_model": by_model,
        "by_day": by_day,
    })
}

fn response(record: &Record) -> Response {
    Response {
        kind: record.kind,
        rank: record.rank,
        service: record.service,
        model: record.model.clone(),
        usage: record.usage,
        run: 1,
        time: record.time.unwrap(),
        dating: record.dating,
        is_final: record.is_final,
        session: 0,
        is_shared: false,
        is_estimated: false,
    }
}

fn add(sum: &mut Usage, usage: &Usage) {
    sum.input += usage.input;
    sum.output += usage.output;
    sum.cache_read += usage.cache_read;
    sum.cache_creation += usage.cache_creation;
    sum.thinking += usage.thinking;
}

fn figures(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.input,
        "output_tokens": usage.output,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation_input_tokens": usage.cache_creation,
        "total_tokens": u64::try_from(usage.total()).unwrap(),
        "thinking_tokens": usage.thinking,
    })
}

/// Orders of some files: all of a few; of more, both sorted ones and some random ones.
fn orders(count: usize) -> Vec<Vec<usize>> {
    let sorted: Vec<usize> = (0..count).collect();
    if count <= FILES_PERMUTED_MAX {
        let mut all = vec![Vec::new()];
        for _ in 0..count {
            let longer = |order: &Vec<usize>| -> Vec<Vec<usize>> {
                let rest = sorted.iter().filter(|index| !order.contains(index));
                rest.map(|index| [order.as_slice(), &[*index]].concat()).collect()
            };
            all = all.iter().flat_map(longer).collect();
        }
        return all;
    }
    let mut all = vec![sorted.clone(), sorted.iter().rev().copied().collect()];
    for seed in 0..ORDERS_RANDOM {
        let mut order = sorted.clone();
        fastrand::Rng::with_seed(seed).shuffle(&mut order);
        all.push(order);
    }
    all
}
