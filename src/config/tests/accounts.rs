//! Tests of the accounts: rules, runs, and error messages.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use super::{home, load};
use crate::model::{AccountId, RunId};
use crate::quota::account::{Account, Minimum, OnUnknown, RampRules, StartRules, TokenKinds};

/// Two accounts, one with every key.
const ACCOUNTS: &str = r#"
[quota]
zone = "europe/berlin"

[[account]]
name = "max-1"
runs = ["team-a-*", "nightly"]
calls_quota = 900
warn_at_percent = 70
daily_tokens = 1_000_000
counted = ["cache_read", "output", "output"]
thresholds = [90, 120, 75, 90]
minimum_left = { 5h = 10, weekly = 5, seven_day_new = 1 }
on_unknown = "wait"
use_overage = true
models = { "claude-opus-5" = "gpt-6-codex" }
concurrency = 4
reserve = { high = 0.10, urgent = "0.2" }
ramp = { step = 2, every = "1m 30s" }
cost = { 5h = 0.02, seven_day = 1 }

[[account]]
provider = "codex"
name = "team"
runs = ["team-*"]
"#;

fn run(name: &str) -> RunId {
    RunId::new(name).unwrap()
}

fn account(provider: &str, name: &str) -> AccountId {
    AccountId {
        provider: provider.into(),
        name: name.into(),
    }
}

#[test]
fn accounts_have_the_rules_of_the_file() {
    let (_folder, environment) = home(ACCOUNTS);
    let settings = load(&environment).unwrap();
    assert_eq!(settings.quota_zone.iana_name(), Some("Europe/Berlin"));
    let minimum = |name: &str, percent| Minimum {
        window: name.into(),
        percent,
    };
    let max = Account {
        id: account("claude", "max-1"),
        calls_quota: 900,
        warn_at_percent: 70,
        daily_tokens: 1_000_000,
        counted: TokenKinds {
            input: false,
            output: true,
            cache_creation: false,
            cache_read: true,
        },
        thresholds: vec![75, 90, 120],
        minimum_left: vec![
            minimum("five_hour", 10),
            minimum("seven_day", 5),
            minimum("seven_day_new", 1),
        ],
        on_unknown: OnUnknown::Wait,
        use_overage: true,
        models: BTreeMap::from([("claude-opus-5".into(), "gpt-6-codex".into())]),
        start: StartRules {
            concurrency: 4,
            reserve: BTreeMap::from([("high".into(), 0.1), ("urgent".into(), 0.2)]),
            ramp: RampRules {
                start: 1,
                step: 2,
                every_ms: 90_000,
            },
            cost: BTreeMap::from([("five_hour".into(), 0.02), ("seven_day".into(), 1.0)]),
        },
        poll: None,
    };
    let team = Account::new(account("codex", "team"));
    assert!(settings.accounts.configured);
    assert_eq!(settings.accounts.rules(), [max.clone(), team]);
    assert_eq!(settings.accounts.get(&max.id), Some(&max));
    assert_eq!(settings.accounts.get(&account("claude", "team")), None);
    // The output is valid input.
    let again: String = settings
        .accounts
        .describe()
        .iter()
        .flat_map(|account| {
            let rows = account.rows().into_iter();
            std::iter::once("[[account]]\n".to_owned())
                .chain(rows.map(|(key, value)| format!("{key} = {value}\n")))
        })
        .collect();
    let (_folder, environment) = home(&again);
    let again = load(&environment).unwrap();
    assert_eq!(again.accounts.rules(), settings.accounts.rules());
    assert_eq!(again.accounts.describe(), settings.accounts.describe());
}

