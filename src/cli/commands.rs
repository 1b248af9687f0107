//! The bodies of the commands.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::Access;

use super::args::{self, Global};
use super::client::ClientError;
use super::exit::{Exit, Failure};
use super::progress::Progress;
use super::{client, expect, output, render};

use crate::api::quota::Terms;
use crate::api::summary;
use crate::api::wire::{Health, Summary};
use crate::config::{self, ConfigError, Environment, Mistakes, Origin, Partial, Settings, VARIABLE_PREFIX};
use crate::globs::layout::Layout;
use crate::logfile::{LogFileError, glance};
use crate::quota::admission::{Reason, Unseen};
use crate::replay::{self, ReplayError, ReplayOptions};
use crate::store::{Store, StoreError, StoreOptions};
use crate::verify::VerifyError;

/// The control socket of the systemd service, and its directory for what lasts.
pub const SERVICE_SOCKET: &str = "/run/tokentail/tokentail.sock";
pub const SERVICE_STATE: &str = "/var/lib/tokentail";

/// Reads transcripts once and prints the summary.
///
/// # Errors
/// A path or the expected document cannot be read.
pub fn replay(global: &Global, command: &args::Replay) -> Result<Exit, Failure> {
    if let (Some(_), Some(path)) = (command.until, &global.db) {
        let path = path.display();
        return Err(Failure::new(
            Exit::Usage,
            format!(
                "lines that --until leaves out would never be read into --db {path}; give one of the two"
            ),
        ));
    }
    // A replay in memory must not need a home for a database it does not use.
    let in_memory = Global {
        db: Some(PathBuf::from("unused")),
        ..global.clone()
    };
    let settings = settings(if global.db.is_some() { global } else { &in_memory })?;
    let golden = command.expect.as_deref().map(expect::read_golden).transpose()?;
    let clock_given = command.now.or(command.until);
    let clock = clock_given.unwrap_or_else(Timestamp::now).as_millisecond();
    let options = ReplayOptions {
        paths: command.paths.clone(),
        globs: settings.watch.globs.clone(),
        layout: settings.runs.layout,
        layout_given: settings.origin("runs.layout") == Origin::Flag,
        limits: settings.limits,
        store: StoreOptions {
            path: global.db.clone(),
            cache_bytes: settings.store.cache_bytes,
        },
        commit_rows_max: settings.store.commit_rows_max,
        accounts: settings.accounts.clone(),
        quota_zone: settings.quota_zone.clone(),
        clock,
        until: command.until.map(Timestamp::as_millisecond),
        clock_given: clock_given.is_some(),
    };
    let progress = std::cell::OnceCell::new();
    let format = settings.log.format;
    let replayed = replay::replay(
        &options,
        |bytes| drop(progress.set(Progress::new("replay", bytes, format))),
        |so_far| {
            if let Some(progress) = progress.get() {
                progress.advance_to(so_far.bytes, so_far.files, so_far.responses);
            }
        },
    )?;
    drop(progress);
    print_warnings(global, &replayed.warnings);
    let Some((golden, path)) = golden.zip(command.expect.as_deref()) else {
        if global.json {
            output::json(&replayed.summary)?;
        } else {
            let width = output::Screen::stdout().columns;
            output::human(|out| render::summary(out, &replayed.summary, width))?;
        }
        return Ok(Exit::Ok);
    };
    let actual = serde_json::to_value(&replayed.summary).map_err(|error| {
        Failure::new(
            Exit::Bug,
            format!("the summary cannot be written as JSON: {error}"),
        )
    })?;
    let differences = expect::compare(&golden, &actual);
    if global.json {
        output::json(&expect::Outcome::new(&differences))?;
    } else {
        output::human(|out| expect::write_human(out, path, &differences))?;
    }
    Ok(expect::Outcome::new(&differences).exit())
}

/// Prints warnings to standard error. Nobody may be reading; the result is the same.
fn print_warnings(global: &Global, warnings: &[String]) {
    for warning in warnings {
        output::warn(global.json, warning);
    }
}

/// What `status --json` prints: the summary, and how the collector is if one answers.
#[derive(serde::Serialize)]
struct Status<'a> {
    #[serde(flatten)]
    summary: &'a Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    collector: Option<&'a Health>,
}

