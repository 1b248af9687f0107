//! `doctor`: checks an installation and prints findings with remedies. It changes nothing.

mod report;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};

use super::access::{self, PASS, READ, Stop, WRITE, Who};
use super::args::Global;
use super::client::{self, ClientError};
use super::exit::{Exit, Failure};
use super::finding::Finding;
use super::ground::{self, Runs};
use super::path_checks::PathChecks;
use super::print::numbers::{self, bytes, counted, grouped};
use super::settings::{self, SERVICE_SOCKET};
use crate::api::wire::{Health, Quota, Run, SettingsInEffect, Version};
use crate::clock::Clock;
use crate::config::{Mistakes, Origin, Settings};
use crate::model::AccountId;
use report::{CheckMark, DoctorReport};

const VERSION: &str = env!("CARGO_PKG_VERSION");
const WATCHES_MAX: &str = "/proc/sys/fs/inotify/max_user_watches";
/// Free disk space below this is reported, in bytes.
const FREE_BYTES_MIN: u64 = 1 << 30;
/// Largest accepted lead of a line's time over this machine's clock.
const AHEAD_MAX: SignedDuration = SignedDuration::from_mins(5);
/// Directories that the systemd unit hides.
const HIDDEN: [&str; 4] = ["/home", "/root", "/run/user", "/tmp"];
/// Most names in one sentence.
const NAMES_MAX: usize = 5;

/// The answers of a running collector.
#[derive(Debug)]
struct Answered {
    version: Version,
    settings: Result<SettingsInEffect, ClientError>,
    health: Result<Health, ClientError>,
    runs: Result<Vec<Run>, ClientError>,
    quota: Result<Quota, ClientError>,
    /// The user it runs as.
    who: Option<Who>,
}

/// Runs all checks and prints the results.
///
/// # Errors
/// Standard output cannot be written.
pub fn doctor(global: &Global) -> Result<Exit, Failure> {
    let now = Clock::SYSTEM.timestamp();
    let mut report = DoctorReport::default();
    let checks = PathChecks::default();
    let of_load = global.clone();
    let loaded = report.check(
        &checks,
        ("configuration", settings::named_file(global)),
        move |report| {
            let loaded = settings::load(&of_load);
            configuration(report, &loaded);
            let is_default = match &loaded {
                Ok(settings) => matches!(settings.origin("socket"), Origin::Default(_)),
                Err(_) => of_load.socket.is_none(),
            };
            let found = settings::find_collector(&of_load);
            (found.ok().map(|(address, _)| address), is_default)
        },
    );
    let (address, is_default) = loaded.unwrap_or((None, global.socket.is_none()));
    // The service is looked for even with an invalid configuration.
    let named = global.socket.as_deref().unwrap_or(Path::new(SERVICE_SOCKET));
    let socket_path = address
        .as_ref()
        .map_or(named.to_owned(), |address| address.socket.clone());
    let is_service = socket_path == Path::new(SERVICE_SOCKET);
    let there = socket_path.clone();
    // To connect is a call into the filesystem too.
    let answers = report.check(&checks, ("socket", &socket_path), move |_| there.exists());
    let answered = answers.map(|_| socket(&mut report, &socket_path, is_default));
    let is_closed = matches!(answered, Some(Err(true)));
    let answered = answered.and_then(Result::ok);
    if let Some(answered) = &answered {
        version(&mut report, answered);
    }
    let own = address.and_then(|address| address.settings.ok());
    if is_closed {
        // This user's settings may differ from those of the running collector.
        let what = "nothing else is checked: this user's settings may differ from the collector's";
        report.add("settings", CheckMark::Warn, Finding::bare(what));
    } else if let Some(settings) = effective(&mut report, own, answered.as_ref()) {
        let who = who_collects(&settings, answered.as_ref(), &checks);
        let health = answered
            .as_ref()
            .and_then(|answered| answered.health.as_ref().ok());
        let is_well = health.is_some_and(|health| health.status == "ok");
        token(&mut report, &settings, &checks, answered.is_some());
        runs_directory(
            &mut report,
            &settings,
            (&who, &checks),
            is_service && !is_well,
            answered.is_some(),
        );
        watches(&mut report, answered.as_ref());
        accounts(&mut report, &settings, answered.as_ref());
        newest_line(&mut report, answered.as_ref(), now);
        let db = settings.db.clone();
        report.check(&checks, ("database", &db), move |report| {
            database(report, &settings, &who);
        });
    } else {
        watches(&mut report, answered.as_ref());
        newest_line(&mut report, answered.as_ref(), now);
    }
    health(&mut report, answered.as_ref());
    report.print(global)?;
    Ok(if report.fails() { Exit::No } else { Exit::Ok })
}

