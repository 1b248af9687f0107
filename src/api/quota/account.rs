//! Resolution of account names.

use std::sync::Arc;

use crate::api::http::problem::{Problem, blocking};
use crate::api::state::ApiState;
use crate::config::{WhichAccount, check_account_name};
use crate::model::{ACCOUNT_DEFAULT, AccountId, Millis, PROVIDER_DEFAULT};

/// The account of this name that may be marked or reported for: a configured one, or any if `accounts.open`
/// is set.
///
/// # Errors
/// No account has this name, or without a provider several have it.
pub async fn usable(
    api: Arc<ApiState>,
    provider: Option<String>,
    name: Option<String>,
) -> Result<AccountId, Problem> {
    let settings = Arc::clone(&api.settings.borrow());
    let accounts = &settings.accounts;
    match accounts.named(provider.as_deref(), name.as_deref()) {
        Ok(account) => return Ok(account.clone()),
        // With `accounts.open`, no name means the default account, configured or not.
        Err(_) if accounts.is_open() && name.is_none() => {}
        Err(WhichAccount::Several(several)) => return Err(ambiguous(&several)),
        Err(WhichAccount::Unknown(_)) if accounts.is_open() => {}
        Err(WhichAccount::Unknown(unknown)) => return Err(Problem::unknown("account", unknown)),
    }
    let name = name.unwrap_or_else(|| ACCOUNT_DEFAULT.to_owned());
    match seen(api, provider.as_deref(), &name).await?.as_slice() {
        [account] => Ok(account.clone()),
        [] => {
            let provider = provider.unwrap_or_else(|| PROVIDER_DEFAULT.to_owned());
            for name in [&provider, &name] {
                check_account_name(name).map_err(|why| Problem::bad("account", why))?;
            }
            Ok(AccountId {
                provider: provider.into(),
                name: name.into(),
            })
        }
        several => Err(ambiguous(several)),
    }
}

/// The account of this name that is configured or was observed.
///
/// # Errors
/// No account has this name, or without a provider several have it.
pub async fn find_account(
    api: Arc<ApiState>,
    provider: Option<String>,
    name: String,
) -> Result<AccountId, Problem> {
    let settings = Arc::clone(&api.settings.borrow());
    let unknown = match settings.accounts.named(provider.as_deref(), Some(&name)) {
        Ok(account) => return Ok(account.clone()),
        Err(WhichAccount::Several(several)) => return Err(ambiguous(&several)),
        Err(WhichAccount::Unknown(unknown)) => unknown,
    };
    match seen(api, provider.as_deref(), &name).await?.as_slice() {
        [account] => Ok(account.clone()),
        [] => Err(Problem::unknown("account", unknown)),
        several => Err(ambiguous(several)),
    }
}

/// Stored accounts of this name.
async fn seen(api: Arc<ApiState>, provider: Option<&str>, name: &str) -> Result<Vec<AccountId>, Problem> {
    let mut seen = blocking(move || Ok(api.store.quota(Millis::MAX)?))
        .await?
        .accounts;
    seen.retain(|id, _| *id.name == *name && provider.is_none_or(|provider| *id.provider == *provider));
    Ok(seen.into_keys().collect())
}

fn ambiguous(several: &[AccountId]) -> Problem {
    let several = several.iter().map(ToString::to_string).collect::<Vec<_>>();
    Problem::conflict(format!(
        "account: it may be any of {}; give provider and account",
        several.join(", ")
    ))
    .field("account")
}
