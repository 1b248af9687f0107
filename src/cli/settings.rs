//! The settings of a command, and the address of its collector.

use std::path::{Path, PathBuf};

use rustix::fs::Access;

use super::args::{self, Global};
use super::exit::{Exit, Failure};
use super::print::output;
use crate::config::{self, ConfigError, Environment, Mistakes, Origin, Partial, Settings, VARIABLE_PREFIX};
use crate::globs::layout::Layout;
use crate::logfile::{LogFileError, stat_path};

/// The control socket of the systemd service, and its state directory.
pub const SERVICE_SOCKET: &str = "/run/tokentail/tokentail.sock";
pub const SERVICE_STATE: &str = "/var/lib/tokentail";

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

/// The settings of all layers, with flags first.
///
/// # Errors
/// The mistakes, with their places.
pub fn settings(global: &Global) -> Result<Settings, Failure> {
    Ok(load(global)?)
}

/// The collector's socket, and the settings for work without a collector.
pub struct CollectorAddress {
    pub socket: PathBuf,
    pub settings: Result<Settings, Failure>,
}

/// Chooses the collector to ask. If no socket is configured and none is at the usual place, the service's
/// socket is used, which is open to root and to members of its group. An invalid or unreadable configuration
/// does not prevent a request.
///
/// # Errors
/// As [`settings`], if the configuration is invalid and no socket is found without it.
pub fn asking(global: &Global) -> Result<CollectorAddress, Failure> {
    let (address, note) = find_collector(global)?;
    if let Some(note) = note {
        output::warn(global.json, &note);
    }
    Ok(address)
}

/// As [`asking`]; the reason for ignoring the settings is returned instead of printed.
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
    // A socket that was named is not replaced by another.
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
        // A command can still ask a collector without a place for a store of its own.
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

/// True if the only mistake is that this user has no place for a database.
#[must_use]
pub fn is_only_without_a_place(mistakes: &Mistakes) -> bool {
    let is_default = |mistake: &ConfigError| matches!(mistake, ConfigError::Default { .. });
    mistakes.left_out == 0 && mistakes.list.iter().all(is_default)
}

/// Chooses the service's socket if none is configured and none is at the usual place, unless it is closed to
/// a user who has a database. A user without a database gets it also while the service is stopped; a user who
/// may use the service's database gets its paths too.
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
    if uses_its_db || stat_path(service).is_ok() || has_none && (is_there(service) || is_there(&service_db)) {
        service.clone_into(&mut settings.socket);
    }
    if uses_its_db {
        settings.db = service_db;
        if runs_dir {
            settings.runs_dir = state.join("runs");
        }
    }
}

/// True if there is a socket at the path, or a directory before it is closed to this user.
pub fn is_there(socket: &Path) -> bool {
    match stat_path(socket) {
        Ok(_) => true,
        Err(LogFileError::Io { source, .. }) => source.kind() == std::io::ErrorKind::PermissionDenied,
        Err(_) => false,
    }
}

/// The configuration file, for a sentence about a reading of the settings that hangs.
#[must_use]
pub fn named_file(global: &Global) -> &Path {
    global
        .config
        .as_deref()
        .unwrap_or(Path::new("the configuration file"))
}

/// [`settings`] with the mistakes as a list.
///
/// # Errors
/// The mistakes, with their places.
pub fn load(global: &Global) -> Result<Settings, Mistakes> {
    let environment = Environment::from_process();
    Settings::load(flags(global), global.config.as_deref(), &environment)
}

/// The settings of the flags alone, without variables and file.
///
/// # Errors
/// A flag is invalid.
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
        args::LayoutArg::Runs => Layout::Runs,
        args::LayoutArg::Projects => Layout::Projects,
    });
    flags.log.level = global.log_level.map(|level| level.into_str().to_owned());
    flags.log.format = global.log_format.map(|format| match format {
        args::LogFormatArg::Text => config::LogFormat::Text,
        args::LogFormatArg::Json => config::LogFormat::Json,
    });
    flags
}
