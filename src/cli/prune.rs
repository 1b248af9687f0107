//! `prune`: removes old details, sums, or everything that was counted.

use std::time::Duration;

use super::args::{self, Global};
use super::client::{self, ClientError};
use super::compact;
use super::exit::{Exit, Failure};
use super::print::numbers::{bytes, counted, grouped};
use super::print::{output, text};
use super::settings;
use crate::api::document::prune::{PruneFigures, PruneScope, answer};
use crate::api::wire;
use crate::clock::Clock;
use crate::config::Settings;
use crate::store::prune::{PruneStep, prune_all_steps};

/// Longest time for a prune by the collector.
const PRUNED_WITHIN: Duration = Duration::from_hours(1);

/// Prunes the database of the collector or, without one, the named database.
///
/// # Errors
/// Neither can be used.
pub fn prune(global: &Global, command: args::Prune) -> Result<Exit, Failure> {
    let scope = match command.older {
        Some(age) if command.totals => PruneScope::Totals(age),
        Some(age) => PruneScope::Details(age),
        None => PruneScope::All,
    };
    let lacks_yes = !command.yes && !command.dry_run && !matches!(scope, PruneScope::Details(_));
    let done = pruned(global, scope, command.dry_run || lacks_yes)?;
    let mut lines = lines(&done);
    if lacks_yes {
        lines.push("Nothing was removed; add --yes to do it.".to_owned());
    }
    let width = output::Screen::stdout().columns;
    output::document(global.json, &done, |out| {
        lines
            .iter()
            .try_for_each(|line| writeln!(out, "{}", text::wrapped(line, width)))
    })?;
    Ok(if lacks_yes { Exit::No } else { Exit::Ok })
}

fn pruned(global: &Global, scope: PruneScope, dry_run: bool) -> Result<wire::PruneAnswer, Failure> {
    // A database that is named, and no socket, is meant itself.
    if global.db.is_some() && global.socket.is_none() {
        return prune_file(&settings::settings(global)?, scope, dry_run);
    }
    let asked = settings::asking(global)?;
    let socket = asked.socket;
    let request = scope.request(dry_run);
    let done = client::runtime(&socket)?.block_on(client::send_json(
        &socket,
        (client::Method::POST, "/v1/prune"),
        &request,
        PRUNED_WITHIN,
    ));
    match done {
        Ok(done) => Ok(done),
        Err(ClientError::NotRunning(_)) if global.db.is_some() => {
            prune_file(&asked.settings?, scope, dry_run)
        }
        Err(error @ ClientError::NotRunning(_)) => {
            let mut failure = Failure::from(error);
            failure
                .message
                .push_str("; for the database of a stopped collector, name it with --db");
            Err(failure)
        }
        Err(error) => Err(error.into()),
    }
}

/// Prunes a database that no collector uses.
fn prune_file(settings: &Settings, scope: PruneScope, dry_run: bool) -> Result<wire::PruneAnswer, Failure> {
    let mut writer = compact::open(settings, "a prune with --db")?;
    let now = Clock::SYSTEM.now();
    let reader = writer.reader().clone();
    let before = reader.snapshot()?.counted()?;
    let (pruned, after) = if dry_run {
        let pruned = reader.snapshot()?.would_prune(scope.goal(now))?;
        let mut after = before;
        after -= pruned.totals;
        (pruned, after)
    } else {
        let pruned = match scope.goal(now) {
            Some(goal) => prune_all_steps(&mut writer, goal)?,
            None => writer.prune(&PruneStep::All)?,
        };
        (pruned, reader.snapshot()?.counted()?)
    };
    let free = if dry_run {
        None
    } else {
        reader.snapshot()?.free_bytes()?
    };
    writer.close();
    Ok(answer(&PruneFigures {
        scope,
        now,
        dry_run,
        pruned,
        before,
        after,
        free,
    }))
}

fn lines(done: &wire::PruneAnswer) -> Vec<String> {
    let verb = if done.dry_run { "Would prune" } else { "Pruned" };
    let responses = counted(done.responses, "response");
    let older = done
        .older_than
        .as_ref()
        .map_or_else(String::new, |older| format!(" older than {older}"));
    let free = done.free_bytes.map_or_else(String::new, |free| {
        format!("; {} free inside the file", bytes(free))
    });
    let mut lines = Vec::new();
    if done.what == "details" {
        lines.push(format!("{verb} {responses}{older}; totals unchanged{free}."));
    } else {
        let sums = match done.days {
            1 => "1 sum by day".to_owned(),
            days => format!("{} sums by day", grouped(days)),
        };
        lines.push(format!("{verb} {responses} and {sums}{older}{free}."));
        let said = |totals: &wire::PruneTotals| {
            let tokens = counted(totals.total_tokens, "token");
            format!("{tokens} in {}", counted(totals.messages, "message"))
        };
        let (before, after) = (said(&done.counted_before), said(&done.counted_after));
        lines.push(format!("Total before: {before}; after: {after}."));
    }
    let further = [
        (done.keys, "key of an earlier prune", "keys of earlier prunes"),
        (
            done.observations,
            "point of a window's history",
            "points of windows' histories",
        ),
        (done.limit_events, "refusal", "refusals"),
        (done.thresholds, "fired threshold", "fired thresholds"),
        (done.minutes, "sum by minute", "sums by minute"),
    ];
    let further: Vec<String> = further
        .into_iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, one, many)| format!("{} {}", grouped(count), if count == 1 { one } else { many }))
        .collect();
    if !further.is_empty() {
        lines.push(format!("Beside them: {}.", further.join(", ")));
    }
    if let Some(before) = &done.before {
        let goes = if done.dry_run { "would go" } else { "are gone" };
        lines.push(format!("Days before {before} (UTC) {goes}."));
    }
    lines
}
