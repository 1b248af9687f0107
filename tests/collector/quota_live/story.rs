//! A generated history of two accounts: their windows fill, are refused, roll over; lines are copied and
//! arrive late.

use std::collections::BTreeMap;

use fastrand::Rng;
use serde_json::{Value, json};

use super::{HOUR, MINUTE, Millis, line, refused, second, share_line, time, usage, used};

const FIVE_HOUR: &str = "five_hour";
const SEVEN_DAY: &str = "seven_day";

/// A log: its run and its number there.
type Name = (&'static str, u32);

/// A line and the log it goes to.
pub struct Step {
    pub run: &'static str,
    pub log: String,
    pub line: String,
}

impl Step {
    fn new((run, number): Name, line: String) -> Self {
        Self {
            run,
            log: format!("{number}.jsonl"),
            line,
        }
    }
}

/// The history, up to its end time.
pub struct Story {
    rng: Rng,
    clock: Millis,
    end: Millis,
    accounts: [Account; 2],
    ids: u32,
}

struct Account {
    runs: &'static [&'static str],
    windows: [Window; 2],
    /// The log that currently has the account's limits.
    log: Name,
    logs: BTreeMap<Name, Vec<String>>,
}

struct Window {
    name: &'static str,
    length: Millis,
    reset: Millis,
    share: f64,
}

impl Window {
    /// Uses some of the window, or opens the next.
    fn pass(&mut self, clock: Millis, rng: &mut Rng) {
        if clock >= self.reset {
            while clock >= self.reset {
                self.reset += self.length;
            }
            self.share = 0.0;
        }
        let step = if self.length > 24 * HOUR { 0.01 } else { 0.06 };
        self.share += rng.f64() * step;
    }

    fn share(&self) -> f64 {
        (self.share * 1000.0).round() / 1000.0
    }
}

impl Story {
    pub fn new(seed: u64, end: Millis, hours: i64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let clock = end - hours * HOUR;
        let mut account = |runs: &'static [&'static str]| {
            let mut window = |name, length: Millis| Window {
                name,
                length,
                reset: second(clock + rng.i64(HOUR..length)),
                share: rng.f64() * 0.6,
            };
            let windows = [window(FIVE_HOUR, 5 * HOUR), window(SEVEN_DAY, 7 * 24 * HOUR)];
            Account {
                runs,
                windows,
                log: (runs[0], 0),
                logs: BTreeMap::new(),
            }
        };
        let accounts = [account(&["a-1", "a-2", "a-3"]), account(&["b-1", "b-2"])];
        Self {
            rng,
            clock,
            end,
            accounts,
            ids: 0,
        }
    }

    /// Moves the limits to other logs: only while everything is read, or while the collector is down. A
    /// resumed session begins with copies of an earlier one's lines, which are returned.
    pub fn change_logs(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        for account in &mut self.accounts {
            let run = self.rng.choice(account.runs).unwrap();
            account.log = (run, self.rng.u32(..6));
            if account.logs.contains_key(&account.log) || self.rng.u8(..3) > 0 {
                continue;
            }
            if let Some(earlier) = self.rng.choice(account.logs.values()) {
                let copied = earlier.clone();
                steps.extend(copied.iter().map(|line| Step::new(account.log, line.clone())));
                account.logs.insert(account.log, copied);
            }
        }
        steps
    }

    /// The next lines; none at the end.
    pub fn next(&mut self) -> Option<Vec<Step>> {
        self.clock += self.rng.i64(20_000..400_000);
        if self.clock >= self.end {
            return None;
        }
        let account = self.rng.usize(..2);
        let mut lines = Vec::new();
        if self.rng.u8(..3) > 0 {
            lines.push(self.response());
        }
        lines.extend(self.limits(account));
        let account = &mut self.accounts[account];
        let log = account.log;
        account.logs.entry(log).or_default().extend(lines.iter().cloned());
        Some(lines.into_iter().map(|line| Step::new(log, line)).collect())
    }

    fn response(&mut self) -> String {
        // Some are another copy of an earlier one, with more tokens.
        let is_copy = self.ids > 0 && self.rng.u8(..4) == 0;
        let id = if is_copy {
            self.rng.u32(..self.ids)
        } else {
            self.ids += 1;
            self.ids
        };
        usage(&id.to_string(), self.clock, self.rng.u64(1..3000))
    }

    fn limits(&mut self, account: usize) -> Vec<String> {
        let (clock, rng) = (self.clock, &mut self.rng);
        let windows = &mut self.accounts[account].windows;
        for window in windows.iter_mut() {
            window.pass(clock, rng);
        }
        let window = &windows[usize::from(rng.u8(..3) == 0)];
        let (name, share, reset) = (window.name, window.share(), window.reset);
        match rng.u8(..16) {
            0 => vec![refused(clock, name, reset)],
            1 => vec![limit_line(clock, name, reset)],
            2 => vec![spoken(clock, windows[0].reset)],
            3 => vec![api_error(clock, name, reset)],
            4 => vec![headers(clock, windows)],
            5 => vec![remaining(&format!("l{clock}"), clock, &windows[0])],
            // Jitter, and another session with an older value.
            6 => vec![share_line(clock, name, (share - 0.05).max(0.0), reset + 60_000)],
            7 => vec![share_line(clock, name, (share - 0.4).max(0.0), reset)],
            // A reset that moves back.
            8 => vec![share_line(clock, name, share, reset - 20 * MINUTE)],
            // Late lines directly after one in time.
            9 | 10 => {
                let late = clock - rng.i64(MINUTE..3 * HOUR);
                let mut lines: Vec<String> = windows
                    .iter()
                    .map(|window| share_line(clock, window.name, window.share(), window.reset))
                    .collect();
                lines.push(share_line(late, name, rng.f64(), reset));
                if rng.bool() {
                    lines.push(refused(late + 1, name, reset));
                }
                lines
            }
            _ => vec![share_line(clock, name, share, reset)],
        }
    }
}

