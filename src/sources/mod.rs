//! The accounts' own numbers, asked for at intervals where the configuration says so.
//!
//! One actor outside of the counting path: it has a weak handle of the committer, one request at a time, and no
//! part of the collector waits for it. The rules are in `quota::poll`, which is pure.

pub mod board;
mod command;
mod endpoint;
mod files;
mod flight;

use std::collections::BTreeMap;
use std::hash::RandomState;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::committer::handle::WeakCommitterHandle;
use crate::config::Settings;
use crate::model::{AccountId, Millis};
use crate::quota::account::Account;
use crate::quota::poll::settings::{PollSettings, PollVia};
use crate::quota::poll::{Backoff, Poll};
use crate::quota::window::WindowState;
use crate::store::{Reader, StoreError};
use board::{PollBoard, PollStatus};

/// Interval at which the file of a credential is read while another one is awaited.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Longest sleep: a clock that is set goes unnoticed no longer.
const SLEEP_MAX: Duration = Duration::from_mins(1);
/// The parts that the polls need.
#[derive(Debug)]
pub struct SourcesSetup {
    pub settings: watch::Receiver<Arc<Settings>>,
    pub clock: Clock,
    pub store: Reader,
    /// Weak: a request that does not return must not keep the committer from ending.
    pub writes: WeakCommitterHandle,
    pub board: Arc<PollBoard>,
    pub stop: CancellationToken,
}

/// The stored windows and back-offs of accounts.
#[derive(Default)]
struct StoredQuota {
    windows: BTreeMap<AccountId, BTreeMap<Box<str>, WindowState>>,
    backoffs: BTreeMap<AccountId, Backoff>,
}

/// A poll with its settings.
struct Polled {
    account: Account,
    settings: PollSettings,
    poll: Poll,
    /// The next look at the credential's file, while another one is awaited.
    look_at: Instant,
    /// The time of fetching of the last reading that was taken from a cache.
    cached_at: Option<Millis>,
}

/// The actor.
pub struct Sources {
    setup: SourcesSetup,
    polls: BTreeMap<AccountId, Polled>,
    stored: StoredQuota,
    /// The end of the last request.
    asked_at: Option<Instant>,
    /// The key of fingerprints, of this process alone.
    key: RandomState,
    polled: u64,
}

impl Sources {
    #[must_use]
    pub fn new(setup: SourcesSetup) -> Self {
        Self {
            setup,
            polls: BTreeMap::new(),
            stored: StoredQuota::default(),
            asked_at: None,
            key: RandomState::new(),
            polled: 0,
        }
    }

    /// Polls until it is stopped.
    pub async fn run(mut self) {
        let stop = self.setup.stop.clone();
        stop.run_until_cancelled(self.work()).await;
    }