/// Prints the summary: the running collector's, or the database's own when none is up.
///
/// # Errors
/// Neither can be asked.
pub fn status(global: &Global) -> Result<Exit, Failure> {
    let CollectorAddress { socket, settings } = asking(global)?;
    let asked = client::get_json_blocking::<Summary>(&socket, "/v1/summary", client::TIMEOUT);
    let mut db = PathBuf::new();
    let (summary, health) = match asked {
        Ok(summary) => {
            let health = client::get_json_blocking::<Health>(&socket, "/healthz", client::TIMEOUT);
            (summary, health.ok())
        }
        Err(error @ ClientError::NotRunning(_)) => {
            let settings = settings?;
            db.clone_from(&settings.db);
            (stored_summary(&settings, &error.into())?, None)
        }
        Err(error) => return Err(error.into()),
    };
    let exit = match &health {
        Some(health) if health.status == "ok" => Exit::Ok,
        Some(_) => Exit::No,
        None => Exit::Unavailable,
    };
    if global.json {
        output::json(&Status {
            summary: &summary,
            collector: health.as_ref(),
        })?;
        return Ok(exit);
    }
    let stored = format!("no collector is running; this is what {} holds", db.display());
    let standing = (health.as_ref()).map_or(render::Standing::Stored(&stored), render::Standing::Collector);
    output::human(|out| render::status(out, &summary, standing, output::Screen::stdout()))?;
    Ok(exit)
}

/// The summary from the database itself.
///
/// # Errors
/// There is none, or it cannot be read.
pub fn stored_summary(settings: &Settings, no_answer: &Failure) -> Result<Summary, Failure> {
    if !settings.db.exists() {
        let message = format!(
            "{}; and there is no database {}",
            no_answer.message,
            settings.db.display()
        );
        return Err(Failure::new(Exit::Unavailable, message));
    }
    let options = StoreOptions {
        path: Some(settings.db.clone()),
        cache_bytes: settings.store.cache_bytes,
    };
    let store = Store::look(options).map_err(|error| match error {
        StoreError::InUse(path) => Failure::new(
            Exit::Unavailable,
            format!(
                "{}, but a collector has the database {}; name its socket with --socket",
                no_answer.message,
                path.display()
            ),
        ),
        error => error.into(),
    })?;
    let unseen = Unseen {
        reason: Reason::CollectorBlind,
        why: "no collector is running".to_owned(),
    };
    Ok(summary::collect(
        &store,
        &terms(settings, Some(&unseen), Timestamp::now()),
    )?)
}

/// What an answer from the database itself goes by.
pub fn terms<'a>(settings: &'a Settings, unseen: Option<&'a Unseen>, now: Timestamp) -> Terms<'a> {
    Terms {
        accounts: &settings.accounts,
        zone: &settings.quota_zone,
        unseen,
        now: now.as_millisecond(),
    }
}

/// Counts the transcripts anew, compares with the database, and mends it if asked to.
///
/// # Errors
/// The database or the transcripts cannot be read, or the database cannot be written.
pub fn verify(global: &Global, command: args::Verify) -> Result<Exit, Failure> {
    let mut settings = settings(global)?;
    choose_socket(&mut settings);
    let options = StoreOptions {
        path: Some(settings.db.clone()),
        cache_bytes: settings.store.cache_bytes,
    };
    let service_db = Path::new(SERVICE_STATE).join("tokentail.redb");
    let opened = if command.repair {
        Store::open_existing(options)
    } else {
        Store::look(options)
    };
    let store = opened.map_err(|error| match error {
        StoreError::InUse(path) => Failure::new(
            Exit::Unavailable,
            format!(
                "the database {} is in use by a collector, and a recount needs it for itself: stop the collector first; \
                 after its next start it reads what came meanwhile",
                path.display()
            ),
        ),
        error if !is_there(&settings.db) && is_there(&service_db) => {
            let mut failure = Failure::from(error);
            let of_service = format!(
                "; the service has {}: run this as root for that one",
                service_db.display()
            );
            failure.message.push_str(&of_service);
            failure
        }
        error => error.into(),
    })?;
    let report = if command.repair {
        crate::verify::repair(&store, &settings)?
    } else {
        crate::verify::verify(&store, &settings)?
    };
    if global.json {
        output::json(&report)?;
    } else {
        output::human(|out| {
            for difference in &report.differences {
                writeln!(out, "{difference}")?;
            }
            for note in &report.notes {
                writeln!(out, "note: {note}")?;
            }
            for unread in &report.unread {
                writeln!(out, "not compared: {unread}")?;
            }
            let counted = super::numbers::counted;
            let responses = counted(report.responses, "response");
            match report.differences_total {
                0 => writeln!(out, "{responses} recounted from the logs: no difference")?,
                count => writeln!(
                    out,
                    "{responses} recounted from the logs: {}",
                    counted(count, "difference")
                )?,
            }
            let Some(repair) = &report.repair else {
                return Ok(());
            };
            let done = &repair.repaired;
            writeln!(
                out,
                "repaired: {}, {}, {}, {}; {} left",
                counted(done.responses, "response"),
                counted(done.positions, "read position"),
                counted(done.runs, "run count"),
                counted(done.sums, "sum"),
                counted(repair.left, "difference")
            )?;
            writeln!(out, "the database as it was: {}", repair.backup.display())
        })?;
    }
    let left = report
        .repair
        .as_ref()
        .map_or(report.differences_total, |repair| repair.left);
    Ok(match left {
        0 if report.unread.is_empty() => Exit::Ok,
        0 => Exit::Io,
        _ => Exit::No,
    })
}

