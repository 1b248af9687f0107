//! Resolution of account names.

use std::sync::Arc;

use crate::api::http::problem::Problem;
use crate::api::state::{ApiState, RequestSnapshot};
use crate::config::{WhichAccount, check_account_name};
use crate::model::{ACCOUNT_DEFAULT, AccountId, Millis, PROVIDER_DEFAULT};
use crate::verdict::AdmissionQuestion;

/// The account of this name that may be marked or reported for: a configured one, or any if `accounts.open`
/// is set.
///
/// # Errors
/// No account has this name, or without a provider several have it.
pub fn usable(
    api: &ApiState,
    snapshot: &mut RequestSnapshot<'_>,
    provider: Option<&str>,
    name: Option<&str>,
) -> Result<AccountId, Problem> {
    let settings = Arc::clone(&api.settings.borrow());
    let accounts = &settings.accounts;
    match accounts.named(provider, name) {
        Ok(account) => return Ok(account.clone()),
        // With `accounts.open`, no name means the default account, configured or not.
        Err(_) if accounts.is_open() && name.is_none() => {}
        Err(WhichAccount::Several(several)) => return Err(ambiguous(&several)),
        Err(WhichAccount::Unknown(_)) if accounts.is_open() => {}
        Err(WhichAccount::Unknown(unknown)) => return Err(Problem::unknown("account", unknown)),
    }
    let name = name.unwrap_or(ACCOUNT_DEFAULT);
    match seen(snapshot, provider, name)?.as_slice() {
        [account] => Ok(account.clone()),
        [] => {
            let provider = provider.unwrap_or(PROVIDER_DEFAULT);
            for name in [provider, name] {
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
pub fn find_account(
    api: &ApiState,
    snapshot: &mut RequestSnapshot<'_>,
    provider: Option<&str>,
    name: &str,
) -> Result<AccountId, Problem> {
    let settings = Arc::clone(&api.settings.borrow());
    let unknown = match settings.accounts.named(provider, Some(name)) {
        Ok(account) => return Ok(account.clone()),
        Err(WhichAccount::Several(several)) => return Err(ambiguous(&several)),
        Err(WhichAccount::Unknown(unknown)) => unknown,
    };
    match seen(snapshot, provider, name)?.as_slice() {
        [account] => Ok(account.clone()),
        [] => Err(Problem::unknown("account", unknown)),
        several => Err(ambiguous(several)),
    }
}

/// Stored accounts of this name.
fn seen(
    snapshot: &mut RequestSnapshot<'_>,
    provider: Option<&str>,
    name: &str,
) -> Result<Vec<AccountId>, Problem> {
    let mut seen = snapshot.get()?.accounts(Millis::MAX)?;
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

/// The problem of a question that no account matches.
#[must_use]
pub fn unknown_account(question: &AdmissionQuestion, why: String) -> Problem {
    let field = if question.account.is_none() && question.provider.is_some() {
        "provider"
    } else {
        "account"
    };
    Problem::unknown(field, why)
}
