//! A small model of a provider's account, and the engine beside it: ten thousand random histories.
//!
//! The provider has windows that start at first use, families, early restarts, upgrades, throttling and
//! overage. Several sessions use it; their lines reach the engine late, in any order, rounded, with parts
//! left out, and old answers are repeated. At every step the engine's answer is compared with the provider's:
//!
//! - never `allow` while the provider would refuse and a live reading showed it;
//! - never `allow` use that is billed as overage, if that was reported and is not wanted;
//! - never `wait` for longer than [`FREE_AFTER_MS`] after the provider serves again and that was observed;
//! - a shown window existed: its share was read with its reset;
//! - a window that was read live is shown until it ends, and no earlier one;
//! - its share is not below the live readings, and not far above them after two readings.
//!
//! To repeat one history: `TOKENTAIL_SEED=<seed> cargo test --lib simulator -- --nocapture`.

use std::collections::BTreeMap;

use super::account::Account;
use super::admission::{Assessment, Candidate, Verdict, assess};
use super::budget::Calls;
use super::overage::Overage;
use super::throttle::Throttles;
use super::window::{
    self, IN_FLIGHT_MS, NamedWindow, RESET_JITTER_MS, SERVED_AFTER_MS, Track, WindowState, merge, view,
};
use crate::model::{
    AccountId, DAY_MS, HOUR_MS, LimitSource, LimitStatus, MINUTE_MS, Millis, Observation, window_name::*,
};

/// Histories in one run of the tests.
const HISTORIES: u64 = 10_000;
/// Steps of one history.
const STEPS: u32 = 50;
/// After this time an account that serves, and was observed to serve, is free.
const FREE_AFTER_MS: Millis = 10 * MINUTE_MS;
/// 2026-11-20T00:00:00Z
const START: Millis = 1_795_132_800_000;
/// Requested models.
pub(super) const MODELS: [&str; 2] = ["claude-opus-5", "claude-haiku-5"];
const SESSIONS: usize = 3;

/// One window at the provider.
#[derive(Clone, Debug)]
struct Limit {
    window: &'static str,
    length: Millis,
    capacity: f64,
    used: f64,
    /// The end; `None` until the window is used.
    ends: Option<Millis>,
    /// The time since when it is used up.
    full_since: Option<Millis>,
    /// True once a live reading of that reached the engine.
    is_said: bool,
    /// True once a live reading of this very window reached the engine.
    is_known: bool,
    /// The time since when its share has only grown.
    grows_since: Millis,
    /// The highest share since then in a live reading that reached the engine.
    highest: f64,
    /// Number of readings by the usage API since then.
    polls: u32,
    /// The last share shown by each terminal.
    terminals: [f64; SESSIONS],
    /// The highest share of this window in any live reading that reached the engine.
    reported: f64,
}

impl Limit {
    fn new(name: &'static str, length: Millis, capacity: f64) -> Self {
        Self {
            window: name,
            length,
            capacity,
            used: 0.0,
            ends: None,
            full_since: None,
            is_said: false,
            is_known: false,
            grows_since: 0,
            highest: 0.0,
            polls: 0,
            terminals: [0.0; SESSIONS],
            reported: 0.0,
        }
    }

    /// Lowers the share: by an upgrade, or at the end.
    fn fall(&mut self, now: Millis) {
        (self.grows_since, self.highest, self.polls) = (now, 0.0, 0);
    }

    fn share(&self) -> f64 {
        self.used / self.capacity
    }

    /// Ends the window by the clock, and notes whether it is used up.
    fn pass(&mut self, now: Millis) {
        if self.ends.is_some_and(|ends| ends <= now) {
            (self.ends, self.used, self.reported) = (None, 0.0, 0.0);
            self.fall(now);
        }
        self.is_known &= self.ends.is_some();
        if self.share() < 1.0 {
            (self.full_since, self.is_said) = (None, false);
        } else if self.full_since.is_none() {
            self.full_since = Some(now);
        }
    }

