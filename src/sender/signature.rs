//! Signatures of Standard Webhooks: HMAC-SHA256 over id, time and body. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::config::SIGNING_PREFIX;

/// Allowed length of a key, in bytes.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// The signature with one secret; `None` if the secret is not `whsec_` and 24 to 64 bytes in base64.
#[must_use]
pub fn signature(secret: &str, id: &str, timestamp: i64, body: &str) -> Option<String> {
    let key = secret.strip_prefix(SIGNING_PREFIX)?;
    let key = Zeroizing::new(STANDARD.decode(key).ok()?);
    if !KEY_BYTES.contains(&key.len()) {
        return None;
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
    mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
    Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: (&str, &str, i64, &str, &str) = (
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1_614_265_330,
        r#"{"test": 2432232314}"#,
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    );
    const SECOND: (&str, &str, i64, &str, &str) = (
        "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        "evt_1795506967678_0",
        1_795_910_400,
        r#"{"type":"threshold","data":{"bucket":"five_hour"}}"#,
        "v1,J0JCxe2lJe/W6/tCU/XmXKDBFXAMKkBGlCvCR8gm9Cc=",
    );

    #[test]
    fn the_vectors_come_out() {
        for (secret, id, timestamp, body, expected) in [FIRST, SECOND] {
            assert_eq!(signature(secret, id, timestamp, body).as_deref(), Some(expected));
        }
    }

    #[test]
    fn the_official_library_signs_the_same() {
        for (secret, id, timestamp, body, _) in [FIRST, SECOND] {
            let official = standardwebhooks::Webhook::new(secret).unwrap();
            let expected = official.sign(id, timestamp, body.as_bytes()).unwrap();
            assert_eq!(signature(secret, id, timestamp, body), Some(expected));
        }
    }

    #[test]
    fn what_is_no_key_signs_nothing() {
        for secret in [
            "",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_",
            "whsec_c2hvcnQ=",
            "whsec_not base64 at all!",
        ] {
            assert_eq!(signature(secret, "id", 0, ""), None, "{secret}");
        }
    }
}
