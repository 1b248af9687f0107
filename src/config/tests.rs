//! Tests of the layers, their order, and the error messages.

mod accounts;
mod fuzz;
mod notifications;
mod polls;

use std::ffi::OsString;
use std::fs;

use tempfile::TempDir;

use super::resolve::check_level;
use super::*;

/// A home directory, with a configuration file if there is a text.
fn home(config: &str) -> (TempDir, Environment) {
    let folder = tempfile::tempdir().unwrap();
    let environment = Environment {
        vars: BTreeMap::from([("HOME".to_owned(), folder.path().into())]),
        cwd: PathBuf::from("/home/me"),
        system_file: folder.path().join("etc.toml"),
        has_files: true,
    };
    if !config.is_empty() {
        let directory = folder.path().join(".config/tokentail");
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("tokentail.toml"), config).unwrap();
    }
    (folder, environment)
}

fn with(mut environment: Environment, vars: &[(&str, &str)]) -> Environment {
    environment.vars.extend(
        vars.iter()
            .map(|(name, value)| ((*name).to_owned(), value.into())),
    );
    environment
}

fn load(environment: &Environment) -> Result<Settings, Mistakes> {
    Settings::load(Partial::default(), None, environment)
}

fn described(settings: &Settings, key: &str) -> (String, String) {
    let found = settings
        .describe()
        .into_iter()
        .find(|row| row.key == key)
        .unwrap();
    (found.value, found.origin.to_string())
}

#[test]
fn the_example_is_every_key_with_its_default() {
    let example = Settings::example_toml();
    assert_eq!(toml::from_str::<Partial>(&example).unwrap(), Partial::default());
    let (_folder, environment) = home(&example.replace("\n#", "\n").replace("\n ", "\n# "));
    let given = load(&environment).unwrap();
    let (_folder, environment) = home("");
    let defaults = load(&environment).unwrap();
    for (given, default) in given.describe().iter().zip(defaults.describe()) {
        assert!(matches!(given.origin, Origin::File(_)), "{given:?}");
        assert!(matches!(default.origin, Origin::Default(_)), "{default:?}");
        if !["runs_dir", "db", "socket"].contains(&given.key) {
            assert_eq!(given.value, default.value, "{}", given.key);
        }
    }
    assert_eq!(given.describe().len(), KEYS.len());
    assert!(matches!(given.origin("account"), Origin::File(_)));
    assert_eq!(given.accounts.describe(), defaults.accounts.describe());
    let of_the_file = |settings: &Settings| settings.accounts.configured;
    assert_eq!((of_the_file(&given), of_the_file(&defaults)), (true, false));
    for key in super::accounts::KEYS {
        assert!(
            example.contains(&format!("\n#{} = {}\n", key.name, key.default)),
            "{}",
            key.name
        );
    }
    assert_eq!(
        given.accounts.describe()[0].rows().len(),
        super::accounts::KEYS.len()
    );
    let page = include_str!("../../docs/operate.md");
    assert!(
        page.contains(&format!("```toml\n{example}```\n")),
        "docs/operate.md shows another example than:\n{example}"
    );
}

#[test]
fn a_stronger_layer_wins_key_by_key() {
    let (_folder, environment) =
        home("[limits]\ndepth_max = 3\nfiles_per_run_max = 4\nline_bytes_max = \"8KiB\"\n");
    let environment = with(
        environment,
        &[
            ("TOKENTAIL__LIMITS__DEPTH_MAX", "5"),
            ("TOKENTAIL__LIMITS__LINE_BYTES_MAX", "9KiB"),
        ],
    );
    let mut flags = Partial::default();
    flags.limits.line_bytes_max = Some("10KiB".parse().unwrap());
    let settings = Settings::load(flags, None, &environment).unwrap();
    assert_eq!(
        described(&settings, "limits.line_bytes_max"),
        ("\"10KiB\"".into(), "flag".into())
    );
    assert_eq!(
        described(&settings, "limits.depth_max"),
        ("5".into(), "TOKENTAIL__LIMITS__DEPTH_MAX".into())
    );
    let file = settings.config_file.clone().unwrap();
    assert_eq!(
        described(&settings, "limits.files_per_run_max"),
        ("4".into(), file.display().to_string())
    );
    assert_eq!(
        described(&settings, "log.level"),
        ("\"info\"".into(), "default".into())
    );
}

