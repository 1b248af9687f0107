//! `quota` and `may-start`: limit windows, account verdicts, admission of a run.

pub mod table;

use std::path::Path;

use crate::api::wire;
use crate::cli::args::{self, Global, MarkState, QuotaCommand, Until};
use crate::cli::client::{self, ClientError};
use crate::cli::exit::{Exit, Failure};
use crate::cli::print::numbers::time;
use crate::cli::print::{output, text};
use crate::cli::settings::{self, CollectorAddress};
use crate::cli::status;
use crate::cli::waiting::{AfterAnswer, AnswerWait};
use crate::clock::Clock;

/// Prints the table, or runs a subcommand.
///
/// # Errors
/// Neither a collector nor a database answers.
pub fn quota(global: &Global, command: &args::QuotaArgs) -> Result<Exit, Failure> {
    let asked = settings::asking(global)?;
    match &command.command {
        None => show(global, asked),
        Some(QuotaCommand::Mark(mark)) => self::mark(global, &asked.socket, mark),
    }
}

fn show(global: &Global, CollectorAddress { socket, settings }: CollectorAddress) -> Result<Exit, Failure> {
    let clock = Clock::SYSTEM;
    let asked = client::get_json_blocking::<wire::Quota>(&socket, "/v1/quota", client::TIMEOUT);
    let mut stored_in = None;
    let quota = match asked {
        Ok(quota) => quota,
        Err(error @ ClientError::NotRunning(_)) => {
            let settings = settings?;
            let summary = status::stored_summary(&settings, clock, &error.into())?;
            stored_in = Some(settings.db);
            summary.quota
        }
        Err(error) => return Err(error.into()),
    };
    if global.json {
        output::json(&quota)?;
        return Ok(Exit::Ok);
    }
    output::human(|out| {
        if let Some(db) = &stored_in {
            writeln!(
                out,
                "no collector is running; these are the contents of {}\n",
                db.display()
            )?;
        }
        table::write(out, &quota, clock.timestamp(), output::Screen::stdout().columns)
    })?;
    Ok(Exit::Ok)
}

