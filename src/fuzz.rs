//! Hostile input for tests: bytes made from a corpus by a seed, one input after the other, until a promise is
//! broken.
//!
//! `TOKENTAIL_FUZZ=N` tries N inputs for each target, `TOKENTAIL_FUZZ_SEED=S` begins with that seed and skips
//! the corpus itself, `TOKENTAIL_FUZZ_FILE=PATH` tries only that file, `TOKENTAIL_FUZZ_TELL=1` prints each
//! seed before it is tried: for a process that ends without a panic. The same seed gives the same input for
//! the same corpus.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::committer::panic_text;
use crate::sync::lock;

/// Larger files of the corpus are skipped, in bytes.
const ENTRY_BYTES_MAX: usize = 16 << 10;
/// Maximum length of an input that is not a giant.
const INPUT_BYTES_MAX: usize = 32 << 10;
/// One input in this number is a giant: a short piece repeated.
const GIANT_EVERY: u64 = 1000;
/// An input that takes longer needs more than linear time.
const INPUT_WITHIN: Duration = Duration::from_secs(10);
/// An input that takes longer counts as hung.
const HANGS_AFTER: Duration = Duration::from_mins(1);
/// Maximum length of the part of a failed input that is printed.
const SHOWN_BYTES_MAX: usize = 2000;

/// Pieces that are hostile to most readers.
const TOKENS: &[&[u8]] = &[
    b"9223372036854775807",
    b"9223372036854775808",
    b"18446744073709551615",
    b"18446744073709551616",
    b"-9223372036854775809",
    b"4294967296",
    b"-1",
    b"-0",
    b"0",
    b"1e308",
    b"1e999",
    b"-1e999",
    b"1e-999",
    b"0.1",
    b"9007199254740993",
    b"NaN",
    b"inf",
    b"null",
    b"true",
    b"\"\"",
    b"{}",
    b"[]",
    b"\0",
    b"\x01",
    b"\x1b[2J",
    b"\x7f",
    b"\xef\xbb\xbf",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xc0\x80",
    b"\xf4\x90\x80\x80",
    b"\xe2\x80\xae",
    b"\\ud83d",
    b"\\udc00\\ud83d",
    b"\\u0000",
    b"\\u0075",
    b"\\",
    b"\"",
    b"'",
    b"`",
    b"\r",
    b"\n",
    b"\r\n",
    b"\t",
    b" ",
    b",",
    b":",
    b"{",
    b"}",
    b"[",
    b"]",
    b"(",
    b")",
    b"*",
    b"**",
    b"%",
    b"%00",
    b"%ff",
    b"%2f",
    b"..",
    b"/",
    b"../",
    b"=",
    b"#",
    b"&",
    b"?",
    b"+",
    b"1970-01-01T00:00:00Z",
    b"9999-12-31T23:59:59.999999999Z",
    b"-009999-01-01T00:00:00Z",
    b"2026-03-29T02:30:00+02:00",
];

/// Target of a fuzz test.
pub struct Target {
    /// Its folder below `fixtures/fuzz`, and its name in messages.
    pub name: &'static str,
    /// The path of its test, for the command that repeats an input.
    pub test: &'static str,
    /// Number of inputs if none is given.
    pub inputs: u64,
    /// Pieces of the target's own language.
    pub tokens: &'static [&'static [u8]],
    /// Further entries of the corpus: each line of the `.jsonl` files below these folders of `fixtures`.
    pub lines_of: &'static [&'static str],
    /// Length of a giant, in bytes.
    pub giant_bytes: usize,
}

/// A setting of a test, which is an environment variable.
fn setting(name: &str) -> Option<String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "a setting of a test, not of the program"
    )]
    std::env::var(name).ok()
}

/// A setting of a test that is a number.
///
/// # Panics
/// It is not a number.
pub fn number_setting(name: &str) -> Option<u64> {
    let value = setting(name)?;
    let number = value.parse();
    Some(number.unwrap_or_else(|_| panic!("{name}={value} is no number")))
}

/// Tries the corpus and then the given number of inputs. `begin` creates the check, which panics if a promise
/// is broken.
pub fn run<J: FnMut(&[u8])>(target: &'static Target, begin: impl FnOnce() -> J + Send + 'static) {
    run_with(target, Vec::new(), begin);
}

