//! `quota` and `may-start`: asking how full the limits are, and whether a run may start.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::args::{self, Global, MarkState, QuotaCommand, Until};
use super::client::{self, ClientError};
use super::exit::{Exit, Failure};
use super::{commands, output, quota_table, text};
use crate::api::wire;
use crate::config::Settings;

/// While waiting, ask again after this long even if the answer named a later time: an operator or another run may
/// have changed it.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// And never sooner than this.
const ASK_AGAIN_MIN: Duration = Duration::from_millis(100);

/// Prints the table, or does what is to be done.
///
/// # Errors
/// Nobody can be asked.
pub fn quota(global: &Global, command: &args::Quota) -> Result<Exit, Failure> {
    let settings = commands::asking(global)?;
    match &command.command {
        None => show(global, &settings),
        Some(QuotaCommand::Mark(mark)) => self::mark(global, &settings, mark),
    }
}

fn show(global: &Global, settings: &Settings) -> Result<Exit, Failure> {
    let asked = client::get_json_blocking::<wire::Quota>(&settings.socket, "/v1/quota", client::TIMEOUT);
    let (quota, now, is_live) = match asked {
        Ok(quota) => (quota, Timestamp::now(), true),
        Err(error @ ClientError::NotRunning(_)) => {
            let summary = commands::stored_summary(settings, &error.into())?;
            (summary.quota, Timestamp::now(), false)
        }
        Err(error) => return Err(error.into()),
    };
    if global.json {
        output::json(&quota)?;
        return Ok(Exit::Ok);
    }
    output::human(|out| {
        if !is_live {
            writeln!(
                out,
                "no collector is running; this is what {} holds\n",
                settings.db.display()
            )?;
        }
        quota_table::write(out, &quota, now, output::Screen::stdout().columns)
    })?;
    Ok(Exit::Ok)
}

fn mark(global: &Global, settings: &Settings, mark: &args::Mark) -> Result<Exit, Failure> {
    let until = match mark.until {
        None => None,
        Some(Until::At(time)) => Some(time),
        Some(Until::After(length)) => Some(Timestamp::now().checked_add(length).map_err(|error| {
            Failure::new(Exit::Usage, format!("--until: no time is that far away: {error}"))
        })?),
    };
    let document = wire::Mark {
        state: match mark.state {
            MarkState::Exhausted => "exhausted",
            MarkState::Available => "available",
        }
        .to_owned(),
        until: until.map(|time| time.to_string()),
        reason: mark.reason.clone(),
    };
    let runtime = client::runtime(&settings.socket)?;
    let quota = runtime.block_on(async {
        let known: wire::Quota = client::get_json(&settings.socket, "/v1/quota", client::TIMEOUT).await?;
        let meant = meant(&known.accounts, &mark.account);
        let path = match &meant {
            Some((provider, account)) => {
                let (provider, account) = (client::escaped(provider), client::escaped(account));
                format!("/v1/accounts/{provider}/{account}/mark")
            }
            None => format!("/v1/quota/{}/mark", client::escaped(&mark.account)),
        };
        let quota = client::post_json::<wire::Quota>(&settings.socket, &path, &document, client::TIMEOUT);
        Ok::<_, Failure>((quota.await?, meant))
    });
    let (quota, meant) = quota?;
    if global.json {
        output::json(&quota)?;
        return Ok(Exit::Ok);
    }
    let of_it = |row: &&wire::Account| match &meant {
        Some((provider, account)) => row.provider == *provider && row.account == *account,
        None => row.account == mark.account,
    };
    let sentence = quota.accounts.iter().find(of_it).map(|row| row.sentence.clone());
    output::human(|out| writeln!(out, "{}", text::message(&sentence.unwrap_or_default())))?;
    Ok(Exit::Ok)
}