fn mark(global: &Global, socket: &Path, mark: &args::MarkArgs) -> Result<Exit, Failure> {
    let until = match mark.until {
        None => None,
        Some(Until::At(time)) => Some(time),
        Some(Until::After(length)) => {
            Some(Clock::SYSTEM.timestamp().checked_add(length).map_err(|error| {
                Failure::new(Exit::Usage, format!("--until: no time is that far away: {error}"))
            })?)
        }
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
    let runtime = client::runtime(socket)?;
    let quota = runtime.block_on(async {
        let known: wire::Quota = client::get_json(socket, "/v1/quota", client::TIMEOUT).await?;
        let meant = meant(&known.accounts, &mark.account)?;
        let path = match &meant {
            Some((provider, account)) => {
                let (provider, account) = (client::escaped(provider), client::escaped(account));
                format!("/v1/accounts/{provider}/{account}/mark")
            }
            None => format!("/v1/quota/{}/mark", client::escaped(&mark.account)),
        };
        let quota = client::send_json::<wire::Quota>(
            socket,
            (client::Method::POST, &path),
            &document,
            client::TIMEOUT,
        );
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
    let account = quota.accounts.iter().find(of_it);
    let said = marked(account, &mark.account, &document);
    let width = output::Screen::stdout().columns;
    output::human(|out| {
        said.iter()
            .try_for_each(|line| writeln!(out, "{}", text::wrapped(line, width)))
    })?;
    Ok(Exit::Ok)
}

/// The result of a mark and the account's state afterwards: another cause may block it for longer.
fn marked(account: Option<&wire::Account>, word: &str, mark: &wire::Mark) -> Vec<String> {
    let name = account.map_or_else(
        || word.to_owned(),
        |account| format!("{}/{}", account.provider, account.account),
    );
    let name = text::name(&name);
    let done = if mark.state == "available" {
        format!("{name}: the mark is removed, and what was noted of a recovery")
    } else {
        let until = (mark.until.as_deref()).map_or_else(
            || "until the mark is removed".to_owned(),
            |until| format!("until {}", time(until)),
        );
        let reason = (mark.reason.as_deref())
            .map_or_else(String::new, |reason| format!(": {}", text::one_line(reason)));
        format!("{name}: marked as exhausted {until}{reason}")
    };
    let verdict = account.map(|account| format!("now: {}", text::one_line(&account.sentence)));
    std::iter::once(done).chain(verdict).collect()
}

/// Provider and account named by a word of the command line; `None` leaves the choice to the collector, which
/// has the configuration.
///
/// # Errors
/// The word names several accounts, or a window of one.
fn meant(accounts: &[wire::Account], word: &str) -> Result<Option<(String, String)>, Failure> {
    let name = |row: &wire::Account| format!("{}/{}", row.provider, row.account);
    let is_it = |row: &&wire::Account| row.provider == word || row.account == word;
    let fitting: Vec<&wire::Account> = accounts.iter().filter(is_it).collect();
    match fitting.as_slice() {
        [] => {}
        [one] => return Ok(Some((one.provider.clone(), one.account.clone()))),
        several => {
            let names: Vec<String> = several.iter().map(|row| name(row)).collect();
            let message = format!("{word} may be any of {}; name one of them", names.join(", "));
            return Err(Failure::new(Exit::Usage, message));
        }
    }
    let Some((provider, account)) = word.split_once(['/', ':']) else {
        return Ok(None);
    };
    let exact = |row: &wire::Account| row.provider == provider && row.account == account;
    let of_window = |row: &&wire::Account| {
        let rest = word
            .strip_prefix(&name(row))
            .or_else(|| word.strip_prefix(&row.account));
        rest.is_some_and(|rest| rest.starts_with(['/', ':']))
    };
    match accounts.iter().find(of_window) {
        Some(row) if !accounts.iter().any(exact) => Err(Failure::new(
            Exit::Usage,
            format!(
                "a mark is for a whole account, not for one of its windows; write {}",
                name(row)
            ),
        )),
        _ => Ok(Some((provider.to_owned(), account.to_owned()))),
    }
}

/// Asks for admission, and waits with `--wait`.
///
/// # Errors
/// No collector answers.
pub fn may_start(global: &Global, command: &args::MayStartArgs) -> Result<Exit, Failure> {
    let socket = settings::asking(global)?.socket;
    let runtime = client::runtime(&socket)?;
    let mut asking = Asking {
        socket: &socket,
        path: path(command),
        waiting: AnswerWait::new(command.wait, global.json, "may-start".to_owned()),
    };
    let (answer, exit) = runtime.block_on(asking.answer())?;
    let width = output::Screen::stdout().columns;
    output::document(global.json, &answer, |out| {
        table::write_answer(out, &answer, width, usize::MAX)
    })?;
    Ok(exit)
}

struct Asking<'a> {
    socket: &'a Path,
    path: String,
    waiting: AnswerWait,
}

impl Asking<'_> {
    async fn answer(&mut self) -> Result<(wire::MayStart, Exit), Failure> {
        let mut last = self.ask().await?;
        loop {
            if last.decision == "allow" {
                return Ok((last, Exit::Ok));
            }
            let pause = match self.waiting.after(&last, None) {
                AfterAnswer::AskAgain(pause) => pause,
                AfterAnswer::End(exit) => return Ok((last, exit)),
            };
            tokio::time::sleep(pause).await;
            // While waiting, a restart of the collector is waited for too.
            match self.ask().await {
                Ok(answer) => last = answer,
                Err(error) if error.is_away() || matches!(error, ClientError::Timeout { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn ask(&self) -> Result<wire::MayStart, ClientError> {
        client::get_json(self.socket, &self.path, client::TIMEOUT).await
    }
}

/// The route with its query.
fn path(command: &args::MayStartArgs) -> String {
    let parameters = [
        ("provider", command.provider.as_deref()),
        ("account", command.account.as_deref()),
        ("model", command.model.as_deref()),
    ];
    format!("/v1/may-start{}", client::query(&parameters))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(provider: &str, account: &str) -> wire::Account {
        wire::Account {
            provider: provider.to_owned(),
            account: account.to_owned(),
            sentence: format!("{provider}/{account} is blocked: five_hour was refused"),
            ..wire::Account::default()
        }
    }

    #[test]
    fn a_word_means_one_account_or_is_refused() {
        let accounts = [
            account("claude", "max-1"),
            account("claude", "team"),
            account("codex", "plus"),
        ];
        let one = |word: &str| meant(&accounts, word).unwrap();
        let is = |provider: &str, account: &str| Some((provider.to_owned(), account.to_owned()));
        assert_eq!(one("max-1"), is("claude", "max-1"));
        assert_eq!(one("codex"), is("codex", "plus"));
        assert_eq!(one("claude/max-1"), is("claude", "max-1"));
        assert_eq!(one("claude:max-1"), is("claude", "max-1"));
        assert_eq!(one("claude/other"), is("claude", "other"));
        assert_eq!(one("other"), None);
        for (word, why) in [
            (
                "claude",
                "claude may be any of claude/max-1, claude/team; name one of them",
            ),
            (
                "claude/max-1/five_hour",
                "not for one of its windows; write claude/max-1",
            ),
            (
                "max-1:five_hour",
                "not for one of its windows; write claude/max-1",
            ),
        ] {
            let failure = meant(&accounts, word).unwrap_err();
            assert_eq!(failure.code, Exit::Usage);
            assert!(failure.message.contains(why), "{failure}");
        }
    }

    #[test]
    fn a_mark_is_confirmed_beside_what_else_blocks() {
        let mark = |state: &str, until: Option<&str>, reason: Option<&str>| wire::Mark {
            state: state.to_owned(),
            until: until.map(str::to_owned),
            reason: reason.map(str::to_owned),
        };
        let account = account("claude", "max-1");
        let now = "now: claude/max-1 is blocked: five_hour was refused";
        for (mark, expected) in [
            (
                mark("exhausted", Some("2026-10-05T12:00:00Z"), Some("the demo")),
                "claude/max-1: marked as exhausted until 2026-10-05 12:00:00 UTC: the demo",
            ),
            (
                mark("exhausted", None, None),
                "claude/max-1: marked as exhausted until the mark is removed",
            ),
            (
                mark("available", None, None),
                "claude/max-1: the mark is removed, and what was noted of a recovery",
            ),
        ] {
            assert_eq!(marked(Some(&account), "max-1", &mark), [expected, now]);
        }
    }
}