/// The settings that the checks use: the collector's, or this user's if none answers.
fn effective(
    report: &mut DoctorReport,
    own: Option<Settings>,
    answered: Option<&Answered>,
) -> Option<Settings> {
    const NAME: &str = "settings";
    const OF_USER: &str = "the checks below use this user's";
    match answered.map(|answered| &answered.settings) {
        Some(Ok(theirs)) => {
            let file = theirs.config_file.as_deref();
            match Settings::of_document(&theirs.settings, file) {
                Ok(settings) => {
                    let from = file.unwrap_or("its flags and variables, without a file");
                    report.ok(NAME, format!("the collector's, from {from}"));
                    return Some(settings);
                }
                Err(mistakes) => {
                    let what = format!("the collector's cannot be read ({mistakes}); {OF_USER}");
                    report.add(NAME, CheckMark::Warn, Finding::bare(what));
                }
            }
        }
        None if own.is_none() => {
            let what = "neither a collector's nor this user's are available: runs, accounts and database are not checked";
            report.add(NAME, CheckMark::Warn, Finding::bare(what));
        }
        Some(Err(error)) => {
            let what = format!("the collector does not answer its settings ({error}); {OF_USER}");
            report.add(NAME, CheckMark::Warn, Finding::bare(what));
        }
        None => report.ok(NAME, format!("no collector answers its settings; {OF_USER}")),
    }
    own
}

fn configuration(report: &mut DoctorReport, loaded: &Result<Settings, Mistakes>) {
    const NAME: &str = "configuration";
    match loaded {
        Ok(settings) => {
            let what = match &settings.config_file {
                Some(path) => format!("{} is in order", path.display()),
                None => "no file, so the defaults, flags and variables".to_owned(),
            };
            report.ok(NAME, what);
            for doubt in &settings.doubts {
                let hint = "`tokentail check-config` shows the place";
                report.add(NAME, CheckMark::Warn, Finding::new(doubt.to_string(), hint));
            }
        }
        Err(mistakes) if settings::is_only_without_a_place(mistakes) => {
            let what = format!("no file, so the defaults; {mistakes}");
            report.add(NAME, CheckMark::Warn, Finding::bare(what));
        }
        Err(mistakes) => {
            let todo = "`tokentail check-config` shows every mistake with its place";
            let first = mistakes.list.first().map(ToString::to_string).unwrap_or_default();
            let more = mistakes.list.len() + mistakes.left_out - 1;
            let what = if more == 0 {
                first
            } else {
                format!("{first} (and {more} more)")
            };
            report.add(NAME, CheckMark::Fail, Finding::new(what, todo));
        }
    }
}

fn token(report: &mut DoctorReport, settings: &Settings, checks: &PathChecks, is_running: bool) {
    match ground::token(settings, checks) {
        Some((finding, true)) => report.add("token", CheckMark::Fail, finding),
        // The collector has read it, even if this user cannot.
        Some((finding, false)) if !is_running => report.add("token", CheckMark::Warn, finding),
        _ => {}
    }
}

/// Connects to the collector; the error distinguishes a socket that is closed to this user.
fn socket(report: &mut DoctorReport, socket: &Path, is_default: bool) -> Result<Answered, bool> {
    const NAME: &str = "socket";
    match ask(socket) {
        Ok(answered) => {
            let as_whom = answered
                .who
                .as_ref()
                .map_or_else(String::new, |who| format!(", as user {}", who.name));
            report.ok(
                NAME,
                format!("a collector answers on {}{as_whom}", socket.display()),
            );
            Ok(answered)
        }
        Err(error) => {
            let closed = closed_directory(socket, is_default, &error);
            let is_closed = closed.is_some();
            let finding = match (closed, &error) {
                (Some(directory), _) => not_let_in(&directory),
                (None, ClientError::NotRunning(_)) => {
                    let is_left = if socket.exists() {
                        ", though its file is there"
                    } else {
                        ""
                    };
                    Finding::new(
                        format!("no collector answers on {}{is_left}", socket.display()),
                        "start one: systemctl start tokentail, or tokentail serve; or name its socket with --socket",
                    )
                }
                (None, error) => Finding::bare(error.to_string()),
            };
            report.add(NAME, CheckMark::Fail, finding);
            Err(is_closed)
        }
    }
}

