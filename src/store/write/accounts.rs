//! The accounts of a batch: the account of its lines, and those of lines that name a provider.
//!
//! **Invariant**: the account of a run by a provider is set once and kept, so that its sums stay together.

use std::sync::Arc;

use super::name_cache::NameCache;
use super::registry::Registry;
use crate::model::{AccountId, Batch, Dialect, Record, RunNumber};
use crate::store::error::DbError;

/// Most providers of one run with an account of their own; lines of others are of the batch's account.
pub const PROVIDERS_PER_RUN_MAX: usize = 32;

/// From so many accounts on, lines and records that name a provider make no new one.
const ACCOUNTS_OF_LINES_MAX: usize = 1000;

/// The numbers of a batch's accounts.
pub struct BatchAccounts<'b> {
    batch: &'b Batch,
    run: RunNumber,
    pub own: u32,
    /// The provider looked up last: consecutive lines mostly name the same one.
    last: Option<(&'b Arc<str>, u32)>,
}

impl<'b> BatchAccounts<'b> {
    pub fn new(
        registry: &mut Registry<'_>,
        names: &mut NameCache,
        batch: &'b Batch,
        run: RunNumber,
    ) -> Result<Self, DbError> {
        let of_run = names.account_of(run);
        let provider = batch.dialect.provider();
        // Lines in Claude Code's format mostly belong to the run's own account, whatever its provider is.
        let is_of_run = names.accounts.get(of_run as usize).is_none_or(|account| {
            let is_usual = batch.dialect == Dialect::Claude && !Dialect::is_of_agent(&account.provider);
            *account.provider == *provider || is_usual
        });
        let is_asked_for =
            !batch.observations.is_empty() || (batch.records.iter()).any(|record| record.provider.is_none());
        let own = if is_of_run || !is_asked_for {
            of_run
        } else {
            by_provider(registry, names, (run, provider), &batch.account)?.unwrap_or(of_run)
        };
        let last = None;
        Ok(Self {
            batch,
            run,
            own,
            last,
        })
    }

    /// The account of a response.
    pub fn of(
        &mut self,
        registry: &mut Registry<'_>,
        names: &mut NameCache,
        record: &'b Record,
    ) -> Result<u32, DbError> {
        let Some(provider) = &record.provider else {
            return Ok(self.own);
        };
        if let Some((last, account)) = self.last
            && last == provider
        {
            return Ok(account);
        }
        let mut accounts = self.batch.provider_accounts.iter();
        let account = match accounts.find(|(name, _)| name == provider) {
            Some((_, id)) => by_provider(registry, names, (self.run, provider), id)?.unwrap_or(self.own),
            None => self.own,
        };
        self.last = Some((provider, account));
        Ok(account)
    }
}

/// The number of an account, created if there is room for one that a client names.
pub fn account_with_room(
    registry: &mut Registry<'_>,
    names: &mut NameCache,
    id: &AccountId,
) -> Result<Option<u32>, DbError> {
    if let Some(known) = names.accounts.iter().position(|known| known == id) {
        return Ok(u32::try_from(known).ok());
    }
    if names.accounts.len() >= ACCOUNTS_OF_LINES_MAX {
        return Ok(None);
    }
    let account = registry.account(id)?;
    names.note_account(account, id);
    Ok(Some(account))
}

/// The account that a run has by a provider, created if it has none; `None` if it has too many.
pub fn by_provider(
    registry: &mut Registry<'_>,
    names: &mut NameCache,
    (run, provider): (RunNumber, &str),
    id: &AccountId,
) -> Result<Option<u32>, DbError> {
    let of_run = names.run_providers.get(&run);
    if let Some(account) = of_run.and_then(|of_run| of_run.get(provider)) {
        return Ok(Some(*account));
    }
    let known = names.accounts.iter().position(|known| known == id);
    // Lines that name providers freely must leave room for the agents' own.
    let is_agents = Dialect::is_of_agent(provider) || provider == Dialect::Claude.provider();
    let has_room = of_run.is_none_or(|of_run| of_run.len() < PROVIDERS_PER_RUN_MAX)
        && (known.is_some() || names.accounts.len() < ACCOUNTS_OF_LINES_MAX);
    if !is_agents && !has_room {
        return Ok(None);
    }
    let account = match known.and_then(|known| u32::try_from(known).ok()) {
        Some(account) => account,
        None => registry.account(id)?,
    };
    names.note_account(account, id);
    registry.run_providers.insert((run, provider), account)?;
    names.note_provider((run, provider), account);
    Ok(Some(account))
}
