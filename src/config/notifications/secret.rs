//! The file with the secrets of a target. It is read for each try, so that a new one needs no reload.

use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::config::file::open_regular;

/// Largest file, in bytes.
const FILE_BYTES_MAX: u64 = 16 << 10;
/// Most secrets: more than two are no rotation.
const SECRETS_MAX: usize = 4;
/// The beginning of a secret that signs.
pub const SIGNING_PREFIX: &str = "whsec_";
/// Permission bits of others.
const MODE_OTHERS: u32 = 0o007;

/// Reason why a file has no usable secrets.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("cannot read the secret {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the secret {} has the mode {mode:04o}, so every user may use it; chmod 600 it, and replace the secret if it was read", path.display())]
    Open { path: PathBuf, mode: u32 },
    #[error(
        "{} holds no secret: 1 to {SECRETS_MAX} lines of visible ASCII characters, as `echo whsec_$(openssl rand -base64 32)` makes one",
        path.display()
    )]
    NoSecret { path: PathBuf },
}

/// The lines of the file, which is overwritten in memory when they are dropped.
///
/// # Errors
/// The file cannot be read, others may read it, or it holds no secret.
pub fn read_secrets(path: &Path) -> Result<Vec<Zeroizing<String>>, SecretError> {
    let failed = |source| SecretError::Read {
        path: path.to_owned(),
        source,
    };
    let file = open_regular(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode();
    if mode & MODE_OTHERS != 0 {
        return Err(SecretError::Open {
            path: path.to_owned(),
            mode: mode & 0o777,
        });
    }
    // With room for all, so that no part of it is left where it grew.
    let room = usize::try_from(FILE_BYTES_MAX + 1).unwrap_or(usize::MAX);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    let none = || SecretError::NoSecret {
        path: path.to_owned(),
    };
    let text = std::str::from_utf8(&bytes).map_err(|_| none())?;
    let lines = text.split('\n').map(str::trim).filter(|line| !line.is_empty());
    let secrets: Vec<_> = lines.map(|line| Zeroizing::new(line.to_owned())).collect();
    let is_plain = |secret: &Zeroizing<String>| secret.bytes().all(|byte| byte.is_ascii_graphic());
    let is_long = bytes.len() as u64 > FILE_BYTES_MAX;
    if is_long || !(1..=SECRETS_MAX).contains(&secrets.len()) || !secrets.iter().all(is_plain) {
        return Err(none());
    }
    Ok(secrets)
}