#[test]
fn places_come_from_where_the_service_or_the_user_has_them() {
    let (folder, environment) = home("");
    let home = folder.path();
    let check = |vars: &[(&str, &str)], runs: &Path, db: &Path, socket: &Path| {
        let settings = load(&with(environment.clone(), vars)).unwrap();
        assert_eq!(
            (&*settings.runs_dir, &*settings.db, &*settings.socket),
            (runs, db, socket),
            "{vars:?}"
        );
    };
    let state = home.join(".local/state/tokentail");
    check(
        &[],
        Path::new("/home/me/runs"),
        &state.join("tokentail.redb"),
        &state.join("tokentail.sock"),
    );
    check(
        &[("XDG_STATE_HOME", "/s"), ("XDG_RUNTIME_DIR", "/r")],
        Path::new("/home/me/runs"),
        Path::new("/s/tokentail/tokentail.redb"),
        Path::new("/r/tokentail/tokentail.sock"),
    );
    check(
        &[
            ("STATE_DIRECTORY", "/var/lib/tokentail:/other"),
            ("RUNTIME_DIRECTORY", "/run/tokentail"),
            ("XDG_STATE_HOME", "/s"),
        ],
        Path::new("/var/lib/tokentail/runs"),
        Path::new("/var/lib/tokentail/tokentail.redb"),
        Path::new("/run/tokentail/tokentail.sock"),
    );
    check(
        &[
            ("XDG_STATE_HOME", "relative"),
            ("TOKENTAIL__RUNS_DIR", "here"),
            ("TOKENTAIL__SOCKET", "/x.sock"),
        ],
        Path::new("/home/me/here"),
        &state.join("tokentail.redb"),
        Path::new("/x.sock"),
    );
    let bare = Environment {
        vars: BTreeMap::new(),
        ..environment
    };
    assert!(load(&bare).unwrap_err().to_string().contains("XDG_STATE_HOME"));
}

#[test]
fn the_file_is_the_named_one_the_users_or_the_systems() {
    let (folder, environment) = home("");
    assert_eq!(load(&environment).unwrap().config_file, None);
    fs::write(&environment.system_file, "[log]\nlevel = \"warn\"\n").unwrap();
    assert_eq!(
        load(&environment).unwrap().config_file.as_ref(),
        Some(&environment.system_file)
    );
    let xdg = folder.path().join("xdg");
    let user = xdg.join("tokentail/tokentail.toml");
    fs::create_dir_all(user.parent().unwrap()).unwrap();
    fs::write(&user, "").unwrap();
    let environment = with(environment, &[("XDG_CONFIG_HOME", xdg.to_str().unwrap())]);
    let settings = load(&environment).unwrap();
    assert_eq!(
        (settings.config_file, settings.log.level.as_str()),
        (Some(user), "info")
    );
    let named = folder.path().join("named.toml");
    let missing = Settings::load(Partial::default(), Some(&named), &environment)
        .unwrap_err()
        .to_string();
    assert!(
        missing.contains("named.toml") && missing.contains("cannot read"),
        "{missing}"
    );
    fs::write(&named, "").unwrap();
    let settings = Settings::load(Partial::default(), Some(&named), &environment).unwrap();
    assert_eq!(settings.config_file, Some(named));
}

