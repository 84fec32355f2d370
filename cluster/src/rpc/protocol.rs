//! Which form of the messages two peers use: the newest that both speak, found out by the hello.
//!
//! A release speaks its own version and the one before it, so that the nodes of a store are upgraded
//! one after the other. What a version's messages look like never changes once it was released
//! (`golden` holds every one of them to its bytes): a later version appends variants, and says of each
//! since when it is known ([`super::Request::since`]). A request that a peer does not know yet is not
//! sent to it; a response that it does not know is never given, because it asked for nothing that
//! would be answered so.
//!
//! Not here: the hello itself (`message`), who says it (`peers`, `server`).

use std::fmt;

/// The newest version of the messages that this release speaks. Raised whenever they change.
pub const PROTOCOL_NEWEST: u32 = 8;
/// The oldest that it speaks.
pub const PROTOCOL_OLDEST: u32 = 7;

/// The first version in which a hello says more than one version.
const NEGOTIATED_SINCE: u32 = 8;

/// The versions that a node speaks, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The oldest.
    pub oldest: u32,
    /// The newest; not below the oldest.
    pub newest: u32,
}

impl Versions {
    /// All that this release speaks, up to `held_back` if the node is told not to use what is newer.
    #[must_use]
    pub fn up_to(held_back: Option<u32>) -> Self {
        let newest = held_back.unwrap_or(PROTOCOL_NEWEST).clamp(PROTOCOL_OLDEST, PROTOCOL_NEWEST);
        Self { oldest: PROTOCOL_OLDEST, newest }
    }

    /// The newest version that both speak, if there is one.
    #[must_use]
    pub fn common(self, other: Self) -> Option<u32> {
        let newest = self.newest.min(other.newest);
        (newest >= self.oldest.max(other.oldest)).then_some(newest)
    }

    /// Whether `version` is one of them.
    #[must_use]
    pub fn has(self, version: u32) -> bool {
        (self.oldest..=self.newest).contains(&version)
    }

    /// Whether these are among the versions that others are told of. A node that speaks none of those says
    /// hello as it was said before there was anything to choose.
    #[must_use]
    pub fn are_offered(self) -> bool {
        self.newest >= NEGOTIATED_SINCE
    }
}

/// `7` or `7 to 8`.
impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.oldest == self.newest {
            write!(f, "{}", self.newest)
        } else {
            write!(f, "{} to {}", self.oldest, self.newest)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_nodes_use_the_newest_version_that_both_speak() {
        let of = |oldest, newest| Versions { oldest, newest };
        let cases = [
            (of(7, 8), of(7, 8), Some(8)),
            (of(7, 7), of(7, 8), Some(7)),
            (of(8, 9), of(7, 8), Some(8)),
            (of(9, 10), of(7, 8), None),
            (of(6, 6), of(7, 8), None),
        ];
        for (ours, theirs, common) in cases {
            assert_eq!(ours.common(theirs), common, "{ours} and {theirs}");
            assert_eq!(theirs.common(ours), common, "{theirs} and {ours}");
        }
    }

    #[test]
    fn a_node_speaks_what_its_release_speaks_unless_it_is_held_back() {
        let all = Versions { oldest: PROTOCOL_OLDEST, newest: PROTOCOL_NEWEST };
        assert_eq!(Versions::up_to(None), all);
        assert_eq!(Versions::up_to(Some(PROTOCOL_NEWEST + 1)), all);
        assert_eq!(Versions::up_to(Some(PROTOCOL_OLDEST)).to_string(), PROTOCOL_OLDEST.to_string());
        assert_eq!(all.to_string(), format!("{PROTOCOL_OLDEST} to {PROTOCOL_NEWEST}"));
    }
}
