//! Random bytes as a configuration file, as variables and as flags: settings, or mistakes with places.

use std::ffi::OsString;

use clap::Parser;

use super::super::file::FileLayer;
use super::super::mistakes::CONFIG_BYTES_MAX;
use super::super::resolve::Resolver;
use super::*;
use crate::cli::args::Args;
use crate::fuzz::{self, Target};

/// Separates the file, the variables and the words of the command line.
const NEXT: &[u8] = b"%%\n";
const PATH: &str = "/etc/tokentail/tokentail.toml";

static TARGET: Target = Target {
    name: "config",
    test: "config::tests::fuzz",
    inputs: 1_500,
    tokens: &[
        b"%%\n",
        b"[limits]\n",
        b"[[account]]\n",
        b"[account]\n",
        b"[http]\n",
        b"runs_dir = ",
        b"limits.depth_max = ",
        b"LIMITS__DEPTH_MAX=",
        b"WATCH__INCLUDE=[\"**/*.jsonl\"]\n",
        b"line_bytes_max = \"16MiB\"",
        b"include = [\"{a,b}*/[!c]?\"]",
        b"labels = { a = \"b\" }",
        b"minimum_left = { five_hour = 101 }",
        b"reserve = { high = 0.5 }",
        b"ramp = { every = \"30s\" }",
        b"models = { \"a\" = \"b\" }",
        b"thresholds = [1, 200, 75]",
        b"level = \"info,tokentail::watch[{a=b}]=debug\"",
        b"level = \"[a{b=(x*)*}]=info\"",
        b"zone = \"Europe/Berlin\"",
        b"listen = \"[::1]:0\"",
        b"origins = [\"https://[::1]:443\"]",
        b"\"1h 90m\"",
        b"\"999999999999y\"",
        b"\"\"\"",
        b"'''",
        b"1979-05-27T07:32:00Z",
        b"0x7fffffffffffffff",
        b"1_000",
        b"a.",
        b"[a.",
        b"__",
        b"{",
        b"\\U0010FFFF",
        b"--json\n",
        b"--label\na=b\n",
    ],
    lines_of: &[],
    giant_bytes: 128 << 10,
};

#[test]
fn any_configuration_is_settings_or_a_mistake_with_its_place() {
    fuzz::run(&TARGET, || judge);
}

fn judge(input: &[u8]) {
    let (file, rest) = split(input);
    let (variables, words) = split(rest);
    let environment = environment(variables);
    judge_words(words);

    let layer = match FileLayer::from_bytes(Path::new(PATH), file.to_vec()) {
        Ok(layer) => layer,
        Err(error) => return judge_error(&error, file),
    };
    match settings(layer, &environment) {
        Ok(settings) => judge_settings(&settings, &environment),
        Err(mistakes) => {
            assert!(!mistakes.list.is_empty());
            for mistake in &mistakes.list {
                judge_error(mistake, file);
            }
        }
    }
}

fn split(input: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memmem::find(input, NEXT) {
        Some(at) => (&input[..at], &input[at + NEXT.len()..]),
        None => (input, &[]),
    }
}

/// One variable per line, without its prefix.
fn environment(text: &[u8]) -> Environment {
    let lines = text.split(|byte| *byte == b'\n').map(String::from_utf8_lossy);
    let mut vars: BTreeMap<String, OsString> = lines
        .filter_map(|line| {
            let (name, value) = line.split_once('=')?;
            Some((format!("{VARIABLE_PREFIX}{name}"), value.into()))
        })
        .collect();
    vars.insert("HOME".to_owned(), "/home/me".into());
    Environment {
        vars,
        cwd: PathBuf::from("/home/me"),
        system_file: PathBuf::from("/nowhere"),
        has_files: true,
    }
}

/// Like [`Settings::load`], without a file on disk.
fn settings(file: FileLayer, environment: &Environment) -> Result<Settings, Mistakes> {
    let (layers, mistakes) = environment.layers();
    Resolver::new(layers, Some(file), environment, mistakes).settings()
}

fn judge_error(error: &ConfigError, file: &[u8]) {
    assert!(!error.to_string().is_empty());
    assert!(!crate::cli::mistakes::one(error).is_empty());
    match error {
        ConfigError::File { place, .. } => {
            let FilePlace { line, column, .. } = &**place;
            // The place after the last character is valid too.
            let lines: Vec<&[u8]> = file.split(|byte| *byte == b'\n').collect();
            let is_there = (1..=lines.len()).contains(line);
            assert!(is_there, "line {line} of {}: {error}", lines.len());
            let characters = String::from_utf8_lossy(lines[line - 1]).chars().count();
            assert!(
                (1..=characters + 1).contains(column),
                "column {column} of {characters}: {error}"
            );
        }
        ConfigError::Variable { .. } => {}
        ConfigError::Long { .. } => assert!(file.len() as u64 > CONFIG_BYTES_MAX),
        ConfigError::Read { .. } | ConfigError::Flag { .. } | ConfigError::Default { .. } => {
            panic!("nothing is read and no flag is given: {error}")
        }
    }
}

/// Rendered settings are a configuration with the same meaning.
fn judge_settings(settings: &Settings, environment: &Environment) {
    let rows = settings.describe();
    let given = |row: &&Described| !matches!(row.origin, Origin::Default(_));
    let lines = rows.iter().filter(given);
    let lines: Vec<String> = lines.map(|row| format!("{} = {}", row.key, row.value)).collect();
    let text = lines.join(
        "
",
    );
    let layer = FileLayer::from_bytes(Path::new(PATH), text.clone().into_bytes());
    let layer = layer.unwrap_or_else(|error| panic!("{error}\n{text}"));
    let vars = [("HOME".to_owned(), "/home/me".into())].into();
    let again = self::settings(
        layer,
        &Environment {
            vars,
            ..environment.clone()
        },
    );
    let again = again.unwrap_or_else(|error| panic!("{error}\n{text}"));
    for (one, other) in rows.iter().zip(again.describe()) {
        assert_eq!(one.value, other.value, "{}", one.key);
    }
    let _ = settings.accounts.describe();
}

/// Words of the command line, one per line.
fn judge_words(text: &[u8]) {
    if text.is_empty() {
        return;
    }
    let lines = text.split(|byte| *byte == b'\n');
    let words = lines.map(std::os::unix::ffi::OsStrExt::from_bytes);
    let words: Vec<&std::ffi::OsStr> = words.collect();
    match Args::try_parse_from([std::ffi::OsStr::new("tokentail")].into_iter().chain(words)) {
        Ok(args) => assert!(!format!("{args:?}").is_empty()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
