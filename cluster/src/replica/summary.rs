//! What a record has seen, without its values: enough to tell which of two copies lacks what.

use serde::{Deserialize, Serialize};

use crate::register::Ballot;
use crate::version::{Context, Dot, Record, Stamp};

/// A record without its values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Summary {
    /// Of a sibling set.
    Siblings {
        /// All writes seen.
        context: Context,
        /// Those whose values are there.
        dots: Vec<Dot>,
    },
    /// Of the last write.
    Latest(Stamp),
    /// Of what was accepted.
    Single(Ballot),
}

impl Summary {
    /// The summary of a record.
    #[must_use]
    pub fn of(record: &Record) -> Self {
        match record {
            Record::Siblings(set) => Self::Siblings {
                context: set.context().clone(),
                dots: set.siblings().iter().map(|sibling| sibling.dot).collect(),
            },
            Record::Latest(latest) => Self::Latest(latest.stamp),
            Record::Single(accepted) => Self::Single(accepted.ballot),
        }
    }

    /// Whether merging the record of `other` into that of `self` would change it.
    #[must_use]
    pub fn lacks(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Siblings { context, dots }, Self::Siblings { context: seen, dots: held }) => {
                let superseded = |dot: &Dot| seen.contains(dot) && !held.contains(dot);
                !context.covers(seen) || dots.iter().any(superseded)
            }
            (Self::Latest(mine), Self::Latest(theirs)) => theirs > mine,
            (Self::Single(mine), Self::Single(theirs)) => theirs > mine,
            // One is from another store: the receiver refuses it by name.
            (Self::Siblings { .. } | Self::Latest(_) | Self::Single(_), _) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use proptest::prelude::*;

    use super::*;
    use crate::version::{Actor, Payload, SiblingSet, Stamped};

    /// Copies after some writes and deletes, each by one who had read one of the copies.
    fn records() -> impl Strategy<Value = Vec<Record>> {
        let step = (0..3_usize, 0..3_usize, any::<bool>(), any::<bool>());
        prop::collection::vec(step, 1..12).prop_map(|steps| {
            let mut copies = vec![SiblingSet::default(); 3];
            for (counter, (read, write, delete, sync)) in (1..).zip(steps) {
                let change = if sync {
                    copies[read].clone()
                } else {
                    let actor = Actor { node: "n1".parse().unwrap(), incarnation: write as u64, epoch: 0 };
                    let (context, dot) = (copies[read].context().clone(), Dot { actor, counter });
                    if delete {
                        SiblingSet::delete(context, dot)
                    } else {
                        SiblingSet::put(context, dot, Payload::bytes("v"))
                    }
                };
                copies[write] = copies[write].clone().merge(change);
            }
            copies.into_iter().map(Record::Siblings).collect()
        })
    }

    proptest! {
        #[test]
        fn a_copy_lacks_what_merging_would_change(records in records()) {
            for mine in &records {
                for theirs in &records {
                    let changed = mine.clone().merge(theirs.clone()).unwrap() != *mine;
                    prop_assert_eq!(Summary::of(mine).lacks(&Summary::of(theirs)), changed);
                }
            }
        }
    }

    #[test]
    fn of_two_last_writes_the_earlier_lacks_the_later() {
        let at = |wall_ns| {
            let stamp = Stamp { wall_ns, incarnation: 1, sequence: 1 };
            Summary::of(&Record::Latest(Stamped { stamp, payload: None }))
        };
        assert!(at(1).lacks(&at(2)) && !at(2).lacks(&at(1)) && !at(1).lacks(&at(1)));
    }
}
