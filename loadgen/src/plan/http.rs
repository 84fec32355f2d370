//! Which HTTP a load is made in.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A version of HTTP, in which nodes of a Quorate store are spoken to; other targets have a protocol of
/// their own. Written as its number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
pub enum Http {
    /// HTTP/1.1: one operation at a time on each connection.
    #[default]
    One,
    /// HTTP/2: as many operations at once on each connection as the plan says.
    Two,
}

/// A number that is no version of HTTP that is spoken here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("HTTP is spoken in version 1 or 2")]
pub struct NoSuchHttp;

impl From<Http> for u8 {
    fn from(http: Http) -> Self {
        match http {
            Http::One => 1,
            Http::Two => 2,
        }
    }
}

impl TryFrom<u8> for Http {
    type Error = NoSuchHttp;

    fn try_from(number: u8) -> Result<Self, NoSuchHttp> {
        match number {
            1 => Ok(Self::One),
            2 => Ok(Self::Two),
            _ => Err(NoSuchHttp),
        }
    }
}

impl FromStr for Http {
    type Err = NoSuchHttp;

    fn from_str(text: &str) -> Result<Self, NoSuchHttp> {
        text.parse::<u8>().map_err(|_| NoSuchHttp)?.try_into()
    }
}

impl fmt::Display for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        u8::from(*self).fmt(f)
    }
}