/// Every setting with its value and its origin, as a document.
#[must_use]
pub fn described(settings: &Settings) -> serde_json::Value {
    let entry = |value: serde_json::Value, origin: Origin| serde_json::json!({ "value": value, "origin": origin.to_string() });
    let described = settings.describe().into_iter();
    let mut values: serde_json::Map<String, serde_json::Value> = described
        .map(|one| (one.key.to_owned(), entry(one.value.into(), one.origin)))
        .collect();
    let accounts = serde_json::json!(settings.accounts.describe());
    values.insert("account".to_owned(), entry(accounts, settings.origin("account")));
    values.into()
}

/// Prints the OpenAPI document: JSON, whatever was asked for.
///
/// # Errors
/// Standard output takes nothing.
pub fn openapi() -> Result<Exit, Failure> {
    output::human(|out| out.write_all(crate::api::openapi::json().as_bytes()))?;
    Ok(Exit::Ok)
}

/// The settings of all layers, the flags on top.
///
/// # Errors
/// What is wrong, and where.
pub fn settings(global: &Global) -> Result<Settings, Failure> {
    Ok(load(global)?)
}

/// Where a collector is asked, and the settings for what is done without one.
pub struct CollectorAddress {
    pub socket: PathBuf,
    pub settings: Result<Settings, Failure>,
}

/// Chooses the collector that is asked. Where no socket is named and none is at the usual place, that is the service's,
/// which is there for root and for members of its group. A configuration that is wrong, or that the one who asks may
/// not read, is no reason not to ask.
///
/// # Errors
/// As [`settings`], if the configuration is wrong and no socket is to be found without it.
pub fn asking(global: &Global) -> Result<CollectorAddress, Failure> {
    let (address, note) = find_collector(global)?;
    if let Some(note) = note {
        output::warn(global.json, &note);
    }
    Ok(address)
}

/// As [`asking`]; why the settings are not used is returned and not printed.
///
/// # Errors
/// As [`asking`].
pub fn find_collector(global: &Global) -> Result<(CollectorAddress, Option<String>), Failure> {
    let service = Path::new(SERVICE_SOCKET);
    let error = match load(global) {
        Ok(mut settings) => {
            choose_socket(&mut settings);
            let address = CollectorAddress {
                socket: settings.socket.clone(),
                settings: Ok(settings),
            };
            return Ok((address, None));
        }
        Err(error) => error,
    };
    // Who names a socket does not mean another.
    if global.socket.is_none() && error.is_about_variable(&format!("{VARIABLE_PREFIX}SOCKET")) {
        return Err(error.into());
    }
    let is_of_store = is_only_without_a_place(&error);
    let why = error.to_string();
    let failure = Failure::from(error);
    let environment = Environment::from_process();
    let socket = global.socket.clone().or_else(|| {
        let mut places = environment.sockets(global.config.as_deref());
        places.push(service.to_owned());
        let there = places.iter().position(|place| is_there(place));
        // Without a place for a store of its own a command can still ask.
        let at = there.or(is_of_store.then_some(0))?;
        Some(places.swap_remove(at))
    });
    let Some(socket) = socket else {
        return Err(failure);
    };
    let note = (!is_of_store && failure.code != Exit::Permission).then(|| {
        let at = socket.display();
        format!("the configuration is not used ({why}); asking the collector on {at}")
    });
    let address = CollectorAddress {
        socket,
        settings: Err(failure),
    };
    Ok((address, note))
}

/// Whether nothing is wrong but that this user has no place of their own for a database.
#[must_use]
pub fn is_only_without_a_place(mistakes: &Mistakes) -> bool {
    let is_default = |mistake: &ConfigError| matches!(mistake, ConfigError::Default { .. });
    mistakes.left_out == 0 && mistakes.list.iter().all(is_default)
}