#[test]
fn an_error_in_the_file_has_its_place() {
    for (text, place, parts) in [
        (
            "[limits]\ndepth = 3\n",
            ":2:1: ",
            &["unknown key `depth`", "`depth_max`", "`idle_close`"][..],
        ),
        (
            "\n\n[limit]\ndepth_max = 3\n",
            ":3:2: ",
            &["unknown key `limit`", "`limits`", "`runs_dir`"],
        ),
        ("colour = 1\n", ":1:1: ", &["unknown key `colour`", "`socket`"]),
        (
            "[limits]\n  depth_max = \"deep\"\n",
            ":2:15: ",
            &["`limits.depth_max`", "\"deep\" is not a whole number"],
        ),
        (
            "[limits]\n  depth_max = 0\n",
            ":2:3: ",
            &["`limits.depth_max`", "0 is out of bounds: 1 to 1000"],
        ),
        (
            "[limits]\ndepth_max = -1\n",
            ":2:13: ",
            &["`limits.depth_max`", "\"-1\" is not a whole number"],
        ),
        (
            "[limits]\nline_bytes_max = \"1GiB\"\n",
            ":2:1: ",
            &["`limits.line_bytes_max`", "1GiB is out of bounds: 4KiB to 256MiB"],
        ),
        (
            "[watch]\nscan_interval = 2\n",
            ":2:17: ",
            &["`watch.scan_interval`", "length of time", "\"2s\""],
        ),
        (
            "[watch]\nscan_interval = \"1ms\"\n",
            ":2:1: ",
            &["`watch.scan_interval`", "100ms to 1h"],
        ),
        (
            "[watch]\ninclude = [\"*/a\", \"{x\"]\n",
            ":2:1: ",
            &["`watch.include`", "`{x`"],
        ),
        (
            "[watch]\nexclude = [1]\n",
            ":2:12: ",
            &["`watch.exclude`", "expected a string"],
        ),
        (
            "[log]\nlevel = \"inof\"\n",
            ":2:1: ",
            &["`log.level`", "\"inof\" is not a level", "info"],
        ),
        (
            "[log]\nformat = \"xml\"\n",
            ":2:10: ",
            &["`log.format`", "`text`", "`json`"],
        ),
        ("limits = 3\n", ":1:10: ", &["`limits`", "a table of settings"]),
        ("db = \"\"\n", ":1:1: ", &["`db`", "empty path"]),
        ("db = \"unclosed\n", ":1:", &["\""]),
        ("db = \"/a\"\ndb = \"/b\"\n", ":2:1: ", &["duplicate key"]),
        (
            "[quota]\n  zone = \"Mars/Base\"\n",
            ":2:3: ",
            &[
                "`quota.zone`",
                "\"Mars/Base\" is not a time zone",
                "\"Europe/Berlin\"",
            ],
        ),
        (
            "[quota]\nzone = \"Etc/Unknown\"\n",
            ":2:1: ",
            &["is not a time zone"],
        ),
        ("[quota]\nzone = \"\"\n", ":2:1: ", &["is not a time zone"]),
    ] {
        let (_folder, environment) = home(text);
        let error = load(&environment).unwrap_err().to_string();
        assert!(
            error.contains(&format!("tokentail.toml{place}")),
            "{text:?} gives {error}"
        );
        for part in parts {
            assert!(error.contains(part), "{text:?} gives {error}, without {part}");
        }
    }
}

#[test]
fn an_error_in_a_variable_has_its_name() {
    let long = "x".repeat(200);
    for (name, value, parts) in [
        (
            "TOKENTAIL__LIMITS__DEPTH",
            "3",
            &["unknown key `depth`", "`depth_max`"][..],
        ),
        ("TOKENTAIL__COLOUR", "3", &["unknown key `colour`", "`runs_dir`"]),
        ("TOKENTAIL__", "3", &["unknown key ``"]),
        ("TOKENTAIL__LIMITS", "3", &["a table of settings"]),
        (
            "TOKENTAIL__LIMITS__DEPTH_MAX",
            "many",
            &["\"many\" is not a whole number"],
        ),
        ("TOKENTAIL__LIMITS__DEPTH_MAX", "1001", &["1001 is out of bounds"]),
        (
            "TOKENTAIL__STORE__CACHE_BYTES",
            "1KiB",
            &["`store.cache_bytes`", "1MiB to 4GiB"],
        ),
        ("TOKENTAIL__SOCKET", long.as_str(), &["107 bytes"]),
        (
            "TOKENTAIL__ACCOUNT",
            "x",
            &["accounts are set in the configuration file only, as [[account]] tables"],
        ),
        (
            "TOKENTAIL__ACCOUNT__0__NAME",
            "x",
            &["in the configuration file only"],
        ),
        (
            "TOKENTAIL__QUOTA__ZONE",
            "here",
            &["`quota.zone`", "\"here\" is not a time zone"],
        ),
    ] {
        let (_folder, environment) = home("");
        let error = load(&with(environment, &[(name, value)]))
            .unwrap_err()
            .to_string();
        assert!(error.starts_with(&format!("variable {name}: ")), "{error}");
        for part in parts {
            assert!(
                error.contains(part),
                "{name}={value} gives {error}, without {part}"
            );
        }
    }
}

#[test]
fn an_error_in_a_flag_says_so() {
    let (_folder, environment) = home("");
    let mut flags = Partial::default();
    flags.shutdown.grace = Some("2h".parse().unwrap());
    let error = Settings::load(flags, None, &environment).unwrap_err().to_string();
    assert_eq!(
        error,
        "flag for `shutdown.grace`: 2h is out of bounds: 100ms to 1h is allowed"
    );
}