/// [`run`] with additional entries of the corpus that are in no file.
pub fn run_with<J: FnMut(&[u8])>(
    target: &'static Target,
    made: Vec<Vec<u8>>,
    begin: impl FnOnce() -> J + Send + 'static,
) {
    let current = Arc::new(Current::default());
    let seen = Arc::clone(&current);
    let (sender, outcome) = sync_channel(1);
    // In a separate thread, so that an input that never ends can be named.
    let worker = std::thread::Builder::new()
        .name(format!("fuzz-{}", target.name))
        .spawn(move || {
            let ended = catch_unwind(AssertUnwindSafe(|| try_all(target, made, begin(), &seen)));
            // The receiver is gone once the test has failed.
            let _ = sender.send(ended.unwrap_or_else(|_| Err("the target did not begin".to_owned())));
        })
        .unwrap();
    let said = loop {
        match outcome.recv_timeout(HANGS_AFTER) {
            Ok(said) => break said,
            Err(RecvTimeoutError::Disconnected) => break Err("its thread is gone".to_owned()),
            Err(RecvTimeoutError::Timeout) => {
                let now = lock(&current.0);
                if let Some((began, what, input)) = &*now
                    && began.elapsed() >= HANGS_AFTER
                {
                    let why = failed(target, what, "it does not end", input);
                    drop(now);
                    panic!("{}: {why}", target.name);
                }
            }
        }
    };
    worker.join().unwrap();
    if let Err(what) = said {
        panic!("{}: {what}", target.name);
    }
}

/// The current input: its start time, its name, its bytes.
#[derive(Default)]
struct Current(Mutex<Option<(Instant, String, Vec<u8>)>>);

/// Reports an input that failed, and saves it.
fn failed(target: &Target, what: &str, why: &str, input: &[u8]) -> String {
    let kept = std::env::temp_dir().join(format!("tokentail-fuzz-{}", target.name));
    let kept = match std::fs::write(&kept, input) {
        Ok(()) => kept.display().to_string(),
        Err(error) => format!("nowhere: {error}"),
    };
    let shown = input[..input.len().min(SHOWN_BYTES_MAX)].escape_ascii();
    format!(
        "{what}: {why}\n{} bytes, kept in {kept}: {shown}\nonce more: TOKENTAIL_FUZZ_FILE={kept} cargo test --lib {}",
        input.len(),
        target.test
    )
}

fn try_all(
    target: &Target,
    made: Vec<Vec<u8>>,
    mut judge: impl FnMut(&[u8]),
    current: &Current,
) -> Result<(), String> {
    let prints = setting("TOKENTAIL_FUZZ_TELL").is_some();
    let mut slowest = (Duration::ZERO, 0);
    let mut attempt = |input: &[u8], what: &str| -> Result<(), String> {
        if prints {
            eprintln!("{}: {what}", target.name);
        }
        let began = Instant::now();
        let now = |now| *lock(&current.0) = now;
        now(Some((began, what.to_owned(), input.to_vec())));
        let judged = catch_unwind(AssertUnwindSafe(|| judge(input)));
        now(None);
        let took = began.elapsed();
        slowest = slowest.max((took, input.len()));
        let why = match judged {
            Ok(()) if took <= INPUT_WITHIN => return Ok(()),
            Ok(()) => format!("it took {took:?}"),
            Err(panic) => panic_text(&*panic),
        };
        Err(failed(target, what, &why, input))
    };
    if let Some(path) = setting("TOKENTAIL_FUZZ_FILE") {
        let input = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        return attempt(&input, &path);
    }
    let corpus = corpus(target, made);
    let first = number_setting("TOKENTAIL_FUZZ_SEED");
    if first.is_none() {
        for (name, entry) in &corpus {
            attempt(entry, name)?;
        }
    }
    let first = first.unwrap_or(0);
    let count = number_setting("TOKENTAIL_FUZZ").unwrap_or(target.inputs);
    for seed in first..first + count {
        let input = Maker::new(target, &corpus, seed).input(seed);
        attempt(&input, &format!("input {seed}")).map_err(|what| {
            let test = target.test;
            format!("{what}\nor: TOKENTAIL_FUZZ=1 TOKENTAIL_FUZZ_SEED={seed} cargo test --lib {test}")
        })?;
    }
    eprintln!(
        "{}: {} entries and {count} inputs; the slowest had {} bytes and took {:?}",
        target.name,
        corpus.len(),
        slowest.1,
        slowest.0
    );
    Ok(())
}