/// The service's socket where none is named and none is at the usual place, unless it is closed to a user who has a
/// database of their own. Who has none is led to it also while it is stopped, and who may use its database gets its
/// paths too.
pub fn choose_socket(settings: &mut Settings) {
    let (service, state) = (Path::new(SERVICE_SOCKET), Path::new(SERVICE_STATE));
    let is_default = |key| matches!(settings.origin(key), Origin::Default(_));
    let [socket, runs_dir, db] = ["socket", "runs_dir", "db"].map(is_default);
    if !socket || is_there(&settings.socket) {
        return;
    }
    let service_db = state.join("tokentail.redb");
    let has_none = db && !is_there(&settings.db);
    let uses_its_db = has_none && rustix::fs::access(&service_db, Access::READ_OK | Access::WRITE_OK).is_ok();
    if uses_its_db || glance(service).is_ok() || has_none && (is_there(service) || is_there(&service_db)) {
        service.clone_into(&mut settings.socket);
    }
    if uses_its_db {
        settings.db = service_db;
        if runs_dir {
            settings.runs_dir = state.join("runs");
        }
    }
}

/// Whether there is a socket at a place, or a directory before it that is closed to this user.
fn is_there(socket: &Path) -> bool {
    match glance(socket) {
        Ok(_) => true,
        Err(LogFileError::Io { source, .. }) => source.kind() == std::io::ErrorKind::PermissionDenied,
        Err(_) => false,
    }
}

/// [`settings`] with the mistakes as they came.
///
/// # Errors
/// What is wrong, and where.
pub fn load(global: &Global) -> Result<Settings, Mistakes> {
    let environment = Environment::from_process();
    Settings::load(flags(global), global.config.as_deref(), &environment)
}

/// The settings of the flags alone, whatever the variables and the file say.
///
/// # Errors
/// A flag is wrong.
pub fn defaults(global: &Global) -> Result<Settings, Failure> {
    let environment = Environment::from_process().without_settings();
    Ok(Settings::load(flags(global), None, &environment)?)
}

fn flags(global: &Global) -> Partial {
    let mut flags = Partial {
        runs_dir: global.runs_dir.clone(),
        db: global.db.clone(),
        socket: global.socket.clone(),
        ..Partial::default()
    };
    flags.runs.layout = global.layout.map(|layout| match layout {
        args::Layout::Runs => Layout::Runs,
        args::Layout::Projects => Layout::Projects,
    });
    flags.log.level = global.log_level.map(|level| level.as_str().to_owned());
    flags.log.format = global.log_format.map(|format| match format {
        args::LogFormat::Text => config::LogFormat::Text,
        args::LogFormat::Json => config::LogFormat::Json,
    });
    flags
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let code = match &error {
            StoreError::InUse(_) | StoreError::Closed { .. } => Exit::Unavailable,
            StoreError::Newer { .. } | StoreError::Older { .. } | StoreError::Damaged { .. } => Exit::BadData,
            StoreError::Full { .. }
            | StoreError::TooManyDamaged(_)
            | StoreError::Copy { .. }
            | StoreError::Displaced { .. } => Exit::Io,
            // It says by itself whose the file has to be.
            StoreError::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                Exit::Permission
            }
            StoreError::Io { source, .. } => return Self::of_io(source.kind(), error.to_string()),
            StoreError::Other { .. } => Exit::Bug,
        };
        Self::new(code, error.to_string())
    }
}

impl From<ReplayError> for Failure {
    fn from(error: ReplayError) -> Self {
        let code = match error {
            ReplayError::Store(error) => return error.into(),
            ReplayError::Path { ref source, .. }
            | ReplayError::LogFile(LogFileError::Io { ref source, .. }) => Exit::of_io(source.kind()),
            ReplayError::LogFile(_)
            | ReplayError::Nothing { .. }
            | ReplayError::NoTranscript { .. }
            | ReplayError::Compressed(_) => Exit::NoInput,
            ReplayError::TwiceTheSameRun(_) | ReplayError::Globs(_) => Exit::Usage,
            ReplayError::Stale { .. } => Exit::TryLater,
            ReplayError::Bounds(_) => Exit::BadData,
        };
        Self::new(code, error.to_string())
    }
}

impl From<VerifyError> for Failure {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Store(error) => error.into(),
            VerifyError::LogFile(LogFileError::Io { ref source, .. }) => {
                Self::new(Exit::of_io(source.kind()), error.to_string())
            }
            VerifyError::LogFile(_) => Self::new(
                Exit::NoInput,
                format!("{error}; name the directory with the runs with --runs-dir, or as runs_dir"),
            ),
        }
    }
}