#[test]
fn lists_are_one_pattern_or_an_array() {
    let include = |value: &str| {
        let (_folder, environment) = home("");
        load(&with(environment, &[("TOKENTAIL__WATCH__INCLUDE", value)]))
            .unwrap()
            .watch
            .include
    };
    assert_eq!(include("*/mount/*.jsonl"), ["*/mount/*.jsonl"]);
    assert_eq!(include("*/{a,b}/*"), ["*/{a,b}/*"]);
    assert_eq!(include("[ab]/*"), ["[ab]/*"]);
    assert_eq!(include("['*/a/*', \"*/b/*\"]"), ["*/a/*", "*/b/*"]);
    let (_folder, environment) = home("watch.include = \"*/one\"\nwatch.exclude = [\"*/two\"]\n");
    let settings = load(&environment).unwrap();
    assert_eq!(
        (settings.watch.include, settings.watch.exclude),
        (vec!["*/one".to_owned()], vec!["*/two".to_owned()])
    );
}

#[test]
fn levels_may_be_by_part() {
    for (level, good) in [
        ("debug", true),
        ("OFF", true),
        ("info,tokentail::watch=debug", true),
        ("warn,tokentail=trace", true),
        ("warn,[commit]=trace", true),
        ("warn, tokentail=trace", false),
        ("verbose", false),
        ("info,", false),
        ("", false),
        ("tokentail=loud", false),
    ] {
        assert_eq!(check_level(level).is_ok(), good, "{level:?}");
    }
}

/// As a pattern this would take unbounded time and memory.
#[test]
fn a_value_in_a_log_level_is_no_pattern() {
    let pattern = format!("(a|b)*a{}", "(a|b)".repeat(60));
    assert_eq!(check_level(&format!("[{{message={pattern}}}]=info")), Ok(()));
}

/// All mistakes of a file, one per line.
fn mistakes_in(config: &str) -> Mistakes {
    let (_folder, environment) = home(config);
    load(&environment).unwrap_err()
}

#[test]
fn every_mistake_is_counted_and_the_first_of_the_file_are_shown() {
    for wrong in [
        "k{} = 1\n",
        "k{} ==\n",
        "[[account]]\nlabels.k{} = 1\n",
        "[[account]]\nname = 'k {}'\n",
    ] {
        let count = if wrong.contains("account") { 1000 } else { 1500 };
        let config: String = (0..count)
            .map(|number| wrong.replace("{}", &number.to_string()))
            .collect();
        let mistakes = mistakes_in(&config);
        assert_eq!(mistakes.list.len() + mistakes.left_out, count, "{wrong}");
        for (number, mistake) in mistakes.list.iter().enumerate() {
            let ConfigError::File { place, .. } = mistake else {
                panic!("{mistake}");
            };
            assert_eq!(
                place.line,
                (number + 1) * wrong.matches('\n').count(),
                "{mistake}"
            );
        }
    }
}

#[test]
fn a_mistake_names_its_key() {
    for (config, key) in [
        ("db = 'a'\ndb = 'b'\n", "`db`: duplicate key"),
        (
            "[limits]\ndepth_max = 1\ndepth_max = 2\n",
            "`depth_max`: duplicate key",
        ),
        ("[limits]\n[limits]\n", "`limits`: duplicate key"),
        ("[db]\na = 1\n", "`db`: invalid type: table"),
        ("[watch.include]\na = 1\n", "`watch.include`: invalid type: table"),
        ("limits = 5\n", "`limits`: invalid type: integer"),
        (
            "[[account]]\n[account.name]\na = 1\n",
            "`account.name`: invalid type: table",
        ),
        ("[[account]]\nthresholds = ['a']\n", "`account.thresholds`: "),
    ] {
        let mistakes = mistakes_in(config);
        assert_eq!(mistakes.list.len(), 1, "{config}: {mistakes}");
        let problem = mistakes.list[0].problem().unwrap();
        assert!(problem.what.starts_with(key), "{config}: {problem}");
    }
}