type Corpus = Vec<(String, Vec<u8>)>;

fn corpus(target: &Target, made: Vec<Vec<u8>>) -> Corpus {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let own = fixtures.join("fuzz").join(target.name);
    let mut entries: Corpus = (1..)
        .zip(made)
        .map(|(number, entry)| (format!("seed {number}"), entry))
        .collect();
    for path in files(&own) {
        entries.push((path.display().to_string(), std::fs::read(&path).unwrap()));
    }
    assert!(
        !entries.is_empty(),
        "{} holds no corpus for {}",
        own.display(),
        target.name
    );
    let mut lines = BTreeSet::new();
    for folder in target.lines_of {
        for path in files(&fixtures.join(folder)) {
            if path.extension().is_none_or(|end| end != "jsonl") {
                continue;
            }
            let text = std::fs::read(&path).unwrap();
            lines.extend(
                text.split(|byte| *byte == b'\n')
                    .filter(|line| line.len() <= ENTRY_BYTES_MAX)
                    .map(<[u8]>::to_vec),
            );
        }
    }
    entries.extend(
        lines
            .into_iter()
            .map(|line| ("a line of the fixtures".to_owned(), line)),
    );
    entries
}

/// Every file below a folder, by name.
fn files(folder: &Path) -> BTreeSet<std::path::PathBuf> {
    let mut found = BTreeSet::new();
    let Ok(entries) = std::fs::read_dir(folder) else {
        return found;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path);
        }
    }
    found
}

/// Makes the input of a seed.
struct Maker<'a> {
    random: fastrand::Rng,
    target: &'a Target,
    corpus: &'a Corpus,
}