/// The directory of the socket, or the socket, if this user has no access.
fn closed_directory(socket: &Path, is_default: bool, error: &ClientError) -> Option<PathBuf> {
    let this = Who::this();
    let service = Path::new(SERVICE_SOCKET);
    let tried = match error {
        ClientError::Connect { error, .. } if error.kind() == std::io::ErrorKind::PermissionDenied => socket,
        ClientError::NotRunning(_) if is_default => service,
        _ => return None,
    };
    match access::stop_on_the_way(tried.parent()?, &this, PASS) {
        Some(Stop::Denied(directory, _)) => Some(directory),
        None if !this.may(tried, READ | WRITE).unwrap_or(true) => Some(tried.to_owned()),
        _ => None,
    }
}

fn not_let_in(path: &Path) -> Finding {
    let this = Who::this();
    let found = std::fs::metadata(path).map(|found| (found.uid(), found.gid(), found.mode()));
    let (owner, group, mode) = found.unwrap_or_default();
    // A directory needs execute permission, a socket write permission. Joining root's group is never
    // recommended.
    let of_group = if path.is_dir() { PASS } else { WRITE };
    if group == 0 || (mode >> 3) & of_group == 0 {
        let who = Who::of_uid(owner).name;
        let what = format!(
            "{} is open only to user {who}, and this is user {}",
            path.display(),
            this.name
        );
        let todo = if owner == 0 {
            "ask as root".to_owned()
        } else {
            format!("run this as root or as {who}")
        };
        return Finding::new(what, todo);
    }
    let name = access::group_name(group);
    Finding::new(
        format!(
            "{} is open to group {name}, and user {} is not in it",
            path.display(),
            this.name
        ),
        format!(
            "sudo usermod -aG {name} {}, then log in again; or run this as root",
            this.name
        ),
    )
}

fn ask(socket: &Path) -> Result<Answered, ClientError> {
    let timeout = client::TIMEOUT;
    client::runtime(socket)?.block_on(async {
        let version = client::get_json(socket, "/version", timeout).await?;
        let process = client::peer(socket).await;
        // At once: while the database hangs, some have no answer.
        let (settings, health, runs, quota) = tokio::join!(
            client::get_json(socket, "/v1/settings", timeout),
            client::get_json(socket, "/healthz", timeout),
            client::get_json(socket, "/v1/runs", timeout),
            client::get_json(socket, "/v1/quota", timeout),
        );
        Ok(Answered {
            version,
            settings,
            health,
            runs,
            quota,
            who: process.map(|(pid, uid)| pid.and_then(Who::of_process).unwrap_or_else(|| Who::of_uid(uid))),
        })
    })
}

/// The user that reads the logs: that of the running collector, else the owner of the database, else this
/// user.
fn who_collects(settings: &Settings, answered: Option<&Answered>, checks: &PathChecks) -> Who {
    if let Some(who) = answered.and_then(|answered| answered.who.clone()) {
        return who;
    }
    let db = settings.db.clone();
    let owner = checks.run(&settings.db, move |_| {
        let owned = [Some(&*db), db.parent()].into_iter().flatten();
        let mut owners = owned.filter_map(|path| std::fs::metadata(path).ok());
        owners.next().map(|found| found.uid())
    });
    let this = Who::this();
    // If that hangs, the check of the database says so.
    match owner.ok().flatten() {
        Some(uid) if uid != this.uid => Who::of_uid(uid),
        _ => this,
    }
}

fn version(report: &mut DoctorReport, answered: &Answered) {
    let theirs = &answered.version.version;
    if theirs == VERSION {
        report.ok(
            "version",
            format!("{VERSION}, the collector's and this program's"),
        );
    } else {
        let finding = Finding::new(
            format!("the collector is {theirs}, this program is {VERSION}"),
            "restart the collector after an upgrade: systemctl restart tokentail",
        );
        report.add("version", CheckMark::Warn, finding);
    }
}

