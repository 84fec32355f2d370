//! A sibling set: the values of a key that no write seen has superseded.
//!
//! A put and a delete are sibling sets too: what they have seen plus their own dot, with one
//! value or none. Storing them is merging them, so a put, a hint, a repair and a transfer all
//! do the same thing, and doing it twice changes nothing.

use serde::{Deserialize, Serialize};

use super::{Context, Dot, Payload};

/// One value and the write that made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sibling {
    /// The write.
    pub dot: Dot,
    /// What it wrote.
    pub payload: Payload,
}

/// The values of a key and all that is known of its past.
///
/// Invariants: every sibling's dot is in the context; siblings are sorted by dot, none twice.
/// A context without siblings is a deleted key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiblingSet {
    context: Context,
    siblings: Vec<Sibling>,
}

impl SiblingSet {
    /// The put of `payload` by one who has seen `context`.
    #[must_use]
    pub fn put(mut context: Context, dot: Dot, payload: Payload) -> Self {
        context.insert(dot);
        Self { context, siblings: vec![Sibling { dot, payload }] }
    }

    /// The delete of what `context` holds. Its dot makes it a write that later reads can cover.
    #[must_use]
    pub fn delete(mut context: Context, dot: Dot) -> Self {
        context.insert(dot);
        Self { context, siblings: Vec::new() }
    }

    /// All that is known of the key's past.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The values that nothing known has superseded, in the order of their dots.
    #[must_use]
    pub fn siblings(&self) -> &[Sibling] {
        &self.siblings
    }

