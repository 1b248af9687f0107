//! The end of a schedule: the provider serves everything, and a client asks for each account until a run starts.

use super::ledger::{AccountBefore, LedgerEntry};
use super::*;
use crate::quota::lease::probe::{ProbeState, state};
use crate::quota::lease::{LeaseNumber, ProbeKey};

/// Runs that an account without `concurrency` is to reach.
const RUNS_UNLIMITED: usize = 6;
/// The longest interval of a ramp, and a second.
const STEP_MS: Millis = 61_000;

impl LeaseSchedule {
    pub(super) fn calm_down(&mut self) -> Result<(), String> {
        self.queue.clear();
        for run in self.runs.keys().copied().collect::<Vec<_>>() {
            self.end_run(run);
        }
        if self.is_down {
            self.happen(ScheduleEvent::Up)?;
        }
        self.sweep()?;
        for account in 0..self.providers.len() {
            self.first_run(account)?;
            self.more_runs(account)?;
        }
        Ok(())
    }

    /// Asks as clients do until a run starts, and serves it.
    fn first_run(&mut self, account: usize) -> Result<(), String> {
        let until = self.open_until(account).max(self.clock()) + STARTS_WITHIN_MS;
        loop {
            let grant = self.ask_for(account, 1)?;
            self.log.push(format!(
                "{} account {account} gives {} by {:?}, again at {:?}",
                self.time - START,
                grant.leases.len(),
                grant.by,
                grant.retry_at.map(|at| at.saturating_sub(self.offset + START)),
            ));
            if !grant.leases.is_empty() {
                self.serve(account)?;
                return Ok(());
            }
            let retry_at = grant.retry_at.unwrap_or(self.clock());
            if retry_at <= self.clock() || retry_at > until {
                return Err(format!("no run starts in account {account} for {:?}", grant.by));
            }
            self.time = retry_at.saturating_sub(self.offset);
        }
    }

    /// Asks for more while what runs is served, until as many run as may.
    fn more_runs(&mut self, account: usize) -> Result<(), String> {
        let wanted = match self.ledger.concurrency_of(account) {
            0 => RUNS_UNLIMITED,
            most => most as usize,
        };
        for _ in 0..2 * RUNS_UNLIMITED {
            if self.ledger.active(&self.harness, account) >= wanted {
                return Ok(());
            }
            self.time += STEP_MS;
            self.serve(account)?;
            self.ask_for(account, 5)?;
        }
        let active = self.ledger.active(&self.harness, account);
        Err(format!(
            "account {account} has {active} of {wanted} runs after its ramp"
        ))
    }

    /// The known end of the blocks of an account.
    fn open_until(&self, account: usize) -> Millis {
        let now = self.clock();
        let observed = &self.harness.accounts[account];
        let scopes = observed.scopes(Some(MODELS[1]), now).into_iter();
        let ends = scopes.filter_map(|facts| {
            let key = ProbeKey {
                account: observed.account.id.clone(),
                scope: facts.scope.clone(),
            };
            match state(
                self.harness.book.probes.get(&key),
                &facts,
                &observed.account.start,
                now,
            ) {
                ProbeState::Open { until, .. } => Some(until),
                _ => None,
            }
        });
        // What is left of the window may be too little even without leases.
        let short = (!observed.account.start.cost.is_empty())
            .then(|| {
                let mut alone = LeaseHarness {
                    accounts: vec![observed.clone()],
                    ..LeaseHarness::default()
                };
                alone.accounts[0].account.start.concurrency = 0;
                let capacity = alone.capacity(Some(MODELS[1]), None, &observed.account.start.cost, now);
                capacity.retry_at.filter(|_| capacity.free == Some(0))
            })
            .flatten();
        // A block by a share is tried before its end, which is the time in answers.
        let blocked = self.harness.with_places(Some(MODELS[1]), now, |places| {
            let own = places
                .iter()
                .find(|place| place.account.id == observed.account.id);
            own.and_then(|own| own.assessment.until)
        });
        ends.max().max(short).max(blocked).unwrap_or(now)
    }

    /// Takes leases of one account, and starts a run with each.
    fn ask_for(&mut self, account: usize, count: u32) -> Result<Grant, String> {
        // A recovery that succeeded may be over at once.
        self.sweep()?;
        self.sweep()?;
        let now = self.clock();
        let model = Some(MODELS[1]);
        let request = LeaseRequest {
            key: format!("calm-{}", self.time).into(),
            count,
            min: 1,
            ttl: TTL_MAX,
            ..LeaseRequest::default()
        };
        let before = AccountBefore::of_all(&self.harness, model, now);
        let grant = self.harness.acquire_in(account, &request, model, now);
        let numbers: Vec<LeaseNumber> = grant.leases.iter().map(|lease| lease.number).collect();
        for lease in &numbers {
            let entry = LedgerEntry::new(account, model, TTL_MAX, now);
            self.ledger.granted(*lease, entry);
        }
        let only = &before[account..=account];
        self.ledger
            .check_grant(&self.harness, (account, only), &grant, &request)?;
        for lease in numbers {
            let run = RunId::new(&format!("r{lease}")).expect("a run id");
            self.harness.bind(lease, &run, now);
            self.ledger.bound(lease, now);
            self.ledger.wrote(lease);
        }
        Ok(grant)
    }

    /// A response a few seconds later, with a reading of a window that is hardly used.
    fn serve(&mut self, account: usize) -> Result<(), String> {
        self.time += 5_000;
        let now = self.clock();
        let ends = Some(now + 4 * HOUR_MS);
        let reading = reading(FIVE_HOUR, Some(0.01), ends, LimitStatus::Allowed);
        for news in [News::Served(1), reading] {
            self.happen(ScheduleEvent::Line(account, news, now))?;
        }
        self.sweep()
    }
}