    fn spend(&mut self, amount: f64, now: Millis) {
        self.used += amount;
        self.ends = self.ends.or(Some(now + self.length));
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SimulatedAnswer {
    Served,
    Paid,
    /// By the window of this place.
    Refused(usize),
    Throttled,
}

/// A message to the engine.
#[derive(Clone, Debug)]
pub(super) enum News {
    Saw(Observation),
    Served(usize),
}

/// A reading without content.
pub(super) fn saw(name: &str, source: LimitSource, session: Option<u64>) -> Observation {
    Observation {
        window: name.into(),
        utilization: None,
        remaining: None,
        limit: None,
        reset_at: None,
        observed_at: None,
        status: LimitStatus::Unknown,
        source,
        session,
        request: None,
    }
}

#[derive(Clone, Debug)]
struct Letter {
    arrives: Millis,
    at: Millis,
    news: News,
    /// The models it shows as served.
    shows: Shows,
}

/// For each model, the delay after the last refusal from which a message proves that the model is served.
type Shows = [Option<Millis>; MODELS.len()];

const NOTHING: Shows = [None; MODELS.len()];

/// The state of an account as the store keeps it.
#[derive(Clone, Default)]
pub(super) struct Engine {
    tracks: BTreeMap<Box<str>, Track>,
    served: [Option<Millis>; MODELS.len()],
    pub(super) throttles: Throttles,
    overage: Option<Overage>,
}

impl Engine {
    pub(super) fn take(&mut self, news: &News, at: Millis) {
        match news {
            News::Served(model) => self.served[*model] = self.served[*model].max(Some(at)),
            News::Saw(saw) if &*saw.window == COOL_DOWN => {
                self.throttles.take(saw, at);
            }
            News::Saw(saw) if &*saw.window == OVERAGE_IN_USE => {
                let said = Overage {
                    said_at: at,
                    in_use: saw.utilization >= Some(1.0),
                };
                self.overage = Some(self.overage.map_or(said, |before| before.later(said)));
            }
            News::Saw(saw) => {
                let merged = merge(self.tracks.get(&saw.window), saw, at, &[75, 90]);
                self.tracks.insert(saw.window.clone(), merged.track);
            }
        }
    }

    /// The latest response of any model.
    pub(super) fn served_at(&self) -> Option<Millis> {
        self.served.iter().copied().flatten().max()
    }

    pub(super) fn states(&self) -> Vec<(&str, WindowState)> {
        let allowed_at = window::allowed_at(self.tracks.values().map(|track| &track.state));
        let with_served = |name: &str, track: &Track| {
            let mut state = track.state.clone();
            let serving = MODELS.iter().zip(self.served);
            let serving = serving.filter(|(model, _)| serves(name, model));
            state.served_at = serving.filter_map(|(_, at)| at).max();
            state.allowed_at = allowed_at.filter(|_| name == UNKNOWN);
            state
        };
        self.tracks
            .iter()
            .map(|(name, track)| (&**name, with_served(name, track)))
            .collect()
    }

    pub(super) fn assessment(
        &self,
        account: &Account,
        windows: Vec<NamedWindow>,
        model: Option<&str>,
        now: Millis,
    ) -> Assessment {
        let candidate = Candidate {
            account,
            model: model.map(Box::from),
            windows,
            calls: Calls::default(),
            budget: None,
            mark: None,
            throttled: self.throttles.cause(self.served_at(), now),
            overage: self.overage,
        };
        assess(&candidate, now)
    }

    fn verdict(&self, account: &Account, model: &str, now: Millis) -> (Verdict, String) {
        let states = self.states();
        let windows = states.iter().map(|(name, state)| NamedWindow { name, state });
        let assessment = self.assessment(account, windows.collect(), Some(model), now);
        (assessment.verdict, assessment.sentence)
    }
}

/// One history.
struct SimulatedWorld {
    random: fastrand::Rng,
    now: Millis,
    limits: Vec<Limit>,
    throttled_until: Millis,
    /// The time until which an answer may be under way.
    slow_until: Millis,
    /// True if the account buys more.
    buys: bool,
    account: Account,
    /// The windows as each session's terminal shows them.
    terminals: [Vec<Observation>; SESSIONS],
    letters: Vec<Letter>,
    engine: Engine,
    /// Every pair of share and reset that was read, by window.
    read: Vec<(Box<str>, f64, Option<Millis>)>,
    ok_since: [Option<Millis>; MODELS.len()],
    /// Proofs that a model is served: their time, the delay after a refusal, and the arrival.
    shown: [Vec<(Millis, Millis, Millis)>; MODELS.len()],
    /// The latest live message of a refusal or a used-up window.
    blocked_at: Millis,
    /// The latest `retry-after` that arrived.
    cool_until: Option<Millis>,
    /// True if the account ever bought more: then a full window alone is no refusal.
    has_bought: bool,
    /// The latest live line of each window that arrived.
    latest: BTreeMap<Box<str>, Millis>,
    /// The time of the last report that requests are billed, unless withdrawn.
    paid_said: Option<Millis>,
    log: Vec<String>,
}

impl SimulatedWorld {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let five = 10.0 + random.f64() * 10.0;
        let mut account = Account::new(AccountId::default());
        account.use_overage = random.bool();
        Self {
            now: START + random.i64(0..DAY_MS),
            limits: vec![
                Limit::new(FIVE_HOUR, 5 * HOUR_MS, five),
                Limit::new(SEVEN_DAY, 7 * DAY_MS, five * (1.5 + random.f64() * 4.0)),
                Limit::new(SEVEN_DAY_OPUS, 7 * DAY_MS, five * (0.7 + random.f64() * 3.0)),
            ],
            throttled_until: 0,
            slow_until: 0,
            buys: random.u8(..4) == 0,
            account,
            terminals: Default::default(),
            letters: Vec::new(),
            engine: Engine::default(),
            read: Vec::new(),
            ok_since: [None; MODELS.len()],
            shown: Default::default(),
            blocked_at: 0,
            cool_until: None,
            has_bought: false,
            latest: BTreeMap::new(),
            paid_said: None,
            log: Vec::new(),
            random,
        }
    }

    fn binds(&self, place: usize, model: usize) -> bool {
        binds(self.limits[place].window, Some(MODELS[model]), false)
    }

    /// The provider's answer to a request now.
    fn answer(&self, model: usize) -> SimulatedAnswer {
        if self.now < self.throttled_until {
            return SimulatedAnswer::Throttled;
        }
        let full = |place: &usize| self.binds(*place, model) && self.limits[*place].share() >= 1.0;
        match (0..self.limits.len()).find(full) {
            None => SimulatedAnswer::Served,
            Some(_) if self.buys => SimulatedAnswer::Paid,
            Some(place) => SimulatedAnswer::Refused(place),
        }
    }

    fn is_ok(&self, model: usize) -> bool {
        match self.answer(model) {
            SimulatedAnswer::Served => true,
            SimulatedAnswer::Paid => self.account.use_overage,
            SimulatedAnswer::Refused(_) | SimulatedAnswer::Throttled => false,
        }
    }

    fn pass(&mut self, ms: Millis) {
        self.now += ms;
        self.has_bought |= self.buys;
        for limit in &mut self.limits {
            limit.pass(self.now);
        }
        for model in 0..MODELS.len() {
            if !self.is_ok(model) {
                self.ok_since[model] = None;
                self.shown[model].clear();
            } else if self.ok_since[model].is_none() {
                self.ok_since[model] = Some(self.now);
            }
        }
    }

    /// The current windows, each with its share, reset and its own status.
    fn windows(&mut self, source: LimitSource, session: Option<u64>) -> Vec<Observation> {
        let mut windows = Vec::new();
        for place in 0..self.limits.len() {
            let limit = self.limits[place].clone();
            let is_idle = limit.ends.is_none();
            if is_idle && source != LimitSource::UsageApi {
                continue;
            }
            let share = match self.random.u8(..3) {
                0 => (limit.share() * 100.0).round() / 100.0,
                _ => limit.share(),
            };
            let jitter = self.random.i64(-1..=1) * if self.random.u8(..8) == 0 { 50_000 } else { 900 };
            let mut saw = saw(limit.window, source, session);
            saw.utilization = Some(share);
            saw.reset_at = limit.ends.map(|ends| ends + jitter);
            saw.status = match limit.share() {
                ..0.75 => LimitStatus::Allowed,
                ..1.0 => LimitStatus::AllowedWarning,
                _ => LimitStatus::Rejected,
            };
            self.read.push((limit.window.into(), share, saw.reset_at));
            windows.push(saw);
        }
        windows
    }

    /// Sends the content of one line: it arrives together.
    fn send(&mut self, at: Millis, line: impl IntoIterator<Item = (News, Shows)>) {
        // Seconds; sometimes a capture that is read much later.
        let delay = match self.random.u8(..20) {
            0 => self.random.i64(10 * MINUTE_MS..5 * HOUR_MS),
            1..4 => self.random.i64(0..25_000),
            _ => self.random.i64(0..3_000),
        };
        let arrives = self.now.max(at) + delay;
        let letters = line.into_iter().map(|(news, shows)| Letter {
            arrives,
            at,
            news,
            shows,
        });
        self.letters.extend(letters);
    }

    fn send_all(&mut self, at: Millis, line: Vec<Observation>) {
        self.send(at, line.into_iter().map(|saw| (News::Saw(saw), NOTHING)));
    }

    fn request(&mut self) {
        let model = self.random.usize(..MODELS.len());
        let number = self.random.usize(..SESSIONS);
        let session = Some(number as u64);
        let answer = self.answer(model);
        self.log
            .push(format!("{} {} {answer:?}", self.now - START, MODELS[model]));
        match answer {
            SimulatedAnswer::Throttled => {
                let mut saw = saw(COOL_DOWN, LimitSource::ApiError, session);
                saw.status = LimitStatus::Rejected;
                saw.request = Some(self.random.u64(..));
                saw.reset_at = self.random.bool().then_some(self.throttled_until);
                self.send_all(self.now, vec![saw]);
            }
            SimulatedAnswer::Refused(place) => self.refuse(place, session),
            SimulatedAnswer::Served | SimulatedAnswer::Paid => {
                let mut amount = self.random.f64() * self.random.f64() * 5.0;
                // A slow answer is dated at its request. Meanwhile others use little: a share that is far
                // lower cannot be distinguished from an upgrade.
                if self.random.u8(..3) == 0 {
                    let until = self.now + self.random.i64(0..IN_FLIGHT_MS - 5_000);
                    self.slow_until = self.slow_until.max(until);
                }
                if self.now <= self.slow_until {
                    amount = amount.min(0.3);
                }
                let is_slow = self.slow_until > self.now && self.random.bool();
                let at = if is_slow { self.slow_until } else { self.now };
                for place in 0..self.limits.len() {
                    if self.binds(place, model) {
                        let now = self.now;
                        self.limits[place].spend(amount, now);
                    }
                }
                self.report(model, number, answer == SimulatedAnswer::Paid, at);
            }
        }
    }

    /// Sends the lines of a request that was served.
    fn report(&mut self, model: usize, number: usize, is_paid: bool, at: Millis) {
        let session = Some(number as u64);
        // For a paying account an answer alone does not show that it was not billed.
        let is_free = !self.has_bought || self.account.use_overage;
        let mut serves = NOTHING;
        serves[model] = is_free.then_some(SERVED_AFTER_MS);
        if self.random.u8(..5) > 0 {
            // A line is written at the end of its response.
            let ends = at + self.random.i64(0..SERVED_AFTER_MS - IN_FLIGHT_MS);
            self.send(ends, [(News::Served(model), serves)]);
        }
        let style = self.random.u8(..4);
        let source = if style == 0 {
            LimitSource::Headers
        } else {
            LimitSource::RateLimitEvent
        };
        let windows = self.windows(source, session);
        // The terminal shows the last values it received.
        self.terminals[number] = windows
            .iter()
            .map(|saw| Observation {
                source: LimitSource::Statusline,
                status: LimitStatus::Unknown,
                ..saw.clone()
            })
            .collect();
        if style == 3 {
            return;
        }
        let claim = windows.first().map(|saw| saw.window.clone());
        let has_room = windows.iter().all(|saw| saw.utilization < Some(0.74));
        let shown = self.is_ok(model) && windows.iter().all(|saw| saw.utilization < Some(1.0));
        let mut line = Vec::new();
        // Not every line has every window.
        let named = self.random.usize(..2 * windows.len().max(1));
        let count = windows.len();
        for (place, mut saw) in windows.into_iter().enumerate() {
            // An event gives the status of its claimed window, headers that of each.
            if style > 0 && Some(&saw.window) != claim.as_ref() {
                saw.status = LimitStatus::Unknown;
            }
            if is_paid && style > 0 {
                saw.status = LimitStatus::Unknown;
            }
            if style > 0 && named < count && named != place {
                continue;
            }
            let mut shows = NOTHING;
            // With room, the request cannot be from before.
            let wait = if has_room { 0 } else { IN_FLIGHT_MS };
            shows[model] = (style == 0 && shown && place == 0 && !self.buys).then_some(wait);
            line.push((News::Saw(saw), shows));
        }
        if self.buys {
            let mut saw = saw(OVERAGE_IN_USE, source, session);
            saw.utilization = Some(if is_paid { 1.0 } else { 0.0 });
            line.push((News::Saw(saw), NOTHING));
        }
        self.send(at, line);
    }

    fn refuse(&mut self, place: usize, session: Option<u64>) {
        let style = self.random.u8(..5);
        let request = Some(self.random.u64(..));
        let windows = self.windows(LimitSource::Headers, session);
        let limit = self.limits[place].clone();
        let at = self.now;
        match style {
            // Headers with the status of each window.
            0 => {
                let line = windows.into_iter().map(|saw| Observation { request, ..saw });
                self.send_all(at, line.collect());
            }
            // An event that claims the window.
            1 => {
                let mut windows = windows;
                for saw in &mut windows {
                    if &*saw.window != limit.window {
                        saw.status = LimitStatus::Unknown;
                    }
                    saw.source = LimitSource::RateLimitEvent;
                }
                self.send_all(at, windows);
            }
            // A sentence, with the minute of its end or without; sometimes without a window.
            _ => {
                let name = if style == 4 { UNKNOWN } else { limit.window };
                let mut saw = saw(name, LimitSource::Prose, session);
                saw.status = LimitStatus::Rejected;
                // To the minute or, in older words, to half an hour.
                let unit = MINUTE_MS * if self.random.bool() { 1 } else { 30 };
                let rounded = |at: Millis| at - at.rem_euclid(unit);
                saw.reset_at = limit.ends.map(rounded).filter(|end| style == 2 && *end > at);
                saw.request = request;
                // Tries of one request.
                for n in 0..self.random.i64(1..4) {
                    self.send_all(at + n * 1_000, vec![saw.clone()]);
                }
            }
        }
    }

    /// A reading by the usage API.
    fn poll(&mut self, after: Millis) {
        let mut windows = self.windows(LimitSource::UsageApi, None);
        for saw in &mut windows {
            saw.status = LimitStatus::Unknown;
            if saw.reset_at.is_none() {
                saw.utilization = Some(0.0);
                self.read.push((saw.window.clone(), 0.0, None));
            }
        }
        self.send_all(self.now + after, windows);
    }

    fn step(&mut self) {
        let ms = match self.random.u8(..20) {
            0..9 => self.random.i64(500..40_000),
            9..16 => self.random.i64(40_000..10 * MINUTE_MS),
            16..19 => self.random.i64(10 * MINUTE_MS..3 * HOUR_MS),
            _ => self.random.i64(3 * HOUR_MS..4 * DAY_MS),
        };
        self.pass(ms);
        match self.random.u8(..100) {
            0..62 => self.request(),
            62..76 => {
                // An idle terminal repeats its values.
                let number = self.random.usize(..SESSIONS);
                self.send_all(self.now, self.terminals[number].clone());
            }
            76..84 => {
                // After a surprising answer the client asks again.
                let first = self.letters.len();
                let is_twice = self.random.bool();
                for n in 0..=i64::from(is_twice) {
                    self.poll(n * 1_000);
                }
                let arrives = self.letters[first..].iter().map(|letter| letter.arrives).max();
                let has_room = self.limits.iter().all(|limit| limit.share() < 0.79);
                let is_free = !self.has_bought || self.account.use_overage;
                let mut shows = NOTHING;
                for (model, wait) in shows.iter_mut().enumerate() {
                    *wait = (is_twice && has_room && is_free && self.is_ok(model)).then_some(1_000);
                }
                for letter in &mut self.letters[first..] {
                    letter.arrives = arrives.unwrap_or(letter.arrives);
                }
                let last = self.letters.last_mut();
                let last = last.filter(|letter| letter.arrives - letter.at < 25_000);
                if let Some(letter) = last {
                    letter.shows = shows;
                }
            }
            84..88 => {
                // A window that began just now would end within the jitter of the next one.
                let five = &mut self.limits[0];
                if five
                    .ends
                    .is_some_and(|ends| ends - five.length < self.now - 5 * MINUTE_MS)
                {
                    (five.used, five.ends, five.is_known) = (0.0, None, false);
                    five.reported = 0.0;
                    five.fall(self.now);
                    self.log.push(format!("{} restarted", self.now - START));
                }
            }
            88..92 => {
                let factor = 1.05 + self.random.f64() * 3.0;
                self.log
                    .push(format!("{} upgraded by {factor}", self.now - START));
                for limit in &mut self.limits {
                    limit.capacity *= factor;
                    limit.fall(self.now);
                }
            }
            92..95 => {
                self.throttled_until = self.now + self.random.i64(20_000..10 * MINUTE_MS);
                self.log.push(format!("{} throttled", self.now - START));
            }
            95..97 => {
                self.buys = !self.buys && self.random.bool();
                self.log.push(format!("{} buys {}", self.now - START, self.buys));
                // Earlier readings were those of another account.
                for limit in &mut self.limits {
                    limit.is_said = false;
                    limit.full_since = limit.full_since.map(|_| self.now);
                }
            }
            _ => {}
        }
        self.pass(0);
        self.deliver();
    }

    /// Delivers the letters that have arrived.
    fn deliver(&mut self) {
        self.letters.sort_by_key(|letter| letter.arrives);
        let arrived = self.letters.partition_point(|letter| letter.arrives <= self.now);
        let arrived: Vec<Letter> = self.letters.drain(..arrived).collect();
        for letter in arrived {
            self.engine.take(&letter.news, letter.at);
            self.log.push(format!(
                "  {} of {}: {:?}",
                letter.arrives - START,
                letter.at - START,
                letter.news
            ));
            let is_late = self.is_late(&letter);
            if let News::Saw(saw) = &letter.news {
                let is_refusal = saw.status == LimitStatus::Rejected;
                let is_live = !saw.source.is_snapshot();
                let is_full = saw.utilization >= Some(1.0) && &*saw.window != OVERAGE_IN_USE;
                let says = is_refusal || is_full && !(self.has_bought && self.account.use_overage);
                if is_refusal || is_full {
                    self.blocked_at = self.blocked_at.max(letter.at);
                }
                let limits = self
                    .limits
                    .iter_mut()
                    .filter(|limit| *limit.window == *saw.window);
                for limit in limits {
                    let is_said = limit.full_since.is_some_and(|since| letter.at >= since);
                    limit.is_said |= is_said && says && is_live && !is_late;
                    let is_this = limit
                        .ends
                        .zip(saw.reset_at)
                        .is_some_and(|(one, other)| is_near(one, other) && other > letter.at);
                    let terminal = saw.session.filter(|_| !is_live);
                    if let (Some(number), Some(share)) = (terminal, saw.utilization) {
                        let shown = &mut limit.terminals[usize::try_from(number).expect("few sessions")];
                        if share > std::mem::replace(shown, share) {
                            // An active session may show use from before an upgrade.
                            limit.polls = 0;
                        }
                    }
                    if is_this && is_live && !is_late {
                        limit.reported = limit.reported.max(saw.utilization.unwrap_or(0.0));
                    }
                    if is_this && is_live && !is_late && letter.at > limit.grows_since + IN_FLIGHT_MS {
                        limit.highest = limit.highest.max(saw.utilization.unwrap_or(0.0));
                        limit.polls += u32::from(saw.source == LimitSource::UsageApi);
                    }
                    limit.is_known |= is_this && saw.utilization.is_some() && is_live && !is_late;
                }
                if &*saw.window == COOL_DOWN && !is_late {
                    self.cool_until = self.cool_until.max(saw.reset_at);
                }
                if &*saw.window == OVERAGE_IN_USE && !is_late {
                    let is_paid = saw.utilization >= Some(1.0);
                    self.paid_said = is_paid.then_some(letter.at);
                }
            }
            for model in 0..MODELS.len() {
                let is_since = self.ok_since[model].is_some_and(|since| letter.at > since);
                if let Some(wait) = letter.shows[model].filter(|_| is_since) {
                    self.shown[model].push((letter.at, wait, letter.arrives));
                }
            }
        }
    }

    /// True if a live line comes after later ones of its window; repetitions by terminals do not count.
    fn is_late(&mut self, letter: &Letter) -> bool {
        match &letter.news {
            News::Saw(saw) if !saw.source.is_snapshot() => {
                let latest = self.latest.entry(saw.window.clone()).or_insert(letter.at);
                let is_late = letter.at < *latest - 25_000;
                *latest = letter.at.max(*latest);
                is_late
            }
            _ => letter.arrives - letter.at > 25_000,
        }
    }

    /// Compares the engine's answers with the provider's.
    fn check(&self) -> Result<(), String> {
        let now = self.now;
        for (model, name) in MODELS.iter().enumerate() {
            let (verdict, sentence) = self.engine.verdict(&self.account, name, now);
            let wrong = |what: &str| Err(format!("{} {name}: {what}: {sentence}", now - START));
            let answer = self.answer(model);
            if verdict == Verdict::Allow {
                let is_said = |place: &usize| {
                    let limit = &self.limits[*place];
                    let is_ending = |ends: Millis| ends - now <= RESET_JITTER_MS.cast_signed();
                    self.binds(*place, model) && limit.is_said && !limit.ends.is_none_or(is_ending)
                };
                let said = (0..self.limits.len()).find(is_said);
                if matches!(answer, SimulatedAnswer::Refused(_)) && said.is_some() {
                    return wrong("allowed, and it is refused and that was said");
                }
                let cool = self.cool_until.filter(|until| *until > now);
                if answer == SimulatedAnswer::Throttled && cool.is_some() {
                    return wrong("allowed, and it is throttled and that was said");
                }
                let is_paid = answer == SimulatedAnswer::Paid && !self.account.use_overage && said.is_some();
                let full = self.limits.iter().filter_map(|limit| limit.full_since).min();
                if is_paid && self.paid_said > full && self.paid_said.is_some() {
                    return wrong("allowed, and it is paid for and that was said");
                }
            }
            let is_shown = self.shown[model]
                .iter()
                .any(|(at, wait, arrived)| *at > self.blocked_at + wait && now - arrived >= FREE_AFTER_MS);
            if verdict == Verdict::Wait && is_shown && self.ok_since[model].is_some() {
                return wrong("waits, and it has been served for ten minutes");
            }
        }
        for (name, state) in self.engine.states() {
            let known = self
                .limits
                .iter()
                .find(|limit| limit.window == name && limit.is_known);
            let ends = known.and_then(|limit| limit.ends);
            if ends.is_some_and(|ends| !state.reset_at.is_some_and(|reset| is_near(reset, ends))) {
                return Err(format!(
                    "{} {name} ends {:?}, and that was said: {state:?}",
                    now - START,
                    ends.map(|ends| ends - START)
                ));
            }
            let seen = view(&state, now);
            let (Some(share), false) = (seen.utilization, seen.refused) else {
                continue;
            };
            if let Some(limit) = known {
                // One hundredth for rounding.
                if share < limit.highest - 0.01 {
                    return Err(format!(
                        "{} {name} shows {share} after {}",
                        now - START,
                        limit.highest
                    ));
                }
                // Use that only a terminal showed before an upgrade cannot be distinguished from later use.
                let is_old = share <= limit.reported + 0.01;
                if is_old && limit.polls >= 2 && share > limit.share() + 0.21 {
                    return Err(format!("{} {name} still shows {share}", now - START));
                }
            }
            let is_it = |(window, read, reset): &(Box<str>, f64, Option<Millis>)| {
                let resets = reset.zip(state.reset_at);
                let is_one = resets.is_none_or(|(one, other)| is_near(one, other));
                **window == *name && read.to_bits() == share.to_bits() && is_one
            };
            if !self.read.iter().any(is_it) {
                return Err(format!(
                    "{} {name} shows {share} until {:?}, which never was",
                    now - START,
                    state.reset_at.map(|reset| reset - START)
                ));
            }
        }
        Ok(())
    }
}

fn is_near(one: Millis, other: Millis) -> bool {
    one.abs_diff(other) <= RESET_JITTER_MS
}

/// Runs one history; returns the difference, if any.
fn history(seed: u64) -> Result<(), String> {
    let mut world = SimulatedWorld::new(seed);
    for _ in 0..STEPS {
        world.step();
        if let Err(what) = world.check() {
            return Err(format!("{what}\n{}", world.log.join("\n")));
        }
    }
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "a setting of this test, not of the program"
)]
fn wanted_seed() -> Option<u64> {
    std::env::var("TOKENTAIL_SEED").ok()?.parse().ok()
}

/// Runs histories; fails with the shortest of those that went wrong.
pub(super) fn histories(seeds: impl Iterator<Item = u64>, history: impl Fn(u64) -> Result<(), String>) {
    let seeds: Vec<u64> = wanted_seed().map_or_else(|| seeds.collect(), |seed| vec![seed]);
    let wrong: Vec<(u64, String)> = seeds
        .iter()
        .filter_map(|seed| Some((*seed, history(*seed).err()?)))
        .collect();
    if let Some((seed, what)) = wrong.iter().min_by_key(|(_, what)| what.len()) {
        let others: Vec<u64> = wrong.iter().map(|(seed, _)| *seed).take(20).collect();
        panic!(
            "{} of {} histories went wrong, as {others:?}; the shortest, TOKENTAIL_SEED={seed}: {what}",
            wrong.len(),
            seeds.len()
        );
    }
}

#[test]
fn no_history_of_a_provider_leads_astray_even_seeds() {
    histories((0..HISTORIES).filter(|seed| seed % 2 == 0), history);
}

#[test]
fn no_history_of_a_provider_leads_astray_odd_seeds() {
    histories((0..HISTORIES).filter(|seed| seed % 2 == 1), history);
}