#[test]
fn a_run_belongs_to_the_first_account_that_matches() {
    let (_folder, environment) = home(ACCOUNTS);
    let accounts = load(&environment).unwrap().accounts;
    for (name, expect) in [
        ("team-a-1", "claude/max-1"),
        ("nightly", "claude/max-1"),
        ("team-b-1", "codex/team"),
        ("team-a", "codex/team"),
        ("nightly-2", "claude/default"),
        ("Team-a-1", "claude/default"),
    ] {
        assert_eq!(accounts.of_run(&run(name)).to_string(), expect, "{name}");
    }
    // The default account exists for the remaining runs, without quotas.
    let rest = AccountId::default();
    assert_eq!(accounts.get(&rest), Some(&Account::new(rest.clone())));

    let (_folder, environment) =
        home("[[account]]\nruns = [\"a\"]\ncalls_quota = 5\n[[account]]\nname = \"b\"\n");
    let accounts = load(&environment).unwrap().accounts;
    assert_eq!(*accounts.of_run(&run("a")), rest);
    assert_eq!(*accounts.of_run(&run("z")), account("claude", "b"));
    assert_eq!(accounts.get(&rest).unwrap().calls_quota, 5);

    let (_folder, environment) = home("account = [{ name = \"a\", runs = [] }]\n");
    let accounts = load(&environment).unwrap().accounts;
    assert_eq!(*accounts.of_run(&run("a")), rest);
}

#[test]
fn without_accounts_the_default_one_has_all_runs() {
    for text in ["", "account = []\n"] {
        let (_folder, environment) = home(text);
        let settings = load(&environment).unwrap();
        assert_eq!(settings.quota_zone, TimeZone::UTC);
        let accounts = settings.accounts;
        let only = Account::new(AccountId::default());
        assert!(!accounts.configured);
        assert_eq!(accounts.rules(), std::slice::from_ref(&only));
        assert_eq!(*accounts.of_run(&run("any")), only.id);
        assert_eq!(accounts.get(&only.id), Some(&only));
        assert_eq!(accounts.describe()[0].runs, ["*"]);
    }
}