/// A line of the agent itself.
fn synthetic(at: Millis, sentence: &str) -> Value {
    json!({
        "type": "assistant", "timestamp": time(at), "isApiErrorMessage": true,
        "message": {
            "id": format!("x{at}"), "model": "<synthetic>", "content": [{ "type": "text", "text": sentence }],
            "usage": { "output_tokens": 0 },
        },
    })
}

fn limit_line(at: Millis, name: &str, reset: Millis) -> String {
    let mut document = synthetic(at, "You've hit your limit");
    document["quotaLimits"] =
        json!({ "status": "rejected", "rateLimitType": name, "resetsAt": reset / 1000 });
    line(&document)
}

fn spoken(at: Millis, reset: Millis) -> String {
    line(&synthetic(
        at,
        &format!("Claude AI usage limit reached|{}", reset / 1000),
    ))
}

fn api_error(at: Millis, name: &str, reset: Millis) -> String {
    line(&json!({
        "type": "system", "subtype": "api_error", "timestamp": time(at),
        "error": {
            "status": 429,
            "rateLimits": { "status": "rejected", "rateLimitType": name, "resetsAt": reset / 1000 },
        },
    }))
}

fn headers(at: Millis, windows: &[Window]) -> String {
    let mut headers = serde_json::Map::new();
    for (word, window) in ["5h", "7d"].iter().zip(windows) {
        let name = |field: &str| format!("anthropic-ratelimit-unified-{word}-{field}");
        headers.insert(name("utilization"), window.share().to_string().into());
        headers.insert(name("reset"), (window.reset / 1000).to_string().into());
        headers.insert(name("status"), "allowed".into());
    }
    line(&json!({ "timestamp": time(at), "headers": headers }))
}

fn remaining(id: &str, at: Millis, window: &Window) -> String {
    let mut document = used(id, at, 5);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a thousand"
    )]
    let left = ((1.0 - window.share()).max(0.0) * 1000.0) as u64;
    let name = |field: &str| format!("anthropic-ratelimit-unified-5h-{field}");
    document["rateLimits"] = json!({
        name("tokens-limit"): 1000, name("tokens-remaining"): left, name("reset"): time(window.reset),
    });
    line(&document)
}