#[test]
fn what_is_long_in_a_file_is_said_in_short() {
    let long = "k".repeat(100_000);
    for config in [
        format!("{long} = 1\n"),
        format!("{long} = 1\n{long} = 1\n"),
        format!("[{long}]\na = 1\n"),
        format!("[log]\nlevel = '{long}'\n"),
        format!("[limits]\nidle_close = '{long}'\n"),
        format!("[watch]\ninclude = '/{long}'\n"),
        format!("[[account]]\nlabels = {{ {long} = 'a' }}\n"),
        format!("[[account]]\nname = '{long}'\n"),
    ] {
        for mistake in mistakes_in(&config).list {
            assert!(mistake.to_string().len() < 1_200, "{mistake}");
            let drawn = crate::cli::mistakes::one(&mistake);
            assert!(drawn.len() < 2_000, "{drawn}");
        }
    }
}

#[test]
fn a_long_table_name_costs_no_more_than_the_file() {
    let config = format!(
        "[{}]\n{}",
        "k".repeat(400_000),
        (0..50_000)
            .map(|key| format!("{key} = 1"))
            .collect::<Vec<_>>()
            .join("\n")
    );
    assert_eq!(mistakes_in(&config).list.len(), 1);
}

#[test]
fn patterns_are_bounded_in_number_and_length() {
    use crate::globs::{PATTERNS_BYTES_MAX, PATTERNS_MAX};
    let list = |count: usize, one: &str| format!("[{}]", vec![format!("'{one}'"); count].join(", "));
    let at_the_bound = "a".repeat(PATTERNS_BYTES_MAX - 2);
    for (config, fits) in [
        (
            format!("[watch]\ninclude = {}\n", list(PATTERNS_MAX, "*/a")),
            true,
        ),
        (
            format!("[watch]\ninclude = {}\n", list(PATTERNS_MAX + 1, "*/a")),
            false,
        ),
        (
            format!("[watch]\nexclude = {}\n", list(PATTERNS_MAX + 1, "*/a")),
            false,
        ),
        (format!("[watch]\ninclude = '*/{at_the_bound}'\n"), true),
        (format!("[watch]\ninclude = '*/{at_the_bound}a'\n"), false),
        (
            format!("[[account]]\nruns = {}\n", list(PATTERNS_MAX + 1, "a")),
            false,
        ),
        (
            (0..11)
                .map(|number| {
                    format!(
                        "[[account]]\nname = '{number}'\nlabels.a = '{number}'\nruns = {}\n",
                        list(PATTERNS_MAX, "a")
                    )
                })
                .collect::<Vec<_>>()
                .join("\n"),
            false,
        ),
    ] {
        let (_folder, environment) = home(&config);
        match load(&environment) {
            Ok(_) => assert!(fits, "{}", &config[..60]),
            Err(mistakes) => {
                let said = mistakes.to_string();
                assert!(
                    !fits && said.contains(" patterns of ") && said.contains("at most"),
                    "{said}"
                );
                assert_eq!((mistakes.list.len(), mistakes.left_out), (1, 0), "{said}");
            }
        }
    }
}

/// Each key's variable, empty and not UTF-8: accepted, or one mistake that names it.
#[test]
fn a_variable_that_says_nothing_is_named_once() {
    use std::os::unix::ffi::OsStringExt;
    for key in KEYS {
        let name = format!("{VARIABLE_PREFIX}{}", key.name.to_uppercase().replace('.', "__"));
        for (value, is_text) in [("", true), ("\u{ff}", false)] {
            let (_folder, mut environment) = home("[http]\nlisten = 'off'\n");
            let value = if is_text {
                value.into()
            } else {
                OsString::from_vec(vec![0xff])
            };
            environment.vars.insert(name.clone(), value);
            let Err(mistakes) = load(&environment) else {
                assert!(
                    is_text && ["prices", "watch.exclude", "http.token_file"].contains(&key.name),
                    "{name}"
                );
                continue;
            };
            assert_eq!((mistakes.list.len(), mistakes.left_out), (1, 0), "{mistakes}");
            let said = mistakes.to_string();
            assert!(
                said.starts_with(&format!("variable {name}: `{}`: ", key.name)),
                "{said}"
            );
            assert_eq!(said.contains("not valid UTF-8"), !is_text, "{said}");
            assert!(environment.sockets(None).is_empty(), "{name}");
        }
    }
}

#[test]
fn a_home_that_is_no_text_is_a_home() {
    use std::os::unix::ffi::OsStringExt;
    let (_folder, mut environment) = home("");
    let home = OsString::from_vec(b"/h\xff".to_vec());
    environment.vars.insert("HOME".to_owned(), home.clone());
    assert!(load(&environment).unwrap().db.starts_with(home));
}