fn runs_directory(
    report: &mut DoctorReport,
    settings: &Settings,
    (who, checks): (&Who, &PathChecks),
    may_be_hidden: bool,
    is_running: bool,
) {
    const NAME: &str = "runs";
    let directory = settings.runs_dir.display();
    let (path, of_check) = (settings.runs_dir.clone(), who.clone());
    let way = move |_: &mut _| access::stop_on_the_way(&path, &of_check, READ | PASS);
    let Some(way) = report.check(checks, (NAME, &settings.runs_dir), way) else {
        return;
    };
    match way {
        Some(stop) => {
            let mark = match stop {
                Stop::Denied(..) | Stop::NoDirectory(_) => CheckMark::Fail,
                // A running collector reads nothing then.
                Stop::Missing(_) if is_running => CheckMark::Fail,
                Stop::Missing(_) | Stop::Unseen(..) => CheckMark::Warn,
            };
            return report.add(NAME, mark, ground::way(&stop, who));
        }
        None => report.ok(NAME, format!("user {} can reach and list {directory}", who.name)),
    }
    if may_be_hidden && HIDDEN.iter().any(|hidden| settings.runs_dir.starts_with(hidden)) {
        let finding = Finding::new(
            format!("the unit hides {} from the service", HIDDEN.join(", ")),
            "its drop-in runs-in-home.conf brings one directory back: tokentail.service(8) says where it is",
        );
        report.add(NAME, CheckMark::Warn, finding);
    }
    match Runs::scan(settings, who, checks) {
        Ok(runs) => {
            for finding in runs.hanging(settings) {
                report.add(NAME, CheckMark::Fail, finding);
            }
            let layout = settings.runs.layout;
            let (closed, findings) = (runs.closed(who), runs.findings(settings));
            let what = format!("{layout}: {} in {directory}", runs.sentence(layout));
            report.ok("layout", what);
            for finding in closed {
                report.add("layout", CheckMark::Fail, finding);
            }
            for finding in findings {
                report.add("layout", CheckMark::Warn, finding);
            }
        }
        Err(error) => {
            let what = format!("not checked as user {}: {error}", Who::this().name);
            report.add(
                "layout",
                CheckMark::Warn,
                Finding::new(what, "run this again as root"),
            );
        }
    }
}

fn watches(report: &mut DoctorReport, answered: Option<&Answered>) {
    const NAME: &str = "watches";
    let limit = std::fs::read_to_string(WATCHES_MAX).ok();
    let limit: Option<u64> = limit.and_then(|text| text.trim().parse().ok());
    let of = limit.map_or_else(String::new, |limit| {
        format!(", of {} that a user may have", grouped(limit))
    });
    let Some(health) = answered.and_then(|answered| answered.health.as_ref().ok()) else {
        if let Some(limit) = limit {
            report.ok(NAME, format!("a user may have {}", grouped(limit)));
        }
        return;
    };
    let what = format!(
        "{} in use{of}",
        counted(health.watches, "directory watch").replace("watchs", "watches")
    );
    if health.watching == "events" && health.unwatched == 0 {
        return report.ok(NAME, what);
    }
    let wanted = limit.unwrap_or(0).max(health.watches + health.unwatched) * 2;
    let what = format!(
        "{what}, {} without; changes there are found by scanning",
        grouped(health.unwatched)
    );
    let todo = format!("sudo sysctl fs.inotify.max_user_watches={wanted}, and write it to /etc/sysctl.d");
    report.add(NAME, CheckMark::Warn, Finding::new(what, todo));
}

fn accounts(report: &mut DoctorReport, settings: &Settings, answered: Option<&Answered>) {
    const NAME: &str = "accounts";
    let configured: Vec<&AccountId> = settings.accounts.rules().iter().map(|rules| &rules.id).collect();
    let names = |list: &[String]| {
        let more = list.len().saturating_sub(NAMES_MAX);
        let shown = list[..list.len() - more].join(", ");
        if more == 0 {
            shown
        } else {
            format!("{shown} and {more} more")
        }
    };
    let configured_names: Vec<String> = configured.iter().map(ToString::to_string).collect();
    if settings.accounts.configured {
        let what = format!(
            "{}: {}",
            counted(configured.len() as u64, "account"),
            names(&configured_names)
        );
        report.ok(NAME, what);
    } else {
        report.ok(NAME, "none is configured: all runs belong to claude/default");
    }
    let Some(answered) = answered else { return };
    let id = |provider: &str, name: &str| format!("{provider}/{name}");
    if let (Ok(runs), true, false) = (
        &answered.runs,
        settings.accounts.configured,
        settings.accounts.is_open(),
    ) {
        let rest = AccountId::default().to_string();
        let of_runs = runs.iter().map(|run| id(&run.provider, &run.account));
        let mut unknown: Vec<String> = of_runs
            .filter(|name| *name != rest && !configured_names.contains(name))
            .collect();
        unknown.sort_unstable();
        unknown.dedup();
        if !unknown.is_empty() {
            let what = format!(
                "runs are counted for accounts that are not configured: {}",
                names(&unknown)
            );
            let todo = "add an [[account]] table for each, or correct the labels that runs are started with";
            report.add(NAME, CheckMark::Warn, Finding::new(what, todo));
        }
    }
    if let (Ok(quota), true) = (&answered.quota, settings.accounts.configured) {
        let has_reading = |name: &String| {
            quota
                .windows
                .iter()
                .any(|window| id(&window.provider, &window.account) == *name)
        };
        let silent: Vec<String> = configured_names
            .into_iter()
            .filter(|name| !has_reading(name))
            .collect();
        if !silent.is_empty() {
            let what = format!("nothing was observed yet of the windows of {}", names(&silent));
            let todo = "run one agent with it, or report its limits: POST /v1/observations";
            report.add(NAME, CheckMark::Warn, Finding::new(what, todo));
        }
    }
}

