//! Rare states of the cluster that a campaign of simulated runs must have reached to mean anything: code
//! that is in one says so with [`Mark::hit`].
//!
//! For tests alone. What operators need to know is in [`crate::metrics`].

use std::fmt;

use serde::{Deserialize, Serialize};

/// Declares the marks: one list gives names and explanations.
macro_rules! marks {
    ($($(#[doc = $says:literal])+ $variant:ident = $word:literal),* $(,)?) => {
        /// A rare state.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Mark {
            $($(#[doc = $says])+ #[serde(rename = $word)] $variant),*
        }

        impl Mark {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];
            /// Their names in files, in the same order.
            pub const NAMES: &[&str] = &[$($word),*];

            /// Its name in files.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),*
                }
            }
        }
    };
}

marks! {
    /// A hint was delivered by a later run of the node that had kept it.
    HintOutlivedKeeper = "hint-outlived-keeper",
    /// A hint went to today's owners, since the one that it was kept for owns the key no more.
    HintRedirected = "hint-redirected",
    /// A put had read a write that its node minted in an earlier run.
    NewIncarnation = "new-incarnation",
    /// A deleted key was forgotten.
    TombstoneCollected = "tombstone-collected",
    /// A transfer of a partition went on behind where it was broken off.
    TransferResumed = "transfer-resumed",
    /// A read repair found its own node's copy ahead of what the get had found.
    RepairRacedWrite = "repair-raced-write",
    /// The view changed while a put was under way, and it went on to the owners of the new one.
    ViewChangedDuringPut = "view-changed-during-put",
    /// A register's operation had first to finish that of another.
    RegisterFinishedAnother = "register-finished-another",
    /// A damaged record was found.
    DamageFound = "damage-found",
}

impl Mark {
    /// This is such a state.
    pub fn hit(self) {
        quorate_env::marks::hit(self.as_str());
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