#[test]
fn a_file_that_is_no_utf8_is_reported_with_its_place() {
    let (folder, environment) = home("x");
    let file = folder.path().join(".config/tokentail/tokentail.toml");
    fs::write(&file, b"[log]\n# \xc3\xa4 and \xe4\n").unwrap();
    let said = load(&environment).unwrap_err().to_string();
    let place = format!("{}:2:9: ", file.display());
    assert!(said.starts_with(&place) && said.contains("UTF-8"), "{said}");
}

#[test]
fn a_reload_names_what_needs_a_restart() {
    let (_folder, environment) = home("");
    let now = load(&environment).unwrap();
    let then = |vars| load(&with(environment.clone(), vars)).unwrap();
    assert_eq!(now.needs_restart(&now), [""; 0]);
    let lively = then(&[
        ("TOKENTAIL__LOG__LEVEL", "debug"),
        ("TOKENTAIL__LIMITS__DEPTH_MAX", "2"),
        ("TOKENTAIL__WATCH__EXCLUDE", "x"),
        ("TOKENTAIL__QUOTA__ZONE", "Europe/Berlin"),
    ]);
    assert_eq!(now.needs_restart(&lively), [""; 0]);
    let (folder, environment) = home("[[account]]\nname = \"max-1\"\n");
    let before = load(&environment).unwrap();
    let file = folder.path().join(".config/tokentail/tokentail.toml");
    fs::write(file, "[[account]]\nname = \"max-2\"\ncalls_quota = 9\n").unwrap();
    let after = load(&environment).unwrap();
    assert_ne!(before.accounts.rules(), after.accounts.rules());
    assert_eq!(before.needs_restart(&after), [""; 0]);
    let new = then(&[
        ("TOKENTAIL__DB", "/d/db"),
        ("TOKENTAIL__STORE__COMMIT_ROWS_MAX", "1"),
        ("TOKENTAIL__LOG__FORMAT", "json"),
    ]);
    assert_eq!(
        now.needs_restart(&new),
        ["db", "socket", "store.commit_rows_max", "log.format"]
    );
}

/// The mistakes of a text, one per line, without the path.
fn mistakes(text: &str) -> Vec<String> {
    let (_folder, environment) = home(text);
    let mistakes = load(&environment).unwrap_err();
    let lines = mistakes.list.iter().map(|mistake| {
        let line = mistake.to_string();
        line.split_once("tokentail.toml:")
            .map_or(line.clone(), |(_, rest)| rest.to_owned())
    });
    lines.collect()
}

#[test]
fn every_mistake_is_reported_at_once_with_what_was_meant() {
    let text = "runs-dir = '/r'\ndepth_max = 3\n[limits]\ndepth-max = 3\nline_bytes_max = '16M'\nidle_close = 5\nturn_bytes_max = 1\n\
                [watch]\ninclude = ['{a', 7, '*/ok', '/abs']\n[runs]\nlayout = 'project'\n\
                [log]\nlevel = 'inof'\n[quota]\nzone = 'Europe/Berln'\n[lmits]\na = 1\nb = 2\n\
                [[account]]\nnome = 'x'\ncounted = ['inptu', 'output', 'outputs']\nminimum_left = { 5h = 101, 7d = 102 }\n\
                [[account]]\nname = 'a/b'\nthresholds = [0, 300]\n";
    let said = mistakes(text);
    let expected = [
        ("1:1: ", "did you mean `runs_dir`?"),
        ("2:1: ", "`depth_max` belongs below [limits]"),
        ("4:1: ", "did you mean `depth_max`?"),
        ("5:18: ", "did you mean \"16MiB\"?"),
        ("6:14: ", "did you mean \"5s\"?"),
        ("7:1: ", "64KiB to 256MiB"),
        ("9:1: ", "`{a`"),
        ("9:1: ", "can match nothing"),
        ("9:18: ", "expected a string"),
        ("11:10: ", "did you mean `projects`?"),
        ("13:1: ", "did you mean `info`?"),
        ("15:1: ", "did you mean `Europe/Berlin`?"),
        ("16:2: ", "did you mean `limits`?"),
        ("20:1: ", "did you mean `name`?"),
        ("21:12: ", "did you mean `input`?"),
        ("21:31: ", "did you mean `output`?"),
        ("22:18: ", "101 is out of bounds"),
        ("22:28: ", "102 is out of bounds"),
        ("24:1: ", "\"a/b\" is not a name"),
        ("25:1: ", "0 is out of bounds"),
        ("25:1: ", "300 is out of bounds"),
    ];
    assert_eq!(said.len(), expected.len(), "{said:#?}");
    for (line, (place, part)) in said.iter().zip(expected) {
        assert!(
            line.starts_with(place) && line.contains(part),
            "{line} is not {place}{part}"
        );
    }
}