impl<'a> Maker<'a> {
    fn new(target: &'a Target, corpus: &'a Corpus, seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            target,
            corpus,
        }
    }

    fn input(&mut self, seed: u64) -> Vec<u8> {
        let mut input = self.entry().to_vec();
        // Mostly a few changes: an input with many errors is refused at once.
        let changes = 1 + self.random.u32(..16).trailing_zeros().min(4) * 3;
        for _ in 0..self.random.u32(1..=changes) {
            self.change(&mut input);
            input.truncate(INPUT_BYTES_MAX);
        }
        if seed % GIANT_EVERY == GIANT_EVERY - 1 {
            self.grow(&mut input);
        }
        input
    }

    fn entry(&mut self) -> &'a [u8] {
        &self.corpus[self.random.usize(..self.corpus.len())].1
    }

    fn token(&mut self) -> &'static [u8] {
        let tokens = self.target.tokens;
        if !tokens.is_empty() && self.random.bool() {
            tokens[self.random.usize(..tokens.len())]
        } else {
            TOKENS[self.random.usize(..TOKENS.len())]
        }
    }

    /// A place between bytes.
    fn place(&mut self, input: &[u8]) -> usize {
        self.random.usize(..=input.len())
    }

    /// A range, mostly a short one.
    fn stretch(&mut self, input: &[u8]) -> std::ops::Range<usize> {
        let start = self.place(input);
        let rest = input.len() - start;
        let longest = if self.random.u32(..4) == 0 {
            rest
        } else {
            rest.min(24)
        };
        start..start + self.random.usize(..=longest)
    }

    /// A word, a number, or the text between two quotes: the range around a place.
    fn word(&mut self, input: &[u8]) -> std::ops::Range<usize> {
        let place = self.place(input);
        let inside: fn(u8) -> bool = match self.random.u32(..3) {
            0 => |byte| byte.is_ascii_alphanumeric() || b"_-.+".contains(&byte),
            1 => |byte| byte != b'"',
            _ => |byte| !b",:{}[]\n=&".contains(&byte),
        };
        let before = input[..place]
            .iter()
            .rev()
            .take_while(|byte| inside(**byte))
            .count();
        let after = input[place..].iter().take_while(|byte| inside(**byte)).count();
        place - before..place + after
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        match self.random.u32(..14) {
            0 if !input.is_empty() => {
                let at = self.random.usize(..input.len());
                input[at] ^= 1 << self.random.u32(..8);
            }
            1 if !input.is_empty() => {
                let at = self.random.usize(..input.len());
                input[at] = self.random.u8(..);
            }
            2 => {
                let at = self.place(input);
                let bytes: Vec<u8> = (0..self.random.u32(1..=8)).map(|_| self.random.u8(..)).collect();
                input.splice(at..at, bytes);
            }
            3 => {
                let gone = self.stretch(input);
                input.drain(gone);
            }
            4 => {
                // The beginning of one and the end of another.
                let at = self.place(input);
                let other = self.entry();
                let from = self.place(other);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            5 => {
                let other = self.entry();
                let piece = self.stretch(other);
                let place = self.stretch(input);
                input.splice(place, other[piece].iter().copied());
            }
            6 => {
                let piece = self.stretch(input);
                let times = 1 << self.random.u32(..7);
                let many = input[piece.clone()].repeat(times);
                input.splice(piece.end..piece.end, many);
            }
            7 | 8 => {
                let at = self.place(input);
                let token = self.token();
                input.splice(at..at, token.iter().copied());
            }
            9 | 10 => {
                let word = self.word(input);
                let token = self.token();
                input.splice(word, token.iter().copied());
            }
            11 => {
                let word = self.word(input);
                let other = self.entry();
                let theirs = self.word(other);
                input.splice(word, other[theirs].iter().copied());
            }
            12 => {
                let (open, close): (&[u8], &[u8]) = [
                    (&b"["[..], &b"]"[..]),
                    (b"{\"a\":", b"}"),
                    (b"{\"message\":", b"}"),
                    (b"a.", b""),
                    (b"(", b")"),
                    (b"{a=", b"}"),
                ][self.random.usize(..6)];
                let deep = 1 << self.random.u32(..13);
                let word = self.word(input);
                let mut nested = open.repeat(deep);
                nested.extend_from_slice(&input[word.clone()]);
                if self.random.u32(..4) > 0 {
                    nested.extend(close.repeat(deep));
                }
                input.splice(word, nested);
            }
            _ => {
                let at = self.place(input);
                input.truncate(at);
            }
        }
    }

    /// Repeats a short piece until the input is a giant.
    fn grow(&mut self, input: &mut Vec<u8>) {
        let piece = match self.random.u32(..3) {
            0 => self.token().to_vec(),
            1 => [self.token(), self.token()].concat(),
            _ => {
                let start = self.place(input);
                let end = input.len().min(start + self.random.usize(1..=64));
                input[start..end].to_vec()
            }
        };
        let times = self.target.giant_bytes.saturating_sub(input.len()) / piece.len().max(1);
        let at = self.place(input);
        input.splice(at..at, piece.repeat(times));
    }
}

/// A random generator that depends on the input only, for random decisions of a check.
pub fn dice(input: &[u8]) -> fastrand::Rng {
    fastrand::Rng::with_seed(xxhash_rust::xxh3::xxh3_64(input))
}

#[test]
fn a_broken_promise_is_found_kept_and_can_be_repeated() {
    static TARGET: Target = Target {
        name: "none",
        test: "fuzz::nothing",
        inputs: 3000,
        tokens: &[b"boom"],
        lines_of: &[],
        giant_bytes: 1000,
    };
    let corpus = vec![("one".to_owned(), b"{\"a\":1}".to_vec())];
    let input = |seed| Maker::new(&TARGET, &corpus, seed).input(seed);
    let inputs: BTreeSet<Vec<u8>> = (0..1000).map(input).collect();
    assert!(inputs.len() > 700, "{} different inputs", inputs.len());
    assert_eq!(input(7), input(7));
    assert!(inputs.iter().any(|input| input.len() > 900), "there is no giant");
    let found = try_all(
        &TARGET,
        vec![b"{\"a\":1}".to_vec()],
        |input| assert!(!input.windows(4).any(|four| four == b"boom"), "it blew up"),
        &Current::default(),
    );
    // Other inputs may be set.
    if setting("TOKENTAIL_FUZZ").is_none() && setting("TOKENTAIL_FUZZ_FILE").is_none() {
        let said = found.unwrap_err();
        assert!(
            said.contains("it blew up") && said.contains("TOKENTAIL_FUZZ_SEED="),
            "{said}"
        );
    }
}
