//! Fences: views that change nothing but the view, so that nothing sent before one is heard behind
//! it. What the collection of deletes is built on (`transfer::collection`).
//!
//! A fence needs no choosing. It follows from the view before it alone, like a phase, so nodes
//! that take the same one by themselves have the same view. Three make a round; the number of a
//! fence says which of the three it is, and so what everybody has confirmed before it was taken:
//!
//! | number | confirmed before it | what can be left of a deleted value behind it |
//! |---|---|---|
//! | 3k + 1 | nothing | hints and foreign copies; requests under way |
//! | 3k + 2 | all that began before 3k + 1 is done, and then nothing was kept for others | requests that began between the two |
//! | 3k + 3 | all that began before 3k + 2 is done | nothing: deletes may be forgotten |
//!
//! The third says so for good ([`View::collected`]): whoever turns up later and never confirmed
//! the second is on a disk from before it, or was no member, and may keep what was deleted.

use super::{Phase, View, ViewVersion};

/// Fences of a round.
const ROUND: u64 = 3;

impl View {
    /// Whether the store forgets deletes.
    #[must_use]
    pub fn collects(&self) -> bool {
        self.collects
    }

    /// Everybody who had a part in the cluster was behind this fence, with nothing left from before,
    /// when deletes were last forgotten; [`ViewVersion::NONE`] if none ever were.
    #[must_use]
    pub fn collected(&self) -> ViewVersion {
        self.collected
    }

    /// Whether deletes may be forgotten in this view.
    #[must_use]
    pub fn may_forget(&self) -> bool {
        self.version.fence > 0 && self.version.fence.is_multiple_of(ROUND)
    }

    /// The first fence of a new round, whatever became of the one before. Nothing while data moves.
    #[must_use]
    pub fn fence_begun(&self) -> Option<Self> {
        let done = self.version.fence.next_multiple_of(ROUND);
        self.fenced(done.checked_add(1)?)
    }

    /// The second fence, behind the first.
    #[must_use]
    pub fn fence_drained(&self) -> Option<Self> {
        let fence = self.version.fence;
        (fence % ROUND == 1).then(|| self.fenced(fence + 1)).flatten()
    }

    /// The third fence, behind the second.
    #[must_use]
    pub fn fence_collecting(&self) -> Option<Self> {
        let fence = self.version.fence;
        let mut next = (fence % ROUND == 2).then(|| self.fenced(fence + 1)).flatten()?;
        next.collected = self.version;
        Some(next)
    }

    /// This view, if it knows of no later collection than `collected`; else with that one.
    #[must_use]
    pub(in crate::membership) fn knowing_of(mut self, collected: ViewVersion) -> Self {
        self.collected = self.collected.max(collected);
        self
    }

    fn fenced(&self, fence: u64) -> Option<Self> {
        (self.version.phase == Phase::Stable && self.collects)
            .then(|| Self { version: ViewVersion { fence, ..self.version }, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use crate::config::{StoreDefinition, TombstoneCollection};
    use crate::membership::Change;
    use crate::testing::{member, node};

    fn view() -> View {
        let period = std::time::Duration::from_secs(1);
        let store = StoreDefinition {
            partitions: 8,
            tombstone_collection: TombstoneCollection::Every(period),
            ..StoreDefinition::default()
        };
        View::of_store((1..=4).map(member).collect(), &store)
    }

    #[test]
    fn three_fences_follow_each_other_and_only_behind_the_last_is_anything_forgotten() {
        let mut view = view();
        for round in 0..3 {
            let first = view.fence_begun().unwrap();
            let second = first.fence_drained().unwrap();
            let third = second.fence_collecting().unwrap();
            assert_eq!(third.version().fence, 3 * (round + 1));
            for (before, after) in [(&view, &first), (&first, &second), (&second, &third)] {
                assert!(after.follows(before) && !before.follows(after));
                assert_eq!(after.members(), before.members());
            }
            assert_eq!([&first, &second, &third].map(View::may_forget), [false, false, true]);
            assert_eq!((first.collected(), second.collected()), (view.collected(), view.collected()));
            assert_eq!(third.collected(), second.version());
            // None is left out, whatever is asked for.
            assert_eq!((view.fence_drained(), view.fence_collecting()), (None, None));
            assert_eq!((first.fence_collecting(), second.fence_drained()), (None, None));
            assert_eq!((third.fence_drained(), third.fence_collecting()), (None, None));
            view = third;
        }
        // A round that was given up is begun anew, behind new fences.
        let given_up = view.fence_begun().unwrap().fence_drained().unwrap();
        let again = given_up.fence_begun().unwrap();
        assert_eq!((again.version().fence % 3, again.collected()), (1, view.collected()));
        assert!(!again.may_forget() && again.follows(&given_up));
    }

    #[test]
    fn there_are_no_fences_while_data_moves_nor_where_deletes_are_kept() {
        let collected = view().fence_begun().unwrap().fence_drained().unwrap().fence_collecting().unwrap();
        let copying = collected.successor(&Change::Join(member(5))).unwrap();
        assert_eq!(copying.fence_begun(), None);
        assert!(copying.follows(&collected) && copying.follows(&view()));
        assert_eq!(copying.collected(), collected.collected(), "which is not forgotten");
        let stable = copying.advanced().advanced();
        assert!(stable.fence_begun().unwrap().version() > stable.version());
        assert_eq!(View::new((1..=4).map(member).collect(), 8, 3).fence_begun(), None);
    }

    #[test]
    fn who_left_has_a_part_until_it_comes_back_or_is_said_to_be_gone() {
        let change = |view: &View, change| view.successor(&change).unwrap().advanced().advanced();
        let left = change(&view(), Change::Leave(node(2)));
        assert!(left.has_part(node(2)) && left.member(node(2)).is_none());
        assert!(left.fence_begun().unwrap().has_part(node(2)), "it is asked too");
        let gone = change(&left, Change::Remove(node(2)));
        assert!(!gone.has_part(node(2)));
        assert_eq!((gone.members(), gone.placement()), (left.members(), left.placement()));
        let back = change(&left, Change::Join(member(2)));
        assert_eq!(back.everybody().filter(|m| m.id == node(2)).count(), 1);
        assert!(!change(&view(), Change::Remove(node(2))).has_part(node(2)), "who is dead is not asked");
        let store = View::new((1..=4).map(member).collect(), 8, 3);
        assert!(!change(&store, Change::Leave(node(2))).has_part(node(2)), "where deletes are kept");
    }
}
