//! A causal history: exactly the set of writes (dots) that somebody has seen of one key.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::NodeId;
use crate::planted::{Bug, is_planted};

/// Who mints dots: one node during one run, in one epoch of a key.
///
/// The incarnation is fresh on every start, so a restored old disk cannot make a dot again.
/// A node that no longer knows its last counter for a key takes a new epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Actor {
    /// The node.
    pub node: NodeId,
    /// One of its runs.
    pub incarnation: u64,
    /// A new one whenever the counter for the key was forgotten within the run.
    pub epoch: u32,
}

/// One write: the `counter`-th that `actor` made to a key, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Dot {
    /// Who minted it.
    pub actor: Actor,
    /// From 1.
    pub counter: u64,
}

impl fmt::Display for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Actor { node, incarnation, epoch } = self.actor;
        write!(f, "{node}.{incarnation:016x}.{epoch}.{}", self.counter)
    }
}

/// The dots of one actor: all up to `prefix`, and those listed beyond it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    prefix: u64,
    /// Ascending, each greater than `prefix + 1`.
    beyond: Vec<u64>,
}

impl Seen {
    fn contains(&self, counter: u64) -> bool {
        if is_planted(Bug::ContextAsMaximum) {
            return counter <= self.last();
        }
        counter <= self.prefix || self.beyond.binary_search(&counter).is_ok()
    }

    fn insert(&mut self, counter: u64) {
        if counter <= self.prefix {
            return;
        }
        if let Err(at) = self.beyond.binary_search(&counter) {
            self.beyond.insert(at, counter);
        }
        self.absorb();
    }

    fn union(&mut self, other: &Self) {
        self.prefix = self.prefix.max(other.prefix);
        self.beyond.extend_from_slice(&other.beyond);
        self.beyond.sort_unstable();
        self.beyond.dedup();
        self.absorb();
    }

    /// The highest counter.
    fn last(&self) -> u64 {
        self.beyond.last().copied().unwrap_or(self.prefix)
    }

    /// Moves the prefix over the dots that touch it.
    fn absorb(&mut self) {
        let mut taken = 0;
        for counter in &self.beyond {
            if *counter > self.prefix + 1 {
                break;
            }
            self.prefix = self.prefix.max(*counter);
            taken += 1;
        }
        self.beyond.drain(..taken);
    }

    /// What lies just beyond the prefix is never in it, so only a prefix as long covers a prefix.
    fn covers(&self, other: &Self) -> bool {
        other.prefix <= self.prefix && other.beyond.iter().all(|counter| self.contains(*counter))
    }
}

/// A set of dots. Equal sets are equal values and have equal encodings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// Ascending by actor.
    actors: Vec<(Actor, Seen)>,
}

impl Context {
    /// The set without dots: of one who has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether no dot is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.actors.is_empty()
    }

    /// How many actors it names: what it costs to keep and to send.
    #[must_use]
    pub fn actors(&self) -> usize {
        self.actors.len()
    }

    /// Whether it knows a write that the node of `actor` minted in another run than that of `actor`.
    #[must_use]
    pub fn knows_other_run_of(&self, actor: &Actor) -> bool {
        self.actors
            .iter()
            .any(|(known, _)| known.node == actor.node && known.incarnation != actor.incarnation)
    }

    /// Whether `dot` is in it.
    #[must_use]
    pub fn contains(&self, dot: &Dot) -> bool {
        self.find(&dot.actor).is_ok_and(|at| self.actors[at].1.contains(dot.counter))
    }

    /// Adds `dot`.
    pub fn insert(&mut self, dot: Dot) {
        match self.find(&dot.actor) {
            Ok(at) => self.actors[at].1.insert(dot.counter),
            Err(at) => {
                let mut seen = Seen::default();
                seen.insert(dot.counter);
                self.actors.insert(at, (dot.actor, seen));
            }
        }
    }

    /// All but `dot`, which is the last of its actor.
    #[must_use]
    pub(crate) fn without(mut self, dot: &Dot) -> Self {
        if let Ok(at) = self.find(&dot.actor) {
            let seen = &mut self.actors[at].1;
            seen.beyond.retain(|counter| *counter != dot.counter);
            seen.prefix = seen.prefix.min(dot.counter - 1);
            if seen.last() == 0 {
                self.actors.remove(at);
            }
        }
        self
    }

    /// Adds every dot of `other`.
    pub fn union(&mut self, other: &Self) {
        for (actor, seen) in &other.actors {
            match self.find(actor) {
                Ok(at) => self.actors[at].1.union(seen),
                Err(at) => self.actors.insert(at, (*actor, seen.clone())),
            }
        }
    }

    /// Whether every dot of `other` is in it.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other
            .actors
            .iter()
            .all(|(actor, seen)| self.find(actor).is_ok_and(|at| self.actors[at].1.covers(seen)))
    }

    /// Forgets actors other than those of `needed` until at most `actors_max` are left, or none
    /// that may go: first those with the fewest writes. What was seen of them counts as unseen from
    /// then on. Equal contexts forget the same.
    pub fn forget_beyond(&mut self, actors_max: usize, needed: &BTreeSet<Actor>) {
        let surplus = self.actors.len().saturating_sub(actors_max);
        if surplus == 0 {
            return;
        }
        let mut may_go: Vec<(u64, Actor)> = self
            .actors
            .iter()
            .filter(|(actor, _)| !needed.contains(actor))
            .map(|(actor, seen)| (seen.last(), *actor))
            .collect();
        may_go.sort_unstable();
        let gone: BTreeSet<Actor> = may_go.into_iter().take(surplus).map(|(_, actor)| actor).collect();
        self.actors.retain(|(actor, _)| !gone.contains(actor));
    }

    fn find(&self, actor: &Actor) -> Result<usize, usize> {
        self.actors.binary_search_by(|(a, _)| a.cmp(actor))
    }
}

