//! Runs a real Claude Code CLI against a provider on loopback, and compares the responses sent by the
//! provider with the counts of tokentail.
//!
//! usage: agent CLI [PROGRAM]
//!
//! CLI is the agent's executable, PROGRAM the collector (default `target/release/tokentail`). Each scenario is a run of its
//! own, written below the runs directory of a serving collector. Exits 1 if a live count, a replay or a window differs from
//! what was sent. Start it in a network namespace of its own (`.ci/agent` does): the agent must reach nothing but
//! loopback.

mod provider;
mod script;

use std::fs::File;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use provider::{Provider, Sums};
use serde_json::Value;

/// Maximum duration of one start of the agent.
const AGENT_WAIT_MAX: Duration = Duration::from_mins(2);
/// Maximum wait until the collector is ready.
const COLLECTOR_WAIT_MAX: Duration = Duration::from_secs(30);
/// The session of a scenario that is continued or forked.
const SESSION: &str = "6f1f2c1e-3a55-4a77-8f1b-0d9be4c7a001";

/// One run: a name and the agent's starts, one after the other.
struct Scenario {
    name: &'static str,
    starts: &'static [&'static [&'static str]],
    /// True if the agent's standard output is kept as a file in the mount, beside the transcripts.
    keeps_stream: bool,
    /// A sign-in instead of an API key: only then are windows reported.
    is_subscription: bool,
}

const STREAM: [&str; 3] = ["--output-format", "stream-json", "--verbose"];

const SCENARIOS: [Scenario; 8] = [
    plain("tool-loop", &[&["<<loop>>"]]),
    plain("sub-agents", &[&["<<delegate>>"]]),
    plain(
        "fork",
        &[
            &["<<loop>>", "--session-id", SESSION],
            &["<<loop>>", "--resume", SESSION],
            &["<<short>>", "--resume", SESSION, "--fork-session"],
        ],
    ),
    Scenario {
        keeps_stream: true,
        ..plain(
            "stream-beside",
            &[&["<<delegate>>", STREAM[0], STREAM[1], STREAM[2]]],
        )
    },
    Scenario {
        keeps_stream: true,
        ..plain(
            "partial-messages",
            &[&[
                "<<loop>>",
                STREAM[0],
                STREAM[1],
                STREAM[2],
                "--include-partial-messages",
                "--no-session-persistence",
            ]],
        )
    },
    plain("gateway-ids", &[&["<<delegate>>"]]),
    plain(
        "gateway-fork",
        &[
            &["<<loop>>", "--session-id", SESSION],
            &["<<short>>", "--resume", SESSION, "--fork-session"],
        ],
    ),
    Scenario {
        keeps_stream: true,
        is_subscription: true,
        ..plain(
            "five-hour-refusal",
            &[&["<<refused>>", STREAM[0], STREAM[1], STREAM[2]]],
        )
    },
];

const fn plain(name: &'static str, starts: &'static [&'static [&'static str]]) -> Scenario {
    Scenario {
        name,
        starts,
        keeps_stream: false,
        is_subscription: false,
    }
}

fn main() -> anyhow::Result<()> {
    let mut words = std::env::args_os().skip(1).map(PathBuf::from);
    let agent = words.next().context("usage: agent CLI [PROGRAM]")?;
    let program = words.next().unwrap_or_else(|| "target/release/tokentail".into());
    let directory = tempfile::tempdir()?;
    let place = directory.path();
    let provider = Provider::start()?;
    let collector = Collector::start(&program, place)?;
    let mut differing = 0;
    for scenario in &SCENARIOS {
        let mount = place.join("runs").join(scenario.name).join("mount");
        std::fs::create_dir_all(&mount)?;
        for arguments in scenario.starts {
            start_agent(&agent, place, &mount, scenario, arguments, &provider)
                .with_context(|| format!("scenario {}", scenario.name))?;
        }
        let sent = provider.sent(scenario.name);
        let live = sums(&collector.ask(&["stop", scenario.name])?)?;
        let replayed = collector.ask(&["replay", &mount.to_string_lossy()])?;
        let replayed_sums = sums(&replayed)?;
        let mut is_equal = live == sent.sums && replayed_sums == sent.sums;
        let mut windows = String::new();
        if sent.refusals > 0 {
            let refused = refusals(&replayed);
            is_equal &= sent.refusals == refused && replayed["quota"]["may_start"]["decision"] == "wait";
            windows = format!(
                "; refused {} counted {refused}, may start: {}",
                sent.refusals, replayed["quota"]["may_start"]["decision"]
            );
        }
        ensure!(
            sent.sums.responses + sent.refusals > 0,
            "{}: the agent asked for nothing",
            scenario.name
        );
        println!(
            "{:<18} sent {:>2} responses {:>7} tokens, live {:>2} {:>7}, replay {:>2} {:>7}{windows}: {}",
            scenario.name,
            sent.sums.responses,
            total(&sent.sums),
            live.responses,
            total(&live),
            replayed_sums.responses,
            total(&replayed_sums),
            if is_equal { "equal" } else { "DIFFERENT" },
        );
        if !is_equal {
            differing += 1;
            println!(
                "  sent {:?}\n  live {live:?}\n  replay {replayed_sums:?}",
                sent.sums
            );
        }
    }
    collector.verify()?;
    provider.stop();
    ensure!(
        differing == 0,
        "{differing} of {} scenarios differ",
        SCENARIOS.len()
    );
    println!("{} scenarios: sent equals counted", SCENARIOS.len());
    Ok(())
}