#[test]
fn what_follows_from_a_mistake_is_none_of_its_own() {
    for (text, count) in [
        // Without a name of its own, the second table would have that of the first.
        (
            "[[account]]\nruns = ['a']\n[[account]]\nnam = 'x'\nruns = ['b']\n",
            1,
        ),
        (
            "[[account]]\nname = 'x'\nrun = ['a']\n[[account]]\nname = 'y'\n",
            1,
        ),
        ("[http]\nlisten = '0.0.0.0:1'\ntoken_file = 7\n", 1),
        ("[account]\nname = 'x'\nnome = 'y'\n", 1),
        ("limits = [1, 2]\n", 1),
        // It is not known which table the keys below a broken header are of.
        ("[watch\ninclude = []\n", 1),
        ("[watch\ninclude = []\n[limits]\ndepth_max = 0\n", 2),
        ("db = 'open\n[limits]\ndepth_max = 0\n", 2),
        ("watch.include = ['a'\n[limits]\ndepth_max = 3\n", 1),
        ("db = = 3\nx y z\n", 2),
    ] {
        let said = mistakes(text);
        assert_eq!(said.len(), count, "{text}: {said:#?}");
    }
}

#[test]
fn a_file_is_read_as_editors_write_it() {
    for text in [
        "\u{feff}[limits]\ndepth_max = 3\n",
        "[limits]\r\ndepth_max = 3\r\n",
    ] {
        let (_folder, environment) = home(text);
        assert_eq!(load(&environment).unwrap().limits.depth_max, 3, "{text:?}");
    }
    for (text, place) in [
        ("\u{feff}depth = 3\n", "1:1: "),
        ("[limits]\r\ndepth = 3\r\n", "2:1: "),
        ("[limits]\n\t\u{4e2d} = 1\n", "2:"),
        ("\0\u{1}\u{2}", "1:4: "),
    ] {
        let said = mistakes(text);
        assert!(said[0].starts_with(place), "{text:?}: {said:?}");
    }
    let many: Vec<String> = (0..500).map(|number| format!("key{number} = 1\n")).collect();
    let many = many.concat();
    let (_folder, environment) = home(&many);
    let mistakes = load(&environment).unwrap_err();
    assert_eq!((mistakes.list.len(), mistakes.left_out), (100, 400));
}

#[test]
fn a_file_that_cannot_be_one_says_what_it_is() {
    let (folder, environment) = home("x");
    let file = folder.path().join(".config/tokentail/tokentail.toml");
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("/no/such/file", &file).unwrap();
    assert!(
        load(&environment)
            .unwrap_err()
            .to_string()
            .contains("a link to a file that is not there")
    );
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(
        load(&environment)
            .unwrap_err()
            .to_string()
            .contains("it is a directory")
    );
}

#[test]
fn names_that_are_almost_known_are_doubted() {
    let (_folder, environment) = home(
        "[[account]]\nprovider = 'Codex'\nname = 'a'\nruns = []\nminimum_left = { five_hours = 5, 5h = 5, seven_day_new = 1, my_window = 3 }\ncost = { seven_days = 0.1, 5h = 0.1, my_window = 0.1 }\n\
         [[account]]\nprovider = 'codex'\nruns = []\n[[account]]\nprovider = 'gemini'\nruns = []\n",
    );
    let doubts = load(&environment).unwrap().doubts;
    let said: Vec<String> = doubts.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(
        said[0].contains(":2:1: `account.provider`: ") && said[0].ends_with("did you mean `codex`?"),
        "{said:?}"
    );
    assert!(
        said[1].contains(":5:18: ") && said[1].ends_with("did you mean `five_hour`?"),
        "{said:?}"
    );
    assert!(
        said[2].contains(":6:10: `account.cost.seven_days`: ")
            && said[2].ends_with("did you mean `seven_day`?"),
        "{said:?}"
    );
}
