//! An event as a line for a person.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use jiff::tz::TimeZone;
use serde_json::Value;

use super::super::numbers::{compact, counted, grouped, local_time};
use super::super::text;
use super::parser::Received;

const DIM: Style = Style::new().dimmed();
const STRONG: Style = Style::new().bold();
const WARNING: Style = AnsiColor::Yellow.on_default();

/// Writes it. A collector of another version may tell other things: what is not known is shown as it is.
pub fn write(out: &mut dyn Write, received: &Received<'_>, zone: &TimeZone) -> io::Result<()> {
    let Received { kind, data, .. } = received;
    let at = data["at"].as_str().or(data["snapshot"]["now"].as_str());
    let at = at.map(|at| local_time(at, zone)).unwrap_or_default();
    let time = at.rsplit(' ').next().unwrap_or("");
    write!(out, "{DIM}{time:8}{DIM:#}  {:9}  ", text::name(kind))?;
    match *kind {
        "snapshot" | "gap" => {
            let summary = &data["snapshot"];
            let runs = summary["by_run"].as_object().map_or(0, serde_json::Map::len);
            if let Some(reason) = data["reason"].as_str() {
                write!(out, "{WARNING}{}{WARNING:#}; ", text::name(reason))?;
            }
            let tokens = summary["totals"]["total_tokens"].as_u64().unwrap_or(0);
            writeln!(out, "{}, {} tokens", counted(runs as u64, "run"), compact(tokens))
        }
        "usage" => {
            let delta = &data["delta"];
            let added = |field: &str| signed(delta[field].as_i64().unwrap_or(0));
            writeln!(
                out,
                "{STRONG}{}{STRONG:#}  {} tokens ({} input, {} output, {} cache)  total {}",
                name(data, "run"),
                added("total_tokens"),
                added("input_tokens"),
                added("output_tokens"),
                signed(
                    ["cache_creation_input_tokens", "cache_read_input_tokens"]
                        .iter()
                        .filter_map(|field| delta[*field].as_i64())
                        .fold(0, i64::saturating_add)
                ),
                compact(data["totals"]["total_tokens"].as_u64().unwrap_or(0)),
            )
        }
        "window" | "threshold" => {
            let used = data["utilization"]
                .as_f64()
                .map_or("unknown".to_owned(), |share| {
                    format!("{:.1} % used", share * 100.0)
                });
            let reset = data["reset_at"].as_str().map(|at| local_time(at, zone));
            let reset = reset.map(|at| format!(", resets {at}")).unwrap_or_default();
            write!(out, "{}  {}  {used}{reset}", account(data), name(data, "bucket"))?;
            match data["threshold"].as_u64() {
                Some(percent) => writeln!(out, "  {WARNING}{percent} % reached{WARNING:#}"),
                None => writeln!(out),
            }
        }
        "run" => {
            let reason = data["reason"]
                .as_str()
                .map(|reason| format!(" ({})", text::name(reason)));
            writeln!(
                out,
                "{STRONG}{}{STRONG:#}  {}{}  total {}",
                name(data, "run"),
                name(data, "phase"),
                reason.unwrap_or_default(),
                compact(data["totals"]["total_tokens"].as_u64().unwrap_or(0)),
            )
        }
        "account" => writeln!(
            out,
            "{}  {STRONG}{}{STRONG:#}  {}",
            account(data),
            name(data, "state"),
            text::message(data["sentence"].as_str().unwrap_or("")),
        ),
        "health" => {
            write!(out, "{}", name(data, "status"))?;
            for reason in data["reasons"].as_array().into_iter().flatten() {
                write!(out, "; {}", text::message(reason.as_str().unwrap_or("")))?;
            }
            writeln!(out)
        }
        _ => writeln!(out, "{}", text::message(&data.to_string())),
    }
}

fn name(data: &Value, field: &str) -> String {
    text::name(data[field].as_str().unwrap_or("?"))
}

fn account(data: &Value) -> String {
    format!("{}/{}", name(data, "provider"), name(data, "account"))
}

fn signed(number: i64) -> String {
    let sign = if number < 0 { '-' } else { '+' };
    format!("{sign}{}", grouped(number.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(kind: &str, data: Value) -> String {
        let mut out = anstream::StripStream::new(Vec::new());
        let received = Received { kind, id: "", data };
        write(&mut out, &received, &TimeZone::UTC).unwrap();
        String::from_utf8(out.into_inner()).unwrap()
    }

    #[test]
    fn each_kind_has_its_words() {
        let at = "2026-10-05T09:00:01.000Z";
        for (kind, data, expect) in [
            (
                "snapshot",
                json!({"sequence": 1, "snapshot": {"now": at, "by_run": {"a": {}}, "totals": {"total_tokens": 1200}}}),
                "09:00:01  snapshot   1 run, 1.2k tokens\n",
            ),
            (
                "gap",
                json!({"reason": "too_old", "snapshot": {"now": at, "by_run": {}, "totals": {"total_tokens": 0}}}),
                "09:00:01  gap        too_old; 0 runs, 0 tokens\n",
            ),
            (
                "usage",
                json!({"at": at, "run": "r\u{1b}1", "delta": {"total_tokens": -5, "input_tokens": 1000,
                    "output_tokens": 2, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 4},
                    "totals": {"total_tokens": 50}}),
                "09:00:01  usage      r\u{fffd}1  -5 tokens (+1,000 input, +2 output, +7 cache)  total 50\n",
            ),
            (
                "window",
                json!({"at": at, "provider": "claude", "account": "a", "bucket": "five_hour", "utilization": 0.425,
                    "reset_at": "2026-10-05T12:00:00.000Z"}),
                "09:00:01  window     claude/a  five_hour  42.5 % used, resets 2026-10-05 12:00:00\n",
            ),
            (
                "threshold",
                json!({"at": at, "provider": "claude", "account": "a", "bucket": "seven_day", "utilization": 0.8,
                    "threshold": 75, "reset_at": null}),
                "09:00:01  threshold  claude/a  seven_day  80.0 % used  75 % reached\n",
            ),
            (
                "run",
                json!({"at": at, "run": "r", "phase": "stopped", "reason": "asked", "totals": {"total_tokens": 7}}),
                "09:00:01  run        r  stopped (asked)  total 7\n",
            ),
            (
                "account",
                json!({"at": at, "provider": "claude", "account": "a", "state": "exhausted", "sentence": "full"}),
                "09:00:01  account    claude/a  exhausted  full\n",
            ),
            (
                "health",
                json!({"at": at, "status": "degraded", "reasons": ["polling"]}),
                "09:00:01  health     degraded; polling\n",
            ),
            ("tomorrow", json!({"x": 1}), "          tomorrow   {\"x\":1}\n"),
        ] {
            assert_eq!(line(kind, data), expect);
        }
    }
}
