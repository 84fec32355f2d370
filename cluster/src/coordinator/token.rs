//! Context tokens: what a client has read, opaque to it and bound to store and key.
//!
//! Base64 (URL-safe) of an encoded context or stamp and a truncated HMAC-SHA-256 over store,
//! key and that encoding. A token of another store or key, or one that was altered, is refused
//! rather than misread: a wrong context would silently supersede somebody's write.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::config::Conflict;
use crate::version::{Context, Stamp};

/// Bytes of the authentication code that are kept.
const CODE_BYTES: usize = 16;

/// What a client has seen of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Causality {
    /// Under siblings: the dots.
    Seen(Context),
    /// Under last-write-wins: the stamp read, if there was one.
    Above(Option<Stamp>),
}

impl Causality {
    /// Of one who has seen nothing.
    #[must_use]
    pub fn nothing(conflict: Conflict) -> Self {
        match conflict {
            Conflict::Siblings => Self::Seen(Context::new()),
            // Registers need none: what was read is named by its `ETag`.
            Conflict::LastWriteWins | Conflict::Single => Self::Above(None),
        }
    }
}

/// Why a token was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not what this program writes.
    #[error("the context token is malformed; send back exactly what X-Quorate-Context said")]
    Malformed,
    /// Right form, wrong code.
    #[error(
        "the context token was made for another key or store, or was altered; read the key again and send its token"
    )]
    Foreign,
}

/// Seals and opens tokens.
#[derive(Clone)]
pub struct Tokens {
    mac: Hmac<Sha256>,
}

impl Tokens {
    /// Tokens of the store with this definition digest, authenticated with `secret`.
    ///
    /// # Panics
    /// Never: HMAC takes keys of any length.
    #[must_use]
    pub fn new(secret: &[u8], store_digest: [u8; 16]) -> Self {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
        mac.update(&store_digest);
        Self { mac }
    }

    /// The token for what was seen of `key`.
    ///
    /// # Panics
    /// Never: every context has an encoding.
    #[must_use]
    pub fn seal(&self, key: &[u8], seen: &Causality) -> String {
        let mut bytes = postcard::to_stdvec(seen).expect("a context has an encoding");
        let code = self.code(key, &bytes);
        bytes.extend_from_slice(&code);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// What a token for `key` says.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub fn open(&self, key: &[u8], token: &str) -> Result<Causality, TokenError> {
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| TokenError::Malformed)?;
        let at = bytes.len().checked_sub(CODE_BYTES).ok_or(TokenError::Malformed)?;
        let (body, code) = bytes.split_at(at);
        // Compared in constant time by `verify`.
        let mut mac = self.mac.clone();
        feed(&mut mac, key, body);
        mac.verify_truncated_left(code).map_err(|_| TokenError::Foreign)?;
        postcard::from_bytes(body).map_err(|_| TokenError::Malformed)
    }

    fn code(&self, key: &[u8], body: &[u8]) -> [u8; CODE_BYTES] {
        let mut mac = self.mac.clone();
        feed(&mut mac, key, body);
        let mut code = [0; CODE_BYTES];
        code.copy_from_slice(&mac.finalize().into_bytes()[..CODE_BYTES]);
        code
    }
}

fn feed(mac: &mut Hmac<Sha256>, key: &[u8], body: &[u8]) {
    // The length keeps (key, body) apart from other splits of the same bytes.
    mac.update(&(key.len() as u64).to_be_bytes());
    mac.update(key);
    mac.update(body);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use crate::version::{Actor, Dot};

    fn seen() -> Causality {
        let actor = Actor { node: "n1".parse().unwrap(), incarnation: 3, epoch: 0 };
        Causality::Seen([Dot { actor, counter: 1 }].into_iter().collect())
    }

    #[test]
    fn a_token_opens_for_its_own_key_and_store_only() {
        let tokens = Tokens::new(b"secret", [1; 16]);
        let token = tokens.seal(b"k1", &seen());
        assert_eq!(tokens.open(b"k1", &token), Ok(seen()));
        assert_eq!(tokens.open(b"k2", &token), Err(TokenError::Foreign));
        assert_eq!(Tokens::new(b"secret", [2; 16]).open(b"k1", &token), Err(TokenError::Foreign));
        assert_eq!(Tokens::new(b"other", [1; 16]).open(b"k1", &token), Err(TokenError::Foreign));
    }

    #[test]
    fn altered_and_senseless_tokens_are_refused() {
        let tokens = Tokens::new(b"secret", [1; 16]);
        let mut token = tokens.seal(b"k1", &seen()).into_bytes();
        token[2] = if token[2] == b'A' { b'B' } else { b'A' };
        assert_eq!(tokens.open(b"k1", std::str::from_utf8(&token).unwrap()), Err(TokenError::Foreign));
        for senseless in ["", "AAAA", "not base64!", "====="] {
            assert_eq!(tokens.open(b"k1", senseless), Err(TokenError::Malformed), "{senseless}");
        }
    }
}
