//! Who may administer: change who the members are.
//!
//! Either of two proofs will do: the token that lies in a file of the node, or a client certificate
//! issued by the authority that the nodes themselves trust. Without either nobody may, unless the
//! configuration says that everybody may.
//!
//! Not here: what an administrator asks for (`members`), the handshake that a certificate is checked in.

use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use sha2::{Digest as _, Sha256};

use super::answer::{Answer, error};
use crate::config::{Administration, NodeSection};

/// Fewest bytes of an administration token: what is shorter can be guessed.
const TOKEN_BYTES_MIN: usize = 16;

/// How a client is connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Caller {
    /// It showed a client certificate that the handshake accepted.
    pub has_certificate: bool,
}

/// What an administrator has to show.
#[derive(Clone, Debug)]
pub struct Guard {
    administration: Administration,
    /// Read anew each time: a token is replaced by writing the file.
    token_file: Option<String>,
    takes_certificates: bool,
}

impl Guard {
    /// As the configuration has it. `takes_certificates`: whether clients are asked for one.
    ///
    /// # Errors
    /// If the token cannot be read, or is too short to be one: the file and what is wrong.
    pub fn new(node: &NodeSection, takes_certificates: bool) -> Result<Self, (String, String)> {
        if let Some(path) = &node.admin_token_file {
            token(path).map_err(|why| (path.clone(), why))?;
        }
        let (administration, token_file) = (node.administration, node.admin_token_file.clone());
        Ok(Self { administration, token_file, takes_certificates })
    }

    /// The refusal, unless the request may administer.
    pub(super) fn refuses(&self, caller: Caller, headers: &HeaderMap) -> Option<Answer> {
        if self.administration == Administration::Open || caller.has_certificate {
            return None;
        }
        let given = headers.get(AUTHORIZATION).map(|value| value.as_bytes());
        let forbidden = |why: &str| Some(error(StatusCode::FORBIDDEN, "forbidden", why));
        match (given, &self.token_file) {
            (None, None) if !self.takes_certificates => forbidden(
                "nobody may administer this node: give it admin_token_file under [node], or ca under [tls]",
            ),
            (None, token_file) => Some(ask(token_file.is_some(), self.takes_certificates)),
            (Some(_), None) => forbidden("this node takes no token: it has no admin_token_file under [node]"),
            (Some(given), Some(path)) => match token(path) {
                Ok(token) if is_bearer_of(given, &token) => None,
                Ok(_) => forbidden("that is not the token in this node's admin_token_file"),
                Err(why) => {
                    tracing::error!(path, why, "the administration token cannot be read");
                    forbidden("this node cannot read its admin_token_file; its log says why")
                }
            },
        }
    }
}

fn ask(takes_token: bool, takes_certificate: bool) -> Answer {
    let token = "the token in its admin_token_file as `Authorization: Bearer TOKEN`";
    let certificate = "a client certificate that its [tls] ca issued";
    let what = match (takes_token, takes_certificate) {
        (true, true) => format!("{token}, or {certificate}"),
        (true, false) => token.to_owned(),
        (false, _) => certificate.to_owned(),
    };
    let message = format!("only an administrator of this node may do that: show {what}");
    let mut answer = error(StatusCode::UNAUTHORIZED, "unauthorized", &message);
    answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    answer
}

/// The token in a file, without the line's end.
fn token(path: &str) -> Result<Vec<u8>, String> {
    let bytes = std::fs::read(path).map_err(|e| e.to_string())?;
    let token = bytes.trim_ascii();
    if token.len() < TOKEN_BYTES_MIN {
        return Err(format!("a token has at least {TOKEN_BYTES_MIN} visible characters"));
    }
    Ok(token.to_vec())
}

/// Compares digests, so that the time taken says nothing about the token.
fn is_bearer_of(given: &[u8], token: &[u8]) -> bool {
    let Some((scheme, rest)) = given.split_at_checked("Bearer ".len()) else { return false };
    scheme.eq_ignore_ascii_case(b"Bearer ") && Sha256::digest(rest.trim_ascii()) == Sha256::digest(token)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn guard(token_file: Option<&str>, takes_certificates: bool) -> Guard {
        let administration = Administration::Guarded;
        Guard { administration, token_file: token_file.map(str::to_owned), takes_certificates }
    }

    /// The status and the words of the refusal.
    fn says(guard: &Guard, has_certificate: bool, authorization: Option<&str>) -> Option<u16> {
        let mut headers = HeaderMap::new();
        if let Some(value) = authorization {
            headers.insert(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        guard.refuses(Caller { has_certificate }, &headers).map(|answer| answer.status().as_u16())
    }

    #[test]
    fn a_token_or_a_certificate_will_do_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.token");
        std::fs::write(&path, format!("{TOKEN}\n")).unwrap();
        let with_token = guard(path.to_str(), true);
        assert_eq!(says(&with_token, false, Some(&format!("Bearer {TOKEN}"))), None);
        assert_eq!(says(&with_token, false, Some(&format!("bearer {TOKEN}"))), None);
        assert_eq!(says(&with_token, true, None), None);
        assert_eq!(says(&with_token, false, None), Some(401));
        for wrong in ["Bearer ", "Bearer 0123456789abcdeg", TOKEN, "Basic 0123456789abcdef", "B"] {
            assert_eq!(says(&with_token, false, Some(wrong)), Some(403), "{wrong}");
        }
        std::fs::write(&path, "fedcba9876543210").unwrap();
        assert_eq!(says(&with_token, false, Some(&format!("Bearer {TOKEN}"))), Some(403), "it was replaced");
        assert_eq!(says(&with_token, false, Some("Bearer fedcba9876543210")), None);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(says(&with_token, false, Some("Bearer fedcba9876543210")), Some(403));
    }

    #[test]
    fn without_a_token_and_a_certificate_nobody_may_unless_everybody_may() {
        assert_eq!(says(&guard(None, false), false, None), Some(403));
        assert_eq!(says(&guard(None, true), false, None), Some(401));
        assert_eq!(says(&guard(None, true), false, Some("Bearer 0123456789abcdef")), Some(403));
        let open = Guard { administration: Administration::Open, ..guard(None, false) };
        assert_eq!(says(&open, false, None), None);
    }
}
