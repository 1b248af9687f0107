//! `export`: prints what is stored, a row on each line.

use std::ops::ControlFlow;
use std::time::Duration;

use super::args::{ExportArgs, ExportFormat, Global};
use super::client;
use super::exit::{Exit, Failure};
use super::print::output;
use super::settings::asking;

/// Longest time for the first rows: a span may be of few rows among many.
const ROWS_WITHIN: Duration = Duration::from_mins(10);

/// Prints the rows of the running collector.
///
/// # Errors
/// No collector answers, the rows end early, or standard output cannot be written.
pub fn export(global: &Global, args: &ExportArgs) -> Result<Exit, Failure> {
    let socket = asking(global)?.socket;
    let format = match args.format {
        ExportFormat::Ndjson => "ndjson",
        ExportFormat::Csv => "csv",
    };
    let query = client::query(&[
        ("period", args.period.as_deref()),
        ("zone", args.timezone.as_deref()),
        ("format", Some(format)),
    ]);
    let kind: &str = args.kind.into();
    let path = format!("/v1/export/{kind}{query}");
    let mut failed = None;
    let received =
        client::receive(
            &socket,
            (client::Method::GET, &path),
            ROWS_WITHIN,
            |bytes| match output::raw(bytes) {
                Ok(()) => ControlFlow::Continue(()),
                Err(failure) => {
                    failed = Some(failure);
                    ControlFlow::Break(())
                }
            },
        );
    client::runtime(&socket)?.block_on(received)?;
    failed.map_or(Ok(Exit::Ok), Err)
}