/// Provider and account that a word on the command line means; `None` leaves it to the collector, which knows what is
/// configured.
fn meant(accounts: &[wire::Account], word: &str) -> Option<(String, String)> {
    if let Some((provider, account)) = word.split_once(['/', ':']) {
        return Some((provider.to_owned(), account.to_owned()));
    }
    let is_it = |row: &&wire::Account| row.provider == word || row.account == word;
    let mut fitting = accounts.iter().filter(is_it);
    match (fitting.next(), fitting.next()) {
        (Some(one), None) => Some((one.provider.clone(), one.account.clone())),
        _ => None,
    }
}

/// Asks the admission question, and waits if that is wanted.
///
/// # Errors
/// No collector answers.
pub fn may_start(global: &Global, command: &args::MayStart) -> Result<Exit, Failure> {
    let settings = commands::asking(global)?;
    let runtime = client::runtime(&settings.socket)?;
    let asking = Asking {
        settings: &settings,
        path: path(command),
        began: Instant::now(),
        wait: command.wait,
    };
    let (answer, exit) = runtime.block_on(asking.answer())?;
    if global.json {
        output::json(&answer)?;
    } else {
        let width = output::Screen::stdout().columns;
        output::human(|out| quota_table::write_answer(out, &answer, width, usize::MAX))?;
    }
    Ok(exit)
}

struct Asking<'a> {
    settings: &'a Settings,
    path: String,
    began: Instant,
    #[expect(
        clippy::option_option,
        reason = "wait not at all, without end, or for so long"
    )]
    wait: Option<Option<Duration>>,
}

impl Asking<'_> {
    async fn answer(&self) -> Result<(wire::MayStart, Exit), Failure> {
        let mut last = self.ask().await?;
        loop {
            let exit = match last.decision.as_str() {
                "allow" => return Ok((last, Exit::Ok)),
                "unknown" if !self.is_still_reading().await => return Ok((last, Exit::Unknown)),
                "unknown" => Exit::Unknown,
                "wait" => Exit::No,
                _ => return Ok((last, Exit::No)),
            };
            if self.wait.is_none() {
                return Ok((last, exit));
            }
            let Some(pause) = self.pause(&last) else {
                return Ok((last, Exit::TryLater));
            };
            tokio::time::sleep(pause).await;
            // A collector that is being restarted is waited for too.
            match self.ask().await {
                Ok(answer) => last = answer,
                Err(ClientError::NotRunning(_) | ClientError::Timeout { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn ask(&self) -> Result<wire::MayStart, ClientError> {
        client::get_json(&self.settings.socket, &self.path, client::TIMEOUT).await
    }

    /// Whether more may be known in a moment, by waiting only.
    async fn is_still_reading(&self) -> bool {
        if self.wait.is_none() {
            return false;
        }
        let health = client::get_json::<wire::Health>(&self.settings.socket, "/healthz", client::TIMEOUT);
        health.await.is_ok_and(|health| !health.backlog_done)
    }

    /// How long to wait before asking again; `None` if the time is over.
    fn pause(&self, answer: &wire::MayStart) -> Option<Duration> {
        let until_retry = answer
            .retry_at
            .as_deref()
            .and_then(|time| time.parse::<Timestamp>().ok())
            .and_then(|time| Duration::try_from(time.duration_since(Timestamp::now())).ok());
        let pause = until_retry
            .unwrap_or(ASK_AGAIN_AFTER)
            .clamp(ASK_AGAIN_MIN, ASK_AGAIN_AFTER);
        match self.wait.flatten() {
            None => Some(pause),
            Some(wait) => {
                let left = wait.checked_sub(self.began.elapsed())?;
                (!left.is_zero()).then(|| pause.min(left))
            }
        }
    }
}

/// The route with its query.
fn path(command: &args::MayStart) -> String {
    let wishes = [
        ("provider", command.provider.as_deref()),
        ("account", command.account.as_deref()),
        ("model", command.model.as_deref()),
    ];
    format!("/v1/may-start{}", client::query(&wishes))
}