fn total(sums: &Sums) -> u64 {
    sums.input + sums.output + sums.cache_creation + sums.cache_read
}

/// The sums of a document of `replay` or `stop`.
fn sums(document: &Value) -> anyhow::Result<Sums> {
    let totals = document.get("totals").unwrap_or(document);
    let figure = |from: &Value, name: &str| {
        from[name]
            .as_u64()
            .with_context(|| format!("no {name} in {document}"))
    };
    Ok(Sums {
        responses: figure(document, "messages").or_else(|_| figure(totals, "messages"))?,
        input: figure(totals, "input_tokens")?,
        output: figure(totals, "output_tokens")?,
        cache_creation: figure(totals, "cache_creation_input_tokens")?,
        cache_read: figure(totals, "cache_read_input_tokens")?,
    })
}

/// Number of refusals of the five-hour window in a summary.
fn refusals(document: &Value) -> u64 {
    let events = document["quota"]["limit_events"].as_array();
    let of_window = |event: &&Value| event["window"] == "five_hour";
    events.map_or(0, |events| events.iter().filter(of_window).count() as u64)
}

/// Starts the agent once and waits for its end. A refused request is no failure of this program.
fn start_agent(
    agent: &Path,
    place: &Path,
    mount: &Path,
    scenario: &Scenario,
    arguments: &[&str],
    provider: &Provider,
) -> anyhow::Result<()> {
    let config = place.join("config").join(scenario.name);
    let work = place.join("work");
    std::fs::create_dir_all(&config)?;
    std::fs::create_dir_all(&work)?;
    let projects = config.join("projects");
    if !projects.is_symlink() {
        std::os::unix::fs::symlink(mount, &projects)?;
    }
    let state = config.join(".claude.json");
    if !state.exists() {
        let trusted = serde_json::json!({
            "hasCompletedOnboarding": true,
            "customApiKeyResponses": {"approved": ["loopback-key"], "rejected": []},
            "projects": {work.to_string_lossy(): {"hasTrustDialogAccepted": true}},
            "bypassPermissionsModeAccepted": true,
        });
        std::fs::write(&state, trusted.to_string())?;
    }
    let stdout = if scenario.keeps_stream {
        Stdio::from(
            File::options()
                .create(true)
                .append(true)
                .open(mount.join("stream.jsonl"))?,
        )
    } else {
        Stdio::from(File::create(place.join("stdout"))?)
    };
    let credential = if scenario.is_subscription {
        "CLAUDE_CODE_OAUTH_TOKEN"
    } else {
        "ANTHROPIC_API_KEY"
    };
    let errors = place.join("stderr");
    let mut command = tokio::process::Command::new(agent);
    command
        .args(["-p", "--dangerously-skip-permissions"])
        .args(arguments)
        .current_dir(&work)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", place.join("home"))
        .env("SHELL", "/bin/sh")
        .env("LANG", "C.UTF-8")
        .env("CLAUDE_CONFIG_DIR", &config)
        .env(credential, "loopback-key")
        .env("ANTHROPIC_BASE_URL", provider.url(scenario.name))
        .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
        .env("DISABLE_TELEMETRY", "1")
        .env("DISABLE_AUTOUPDATER", "1")
        .env("DISABLE_ERROR_REPORTING", "1")
        .env("IS_SANDBOX", "1")
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(File::create(&errors)?)
        .kill_on_drop(true);
    let status = provider
        .within(AGENT_WAIT_MAX, async { command.status().await })?
        .with_context(|| format!("cannot start {}", agent.display()))?;
    let is_refused = provider.sent(scenario.name).refusals > 0;
    if !status.success() && !is_refused {
        bail!(
            "the agent ended with {status}: {}",
            std::fs::read_to_string(&errors).unwrap_or_default()
        );
    }
    Ok(())
}

/// The serving collector.
struct Collector {
    program: PathBuf,
    place: PathBuf,
    child: Child,
}

impl Collector {
    fn start(program: &Path, place: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(place.join("runs"))?;
        let settings = format!(
            "db = {:?}\n[http]\nlisten = \"off\"\n",
            place.join("tokentail.redb")
        );
        std::fs::write(place.join("tokentail.toml"), settings)?;
        let notify_socket = place.join("notify");
        let notices = UnixDatagram::bind(&notify_socket)?;
        notices.set_read_timeout(Some(COLLECTOR_WAIT_MAX))?;
        let child = command(program, place)
            .arg("serve")
            .env("NOTIFY_SOCKET", &notify_socket)
            .stderr(File::create(place.join("collector.log"))?)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let collector = Self {
            program: program.to_owned(),
            place: place.to_owned(),
            child,
        };
        let mut message = [0; 64];
        loop {
            let length = notices
                .recv(&mut message)
                .context("the collector does not become ready")?;
            if message[..length].starts_with(b"READY=1") {
                return Ok(collector);
            }
        }
    }

    /// A command's document.
    fn ask(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let output = command(&self.program, &self.place)
            .args(arguments)
            .arg("--json")
            .output()?;
        ensure!(
            output.status.success(),
            "{arguments:?} ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Stops it and runs the program's recount of every log.
    fn verify(mut self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.context("no pid")?, rustix::process::Signal::TERM)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "the collector ended with {status}");
        self.ask(&["verify"]).map(drop)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program with all of its files in `place`; only the collector uses the database.
fn command(program: &Path, place: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .arg("--config")
        .arg(place.join("tokentail.toml"))
        .arg("--runs-dir")
        .arg(place.join("runs"))
        .arg("--socket")
        .arg(place.join("socket"));
    command
}