    async fn work(&mut self) {
        loop {
            self.take_settings().await;
            let next = self.next();
            self.show();
            let mut settings = self.setup.settings.clone();
            let Some((at, account)) = next else {
                if settings.changed().await.is_err() {
                    return;
                }
                self.setup.settings = settings;
                continue;
            };
            tokio::select! {
                changed = settings.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.setup.settings = settings;
                }
                () = tokio::time::sleep_until(at.min(Instant::now() + SLEEP_MAX)) => {
                    if at <= Instant::now() {
                        self.visit(&account).await;
                    }
                }
            }
        }
    }

    /// Takes over the configured polls. One whose settings changed begins again, with its back-off.
    async fn take_settings(&mut self) {
        let settings = Arc::clone(&self.setup.settings.borrow_and_update());
        let rules = settings.accounts.rules();
        let wanted = |id: &AccountId| rules.iter().any(|rules| rules.id == *id && rules.poll.is_some());
        self.polls.retain(|id, _| wanted(id));
        let is_new = |rules: &Account| match self.polls.get(&rules.id) {
            None => true,
            Some(known) => Some(&known.settings) != rules.poll.as_ref(),
        };
        let new: Vec<Account> = rules
            .iter()
            .filter(|rules| rules.poll.is_some() && is_new(rules))
            .cloned()
            .collect();
        for rules in rules {
            if let Some(known) = self.polls.get_mut(&rules.id) {
                known.account = rules.clone();
            }
        }
        if new.is_empty() {
            return;
        }
        self.read_store().await;
        let now = self.setup.clock.now();
        for account in new {
            let Some(settings) = account.poll.clone() else {
                continue;
            };
            let id = account.id.clone();
            let backoff = match self.polls.get(&id) {
                // Corrected settings of this host's own files and commands are tried at once.
                Some(known) => known.poll.backoff().filter(|_| settings.via.has_credentials()),
                None => self.stored.backoffs.get(&id).copied(),
            };
            let poll = Poll::seeded(self.windows(&id), backoff, now);
            tracing::info!(account = %id, via = settings.via.into_str(), "polls the account's own numbers");
            let polled = Polled {
                account,
                settings,
                poll,
                look_at: Instant::now(),
                cached_at: None,
            };
            self.polls.insert(id, polled);
        }
    }

    fn windows(&self, account: &AccountId) -> &BTreeMap<Box<str>, WindowState> {
        static NONE: BTreeMap<Box<str>, WindowState> = BTreeMap::new();
        self.stored.windows.get(account).unwrap_or(&NONE)
    }

    /// Reads windows and back-offs. A store that does not answer leaves those that are known.
    async fn read_store(&mut self) {
        let store = self.setup.store.clone();
        let read = blocking(move || {
            let snapshot = store.snapshot()?;
            let accounts = snapshot.accounts(Millis::MAX)?;
            Ok::<_, StoreError>(StoredQuota {
                windows: (accounts.into_iter())
                    .map(|(id, sums)| (id, sums.windows))
                    .collect(),
                backoffs: snapshot.backoffs()?,
            })
        });
        match read.await {
            Some(Ok(stored)) => self.stored = stored,
            Some(Err(error)) => tracing::debug!(%error, "the windows are not read for the polls"),
            None => {}
        }
    }

    /// The account that is visited next, and when.
    fn next(&mut self) -> Option<(Instant, AccountId)> {
        let now = self.setup.clock.now();
        let mut next: Option<(Instant, AccountId)> = None;
        let none = BTreeMap::new();
        for (id, polled) in &mut self.polls {
            polled.poll.look(now);
            let windows = self.stored.windows.get(id).unwrap_or(&none);
            let at = match polled.poll.due(&polled.settings, &polled.account, windows, now) {
                Some(due) => Instant::now() + span(due.saturating_sub(now)),
                None => polled.look_at,
            };
            if next.as_ref().is_none_or(|(earliest, _)| at < *earliest) {
                next = Some((at, id.clone()));
            }
        }
        next
    }

    /// Polls an account if it is still due with the windows as they are now, or looks at its credential.
    async fn visit(&mut self, id: &AccountId) {
        let Some(polled) = self.polls.get(id) else { return };
        let (settings, waits) = (polled.settings.clone(), polled.poll.awaits_credential());
        if !waits {
            self.read_store().await;
            let now = self.setup.clock.now();
            let windows = self.windows(id);
            let due = self
                .polls
                .get(id)
                .and_then(|polled| polled.poll.due(&polled.settings, &polled.account, windows, now));
            if due.is_none_or(|due| due > now) {
                return;
            }
        }
        if let Some(polled) = self.polls.get_mut(id) {
            polled.look_at = Instant::now() + LOOK_EVERY;
        }
        match settings.via {
            PollVia::UsageApi | PollVia::Wham => self.ask(id, settings, waits).await,
            PollVia::ClaudeCli | PollVia::CacheFile => self.read_cache(id, settings).await,
        }
    }

    /// Shows all polls.
    fn show(&self) {
        let now = self.setup.clock.now();
        let none = BTreeMap::new();
        let shown = self.polls.iter().map(|(id, polled)| {
            let windows = self.stored.windows.get(id).unwrap_or(&none);
            let status = PollStatus {
                via: polled.settings.via,
                state: polled.poll.state(),
                last_ok: polled.poll.last_ok(),
                failure: polled.poll.failure().cloned(),
                next: polled.poll.due(&polled.settings, &polled.account, windows, now),
                retry_at: polled
                    .poll
                    .backoff()
                    .map(|backoff| backoff.until)
                    .filter(|until| *until > now),
            };
            (id.clone(), status)
        });
        self.setup.board.show(shown.collect());
    }
}

fn span(millis: Millis) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

/// Runs a call that may take long on a thread of its own. One at a time; `None` if it panicked.
async fn blocking<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(call).await.ok()
}