    /// Joins: commutative, associative and idempotent. A value stays unless the other side has
    /// seen it and holds it no longer.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        let mut context = self.context;
        let keep_mine =
            |s: &Sibling| other.siblings.iter().any(|o| o.dot == s.dot) || !other.context.contains(&s.dot);
        let mut siblings: Vec<Sibling> = self.siblings.into_iter().filter(keep_mine).collect();
        let mine_covers = |s: &Sibling| context.contains(&s.dot);
        let theirs: Vec<Sibling> = other.siblings.into_iter().filter(|s| !mine_covers(s)).collect();
        siblings.extend(theirs);
        siblings.sort_unstable_by_key(|s| s.dot);
        context.union(&other.context);
        Self { context, siblings }
    }

    /// Whether merging `other` into it would leave it as it is.
    #[must_use]
    pub fn holds_all_of(&self, other: &Self) -> bool {
        // What the other side has seen and holds no longer would go.
        let stays =
            |s: &Sibling| !other.context.contains(&s.dot) || other.siblings.iter().any(|o| o.dot == s.dot);
        self.context.covers(&other.context) && self.siblings.iter().all(stays)
    }

    /// Keeps at most `actors_max` actors in the context, or as many as the siblings have. Lossy: a
    /// write of a forgotten actor that was superseded, or deleted, is a sibling again if some copy
    /// still holds it. Riak calls it vector clock pruning.
    #[must_use]
    pub fn with_actors_at_most(mut self, actors_max: usize) -> Self {
        let needed = self.siblings.iter().map(|sibling| sibling.dot.actor).collect();
        self.context.forget_beyond(actors_max, &needed);
        self
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::version::Actor;
    use proptest::prelude::*;

    fn dot(node: u8, counter: u64) -> Dot {
        Dot { actor: Actor { node: format!("n{node}").parse().unwrap(), incarnation: 1, epoch: 0 }, counter }
    }

    fn values(set: &SiblingSet) -> Vec<Dot> {
        set.siblings().iter().map(|s| s.dot).collect()
    }

    /// One step of a random life of a key on three replicas.
    #[derive(Clone, Debug)]
    enum Step {
        /// A client read replica `read` some time ago and now writes at replica `write`.
        Write { read: usize, write: usize, delete: bool },
        /// Replica `from`'s state reaches replica `to`.
        Sync { from: usize, to: usize },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let write = (0..3_usize, 0..3_usize, any::<bool>()).prop_map(|(read, write, delete)| Step::Write {
            read,
            write,
            delete: delete && read == write,
        });
        let sync = (0..3_usize, 0..3_usize).prop_map(|(from, to)| Step::Sync { from, to });
        prop::collection::vec(prop_oneof![write, sync], 0..25)
    }

    proptest! {
        /// The oracle keeps whole causal histories as plain sets: a replica's values are the
        /// writes it knows that no write it knows has seen.
        #[test]
        fn siblings_are_the_maximal_writes_of_a_causal_history(steps in steps()) {
            let mut replicas = vec![SiblingSet::default(); 3];
            let mut known: Vec<BTreeSet<Dot>> = vec![BTreeSet::new(); 3];
            let mut pasts: BTreeMap<Dot, BTreeSet<Dot>> = BTreeMap::new();
            let mut deletes: BTreeSet<Dot> = BTreeSet::new();
            let mut counters = [0_u64; 3];
            for step in steps {
                match step {
                    Step::Write { read, write, delete } => {
                        counters[write] += 1;
                        let new = dot(write as u8, counters[write]);
                        let context = replicas[read].context().clone();
                        pasts.insert(new, known[read].clone());
                        let past = known[read].clone();
                        known[write].extend(past);
                        known[write].insert(new);
                        let delta = if delete {
                            deletes.insert(new);
                            SiblingSet::delete(context, new)
                        } else {
                            SiblingSet::put(context, new, Payload::bytes(new.to_string()))
                        };
                        replicas[write] = replicas[write].clone().merge(delta);
                    }
                    Step::Sync { from, to } => {
                        replicas[to] = replicas[to].clone().merge(replicas[from].clone());
                        let news = known[from].clone();
                        known[to].extend(news);
                    }
                }
                for (replica, known) in replicas.iter().zip(&known) {
                    let superseded = |d: &Dot| known.iter().any(|other| pasts[other].contains(d));
                    let expected: Vec<Dot> =
                        known.iter().filter(|d| !superseded(d) && !deletes.contains(d)).copied().collect();
                    prop_assert_eq!(values(replica), expected);
                    prop_assert_eq!(replica.context(), &known.iter().copied().collect::<Context>());
                }
            }
            let [a, b, c] = [&replicas[0], &replicas[1], &replicas[2]].map(Clone::clone);
            for (x, y) in [(&a, &b), (&b, &a), (&b, &c), (&c, &a)] {
                prop_assert_eq!(x.holds_all_of(y), x.clone().merge(y.clone()) == *x);
            }
            prop_assert_eq!(a.clone().merge(b.clone()), b.clone().merge(a.clone()));
            prop_assert_eq!(a.clone().merge(b.clone()).merge(c.clone()), a.clone().merge(b.merge(c)));
            prop_assert_eq!(a.clone().merge(a.clone()), a);
        }
    }

    proptest! {
        /// Copies that forget converge as others do: whatever order they meet in, both ends of a
        /// meeting are equal, and meeting again changes nothing.
        #[test]
        fn a_set_that_forgets_keeps_its_values_and_settles(
            writes in prop::collection::vec((0_u8..6, any::<bool>()), 1..12),
            actors_max in 1_usize..4,
        ) {
            let limit = |set: SiblingSet| set.with_actors_at_most(actors_max);
            let mut copies = [SiblingSet::default(), SiblingSet::default()];
            for (counter, (node, first)) in (1..).zip(writes) {
                let copy = &mut copies[usize::from(first)];
                let put = SiblingSet::put(copy.context().clone(), dot(node, counter), Payload::bytes("v"));
                *copy = limit(copy.clone().merge(put));
                prop_assert_eq!(values(copy), [dot(node, counter)], "what the writer had read is gone");
                prop_assert!(copy.context().actors() <= actors_max);
            }
            let [a, b] = copies.map(|copy| copy);
            let (ab, ba) = (limit(a.clone().merge(b.clone())), limit(b.clone().merge(a.clone())));
            prop_assert_eq!(&ab, &ba);
            prop_assert_eq!(&limit(ab.clone().merge(ab.clone())), &ab);
            for dot in values(&ab) {
                prop_assert!(ab.context().contains(&dot), "{} is in the context", dot);
            }
        }
    }

    #[test]
    fn whose_past_was_forgotten_comes_back_beside_what_superseded_it() {
        let old = SiblingSet::put(Context::new(), dot(1, 1), Payload::bytes("old"));
        let new = SiblingSet::put(old.context().clone(), dot(2, 1), Payload::bytes("new"));
        assert_eq!(values(&old.clone().merge(new.clone())), [dot(2, 1)]);
        let forgetful = old.clone().merge(new).with_actors_at_most(1);
        assert_eq!(values(&old.merge(forgetful)), [dot(1, 1), dot(2, 1)]);
    }

    #[test]
    fn a_context_with_a_hole_does_not_supersede_what_is_in_the_hole() {
        let blind = |counter| SiblingSet::put(Context::new(), dot(1, counter), Payload::bytes("x"));
        let both = blind(1).merge(blind(2));
        assert_eq!(values(&both), [dot(1, 1), dot(1, 2)]);
        // Read after the second write by one who never saw the first.
        let writer = SiblingSet::put(blind(2).context().clone(), dot(2, 1), Payload::bytes("y"));
        assert_eq!(values(&both.merge(writer)), [dot(1, 1), dot(2, 1)]);
    }

    #[test]
    fn a_tombstone_holds_against_copies_of_what_it_deleted_however_often_and_late_they_come() {
        let old = SiblingSet::put(Context::new(), dot(1, 1), Payload::bytes("x"));
        let newer = SiblingSet::put(old.context().clone(), dot(2, 1), Payload::bytes("y"));
        let tombstone = SiblingSet::delete(newer.context().clone(), dot(3, 1));
        let mut kept = tombstone.clone();
        for late in [&old, &newer, &old] {
            kept = kept.merge(late.clone());
            assert_eq!(values(&kept), [], "what was deleted is back");
        }
        assert_eq!(kept.context(), tombstone.context(), "and the deletion is not forgotten");
        // Only what the deleter had not seen stands beside it.
        let concurrent = SiblingSet::put(old.context().clone(), dot(1, 2), Payload::bytes("z"));
        assert_eq!(values(&kept.merge(concurrent)), [dot(1, 2)]);
    }
}
