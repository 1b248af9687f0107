//! Tests of the layers, their order, and what is said when something is wrong.

mod accounts;
mod fuzz;

use std::fs;

use tempfile::TempDir;

use super::gather::check_level;
use super::*;

/// A home with a configuration file in it, if there is a text.
fn home(config: &str) -> (TempDir, Environment) {
    let folder = tempfile::tempdir().unwrap();
    let environment = Environment {
        vars: BTreeMap::from([("HOME".to_owned(), folder.path().to_str().unwrap().to_owned())]),
        cwd: PathBuf::from("/home/me"),
        system_file: folder.path().join("etc.toml"),
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
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    environment
}

fn load(environment: &Environment) -> Result<Settings, ConfigError> {
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
            &["`limits.depth_max`", "\"deep\" is no whole number"],
        ),
        (
            "[limits]\n  depth_max = 0\n",
            ":2:3: ",
            &["`limits.depth_max`", "0 is out of bounds: 1 to 1000"],
        ),
        (
            "[limits]\ndepth_max = -1\n",
            ":2:13: ",
            &["`limits.depth_max`", "\"-1\" is no whole number"],
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
            &["`log.level`", "\"inof\" is no level", "info"],
        ),
        (
            "[log]\nformat = \"xml\"\n",
            ":2:10: ",
            &["`log.format`", "`text`", "`json`"],
        ),
        ("limits = 3\n", ":1:10: ", &["`limits`", "a table of settings"]),
        ("db = \"\"\n", ":1:1: ", &["`db`", "empty path"]),
        ("db = \"unclosed\n", ":1:", &["\""]),
        ("a = 1\na = 2\n", ":2:1: ", &["duplicate key"]),
        (
            "[quota]\n  zone = \"Mars/Base\"\n",
            ":2:3: ",
            &[
                "`quota.zone`",
                "\"Mars/Base\" is no time zone",
                "\"Europe/Berlin\"",
            ],
        ),
        (
            "[quota]\nzone = \"Etc/Unknown\"\n",
            ":2:1: ",
            &["is no time zone"],
        ),
        ("[quota]\nzone = \"\"\n", ":2:1: ", &["is no time zone"]),
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
            &["\"many\" is no whole number"],
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
            &["`quota.zone`", "\"here\" is no time zone"],
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

/// As a pattern this would take longer than anybody waits, and more memory than there is.
#[test]
fn a_value_in_a_log_level_is_no_pattern() {
    let pattern = format!("(a|b)*a{}", "(a|b)".repeat(60));
    assert_eq!(check_level(&format!("[{{message={pattern}}}]=info")), Ok(()));
}

#[test]
fn a_file_that_is_no_utf8_is_told_with_the_place() {
    let (folder, environment) = home("x");
    let file = folder.path().join(".config/tokentail/tokentail.toml");
    fs::write(&file, b"[log]\n# \xc3\xa4 and \xe4\n").unwrap();
    let said = load(&environment).unwrap_err().to_string();
    let place = format!("{}:2:9: ", file.display());
    assert!(said.starts_with(&place) && said.contains("UTF-8"), "{said}");
}

#[test]
fn a_reload_tells_what_needs_a_restart() {
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