#[test]
fn a_mistake_in_an_account_has_its_place() {
    let long = format!("[[account]]\nname = {:?}\n", "x".repeat(65));
    for (text, expect) in [
        (
            "[[account]]\ncolour = 1\n",
            "2:1: `account.colour`: unknown key `colour`, expected one of `provider`, `name`, `runs`, `labels`, `calls_quota`, `warn_at_percent`, `daily_tokens`, `counted`, `thresholds`, `minimum_left`, `on_unknown`, `use_overage`, `models`, `concurrency`, `reserve`, `ramp`, `cost`, `poll`",
        ),
        (
            "\n[account]\nname = \"x\"\n",
            "2:1: `account`: write [[account]] with two brackets: there may be several",
        ),
        (
            "account = 3\n",
            "1:11: `account`: invalid type: integer `3`, expected a table [[account]] for each account, in double brackets",
        ),
        (
            "account = [{}, 3]\n",
            "1:16: `account`: invalid type: integer `3`, expected a table with the keys of an account",
        ),
        (
            "account = [{ name = \"a\", runs = [] }, { warn_at_percent = 0 }]\n",
            "1:41: `account.warn_at_percent`: 0 is out of bounds: 1 to 100 is allowed",
        ),
        // The second table, not the first one with the key.
        (
            "[[account]]\nname = \"a\"\nwarn_at_percent = 1\nruns = []\n[[account]]\n  warn_at_percent = 101\n",
            "6:3: `account.warn_at_percent`: 101 is out of bounds: 1 to 100 is allowed",
        ),
        (
            "[[account]]\nwarn_at_percent = \"high\"\n",
            "2:19: `account.warn_at_percent`: \"high\" is not a whole number, as in 100000",
        ),
        (
            "[[account]]\nwarn_at_percent = 80.5\n",
            "2:19: `account.warn_at_percent`: invalid type: floating point `80.5`, expected a whole number, as in 100000",
        ),
        (
            "[[account]]\ncalls_quota = -1\n",
            "2:15: `account.calls_quota`: \"-1\" is not a whole number, as in 100000",
        ),
        (
            "[[account]]\ncalls_quota = 1000000001\n",
            "2:1: `account.calls_quota`: 1000000001 is out of bounds: 0 to 1000000000 is allowed",
        ),
        (
            "[[account]]\ndaily_tokens = 1000000000000001\n",
            "2:1: `account.daily_tokens`: 1000000000000001 is out of bounds: 0 to 1000000000000000 is allowed",
        ),
        (
            "[[account]]\nname = \"\"\n",
            "2:1: `account.name`: \"\" is not a name: 1 to 64 of A-Z a-z 0-9 . _ - are allowed",
        ),
        (&long, "is not a name: 1 to 64 of A-Z a-z 0-9 . _ - are allowed"),
        (
            "[[account]]\nprovider = \"a/b\"\n",
            "2:1: `account.provider`: \"a/b\" is not a name: 1 to 64 of A-Z a-z 0-9 . _ - are allowed",
        ),
        (
            "[[account]]\nname = \"..\"\n",
            "2:1: `account.name`: \"..\" is not a name: 1 to 64 of A-Z a-z 0-9 . _ - are allowed",
        ),
        (
            "[[account]]\nruns = [\"a\", \"[z-a]\"]\n",
            "2:1: `account.runs`: runs has the pattern `[z-a]`, which is not a glob: invalid range; 'z' > 'a'",
        ),
        (
            "[[account]]\nruns = [\"a/*\"]\n",
            "2:1: `account.runs`: runs has the pattern `a/*`, which matches no run: a run id has only A-Z a-z 0-9 . _ - in it, this one has '/'",
        ),
        (
            "[[account]]\nruns = [1]\n",
            "2:9: `account.runs`: invalid type: integer `1`, expected a string",
        ),
        (
            "[[account]]\ncounted = []\n",
            "2:1: `account.counted`: counts nothing: give at least one of input, output, cache_creation, cache_read",
        ),
        (
            "[[account]]\ncounted = [\"inpt\"]\n",
            "2:12: `account.counted`: unknown value `inpt`, expected one of `input`, `output`, `cache_creation`, `cache_read`; did you mean `input`?",
        ),
        (
            "[[account]]\nthresholds = [75, 201]\n",
            "2:1: `account.thresholds`: 201 is out of bounds: 1 to 200 is allowed",
        ),
        (
            "[[account]]\nthresholds = 75\n",
            "2:14: `account.thresholds`: invalid type: integer `75`, expected an array",
        ),
        (
            "[[account]]\nminimum_left = { 5h = 101 }\n",
            "2:18: `account.minimum_left.5h`: 101 is out of bounds: 0 to 100 is allowed",
        ),
        (
            "[[account]]\n[account.minimum_left]\n7d = 3\nweekly = 4\n",
            "4:1: `account.minimum_left.weekly`: the window seven_day is there already, by another name",
        ),
        (
            "[[account]]\nminimum_left = { \"\" = 3 }\n",
            "2:18: `account.minimum_left.`: \"\" is not a name: 1 to 64 of A-Z a-z 0-9 . _ - are allowed",
        ),
        (
            "[[account]]\nminimum_left = 3\n",
            "2:16: `account.minimum_left`: invalid type: integer `3`, expected a table",
        ),
        (
            "[[account]]\non_unknown = \"maybe\"\n",
            "2:14: `account.on_unknown`: unknown value `maybe`, expected one of `say`, `allow`, `wait`",
        ),
        (
            "[[account]]\nmodels = { a = \"\" }\n",
            "2:12: `account.models.a`: \"\" is not a model name: 1 to 256 bytes without control characters and marks of direction are allowed",
        ),
        (
            "[[account]]\nmodels = { a = 3 }\n",
            "2:16: `account.models.a`: invalid type: integer `3`, expected a string",
        ),
        (
            "[[account]]\nname = \"a\"\nruns = [\"x\"]\n[[account]]\nruns = [\"y\"]\nname = \"a\"\n",
            "6:1: `account.name`: claude/a is there already: each account needs its own pair of provider and name",
        ),
        (
            "[[account]]\n\n[[account]]\nruns = [\"y\"]\n",
            "3:1: `account.name`: claude/default is there already: each account needs its own pair of provider and name",
        ),
        (
            "[[account]]\nname = \"a\"\n[[account]]\nname = \"b\"\n",
            "3:1: `account.runs`: the pattern `*`, the default, is one of claude/a already, which comes first and has all its runs: name the runs of each account, or [] for none",
        ),
        (
            "[[account]]\nname = \"a\"\nruns = [\"x\", \"y\"]\n[[account]]\nname = \"b\"\nruns = [\"z\", \"x\"]\n",
            "6:1: `account.runs`: the pattern `x` is one of claude/a already, which comes first and has all its runs: name the runs of each account, or [] for none",
        ),
    ] {
        let (_folder, environment) = home(text);
        let error = load(&environment).unwrap_err().to_string();
        assert!(error.ends_with(expect), "{text:?} gives {error}");
        assert!(
            error.contains(&format!(
                "tokentail.toml:{}",
                if text == long { "2:1: " } else { expect }
            )),
            "{text:?} gives {error}"
        );
    }
    let table = |number| format!("[[account]]\nname = \"a{number}\"\nruns = []\n");
    let many = (1..=1001).map(table).collect::<Vec<_>>().concat();
    let (_folder, environment) = home(&many);
    let error = load(&environment).unwrap_err().to_string();
    assert!(
        error.ends_with("tokentail.toml:3002:1: `account.name`: at most 1000 accounts are allowed"),
        "{error}"
    );
    // Labels distinguish them.
    let (_folder, environment) =
        home("[[account]]\nname = \"a\"\nlabels = { profile = \"big\" }\n[[account]]\nname = \"b\"\n");
    assert_eq!(load(&environment).unwrap().accounts.rules().len(), 2);
    // A pattern wider than an earlier one, or covered by one, is no mistake.
    let (_folder, environment) =
        home("[[account]]\nname = \"a\"\n[[account]]\nname = \"b\"\nruns = [\"x-*\"]\n");
    assert_eq!(load(&environment).unwrap().accounts.rules().len(), 2);
}