fn newest_line(report: &mut DoctorReport, answered: Option<&Answered>, now: Timestamp) {
    const NAME: &str = "newest line";
    if let Some(runs) = answered.and_then(|answered| answered.runs.as_ref().ok()) {
        let timed = runs.iter().filter_map(|run| {
            let at: Timestamp = run.last_activity.as_ref()?.parse().ok()?;
            Some((at, &run.id))
        });
        match timed.max() {
            None => report.add(
                NAME,
                CheckMark::Warn,
                Finding::new(
                    "no line has been read yet",
                    "start a run; its logs are to appear where the layout expects them",
                ),
            ),
            Some((at, run)) if at.duration_since(now) > AHEAD_MAX => {
                let ahead = at.duration_since(now);
                let what = format!(
                    "run {run} has a line that is {} ahead of this machine's clock",
                    round(ahead)
                );
                report.add(
                    NAME,
                    CheckMark::Warn,
                    Finding::new(what, "compare the clocks: timedatectl"),
                );
            }
            Some((at, run)) => {
                report.ok(
                    NAME,
                    format!(
                        "{} ago, in run {run}",
                        numbers::age(now.duration_since(at).as_secs().max(0).unsigned_abs())
                    ),
                );
            }
        }
    }
    report.ok("clock", numbers::time(&now.to_string()));
}

/// The length in its two largest units.
fn round(length: SignedDuration) -> String {
    numbers::length(length.as_secs().max(0).unsigned_abs())
}

fn database(report: &mut DoctorReport, settings: &Settings, who: &Who) {
    const NAME: &str = "database";
    let path = settings.db.display();
    let what = match std::fs::metadata(&settings.db) {
        Ok(found) if !found.is_file() => {
            let finding = Finding::new(format!("{path} is not a regular file"), "name another with --db");
            return report.add(NAME, CheckMark::Fail, finding);
        }
        Ok(found) => {
            if let Some(finding) = no_database(&settings.db) {
                return report.add(NAME, CheckMark::Fail, finding);
            }
            format!("{path}, {}", bytes(found.len()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => format!("{path}, not there yet"),
        Err(error) => {
            let finding = Finding::new(format!("{path}: {error}"), "run this again as root");
            return report.add(NAME, CheckMark::Warn, finding);
        }
    };
    let directory = settings.db.ancestors().skip(1).find(|path| path.exists());
    if let Some(finding) = ground::place_for(&settings.db, who) {
        return report.add(NAME, CheckMark::Fail, finding);
    }
    let free = directory.and_then(|directory| rustix::fs::statvfs(directory).ok());
    let Some(free) = free.map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize)) else {
        return report.ok(NAME, what);
    };
    let what = format!("{what}, {} of disk free", bytes(free));
    if free < FREE_BYTES_MIN {
        return report.add(NAME, CheckMark::Warn, Finding::new(what, "free some space"));
    }
    report.ok(NAME, what);
}

/// The finding for a file that is no database. A file that this user cannot read is not judged.
fn no_database(path: &Path) -> Option<Finding> {
    let is_one = crate::store::is_database(path).ok()?;
    (!is_one).then(|| {
        Finding::new(
            format!("{} is not a database of tokentail, or is damaged", path.display()),
            "the next start sets it aside and counts the logs again; if it is something else, name another with --db",
        )
    })
}

fn health(report: &mut DoctorReport, answered: Option<&Answered>) {
    const NAME: &str = "health";
    match answered.map(|answered| &answered.health) {
        None => {}
        Some(Err(error)) => report.add(NAME, CheckMark::Fail, Finding::bare(error.to_string())),
        Some(Ok(health)) => {
            let mark = match health.status.as_str() {
                "ok" => CheckMark::Ok,
                "degraded" => CheckMark::Warn,
                _ => CheckMark::Fail,
            };
            let starts = if health.ready { "" } else { ", still starting" };
            report.add(NAME, mark, Finding::bare(format!("{}{starts}", health.status)));
            for reason in &health.reasons {
                report.add(NAME, mark, Finding::bare(reason));
            }
            for notice in &health.notices {
                report.add(NAME, CheckMark::Warn, Finding::bare(notice));
            }
        }
    }
}