impl FromIterator<Dot> for Context {
    fn from_iter<I: IntoIterator<Item = Dot>>(dots: I) -> Self {
        let mut context = Self::new();
        for dot in dots {
            context.insert(dot);
        }
        context
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use proptest::prelude::*;

    fn dots() -> impl Strategy<Value = Vec<Dot>> {
        let dot = (0_u8..3, 0_u64..2, 1_u64..8).prop_map(|(node, incarnation, counter)| Dot {
            actor: Actor { node: format!("n{node}").parse().unwrap(), incarnation, epoch: 0 },
            counter,
        });
        prop::collection::vec(dot, 0..20)
    }

    proptest! {
        #[test]
        fn a_context_is_exactly_a_set_of_dots(a in dots(), b in dots()) {
            let (set_a, set_b): (BTreeSet<Dot>, BTreeSet<Dot>) = (a.iter().copied().collect(), b.iter().copied().collect());
            let (context_a, context_b): (Context, Context) = (a.into_iter().collect(), b.iter().copied().collect());
            for dot in set_a.union(&set_b) {
                prop_assert_eq!(context_a.contains(dot), set_a.contains(dot));
            }
            prop_assert_eq!(context_a.covers(&context_b), set_a.is_superset(&set_b));
            prop_assert_eq!(context_a == context_b, set_a == set_b);
            let mut union = context_a.clone();
            union.union(&context_b);
            prop_assert!(union.covers(&context_a) && union.covers(&context_b));
            prop_assert_eq!(context_a.covers(&union), context_a == union);
            prop_assert_eq!(context_a.is_empty(), set_a.is_empty());
            let actors: BTreeSet<Actor> = set_a.iter().map(|dot| dot.actor).collect();
            prop_assert_eq!(context_a.actors(), actors.len());
            prop_assert_eq!(union, set_a.union(&set_b).copied().collect::<Context>());
        }
    }

    fn dot(node: u8, counter: u64) -> Dot {
        Dot { actor: Actor { node: format!("n{node}").parse().unwrap(), incarnation: 1, epoch: 0 }, counter }
    }

    #[test]
    fn a_history_without_holes_takes_the_space_of_one_dot() {
        let bytes = |context: Context| postcard::to_stdvec(&context).unwrap().len();
        let one: Context = [dot(1, 1)].into_iter().collect();
        let backwards: Context = (1..=100).rev().map(|counter| dot(1, counter)).collect();
        assert_eq!(bytes(backwards.clone()), bytes(one.clone()));
        let (mut odd, even): (Context, Context) = (
            (1..100).step_by(2).map(|counter| dot(1, counter)).collect(),
            (2..=100).step_by(2).map(|counter| dot(1, counter)).collect(),
        );
        assert!(bytes(odd.clone()) > bytes(one));
        odd.union(&even);
        assert_eq!(odd, backwards);
        assert_eq!(dot(1, 7).to_string(), "n1.0000000000000001.0.7");
    }

    #[test]
    fn who_wrote_least_is_forgotten_first_but_never_who_is_needed() {
        let history = [dot(1, 1), dot(2, 3), dot(2, 7), dot(3, 1), dot(3, 2), dot(4, 5)];
        let mut context: Context = history.into_iter().collect();
        context.forget_beyond(4, &BTreeSet::new());
        assert_eq!(context, history.into_iter().collect(), "there is room for all");
        context.forget_beyond(2, &BTreeSet::from([dot(1, 1).actor]));
        assert_eq!(context, [dot(1, 1), dot(2, 3), dot(2, 7)].into_iter().collect());
    }
}
