//! `lease` and `capacity`: places that are reserved for runs.

pub mod acquire;
mod table;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::args::{self, AcquireArgs, Global, LeaseCommand};
use super::client::{self, ClientError, Method};
use super::exit::{Exit, Failure};
use super::print::numbers::time;
use super::print::{output, text};
use super::settings;
use super::waiting::AnswerWait;
use crate::api::wire;
use crate::clock::Clock;
use acquire::{Acquiring, LeaseAttempt};

/// Runs a subcommand.
///
/// # Errors
/// No collector answers, or it refuses the request.
pub fn lease(global: &Global, command: &args::LeaseArgs) -> Result<Exit, Failure> {
    let socket = settings::asking(global)?.socket;
    match &command.command {
        LeaseCommand::Acquire(wanted) => acquire(global, &socket, wanted),
        LeaseCommand::Renew(renewal) => renew(global, &socket, renewal),
        LeaseCommand::Release(ended) => end(global, &socket, &ended.lease, false),
        LeaseCommand::Revoke(ended) => end(global, &socket, &ended.lease, true),
        LeaseCommand::List => list(global, &socket),
    }
}

/// The document of `lease acquire --json`.
#[derive(Serialize)]
struct AcquireDocument<'a> {
    /// With it, the request may be repeated.
    key: &'a str,
    #[serde(flatten)]
    answer: &'a wire::LeaseAnswer,
}

fn acquire(global: &Global, socket: &Path, wanted: &AcquireArgs) -> Result<Exit, Failure> {
    let request = request(wanted)?;
    let key = request.key.clone();
    let subject = format!("lease request {}", text::name(&key));
    let waiting = AnswerWait::new(wanted.wait, global.json, subject);
    let mut acquiring = Acquiring::new(socket, request, waiting);
    let (answer, exit) = client::runtime(socket)?.block_on(async {
        loop {
            match acquiring.attempt().await? {
                LeaseAttempt::Granted(answer) => return Ok::<_, Failure>((answer, Exit::Ok)),
                LeaseAttempt::Refused(answer, exit) => return Ok((answer, exit)),
                LeaseAttempt::Later(pause) => tokio::time::sleep(pause).await,
            }
        }
    })?;
    let document = AcquireDocument {
        key: &key,
        answer: &answer,
    };
    let width = output::Screen::stdout().columns;
    let now = Clock::SYSTEM.timestamp();
    output::document(global.json, &document, |out| {
        table::write_answer(out, &answer, &key, now, width)
    })?;
    Ok(exit)
}

fn request(wanted: &AcquireArgs) -> Result<wire::AcquireLeases, Failure> {
    let mut cost = BTreeMap::new();
    for args::Cost { window, share } in &wanted.costs {
        if cost.insert(window.clone(), *share).is_some() {
            let message = format!("--cost {window} is given twice; a window has one share");
            return Err(Failure::new(Exit::Usage, message));
        }
    }
    Ok(wire::AcquireLeases {
        key: wanted.key.clone().unwrap_or_else(acquire::random),
        n: wanted.count,
        min: wanted.min,
        provider: wanted.provider.clone(),
        account: wanted.account.clone(),
        model: wanted.model.clone(),
        runs: wanted.runs.iter().map(ToString::to_string).collect(),
        class: wanted.class.clone(),
        cost,
        ttl: wanted.ttl.clone(),
        holder: wanted.holder.clone(),
    })
}

fn renew(global: &Global, socket: &Path, renewal: &args::RenewArgs) -> Result<Exit, Failure> {
    let sent = renewed(socket, &renewal.lease, renewal.ttl.clone());
    let lease = client::runtime(socket)?.block_on(sent)?;
    output::document(global.json, &lease, |out| {
        let id = text::name(&lease.id);
        match &lease.expires_at {
            Some(at) => writeln!(out, "lease {id} lasts until {}", time(at)),
            None => writeln!(out, "lease {id} lasts as long as its run"),
        }
    })?;
    Ok(Exit::Ok)
}

fn end(global: &Global, socket: &Path, lease: &str, is_revoked: bool) -> Result<Exit, Failure> {
    let (query, word) = if is_revoked {
        ("?revoke=true", "revoked")
    } else {
        ("", "released")
    };
    let path = path(lease) + query;
    client::runtime(socket)?.block_on(client::delete(socket, &path, client::TIMEOUT))?;
    let document = BTreeMap::from([(word, lease)]);
    output::document(global.json, &document, |out| {
        writeln!(out, "lease {} is {word}, or had ended before", text::name(lease))
    })?;
    Ok(Exit::Ok)
}

/// Renews a lease.
///
/// # Errors
/// No collector answers, or the lease has ended.
pub async fn renewed(socket: &Path, lease: &str, ttl: Option<String>) -> Result<wire::Lease, ClientError> {
    let (path, body) = (path(lease), wire::RenewLease { ttl });
    client::send_json(socket, (Method::PUT, &path), &body, client::TIMEOUT).await
}

/// Releases a lease.
///
/// # Errors
/// No collector answers, or there is no such lease.
pub async fn release(socket: &Path, lease: &str) -> Result<(), ClientError> {
    client::delete(socket, &path(lease), client::TIMEOUT).await
}

fn path(lease: &str) -> String {
    format!("/v1/leases/{}", client::escaped(lease))
}

fn list(global: &Global, socket: &Path) -> Result<Exit, Failure> {
    let leases: Vec<wire::Lease> = client::get_json_blocking(socket, "/v1/leases", client::TIMEOUT)?;
    let now = Clock::SYSTEM.timestamp();
    output::document(global.json, &leases, |out| {
        table::write_leases(out, &leases, now, output::Screen::stdout().columns)
    })?;
    Ok(Exit::Ok)
}

/// Prints the number of further runs of each account.
///
/// # Errors
/// No collector answers, or it does not have the account.
pub fn capacity(global: &Global, command: &args::CapacityArgs) -> Result<Exit, Failure> {
    let socket = settings::asking(global)?.socket;
    let parameters = [
        ("provider", command.provider.as_deref()),
        ("account", command.account.as_deref()),
        ("model", command.model.as_deref()),
        ("class", command.class.as_deref()),
    ];
    let path = format!("/v1/capacity{}", client::query(&parameters));
    let capacities: Vec<wire::Capacity> = client::get_json_blocking(&socket, &path, client::TIMEOUT)?;
    let now = Clock::SYSTEM.timestamp();
    output::document(global.json, &capacities, |out| {
        table::write_capacities(out, &capacities, now, output::Screen::stdout().columns)
    })?;
    Ok(Exit::Ok)
}
