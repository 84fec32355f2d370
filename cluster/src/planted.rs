//! Bugs that tests plant, to see the checks find them.
//!
//! Each is a mistake that somebody could make, or has made, at one place of the code that asks
//! [`is_planted`] there. The answer is a constant `false`, and the bug gone from the binary, unless the
//! feature `planted` is on, which only tests of the harness turn on, and debug assertions are, which they
//! are not in a release build.
//!
//! A bug is planted for one thread: a simulated cluster runs on one, and others may run beside it.

macro_rules! bugs {
    ($($(#[$says:meta])* $bug:ident = $name:literal),* $(,)?) => {
        /// A mistake.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Bug {
            $($(#[$says])* $bug,)*
        }

        impl Bug {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$bug),*];

            /// What tables call it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$bug => $name,)*
                }
            }
        }
    };
}

bugs! {
    /// A hint is dropped when it is sent, not when its owner has it.
    HintDroppedBeforeItsAcknowledgement = "a hint is dropped before its acknowledgement",
    /// A run is told from others by how often this disk saw a start.
    DotReusedAfterWipe = "a dot is reused after a wipe",
    /// A put that is sent again is another write.
    DotMintedAgainOnRetry = "a dot is minted again on a retry",
    /// Read repair gives owners the oldest copy that was found, over whatever they hold.
    ReadRepairWritesOlder = "read repair writes an older version",
    /// Deletes are forgotten without asking whether anything older is kept anywhere.
    TombstoneCollectedEarly = "a tombstone is collected early",
    /// A hash tree is never built anew from the disk.
    TreeFromMemory = "a Merkle tree is taken from memory instead of the disk",
    /// Whoever is asked and has nothing says that there is nothing: a fallback, or an owner that lost its disk.
    EmptyFallbackVotes = "an empty answer that is no vote is counted as one",
    /// A node that keeps its own copy and one for somebody else counts as two.
    OneNodeCountsTwice = "hint and replica on one machine are counted twice",
    /// A get answers with the highest that it found, whoever else may not have it.
    GetWithoutWriteBack = "a linearizable get does without the write-back",
    /// A copy is acknowledged as soon as it is in memory.
    AcknowledgedBeforeSync = "an acknowledgement is sent before the sync",
    /// A context counts everything up to the highest that was seen of a node.
    ContextAsMaximum = "a context is taken as a bare maximum",
}

#[cfg(all(feature = "planted", debug_assertions))]
mod switch {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// The bug is planted on this thread until it is dropped.
    #[derive(Debug)]
    pub struct Plant(Option<Bug>);

    /// Plants `bug` on this thread, if there is one.
    #[must_use]
    pub fn plant(bug: Option<Bug>) -> Plant {
        Plant(PLANTED.replace(bug))
    }

    impl Drop for Plant {
        fn drop(&mut self) {
            PLANTED.set(self.0);
        }
    }

    /// Whether `bug` is planted here.
    #[must_use]
    pub fn is_planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }
}

#[cfg(not(all(feature = "planted", debug_assertions)))]
mod switch {
    use super::Bug;

    /// Nothing.
    #[derive(Debug)]
    pub struct Plant(());

    /// Plants nothing.
    ///
    /// # Panics
    /// If there is something to plant: whoever asks for it would take what follows for sound.
    #[must_use]
    pub fn plant(bug: Option<Bug>) -> Plant {
        assert!(bug.is_none(), "bugs can be planted in tests with the feature `planted` only");
        Plant(())
    }

    /// No bug is.
    #[inline]
    #[must_use]
    pub const fn is_planted(_: Bug) -> bool {
        false
    }
}

pub use switch::{Plant, is_planted, plant};