#[test]
fn a_mistake_in_the_rules_of_leases_has_its_place() {
    for (text, expect) in [
        (
            "concurrency = 10001\n",
            "2:1: `account.concurrency`: 10001 is out of bounds: 0 to 10000 is allowed",
        ),
        (
            "concurrency = 1.5\n",
            "2:15: `account.concurrency`: invalid type: floating point `1.5`, expected a whole number, as in 100000",
        ),
        (
            "concurency = 4\n",
            "expected one of `provider`, `name`, `runs`, `labels`, `calls_quota`, `warn_at_percent`, `daily_tokens`, `counted`, `thresholds`, `minimum_left`, `on_unknown`, `use_overage`, `models`, `concurrency`, `reserve`, `ramp`, `cost`, `poll`; did you mean `concurrency`?",
        ),
        (
            "reserve = { high = 10 }\n",
            "2:13: `account.reserve.high`: 10 is out of bounds: 0 to 1 is allowed; did you mean `0.1`?",
        ),
        (
            "reserve = { high = \"10%\" }\n",
            "2:20: `account.reserve.high`: \"10%\" is not a share, as in 0.1; did you mean \"0.1\"?",
        ),
        (
            "reserve = { high = nan }\n",
            "2:20: `account.reserve.high`: invalid type: floating point `NaN`, expected a share, as in 0.1",
        ),
        (
            "reserve = { high = -0.1 }\n",
            "2:13: `account.reserve.high`: -0.1 is out of bounds: 0 to 1 is allowed",
        ),
        (
            "reserve = { \"a b\" = 0.1 }\n",
            "2:13: `account.reserve.a b`: \"a b\" is not a name: 1 to 64 of A-Z a-z 0-9 . _ - are allowed",
        ),
        (
            "reserve = { high = 0.7, low = 0.3 }\n",
            "2:1: `account.reserve`: the shares add up to 1.00; less than 1 is allowed: runs of no class need a rest",
        ),
        (
            "reserve = 0.1\n",
            "2:11: `account.reserve`: invalid type: floating point `0.1`, expected a table",
        ),
        (
            "ramp = { strat = 1 }\n",
            "2:10: `account.ramp.strat`: unknown key `strat`, expected one of `start`, `step`, `every`; did you mean `start`?",
        ),
        (
            "ramp = { start = 0 }\n",
            "2:10: `account.ramp.start`: 0 is out of bounds: 1 to 1000 is allowed",
        ),
        (
            "[account.ramp]\nstep = 1001\n",
            "3:1: `account.ramp.step`: 1001 is out of bounds: 1 to 1000 is allowed",
        ),
        (
            "ramp = { every = \"90m\" }\n",
            "2:10: `account.ramp.every`: 1h 30m is out of bounds: 1s to 1h is allowed",
        ),
        (
            "ramp = { every = 30 }\n",
            "2:18: `account.ramp.every`: \"30\" is not a length of time with its unit, as in \"2s\" or \"1m 30s\"; did you mean \"30s\"?",
        ),
        (
            "ramp = 2\n",
            "2:8: `account.ramp`: invalid type: integer `2`, expected a table with the keys of a ramp",
        ),
        (
            "cost = { five_hour = 0 }\n",
            "2:10: `account.cost.five_hour`: 0 is out of bounds: more than 0 and up to 1 is allowed",
        ),
        (
            "cost = { five_hour = 2 }\n",
            "2:10: `account.cost.five_hour`: 2 is out of bounds: more than 0 and up to 1 is allowed; did you mean `0.02`?",
        ),
        (
            "cost = { 5h = 0.1, five_hour = 0.2 }\n",
            "2:20: `account.cost.five_hour`: the window five_hour is there already, by another name",
        ),
    ] {
        let (_folder, environment) = home(&format!("[[account]]\n{text}"));
        let error = load(&environment).unwrap_err().to_string();
        assert!(error.ends_with(expect), "{text:?} gives {error}");
    }
}

