//! The provider of a schedule: the truth about each account, and its answers to requests.

use super::*;

/// The truth about an account.
pub struct SimulatedProvider {
    pub used: f64,
    pub capacity: f64,
    pub ends: Option<Millis>,
    pub opus_used: f64,
    pub throttled_until: Millis,
}

impl LeaseSchedule {
    /// A reading of the window as it is.
    pub(super) fn reading(&self, account: usize, source: LimitSource) -> News {
        let provider = &self.providers[account];
        let share = provider.used / provider.capacity;
        let status = if share < 1.0 {
            LimitStatus::Allowed
        } else {
            LimitStatus::Rejected
        };
        let News::Saw(mut saw) = reading(FIVE_HOUR, Some(share), provider.ends, status) else {
            unreachable!("it is a reading");
        };
        saw.source = source;
        if saw.source.is_snapshot() {
            saw.status = LimitStatus::Unknown;
        }
        News::Saw(saw)
    }

    pub(super) fn request(&mut self, number: u64) {
        let (time, now) = (self.time, self.clock());
        let Some(run) = self.runs.get_mut(&number) else {
            return;
        };
        run.requests -= 1;
        let (account, model, lease) = (run.account, run.model, run.lease);
        let is_last = run.requests == 0;
        if let Some(lease) = lease {
            self.write(lease);
        }
        let length = self.random.i64(10 * MINUTE_MS..5 * HOUR_MS);
        let provider = &mut self.providers[account];
        if provider.ends.is_some_and(|ends| ends <= time) {
            (provider.ends, provider.used) = (None, 0.0);
        }
        let is_opus_full = model == 0 && provider.opus_used >= 1.0;
        let (throttled_until, ends) = (provider.throttled_until, provider.ends);
        let mut is_refused = true;
        let news = if time < throttled_until {
            let until = self.random.bool().then_some(throttled_until);
            vec![reading(COOL_DOWN, None, until, LimitStatus::Rejected)]
        } else if is_opus_full {
            let until = Some(START + 60 * HOUR_MS);
            vec![reading(SEVEN_DAY_OPUS, Some(1.0), until, LimitStatus::Rejected)]
        } else if provider.used >= provider.capacity {
            match self.random.u8(..4) {
                0 => vec![reading(UNKNOWN, None, None, LimitStatus::Rejected)],
                1 => vec![reading(FIVE_HOUR, None, ends, LimitStatus::Rejected)],
                _ => vec![self.reading(account, LimitSource::Headers)],
            }
        } else {
            is_refused = false;
            let amount = self.random.f64() * 0.4;
            let provider = &mut self.providers[account];
            provider.used += amount;
            provider.ends = ends.or(Some(time + length));
            if model == 0 {
                provider.opus_used += amount / 8.0;
            }
            let mut news = vec![News::Served(model)];
            match self.random.u8(..4) {
                0 => {}
                1 => news.push(self.reading(account, LimitSource::Statusline)),
                _ => news.push(self.reading(account, LimitSource::Headers)),
            }
            news
        };
        let delay = match self.random.u8(..10) {
            0 => self.random.i64(0..25_000),
            _ => self.random.i64(0..2_000),
        };
        for news in news {
            self.after(delay, ScheduleEvent::Line(account, news, now));
        }
        let ends_now = is_last || is_refused && self.random.bool();
        let next = self.random.i64(3_000..MINUTE_MS);
        if ends_now {
            // What it wrote is read before its end.
            self.after(delay + 1, ScheduleEvent::EndRun(number));
        } else {
            self.after(next, ScheduleEvent::Request(number));
        }
    }

    pub(super) fn change_provider(&mut self, account: usize) {
        let until = self.time + self.random.i64(20_000..10 * MINUTE_MS);
        let provider = &mut self.providers[account];
        match self.random.u8(..6) {
            0..2 => provider.throttled_until = until,
            2..4 => (provider.used, provider.ends) = (provider.capacity, Some(until)),
            4 => provider.capacity *= 1.5,
            _ => (provider.used, provider.ends) = (0.0, None),
        }
        let next = self.random.i64(MINUTE_MS..20 * MINUTE_MS);
        self.after(next, ScheduleEvent::Provider(account));
    }
}
