//! From which sizes on a key is treated as a large one. No answer depends on these numbers, only what it
//! costs; tests make them tiny, so that small histories go through the same code as a million operations.

/// The sizes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// A past of more blocks makes a new epoch worth its while,
    pub(super) epoch_blocks: usize,
    /// but not sooner than after so many writes, since an epoch costs the writes that enter it,
    pub(super) epoch_writes: u32,
    /// and only for a branch that has descendants for so many writes: with one that dies its epochs die.
    pub(super) epoch_life: u32,
    /// A write that is forgotten within so many writes gets a chain among such.
    pub(super) short_life: u32,
    /// Pairs that are remembered of what a write owes.
    pub(super) debts: usize,
}

impl Limits {
    const REAL: Limits =
        Limits { epoch_blocks: 12, epoch_writes: 512, epoch_life: 2_048, short_life: 64, debts: 6 };

    /// The sizes to go by.
    pub(super) fn current() -> Limits {
        #[cfg(test)]
        if let Some(limits) = tests::OVERRIDE.get() {
            return limits;
        }
        Limits::REAL
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;

    use super::Limits;

    thread_local! {
        pub(super) static OVERRIDE: Cell<Option<Limits>> = const { Cell::new(None) };
    }

    /// Runs something with sizes that even a handful of writes exceeds.
    pub(crate) fn with_tiny_limits<T>(debts: usize, run: impl FnOnce() -> T) -> T {
        let tiny = Limits { epoch_blocks: 0, epoch_writes: 1, epoch_life: 1, short_life: 2, debts };
        OVERRIDE.set(Some(tiny));
        let result = run();
        OVERRIDE.set(None);
        result
    }
}