#[test]
fn each_key_of_a_ramp_may_be_left_out() {
    let default = RampRules::default();
    for (text, expect) in [
        ("", default),
        ("ramp = {}", default),
        ("ramp = { start = 3 }", RampRules { start: 3, ..default }),
        (
            "ramp = { every = \"1h\" }",
            RampRules {
                every_ms: 3_600_000,
                ..default
            },
        ),
    ] {
        let (_folder, environment) = home(&format!("[[account]]\n{text}\n"));
        let accounts = load(&environment).unwrap().accounts;
        assert_eq!(accounts.rules()[0].start.ramp, expect, "{text}");
    }
}

#[test]
fn labels_decide_the_account() {
    let (_folder, environment) = home(
        "[[account]]\nname = \"big\"\nlabels = { profile = \"big\" }\n\
         [[account]]\nprovider = \"codex\"\nname = \"c\"\nruns = [\"c-*\"]\n\
         [[account]]\nname = \"rest\"\n",
    );
    let accounts = load(&environment).unwrap().accounts;
    for (run, labels, expect) in [
        ("r", &[][..], "claude/rest"),
        ("r", &[("profile", "big")], "claude/big"),
        ("r", &[("profile", "small")], "claude/rest"),
        ("c-1", &[], "codex/c"),
        // The first match in the file.
        ("c-1", &[("profile", "big")], "claude/big"),
        // A half-given name is completed by the file.
        ("c-1", &[("provider", "codex")], "codex/c"),
        ("r", &[("provider", "codex")], "codex/default"),
        ("r", &[("account", "c")], "codex/c"),
        ("r", &[("account", "other")], "claude/other"),
        (
            "r",
            &[("provider", "p"), ("account", "n"), ("profile", "big")],
            "p/n",
        ),
    ] {
        let labels = labels
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()));
        let account = accounts.of_labelled(&RunId::new(run).unwrap(), &labels.collect());
        assert_eq!(account.to_string(), expect, "{run}");
    }
    assert_eq!(
        accounts.of_run(&RunId::new("r").unwrap()).to_string(),
        "claude/rest"
    );
}

#[test]
fn a_label_that_no_run_can_have_is_a_mistake() {
    for labels in ["{ \"a b\" = \"x\" }", "{ a = 1 }", "{ a = \"\\u0007\" }", "[]"] {
        let (_folder, environment) = home(&format!("[[account]]\nlabels = {labels}\n"));
        let error = load(&environment).unwrap_err().to_string();
        assert!(
            error.contains("tokentail.toml:2:") && error.contains("labels"),
            "{error}"
        );
    }
}
